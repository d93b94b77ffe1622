"""Labels of a sample of rows from a mixture of one component fewer or more, or of one out and another in."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fastem._em.objective import Likelihood
from fastem._families.once import computed_once
from fastem._families.steps import P, Scores
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._typing import Array, FloatArray, Rows

# A fit gives at most this many labellings of each kind: with a component halved, with the sparse half of a
# component apart, or without a component. Those of components beyond the first three lead to better fits more
# often than random starts do.
_MOST = 10
# Where starts take long, a fit gives fewer. So many components leave, and so many others are divided, where
# a labelling is without one component and has another in its place.
_FEW = 3
_LLOYD_ITERATIONS = 20

Part = tuple[int, Array]  # a label, and some of the rows that have it


def joint_of(likelihood: Likelihood[P], rows: Rows, parameters: P) -> FloatArray:
    """Return the joint log2-density of each row of a sample and each component, (m, K)."""
    family, frame, dtype = likelihood.family, likelihood.frame, likelihood.source.dtype
    packed = family.pack(parameters, frame, dtype)
    joint = np.zeros((len(rows.X), len(parameters.weights)))
    ArraySource(rows).score(Sweep(family, joint.shape[1], packed, frame), Scores(joint=joint))
    return joint


@dataclass(eq=False)
class Neighbours:
    """The labels that a fit gives to those beside it, found once for all of them."""

    joint: FloatArray  # log2-densities, (m, K)
    points: FloatArray  # the same rows as k-means sees them, (d, m)
    weights: FloatArray

    @computed_once
    def labels(self) -> Array:
        return np.asarray(self.joint.argmax(axis=1))

    @computed_once
    def density(self) -> FloatArray:
        """The log2-density of each row."""
        highest = self.joint.max(axis=1)
        with np.errstate(invalid="ignore"):
            totals = np.exp2(self.joint - highest[:, None]).sum(axis=1)
        return np.asarray(np.where(np.isfinite(highest), highest + np.log2(totals), highest))

    @computed_once
    def _fewer(self) -> list[Part]:
        return without_one(self.joint, self.weights)

    @computed_once
    def _halves(self) -> list[Part]:
        return halves(self.labels, self.points, self.weights, self.joint.shape[1])

    @computed_once
    def _sparse(self) -> list[Part]:
        return sparse_halves(self.labels, self.density, self.weights, self.joint.shape[1])

    def more(self, thorough: bool) -> list[Array]:
        """Return labels with a component more, also of those inside others if that shall be thorough."""
        return self._with_another(self.labels, self.joint.shape[1], -1, thorough, _MOST if thorough else _FEW)

    def less(self, thorough: bool) -> list[Array]:
        """Return labels without one of the components."""
        return [labels for _, labels in self._fewer[: _MOST if thorough else _FEW]]

    def exchanged(self, thorough: bool) -> list[Array]:
        """Return labels with a component out, and another in (Ueda et al. 2000)."""
        found: list[Array] = []
        for component, labels in self._fewer[: _FEW if thorough else 1]:
            found += self._with_another(labels, self.joint.shape[1] - 1, component, thorough, _FEW)
        return found

    def _with_another(self, labels: Array, k: int, left_out: int, inside: bool, most: int) -> list[Array]:
        """Return labels with one more cluster than k, which takes a part of one that is not left out."""
        parts = [*_others(self._halves, left_out, most)]
        if inside:
            parts += _others(self._sparse, left_out, most)
        found = []
        for own in parts:
            more = labels.copy()
            more[own] = k
            found.append(more)
        return found


def _others(parts: Iterable[Part], left_out: int, most: int) -> Iterable[Array]:
    return islice((own for label, own in parts if label != left_out), most)


def halves(labels: Array, points: FloatArray, weights: FloatArray, k: int) -> list[Part]:
    """Return the half that k-means makes of each of k clusters. Points are (d, m).

    First comes the cluster whose halves lower the error of k-means most.
    """
    found: list[tuple[float, Part]] = []
    for label in range(k):
        own = np.flatnonzero((labels == label) & (weights > 0))
        if len(own) < 2 * (len(points) + 1):
            continue
        cloud, mass = np.take(points, own, axis=1), weights[own]
        seeds = kmeans_plus_plus(cloud, mass, np.full((2, 1), 0.5))
        second = lloyd(cloud, mass, np.ascontiguousarray(cloud[:, seeds].T), _LLOYD_ITERATIONS) == 1
        masses = np.array([mass[~second].sum(), mass[second].sum()])
        if not masses.all():
            continue
        shift = cloud @ (mass * np.where(second, 1 / masses[1], -1 / masses[0]))  # between the means
        found.append((masses.prod() / masses.sum() * (shift @ shift), (label, own[second])))
    return _by_gain(found)


def sparse_halves(labels: Array, density: FloatArray, weights: FloatArray, k: int) -> list[Part]:
    """Return the half of each of k clusters where rows are sparse.

    So a narrow component can be inside a broad one, where no halves of k-means are. First comes the cluster
    whose log-densities (m,) vary most.
    """
    found: list[tuple[float, Part]] = []
    for label in range(k):
        own = np.flatnonzero((labels == label) & (weights > 0) & np.isfinite(density))
        if len(own) < 2:
            continue
        values, mass = density[own], weights[own]
        spread = float(mass @ np.square(values - mass @ values / mass.sum()))
        found.append((spread, (label, own[values < np.median(values)])))
    return _by_gain(found)


def _by_gain(found: list[tuple[float, Part]]) -> list[Part]:
    return [part for _, part in sorted(found, key=lambda one: -one[0])]


def without_one(joint: FloatArray, weights: FloatArray) -> list[Part]:
    """Return components, and the likeliest of the other components of each row.

    First comes the component that the rows would miss least.
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
    for component in np.argsort(costs, kind="stable"):
        labels = np.where(first == component, second, first)
        found.append((int(component), labels - (labels > component)))
    return found
