"""Mixtures of Bernoulli, exponential, gamma and lognormal distributions, all by the same tests."""

import copy
import pickle
import warnings

import naive
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

import fastem
from fastem import FitStatus
from fastem._em.loop import FLOORED, MASS, RESEEDED
from fastem._families.registry import family_of

da = pytest.importorskip("dask.array")

WEIGHTS = np.array([0.5, 0.2, 0.3])
# Three components.
TRUTH = {
    "bernoulli": {
        "probabilities": [
            [0.1, 0.9, 0.2, 0.8, 0.1, 0.1, 0.7],
            [0.9, 0.8, 0.1, 0.3, 0.2, 0.9, 0.1],
            [0.3, 0.2, 0.9, 0.6, 0.9, 0.7, 0.4],
        ]
    },
    "exponential": {"rates": [[1.0, 20.0, 3.0], [8.0, 0.5, 0.1], [0.02, 3.0, 4.0]]},
    "gamma": {
        "shapes": [[2.0, 30.0], [0.7, 5.0], [12.0, 0.4]],
        "rates": [[1.0, 2.0], [0.01, 5.0], [3.0, 0.1]],
    },
    "lognormal": {
        "means": [[0.0, 3.0], [4.0, -1.0], [-5.0, 0.5]],
        "variances": [[1, 0.1], [0.3, 0.5], [2, 1]],
    },
}
TRUTH = {name: {key: np.array(p, float) for key, p in given.items()} for name, given in TRUTH.items()}
POSITIVE = [name for name in TRUTH if name != "bernoulli"]
LOGARITHMIC = ["gamma", "lognormal"]
BAD = {"bernoulli": [2.0, 0.5, -1.0], "exponential": [-1e-9], "gamma": [0.0, -1.0], "lognormal": [0.0, -1.0]}
NAIVE = {name: getattr(naive, f"log_{name}") for name in TRUTH}
SCIPY = {
    "bernoulli": lambda x, probabilities: stats.bernoulli.logpmf(x, probabilities),
    "exponential": lambda x, rates: np.log(rates) - rates * x,
    "gamma": lambda x, shapes, rates: stats.gamma.logpdf(x, shapes, scale=1 / rates),
    "lognormal": lambda x, means, variances: stats.lognorm.logpdf(x, np.sqrt(variances), scale=np.exp(means)),
}


def mixture(name, weights=WEIGHTS, **parameters):
    return fastem.Mixture(weights, parameters or TRUTH[name], name)


def rows_of(name, n=3000, seed=0):
    return mixture(name).sample(n, rng=seed)[0]


ROWS = {name: rows_of(name) for name in TRUTH}
WEIGHT = np.random.default_rng(0).integers(0, 3, 3000).astype(np.float64)
every_family = pytest.mark.parametrize("name", TRUTH)


def log_densities(X, model):
    joint = SCIPY[model.distribution](np.asarray(X, float)[:, None, :], *model.parameters.values()).sum(
        axis=2
    )
    with np.errstate(divide="ignore"):
        return special.logsumexp(joint + np.log(model.weights), axis=1)


def bits(model):
    arrays = (model.weights, *model.parameters.values(), np.array(model.report.history))
    return b"".join(array.tobytes() for array in arrays)


def quiet_fit(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        return fastem.fit(*arguments, **options)


# --- densities


@every_family
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_densities_are_those_of_scipy(name, dtype):
    model, X = mixture(name), ROWS[name][:500].astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    expected = log_densities(X, model)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=tolerance, atol=tolerance)
    assert model.score(X) == pytest.approx(expected.mean(), rel=tolerance)
    assert fastem.e_step(X, model).log_likelihood == pytest.approx(expected.sum(), rel=tolerance)
    assert model.score_samples(X).dtype == dtype
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


@every_family
def test_densities_are_those_of_the_loops(name):
    model, X = mixture(name), ROWS[name][:40]
    components = list(zip(*model.parameters.values(), strict=True))
    joints = [[np.log(w) + NAIVE[name](x, *p) for w, p in zip(WEIGHTS, components, strict=True)] for x in X]
    r, log_p = naive.shares(joints)
    np.testing.assert_allclose(model.score_samples(X), log_p, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), r, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LOGARITHMIC)
