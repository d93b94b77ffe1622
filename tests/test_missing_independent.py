"""Missing numbers where features are independent given the component. It also runs interpreted.

These are Gaussians and t distributions with diagonal or spherical covariances, linear exponential families,
categories and columns of different kinds.
"""

import itertools
import math

import naive
import numba
import numpy as np
import pytest
from scipy.optimize import minimize

import fastem
from fastem import FitStatus

INTERPRETED = bool(numba.config.DISABLE_JIT)
LINEAR = ["bernoulli", "poisson", "exponential", "gamma", "lognormal"]
VARIANCES = ["diag", "spherical", "EII", "EEI", "VEI", "EVI"]
KINDS = [*LINEAR, "categorical", "student diag", "student spherical", *VARIANCES]
# (n, d, k): tiles of 256 rows, remainders of d and k by four, blocks of four components
SIZES = [(60, 3, 2)] if INTERPRETED else [(60, 3, 2), (530, 6, 5)]
UNFINISHED = "ignore::fastem.FitWarning"


def model_of(kind, k, d, seed=0, missing="marginalise"):
    rng = np.random.default_rng(seed)
    weights, shape = rng.dirichlet(np.full(k, 5.0)), (k, d)
    if kind in VARIANCES:
        sizes = {"diag": shape, "spherical": k}[kind]
        return fastem.GaussianMixture(
            weights, 3 * rng.normal(size=shape), rng.uniform(0.3, 3, sizes), kind, missing=missing
        )
    covariance_type = None
    if kind.startswith("student"):
        kind, covariance_type = kind.split()
        parameters = {
            "means": 3 * rng.normal(size=shape),
            "scales": rng.uniform(0.3, 3, shape if covariance_type == "diag" else k),
            "degrees_of_freedom": rng.uniform(1, 9, k),
        }
    elif kind == "bernoulli":
        parameters = {"probabilities": rng.uniform(0.05, 0.95, shape)}
        parameters["probabilities"][0, 0] = 1.0
    elif kind == "categorical":
        parameters = {"probabilities": rng.dirichlet(np.ones(3), size=shape)}
    elif kind in ("poisson", "exponential"):
        parameters = {"rates": rng.uniform(0.5, 9, shape)}
    elif kind == "gamma":
        parameters = {"shapes": rng.uniform(0.5, 9, shape), "rates": rng.uniform(0.5, 9, shape)}
    else:
        parameters = {"means": rng.normal(size=shape), "variances": rng.uniform(0.1, 1, shape)}
    return fastem.Mixture(weights, parameters, kind, covariance_type=covariance_type, missing=missing)


