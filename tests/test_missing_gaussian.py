"""Missing numbers where features are correlated: Gaussians and t distributions with matrices.

The loops, NumPy and imputing also run interpreted.
"""

import json

import naive
import numpy as np
import pytest
from conftest import DATA
from problems import random_covariances, random_model
from test_kernels import INTERPRETED, TOLERANCE, close

import fastem
from fastem._em.objective import Likelihood
from fastem._families import incomplete
from fastem._families.registry import family_of
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows

MISSING = {"missing": "marginalise"}
MCLUST = [
    "full",
    "tied",
    "diag",
    "spherical",
    "EII",
    "EEI",
    "VEI",
    "EVI",
    "VEE",
    "EVE",
    "VVE",
    "EEV",
    "VEV",
    "EVV",
]
FEATURES = [1, 2, 3, 5, 9]
if not INTERPRETED:
    FEATURES += [17, 40]


def gappy(X, share, seed=0):
    """X with gaps, one row that has no number, and one that has all."""
    X, rng = X.copy(), np.random.default_rng(seed)
    X[rng.random(X.shape) < share] = np.nan
    X[0] = np.nan
    X[-1] = 1.0
    return X


def mixture(covariance_type, k, d, student, seed=0):
    rng = np.random.default_rng(seed)
    weights, means = rng.dirichlet(np.full(k, 5.0)), 2 * rng.normal(size=(k, d))
    covariances = random_covariances(rng, covariance_type, k, d)
    if not student:
        return fastem.GaussianMixture(weights, means, covariances, covariance_type, **MISSING)
    degrees = np.exp(rng.uniform(np.log(1), np.log(50), k))
    parameters = {"means": means, "scales": covariances, "degrees_of_freedom": degrees}
    return fastem.Mixture(weights, parameters, "student", covariance_type=covariance_type, **MISSING)


def parts_of(model):
    if isinstance(model, fastem.GaussianMixture):
        return model.means, naive.dense(model.covariances, model.covariance_type, *model.means.shape), None
    means, scales, degrees = model.parameters.values()
    return means, naive.dense(scales, "full" if scales.ndim == 3 else "tied", *means.shape), degrees


@pytest.fixture(params=["common", "rare"])
def patterns(request, monkeypatch):
    """All patterns are passed over by the kernels of complete rows, or all row by row."""
    monkeypatch.setattr(incomplete, "_FIRST", -np.inf if request.param == "common" else np.inf)
    monkeypatch.setattr(incomplete, "_LATER", -np.inf if request.param == "common" else np.inf)


@pytest.mark.parametrize("student", [False, True], ids=["gaussian", "student"])
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_passes_and_scores_are_those_of_the_loops(covariance_type, student, patterns):
    for d in FEATURES:
        model = mixture(covariance_type, 3, d, student, seed=d)
        n = 30 if INTERPRETED else 300 // d
        rng = np.random.default_rng(d)
        X = gappy(model.sample(n, rng=1)[0], 0.4)
        weight = rng.uniform(0, 3, n)
        weight[1] = 0
        check(model, X, weight, 1e-10)
    single = X.astype(np.float32)
    check(model, single, None, TOLERANCE[np.float32])
    one = mixture(covariance_type, 1, 4, student)
    check(one, gappy(one.sample(60, rng=2)[0], 0.4), None, 1e-10)


def check(model, X, weight, tolerance):
    means, matrices, degrees = parts_of(model)
    given = np.ones(len(X)) if weight is None else weight
    exact = X.astype(np.float64)
    twin = naive.incomplete_statistics(exact, given, model.weights, means, matrices, degrees)
    n_k, scaled, first, second, log_p, r = twin
    statistics = fastem.e_step(X, model, weight)
    sums = statistics.sums()
    close(sums["weights"], n_k, 10 * tolerance)
    close(sums.get("scaled_weights", n_k), scaled if degrees is not None else n_k, 10 * tolerance)
    close(sums["first"], first, 10 * tolerance)
    close(
        sums["scatter"],
        naive.shape_scatter(second, "tied" if len(sums["scatter"]) == 1 else "full"),
        10 * tolerance,
    )
    close(statistics.log_likelihood, given @ log_p, tolerance)
    close(model.score_samples(X), log_p, tolerance)
    close(model.predict_proba(X), r, 10 * tolerance)
    np.testing.assert_array_equal(model.predict(X), r.argmax(axis=1))


