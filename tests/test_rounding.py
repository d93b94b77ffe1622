"""float32 rows whose features nearly agree get the covariances that float64 computes from these numbers."""

from contextlib import suppress

import numpy as np
import pytest
from problems import TYPES

import fastem
from fastem import FitStatus, GaussianMixture
from fastem._families.frame import Frame
from fastem._families.layouts import Full, GaussianParameters, Tied
from fastem._families.rounding import hides, noise, pass_dtype, stored_noise

MATRICES = ["full", "tied"]


def collinear(s, d=2, offset=0.0, n=4000, apart=0.0, seed=0):
    """The last feature is the first one, with noise of deviation s, and 8 s more in the second cluster."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    X = rng.normal(0, 100, size=(n, d - 1))
    X[:, 0] += apart * labels
    X = np.c_[X, X[:, 0] + rng.normal(0, s, n) + 8 * s * labels]
    return (X + offset).astype(np.float32), labels


def last_pivots(model):
    """The variance of the last feature given all others, in each covariance."""
    d = model.n_features
    covariances = model.covariances.reshape(-1, d, d)
    return np.array([1 / np.linalg.inv(c)[-1, -1] for c in covariances])


@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
@pytest.mark.parametrize("d", [2, 8, 16])
@pytest.mark.parametrize("s", [0.3, 0.1, 0.02])
@pytest.mark.parametrize("covariance_type", MATRICES)
def test_collinear_features_are_told_from_singular_ones(covariance_type, s, d, offset):
    X, labels = collinear(s, d, offset)
    if s < 0.1 and offset == 1e6:
        pytest.skip("the noise is less than the spacing of the numbers")
    weights = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
    for sample_weight in (None, weights):
        options = {"covariance_type": covariance_type, "sample_weight": sample_weight, "reg_covar": 0}
        model, twin = (fastem.fit(data, 2, init=labels, **options) for data in (X, X.astype(float)))
        assert model.report.status is FitStatus.CONVERGED
        assert model.report.repairs == ()
        np.testing.assert_allclose(last_pivots(model), s**2, rtol=0.2)
        np.testing.assert_allclose(last_pivots(model), last_pivots(twin), rtol=1e-3)
        assert (model.predict(X) == labels).mean() > 0.99
        assert model.report.log_likelihood == pytest.approx(twin.report.log_likelihood, rel=1e-6)


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "auto"])
@pytest.mark.parametrize("covariance_type", MATRICES)
def test_starts_by_name_find_collinear_features_too(covariance_type, init):
    X, labels = collinear(0.1, apart=1500)
    model = fastem.fit(X, 2, covariance_type=covariance_type, init=init, reg_covar=0, rng=0)
    assert model.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(last_pivots(model), 0.01, rtol=0.2)
    accuracy = (model.predict(X) == labels).mean()
    assert max(accuracy, 1 - accuracy) == 1


@pytest.mark.parametrize("covariance_type", MATRICES)
def test_the_supervised_fit_is_right_without_iterations(covariance_type):
    X, labels = collinear(0.02)
    model = fastem.fit(X, 2, covariance_type=covariance_type, init=labels, reg_covar=0, max_iter=0)
    np.testing.assert_allclose(last_pivots(model), 0.02**2, rtol=0.1)


@pytest.mark.parametrize("narrow", [0.01, 0.001])
def test_narrow_collinear_clusters_far_apart(narrow):
    """Full covariances sum r z x', whose rounding errors are in proportion to x."""
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 4
    X = rng.normal(size=(4000, 8))
    X[:, -1] = X[:, 0] + 0.01 * X[:, -1]
    X = (X + rng.normal(size=(4, 8))[labels] * 3 / narrow).astype(np.float32)
    model, twin = (fastem.fit(data, 4, init=labels, reg_covar=0) for data in (X, X.astype(float)))
    assert model.report.status is twin.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(last_pivots(model), last_pivots(twin), rtol=0.05)


