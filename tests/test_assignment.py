"""Known labels, hard assignment, fixed parameters and the lower bound."""

import numpy as np
import pytest
from distributions import Normal
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.datasets import load_iris

import fastem

TYPES = ["full", "tied", "diag", "spherical"]


def three_clusters(n=600, d=2, seed=0, gap=4.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    centres = gap * rng.normal(size=(3, d))
    return centres[labels] + rng.normal(size=(n, d)), labels


def some_known(labels, share, seed=1):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, labels, -1)


def joint(model, X):
    with np.errstate(divide="ignore"):
        return model.component_log_densities(X) + np.log(model.weights)


def naive_em(X, model, known, weight, iterations, hard=False):
    """EM with full covariances in NumPy. Returns the history and the last parameters."""
    w, m, c = model.weights, model.means, model.covariances
    history = []
    for step in range(iterations + 1):
        here = joint(fastem.GaussianMixture(w, m, c), X)
        own = here.argmax(axis=1) if hard else np.full(len(X), -1)
        own = np.where(known >= 0, known, own)
        allowed = (own < 0)[:, None] | (own[:, None] == np.arange(len(w)))
        here = np.where(allowed, here, -np.inf)
        log_p = logsumexp(here, axis=1)
        history.append(weight @ log_p)
        if step == iterations:
            break
        r = np.exp(here - log_p[:, None]) * weight[:, None]
        n_k = r.sum(axis=0)
        w, m = n_k / n_k.sum(), r.T @ X / n_k[:, None]
        z = X[:, None] - m
        c = np.einsum("ik,ikj,ikl->kjl", r, z, z) / n_k[:, None, None]
    return np.array(history), w, m, c


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("d", [2, 25])  # from 24 features on densities are screened
def test_agrees_with_em_in_numpy(hard, share, d):
    X, labels = three_clusters(n=700, d=d, gap=0.8)
    known = some_known(labels, share)
    weight = np.random.default_rng(2).uniform(0, 2, len(X))
    start = fastem.fit(X, 3, init=labels, max_iter=0, reg_covar=0)
    start = fastem.GaussianMixture([0.2, 0.3, 0.5], start.means[[1, 2, 0]], start.covariances)
    fitted = fastem.fit(
        X,
        3,
        init=start,
        labels=known,
        sample_weight=weight,
        assignment="hard" if hard else "soft",
        tol=0,
        max_iter=20,
        reg_covar=0,
        acceleration=None,
    )
    history, w, m, c = naive_em(X, start, known, weight, 20, hard)
    assert_allclose(fitted.report.history, history, rtol=1e-9)
    assert_allclose(fitted.weights, w, atol=1e-9)
    assert_allclose(fitted.means, m, atol=1e-9)
    assert_allclose(fitted.covariances, c, atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_neither_likelihood_falls(covariance_type, dtype):
    X, labels = three_clusters(gap=1.0)
    known = some_known(labels, 0.05)
    for assignment in ("soft", "hard"):
        for labels_given in (None, known):
            report = fastem.fit(
                X.astype(dtype),
                3,
                covariance_type=covariance_type,
                assignment=assignment,
                labels=labels_given,
                rng=0,
            ).report
            assert report.status in (fastem.FitStatus.CONVERGED, fastem.FitStatus.MAX_ITER)
            steps = np.diff(report.history)
            assert steps.min() > -1e-4 * len(X) * (dtype == np.float32) - 1e-9 * abs(report.objective)


def test_ten_labels_classify_iris():
    X, truth = load_iris(return_X_y=True)
    shares = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        known = np.full(len(X), -1)
        chosen = rng.choice(len(X), 10, replace=False)
        known[chosen] = truth[chosen]
        model = fastem.fit(X, 3, labels=known, rng=seed)
        shares.append(np.mean(model.predict(X) == truth))
    assert np.median(shares) >= 0.95
    assert np.mean(np.array(shares) >= 0.95) >= 0.9


@pytest.mark.parametrize("init", ["auto", "k-means++", "kmeans", "random", "random_from_data"])
def test_components_keep_the_numbers_of_the_labels(init):
    X, labels = three_clusters(gap=8.0)
    for names in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        known = some_known(np.array(names)[labels], 0.05)
        model = fastem.fit(X, 3, labels=known, init=init, rng=0)
        assert np.mean(model.predict(X) == np.array(names)[labels]) > 0.99


def test_a_label_may_have_no_row():
    X, labels = three_clusters(gap=8.0)
    known = np.where(labels == 1, some_known(labels, 0.2), -1)
    model = fastem.fit(X, 3, labels=known, rng=0)
    found = model.predict(X)
    assert np.mean(found[labels == 1] == 1) > 0.99
    assert len(set(found)) == 3


def test_labels_of_no_row_change_nothing():
    X, _ = three_clusters()
    plain = fastem.fit(X, 3, init="k-means++", rng=0)
    none_known = fastem.fit(X, 3, init="k-means++", labels=np.full(len(X), -1), rng=0)
    assert_array_equal(plain.means, none_known.means)
    assert plain.report.history == none_known.report.history


def test_the_likelihood_is_that_of_the_rows_and_their_labels():
    X, labels = three_clusters(gap=1.0)
    known = some_known(labels, 0.3)
    model = fastem.fit(X, 3, labels=known, rng=0)
    here = joint(model, X)
    expected = np.where(known >= 0, here[np.arange(len(X)), known], logsumexp(here, axis=1)).sum()
    assert_allclose(model.report.log_likelihood, expected, rtol=1e-12)


def test_a_few_labels_in_many_rows_are_in_the_sample():
    X, labels = three_clusters(n=200_000, gap=6.0)
    known = np.full(len(X), -1)
    for label in range(3):
        known[np.flatnonzero(labels == label)[-2:]] = (label + 1) % 3
    model = fastem.fit(X, 3, labels=known, rng=0)
    assert np.mean(model.predict(X) == (labels + 1) % 3) > 0.99


def test_an_impossible_row_keeps_its_label():
    X = np.array([[0.0], [0.0], [0.0], [5.0], [6.0], [0.0]])
    known = np.array([0, 0, 0, 1, 1, 1])
    start = fastem.Mixture([0.5, 0.5], {"rates": [[0.0], [5.0]]}, "poisson")
    model = fastem.fit(X, 2, distribution="poisson", init=start, labels=known, max_iter=1, tol=0)
    assert_allclose(model.parameters["rates"], [[0.0], [11 / 3]])
    wrong = np.array([0, 0, 0, 0, 1, 1])
    model = fastem.fit(X, 2, distribution="poisson", init=start, labels=wrong, max_iter=1, tol=0)
    assert_allclose(model.parameters["rates"], [[5 / 4], [3.0]])
    assert model.report.history[0] == -np.inf


def test_a_users_distribution_takes_labels_and_hard_assignment():
    X, labels = three_clusters(gap=8.0)
    known = some_known((labels + 1) % 3, 0.05)
    model = fastem.fit(X, 3, distribution=Normal(), labels=known, rng=0)
    assert np.mean(model.predict(X) == (labels + 1) % 3) > 0.99
    hard = fastem.fit(X, 3, distribution=Normal(), assignment="hard", labels=known, rng=0)
    assert np.diff(hard.report.history).min() > -1e-6
    here = joint(hard, X)
    best = np.where(known >= 0, here[np.arange(len(X)), known], here.max(axis=1)).sum()
    assert_allclose(hard.report.objective, best, rtol=1e-9)


def sources_of(X, known, tmp_path):
    import dask.array as da
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = pd.DataFrame(X, columns=["a", "b"])
    table = frame.assign(group=np.where(known >= 0, known, np.nan))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(table), path)
    ends = [(0, 100), (100, 101), (101, 400), (400, len(X))]
    dicts = [{"X": X[i:j], "labels": known[i:j]} for i, j in ends]
    yield [X[i:j] for i, j in ends], {"labels": known}
    yield lambda: iter(dicts), {}
    yield frame, {"labels": pd.Series(known)}
    yield table, {"labels": "group"}
    yield table[["group", "b", "a"]], {"labels": "group", "columns": ["a", "b"]}
    yield path, {"labels": "group"}
    yield path, {"labels": "group", "cache_dir": tmp_path}
    yield da.from_array(X, chunks=(250, 2)), {"labels": known}
    yield da.from_array(X, chunks=(250, 2)), {"labels": da.from_array(known, chunks=250)}