def test_logarithms_of_float32_rows_are_computed_in_float64(name):
    X = ROWS[name].astype(np.float32)
    options = {"distribution": name, "init": mixture(name), "max_iter": 5, "tol": 0}
    assert fastem.e_step(X, mixture(name)).dtype == np.float64
    single, double = (fastem.fit(rows, 3, **options) for rows in (X, X.astype(np.float64)))
    for key, value in double.parameters.items():
        np.testing.assert_allclose(single.parameters[key], value, rtol=1e-10)


@pytest.mark.parametrize("variation", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("name", LOGARITHMIC)
def test_narrow_components_keep_their_digits(name, variation):
    """All three are a few deviations apart, far from zero in units of their deviations."""
    means = 7.3 * (1 + variation * np.array([[0.0], [5.0], [11.0]]))
    shapes = np.array([[1.0], [2.0], [0.5]]) / variation**2
    if name == "gamma":
        model = mixture(name, shapes=shapes, rates=shapes / means)
    else:
        model = mixture(name, means=np.log(means), variances=1 / shapes)
    X, labels = model.sample(20_000, rng=0)
    fitted = fastem.fit(X, 3, distribution=name, init=labels, max_iter=0)
    for component in range(3):
        x = X[labels == component, 0]
        gap = x / x.mean() - 1
        if name == "lognormal":
            logs = np.log(x / 7.3)
            assert fitted.parameters["variances"][component, 0] == pytest.approx(logs.var(), rel=1e-9)
            continue
        s = np.mean(gap - np.log1p(gap))  # log(mean) - mean log, since the mean of `gap` is 0
        shape = optimize.brentq(lambda a, s=s: 0.5 / a + 1 / (12 * a * a) - s, 0.1 / s, 1 / s, rtol=1e-14)
        assert fitted.parameters["shapes"][component, 0] == pytest.approx(shape, rel=1e-8)
        rate = fitted.parameters["rates"][component, 0]
        assert fitted.parameters["shapes"][component, 0] / rate == pytest.approx(x.mean(), rel=1e-14)
    again = fastem.fit(X, 3, distribution=name, init=model, tol=1e-9, max_iter=500)
    assert again.report.status is FitStatus.CONVERGED
    assert again.report.repairs == ()
    assert again.score(X) >= model.score(X)
    # The normal distribution with the same mean and deviation differs in proportion to the skewness.
    x = X[:200]
    normal = stats.norm.logpdf(x, means.T, means.T / np.sqrt(shapes.T))
    expected = special.logsumexp(normal + np.log(WEIGHTS), axis=1)
    near = np.abs(model.score_samples(x) - expected)
    assert np.median(near) < 3 * variation


@pytest.mark.parametrize("value", [5e-324, 2.3e-308, 1e-302])
@pytest.mark.parametrize("missing", ["error", "marginalise"])
def test_gamma_columns_too_small_for_their_rates_are_told(value, missing):
    X = np.column_stack([np.full(100, value), ROWS["gamma"][:100, 0]])
    if missing == "marginalise":
        X[3, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ValueError, match=r"means of 1e-300 at least, .*; got a column of mean .*Rescale"):
            fastem.fit(X, 2, distribution="gamma", missing=missing)


@pytest.mark.parametrize("unit", [2.0**-100, 1e-30, 1e30, 2.0**100])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", POSITIVE)
def test_any_units(name, dtype, unit):
    X = ROWS[name].astype(dtype)
    options = {"distribution": name, "init": "k-means++", "rng": 0, "max_iter": 20}
    plain, scaled = quiet_fit(X, 3, **options), quiet_fit(X * dtype(unit), 3, **options)
    tolerance = 1e-9 if dtype == np.float64 else 2e-3
    jacobian = X.size * np.log(float(dtype(unit)))
    assert scaled.report.log_likelihood + jacobian == pytest.approx(plain.report.log_likelihood, rel=1e-5)
    np.testing.assert_allclose(scaled.weights, plain.weights, rtol=tolerance)
    values, expected = dict(scaled.parameters), dict(plain.parameters)
    if "rates" in values:
        values["rates"] = values["rates"] * unit
    if "means" in values:
        values["means"] = values["means"] - np.log(float(dtype(unit)))
    for key, value in values.items():
        np.testing.assert_allclose(value, expected[key], rtol=tolerance, atol=tolerance)
    if name != "lognormal" and np.log2(unit) % 1 == 0:
        np.testing.assert_array_equal(scaled.predict(X * dtype(unit)), plain.predict(X))
        np.testing.assert_array_equal(values["rates"], expected["rates"])


# --- EM


def m_step(name, X, weight, r):
    """Weighted maximum likelihood, as in a textbook."""
    r = r * weight[:, None]
    n_k = r.sum(axis=0)
    means = (r.T @ X) / n_k[:, None]
    if name == "bernoulli":
        return n_k / n_k.sum(), (means,)
    if name == "exponential":
        return n_k / n_k.sum(), (1 / means,)
    logs = (r.T @ np.log(X)) / n_k[:, None]
    if name == "lognormal":
        gaps = np.log(X)[:, None, :] - logs
        return n_k / n_k.sum(), (logs, np.einsum("nk,nkd->kd", r, gaps**2) / n_k[:, None])
    spread = np.log(means) - logs
    shapes = np.array(
        [
            optimize.brentq(
                lambda a, s=s: np.log(a) - special.digamma(a) - s, 1e-3, 1e6, rtol=1e-14, xtol=1e-14
            )
            for s in spread.ravel()
        ]
    ).reshape(spread.shape)
    return n_k / n_k.sum(), (shapes, shapes / means)


def broadcast_em(name, X, weight, weights, parameters, iterations):
    history = []
    for iteration in range(iterations + 1):
        joint = SCIPY[name](X[:, None, :], *parameters).sum(axis=2) + np.log(weights)
        log_p = special.logsumexp(joint, axis=1)
        history.append(weight @ log_p)
        if iteration < iterations:
            weights, parameters = m_step(name, X, weight, np.exp(joint - log_p[:, None]))
    return weights, parameters, history


def disturbed(name, seed=0):
    """A mixture near the truth."""
    rng = np.random.default_rng(seed)
    values = {key: value * rng.uniform(0.9, 1.1, value.shape) for key, value in TRUTH[name].items()}
    return mixture(name, rng.dirichlet(np.full(3, 5.0)), **values)


@every_family
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_em_in_broadcasting_numpy(name, weighted):
    start, X = disturbed(name), ROWS[name][:700]
    weight = WEIGHT[:700] if weighted else np.ones(700)
    options = {"distribution": name, "init": start, "tol": 0, "max_iter": 20, "acceleration": None}
    options["sample_weight"] = weight if weighted else None
    model = fastem.fit(X, 3, **options)
    begun = start.weights, tuple(start.parameters.values())
    weights, parameters, history = broadcast_em(name, X, weight, *begun, 20)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-9)
    for actual, expected in zip(model.parameters.values(), parameters, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.report.history, history, rtol=1e-9)
    single = fastem.fit(X.astype(np.float32), 3, **options)
    np.testing.assert_allclose(single.report.history, history, rtol=1e-5)


