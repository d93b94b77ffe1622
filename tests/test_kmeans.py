"""k-means. The tests of the kernel also run interpreted (NUMBA_DISABLE_JIT=1)."""

import pickle

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem._families.centres import KMEANS, Centres
from fastem._families.steps import Scores
from fastem._sources.open import source_of
from fastem._sources.passes import Sweep

RNG = np.random.default_rng(0)
SPREAD = RNG.normal(size=(700, 3)) + 6 * RNG.normal(size=(4, 3))[RNG.integers(0, 4, 700)]


def one_pass(X, centers, weight=None):
    source = source_of(X, weight, None)
    frame = KMEANS.frame(source.moments(), source.dtype)
    packed = KMEANS.pack(Centres(np.ones(len(centers)), centers), frame, source.dtype)
    statistics = source.reduce(Sweep(KMEANS, len(centers), packed, frame))
    return statistics.sums(), -statistics.log_likelihood * frame.scale[0] ** 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (257, 3, 2), (300, 1, 5), (520, 5, 4), (90, 17, 9)])
def test_a_pass_matches_the_loops(n, d, k, dtype, weighted):
    rng = np.random.default_rng(n)
    X, centers = (1000 + rng.normal(size=(n, d))).astype(dtype), 1000 + rng.normal(size=(k, d))
    weight = rng.uniform(0, 2, n).astype(dtype) if weighted else None
    labels, weights, first, inertia = naive.lloyd_pass(
        X.astype(np.float64), np.ones(n) if weight is None else weight.astype(np.float64), centers
    )
    sums, found = one_pass(X, centers, weight)
    assert_array_equal(fastem.KMeans(centers).predict(X), labels)
    assert_allclose(sums["weights"], weights, rtol=1e-12)
    assert_allclose(sums["first"], first, rtol=1e-9, atol=1e-9 * np.abs(first).max())
    assert found == pytest.approx(inertia, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "d", "k"), [(257, 3, 2), (600, 1, 5), (520, 17, 9), (40, 2, 1)])
def test_passes_that_remember_bounds_match_the_loops(n, d, k, dtype):
    """Most rows stay with their center without a comparison. Then the centers jump."""
    rng = np.random.default_rng(n)
    X = (100 + rng.normal(size=(n, d)) + 4 * rng.integers(0, 3, (n, 1))).astype(dtype)
    weight = rng.uniform(0, 2, n).astype(dtype)
    X[-1], weight[-1] = 1e4, 0
    source = source_of(X, weight, None)
    frame = KMEANS.frame(source.moments(), source.dtype)
    centers = X[:k].astype(np.float64)
    for iteration in range(8):
        packed = KMEANS.pack(Centres(np.ones(k), centers), frame, source.dtype)
        sums = source.reduce(Sweep(KMEANS, k, packed, frame)).sums()
        labels = np.empty(n, np.int64)
        source.score(Sweep(KMEANS, k, packed, frame), Scores(labels=labels))
        expected, weights, first, _ = naive.lloyd_pass(
            X.astype(np.float64), weight.astype(np.float64), centers
        )
        assert_array_equal(labels, expected)
        assert_allclose(sums["weights"], weights, rtol=1e-12)
        assert_allclose(sums["first"], first, rtol=1e-9, atol=1e-9 * n)
        centers = centers + first / np.where(weights > 0, weights, 1)[:, None]
        if iteration == 5:
            centers = centers[::-1] + rng.normal(size=(k, d))