def test_all_sources(tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    import pandas as pd

    X, labels = three_clusters(n=700, gap=2.0)
    known = some_known(labels, 0.1)
    expected = fastem.fit(X, 3, labels=known, rng=0)
    sources = list(sources_of(X, known, tmp_path))
    table = pd.DataFrame(X, columns=["a", "b"]).assign(group=known)
    sources.append((dd.from_pandas(table, npartitions=3), {"labels": "group"}))
    for source, options in sources:
        model = fastem.fit(source, 3, rng=0, **options)
        lazy = type(source).__module__.startswith("dask")
        assert_allclose(model.means, expected.means, rtol=1e-9 if lazy else 0, atol=0)


def test_the_same_bits_for_any_number_of_threads():
    X, labels = three_clusters(n=40_000, gap=1.0)
    known = some_known(labels, 0.01)
    for assignment in ("soft", "hard"):
        models = [
            fastem.fit(X, 3, labels=known, assignment=assignment, rng=0, n_threads=threads)
            for threads in (1, 2)
        ]
        assert_array_equal(models[0].means, models[1].means)


WRONG = {
    "too short": ([0, 1], "labels must have shape"),
    "too large": ([3] * 600, "from 0 to k - 1 = 2"),
    "negative": ([-2] * 600, "row 0 has -2"),
    "fractions": ([0.5] * 600, "row 0 has 0.5"),
    "booleans": ([True] * 600, "booleans"),
    "text": (["a"] * 600, "whole numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_labels_are_errors(kind):
    X, _ = three_clusters()
    labels, message = WRONG[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        fastem.fit(X, 3, labels=labels)
    if kind != "too short":
        with pytest.raises((ValueError, TypeError)):
            fastem.fit(lambda: iter([{"X": X, "labels": labels}]), 3)


def test_chunks_must_agree_about_labels():
    X, labels = three_clusters()
    with pytest.raises(ValueError, match="no labels"):
        fastem.fit(lambda: iter([{"X": X, "labels": labels}, X]), 3)
    with pytest.raises(ValueError, match="key 'X'"):
        fastem.fit(lambda: iter([{"rows": X}]), 3)
    with pytest.raises(ValueError, match="labels must be None"):
        fastem.fit(lambda: iter([{"X": X, "labels": labels}]), 3, labels=labels)


# --- hard assignment


def lloyd(X, centres):
    """Lloyd's algorithm, to its end. Returns the labels of each step."""
    steps = []
    while True:
        labels = np.square(X[:, None] - centres).sum(axis=2).argmin(axis=1)
        if steps and np.array_equal(labels, steps[-1]):
            return steps
        steps.append(labels)
        centres = np.stack([X[labels == k].mean(axis=0) for k in range(len(centres))])


def test_hard_assignment_with_one_variance_and_equal_weights_is_k_means():
    X, _ = three_clusters(n=500, gap=1.0)
    centres = X[:3]
    steps = lloyd(X, centres)
    assert len(steps) > 5
    equal = np.full(3, 1 / 3)
    start = {"means": centres, "weights": equal, "covariances": np.ones(3)}
    options = {"covariance_type": "EII", "assignment": "hard", "fixed": "weights", "tol": 0, "reg_covar": 0}
    for count, labels in enumerate(steps):
        model = fastem.fit(X, 3, init=start, max_iter=count, **options)
        assert_array_equal(model.predict(X), labels)
        assert_array_equal(model.weights, equal)
    assert len(set(model.covariances)) == 1


def test_the_report_of_a_hard_fit_has_both_likelihoods():
    X, _ = three_clusters(gap=1.0)
    model = fastem.fit(X, 3, assignment="hard", rng=0)
    here = joint(model, X)
    assert_allclose(model.report.objective, here.max(axis=1).sum(), rtol=1e-10)
    assert_allclose(model.report.log_likelihood, logsumexp(here, axis=1).sum(), rtol=1e-10)
    assert model.report.objective == model.report.history[-1]


def test_ties_go_to_the_first_component():
    X = np.linspace(-1, 1, 101)[:, None]
    model = fastem.GaussianMixture([0.5, 0.5], [[0.0], [0.0]], [1.0, 1.0], "spherical")
    hard = fastem.fit(
        X, 2, init=model, covariance_type="spherical", assignment="hard", max_iter=1, tol=0, acceleration=None
    )
    assert hard.report.repairs[0].component == 1  # it has no row


# --- fixed parameters


def test_fixed_weights_stay():
    X, _ = three_clusters(gap=1.0)
    weights = [0.2, 0.3, 0.5]
    model = fastem.fit(X, 3, init={"weights": weights}, fixed=("weights",), rng=0)
    assert_allclose(model.weights, weights, rtol=1e-12)
    assert np.diff(model.report.history).min() > -1e-9
    free = fastem.fit(X, 3, init=model)
    assert free.report.log_likelihood > model.report.log_likelihood


def test_what_is_fixed_must_be_given():
    X, _ = three_clusters()
    with pytest.raises(ValueError, match="init must give its values"):
        fastem.fit(X, 3, fixed=("weights",))
    with pytest.raises(ValueError, match="can stay fixed"):
        fastem.fit(X, 3, init={"means": X[:3]}, fixed=("centres",))


# --- the lower bound


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_lower_bound(dtype):
    X, _ = three_clusters(gap=1.0)
    X = X.astype(dtype)
    weight = np.random.default_rng(3).uniform(0, 2, len(X))
    model = fastem.fit(X, 3, rng=0, max_iter=3, tol=0)
    total = weight @ model.score_samples(X).astype(np.float64)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    assert_allclose(model.lower_bound(X, None, weight), total, rtol=tolerance)
    own = model.predict_proba(X)
    assert_allclose(model.lower_bound(X, own, weight), total, rtol=tolerance)
    rng = np.random.default_rng(4)
    for _ in range(5):
        q = rng.dirichlet([0.3, 0.3, 0.3], len(X))
        q[rng.random(q.shape) < 0.2] = 0
        q = np.where(q.sum(axis=1, keepdims=True) > 0, q, 1.0)
        q /= q.sum(axis=1, keepdims=True)
        expected = weight @ np.where(q > 0, q * (joint(model, X) - np.log(np.where(q > 0, q, 1))), 0).sum(1)
        bound = model.lower_bound(X, q, weight)
        assert_allclose(bound, expected, rtol=tolerance)
        assert bound < total
    hard = np.eye(3)[model.predict(X)]
    assert_allclose(model.lower_bound(X, hard), joint(model, X).max(axis=1).sum(), rtol=tolerance)
    chunks = [X[:100], X[100:]]
    assert_allclose(model.lower_bound(chunks, q, weight), bound, rtol=tolerance)


def test_the_lower_bound_of_the_impossible_is_minus_infinity():
    model = fastem.Mixture([0.5, 0.5], {"rates": [[0.0], [1.0]]}, "poisson")
    assert model.lower_bound([[1]], [[1.0, 0.0]]) == -np.inf
    assert np.isfinite(model.lower_bound([[1]], [[0.0, 1.0]]))
    with pytest.raises(ValueError, match="responsibilities must have shape"):
        model.lower_bound([[1]], [[1.0]])
    with pytest.raises(ValueError, match="sum to 1"):
        model.lower_bound([[1]], [[1.0, 1.0]])


def test_densities_of_components_do_not_depend_on_weights():
    X, _ = three_clusters(n=50)
    means, covariances = X[:3], np.full(3, 2.0)
    densities = [
        fastem.GaussianMixture(weights, means, covariances, "spherical").component_log_densities(X)
        for weights in ([0.2, 0.3, 0.5], [0.0, 0.0, 1.0])
    ]
    expected = -np.log(2 * np.pi * 2) - np.square(X[:, None] - means).sum(axis=2) / 4
    for found in densities:
        assert_allclose(found, expected, rtol=1e-12)
    assert fastem.GaussianMixture([1.0], X[:1], [1.0], "spherical").component_log_densities(
        np.empty((0, 2))
    ).shape == (0, 1)


# --- labels where there is a model already


def test_labels_of_chunks_and_a_model():
    X, labels = three_clusters(gap=1.0)
    model = fastem.fit(X, 3, rng=0)
    known = some_known(labels, 0.3)
    chunks = [{"X": X, "labels": known}]
    assert_allclose(model.score(chunks), model.score(X), rtol=1e-12)  # a density has no label
    here = joint(model, X)
    expected = np.where(known >= 0, here[np.arange(len(X)), known], logsumexp(here, axis=1)).sum()
    assert_allclose(fastem.e_step(chunks, model).log_likelihood, expected, rtol=1e-12)


def test_steps_on_chunks_heed_labels_hard_assignment_and_what_is_fixed():
    X, labels = three_clusters(n=3000, gap=0.5)
    model = fastem.fit(X, 3, rng=0)
    own = (labels + 1) % 3
    stepped = fastem.partial_fit(model, X, labels=own, step=1.0, reg_covar=0)
    assert_allclose(stepped.weights, np.bincount(own) / len(X), rtol=1e-12)
    hard = fastem.partial_fit(model, X, assignment="hard", step=1.0, reg_covar=0)
    assert_allclose(hard.weights, np.bincount(model.predict(X)) / len(X), rtol=1e-12)
    fixed = fastem.partial_fit(model, X, fixed="weights", step=0.5)
    assert_array_equal(fixed.weights, model.weights)


def test_a_fixed_weight_of_zero_contradicts_a_label():
    X, labels = three_clusters()
    with pytest.raises(ValueError, match="weights that are fixed must be above 0"):
        fastem.fit(X, 2, labels=np.where(labels == 0, 0, -1), init={"weights": [0, 1]}, fixed="weights")


def test_what_fixed_may_be():
    with pytest.raises(TypeError, match="fixed must be a sequence of names, or a dict of masks"):
        fastem.fit(three_clusters()[0], 2, fixed=None)