def test_narrow_clusters_of_one_feature():
    """Two clusters a millionth of their distance wide, near zero, where float32 numbers are dense enough."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1e-6, 1000), rng.normal(1e-5, 1e-6, 1000), rng.normal(10, 1, 1000)])
    X = X.astype(np.float32)[:, None]
    for covariance_type in ("full", "diag", "spherical"):
        options = {"covariance_type": covariance_type, "init": np.repeat([0, 1, 2], 1000), "reg_covar": 0}
        model, twin = (fastem.fit(data, 3, **options) for data in (X, X.astype(float)))
        assert model.report.status is twin.report.status is FitStatus.CONVERGED
        np.testing.assert_allclose(model.covariances, twin.covariances, rtol=1e-6)
        np.testing.assert_allclose(np.ravel(model.covariances)[:2], 1e-12, rtol=0.1)


SINGULAR = {
    "copied": lambda a: np.c_[a, a],
    "constant": lambda a: np.c_[a, np.full_like(a, 3.3)],
    "zero": lambda a: np.c_[a, np.zeros_like(a)],
    "Celsius and Fahrenheit": lambda a: np.c_[a, 1.8 * a + 32],
    "one row": lambda a: np.full((len(a), 2), 7.25),
}


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
@pytest.mark.parametrize("reg_covar", [0, "auto"])
@pytest.mark.parametrize("covariance_type", MATRICES)
@pytest.mark.parametrize("name", SINGULAR)
def test_singular_features_are_still_degenerate(name, covariance_type, reg_covar):
    X = SINGULAR[name](np.random.default_rng(0).normal(20, 5, 2000)).astype(np.float32)
    model = fastem.fit(X, 2, covariance_type=covariance_type, reg_covar=reg_covar, rng=0)
    assert model.report.status is FitStatus.DEGENERATE
    assert np.isfinite(model.covariances).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert model.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


def test_other_sources_give_the_same_bits(tmp_path):
    X, labels = collinear(0.1, n=3000)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    cases = [(X, 1), (X, 2), (mapped, 1), ([X[:1100], X[1100:]], 1)]
    with suppress(ImportError):
        from pyarrow import parquet, table

        parquet.write_table(table({"a": X[:, 0], "b": X[:, 1]}), tmp_path / "X.parquet")
        cases.append((tmp_path / "X.parquet", 1))
    for init in (labels, "k-means++"):
        models = [
            fastem.fit(data, 2, init=init, reg_covar=0, rng=0, n_threads=n_threads)
            for data, n_threads in cases
        ]
        for model in models[1:]:
            np.testing.assert_array_equal(model.covariances, models[0].covariances)
            assert model.report.history == models[0].report.history


def test_dask_takes_sums_again_too():
    array = pytest.importorskip("dask.array")
    X, labels = collinear(0.1)
    model = fastem.fit(array.from_array(X, chunks=(1500, 2)), 2, init=labels, reg_covar=0)
    assert model.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(last_pivots(model), 0.01, rtol=0.2)


def test_chunks_that_are_lost_when_sums_are_taken_again():
    """The E-step of iteration 0 has read the rows for the last time."""
    X, _ = collinear(0.02)
    reads = []

    def chunks():
        reads.append(None)
        if len(reads) > limit:
            raise OSError("gone")
        return iter([X])

    start = GaussianMixture([1.0], [[0.0, 0.0]], 1e4 * np.eye(2)[None])
    limit = np.inf
    fastem.fit(chunks, 1, init=start, reg_covar=0, max_iter=0)
    limit, _ = len(reads), reads.clear()
    with pytest.raises(fastem.FitInterrupted) as caught:
        fastem.fit(chunks, 1, init=start, reg_covar=0)
    np.testing.assert_allclose(caught.value.model.covariances, start.covariances)


@pytest.mark.parametrize("covariance_type", MATRICES)
def test_stepwise_em_takes_the_sums_of_a_chunk_again(covariance_type):
    X, _ = collinear(0.1, n=8000)
    covariance = np.full((2, 2), 1e4) + np.diag([0.0, 0.05])
    shaped = covariance if covariance_type == "tied" else covariance[None]
    model = GaussianMixture([1.0], [X.mean(axis=0)], shaped, covariance_type)
    for start in range(0, 8000, 2000):
        model = fastem.partial_fit(model, X[start : start + 2000], reg_covar=0, step=0.9)
    twin = fastem.fit(X.astype(float), 1, covariance_type=covariance_type, reg_covar=0)
    np.testing.assert_allclose(last_pivots(model), last_pivots(twin), rtol=0.1)


def test_statistics_of_chunks_are_in_float64_if_the_model_is_nearly_singular():
    X, labels = collinear(0.1)
    model = fastem.fit(X, 2, init=labels, reg_covar=0)
    parts = [fastem.e_step(part, model) for part in (X[:1000], X[1000:])]
    assert {part.dtype for part in parts} == {np.dtype(np.float64)}
    restored = fastem.Statistics.from_bytes((parts[0] + parts[1]).to_bytes())
    assert restored.rows_dtype == np.float32
    assert restored.stored_precision == np.finfo(np.float32).eps
    again = fastem.m_step(restored, reg_covar=0)
    np.testing.assert_allclose(last_pivots(again), last_pivots(model), rtol=0.01)


def test_scores_are_those_of_float64():
    X, labels = collinear(0.02)
    model = fastem.fit(X, 2, init=labels, reg_covar=0)
    np.testing.assert_allclose(model.score_samples(X), model.score_samples(X.astype(float)), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), model.predict(X.astype(float)))


def test_ordinary_float32_passes_stay_in_float32():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)).astype(np.float32)
    for covariance_type in TYPES:
        model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
        assert fastem.e_step(X, model).dtype == np.float32


@pytest.mark.parametrize("k", [2, 400])  # few components are decided by a bound, many are not
@pytest.mark.parametrize("layout", [Full(), Tied()])
@pytest.mark.parametrize(
    ("ratio", "mean", "expected"),
    [
        (1e-3, 0.0, np.float32),
        (3e-5, 0.0, np.float32),
        (3e-6, 0.0, np.float64),
        (3e-5, 1e4, np.float64),
    ],
)
def test_the_dtype_of_a_pass(layout, k, ratio, mean, expected):
    """`ratio` is the smallest eigenvalue of the correlations. Means matter only if z is not centred twice."""
    m = layout.shape(k, 2)[0]
    covariances = np.tile(np.eye(2), (m, 1, 1))
    covariances[-1] = [[1, 1 - ratio], [1 - ratio, 1]]
    parameters = GaussianParameters(np.full(k, 1 / k), np.full((k, 2), mean), covariances)
    packed = layout.pack(parameters, Frame(np.zeros(2), np.ones(2), np.zeros(2)), np.dtype(np.float32))
    if layout.centred and mean > 0:
        expected = np.float32
    assert packed.shift.dtype == packed.whiteners.dtype == packed.log2_weights.dtype == expected


def test_bounds_decide_as_exact_numbers_do():
    rng = np.random.default_rng(0)
    dtype = np.dtype(np.float32)
    for _ in range(2000):
        k, d = rng.integers(1, 4), rng.integers(1, 5)
        scales = 10 ** rng.uniform(-4, 0.3, size=(k, d, 1))
        factors = np.tril(rng.normal(size=(k, d, d)) * 10 ** rng.uniform(-3, 0, size=(k, d, d)))
        factors[:, range(d), range(d)] = 10 ** rng.uniform(-3.5, 0, size=(k, d))
        factors = scales * factors
        covariances, whiteners = factors @ factors.transpose(0, 2, 1), np.linalg.inv(factors)
        means = rng.normal(size=(k, d)) * 10 ** rng.uniform(-3, 2)
        many = 1 + 1024 // k
        once = pass_dtype(dtype, covariances, whiteners, means)
        # Copies of all components change nothing but the way.
        copies = (np.repeat(array, many, axis=0) for array in (covariances, whiteners, means))
        assert once == pass_dtype(dtype, *copies)
        pivots, variances = factors[:, range(d), range(d)] ** 2, covariances[:, range(d), range(d)]
        least = noise(variances, float(np.finfo(dtype).eps), 1.0)
        far = np.maximum(1, 0.5 * (np.abs(means) / np.sqrt(np.maximum(variances, least))).max(axis=1))
        assert hides(pivots, least, variances, means) == (pivots <= 3 * least * far[:, None]).any()


def test_the_noise_of_stored_numbers():
    """Numbers near 1000 are stored in steps of 2 ** -14 in float32."""
    x = np.random.default_rng(0).uniform(990, 1010, 100_000)
    measured = np.square(x.astype(np.float32) - x).mean()
    predicted = stored_noise(np.square(x).mean(), float(np.finfo(np.float32).eps))
    assert measured == pytest.approx(2.0**-28 / 12, rel=0.02)
    assert predicted == pytest.approx(measured, rel=0.02)
