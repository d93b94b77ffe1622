"""SQUAREM: leaps along the path of EM."""

import numpy as np
import pytest
from distributions import Normal, broken
from distributions import Poisson as WrittenPoisson
from problems import TYPES, random_model

import fastem
from fastem import FitStatus
from fastem._em.acceleration import Squarem
from fastem._families.registry import GAUSSIANS, family_of
from fastem._families.steps import Maximised
from fastem._sources.arrays import ArraySource

CENTRES = np.array([[0, 0], [1.6, 0], [0, 1.6]], dtype=np.float64)


def overlapping(n=4000, seed=0, dtype=np.float64):
    """Three clusters 1.6 deviations apart."""
    rng = np.random.default_rng(seed)
    return (CENTRES[rng.integers(3, size=n)] + rng.normal(size=(n, 2))).astype(dtype)


def counts(n=3000):
    rng = np.random.default_rng(1)
    rates = np.array([[2.0, 5.0, 0.0], [3.0, 3.0, 2.0], [1.0, 4.0, 4.0]])
    return rng.poisson(rates[rng.integers(3, size=n)]).astype(np.float64)


FAMILIES = {
    **{name: (overlapping, {"covariance_type": name}) for name in TYPES},
    "float32": (lambda: overlapping(dtype=np.float32), {}),
    "poisson": (counts, {"distribution": "poisson"}),
    "written poisson": (counts, {"distribution": WrittenPoisson()}),
    "written normal": (overlapping, {"distribution": Normal()}),
}


def passes_to(X, target, acceleration, **options):
    """How many passes a fit makes until its mean log-likelihood reaches the target."""
    model = fastem.fit(
        X, 3, tol=lambda means: means[-1] >= target, max_iter=3000, acceleration=acceleration, **options
    )
    assert model.report.log_likelihood / len(X) >= target
    return model.report.n_iter


@pytest.mark.parametrize("name", FAMILIES)
def test_it_needs_fewer_passes_for_the_same_likelihood(name):
    make, options = FAMILIES[name]
    X, options = make(), options | {"rng": 0, "init": "k-means++"}
    plain = fastem.fit(X, 3, tol=0, max_iter=150, acceleration=None, **options)
    target = plain.report.log_likelihood / len(X) - 1e-9
    fast, slow = (passes_to(X, target, acceleration, **options) for acceleration in ("auto", None))
    assert fast < slow / 1.6


@pytest.mark.parametrize("name", FAMILIES)
def test_accepted_steps_never_fall(name):
    make, options = FAMILIES[name]
    X = make()
    model = fastem.fit(X, 3, tol=0, max_iter=400, rng=0, reg_covar=0 if name in TYPES else "auto", **options)
    report = model.report
    precision = float(np.finfo(X.dtype).eps)
    history = np.array(report.history)
    assert (np.diff(history) >= -4 * precision * np.abs(history[-1])).all()
    assert len(history) == report.n_iter + 1
    # Steps that were taken back are passes too.
    assert report.n_iter <= 400
    assert report.log_likelihood == history[-1]
    assert report.log_likelihood == pytest.approx(len(X) * model.score(X), rel=64 * precision)


@pytest.mark.parametrize("name", FAMILIES)
def test_none_is_plain_em_and_the_first_iterations_are_too(name):
    make, options = FAMILIES[name]
    X = make(500)[:500] if name != "float32" else make()[:500]
    options = options | {"rng": 0, "tol": 0, "max_iter": 8, "init": "k-means++"}
    auto, plain = (fastem.fit(X, 3, acceleration=a, **options) for a in ("auto", None))
    assert auto.report.history == plain.report.history


def test_fits_of_few_iterations_are_the_same():
    X, _ = random_model(0, "full", 3, 3, spread=8.0).sample(3000, rng=0)
    auto, plain = (fastem.fit(X, 3, rng=0, acceleration=a) for a in ("auto", None))
    assert auto.report.history == plain.report.history
    np.testing.assert_array_equal(auto.means, plain.means)


@pytest.mark.parametrize("name", ["full", "spherical", "poisson"])
def test_the_number_of_threads_changes_no_bit(name):
    make, options = FAMILIES[name]
    X = make(60_000) if name != "poisson" else counts(60_000)
    one, two = (fastem.fit(X, 3, rng=0, max_iter=40, tol=0, n_threads=t, **options) for t in (1, 2))
    assert one.report.history == two.report.history


