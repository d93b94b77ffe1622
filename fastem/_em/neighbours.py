"""Labels of a sample of rows from a mixture of one component fewer or more."""

import numpy as np

from fastem._em.objective import Likelihood
from fastem._families.steps import P, Scores
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._typing import Array, FloatArray, Rows

# The components that k-means would most like to divide are divided, one in each labelling.
_DIVIDED = 3
# The components that cost least likelihood without them are left out, one in each labelling.
_LEFT_OUT = 3
_LLOYD_ITERATIONS = 20


def joint_of(likelihood: Likelihood[P], rows: Rows, parameters: P) -> FloatArray:
    """Return the joint log2-density of each row of a sample and each component, (m, K)."""
    family, frame, dtype = likelihood.family, likelihood.frame, likelihood.source.dtype
    packed = family.pack(parameters, frame, dtype)
    joint = np.zeros((len(rows.X), len(parameters.weights)))
    ArraySource(rows).score(Sweep(family, joint.shape[1], packed, frame), Scores(joint=joint))
    return joint


def divided(labels: Array, points: FloatArray, weights: FloatArray, k: int) -> list[Array]:
    """Return labels with one more cluster than k: one of them in two halves, as k-means halves it.

    Those clusters are divided whose halves lower the error of k-means most. Points are (d, m).
    """
    found: list[tuple[float, Array]] = []
    for label in range(k):
        own = np.flatnonzero((labels == label) & (weights > 0))
        if len(own) < 2 * (len(points) + 1):
            continue
        cloud, mass = np.ascontiguousarray(points[:, own]), np.ascontiguousarray(weights[own])
        seeds = kmeans_plus_plus(cloud, mass, np.full((2, 1), 0.5))
        halves = lloyd(cloud, mass, np.ascontiguousarray(cloud[:, seeds].T), _LLOYD_ITERATIONS)
        error = _error(cloud, mass)
        less = error - sum(_error(cloud[:, halves == half], mass[halves == half]) for half in (0, 1))
        more = labels.copy()
        more[own[halves == 1]] = k
        found.append((less, more))
    found.sort(key=lambda one: -one[0])
    return [more for _, more in found[:_DIVIDED]]


def without_one(joint: FloatArray, weights: FloatArray) -> list[Array]:
    """Return the likeliest component of each row where one component is left out.

    Those components are left out that the rows would miss least.
    """
    likelihood = np.logaddexp2.reduce(joint, axis=1)
    costs = []
    for component in range(joint.shape[1]):
        others = np.delete(joint, component, axis=1)
        with np.errstate(invalid="ignore"):
            lost = np.where(weights > 0, likelihood - np.logaddexp2.reduce(others, axis=1), 0.0)
        costs.append((float(weights @ lost), others.argmax(axis=1)))
    costs.sort(key=lambda one: one[0])
    return [labels for _, labels in costs[:_LEFT_OUT]]


def _error(points: FloatArray, weights: FloatArray) -> float:
    """Return the weighted sum of squared distances to the mean."""
    total = weights.sum()
    if total == 0:
        return 0.0
    gaps = points - (points @ weights / total)[:, None]
    return float(np.square(gaps).sum(axis=0) @ weights)