def test_a_row_that_its_bound_decides_is_not_compared():
    X = np.array([[0.0], [1.0], [10.0], [11.0]])
    source = source_of(X, None, None)
    frame = KMEANS.frame(source.moments(), source.dtype)
    packed = KMEANS.pack(Centres(np.ones(2), np.array([[0.5], [10.5]])), frame, source.dtype)
    sweep = Sweep(KMEANS, 2, packed, frame)
    source.reduce(sweep)
    (slab,) = source.slabs(len(X))
    labels, bounds = slab.kept["nearest"]
    assert_array_equal(labels, [0, 0, 1, 1])
    # It is below the distance to the other center, by no more than float32 rounds.
    assert_allclose(bounds * frame.scale[0], [10.5, 9.5, 9.5, 10.5], rtol=1e-6)
    assert (bounds * frame.scale[0] < [10.5, 9.5, 9.5, 10.5]).all()
    labels[0], bounds[0] = 1, 1000
    found = np.empty(4, np.int64)
    source.score(sweep, Scores(labels=found))
    assert_array_equal(found, [1, 0, 1, 1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_does_not_choose_the_center(dtype):
    """|c|^2 - 2 c.x cancels here: two pairs are far apart, and the centers of a pair are near each other."""
    base = np.array([[-1000.0], [1000.0]])
    X = np.concatenate([base + step for step in np.array([0, 1, 2, 3, 4]) * 2.0**-12]).astype(dtype)
    centers = np.concatenate([base, base + 3 * 2.0**-12])
    labels, *_ = naive.lloyd_pass(X.astype(np.float64), np.ones(len(X)), centers)
    assert_array_equal(fastem.KMeans(centers).predict(X), labels)


def test_the_first_of_equally_near_centers_wins():
    X = np.array([[0.0], [1.0], [2.0]])
    assert_array_equal(fastem.KMeans([[2.0], [0.0], [0.0]]).predict(X), [1, 0, 0])


@pytest.mark.parametrize("k", [3, 8])
def test_Lloyd_agrees_with_scikit_learn(iris, digits, k):
    from sklearn.cluster import KMeans

    for X in (iris, digits):
        start = X[:: len(X) // k][:k].copy()
        model = fastem.kmeans(X, k, init=start, tol=0)
        peer = KMeans(k, init=start, n_init=1, tol=0).fit(X)
        assert_array_equal(model.labels, peer.labels_)
        scale = np.abs(X).max()
        assert_allclose(model.centers, peer.cluster_centers_, atol=1e-9 * scale)
        assert model.inertia == pytest.approx(peer.inertia_, rel=1e-9)
        assert_allclose(model.transform(X), peer.transform(X), atol=1e-9 * scale)


def test_one_default_fit_finds_the_best_inertia_known(iris, faithful):
    from sklearn.cluster import KMeans

    for X, k in ((iris, 3), (iris, 7), (faithful, 4)):
        best = KMeans(k, n_init=50, tol=0, random_state=0).fit(X).inertia_
        for seed in range(4):
            assert fastem.kmeans(X, k, rng=seed).inertia <= best * 1.0005


def test_momentum_leads_down_to_a_fixed_point_of_Lloyd_in_fewer_iterations():
    X, iterations = np.random.default_rng(0).uniform(size=(20_000, 4)), []
    for seed in range(5):
        model = fastem.kmeans(X, 8, rng=seed, tol=0, max_iter=1000)
        start = fastem.kmeans(X, 8, rng=seed, max_iter=0)
        plain = fastem.kmeans(X, 8, init=start, tol=0, max_iter=1000)
        assert model.report.converged
        assert plain.report.converged
        assert model.report.history[0] == plain.report.history[0]
        assert (np.diff(model.report.history) <= 1e-12 * model.inertia).all()
        assert model.inertia <= plain.inertia * (1 + 1e-6)
        iterations.append((model.report.n_iter, plain.report.n_iter))
    with_momentum, without = np.sum(iterations, axis=0)
    assert with_momentum < 0.75 * without
    again = fastem.kmeans(X, 8, init=model, tol=0, max_iter=1)
    assert_allclose(again.centers, model.centers, rtol=1e-12)
    assert_array_equal(again.labels, model.labels)


def test_model_and_report_agree():
    model = fastem.kmeans(SPREAD, 4, rng=0)
    assert_array_equal(model.labels, model.predict(SPREAD))
    assert_array_equal(model.sizes, np.bincount(model.labels))
    exact = np.square(SPREAD - model.centers[model.labels]).sum()
    assert model.inertia == pytest.approx(exact, rel=1e-12)
    assert model.report.history[-1] == model.inertia
    assert model.report.converged
    assert len(model.report.history) == model.report.n_iter + 1
    assert (np.diff(model.report.history) <= 1e-12 * model.inertia).all()
    assert repr(model).startswith("KMeans(k=4, n_features=3, inertia=")


def test_every_source_gives_the_bits_of_an_array(tmp_path):
    weight = RNG.uniform(0, 2, len(SPREAD))
    options = {"sample_weight": weight, "rng": 0, "tol": 0}
    model = fastem.kmeans(SPREAD, 4, **options)
    np.save(tmp_path / "X.npy", SPREAD)
    mapped = fastem.kmeans(np.load(tmp_path / "X.npy", mmap_mode="r"), 4, **options)
    chunks = fastem.kmeans(lambda: iter([SPREAD[:100], SPREAD[100:]]), 4, **options)
    for other in (mapped, chunks):
        assert_array_equal(other.centers, model.centers)
        assert_allclose(other.sizes, model.sizes, rtol=1e-12)
    assert chunks.labels is None
    assert_array_equal(mapped.labels, model.labels)


def test_dask_gives_the_same_clusters():
    da = pytest.importorskip("dask.array")
    X = da.from_array(SPREAD, chunks=(200, 3))
    model, whole = fastem.kmeans(X, 4, rng=0), fastem.kmeans(SPREAD, 4, rng=0)
    assert_allclose(model.centers, whole.centers, rtol=1e-9)
    assert_array_equal(model.predict(X).compute(), whole.labels)
    assert model.transform(X).compute().shape == (len(SPREAD), 4)


def test_parquet_gives_the_same_clusters(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({name: SPREAD[:, j] for j, name in enumerate("abc")}), tmp_path / "X.parquet")
    model = fastem.kmeans(tmp_path / "X.parquet", 4, rng=0)
    assert_array_equal(model.centers, fastem.kmeans(SPREAD, 4, rng=0).centers)
    assert model.feature_names == ("a", "b", "c")


def test_the_bits_do_not_depend_on_the_threads():
    X = np.random.default_rng(1).normal(size=(20_000, 3)).astype(np.float32)
    one, two = (fastem.kmeans(X, 6, rng=0, max_iter=5, tol=0.01, n_threads=n) for n in (1, 2))
    assert_array_equal(one.centers, two.centers)
    assert one.inertia == two.inertia


def test_integer_weights_count_rows():
    weight = RNG.integers(0, 3, len(SPREAD))
    start = SPREAD[:4].copy()
    model = fastem.kmeans(SPREAD, 4, sample_weight=weight, init=start, tol=0)
    repeated = fastem.kmeans(np.repeat(SPREAD, weight, axis=0), 4, init=start, tol=0)
    assert_allclose(model.centers, repeated.centers, rtol=1e-9)
    assert model.inertia == pytest.approx(repeated.inertia)


def test_units_and_offsets_do_not_matter():
    start = SPREAD[:4].copy()
    model = fastem.kmeans(SPREAD, 4, init=start, tol=0)
    for factor in (2.0**-400, 2.0**300):
        scaled = fastem.kmeans(SPREAD * factor, 4, init=start * factor, tol=0)
        assert_array_equal(scaled.centers, model.centers * factor)
        assert_array_equal(scaled.labels, model.labels)
    far = fastem.kmeans((SPREAD + 1000).astype(np.float32), 4, init=start + 1000, tol=0)
    assert_array_equal(far.labels, model.labels)
    assert_allclose(far.centers - 1000, model.centers, atol=1e-4)


def test_an_empty_cluster_takes_the_farthest_row():
    X = np.array([[0.0], [1.0], [2.0], [50.0]])
    model = fastem.kmeans(X, 2, init=[[1.0], [1e6]], tol=0)
    assert sorted(model.centers.ravel()) == [1.0, 50.0]
    (repair,) = model.report.repairs
    assert (repair.iteration, repair.component) == (1, 1)
    assert repair.what.startswith("moved")


def test_more_clusters_than_distinct_rows():
    X = np.repeat([[0.0], [1.0], [5.0]], 4, axis=0)
    with pytest.warns(fastem.FitWarning, match="EMPTY: 2 of 5"):
        model = fastem.kmeans(X, 5, rng=0)
    assert model.inertia == 0
    assert sorted(model.sizes) == [0, 0, 4, 4, 4]
    assert {repair.what[:4] for repair in model.report.repairs} == {"kept"}


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
def test_other_starts_and_restarts(init):
    single = fastem.kmeans(SPREAD, 4, init=init, rng=0)
    several = fastem.kmeans(SPREAD, 4, init=init, n_init=5, rng=0)
    assert several.inertia <= single.inertia
    again = fastem.kmeans(SPREAD, 4, init=several)
    assert again.inertia <= several.inertia


def test_one_cluster_is_the_mean():
    model = fastem.kmeans(SPREAD, 1)
    assert_allclose(model.centers, SPREAD.mean(axis=0)[None])


def test_callbacks_stop_and_max_iter_warns():
    seen = []

    def callback(iteration, inertia, model):
        seen.append((iteration, inertia))
        assert isinstance(model, fastem.KMeans)
        return iteration == 2

    model = fastem.kmeans(SPREAD, 9, init=SPREAD[:9], tol=0, callback=callback)
    assert [i for i, _ in seen] == [0, 1, 2]
    assert model.report.status is fastem.FitStatus.STOPPED
    assert model.inertia == seen[-1][1]
    with pytest.warns(fastem.FitWarning, match="MAX_ITER"):
        fastem.kmeans(SPREAD, 9, init=SPREAD[:9], tol=0, max_iter=1)


def test_files_and_pickles(tmp_path):
    model = fastem.kmeans(SPREAD, 3, rng=0)
    model.save(tmp_path / "model.npz")
    for other in (fastem.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other.centers, model.centers)
        assert_array_equal(other.labels, model.labels)
        assert_array_equal(other.sizes, model.sizes)
        assert (other.inertia, other.report) == (model.inertia, model.report)
    with pytest.raises(AttributeError, match="immutable"):
        model.inertia = 0.0
    with pytest.raises(ValueError, match="read-only"):
        model.centers[0] = 0


def fail(rows):
    raise AssertionError("work has begun")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1"),
        ({"init": "kmeans"}, r"init must be one of 'auto', 'k-means\+\+'"),
        ({"init": [[0.0, 0.0]]}, r"init must be a name, centers of shape \(k, d\) with k=2"),
        ({"init": [[0.0], [np.nan]]}, "init centers must be finite"),
        ({"n_init": 0}, "n_init must be an integer of at least 1"),
        ({"tol": -1.0}, "tol must be a finite number of at least 0"),
        ({"max_iter": -1}, "max_iter must be an integer of at least 0"),
        ({"callback": 3}, "callback must be callable"),
        ({"rng": "a"}, "rng must be None"),
    ],
)
def test_bad_options_fail_before_any_work(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fastem.kmeans(fail, **{"k": 2, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 0.5]}, "labels must be integers from 0 to k - 1 = 1, one a row; got dtype float64"),
        ({"labels": [0, 2]}, "labels must be .* row 1 has 2"),
        ({"labels": [[0]]}, r"labels must be .* got shape \(1, 1\)"),
        ({"sizes": [1, np.nan]}, "sizes must be finite"),
        ({"sizes": [1, -1]}, "sizes must be at least 0"),
        ({"sizes": [1]}, r"sizes must have shape \(2,\)"),
        ({"inertia": np.nan}, "inertia must be a number of at least 0; got nan"),
        ({"inertia": -1.0}, "inertia must be a number of at least 0"),
        ({"report": "good"}, "report must be a KMeansReport.* got str"),
        ({"centers": [[0.0], [1.0, 2.0]]}, "centers must be an array of numbers; its rows differ in length"),
    ],
)
def test_bad_models(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fastem.KMeans(**{"centers": [[0.0], [1.0]], **options})


def test_a_start_from_a_model_of_other_columns():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    table = pandas.DataFrame(SPREAD[:, :2], columns=["a", "b"])
    model = fastem.kmeans(table, 2, rng=0)
    with pytest.raises(ValueError, match=r"X must have the columns \['a', 'b'\].* lacks \['b'\]"):
        fastem.kmeans(table[["a"]], 2, init=model)
    with pytest.raises(ValueError, match=r"columns must be those of the model"):
        fastem.kmeans(table, 2, init=model, columns=["a"])
    expected = fastem.kmeans(SPREAD[:, :2], 2, init=model).centers
    for columns in (None, model.feature_names):
        again = fastem.kmeans(table[["b", "a"]], 2, init=model, columns=columns)
        assert again.feature_names == model.feature_names
        assert_array_equal(again.centers, expected)


def test_bad_rows_and_centers():
    with pytest.raises(ValueError, match=r"init centers must have shape \(k, d\) = \(2, 3\)"):
        fastem.kmeans(SPREAD, 2, init=[[0.0], [1.0]])
    with pytest.raises(ValueError, match="row 5, column 1 is nan"):
        fastem.kmeans(np.where(np.arange(2100).reshape(700, 3) == 16, np.nan, SPREAD), 2)
    with pytest.raises(ValueError, match="row 1, column 0 is inf"):
        fastem.KMeans([[0.0], [1.0]]).transform([[0.0], [np.inf]])
    with pytest.raises(ValueError, match="k"):
        fastem.kmeans(SPREAD[:3], 4)
    with pytest.raises(ValueError, match="centers must have shape"):
        fastem.KMeans([1.0, 2.0])