def test_chunks_get_the_bits_of_the_array():
    X = overlapping()
    whole, parts = (fastem.fit(rows, 3, rng=0, tol=0, max_iter=60) for rows in (X, [X[:999], X[999:]]))
    assert whole.report.history == parts.report.history


def test_dask_reaches_the_likelihood_of_the_array():
    dask_array = pytest.importorskip("dask.array")
    X = overlapping()
    blocks = fastem.fit(dask_array.from_array(X, chunks=(1000, 2)), 3, rng=0, tol=1e-8, max_iter=2000)
    whole = fastem.fit(X, 3, rng=0, tol=1e-8, max_iter=2000)
    assert blocks.report.status is FitStatus.CONVERGED
    assert blocks.score(X) == pytest.approx(whole.score(X), abs=1e-6)


def test_weights_count_rows():
    X = overlapping(1500)
    weight = np.random.default_rng(0).integers(1, 3, len(X))
    labels = np.arange(len(X)) % 3
    options = {"tol": 1e-8, "max_iter": 3000}
    weighted = fastem.fit(X, 3, sample_weight=weight, init=labels, **options)
    repeated = fastem.fit(np.repeat(X, weight, axis=0), 3, init=np.repeat(labels, weight), **options)
    assert weighted.report.log_likelihood == pytest.approx(repeated.report.log_likelihood, rel=1e-6)


def test_max_iter_counts_the_steps_that_were_taken_back(monkeypatch):
    passes = []
    reduce = ArraySource.reduce

    def counted(self, sweep):
        passes.append(sweep.given is None)
        return reduce(self, sweep)

    monkeypatch.setattr(ArraySource, "reduce", counted)
    X = overlapping()
    report = fastem.fit(X, 3, init=np.arange(len(X)) % 3, tol=0, max_iter=200).report
    assert sum(passes) == 201
    assert 100 < report.n_iter < 200
    assert len(report.history) == report.n_iter + 1


def test_partial_fit_takes_it_for_the_first_chunk():
    X = overlapping()
    for acceleration in ("auto", None):
        first = fastem.partial_fit(None, X, k=3, rng=0, n_init=1, acceleration=acceleration)
        fitted = fastem.fit(X, 3, rng=0, acceleration=acceleration)
        np.testing.assert_array_equal(first.means, fitted.means)
        fastem.partial_fit(first, X, acceleration=acceleration)


@pytest.mark.parametrize("value", ["squarem", True, 2.0])
def test_other_values_are_refused(value):
    for call in (fastem.fit, lambda X, k, **o: fastem.partial_fit(None, X, k=k, **o)):
        with pytest.raises((ValueError, TypeError), match="acceleration must be one of 'auto' or None"):
            call(overlapping(50), 2, acceleration=value)


# --- coordinates


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_gaussian_comes_back_from_its_point(covariance_type):
    family = GAUSSIANS[covariance_type]
    model = random_model(3, covariance_type, 4, 5)
    covariances = model.covariances[None] if covariance_type == "tied" else model.covariances
    parameters = family.origin(4, 5)._replace(
        weights=model.weights, means=model.means, covariances=covariances
    )
    point = family.to_vector(parameters)
    for actual, value in zip(family.from_vector(point, parameters), parameters, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-12)
    # Any other point is a mixture too, or is refused.
    rng = np.random.default_rng(0)
    for size in (0.1, 1.0, 1e3):
        other = family.from_vector(point + size * rng.normal(size=point.shape), parameters)
        if other is not None:
            assert other.weights.sum() == pytest.approx(1)
            assert all(np.isfinite(array).all() for array in other)
            assert (np.linalg.eigvalsh(other.covariances) > 0).all() if other.covariances.ndim == 3 else True
    assert family.from_vector(np.full_like(point, np.nan), parameters) is None


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_factors_that_are_known_change_no_bit_of_a_point(covariance_type):
    family = GAUSSIANS[covariance_type]
    X = np.random.default_rng(0).normal(size=(2, 3, 3))[: 1 if covariance_type == "tied" else 2]
    parameters = family.origin(2, 3)._replace(covariances=X @ X.transpose(0, 2, 1))
    point = family.to_vector(parameters)
    parameters.remember(parameters.factors)
    np.testing.assert_array_equal(family.to_vector(parameters), point)
    leapt = family.from_vector(point, parameters)
    np.testing.assert_array_equal(leapt.factors, leapt._replace(weights=leapt.weights).factors)