def test_one_iteration_is_that_of_numpy_by_pattern():
    model = mixture("full", 4, 5, False)
    X = gappy(model.sample(400, rng=0)[0], 0.2)
    found = fastem.m_step(fastem.e_step(X, model), reg_covar=0, reseed=False)
    *new, log_likelihood = naive.em_by_pattern(X, model.weights, model.means, model.covariances)
    close(fastem.e_step(X, model).log_likelihood, log_likelihood, 1e-12)
    for own, other in zip((found.weights, found.means, found.covariances), new, strict=True):
        close(own, other, 1e-9)


@pytest.mark.parametrize("covariance_type", MCLUST)
def test_the_likelihood_of_what_is_observed_never_falls(covariance_type):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        d, k = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        X = gappy(
            random_model(seed, "full", k, d, spread=3.0).sample(150, rng=seed)[0], rng.uniform(0, 0.6), seed
        )
        weight = rng.uniform(0.2, 2, len(X))
        start = fastem.fit(
            X, k, covariance_type=covariance_type, max_iter=0, init="random", rng=seed, **MISSING
        )
        history = []
        for _ in range(12):
            statistics = fastem.e_step(X, start, weight)
            history.append(statistics.log_likelihood)
            start = fastem.m_step(statistics, reg_covar=0, reseed=False)
        gains = np.diff(history)
        assert (gains > -1e-9 * np.abs(history[0])).all(), (covariance_type, seed, gains)


@pytest.mark.parametrize("student", [False, True], ids=["gaussian", "student"])
def test_one_component_is_the_maximum_of_a_direct_search(student):
    from scipy.optimize import minimize

    d, rng = 3, np.random.default_rng(5)
    factor = np.tril(rng.normal(size=(d, d))) + np.eye(d)
    noise = rng.standard_t(4, size=(50, d)) if student else rng.normal(size=(50, d))
    X = gappy(noise @ factor.T + 1, 0.25)
    lower = np.tril_indices(d)

    def unpacked(point):
        L = np.zeros((d, d))
        L[lower] = point[d : d + len(lower[0])]
        return point[:d], L @ L.T, np.exp(point[-1])

    def loss(point):
        mean, V, nu = unpacked(point)
        degrees = np.array([nu]) if student else None
        try:
            return -naive.incomplete_statistics(X, ones, np.ones(1), mean[None], V[None], degrees)[4].mean()
        except np.linalg.LinAlgError:
            return np.inf

    ones = np.ones(len(X))
    kind = "student" if student else "gaussian"
    model = fastem.fit(X, 1, distribution=kind, tol=1e-13, max_iter=5000, reg_covar=0, rng=0, **MISSING)
    means, matrices, degrees = parts_of(model)
    own = np.linalg.cholesky(matrices[0])[lower]
    start = np.concatenate([means[0], own, np.log(degrees) if student else np.zeros(0)])
    if not student:
        start = np.append(start, 0.0)
    start = start + 0.01 * rng.normal(size=len(start))
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    mean, V, nu = unpacked(best.x)
    assert -loss(best.x) == pytest.approx(model.report.log_likelihood / len(X), abs=1e-9)
    close(means[0], mean, 1e-6 if not student else 1e-4)
    close(matrices[0], V, 1e-6 if not student else 1e-4)
    if student:
        assert degrees[0] == pytest.approx(nu, rel=1e-3)


@pytest.mark.parametrize("kind", ["full", "tied", "student"])
def test_without_gaps_nothing_changes(kind):
    X = random_model(3, "full", 3, 4, spread=3.0).sample(700, rng=0)[0]
    options = {"distribution": "student"} if kind == "student" else {"covariance_type": kind}
    options |= {"max_iter": 20, "tol": 0, "rng": 0, "init": np.arange(700) % 3}
    plain, other = (fastem.fit(X, 3, **options, missing=missing) for missing in ("error", "marginalise"))
    assert other.report.history == pytest.approx(plain.report.history, rel=1e-12)
    np.testing.assert_array_equal(plain.predict_proba(X), other.predict_proba(X))


