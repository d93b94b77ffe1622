"""When a fit stops, and how it leaves saddles."""

import numpy as np
import pytest
from distributions import Normal
from distributions import Poisson as WrittenPoisson
from problems import TYPES, clusters

import fastem
from fastem import FitStatus
from fastem._em.loop import gain_to_come_below
from fastem._em.saddles import PARTED, _any_near, _merged
from fastem.sklearn import GaussianMixture

_RNG = np.random.default_rng(0)
THREE = np.concatenate([_RNG.normal([8 * j, 0], 1, (700, 2)) for j in range(3)])
WEIGHT = np.random.default_rng(1).integers(0, 3, len(THREE)).astype(np.float64)
# The mean log-likelihood of three Gaussians 8 deviations apart, and of one Gaussian that covers them.
RIGHT = {"full": -3.928, "tied": -3.929, "diag": -3.929, "spherical": -3.930}
RATES = np.array([[1.0, 20.0], [8.0, 5.0], [30.0, 0.3]])
COUNTS = np.random.default_rng(2).poisson(RATES[np.arange(2100) // 700]).astype(np.float64)


# --- the rule


def series(first, rate, length):
    """Means whose gains fall by a constant rate."""
    return np.cumsum([0.0, *(first * rate**i for i in range(length))])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_it_stops_when_neither_the_last_gain_nor_what_is_to_come_reaches_tol(rate, tol):
    means = series(1.0, rate, 3000)
    converged = gain_to_come_below(tol)
    stop = next(i for i in range(1, len(means)) if converged(list(means[: i + 1])))
    assert means[-1] - means[stop] < 1.001 * tol
    assert means[stop] - means[stop - 1] < tol
    # One iteration earlier one of them still did.
    assert max(means[-1] - means[stop - 1], means[stop - 1] - means[stop - 2]) >= 0.999 * tol


def test_growing_gains_are_no_convergence():
    means = list(series(1e-9, 1.5, 20))
    assert not any(gain_to_come_below(1e-4)(means[:i]) for i in range(len(means)))


def test_a_gain_of_nothing_is_convergence_and_tol_zero_never_stops():
    assert gain_to_come_below(1e-4)([-2.0, -1.0, -1.0])
    assert not gain_to_come_below(0)([-2.0, -1.0, -1.0])


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_start_that_ends_on_all_rows_tells_its_last_gain(covariance_type):
    """The rule then has three means after an iteration. A rule of the user has those of the history alone."""
    X, seen = clusters(3, 600, 3, 3), list[int]()
    model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
    assert (model.report.n_iter, model.report.status) == (1, FitStatus.CONVERGED)
    fastem.fit(
        X,
        3,
        covariance_type=covariance_type,
        rng=0,
        tol=lambda means: seen.append(len(means)) or len(means) > 2,
    )
    assert seen == [1, 2, 3]
    assert fastem.fit(X, 3, covariance_type=covariance_type, rng=0, tol=0, max_iter=4).report.n_iter == 4
    best = fastem.fit(X, 3, covariance_type=covariance_type, rng=0, tol=1e-10, max_iter=2000).report
    assert abs(best.log_likelihood - model.report.log_likelihood) < 1e-4 * len(X)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("acceleration", ["auto", None])
def test_less_than_about_tol_is_left(covariance_type, acceleration):
    X = clusters(3, 1500, 3, 3)
    options = {"covariance_type": covariance_type, "rng": 0, "max_iter": 5000, "reg_covar": 0}
    for tol in (1e-4, 1e-6):
        model = fastem.fit(X, 3, tol=tol, acceleration=acceleration, **options)
        best = fastem.fit(X, 3, init=model, tol=1e-13, **options | {"rng": None})
        assert model.report.status is FitStatus.CONVERGED
        assert 0 <= best.score(X) - model.score(X) < 2 * tol


def test_a_fit_of_one_component_ends_at_once():
    for X in (THREE, THREE.astype(np.float32)):
        model = fastem.fit(X, 1)
        assert model.report.status is FitStatus.CONVERGED
        assert model.report.n_iter <= 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("tol", [1e-15, 1e-300])
def test_rounding_stops_a_fit_whose_tol_is_below_it(dtype, tol):
    model = fastem.fit(clusters(4, 1000, 2, 3, dtype), 3, rng=0, tol=tol, max_iter=5000)
    assert model.report.status is FitStatus.CONVERGED


def test_a_callable_replaces_the_rule():
    model = fastem.fit(THREE, 3, rng=0, tol=lambda means: len(means) == 8)
    assert model.report.n_iter == 7


# --- saddles


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_random_responsibilities_find_three_clusters(covariance_type, weight, dtype):
    X = THREE.astype(dtype)
    options = {"covariance_type": covariance_type, "sample_weight": weight, "rng": 0}
    model = fastem.fit(X, 3, init="random", n_init=10, **options)
    assert model.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(np.sort(model.means[:, 0]), [0, 8, 16], atol=0.2)
    if weight is None:
        assert model.score(X) == pytest.approx(RIGHT[covariance_type], abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("covariance_type", TYPES)
def test_no_random_start_ends_on_the_saddle(covariance_type, seed):
    model = fastem.fit(THREE, 3, covariance_type=covariance_type, init="random", rng=seed)
    assert model.report.status is FitStatus.CONVERGED
    assert model.score(THREE) > -4.41  # a single Gaussian has -4.724, or less if it is spherical


@pytest.mark.parametrize("distribution", ["poisson", WrittenPoisson()], ids=["compiled", "written"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("start", ["random", "identical"])
def test_counts_leave_the_saddle(start, weight, distribution):
    identical = fastem.Mixture([0.2, 0.3, 0.5], {"rates": np.full((3, 2), 9.0)}, distribution, n_features=2)
    init = identical if start == "identical" else start
    model = fastem.fit(COUNTS, 3, distribution=distribution, init=init, sample_weight=weight, rng=0)
    assert model.report.status is FitStatus.CONVERGED
    rates = model.parameters["rates"]
    np.testing.assert_allclose(rates[np.argsort(rates[:, 0])], RATES, rtol=0.1, atol=0.05)
    options = {"init": np.arange(2100) // 700, "sample_weight": weight}
    right = fastem.fit(COUNTS, 3, distribution=distribution, **options)
    assert model.report.log_likelihood == pytest.approx(right.report.log_likelihood, rel=1e-4)


def test_a_distribution_of_a_user_leaves_the_saddle():
    model = fastem.fit(THREE, 3, distribution=Normal(), init="random", n_init=10, rng=0)
    assert model.report.log_likelihood / len(THREE) == pytest.approx(RIGHT["diag"], abs=1e-3)


def identical(covariance_type, k=3, X=THREE):
    one = fastem.fit(X, 1, covariance_type=covariance_type)
    covariances = one.covariances if covariance_type == "tied" else np.repeat(one.covariances, k, axis=0)
    weights = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    return fastem.GaussianMixture(weights, np.repeat(one.means, k, axis=0), covariances, covariance_type)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_identical_components_part(covariance_type, dtype):
    X = THREE.astype(dtype)
    model = fastem.fit(X, 3, covariance_type=covariance_type, init=identical(covariance_type), rng=1)
    report = model.report
    assert report.status is FitStatus.CONVERGED
    assert [repair.what for repair in report.repairs] == [PARTED, PARTED]
    assert sorted(repair.component for repair in report.repairs) == [1, 2]
    assert model.score(X) > -4.41
    assert report.log_likelihood == pytest.approx(len(X) * model.score(X), rel=1e-6)
    assert len(report.history) == report.n_iter + 1
    # The ascent starts anew after the repair, and rises before and after it.
    anew = report.repairs[0].iteration
    gains = np.diff(report.history)
    rounding = 1e-6 * abs(report.log_likelihood) if dtype == np.float32 else 1e-9
    assert (np.delete(gains, anew - 1) >= -rounding).all()


def test_two_equal_components_among_others_part():
    X = np.concatenate([THREE, _RNG.normal([0, 30], 1, (700, 2))])
    right = fastem.fit(X, 4, init=np.repeat(np.arange(4), 700))
    means = right.means[[0, 0, 1, 3]]
    start = fastem.GaussianMixture(np.full(4, 0.25), means, right.covariances)
    start = fastem.fit(X, 4, init=start, acceleration=None, rng=0)
    assert start.score(X) == pytest.approx(right.score(X), abs=1e-3)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("start", ["random", "identical"])
def test_fewer_clusters_than_components_end_and_lose_nothing(start, covariance_type):
    X = np.random.default_rng(3).normal(size=(1500, 2))
    one = fastem.fit(X, 1, covariance_type=covariance_type)
    init = identical(covariance_type, 3, X) if start == "identical" else start
    model = fastem.fit(X, 3, covariance_type=covariance_type, init=init, rng=0)
    assert model.report.converged
    assert model.score(X) >= one.score(X) - 1e-6


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_equal_rows_have_no_other_end():
    """There is nothing to part. The fit ends, with what it had."""
    X = np.ones((300, 2))
    model = fastem.fit(X, 3, init="random", rng=0)
    assert model.report.status is FitStatus.DEGENERATE
    assert model.report.n_iter < 5
    assert PARTED not in {repair.what for repair in model.report.repairs}
    counts = fastem.fit(X, 3, distribution="poisson", init="random", rng=0)
    assert counts.report.converged
    assert counts.score(X) == pytest.approx(-2.0)


def test_an_attempt_that_ends_no_higher_is_dropped(monkeypatch):
    """Every way on from the saddle leads to equal components far from the rows, and from there back."""
    from fastem._em import saddles

    found = saddles._Ways.found

    def poor(self, saddle):
        there = found(self, saddle)
        if there:
            self.start = self.start._replace(parameters=saddle._replace(means=saddle.means + 10))
        return there

    monkeypatch.setattr(saddles._Ways, "found", poor)
    model = fastem.fit(THREE, 3, init=identical("full"), rng=0)
    assert model.report.repairs == ()
    assert model.score(THREE) == pytest.approx(-4.724, abs=1e-3)
    assert model.report.status is FitStatus.CONVERGED


def test_the_callback_counts_on_and_may_stop():
    seen = []
    model = fastem.fit(
        THREE, 3, init=identical("full"), rng=1, callback=lambda *state: seen.append(state[:2])
    )
    iterations, values = zip(*seen, strict=True)
    assert list(iterations) == list(range(model.report.n_iter + 1))
    assert list(values) == list(model.report.history)
    stopped = fastem.fit(THREE, 3, init=identical("full"), rng=1, callback=lambda i, *_: i == 4)
    assert stopped.report.status is FitStatus.STOPPED


def test_chunks_and_dask_leave_the_saddle():
    model = fastem.fit(THREE, 3, init="random", n_init=5, rng=0)
    chunks = fastem.fit([THREE[:500], THREE[500:501], THREE[501:]], 3, init="random", n_init=5, rng=0)
    np.testing.assert_array_equal(chunks.means, model.means)
    dask_array = pytest.importorskip("dask.array")
    blocks = fastem.fit(
        dask_array.from_array(THREE, chunks=(600, 2)), 3, init="random", n_init=5, rng=0, tol=1e-9
    )
    assert blocks.score(THREE) == pytest.approx(RIGHT["full"], abs=1e-3)


def test_partial_fit_leaves_the_saddle_of_its_first_chunk():
    model = fastem.partial_fit(None, THREE, k=3, init="random", rng=0)
    assert model.score(THREE) == pytest.approx(RIGHT["full"], abs=1e-3)


def test_the_drop_in_keeps_the_rule_of_scikit_learn():
    mixture = pytest.importorskip("sklearn.mixture")
    options = {"n_components": 3, "init_params": "random", "random_state": 0}
    ours, theirs = (cls(**options).fit(THREE) for cls in (GaussianMixture, mixture.GaussianMixture))
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-9)


# --- which components are equal


def test_components_with_proportional_responsibilities_are_merged():
    r = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    r = np.concatenate([r[:, :1] * 0.2, r[:, 1:2], r[:, :1] * 0.8, r[:, 2:]], axis=1)
    merged, free = _merged(r.copy(), np.ones(500))
    assert free == [2]
    np.testing.assert_allclose(merged[:, 0], r[:, 0] + r[:, 2])
    assert (merged[:, 2] == 0).all()


def test_a_component_without_responsibilities_equals_no_other():
    r = np.zeros((5, 3))
    r[:, 0] = 1
    assert _merged(r.copy(), np.ones(5))[1] == []


def test_near_places_are_found_in_blocks():
    places = np.arange(600.0)[:, None]
    assert not _any_near(places)
    places[599] = places[300] + 0.1
    assert _any_near(places)


class Narrow(fastem.Distribution):
    """Normal features, which cannot be narrow, or have no density far from the mean."""

    def __init__(self, least, reach):
        self.least, self.reach = least, reach

    def log_density(self, X, parameters):
        means, variances = parameters["means"], parameters["variances"]
        if variances.min() < self.least:
            raise ValueError("too narrow")
        z = (X[:, None] - means) / np.sqrt(variances)
        logs = -0.5 * (np.square(z) + np.log(2 * np.pi * variances)).sum(axis=2)
        return np.where((abs(z) > self.reach).any(axis=2), -np.inf, logs)

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X, responsibilities.T @ X**2

    def maximise(self, statistics, parameters):
        weights, first, second = statistics
        means = first / weights[:, None]
        return {"means": means, "variances": np.maximum(second / weights[:, None] - means**2, 1e-3)}

    def n_parameters(self, k, d):
        return 2 * k * d


def test_a_way_from_a_saddle_that_fails_costs_no_fit():
    """Ways from a saddle part the rows, and a user's distribution may refuse the parts."""
    X = np.random.default_rng(2).normal(size=(200, 2))
    fits = []
    for seed in range(12):
        try:
            fits.append(fastem.fit(X, 3, distribution=Narrow(0.2, np.inf), init="random", rng=seed))
        except ValueError:
            continue  # the ascent itself became too narrow
    assert len(fits) > 6
    assert all(np.isfinite(model.report.log_likelihood) for model in fits)


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_a_fall_to_minus_infinity_is_told():
    X = np.r_[np.random.default_rng(0).normal(size=(200, 2)), [[60.0, 60.0]]]
    model = fastem.fit(X, 2, distribution=Narrow(0, 3), init=np.arange(201) % 2, rng=0)
    assert model.report.log_likelihood == -np.inf
    assert model.report.status is FitStatus.DECREASED
