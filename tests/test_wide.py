"""Gaussians with many components in many features, whose passes are matrix products. Also runs interpreted."""

import naive
import numba
import numpy as np
import pytest

import fastem
from fastem._families import wide
from fastem._kernels._params import DiagParams, SphericalParams, TiedParams

INTERPRETED = bool(numba.config.DISABLE_JIT)
# Neither is a multiple of a block or a vector. With fewer features or components other kernels serve.
D, K = 35, 235
KINDS = ["spherical", "diag", "tied"]


def model_of(covariance_type, spread, seed, narrow=0):
    """Return a mixture. The first `narrow` components have a thousandth of the variance of the others."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((K, D)) * spread
    if covariance_type == "tied":
        factor = np.tril(rng.standard_normal((D, D)) * 0.1) + np.eye(D)
        covariances = factor @ factor.T
    else:
        covariances = rng.uniform(0.5, 2, K if covariance_type == "spherical" else (K, D))
        covariances[:narrow] /= 1000
    return fastem.GaussianMixture(
        rng.dirichlet(np.full(K, 3.0)), means, covariances, covariance_type=covariance_type
    )


def is_wide(X, model, monkeypatch):
    """Return the sums of a pass, and how many components were narrow in it, or None if it was not wide."""
    seen = []
    original = wide._packed

    def recorded(packed, terms):
        seen.append(int(terms.narrow.sum()))
        return original(packed, terms)

    monkeypatch.setattr(wide, "_packed", recorded)
    statistics = fastem.e_step(X, model)
    return statistics, seen[0] if seen else None


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("spread", "narrow"), [(0.2, 0), (1.5, 5)])
@pytest.mark.parametrize("covariance_type", KINDS)
def test_statistics_match_the_loops(covariance_type, spread, narrow, dtype, monkeypatch):
    """Where clusters overlap all pairs matter; where they are apart most pairs are left out by bounds."""
    n = 70 if INTERPRETED else 150
    model = model_of(covariance_type, spread, 1, narrow)
    X = model.sample(n, rng=0)[0].astype(dtype)
    X[0] = model.means[0]
    X[::40] *= 30
    weight = np.random.default_rng(2).uniform(0, 2, n)
    weight[10:20] = 0
    seen = []
    original = wide._packed
    monkeypatch.setattr(wide, "_packed", lambda *a: seen.append(a[1].narrow.sum()) or original(*a))
    statistics = fastem.e_step(X, model, weight)
    print(seen)
    n_k, first, second, log_likelihood = naive.statistics(
        X.astype(np.float64), weight, model.weights, model.means,
        naive.dense(model.covariances, covariance_type, K, D),
    )
    sums = statistics.sums()
    about = sums["means"] - model.means
    for actual, expected in (
        (statistics.weights, n_k),
        (sums["first"] + statistics.weights[:, None] * about, first),
        (sums["scatter"], naive.shape_scatter(second, covariance_type)),
        (statistics.log_likelihood, log_likelihood),
    ):
        print(dtype.__name__, np.abs(actual - expected).max() / np.abs(expected).max())