def with_gaps(X, seed=0, share=0.3):
    """Rows of which many lack some numbers, one lacks all, and the last third lacks none."""
    rng, X = np.random.default_rng(seed), X.astype(np.float64)
    X[: 2 * len(X) // 3][rng.random((2 * len(X) // 3, X.shape[1])) < share] = np.nan
    X[3] = np.nan
    return X


def rows_of(kind, n, d, k=2, seed=1):
    """Rows of which components can tell, and the labels of these, with some errors."""
    name = "diag" if kind in VARIANCES else kind
    X, labels = model_of(name, k, d, seed).sample(n, rng=seed)
    wrong = np.random.default_rng(seed).random(n) < 0.2
    return X, np.where(wrong, (labels + 1) % k, labels)


def fitted(X, kind, k, start, **options):
    """A fit from the labels `start`, of as many iterations as it may make."""
    options = {"tol": 0, "max_iter": 20, "acceleration": None, "missing": "marginalise", **options}
    if kind in VARIANCES or kind.startswith("student"):
        options["covariance_type"] = kind.split()[-1]
    name = "gaussian" if kind in VARIANCES else kind.split()[0]
    return fastem.fit(X, k, distribution=name, init=start, **options)


def variances_of(model):
    """The variances, or scales, of each feature."""
    values = model.covariances if isinstance(model, fastem.GaussianMixture) else model.parameters["scales"]
    return np.broadcast_to(values.reshape(model.n_components, -1), (model.n_components, model.n_features))


def joints_of(kind, model, X):
    if kind.startswith("student"):
        means, _, degrees = model.parameters.values()
        components = list(zip(model.weights, means, variances_of(model), degrees, strict=True))
        return [
            [math.log(w) + naive.log_student_of_observed(x, m, v, nu) for w, m, v, nu in components]
            for x in X
        ]
    if kind in VARIANCES:
        return naive.joints_of_observed(X, model.weights, naive.log_normal, model.means, variances_of(model))
    if kind == "categorical":

        def log_density(x, probabilities):
            return naive.log_categorical(x.astype(int), probabilities)
    else:
        log_density = getattr(naive, f"log_{kind}")
    return naive.joints_of_observed(X, model.weights, log_density, *model.parameters.values())


def close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def finite(joints):
    return [[max(value, -1e300) for value in joint] for joint in joints]


def check_sums(kind, sums, X, weight, r, model, tolerance):
    if kind.startswith("student"):
        means, _, degrees = model.parameters.values()
        expected = naive.expected_student_sums(X, weight, r, means, variances_of(model), degrees)
        n_k, logarithms, scaled, first, second = expected
        close(sums["logarithms"], logarithms, tolerance)
        close(sums["scaled_weights"], scaled, tolerance)
    elif kind in VARIANCES:
        n_k = naive.observed_sums(X, weight, r, lambda x: x)[0]
        first, second = naive.expected_moments(X, weight, r, model.means, variances_of(model))
    else:
        n_k, observed, first = naive.observed_sums(X, weight, r, lambda x: x)
        if kind == "categorical":
            for code in range(3):
                counts = naive.observed_sums(X, weight, r, lambda x, code=code: x == code)[2]
                close(sums["counts"][:, :, code], counts, tolerance)
        else:
            close(sums["observed"], observed, tolerance)
        if kind in ("gamma", "lognormal"):
            close(sums["logarithms"], naive.observed_sums(X, weight, r, math.log)[2], tolerance)
        if kind == "lognormal":
            squares = naive.observed_sums(X, weight, r, lambda x: math.log(x) ** 2)[2]
            close(sums["squares"], squares, tolerance)
    close(sums["weights"], n_k, tolerance)
    if "first" in sums:
        close(sums["first"], first, tolerance)
    if "scatter" in sums:
        close(sums["scatter"], second if sums["scatter"].ndim == 2 else second.sum(axis=1), tolerance)


@pytest.mark.parametrize(("n", "d", "k"), SIZES)
@pytest.mark.parametrize("kind", [*LINEAR, "categorical", "diag", "spherical", "student diag"])
def test_passes_and_scores_equal_their_twins(kind, n, d, k):
    model = model_of(kind, k, d)
    X = with_gaps(model.sample(n, rng=1)[0])
    weight = np.random.default_rng(2).uniform(0, 2, n)
    r, log_p = naive.shares(finite(joints_of(kind, model, X)))
    close(model.score_samples(X), log_p)
    close(model.predict_proba(X), r)
    np.testing.assert_allclose(model.score_samples(X)[3], 0, atol=1e-13)
    np.testing.assert_allclose(model.predict_proba(X)[3], model.weights, rtol=1e-12)
    statistics = fastem.e_step(X, model, weight)
    assert statistics.log_likelihood == pytest.approx(weight @ log_p, rel=1e-10)
    check_sums(kind, statistics.sums(), X, weight, r, model, 1e-9)


@pytest.mark.skipif(INTERPRETED, reason="takes long")
def test_float32():
    model = model_of("diag", 5, 6)
    X = with_gaps(model.sample(700, rng=1)[0]).astype(np.float32)
    exact, weight = X.astype(np.float64), np.ones(len(X))
    r, log_p = naive.shares(joints_of("diag", model, exact))
    close(model.score_samples(X), log_p, 1e-5)
    check_sums("diag", fastem.e_step(X, model).sums(), exact, weight, r, model, 1e-4)


@pytest.mark.parametrize("kind", ["diag", "student diag", "gamma"])
def test_the_score_of_a_row_does_not_depend_on_the_rows_near_it(kind):
    model = model_of(kind, 5, 6)
    X = with_gaps(model.sample(600, rng=1)[0])
    order = np.argsort(np.isnan(X).any(axis=1), kind="stable")
    np.testing.assert_array_equal(model.score_samples(X)[order], model.score_samples(X[order]))


def test_components_far_apart_lose_no_digits():
    means = 1e5 * np.array([[0.0, 0, 0], [1, 1, 1], [-1, 0, 1]])
    model = fastem.GaussianMixture(np.full(3, 1 / 3), means, np.ones((3, 3)), "diag", missing="marginalise")
    X = with_gaps(model.sample(90, rng=0)[0])
    np.testing.assert_allclose(
        model.score_samples(X), naive.shares(joints_of("diag", model, X))[1], rtol=0, atol=1e-9
    )
    first, second = naive.expected_moments(X, np.ones(90), model.predict_proba(X), means, np.ones((3, 3)))
    sums = fastem.e_step(X, model).sums()
    np.testing.assert_allclose(sums["first"], first, rtol=1e-8)
    np.testing.assert_allclose(sums["scatter"], second, rtol=1e-9)


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_of_what_is_observed_never_falls(kind):
    X, labels = rows_of(kind, 120 if INTERPRETED else 400, 3, seed=5)
    for seed, share in enumerate([0.2, 0.6]):
        history = np.array(fitted(with_gaps(X, seed, share), kind, 2, labels).report.history)
        assert np.diff(history).min() > -1e-12 * abs(history[-1])
        assert history[-1] > history[0]


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_gaps_give_the_fit_of_complete_rows(kind):
    X, labels = rows_of(kind, 300, 3)
    ours, plain = (fitted(X, kind, 2, labels, missing=missing) for missing in ("marginalise", "error"))
    for name, values in plain.parameters.items():
        np.testing.assert_allclose(ours.parameters[name], values, rtol=1e-10)
    assert ours.report.log_likelihood == pytest.approx(plain.report.log_likelihood, rel=1e-12)


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", [*LINEAR, "categorical", *VARIANCES])
def test_one_component_has_the_closed_form(kind):
    X = with_gaps(rows_of(kind, 300, 3)[0])
    found = fitted(
        X, kind, 1, np.zeros(300, int), max_iter=80, reg_covar=0.0 if kind in VARIANCES else "auto"
    )
    values, mean = found.parameters, np.nanmean(X, axis=0)
    if kind in VARIANCES:
        np.testing.assert_allclose(values["means"][0], mean, rtol=1e-9)
        variances, shared = np.nanvar(X, axis=0), np.nansum(np.square(X - mean)) / np.sum(~np.isnan(X))
        expected = shared if kind in ("spherical", "EII") else variances
        np.testing.assert_allclose(values["covariances"][0], expected, rtol=1e-9)
    elif kind == "categorical":
        shares = [np.nanmean(np.where(np.isnan(X), np.nan, X == code), axis=0) for code in range(3)]
        np.testing.assert_allclose(values["probabilities"][0], np.stack(shares, axis=1), rtol=1e-12)
    elif kind == "lognormal":
        np.testing.assert_allclose(values["means"][0], np.nanmean(np.log(X), axis=0), rtol=1e-9)
        np.testing.assert_allclose(values["variances"][0], np.nanvar(np.log(X), axis=0), rtol=1e-9)
    elif kind == "gamma":
        np.testing.assert_allclose((values["shapes"] / values["rates"])[0], mean, rtol=1e-12)
        for j, shape in enumerate(values["shapes"][0]):
            column = X[~np.isnan(X[:, j]), j]
            alone = fastem.fit(column[:, None], 1, distribution="gamma").parameters["shapes"][0, 0]
            assert shape == pytest.approx(alone, rel=1e-9)
    else:
        name = {"exponential": "rates", "poisson": "rates", "bernoulli": "probabilities"}[kind]
        np.testing.assert_allclose(values[name][0], 1 / mean if kind == "exponential" else mean, rtol=1e-12)


def test_one_t_distribution_has_the_largest_likelihood():
    X = with_gaps(rows_of("student diag", 120, 3, k=1)[0], share=0.4)
    found = fitted(X, "student diag", 1, np.zeros(120, int), tol=1e-12, max_iter=2000, acceleration="auto")

    def loss(point):
        mean, scales, nu = point[:3], np.exp(point[3:6]), math.exp(point[6])
        return -sum(naive.log_student_of_observed(x, mean, scales, nu) for x in X)

    means, scales, degrees = found.parameters.values()
    there = np.concatenate([means[0], np.log(scales[0]), np.log(degrees)])
    best = minimize(loss, there + 0.02)
    assert found.report.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(there, best.x, atol=2e-3)


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", ["diag", "student spherical", "poisson", "categorical"])
def test_weights_count_rows_and_labels_decide(kind):
    X, labels = rows_of(kind, 200, 3)
    X, times = with_gaps(X), np.random.default_rng(0).integers(0, 3, 200)
    weighted = fitted(X, kind, 2, labels, sample_weight=times.astype(float))
    repeated = fitted(np.repeat(X, times, axis=0), kind, 2, np.repeat(labels, times))
    for name, values in repeated.parameters.items():
        np.testing.assert_allclose(weighted.parameters[name], values, rtol=1e-8)
    known = fitted(X, kind, 2, labels, labels=labels)
    np.testing.assert_allclose(known.weights, np.bincount(labels) / 200, rtol=1e-12)
    hard = fitted(X, kind, 2, labels, assignment="hard")
    history = np.array(hard.report.history)
    assert np.diff(history).min() > -1e-10 * abs(history[-1])


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", ["diag", "poisson", "student diag", "categorical"])
def test_the_number_of_threads_changes_no_bit(kind):
    X, labels = rows_of(kind, 9000, 3)
    one, two = (
        fitted(with_gaps(X), kind, 2, labels, max_iter=3, n_threads=threads).parameters for threads in (1, 2)
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize("kind", ["poisson", "gamma", "categorical", "diag", "student diag"])
def test_a_component_may_know_nothing_of_a_feature(kind):
    X, labels = rows_of(kind, 300, 3)
    X = X.astype(float)
    X[labels == 1, 0] = np.nan
    model = fitted(X, kind, 2, labels, labels=labels)
    assert all(np.isfinite(values).all() for values in model.parameters.values())
    history = np.array(model.report.history)
    assert np.diff(history).min() > -1e-12 * abs(history[-1])
    assert np.isfinite(fastem.m_step(fastem.e_step(X, model)).score(X))


@pytest.mark.skipif(INTERPRETED, reason="takes long")
def test_latent_classes_are_found_though_answers_are_missing():
    rng = np.random.default_rng(3)
    probabilities = np.where(
        np.eye(3)[:, [0, 1, 2, 0, 1, 2, 0, 1]][:, :, None] > 0, [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]
    )
    truth = fastem.Mixture([0.5, 0.3, 0.2], {"probabilities": probabilities}, "categorical")
    X = truth.sample(20000, rng=1)[0]
    X[rng.random(X.shape) < 0.25] = np.nan
    found = fastem.fit(X, 3, distribution="categorical", missing="marginalise", rng=0, tol=1e-6)
    assert found.report.status is FitStatus.CONVERGED
    fits = [
        np.abs(found.parameters["probabilities"][list(order)] - probabilities).max()
        for order in itertools.permutations(range(3))
    ]
    assert min(fits) < 0.03
    assert sorted(found.weights) == pytest.approx([0.2, 0.3, 0.5], abs=0.02)


@pytest.mark.filterwarnings(UNFINISHED)
def test_columns_of_different_kinds():
    rng, labels = np.random.default_rng(0), np.random.default_rng(1).integers(2, size=300)
    X = np.stack(
        [
            rng.normal(2.0 * labels),
            rng.poisson(1 + 3 * labels),
            rng.integers(0, 3, 300) * (rng.random(300) < 0.3 + 0.4 * labels),
            rng.normal(-1.0 * labels, 2),
            rng.random(300) < 0.2 + 0.6 * labels,
        ],
        axis=1,
    )
    X = with_gaps(X)
    kinds = {0: "gaussian", 1: "poisson", 2: "categorical", 3: "gaussian", 4: "bernoulli"}
    options = {"distribution": kinds, "init": labels, "missing": "marginalise", "max_iter": 15}
    model = fastem.fit(X, 2, tol=0, acceleration=None, **options)
    history = np.array(model.report.history)
    assert np.diff(history).min() > -1e-12 * abs(history[-1])
    values, observed = model.parameters, ~np.isnan(X)
    joint = np.tile(np.log(model.weights), (300, 1))
    for c in range(2):
        for i, x in enumerate(X):
            for j, means, variances in (
                (j, values["gaussian_means"], values["gaussian_covariances"]) for j in (0, 3)
            ):
                place = [0, 3].index(j)
                if observed[i, j]:
                    joint[i, c] += naive.log_normal([x[j]], [means[c, place]], [variances[c, place]])
            if observed[i, 1]:
                joint[i, c] += naive.log_poisson([x[1]], [values["poisson_rates"][c, 0]])
            if observed[i, 2]:
                joint[i, c] += naive.log_categorical([int(x[2])], values["categorical_probabilities"][c])
            if observed[i, 4]:
                joint[i, c] += naive.log_bernoulli([x[4]], [values["bernoulli_probabilities"][c, 0]])
    r, log_p = naive.shares(joint.tolist())
    close(model.score_samples(X), log_p)
    filled = model.impute(X)
    assert set(filled[:, 2]) <= {0, 1, 2}
    gaps = np.isnan(X[:, 1])
    np.testing.assert_allclose(filled[gaps, 1], (r @ values["poisson_rates"])[gaps, 0], rtol=1e-9)
    np.testing.assert_array_equal(filled[observed], X[observed])
    again = fastem.fit(X, 2, **{**options, "max_iter": 200, "init": model})
    assert again.report.log_likelihood >= model.report.log_likelihood - 1e-9


@pytest.mark.parametrize("kind", [*LINEAR, "categorical", "diag"])
def test_what_is_imputed(kind):
    model = model_of(kind, 2, 3)
    X = np.tile(model.sample(1, rng=3)[0].astype(float), (4000, 1))
    X[:, 1:] = np.nan
    expected, drawn = model.impute(X[:1])[0], model.impute(X, rng=0)
    np.testing.assert_array_equal(drawn[:, 0], X[:, 0])
    np.testing.assert_array_equal(drawn, model.impute(X, rng=0))
    for j in (1, 2):
        if kind == "categorical":
            codes, counts = np.unique(drawn[:, j], return_counts=True)
            assert expected[j] == codes[counts.argmax()]
        else:
            assert abs(drawn[:, j].mean() - expected[j]) < 4 * drawn[:, j].std() / np.sqrt(len(X))


def test_a_row_that_is_far_out_has_draws_that_are_far_out():
    """The features of a row of a t distribution share its size."""
    parameters = {"means": np.zeros((1, 2)), "scales": np.ones((1, 2)), "degrees_of_freedom": [5.0]}
    model = fastem.Mixture([1.0], parameters, "student", covariance_type="diag", missing="marginalise")
    near, far = (model.impute(np.tile([x, np.nan], (20000, 1)), rng=0)[:, 1] for x in (0.0, 20.0))
    # Given x, the other has the t distribution of nu + 1, whose scale is (nu + x^2) / (nu + 1).
    for draws, x in ((near, 0.0), (far, 20.0)):
        assert draws.var() == pytest.approx((5 + x * x) / 6 * 6 / 4, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("bernoulli", 2, "0 and 1 only"),
        ("poisson", 0.5, "whole numbers"),
        ("gamma", -1, "above 0"),
        ("categorical", 7, "categories that the fit saw"),
        ("diag", np.inf, "finite"),
        ("student diag", -np.inf, "finite"),
        ("exponential", np.inf, "finite"),
    ],
)
def test_values_that_cannot_be_are_still_an_error(kind, value, message):
    model = model_of(kind, 2, 3)
    X = with_gaps(model.sample(20, rng=0)[0])
    X[17, 1] = value
    with pytest.raises(ValueError, match=message):
        model.score_samples(X)