def test_collinear_features_stay_collinear():
    family = GAUSSIANS["full"]
    rng = np.random.default_rng(0)

    def parameters():
        factor = rng.normal(size=(2, 2))
        map_ = np.array([[1, 0], [0, 1], [1, 1.0]]) @ factor
        covariances = (map_ @ map_.T + 1e-9 * np.eye(3))[None]
        means = (np.array([[1, 0], [0, 1], [1, 1.0]]) @ rng.normal(size=2))[None]
        return family.origin(1, 3)._replace(means=means, covariances=covariances)

    one, other = parameters(), parameters()
    beyond = family.from_vector(2 * family.to_vector(one) - family.to_vector(other), one)
    normal = np.array([1, 1, -1.0])
    assert normal @ beyond.covariances[0] @ normal < 1e-6
    assert abs(beyond.means[0] @ normal) < 1e-6


def test_rates_of_zero_stay_zero():
    family = family_of("poisson")
    one = family.origin(2, 2)._replace(weights=np.array([1.0, 0.0]), rates=np.array([[0, 2.0], [3, 4]]))
    other = one._replace(rates=np.array([[0, 1.0], [5, 6]]))
    beyond = family.from_vector(3 * family.to_vector(one) - 2 * family.to_vector(other), one)
    assert beyond.rates[0, 0] == 0
    assert beyond.weights[1] == 0
    assert np.isfinite(beyond.rates).all()


def path_of(rate, steps=3, family=GAUSSIANS["spherical"]):
    """Parameters whose means approach 0 at one rate."""
    origin = family.origin(1, 2)
    return [
        Maximised(origin._replace(means=np.array([[1.0, -2.0]]) * rate**i), [], [], []) for i in range(steps)
    ]


SLOW_HISTORY = list(-np.power(0.9, np.arange(16)))


@pytest.mark.parametrize(
    ("gains", "tol", "leaps"),
    [
        (np.full(11, 1.0), 1e-4, False),  # few
        (np.power(0.9, np.arange(12)), 0.0, True),
        (np.power(0.9, np.arange(12)), 1e-4, True),
        (np.power(0.9, np.arange(12)), 1.1, False),  # 0.9^11 * 0.9 / 0.1 = 2.8 to come: 9 more iterations
        (np.power(0.9, np.arange(12)), 0.9, True),  # 11 more
        (np.power(0.7, np.arange(12)), 1e-4, False),  # fast
        (np.power(1.1, np.arange(12)), 1e-4, True),  # grows, as near a saddle
        (np.power(0.98, np.arange(12.0) ** 2), 1e-9, False),  # the rate falls
    ],
)
def test_leaps_begin_where_em_is_slow_and_has_far_to_go(gains, tol, leaps):
    squarem = Squarem(GAUSSIANS["spherical"], tol)
    means = [0.0, *np.cumsum(gains)]
    found = [squarem.leap(current, means) for current in path_of(0.9)]
    assert (found[-1] is not None) == leaps


def test_a_fit_with_few_iterations_to_go_when_it_gets_slow_is_that_of_em():
    X = overlapping()
    options = {"rng": 0, "init": {"means": 1.3 * CENTRES}, "tol": 2e-4}
    auto, plain = (fastem.fit(X, 3, acceleration=a, **options) for a in ("auto", None))
    gains = np.diff(plain.report.history)
    assert (gains[12:] > 0.8 * gains[11:-1]).any()
    assert auto.report.history == plain.report.history


def test_one_rate_is_one_leap():
    squarem = Squarem(GAUSSIANS["spherical"])
    *before, last = path_of(0.7)
    for current in before:
        assert squarem.leap(current, SLOW_HISTORY) is None
    leap = squarem.leap(last, SLOW_HISTORY)
    np.testing.assert_allclose(leap.parameters.means, 0, atol=1e-12)


