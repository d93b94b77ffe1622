"""The EM loop compared with its broadcasting twin, and the properties of EM."""

import math
import re

import naive
import numpy as np
import pytest
from problems import TYPES, clusters, random_model

import fastem
from fastem import FitStatus
from fastem._api.progress import _moving


def start_from(X, k, covariance_type, seed=0):
    """A start for several implementations: some rows as means, and the variance of all rows."""
    rng = np.random.default_rng(seed)
    d = X.shape[1]
    means = X[rng.choice(len(X), k, replace=False)].astype(np.float64)
    variance = float(X.astype(np.float64).var(axis=0).mean())
    covariances = {
        "full": np.tile(variance * np.eye(d), (k, 1, 1)),
        "tied": variance * np.eye(d),
        "diag": np.full((k, d), variance),
        "spherical": np.full(k, variance),
    }[covariance_type]
    return fastem.GaussianMixture(np.full(k, 1 / k), means, covariances, covariance_type)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-4)])
@pytest.mark.parametrize("iterations", [1, 20])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_iterations_match_the_broadcasting_twin(covariance_type, iterations, dtype, tolerance, weighted):
    X = clusters(3, 700, 3, 3, dtype)
    start = start_from(X, 3, covariance_type)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else np.ones(len(X))
    model = fastem.fit(
        X,
        3,
        covariance_type=covariance_type,
        init=start,
        tol=0,
        max_iter=iterations,
        reg_covar=0,
        acceleration=None,
        sample_weight=weight if weighted else None,
    )
    assert model.report.n_iter == iterations
    expected, history = naive.em(
        X.astype(np.float64),
        weight,
        start.weights,
        start.means,
        start.covariances,
        covariance_type,
        iterations,
    )
    for actual, value in zip((model.weights, model.means, model.covariances), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=tolerance, atol=tolerance * np.abs(value).max())
    np.testing.assert_allclose(model.report.history, history, rtol=tolerance)


def ten_data_sets(faithful, iris, digits):
    rng = np.random.default_rng(0)
    return {
        "faithful": faithful,
        "waiting": faithful[:, 1:],
        "iris": iris,
        "digits": digits,
        "clusters": clusters(0, 2000, 2, 4),
        "wide": clusters(1, 1500, 12, 3),
        "uniform": rng.uniform(size=(1000, 3)),
        "heavy tails": rng.standard_t(2, size=(1000, 2)),
        "offset": clusters(2, 1000, 2, 3) + 1e6,
        "units": clusters(2, 1000, 3, 3) * np.array([1e-8, 1.0, 1e8]),
    }


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.slow
def test_the_likelihood_never_decreases(covariance_type, faithful, iris, digits):
    for name, X in ten_data_sets(faithful, iris, digits).items():
        for k in (2, 4):
            model = fastem.fit(
                X, k, covariance_type=covariance_type, reg_covar=0, tol=1e-9, max_iter=150, rng=0
            )
            history = np.array(model.report.history)
            # A repair may lower the log-likelihood. After it the ascent starts anew.
            repaired = [repair.iteration for repair in model.report.repairs]
            steps = [i for i in range(1, len(history)) if i not in repaired]
            losses = (history[:-1] - history[1:])[np.array(steps) - 1]
            assert losses.max() <= 1e-9 * np.abs(history).max(), (name, k)
            assert model.report.status is not FitStatus.DECREASED, (name, k)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_report_agrees_with_the_model(covariance_type):
    X = clusters(5, 3000, 4, 3)
    model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
    report = model.report
    assert report.status is FitStatus.CONVERGED
    assert report.converged
    assert report.log_likelihood == pytest.approx(len(X) * model.score(X), rel=1e-12)
    assert len(report.history) == report.n_iter + 1
    assert report.history[-1] == report.log_likelihood
    assert report.repairs == ()
    assert report.elapsed > 0
    assert np.diff(report.history)[-1] / len(X) < 1e-4


def test_max_iter_is_a_status():
    X = clusters(5, 500, 2, 3)
    model = fastem.fit(X, 3, tol=0, max_iter=3, rng=0)
    assert model.report.status is FitStatus.MAX_ITER
    assert not model.report.converged
    assert model.report.n_iter == 3