@every_family
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_likelihood_never_falls(name, init, k):
    options = {"distribution": name, "rng": 0, "max_iter": 60, "tol": 0, "sample_weight": WEIGHT}
    model = fastem.fit(ROWS[name], k, init=init, **options)
    history = np.array(model.report.history)
    assert (np.diff(history) >= -1e-11 * abs(history[0])).all()
    assert model.report.log_likelihood == pytest.approx(
        model.score(ROWS[name], WEIGHT) * WEIGHT.sum(), rel=1e-10
    )
    assert model.report.status is FitStatus.MAX_ITER


@every_family
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_truth_is_found(name, dtype):
    X = rows_of(name, 100_000, 1)
    model = fastem.fit(X.astype(dtype), 3, distribution=name, rng=0, tol=1e-7, max_iter=1000)
    assert model.report.status is FitStatus.CONVERGED
    assert model.score(X) > mixture(name).score(X)
    order = np.argsort(-model.weights)[[0, 2, 1]]
    np.testing.assert_allclose(model.weights[order], WEIGHTS, atol=0.02)
    for key, expected in TRUTH[name].items():
        actual = model.parameters[key][order]
        np.testing.assert_allclose(actual, expected, rtol=0.06, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_random_responsibilities_find_latent_classes_that_k_means_does_not_see(seed):
    """Of forty such mixtures, the start "auto" found 32 without random responsibilities, and 40 with them."""
    rng = np.random.default_rng([seed, 7])
    k, d = int(rng.integers(2, 6)), int(rng.integers(6, 20))
    truth = mixture(
        "bernoulli",
        weights=rng.dirichlet(np.full(k, 4.0)),
        probabilities=rng.beta(0.7, 0.7, (k, d)).clip(0.02, 0.98),
    )
    X, _ = truth.sample(2000, rng=seed)
    options = {"distribution": "bernoulli", "tol": 1e-6, "max_iter": 3000}
    found, near = (fastem.fit(X, k, init=init, rng=0, **options).score(X) for init in ("auto", truth))
    assert found > near - 1e-4


@every_family
def test_part_and_places(name):
    """The heaviest component is split about one deviation apart: at a loss, but not a large one."""
    family = family_of(name)
    values = {key: value.copy() for key, value in TRUTH[name].items()}
    parameters = family.check(WEIGHTS.copy(), values, None)
    before = mixture(name).score(ROWS[name])
    family.part(parameters, 1, 0)
    family.check(*parameters[:1], family.values(parameters), None)
    places = family.places(parameters)
    if places is not None:
        assert 0.1 < np.linalg.norm(places[0] - places[1]) < 3
    assert not all(np.array_equal(*value[[0, 1]]) for value in parameters[1:])
    halves = fastem.Mixture([0.35, 0.35, 0.3], family.values(parameters), name)
    assert 0 < before - halves.score(ROWS[name]) < np.inf


@every_family
def test_vectors_are_parameters_without_bounds(name):
    family = family_of(name)
    parameters = family.check(WEIGHTS.copy(), TRUTH[name], None)
    vector = family.to_vector(parameters)
    for actual, expected in zip(family.from_vector(vector, parameters), parameters, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    far = family.from_vector(vector + 3 * np.random.default_rng(0).normal(size=len(vector)), parameters)
    family.check(far.weights, family.values(far), None)
    assert family.from_vector(np.full(len(vector), 1e6), parameters) is None or name == "bernoulli"
    assert family.from_vector(np.full(len(vector), np.nan), parameters) is None


@every_family
def test_acceleration_ends_no_lower(name):
    options = {"distribution": name, "init": "random", "rng": 1, "tol": 1e-8, "max_iter": 3000}
    slow = fastem.fit(ROWS[name], 3, acceleration=None, **options)
    fast = fastem.fit(ROWS[name], 3, **options)
    assert fast.report.status is slow.report.status is FitStatus.CONVERGED
    assert fast.score(ROWS[name]) > slow.score(ROWS[name]) - 1e-6


# --- boundaries


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [3, 5])
def test_probabilities_of_0_and_1(k, dtype):
    rng = np.random.default_rng(k)
    p = rng.uniform(0.1, 0.9, (k, 6))
    p[0, :2], p[1, 1:3], p[2] = (0, 1), (1, 0), (1, 0, 1, 0, 1, 1)
    p[3:, 5] = 1
    model = mixture("bernoulli", np.full(k, 1 / k), probabilities=p)
    X = (rng.random((400, 6)) < 0.5).astype(dtype)
    X[:20] = p[2]
    expected = log_densities(X, model)
    impossible = np.isneginf(expected)
    assert 0 < impossible.sum() < 300
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    scores = model.score_samples(X)
    np.testing.assert_array_equal(np.isneginf(scores), impossible)
    np.testing.assert_allclose(scores[~impossible], expected[~impossible], rtol=tolerance)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    missed = ((p == 0) & (X[:, None] == 1) | (p == 1) & (X[:, None] == 0)).sum(axis=2)
    least = missed == missed.min(axis=1, keepdims=True)
    expected_share = least / least.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(proba[impossible], expected_share[impossible], rtol=1e-6)
    with np.errstate(divide="ignore"):
        joint = SCIPY["bernoulli"](X[:, None, :].astype(float), p).sum(axis=2)[~impossible]
    np.testing.assert_allclose(proba[~impossible], special.softmax(joint, axis=1), rtol=1e-4, atol=1e-6)
    assert (proba[~impossible][np.isneginf(joint)] == 0).all()
    assert model.score(X) == -np.inf
    statistics = fastem.e_step(X[~impossible], model)
    assert statistics.log_likelihood == pytest.approx(expected[~impossible].sum(), rel=1e-5)
    after = fastem.m_step(statistics)
    np.testing.assert_allclose(
        after.parameters["probabilities"],
        (proba[~impossible].T @ X[~impossible]) / proba[~impossible].sum(axis=0)[:, None],
        atol=1e-5,
    )


def test_columns_of_0_and_of_1():
    X = ROWS["bernoulli"].copy()
    X[:, 0], X[:, 1] = 0, 1
    model = fastem.fit(X, 3, distribution="bernoulli", rng=0)
    np.testing.assert_array_equal(model.parameters["probabilities"][:, 0], 0)
    np.testing.assert_allclose(model.parameters["probabilities"][:, 1], 1, rtol=1e-12)
    assert model.report.status is FitStatus.CONVERGED
    assert np.isfinite(model.report.history).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


SINGULAR = {"exponential": 0.0, "gamma": 3.7, "lognormal": 3.7}


@pytest.mark.parametrize("count", [5, 600])
@pytest.mark.parametrize("name", POSITIVE)
def test_equal_rows_are_reported_as_singular_covariances_are(name, count):
    """A few equal rows are a spurious component. Many are a mass, which is a finding."""
    X = ROWS[name][:2000].copy()
    X[:count] = SINGULAR[name] / X.mean(axis=0) if name == "exponential" else SINGULAR[name]
    labels = np.repeat([0, 1], [count, 2000 - count])
    model = quiet_fit(X, 2, distribution=name, init=labels, tol=1e-6, max_iter=500)
    assert model.report.status is FitStatus.DEGENERATE
    assert (0, MASS if count == 600 else FLOORED) in {(r.component, r.what) for r in model.report.repairs}
    history = np.array(model.report.history)
    assert np.isfinite(history).all()
    assert (np.diff(history) >= -1e-9 * abs(history[0])).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert (model.predict(X)[:count] == 0).all()


@pytest.mark.parametrize("value", [1e-20, 1.0, 3.7, 1e20])
@pytest.mark.parametrize("name", POSITIVE)
def test_constant_columns(name, value):
    X = ROWS[name][:500].copy()
    X[:, 0] = 0.0 if name == "exponential" else value
    model = quiet_fit(X, 2, distribution=name, rng=0)
    assert model.report.status is FitStatus.DEGENERATE
    assert np.isfinite(model.report.history).all()
    assert all(np.isfinite(array).all() for array in model.parameters.values())
    if name != "exponential":
        centre = (
            model.parameters["means"]
            if name == "lognormal"
            else np.log(model.parameters["shapes"] / model.parameters["rates"])
        )
        np.testing.assert_allclose(centre[:, 0], np.log(value), rtol=1e-12, atol=1e-12)
    others = quiet_fit(X[:, 1:], 2, distribution=name, rng=0)
    np.testing.assert_allclose(np.sort(model.weights), np.sort(others.weights), atol=1e-3)


@every_family
def test_a_component_that_loses_its_rows_starts_anew(name):
    far = {key: np.vstack([value, value[:1]]) for key, value in TRUTH[name].items()}
    start = mixture(name, [0.4, 0.2, 0.4, 0.0], **far)
    model = quiet_fit(ROWS[name], 4, distribution=name, init=start, max_iter=100)
    assert model.report.repairs[0] == (1, 3, RESEEDED)
    assert model.weights.min() > 0.005
    assert model.score(ROWS[name]) > mixture(name).score(ROWS[name]) - 1e-3


@every_family
@pytest.mark.parametrize("n", [1, 2, 5])
def test_as_many_components_as_rows(name, n):
    model = quiet_fit(ROWS[name][:n], n, distribution=name, rng=0)
    assert np.isfinite(model.report.log_likelihood)
    assert all(np.isfinite(array).all() for array in model.parameters.values())
    np.testing.assert_allclose(model.weights.sum(), 1)


# --- rows that a distribution does not have

USES = {
    "fit": lambda name, X: fastem.fit(X, 3, distribution=name, callback=lambda *_: pytest.fail("began")),
    "fit of chunks": lambda name, X: fastem.fit(np.split(X, [1000]), 3, distribution=name),
    "fit of blocks": lambda name, X: fastem.fit(da.from_array(X, chunks=(1000, -1)), 3, distribution=name),
    "e_step": lambda name, X: fastem.e_step(X, mixture(name)),
    "partial_fit": lambda name, X: fastem.partial_fit(mixture(name), X),
    "predict": lambda name, X: mixture(name).predict(X),
    "score": lambda name, X: mixture(name).score(X),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD for value in [*BAD[name], np.nan, np.inf]]
)
def test_numbers_outside_of_the_support(name, value, dtype, use):
    X = ROWS[name].astype(dtype)
    X[1001, 1] = value
    rule = rf'must hold .*distribution="{name}"' if np.isfinite(value) else "must "
    with pytest.raises(
        ValueError, match=rf"^(X|chunk 1 of X|block 1 of X) {rule}.*; row (1001|1), column 1 is .*\."
    ):
        USES[use](name, X)


