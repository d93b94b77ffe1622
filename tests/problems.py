"""Mixtures and data that the tests share."""

import numpy as np

import fastem

TYPES = ["full", "tied", "diag", "spherical"]


def random_covariances(rng, covariance_type, k, d):
    factors = rng.normal(size=(k, d, d)) / np.sqrt(d) + np.eye(d)
    matrices = factors @ factors.transpose(0, 2, 1) + 0.2 * np.eye(d)
    if covariance_type == "full":
        return matrices
    if covariance_type == "tied":
        return matrices[0]
    variances = rng.uniform(0.3, 3, size=(k, d))
    return variances if covariance_type == "diag" else variances[:, 0]


def random_model(seed, covariance_type, k, d, spread=2.0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(k, 5.0))
    means = rng.normal(size=(k, d)) * spread
    return fastem.GaussianMixture(
        weights, means, random_covariances(rng, covariance_type, k, d), covariance_type
    )


def clusters(seed, n, d, k, dtype=np.float64):
    """Rows drawn from a random mixture with full covariances."""
    X, _ = random_model(seed, "full", k, d, spread=3.0).sample(n, rng=seed)
    return X.astype(dtype)
