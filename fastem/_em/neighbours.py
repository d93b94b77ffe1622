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
# The clusters whose rows differ most in density lose their sparse half, one in each labelling.
_NESTED = 3
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


def nested(labels: Array, density: FloatArray, weights: FloatArray, k: int) -> list[Array]:
    """Return labels with one more cluster than k: the half of one of them where rows are sparse.

    So a narrow component can be inside a broad one, where no halves of k-means are. Those clusters are
    divided whose log-densities (m,) vary most.
    """
    found: list[tuple[float, Array]] = []
    for label in range(k):
        own = np.flatnonzero((labels == label) & (weights > 0) & np.isfinite(density))
        if len(own) < 2:
            continue
        values, mass = density[own], weights[own]
        spread = float(mass @ np.square(values - mass @ values / mass.sum()))
        more = labels.copy()
        more[own[values < np.median(values)]] = k
        found.append((spread, more))
    found.sort(key=lambda one: -one[0])
    return [more for _, more in found[:_NESTED]]


def without_one(joint: FloatArray, weights: FloatArray) -> list[Array]:
    """Return the likeliest component of each row where one component is left out.

    Those components are left out that the rows would miss least.
    """
    rows = np.arange(len(joint))
    first = joint.argmax(axis=1)
    highest = joint[rows, first]
    rest = joint.copy()
    rest[rows, first] = -np.inf
    second = rest.argmax(axis=1)
    next_highest = rest[rows, second]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.exp2(joint - highest[:, None])
        totals = shares.sum(axis=1)
        others = np.exp2(rest - next_highest[:, None]).sum(axis=1)
        # The sum without a component is at least 1, unless that is the likeliest one.
        lost = np.log2(totals)[:, None] - np.log2(totals[:, None] - shares)
        lost[rows, first] = highest - next_highest + np.log2(totals) - np.log2(others)
    costs = weights @ np.where(weights[:, None] > 0, lost, 0.0)
    found = []
    for component in np.argsort(costs, kind="stable")[:_LEFT_OUT]:
        labels = np.where(first == component, second, first)
        found.append(labels - (labels > component))
    return found


def _error(points: FloatArray, weights: FloatArray) -> float:
    """Return the weighted sum of squared distances to the mean."""
    total = weights.sum()
    if total == 0:
        return 0.0
    gaps = points - (points @ weights / total)[:, None]
    return float(np.square(gaps).sum(axis=0) @ weights)
