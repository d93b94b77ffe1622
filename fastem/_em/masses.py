"""Masses: many rows at one point, or in one plane, where the rows nearby are few.

The likelihood of a component that shrinks onto a few rows is unbounded and says nothing. A component that
shrinks onto a mass is a finding, such as the zeros of a variable that is often 0. Rounded numbers repeat too,
but so do their neighbours.
"""

from functools import cache

import numpy as np

from fastem._em.objective import Likelihood
from fastem._em.starts import complete_rows, standardised
from fastem._families.matrices import gram, times
from fastem._families.steps import P, Scores
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._typing import Array, FloatArray, Rows

_LEAST_SHARE = 0.02  # of the weight of all rows
# People round to some numbers more often than to others, and a few rows lie in a plane by necessity. So there
# must be so many rows in any case, and so many for each feature.
_LEAST_ROWS, _ROWS_PER_FEATURE = 20, 2
# A mass outweighs its two nearest neighbours together this many times.
_OUTSTANDING = 3.0
# A component is singular in the directions in which its deviation is this small, for features of variance 1.
_NARROW = 2e-3


def repeated_rows(points: FloatArray, weights: FloatArray, most: int) -> list[Array]:
    """Return the masks (m,) of at most `most` masses of equal points (d, m), the heaviest first."""
    keys = (points * _direction(len(points))).sum(axis=0)
    ordered = np.sort(keys)
    if not (ordered[_LEAST_ROWS - 1 :] == ordered[: 1 - _LEAST_ROWS]).any():
        return []  # no point repeats so often
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    totals: FloatArray = np.bincount(which, weights).astype(np.float64)
    counts = np.bincount(which[weights > 0], minlength=len(first))
    values = points[:, first]
    masses: list[Array] = []
    for value in np.argsort(-totals, kind="stable").tolist():
        if len(masses) == most or totals[value] < _LEAST_SHARE * weights.sum():
            break
        if counts[value] >= _LEAST_ROWS and _stands_out(values, totals, value, 0.0):
            masses.append(which == value)
    return masses


@cache
def _direction(d: int) -> FloatArray:
    """Return a random direction (d, 1), along which different points are apart."""
    return np.random.default_rng(0).uniform(1, 2, (d, 1))


def masses_of(sample: Likelihood[P], rows: Rows, parameters: P, singular: list[int]) -> list[int]:
    """Return which of these singular components are masses, by a sample of the rows in memory.

    All of them pass if the likelihood alone counts.
    """
    if not sample.sound_first:
        return singular
    family, frame, dtype = sample.family, sample.frame, sample.source.dtype
    rows = complete_rows(sample, rows)
    labels = np.empty(len(rows.X), np.int64)
    packed = family.pack(parameters, frame, dtype)
    ArraySource(rows).score(Sweep(family, sample.k, packed, frame, None), Scores(labels=labels))
    points, weights = standardised(rows, dtype, family, frame, isotropic=False)
    return [component for component in singular if _is_mass(points, weights, labels == component)]


def _is_mass(points: FloatArray, weights: FloatArray, own: Array) -> bool:
    own = own & (weights > 0)
    if own.sum() < max(_LEAST_ROWS, _ROWS_PER_FEATURE * (len(points) + 1)):
        return False
    if weights[own].sum() < _LEAST_SHARE * weights.sum():
        return False
    centre = np.median(points[:, own], axis=1, keepdims=True)
    gaps = points[:, own] - centre
    variances, directions = np.linalg.eigh(gram(gaps, gaps.copy()) / own.sum())
    narrow = max(_NARROW**2, 4 * float(variances[0]))
    across = times(directions[:, variances <= narrow].T, points - centre)
    reach = float(np.sqrt(np.square(across[:, own]).sum(axis=0).max()))
    heart = int(np.flatnonzero(own)[np.square(across[:, own]).sum(axis=0).argmin()])
    return _stands_out(across, weights, heart, reach)


def _stands_out(points: FloatArray, weights: FloatArray, which: int, reach: float) -> bool:
    """Compare the weight within `reach` of a point with that of its two nearest neighbours.

    A neighbour is the nearest point that is farther away, with all that is within `reach` of that.
    """
    far = 2 * reach + 1e-9
    left = np.ones(points.shape[1], dtype=bool)
    groups: list[float] = []
    distances = np.sqrt(np.square(points - points[:, [which]]).sum(axis=0))
    nearest = which
    for _ in range(3):
        near = np.sqrt(np.square(points - points[:, [nearest]]).sum(axis=0)) <= far
        groups.append(float(weights[near & left].sum()))
        left &= ~near
        if not left.any():
            break
        nearest = int(np.flatnonzero(left)[distances[left].argmin()])
    return len(groups) > 1 and groups[0] >= _OUTSTANDING * sum(groups[1:])
