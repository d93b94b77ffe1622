"""Gaussians with many components in many features, by matrix products. This file also runs interpreted."""

import naive
import numba
import numpy as np
import pytest

import fastem
from fastem._families import wide, wide_passes
from fastem._families.matrices import cholesky, factors_of

INTERPRETED = bool(numba.config.DISABLE_JIT)
# Neither is a multiple of a block or of a vector.
D, K = 55, 53
KINDS = ["spherical", "diag", "tied"]
TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}


@pytest.fixture
def passes(monkeypatch):
    """A list of how many components are narrow in each wide pass."""
    seen = []
    packed = wide._packed
    monkeypatch.setattr(wide, "_LEAST_PAIRS", K * D)
    monkeypatch.setattr(wide, "_packed", lambda *a: seen.append(int(a[1].narrow.sum())) or packed(*a))
    return seen


def model_of(covariance_type, spread, narrow=0):
    """Return a mixture. The first `narrow` components have a thousandth of the variance of the others."""
    rng = np.random.default_rng(1)
    means = rng.standard_normal((K, D)) * spread
    if covariance_type == "tied":
        factor = np.tril(rng.standard_normal((D, D)) * 0.1) + np.eye(D)
        covariances = factor @ factor.T
    else:
        covariances = rng.uniform(0.7, 1.4, K if covariance_type == "spherical" else (K, D))
        covariances[:narrow] /= 1000
    weights = rng.dirichlet(np.full(K, 3.0))
    return fastem.GaussianMixture(weights, means, covariances, covariance_type=covariance_type)


def rows_of(model, n, dtype):
    """Return rows, some of them far out, and weights, some of them 0."""
    X = model.sample(n, rng=0)[0]
    X[:5] = model.means[:5]
    X[::40] *= 30
    weight = np.random.default_rng(2).uniform(0, 2, n)
    weight[10:20] = 0
    return X.astype(dtype), weight


def close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("spread", "narrow"), [(0.2, 0), (2.5, 5)])
@pytest.mark.parametrize("covariance_type", KINDS)
def test_statistics_match_the_loops(covariance_type, spread, narrow, dtype, passes):
    """Where clusters overlap all pairs matter; where they are apart bounds leave most of them out."""
    n = 70 if INTERPRETED else 150
    model = model_of(covariance_type, spread, narrow)
    X, weight = rows_of(model, n, dtype)
    statistics = fastem.e_step(X, model, weight)
    assert passes == [narrow if dtype == np.float32 and covariance_type != "tied" else 0]
    r, log_p = naive.responsibilities(
        X.astype(np.float64),
        model.weights,
        model.means,
        naive.dense(model.covariances, covariance_type, K, D),
    )
    r, sums = weight[:, None] * r, statistics.sums()
    z = X[:, None] - sums["means"]
    second = (r[:, :, None] * z * z).sum(axis=0)
    scatter = {"spherical": lambda: second.sum(axis=1), "diag": lambda: second}.get(
        covariance_type, lambda: np.einsum("nk,nki,nkj->ij", r, z, z, optimize=True)[None]
    )()
    tolerance = TOLERANCE[dtype]
    close(statistics.weights, r.sum(axis=0), tolerance)
    close(sums["first"], np.einsum("nk,nkj->kj", r, z), tolerance)
    close(sums["scatter"], scatter, tolerance)
    close(statistics.log_likelihood, float(weight @ log_p), tolerance)


def both_ways(X, monkeypatch, passes, **options):
    """Return the models of a fit by wide passes and by the other kernels."""
    own = fastem.fit(X, K, max_iter=3, tol=0, acceleration=None, **options)
    assert passes
    monkeypatch.setattr(wide, "_LEAST_COMPONENTS", K + 1)
    return own, fastem.fit(X, K, max_iter=3, tol=0, acceleration=None, **options)


