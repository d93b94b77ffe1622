"""Gaussians and a component of uniform noise."""

import pickle
import tracemalloc

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem._sources.open import source_of

TYPES = ("full", "tied", "diag", "spherical")


def outliers(seed, k, d, share, n=2000):
    """Rows of k clusters, and a share of rows that are uniform on a box around them. Labels tell which."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-6, 6, (k, d))
    axes = [np.linalg.qr(rng.normal(size=(d, d)))[0] * rng.uniform(0.4, 1.3, d) for _ in range(k)]
    noise = int(n * share)
    labels = rng.integers(k, size=n - noise)
    X = means[labels] + np.einsum("nij,nj->ni", np.stack(axes)[labels], rng.normal(size=(n - noise, d)))
    around = rng.uniform(X.min(axis=0) - 4, X.max(axis=0) + 4, (noise, d))
    order = rng.permutation(n)
    return np.concatenate([X, around])[order], np.concatenate([labels, np.full(noise, -1)])[order]


def parameters_of(model):
    return {"weights": model.weights, **model.parameters}


def assert_same_model(actual, expected, **tolerance):
    assert_array_equal(actual.noise_box, expected.noise_box)
    for name, value in parameters_of(expected).items():
        assert_allclose(parameters_of(actual)[name], value, err_msg=name, **tolerance)


X, LABELS = outliers(0, 3, 2, 0.1)
MODEL = fastem.fit(X, 3, noise_component=True, rng=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_iterations_are_those_of_the_slow_twin(covariance_type, dtype):
    rows = X[:300].astype(dtype)
    weight = np.random.default_rng(0).uniform(0.5, 2, 300)
    options = {"covariance_type": covariance_type, "noise_component": True, "reg_covar": 0, "rng": 0}
    start = fastem.fit(rows, 3, init="random_from_data", max_iter=0, **options)
    fitted = fastem.fit(
        rows, 3, init=start, sample_weight=weight, max_iter=5, tol=0, acceleration=None, **options
    )
    box = np.array([rows.min(axis=0), rows.max(axis=0)], np.float64)
    assert_array_equal(fitted.noise_box, box)
    covariances = start.parameters["covariances"]
    about = covariances[0] if covariance_type == "tied" else covariances
    (weights, means, expected), history = naive.em_with_noise(
        rows.astype(np.float64),
        weight,
        start.weights,
        start.parameters["means"],
        about,
        covariance_type,
        box,
        5,
    )
    close = {"rtol": 1e-8, "atol": 1e-9} if dtype is np.float64 else {"rtol": 2e-4, "atol": 2e-4}
    assert_allclose(fitted.weights, weights, **close)
    assert_allclose(fitted.parameters["means"], means, **close)
    found = fitted.parameters["covariances"]
    assert_allclose(found[0] if covariance_type == "tied" else found, expected, **close)
    assert_allclose(fitted.report.history, history, rtol=1e-11 if dtype is np.float64 else 1e-5)


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("seed", [1, 3, 8])
def test_outliers_are_found(seed, share):
    """The likelihood is no less than that of EM from the truth."""
    k, d = 3 + seed % 3, 2 + seed % 3
    rows, labels = outliers(seed, k, d, share)
    model = fastem.fit(rows, k, noise_component=True, rng=0)
    truth = fastem.fit(rows[labels >= 0], k, init=labels[labels >= 0], max_iter=0)
    start = {"means": truth.means, "covariances": truth.covariances}
    from_truth = fastem.fit(rows, k, noise_component=True, init=start, tol=1e-9, max_iter=500)
    assert model.report.log_likelihood >= from_truth.report.log_likelihood - 0.5
    assert model.weights[-1] == pytest.approx(share, abs=0.02)
    found = model.predict(rows)
    right = (found == -1) & (labels == -1)
    assert right.sum() >= 0.75 * (labels == -1).sum()
    assert right.sum() >= 0.9 * (found == -1).sum()
    order = [np.bincount(labels[(found == j) & (labels >= 0)]).argmax() for j in range(k)]
    assert_allclose(model.parameters["means"], truth.means[order], atol=0.25)
    assert_allclose(model.parameters["covariances"], truth.covariances[order], atol=0.4)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_without_outliers_there_is_no_noise(covariance_type):
    clean = X[LABELS >= 0]
    options = {"covariance_type": covariance_type, "rng": 0, "tol": 1e-9, "max_iter": 2000}
    model, plain = (fastem.fit(clean, 3, noise_component=noise, **options) for noise in (True, False))
    assert model.weights[-1] < (1e-3 if covariance_type in ("full", "diag") else 0.05)
    assert model.report.log_likelihood >= plain.report.log_likelihood - 1e-3
    assert np.isfinite(model.parameters["means"]).all()
    if covariance_type == "full":
        assert model.bic(clean) > plain.bic(clean)


def test_rows_that_are_all_noise():
    rows = np.random.default_rng(0).uniform(size=(500, 2))
    model = fastem.fit(rows, 2, noise_component=True, rng=0)
    assert model.weights[-1] > 0.8
    assert all(np.isfinite(value).all() for value in parameters_of(model).values())


@pytest.mark.parametrize("covariance_type", [*TYPES, "EII", "VEI", "VVE", "EEV"])
def test_BIC_counts_as_mclust_does(covariance_type):
    options = {"covariance_type": covariance_type, "rng": 0, "max_iter": 2, "tol": 0}
    noisy, plain = (fastem.fit(X, 3, noise_component=noise, **options) for noise in (True, False))
    assert noisy.n_parameters == plain.n_parameters + 2
    expected = -2 * noisy.score_samples(X).sum() + noisy.n_parameters * np.log(len(X))
    assert noisy.bic(X) == pytest.approx(expected)


def test_scores():
    proba, labels = MODEL.predict_proba(X), MODEL.predict(X)
    assert MODEL.n_components == 3
    assert proba.shape == (len(X), 4)
    assert_allclose(proba.sum(axis=1), 1)
    best = proba.argmax(axis=1)
    assert_array_equal(labels, np.where(best < 3, best, -1))
    parts = MODEL.component_log_densities(X)
    assert_allclose(parts[:, 3], -np.log(np.ptp(X, axis=0)).sum())
    assert_allclose(MODEL.score_samples(X), np.log(np.exp(parts) @ MODEL.weights))
    assert MODEL.lower_bound(X, proba) == pytest.approx(MODEL.score_samples(X).sum())
    assert MODEL.report.log_likelihood == pytest.approx(MODEL.score_samples(X).sum())
    assert_array_equal(MODEL.predict(np.array([[1e3, 0.0], [0.0, -1e9]])), [-1, -1])
    assert "noise" in MODEL.summary()
    assert "nan" not in MODEL.summary()


def test_samples():
    rows, labels = MODEL.sample(20_000, rng=0)
    noise = rows[labels == -1]
    low, high = MODEL.noise_box
    assert len(noise) == pytest.approx(20_000 * MODEL.weights[-1], rel=0.1)
    assert ((noise >= low) & (noise <= high)).all()
    assert_allclose(noise.mean(axis=0), (low + high) / 2, atol=0.5)
    assert_allclose(noise.std(axis=0), (high - low) / np.sqrt(12), rtol=0.05)
    for component in range(3):
        mine = rows[labels == component]
        assert_allclose(mine.mean(axis=0), MODEL.parameters["means"][component], atol=0.1)


def test_an_iteration_by_hand(tmp_path):
    expected = fastem.fit(
        X, 3, noise_component=True, init=MODEL, max_iter=1, tol=0, acceleration=None, reg_covar=0
    )
    parts = [fastem.e_step(part, MODEL) for part in np.array_split(X, 3)]
    merged = fastem.Statistics.from_bytes(sum(parts).to_bytes())
    assert_same_model(fastem.m_step(merged, reg_covar=0), expected, rtol=1e-9, atol=1e-10)
    MODEL.save(tmp_path / "model.npz")
    for twin in (fastem.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(MODEL))):
        assert_same_model(twin, MODEL, rtol=0)
        assert_array_equal(twin.predict(X), MODEL.predict(X))
        assert twin.n_parameters == MODEL.n_parameters


@pytest.mark.parametrize("covariance_type", ["full", "tied", "VEI"])
def test_a_component_without_rows_keeps_its_mean(covariance_type):
    far = np.concatenate([X, 1e4 + np.random.default_rng(0).normal(size=(40, 2))])
    options = {"covariance_type": covariance_type, "noise_component": True, "reg_covar": 0}
    model = fastem.fit(far, 4, init=np.append(LABELS % 3, [3] * 40), max_iter=3, tol=0, **options)
    lone = 3
    assert model.parameters["means"][lone].max() > 9e3
    stepped = fastem.m_step(fastem.e_step(X, model), reseed=False)
    assert_array_equal(stepped.parameters["means"][lone], model.parameters["means"][lone])
    if covariance_type == "full":
        own = model.parameters["covariances"][lone]
        assert_array_equal(stepped.parameters["covariances"][lone], own)
    assert stepped.weights[lone] == 0
    assert stepped.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_features_that_kernels_screen(dtype):
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (3, 26))
    rows = centres[np.arange(900) % 3] + rng.normal(size=(900, 26))
    rows = np.concatenate([rows, rng.uniform(-15, 15, (100, 26))]).astype(dtype)
    model = fastem.fit(rows, 3, noise_component=True, rng=0)
    assert model.weights[-1] == pytest.approx(0.1, abs=1e-6)
    assert_array_equal(model.predict(rows) == -1, np.arange(1000) >= 900)
    total = fastem.e_step(rows, model).log_likelihood
    assert total == pytest.approx(model.score_samples(rows.astype(np.float64)).sum(), rel=1e-6)


def test_bits_of_sources_and_threads():
    def chunks():
        return iter([X[:700], X[700:]])

    for other in (
        fastem.fit(chunks, 3, noise_component=True, rng=0),
        fastem.fit(X, 3, noise_component=True, rng=0, n_threads=1),
    ):
        assert_same_model(other, MODEL, rtol=0)


def test_dask_weights_the_box_too():
    array = pytest.importorskip("dask.array")
    weight = (np.abs(X) < 9).all(axis=1).astype(float)
    options = {"noise_component": True, "init": MODEL, "max_iter": 3, "tol": 0}
    expected = fastem.fit(X, 3, sample_weight=weight, **options)
    lazy, weights = array.from_array(X, (700, 2)), array.from_array(weight, 700)
    assert_same_model(fastem.fit(lazy, 3, sample_weight=weights, **options), expected, rtol=1e-8)
    kept = fastem.fit(X[weight > 0], 3, **options)
    assert_same_model(kept, expected, rtol=1e-8)
    assert (np.abs(kept.noise_box) < 9).all()


def test_units_do_not_matter():
    scale = 2.0 ** np.array([-30, 40])
    one, moved = (fastem.fit(Y, 3, noise_component=True, init="kmeans", rng=0) for Y in (X, X * scale))
    assert_array_equal(moved.weights, one.weights)
    assert_array_equal(moved.parameters["means"] / scale, one.parameters["means"])


def test_other_starts_and_options():
    labels = np.where(LABELS < 0, 0, LABELS)
    known = np.where(np.arange(len(X)) % 10 == 0, LABELS, -1)
    best = MODEL.report.log_likelihood
    for options in (
        {"init": labels},
        {"init": np.eye(3)[labels]},
        {"init": {"means": MODEL.parameters["means"]}},
        {"init": "random", "n_init": 3},
        {"init": fastem.fit(X[::2], 3, noise_component=True, rng=1)},
    ):
        fitted = fastem.fit(X, 3, noise_component=True, rng=0, tol=1e-7, max_iter=1000, **options)
        assert fitted.report.log_likelihood == pytest.approx(best, abs=0.1), options
    supervised = fastem.fit(X, 3, noise_component=True, labels=known, rng=0)
    assert np.mean(supervised.predict(X) == LABELS) > 0.95
    hard = fastem.fit(X, 3, noise_component=True, assignment="hard", rng=0)
    assert hard.weights[-1] == pytest.approx(np.mean(hard.predict(X) == -1), abs=0.01)
    weights = np.array([0.3, 0.3, 0.3, 0.1])
    fixed = fastem.fit(X, 3, noise_component=True, init={"weights": weights}, fixed=("weights",), rng=0)
    assert_array_equal(fixed.weights, weights)
    online = fastem.partial_fit(None, X[:1000], k=3, noise_component=True, rng=0)
    online = fastem.partial_fit(online, X[1000:])
    assert online.weights[-1] == pytest.approx(0.1, abs=0.03)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="noise_component must be False for distribution='student'"):
        fastem.fit(X, 2, distribution="student", noise_component=True)
    with pytest.raises(ValueError, match=r"noise_component must be False for .*poisson"):
        fastem.fit(np.abs(X).round(), 2, distribution="poisson", noise_component=True)
    flat = np.column_stack([X, np.full(len(X), 7.0)])
    with pytest.raises(ValueError, match=r"column 2 is always 7\.0"):
        fastem.fit(flat, 2, noise_component=True)
    with pytest.raises(ValueError, match="init as a model must have"):
        fastem.fit(X, 3, noise_component=True, init=fastem.fit(X, 3, rng=0, max_iter=1, tol=0))
    with pytest.raises(ValueError, match=r"init weights must have shape \(4,\)"):
        fastem.fit(X, 3, noise_component=True, init={"weights": [0.5, 0.25, 0.25]})
    with pytest.raises(ValueError, match="Pass noise_component=True to go on"):
        fastem.fit(X, 3, init=MODEL)
    for name, other in (("prior", {"prior": "default"}), ("inference", {"inference": "variational"})):
        with pytest.raises(ValueError, match=f"{name} must be .* with noise_component=True.*They do not go"):
            fastem.fit(X, 3, noise_component=True, **other)
    for wrong in ("no", [False], None, 1):
        with pytest.raises(TypeError, match="noise_component must be True or False"):
            fastem.fit(X, 3, noise_component=wrong)
    for name in ("regress", "condition", "marginal", "merge"):
        with pytest.raises(AttributeError, match="for Gaussian mixtures alone"):
            getattr(MODEL, name)


@pytest.mark.parametrize(("far", "weights"), [(300, [0.2, 0.4, 0.4]), (3000, [1e-4, 0.2, 0.8])])
def test_a_row_far_from_all_others_does_not_spoil_the_start(far, weights):
    """Its box is so large that Gaussians from k-means take the sparse rows before the noise can.

    At 3000 that is also what the likelihood prefers. But the row itself, which the sample of the start lacks,
    must stay noise.
    """
    rng = np.random.default_rng(1)
    one = rng.normal(size=(4000, 2)) * [1, 0.5]
    other = rng.normal(size=(4000, 2)) @ np.array([[1, 0.8], [0, 0.4]]) + [8, 3]
    rows = np.concatenate([one, other, rng.uniform(-20, 30, (2000, 2)), [[far, far]]])
    model = fastem.fit(rows, 2, noise_component=True, rng=0)
    assert_allclose(np.sort(model.weights), weights, atol=0.01)
    assert model.predict(rows[-1:]) == [-1]


def test_where_most_rows_repeat_the_start_has_rows_left():
    """Then k-means on the rows in dense places alone has nothing but the place that repeats."""
    rows = np.concatenate([np.tile([[5.0, 7.0]], (240, 1)), np.random.default_rng(0).normal(size=(60, 2))])
    with pytest.warns(fastem.FitWarning):
        model = fastem.fit(rows, 3, noise_component=True, rng=0)
    assert np.isfinite(model.report.log_likelihood)
    assert model.weights.max() == pytest.approx(0.8, abs=0.01)


def test_a_picture_shows_the_noise():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = fastem.plot.classification(MODEL, X)
    assert "noise" in [drawn.get_label() for drawn in ax.collections]
    fastem.plot.uncertainty(MODEL, X)
    fastem.plot.density(MODEL, X)
    pyplot.close("all")


def test_the_box_of_weighted_rows_takes_no_copy_of_all():
    X, weight = np.zeros((1_000_000, 8)), np.ones(1_000_000)
    X[:, :] = np.arange(8)
    X[0], X[1], weight[1] = -1.0, 1e6, 0.0
    source = source_of(X, weight, 1)
    source.moments()
    tracemalloc.start()
    low, high = source.facts().extent()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_array_equal([low, high], [np.full(8, -1.0), np.arange(8)])
    assert peak < X.nbytes / 3  # it was a copy, and is parts of 65,536 rows


@pytest.mark.filterwarnings("error:.*encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:DEGENERATE:fastem.FitWarning")
@pytest.mark.parametrize("covariance_type", ["full", "tied", "EEI", "EEE", "VEV"])
def test_all_rows_may_be_noise(covariance_type):
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(2, 2)) * [1e8, 1]
        model = fastem.fit(X, 1, covariance_type=covariance_type, noise_component=True, rng=0)
        assert all(np.isfinite(values).all() for values in model.parameters.values())