def test_the_same_bits_for_all_threads_and_chunks():
    model = mixture("full", 3, 5, False)
    X = gappy(model.sample(30000, rng=0)[0], 0.15)
    sums = [fastem.e_step(X, model, n_threads=n).to_bytes() for n in (1, 2, 3)]
    chunks = [X[:7001], X[7001:7002], X[7002:]]
    sums.append(fastem.e_step(lambda: iter(chunks), model).to_bytes())
    assert len(set(sums)) == 1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_reference_is_reached(k):
    reference = json.loads((DATA / "missing.json").read_text())["airquality4"]
    X = np.genfromtxt(DATA / "airquality4.csv", delimiter=",", skip_header=1, filling_values=np.nan)
    model = fastem.fit(X, k, tol=1e-10, max_iter=3000, n_init=10, rng=0, **MISSING)
    expected = reference["G"][str(k)]
    assert model.report.log_likelihood == pytest.approx(expected["loglik"], abs=1e-3)
    assert model.bic(X) == pytest.approx(-expected["bic"], abs=1e-2)


def test_numbers_of_known_components_and_of_hard_assignment():
    """With clusters far apart both are what soft assignment is, and known labels name them."""
    model = fastem.GaussianMixture(
        [0.5, 0.5],
        [[-50.0, 0, 0], [50.0, 5, 1]],
        random_covariances(np.random.default_rng(0), "full", 2, 3),
        **MISSING,
    )
    X, labels = model.sample(500, rng=0)
    X[1:-1] = gappy(X, 0.3)[1:-1]
    X[:, 0] = np.where(np.isnan(X[:, 0]), np.where(labels == 0, -50.0, 50.0), X[:, 0])
    known = np.where(np.arange(500) % 2, labels, -1)
    fits = [
        fastem.fit(X, 2, init=model, max_iter=4, tol=0, **options, **MISSING)
        for options in ({}, {"labels": known}, {"assignment": "hard"})
    ]
    for other in fits[1:]:
        close(other.means, fits[0].means, 1e-9)
        close(other.covariances, fits[0].covariances, 1e-9)


def test_sums_of_known_responsibilities_are_taken_again_until_they_agree():
    """The first M-step is that of labels alone: expectations about what it found change it little."""
    model = random_model(1, "full", 2, 4, spread=4.0)
    X, labels = model.sample(2000, rng=0)
    X = gappy(X, 0.3)
    start = fastem.fit(X, 2, init=labels, max_iter=0, reg_covar=0, rng=0, **MISSING)
    apart = [fastem.fit(X[labels == j], 1, reg_covar=0, tol=1e-9, rng=0, **MISSING) for j in range(2)]
    for j in range(2):
        deviations = np.sqrt(np.diag(apart[j].covariances[0]))
        assert (np.abs(start.means[j] - apart[j].means[0]) < 0.05 * deviations).all()
        np.testing.assert_allclose(np.diag(start.covariances[j]), deviations**2, rtol=0.1)


@pytest.mark.parametrize("student", [False, True], ids=["gaussian", "student"])
def test_imputed_numbers_are_expected_ones_and_draws_have_their_moments(student):
    model = mixture("full", 3, 4, student, seed=2)
    means, matrices, _ = parts_of(model)
    X = gappy(model.sample(25, rng=3)[0], 0.4)
    r = model.predict_proba(X)
    filled = model.impute(X)
    for i, x in enumerate(X):
        o = ~np.isnan(x)
        rows = [
            m + V[:, o] @ np.linalg.solve(V[np.ix_(o, o)], x[o] - m[o])
            for m, V in zip(means, matrices, strict=True)
        ]
        np.testing.assert_allclose(filled[i], r[i] @ rows, rtol=1e-9, atol=1e-9)
    many = np.tile([[np.nan, 1.0, np.nan, 0.5]], (4000, 1))
    drawn, middle = model.impute(many, rng=0), model.impute(many[:1])[0]
    assert np.abs(np.median(drawn, axis=0) - middle)[[0, 2]].max() < 3  # draws are about what is expected
    if not student:
        spread = drawn[:, [0, 2]].std(axis=0)
        np.testing.assert_allclose(drawn.mean(axis=0), middle, atol=4 * spread.max() / np.sqrt(4000))


