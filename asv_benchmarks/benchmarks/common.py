"""Data and sizes that the benchmarks share."""

import os

import numpy as np

import fastem

TYPES = ["full", "tied", "diag", "spherical"]
DTYPES = ["float64", "float32"]
# The tests run every benchmark once, on this fraction of the rows.
SCALE = float(os.environ.get("FASTEM_ASV_SCALE", "1"))


def rows(n):
    return max(int(n * SCALE), 500)


def clusters(n, d, k, dtype="float64"):
    """Rows of k random clusters, in random order."""
    rng = np.random.default_rng(0)
    X = 4 * rng.normal(size=(k, d))[rng.integers(k, size=rows(n))]
    X += rng.normal(size=X.shape) @ (rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d))
    return X.astype(dtype)


def overlapping(n, d, k, distance):
    """Rows of k round clusters, whose nearest neighbours are on average so many deviations away."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, d))
    between = np.linalg.norm(centres[:, None] - centres, axis=2) + np.diag(np.full(k, np.inf))
    centres *= distance / between.min(axis=1).mean()
    return centres[rng.integers(k, size=rows(n))] + rng.normal(size=(rows(n), d))


def start(X, k, covariance_type):
    """A model to begin or to score with: one M-step from labels that have nothing to do with X."""
    labels = np.arange(len(X)) % k
    return fastem.fit(X, k, covariance_type=covariance_type, init=labels, max_iter=0)
