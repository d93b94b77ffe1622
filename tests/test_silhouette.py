"""Silhouettes, compared with a slow twin and with scikit-learn. Also runs interpreted."""

import tracemalloc

import naive
import numba
import numpy as np
import pytest

import fastem

INTERPRETED = bool(numba.config.DISABLE_JIT)
DTYPES = [np.float64, np.float32]
# (n, d, k): sizes around tiles of 256 (float64) and 512 (float32) rows and around blocks of 128 rows
SIZES = [(3, 1, 2), (40, 2, 3), (7, 3, 6)]
if not INTERPRETED:
    SIZES += [(257, 5, 2), (300, 8, 40), (520, 17, 3)]
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}
FOUR = np.array([[0.0], [1.0], [8.0], [9.0]])


def problem(n, d, k, dtype=np.float64):
    """Rows of overlapping clusters, of which the first has one row, and weights, of which some are 0."""
    rng = np.random.default_rng([n, d, k])
    labels = np.concatenate([[0], np.arange(1, k), rng.integers(1, k, n - k)])
    X = rng.normal(size=(n, d)) + 2 * rng.normal(size=(k, d))[labels]
    weights = rng.uniform(0, 3, n)
    weights[::7] = 0
    weights[n // 2] = 0.5
    order = rng.permutation(n)
    return X[order].astype(dtype), labels[order], weights[order]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_slow_twin(size, dtype):
    X, labels, weights = problem(*size, dtype)
    found = fastem.silhouette_samples(X, labels)
    assert found.dtype == dtype
    naive_values = naive.silhouettes(X.astype(float), labels, np.ones(len(X)))
    np.testing.assert_allclose(found, naive_values, atol=TOLERANCE[dtype])
    assert fastem.silhouette_score(X, labels) == pytest.approx(naive_values.mean(), abs=TOLERANCE[dtype])
    if np.count_nonzero(np.bincount(labels, weights)) < 2:
        return
    naive_values = naive.silhouettes(X.astype(float), labels, weights)
    found = fastem.silhouette_samples(X, labels, sample_weight=weights)
    np.testing.assert_allclose(found, naive_values, atol=TOLERANCE[dtype])
    score = fastem.silhouette_score(X, labels, sample_weight=weights)
    assert score == pytest.approx(np.average(naive_values, weights=weights), abs=TOLERANCE[dtype])


@pytest.mark.skipif(INTERPRETED, reason="takes long")
@pytest.mark.parametrize("names", [None, np.array(["a", "b", "c", "d", "noise", "e"]), np.arange(6) - 1])
def test_equals_scikit_learn(names):
    sklearn = pytest.importorskip("sklearn.metrics")
    X, labels, _ = problem(1500, 8, 6)
    labels = labels if names is None else names[labels]
    expected = sklearn.silhouette_samples(X, labels)
    np.testing.assert_allclose(fastem.silhouette_samples(X, labels), expected, atol=1e-9, rtol=0)
    assert fastem.silhouette_score(X, labels) == pytest.approx(expected.mean(), abs=1e-9)


def test_values_by_hand():
    """The first row: a = 1, b = (8 + 9) / 2."""
    values = fastem.silhouette_samples(FOUR, ["low", "low", "high", "high"])
    np.testing.assert_allclose(values, [15 / 17, 13 / 15, 13 / 15, 15 / 17])
    np.testing.assert_array_equal(fastem.silhouette_samples(np.ones((5, 2)), [0, 0, 0, 1, 1]), np.zeros(5))
    assert fastem.silhouette_samples(FOUR, [0, 1, 1, 2])[[0, 3]].tolist() == [0, 0]


def test_integer_weights_are_repeated_rows():
    X, labels, _ = problem(60, 3, 4)
    times = np.random.default_rng(0).integers(0, 4, len(X))
    times[labels == 1] = np.maximum(times[labels == 1], 1)
    repeated = fastem.silhouette_samples(np.repeat(X, times, axis=0), np.repeat(labels, times))
    found = fastem.silhouette_samples(X, labels, sample_weight=times)
    np.testing.assert_allclose(np.repeat(found, times), repeated, atol=1e-12)
    pairs = fastem.silhouette_samples(FOUR[[0, 3]], [0, 1], sample_weight=[2, 2])
    np.testing.assert_array_equal(pairs, [1, 1])


def test_equal_small_weights_change_nothing():
    X, labels, _ = problem(60, 3, 4)
    found = fastem.silhouette_samples(X, labels, sample_weight=np.full(len(X), 1 / len(X)))
    np.testing.assert_allclose(found, fastem.silhouette_samples(X, labels), atol=1e-12)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 2.0**20), (2.0**600, 0.0), (2.0**-600, 0.0)])
def test_offsets_and_units_do_not_matter(scale, offset):
    """Coordinates are multiples of 2**-20, so the shift changes no distance."""
    X, labels, _ = problem(40, 3, 4)
    X = np.round(X * 2**20) / 2**20
    expected = naive.silhouettes(X, labels, np.ones(len(X)))
    found = fastem.silhouette_samples(X * scale + offset, labels)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.skipif(INTERPRETED, reason="takes long")
def test_the_same_bits_for_any_number_of_threads():
    X, labels, weights = problem(3000, 3, 4)
    one = fastem.silhouette_samples(X, labels, sample_weight=weights, n_threads=1)
    for n_threads in (2, None):
        other = fastem.silhouette_samples(X, labels, sample_weight=weights, n_threads=n_threads)
        assert one.tobytes() == other.tobytes()