def test_no_iterations_give_the_initial_model():
    X = clusters(5, 500, 2, 3)
    model = fastem.fit(X, 3, max_iter=0, rng=0)
    assert model.report.status is FitStatus.INITIAL
    assert model.report.n_iter == 0
    assert model.report.log_likelihood == pytest.approx(len(X) * model.score(X))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_labels_without_iterations_are_the_supervised_fit(covariance_type, iris):
    labels = np.repeat([0, 1, 2], 50)
    model = fastem.fit(iris, 3, covariance_type=covariance_type, init=labels, max_iter=0, reg_covar=0)
    one_hot = np.eye(3)[labels]
    expected = naive.m_step(iris, np.ones(150), one_hot, covariance_type)
    for actual, value in zip((model.weights, model.means, model.covariances), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-12, atol=1e-13)


def test_the_supervised_fit_of_narrow_distant_classes_keeps_its_precision():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    X = labels[:, None] * 1e6 + 1e-3 * rng.normal(size=(1000, 2))
    model = fastem.fit(X, 2, init=labels, max_iter=0, reg_covar=0)
    for k in range(2):
        expected = np.cov(X[labels == k].T, bias=True)
        np.testing.assert_allclose(model.covariances[k], expected, atol=1e-6 * expected[0, 0])


def test_responsibilities_are_a_start():
    X = clusters(7, 400, 2, 3)
    r = np.random.default_rng(0).dirichlet(np.ones(3), len(X))
    model = fastem.fit(X, 3, init=r, max_iter=0, reg_covar=0)
    expected = naive.m_step(X, np.ones(len(X)), r, "full")
    for actual, value in zip((model.weights, model.means, model.covariances), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-9)