@pytest.mark.skipif(INTERPRETED, reason="fits")
@pytest.mark.parametrize("covariance_type", [*KINDS, "VEI"])
@pytest.mark.parametrize("how", ["labels", "hard", "given"])
def test_fits_agree_with_those_by_the_other_kernels(covariance_type, how, monkeypatch, passes):
    model = model_of("diag", 1.0)
    X, z = model.sample(3000, rng=3)
    options = {"covariance_type": covariance_type, "rng": 0}
    if how == "labels":
        options |= {"labels": np.where(np.arange(3000) % 3, -1, z), "init": {"means": model.means}}
    elif how == "hard":
        options |= {"assignment": "hard", "init": {"means": model.means}}
    else:
        options |= {"init": np.eye(K)[z] * 0.9 + 0.1 / K}
    own, other = both_ways(X, monkeypatch, passes, **options)
    close(own.means, other.means, 1e-9)
    close(own.covariances, other.covariances, 1e-9)
    close(own.report.history, other.report.history, 1e-11)


@pytest.mark.skipif(INTERPRETED, reason="fits")
@pytest.mark.parametrize("covariance_type", KINDS)
def test_the_likelihood_rises_in_float32_and_threads_change_no_bit(covariance_type, passes):
    model = model_of(covariance_type, 0.4)
    X = (model.sample(12_000, rng=4)[0] + 1000).astype(np.float32)
    options = {
        "covariance_type": covariance_type,
        "init": {"means": model.means + 1000.3},
        "max_iter": 5,
        "rng": 0,
        "tol": 0,
    }
    one, two = (fastem.fit(X, K, n_threads=n, acceleration=None, **options) for n in (1, 2))
    assert passes
    for a, b in ((one.means, two.means), (one.covariances, two.covariances), (one.weights, two.weights)):
        assert a.tobytes() == b.tobytes()
    history = np.array(one.report.history)
    assert np.diff(history).min() > -1e-6 * len(X)
    assert one.score(X) * len(X) == pytest.approx(history[-1], rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_narrow_components_are_left_to_other_kernels_if_they_are_many(dtype, passes):
    model = model_of("diag", 1.0, narrow=K // 4)
    X, _ = rows_of(model, 64, dtype)
    fastem.e_step(X, model)
    assert len(passes) == (dtype == np.float64)


def far_row(covariance_type, dtype):
    """Return a model of so many features that the squares of 1e18 add up to more than float32 holds."""
    k, d = 48, 352
    means = np.random.default_rng(0).standard_normal((k, d))
    covariances = {"spherical": np.ones(k), "diag": np.ones((k, d)), "tied": np.eye(d)}[covariance_type]
    model = fastem.GaussianMixture(np.full(k, 1 / k), means, covariances, covariance_type=covariance_type)
    X = model.sample(70, rng=0)[0].astype(dtype)
    X[3] = 1e30
    return model, X


@pytest.mark.skipif(INTERPRETED, reason="wide")
@pytest.mark.parametrize("covariance_type", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_row_out_of_reach_has_its_true_sums_or_an_error(covariance_type, dtype):
    model, X = far_row(covariance_type, dtype)
    if dtype == np.float32:
        with pytest.raises(ValueError, match="too far from the model"):
            fastem.e_step(X, model)
    else:
        sums = fastem.e_step(X, model).sums()
        # Not from means, since the row need not reach components that have no others.
        total = sums["weights"] @ sums["means"] + sums["first"].sum(axis=0)
        np.testing.assert_allclose(total / 1e30, np.ones(352), rtol=1e-12)
    statistics = fastem.e_step(X, model, np.arange(70) != 3)
    others = fastem.e_step(np.delete(X, 3, axis=0), model)
    close(statistics.log_likelihood, others.log_likelihood, TOLERANCE[dtype])
    close(statistics.sums()["scatter"], others.sums()["scatter"], TOLERANCE[dtype])


@pytest.mark.skipif(INTERPRETED, reason="fits")
@pytest.mark.parametrize("covariance_type", ["spherical", "diag"])
def test_components_that_become_narrow_in_one_step_are_not_reported_as_singular(covariance_type, passes):
    rng = np.random.default_rng(1)
    means, z = rng.standard_normal((K, D)), rng.integers(0, K, 3000)
    means[:3, :4] += 7
    deviations = np.where(np.arange(K) < 6, 1e-4, 1.0)
    X = (means[z] + deviations[z][:, None] * rng.standard_normal((3000, D))).astype(np.float32)
    covariances = np.ones(K if covariance_type == "spherical" else (K, D))
    init = {"weights": np.full(K, 1 / K), "means": means, "covariances": covariances}
    model = fastem.fit(X, K, covariance_type=covariance_type, init=init, reg_covar=1e-10, max_iter=6, rng=0)
    assert passes[0] == 0
    assert passes[-1] == 6
    assert model.report.repairs == ()
    np.testing.assert_allclose(np.median(model.covariances[:6]), 1e-8, rtol=0.1)


@pytest.mark.skipif(INTERPRETED, reason="fits")
def test_tied_passes_keep_the_scatter_of_all_rows_and_weights_change_it(monkeypatch, passes):
    """The scatter is computed once a fit, from the weights of that fit."""
    model, calls = model_of("tied", 0.4), []
    scatter_of = wide_passes.scatter_of
    monkeypatch.setattr(wide_passes, "scatter_of", lambda *a: calls.append(0) or scatter_of(*a))
    X, weight = rows_of(model, 2000, np.float64)
    options = {"init": {"means": model.means}, "max_iter": 2, "tol": 0, "acceleration": None, "rng": 0}
    fastem.fit(X, K, covariance_type="tied", sample_weight=weight, **options)
    short = len(calls)
    options["max_iter"] = 6
    own = fastem.fit(X, K, covariance_type="tied", sample_weight=weight, **options)
    assert passes
    assert len(calls) == 2 * short
    monkeypatch.setattr(wide, "_LEAST_COMPONENTS", K + 1)
    other = fastem.fit(X, K, covariance_type="tied", sample_weight=weight, **options)
    close(own.covariances, other.covariances, 1e-9)
    close(own.report.history, other.report.history, 1e-11)


@pytest.mark.skipif(INTERPRETED, reason="fits")
def test_correlated_features_keep_the_digits_of_a_narrow_direction(passes):
    """One direction has a thousandth of the variance of the others, between rows as within components."""
    model = model_of("tied", 0.4)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((D, D)))[0]
    squeeze = turn * np.append(np.ones(D - 1), 0.03) @ turn.T
    X = (model.sample(3000, rng=6)[0] @ squeeze).astype(np.float32)
    covariance = squeeze @ model.covariances @ squeeze
    squeezed = fastem.GaussianMixture(
        model.weights, model.means @ squeeze, covariance, covariance_type="tied"
    )
    found, exact = (fastem.m_step(fastem.e_step(rows, squeezed)) for rows in (X, X.astype(np.float64)))
    assert len(passes) == 2
    root = np.linalg.inv(np.linalg.cholesky(exact.covariances))
    close(root @ found.covariances @ root.T, np.eye(D), 2e-5)


@pytest.mark.parametrize("d", [127, 129, 260])
def test_factors_of_large_matrices_are_those_of_lapack(d):
    factors = np.tril(np.random.default_rng(0).standard_normal((3, d, d))) / d + np.eye(d)
    scales = 10.0 ** np.linspace(-3, 3, d)
    matrices = factors @ factors.transpose(0, 2, 1) * scales[:, None] * scales
    close(factors_of(matrices) / scales[:, None], np.linalg.cholesky(matrices) / scales[:, None], 1e-12)
    matrices[1, -1, -1] = -1
    failed = np.isnan(cholesky(matrices)).all(axis=(1, 2))
    assert failed.tolist() == [False, True, False]