@pytest.mark.skipif(INTERPRETED, reason="takes long")
def test_memory_grows_with_the_rows_and_not_with_their_square():
    X, labels, _ = problem(4000, 8, 40)
    fastem.silhouette_samples(X[:100], labels[:100])
    tracemalloc.start()
    fastem.silhouette_samples(X, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * X.nbytes  # a square of the rows has 500 times as many numbers


def test_inputs_stay_as_they_are_and_tables_are_read():
    pandas = pytest.importorskip("pandas")
    X, labels, weights = problem(40, 2, 3)
    before = X.tobytes(), labels.tobytes(), weights.tobytes()
    expected = fastem.silhouette_samples(np.asfortranarray(X), labels, sample_weight=weights)
    table = pandas.DataFrame(X, columns=["a", "b"])
    kinds = pandas.Series(np.array(["x", "y", "z"])[labels], dtype="category")
    found = fastem.silhouette_samples(table, kinds, sample_weight=weights)
    np.testing.assert_array_equal(found, expected)
    assert before == (X.tobytes(), labels.tobytes(), weights.tobytes())


def test_a_sample():
    X, labels, weights = problem(40, 2, 3)
    weights[labels == 0] = 1
    score = fastem.silhouette_score(X, labels, sample_size=30, rng=1)
    assert score == fastem.silhouette_score(X, labels, sample_size=30, rng=1)
    assert score != fastem.silhouette_score(X, labels, sample_size=30, rng=2)
    assert fastem.silhouette_score(X, labels, sample_size=40) == fastem.silhouette_score(X, labels)
    whole = fastem.silhouette_score(X, labels, sample_weight=weights)
    positive = np.count_nonzero(weights)
    assert fastem.silhouette_score(X, labels, sample_weight=weights, sample_size=positive) == whole
    drawn = np.sort(np.random.default_rng(1).choice(40, 30, replace=False, shuffle=False))
    assert score == fastem.silhouette_score(X[drawn], labels[drawn])


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 1], ValueError, r"labels must have shape \(4,\), one a row; got shape \(3,\)"),
        ([[0, 1, 1, 0]], ValueError, r"got shape \(1, 4\)"),
        ([0, 0, 0, 0], ValueError, "at least 2 different values; got 1"),
        ([0, 1, 2, 3], ValueError, "fewer different values than there are rows; got 4 in 4"),
        ([0.0, 1.0, 1.0, 0.0], TypeError, "got dtype float64. Convert them with labels.astype"),
        ([0, 1, np.nan, 0], ValueError, "row 2 has nan"),
        (["a", "b", None, "a"], TypeError, "got NoneType and str"),
        (np.array([0, "b", 1, 0], dtype=object), TypeError, "got int and str"),
        (np.ma.array([0, 1, 1, 0], mask=[0, 0, 1, 0]), ValueError, "without masked entries"),
        (np.array([0, 1, 1, 0], dtype="M8[D]"), TypeError, "got dtype datetime64"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        fastem.silhouette_samples(FOUR, labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_and_weights_of_very_different_sizes(dtype):
    X = np.concatenate([FOUR, [[-3.4e38], [-3.3e38]]]).astype(dtype)
    labels, weights = np.array([0, 0, 1, 1, 2, 2]), np.array([1e-20, 1e-20, 1e30, 1, 1e-18, 1e-20])
    found = fastem.silhouette_samples(X, labels)
    assert found.dtype == dtype
    np.testing.assert_allclose(found[:4], [15 / 17, 13 / 15, 13 / 15, 15 / 17], rtol=1e-6)
    np.testing.assert_allclose(found, naive.silhouettes(X.astype(float), labels, np.ones(6)), rtol=1e-6)
    found = fastem.silhouette_samples(FOUR[[0, 1, 2, 3, 0, 2]].astype(dtype), labels, sample_weight=weights)
    pairs = [(1, 8 / 101), (1e-30, 7.5), (8, 0.5), (8, 0)]  # a and b by hand
    expected = [(b - a) / max(a, b) for a, b in pairs]
    np.testing.assert_allclose(found[[0, 2, 4, 5]], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("outlier", "weight", "message"),
    [(1e200, 1.0, "row 0 to its own and to another cluster"), (5.0, 5e-324, "factor of at most 1e\\+150")],
)
def test_what_float64_cannot_hold(outlier, weight, message):
    X = np.concatenate([FOUR, [[outlier], [2 * outlier]]])
    with pytest.raises(ValueError, match=message):
        fastem.silhouette_samples(X, [0, 0, 1, 1, 2, 2], sample_weight=[weight, 1, 1, 1, 1, 1])
    twins = np.array([[1.0], [1.0], [1.0], [1.0], [1e200], [2e200]])
    assert fastem.silhouette_samples(twins, [0, 0, 1, 1, 2, 2])[:4].tolist() == [0, 0, 0, 0]


def test_other_mistakes():
    labels = [0, 0, 1, 1]
    with pytest.raises(ValueError, match="X must be finite; row 1, column 0 is nan"):
        fastem.silhouette_score([[0.0], [np.nan], [1.0], [2.0]], labels)
    with pytest.raises(ValueError, match="X must be 2-D"):
        fastem.silhouette_score(FOUR[:, 0], labels)
    with pytest.raises(ValueError, match="at least 2 different values; got 1 in 2 rows of positive weight"):
        fastem.silhouette_score(FOUR, labels, sample_weight=[1, 1, 0, 0])
    with pytest.raises(ValueError, match="got 2 in 2 rows of positive weight"):
        fastem.silhouette_score(FOUR, labels, sample_weight=[1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"drawn rows.*Pass a larger sample_size than 2"):
        fastem.silhouette_score(FOUR, labels, sample_size=2, rng=0)
    with pytest.raises(ValueError, match="sample_size must be an integer of at least 2; got 1"):
        fastem.silhouette_score(FOUR, labels, sample_size=1)
    with pytest.raises(ValueError, match="n_threads"):
        fastem.silhouette_samples(FOUR, labels, n_threads=0)