def test_infinite_numbers_are_errors():
    model = mixture("full", 2, 3, False)
    X = gappy(model.sample(50, rng=0)[0], 0.3)
    X[20, 1] = np.inf
    with pytest.raises(ValueError, match="row 20"):
        fastem.e_step(X, model)
    with pytest.raises(ValueError, match="row 20"):
        model.score_samples(X)


def test_mixed_columns_are_imputed_whatever_the_order_of_numbers_in_memory():
    rng = np.random.default_rng(0)
    X = np.stack([rng.normal(size=60), rng.poisson(3.0, 60), rng.normal(size=60)], axis=1)
    X[::7, 0] = X[::5, 2] = np.nan
    kinds = {0: "gaussian", 1: "poisson", 2: "gaussian"}
    model = fastem.fit(X, 1, distribution=kinds, covariance_type="full", max_iter=3, tol=0, **MISSING)
    means, covariances = (model.parameters[f"gaussian_{name}"] for name in ("means", "covariances"))
    alone = fastem.GaussianMixture([1.0], means, covariances, **MISSING)
    close(model.impute(X)[:, [0, 2]], alone.impute(X[:, [0, 2]]), 1e-12)
    assert not np.isnan(model.impute(X, rng=0)).any()
    assert incomplete.patterns_of(np.asfortranarray(X), 1, None).begins.tolist() == [0, 41, 51, 58, 60]


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
@pytest.mark.parametrize("kind", ["full", "diag", "student", "poisson", "mixed"])
def test_rows_without_numbers_leave_the_fit_alone(kind):
    """In the sums of a component of one row they would make it shrink in every iteration, and never end."""
    distributions = {"mixed": {0: "gaussian", 1: "poisson"}, "student": "student", "poisson": "poisson"}
    options = {"distribution": distributions[kind]} if kind in distributions else {"covariance_type": kind}
    X = np.concatenate([np.random.default_rng(0).poisson(4, (30, 2)), [[50, 50]]]).astype(float)
    X[3, 0] = np.nan
    labels = np.repeat([0, 1], [30, 1])
    options |= {} if kind == "poisson" else {"reg_covar": 0}
    options |= {"tol": 0, "max_iter": 30, "acceleration": None, **MISSING}
    alone = fastem.fit(X, 2, init=labels, **options)
    gaps = np.full((6, 2), np.nan)
    model = fastem.fit(np.concatenate([X, gaps]), 2, init=np.append(labels, [0, 1] * 3), **options)
    close(model.report.history, alone.report.history, 1e-12)
    for name, values in alone.parameters.items():
        close(model.parameters[name], values, 1e-9)
    close(model.weights, alone.weights, 1e-12)
    more = model.bic(np.concatenate([X, gaps])) - model.bic(X)
    assert more == pytest.approx(model.n_parameters * np.log(37 / 31))  # it counts them
    known = fastem.fit(np.concatenate([X, gaps]), 2, labels=np.repeat([0, 1], [30, 7]), **options)
    close(known.weights, [30 / 37, 7 / 37], 1e-12)  # a label tells of the weights
    statistics = fastem.e_step(gaps, model)
    assert statistics.log_likelihood == 0
    with pytest.raises(ValueError, match="at least one row with a number"):
        fastem.m_step(statistics)
    assert fastem.m_step(statistics + fastem.e_step(X, model)).n_components == 2


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_a_sample_of_rows_without_numbers_moves_nothing(covariance_type):
    model = mixture(covariance_type, 2, 3, False)
    family = family_of("gaussian", covariance_type).with_missing()
    start = family.check(model.weights, {"means": model.means, "covariances": model.covariances}, None)
    frame = family.own_frame(start, np.dtype(np.float64))
    source = ArraySource(Rows("X", 0, np.full((50, 3), np.nan)), None)
    likelihood = Likelihood(source, family, 2, frame, 0.0)
    found = likelihood.m_step(likelihood.e_step(family.from_user(start, frame))).parameters
    for own, other in zip(family.to_user(found, frame), start, strict=True):
        close(own, other, 1e-12)