@every_family
def test_parameters_outside_of_their_domain(name):
    for key, value in TRUTH[name].items():
        if key == "means":
            continue
        for wrong in (
            -0.1,
            np.nan,
            1.5 if name == "bernoulli" else -1,
            *([] if name == "bernoulli" else [0]),
        ):
            bad = value.copy()
            bad[1, 1] = wrong
            with pytest.raises(ValueError, match=rf"{key} must be .*; got"):
                mixture(name, **{**TRUTH[name], key: bad})
    if len(TRUTH[name]) == 2:
        first, second = TRUTH[name].items()
        with pytest.raises(ValueError, match=f"{second[0]} must have the shape of {first[0]}, "):
            mixture(name, **{first[0]: first[1], second[0]: second[1][:, :1]})


# --- sources and the other verbs


@every_family
def test_sources_give_the_bits_of_the_array(name, tmp_path):
    X = ROWS[name]
    options = {"distribution": name, "rng": 0, "max_iter": 3, "tol": 0, "init": "k-means++"}
    expected = bits(fastem.fit(X, 3, sample_weight=WEIGHT, **options))
    names = [f"x{j}" for j in range(X.shape[1])]
    columns = dict(zip([*names, "w"], np.column_stack([X, WEIGHT]).T.copy(), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "X.parquet")
    assert bits(fastem.fit(tmp_path / "X.parquet", 3, sample_weight="w", **options)) == expected
    chunks = list(zip(np.split(X, [5, 1000]), np.split(WEIGHT, [5, 1000]), strict=True))
    assert bits(fastem.fit(chunks, 3, **options)) == expected
    for n_threads in (1, 2):
        assert bits(fastem.fit(X, 3, sample_weight=WEIGHT, n_threads=n_threads, **options)) == expected
    blocks = fastem.fit(da.from_array(X, chunks=(1000, -1)), 3, sample_weight=WEIGHT, **options)
    for key, value in fastem.fit(X, 3, sample_weight=WEIGHT, **options).parameters.items():
        np.testing.assert_allclose(blocks.parameters[key], value, rtol=1e-8)


@every_family
def test_merged_chunks_are_one_pass(name):
    model, X = mixture(name), ROWS[name]
    parts = [fastem.e_step(X[a:b], model, WEIGHT[a:b]) for a, b in ((0, 5), (5, 1000), (1000, 3000))]
    whole, merged = fastem.e_step(X, model, WEIGHT), sum(parts)
    assert merged.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    r = model.predict_proba(X) * WEIGHT[:, None]
    expected = {
        "weights": r.sum(axis=0),
        "first": r.T @ X,
        "logarithms": r.T @ np.log(np.maximum(X, 1e-300)),
        "squares": r.T @ np.square(np.log(np.maximum(X, 1e-300))),
    }
    names = {"gamma": ["first", "logarithms"], "lognormal": ["logarithms", "squares"]}.get(name, ["first"])
    assert list(whole.sums()) == ["weights", *names]
    for key in whole.sums():
        np.testing.assert_allclose(merged.sums()[key], whole.sums()[key], rtol=1e-10)
        np.testing.assert_allclose(whole.sums()[key], expected[key], rtol=1e-9)
    step = fastem.m_step(merged)
    for twin in (
        pickle.loads(pickle.dumps(merged)),
        copy.deepcopy(merged),
        fastem.Statistics.from_bytes(merged.to_bytes()),
    ):
        for key, value in fastem.m_step(twin).parameters.items():
            np.testing.assert_array_equal(value, step.parameters[key])
        assert (twin + whole).log_likelihood == (merged + whole).log_likelihood
    weights, parameters = m_step(name, X, WEIGHT, model.predict_proba(X))
    np.testing.assert_allclose(step.weights, weights, rtol=1e-10)
    for actual, value in zip(step.parameters.values(), parameters, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-9, atol=1e-12)


@every_family
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_one_and_of_next_to_nothing(name, dtype):
    model, X = mixture(name), ROWS[name].astype(dtype)
    stepped, expected = fastem.partial_fit(model, X, step=1.0), fastem.m_step(fastem.e_step(X, model))
    still = fastem.partial_fit(model, X, step=1e-12)
    for key, value in TRUTH[name].items():
        np.testing.assert_allclose(stepped.parameters[key], expected.parameters[key], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(still.parameters[key], value, rtol=1e-8, atol=1e-9)


@every_family
def test_one_pass_comes_near_the_batch_fit(name):
    rows, model = rows_of(name, 50_000, 3), None
    for chunk in np.array_split(rows, 50):
        model = fastem.partial_fit(model, chunk, k=3, distribution=name, rng=0)
    batch = fastem.fit(rows, 3, distribution=name, rng=0, tol=1e-8)
    assert batch.score(rows) - model.score(rows) < 3e-3


@every_family
def test_a_sample_has_the_distribution(name):
    model = mixture(name)
    rows, labels = model.sample(30_000, rng=0)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, model.sample(30_000, rng=0)[0])
    assert model.sample(0)[0].shape == (0, rows.shape[1])
    for component in range(3):
        x = rows[labels == component, 0]
        p = [value[component, 0] for value in TRUTH[name].values()]
        if name == "bernoulli":
            assert x.mean() == pytest.approx(p[0], abs=0.02)
        else:
            distribution = {
                "exponential": lambda rate: stats.expon(scale=1 / rate),
                "gamma": lambda shape, rate: stats.gamma(shape, scale=1 / rate),
                "lognormal": lambda mean, variance: stats.lognorm(np.sqrt(variance), scale=np.exp(mean)),
            }[name](*p)
            assert stats.kstest(x, distribution.cdf).pvalue > 1e-4


@every_family
def test_criteria_files_and_pickles(name, tmp_path):
    X = pd.DataFrame(ROWS[name]).rename(columns=lambda j: f"x{j}")
    model = fastem.fit(X, 3, distribution=name, rng=0)
    free = sum(value.size for value in TRUTH[name].values()) + 2
    assert model.n_parameters == free
    assert model.bic(X) == pytest.approx(free * np.log(len(X)) - 2 * model.report.log_likelihood, rel=1e-9)
    model.save(tmp_path / "model.npz")
    for twin in (
        fastem.load(tmp_path / "model.npz"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        assert bits(twin) == bits(model)
        assert (repr(twin), twin.report) == (repr(model), model.report)


@every_family
def test_known_centres_are_a_start(name):
    location = family_of(name).location
    key = location or "shapes"
    given_values = TRUTH[name][key]
    seen = []
    fastem.fit(
        ROWS[name],
        3,
        distribution=name,
        init={key: given_values},
        rng=0,
        callback=lambda i, log_likelihood, model: seen.append(model) or True,
    )
    np.testing.assert_allclose(seen[0].parameters[key], given_values, rtol=1e-12)
    if location is not None:
        assert seen[0].score(ROWS[name]) > mixture(name).score(ROWS[name]) - 0.5


# --- properties


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(list(TRUTH)),
    n=st.integers(1, 60),
    d=st.integers(1, 5),
    k=st.integers(1, 4),
    spread=st.sampled_from([1e-6, 0.1, 3.0, 40.0]),
    repeats=st.booleans(),
    single=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_rows_give_a_sound_mixture(name, n, d, k, spread, repeats, single, seed):
    rng = np.random.default_rng(seed)
    k = min(k, n)
    if name == "bernoulli":
        X = (rng.random((n, d)) < rng.random(d)).astype(np.float64)
    else:
        X = np.exp(spread * rng.normal(size=(n, d)))
    if repeats:
        X = X[rng.integers(max(1, n // 3), size=n)]
    X = np.clip(X, 0 if name == "bernoulli" else 1e-30, 1e30).astype(np.float32) if single else X
    weight = rng.uniform(0.1, 3, n)
    options = {
        "distribution": name,
        "init": "k-means++",
        "rng": seed,
        "max_iter": 15,
        "sample_weight": weight,
    }
    model = quiet_fit(X, k, tol=0, **options)
    assert np.isfinite(model.report.history).all()
    assert model.report.status is not FitStatus.DECREASED
    assert all(np.isfinite(array).all() for array in model.parameters.values())
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    total = model.score(X, weight) * weight.sum()
    scale = weight.sum() * (1 + np.abs(model.score_samples(X)).max())
    assert abs(total - model.report.log_likelihood) <= (1e-4 if single or spread < 1e-3 else 1e-7) * scale