def test_the_first_leap_is_short_and_success_makes_it_longer():
    squarem = Squarem(GAUSSIANS["spherical"])
    lengths = []
    for _ in range(3):
        squarem._path.clear()
        *before, last = path_of(0.99)
        for current in before:
            squarem.leap(current, SLOW_HISTORY)
        leap = squarem.leap(last, SLOW_HISTORY)
        lengths.append(1 - leap.parameters.means[0, 0])
        squarem.accept()
    # With a, the error shrinks by the factor (1 - a (1 - rate))^2.
    np.testing.assert_allclose(lengths, [1 - (1 - a * 0.01) ** 2 for a in (4, 16, 64)])


@pytest.mark.parametrize("what", ["reseeded", "kept", "floored"])
def test_no_leap_crosses_a_repair(what):
    squarem = Squarem(GAUSSIANS["spherical"])
    first, second, third = path_of(0.9)
    squarem.leap(first, SLOW_HISTORY)
    squarem.leap(second, SLOW_HISTORY)
    assert squarem.leap(third._replace(**{what: [0]}), SLOW_HISTORY) is None


def test_nothing_that_moves_is_no_leap():
    squarem = Squarem(GAUSSIANS["spherical"])
    for current in path_of(1.0, 6):
        assert squarem.leap(current, SLOW_HISTORY) is None


@pytest.mark.parametrize("longest", [1e3, 1e18, np.inf])
def test_a_run_that_gains_nothing_is_settled_at_any_rate(longest):
    squarem = Squarem(GAUSSIANS["spherical"])
    squarem._leaping, squarem._longest = True, longest
    assert squarem.settled([1.0, 1.0, 1.0], tol=1e-6)
    assert not squarem.settled([1.0, 1.0, 1.0 + 1e-7], tol=1e-6)


def test_one_row_of_two_columns_ends():
    X = [[1, np.nan], [2, np.nan], [3, 5.0], [4, np.nan]]
    model = fastem.fit(X, 1, missing="marginalise", reg_covar=0)
    assert model.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(model.means, [[2.5, 5.0]], rtol=1e-6)


# --- distributions of a user


class Directions(fastem.Distribution):
    """Directions in the plane, whose unit vectors no straight line of parameters keeps (von Mises)."""

    def log_density(self, X, parameters):
        kappa = parameters["concentrations"]
        return (X @ parameters["directions"].T) * kappa - np.log(2 * np.pi * np.i0(kappa))

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X

    def maximise(self, statistics, parameters):
        weights, sums = statistics
        length = np.linalg.norm(sums, axis=1)
        grid = np.geomspace(1e-3, 300, 4000)
        step = 1e-5 * grid
        ratios = (np.log(np.i0(grid + step)) - np.log(np.i0(grid - step))) / (2 * step)
        return {
            "directions": sums / length[:, None],
            "concentrations": np.interp(length / weights, ratios, grid),
        }

    def n_parameters(self, k, d):
        return 2 * k


def test_parameters_of_a_user_stay_valid():
    rng = np.random.default_rng(0)
    angles = rng.vonmises(np.array([0.0, 1.3])[rng.integers(2, size=3000)], 2.0)
    X = np.c_[np.cos(angles), np.sin(angles)]
    seen = []
    model = fastem.fit(
        X,
        2,
        distribution=Directions(),
        init=np.arange(3000) % 2,
        tol=1e-7,
        max_iter=3000,
        callback=lambda i, value, model: seen.append(model.parameters["directions"]),
    )
    assert model.report.converged
    np.testing.assert_allclose(np.linalg.norm(seen, axis=2), 1, rtol=1e-12)
    history = np.array(model.report.history)
    assert (np.diff(history) > -1e-7 * len(X)).all()


def test_a_user_s_error_at_a_leap_takes_the_leap_back():
    """Maximise refuses what it is only asked for at leaps: sums that no rows have."""
    known = set()
    statistics, maximise = Normal.statistics, Normal.maximise

    def remember(self, X, r, parameters):
        found = statistics(self, X, r, parameters)
        known.add(found[0].tobytes())
        return found

    def refuse(self, sums, parameters):
        if sums[0].tobytes() not in known:
            raise RuntimeError("no such sums")
        return maximise(self, sums, parameters)

    both = broken("maximise", refuse, type("Watched", (Normal,), {"statistics": remember}))
    options = {"rng": 0, "tol": 0, "max_iter": 30}
    X = overlapping(1500)
    model = fastem.fit(X, 3, distribution=both, **options)
    plain = fastem.fit(X, 3, distribution=Normal(), acceleration=None, **options)
    assert model.report.history == plain.report.history