def test_a_model_is_a_start_and_goes_on():
    X = clusters(7, 2000, 2, 3)
    options = {"tol": 0, "acceleration": None}
    whole = fastem.fit(X, 3, max_iter=10, rng=0, **options)
    half = fastem.fit(X, 3, max_iter=4, rng=0, **options)
    rest = fastem.fit(X, 3, max_iter=6, init=half, **options)
    assert rest.report.history[0] == pytest.approx(half.report.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(rest.means, whole.means, rtol=1e-9)


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_every_initialiser_leads_to_a_fit(init, covariance_type):
    X, _ = random_model(9, "spherical", 2, 3, spread=4.0).sample(3000, rng=0)
    model = fastem.fit(X, 2, init=init, covariance_type=covariance_type, rng=0)
    assert np.isfinite(model.score(X))
    assert (
        model.report.log_likelihood > fastem.fit(X, 1, covariance_type=covariance_type).report.log_likelihood
    )


def test_restarts_keep_the_best():
    X = clusters(11, 1000, 2, 5)
    ends = []

    def callback(iteration, log_likelihood, model):
        ends[-1 if iteration else len(ends) :] = [log_likelihood]

    model = fastem.fit(X, 5, init="random_from_data", n_init=8, rng=0, callback=callback)
    assert len(ends) == 8
    assert max(ends) > min(ends) + 1
    assert model.report.log_likelihood == max(ends)


@pytest.mark.parametrize(
    ("answer", "stops"), [(True, True), (np.True_, True), (False, False), (np.False_, False), (None, False)]
)
def test_a_callback_stops_the_fit_with_true_of_python_or_numpy(answer, stops):
    model = fastem.fit(clusters(11, 1000, 2, 5), 5, rng=0, callback=lambda *_: answer)
    assert (model.report.status is FitStatus.STOPPED) == stops


def test_one_component_is_the_gaussian_of_maximum_likelihood(digits):
    model = fastem.fit(digits, 1, reg_covar=0)
    np.testing.assert_allclose(model.means[0], digits.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(model.covariances[0], np.cov(digits.T, bias=True), rtol=1e-9, atol=1e-9)


def test_the_callback_sees_every_iteration_and_can_stop():
    X = clusters(5, 500, 2, 3)
    seen = []

    def callback(iteration, log_likelihood, model):
        seen.append((iteration, log_likelihood, model.score(X) * len(X)))
        return iteration == 2

    model = fastem.fit(X, 3, rng=0, tol=0, callback=callback)
    assert [iteration for iteration, _, _ in seen] == [0, 1, 2]
    for _, told, scored in seen:
        assert told == pytest.approx(scored)
    assert model.report.status is FitStatus.STOPPED
    assert model.report.n_iter == 2
    assert model.report.log_likelihood == seen[-1][1]


def test_a_callback_that_raises_leaves_nothing_locked():
    X = clusters(5, 500, 2, 3)

    def callback(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fastem.fit(X, 3, rng=0, callback=callback)
    fastem.fit(X, 3, rng=0)


def test_reg_covar_is_added_to_the_diagonal_in_user_units():
    X = clusters(5, 500, 2, 2) * 100
    labels = np.arange(500) % 2
    plain = fastem.fit(X, 2, init=labels, max_iter=0, reg_covar=0)
    ridged = fastem.fit(X, 2, init=labels, max_iter=0, reg_covar=7.0)
    np.testing.assert_allclose(
        ridged.covariances - plain.covariances, np.tile(7 * np.eye(2), (2, 1, 1)), atol=1e-8
    )


def test_the_automatic_floor_is_relative_to_each_feature():
    X = clusters(5, 500, 2, 2) * np.array([1e-3, 1e3])
    labels = np.arange(500) % 2
    plain = fastem.fit(X, 2, init=labels, max_iter=0, reg_covar=0)
    auto = fastem.fit(X, 2, init=labels, max_iter=0)
    added = np.diagonal(auto.covariances[0] - plain.covariances[0])
    np.testing.assert_allclose(added, 1e-6 * X.var(axis=0), rtol=1e-6)


def test_integer_weights_count_as_repeated_rows():
    X = clusters(13, 300, 2, 3)
    counts = np.random.default_rng(0).integers(0, 4, len(X))
    for init in ("k-means++", "kmeans"):
        weighted = fastem.fit(X, 3, sample_weight=counts, init=init, rng=0, tol=0, max_iter=15)
        repeated = fastem.fit(np.repeat(X, counts, axis=0), 3, init=init, rng=0, tol=0, max_iter=15)
        np.testing.assert_allclose(weighted.means, repeated.means, rtol=1e-8)
        np.testing.assert_allclose(weighted.covariances, repeated.covariances, rtol=1e-7)
        assert weighted.report.log_likelihood == pytest.approx(repeated.report.log_likelihood, rel=1e-10)


@pytest.mark.parametrize(("dtype", "far", "rtol"), [("d", 1e9, 1e-8), ("d", 1e100, 1e-8), ("f", 1e30, 1e-4)])
def test_rows_of_weight_zero_are_as_if_absent(dtype, far, rtol):
    """Wherever they are, and though the first row is one of them."""
    X = clusters(13, 400, 2, 3).astype(dtype)
    weight = np.random.default_rng(0).uniform(0.5, 1, 400)
    weight[::3] = 0
    spoiled = X.copy()
    spoiled[::3] = far
    with_zeros = fastem.fit(spoiled, 3, sample_weight=weight, rng=0)
    without = fastem.fit(X[weight > 0], 3, sample_weight=weight[weight > 0], rng=0)
    np.testing.assert_allclose(with_zeros.means, without.means, rtol=rtol)


def test_rows_of_weight_zero_do_not_count():
    """They do not count in the average weight either, which decides whether a component has data."""
    X = clusters(13, 400, 2, 3)
    padded = np.concatenate([X, np.zeros((20_000, 2))])
    statistics = fastem.e_step(padded, random_model(0, "full", 3, 2), np.arange(20_400) < 400)
    assert statistics.n_samples == 400


def test_large_samples_initialise_from_a_subsample():
    truth = random_model(17, "full", 3, 2, spread=9.0)
    X, _ = truth.sample(120_000, rng=0)
    model = fastem.fit(X, 3, rng=0, tol=1e-6)
    assert model.score(X) >= truth.score(X)


def test_progress_shows_a_bar(capsys):
    """It is full at the end, and shows the mean log-likelihood of the best start."""
    X = clusters(5, 500, 2, 3)
    for n_init in (1, 3):
        options = {"init": "random", "n_init": n_init, "rng": 0, "tol": 1e-7, "acceleration": None}
        model = fastem.fit(X, 3, progress=True, **options)
        shown = capsys.readouterr().err.replace("\n", "\r").rstrip("\r").split("\r")
        assert shown[-1].startswith("EM: 100%")
        assert shown[-1].endswith("converged]")
        mean = float(re.search("mean_log_likelihood=([^,]*)", shown[-1])[1])
        assert mean == pytest.approx(model.score(X), rel=1e-5)
        assert ("start 1 of 3" in "".join(shown)) == (n_init == 3)


def test_the_digits_of_the_bar_move():
    assert _moving(-4.155382, math.nan) == "-4.15538"
    assert _moving(-4.15538228, -4.15538231) == "-4.155382280"  # by 0.00000003
    assert _moving(12345678.0, 12345671.0) == "12345678.0"
    assert _moving(0.0, 1.0) == "0.00000"


def test_progress_without_tqdm_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        fastem.fit(clusters(5, 500, 2, 3), 3, rng=0, progress=True)


CENTRES = np.array([[0.0, 0], [6, 6], [0, 6]])
AROUND = np.concatenate(
    [np.random.default_rng(k).normal(centre, 1, (300, 2)) for k, centre in enumerate(CENTRES)]
)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_known_centres_are_a_start(covariance_type):
    options = {"init": {"means": CENTRES}, "covariance_type": covariance_type}
    start = fastem.fit(AROUND, 3, max_iter=0, **options)
    np.testing.assert_allclose(start.means, CENTRES, atol=1e-12)
    np.testing.assert_allclose(start.weights, 1 / 3, atol=0.03)
    np.testing.assert_allclose(naive.dense(start.covariances, covariance_type, 3, 2)[1], np.eye(2), atol=0.3)
    model = fastem.fit(AROUND, 3, **options)
    np.testing.assert_allclose(model.means, CENTRES, atol=0.2)
    chunks = fastem.fit(np.array_split(AROUND, 4), 3, **options)
    np.testing.assert_array_equal(chunks.means, model.means)


def test_any_parameters_are_a_start():
    given = {"weights": [0.2, 0.3, 0.5], "covariances": np.tile(2 * np.eye(2), (3, 1, 1))}
    start = fastem.fit(AROUND, 3, max_iter=0, init=given, rng=0)
    np.testing.assert_allclose(start.weights, given["weights"])
    np.testing.assert_allclose(start.covariances, given["covariances"])
    whole = fastem.fit(AROUND, 3, max_iter=0, init=given | {"means": CENTRES})
    np.testing.assert_allclose(whole.means, CENTRES, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_belong_to_the_nearest_of_given_centres_where_products_lose_digits(dtype):
    """Two clusters are 1e-8 (1e-4 in float32) of the range apart."""
    rng, gap = np.random.default_rng(0), 1e-8 if dtype == np.float64 else 1e-4
    labels = rng.integers(3, size=3000)
    centres = np.array([[1.0, 1.0], [1.0, 1.0 + gap], [-1.0, -1.0]])
    X = (centres[labels] + 0.1 * gap * rng.uniform(-1, 1, (3000, 2))).astype(dtype)
    start = fastem.fit(X, 3, covariance_type="spherical", init={"means": centres}, reg_covar=0, max_iter=0)
    np.testing.assert_allclose(start.weights, np.bincount(labels) / 3000, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_a_centre_without_rows_is_a_start_too():
    far = np.concatenate([CENTRES, [[1e3, 1e3]]])
    model = fastem.fit(AROUND, 4, init={"means": far})
    assert np.isfinite(model.score(AROUND))


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        (CENTRES, ValueError, r"init must not be an array of shape \(k, d\).*init=\{\"means\": centres\}"),
        ({}, ValueError, "init as a dict must have some of the names weights, means, covariances"),
        ({"centers": CENTRES}, ValueError, r"must have some of the names.*got \['centers'\]"),
        ({"means": CENTRES[:2]}, ValueError, r"init means must have shape \(k, d\) = \(3, 2\).*got \(2, 2\)"),
        (
            {"means": CENTRES[:, :1]},
            ValueError,
            r"init means must have shape \(k, d\) = \(3, 2\).*got \(3, 1\)",
        ),
        ({"means": CENTRES * np.nan}, ValueError, "means must be finite"),
        ({"weights": [0.5, 0.5, 0.5]}, ValueError, "weights must be at least 0 and sum to 1"),
        ({"covariances": -np.tile(np.eye(2), (3, 1, 1))}, ValueError, "positive definite"),
    ],
)
def test_bad_parameters_are_no_start(init, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(AROUND, 3, init=init)


def test_known_rates_are_a_start():
    rng = np.random.default_rng(0)
    rates = np.array([[1.0, 9.0], [8.0, 2.0]])
    counts = rng.poisson(rates[rng.integers(2, size=2000)])
    model = fastem.fit(counts, 2, distribution="poisson", init={"rates": rates[::-1]})
    np.testing.assert_allclose(model.parameters["rates"], rates[::-1], atol=0.4)
