"""Whole fits of small data: ascents, what they tell, and the best of them."""

from typing import NamedTuple

import numpy as np

from fastem._kernels._ascent import FAILED, MEAN
from fastem._kernels._ascent_mstep import Given, Scratch, State
from fastem._kernels._direct_call import call
from fastem._kernels._jit import kernel

_LN2 = np.log(2.0)
_ALIKE = np.float64(1e-5)  # as in `_em.race`
# A covariance is sound if its least variance is so many times the floor, as in `_families.singular`.
# Where it has so few rows, it is no mass (see `_em.masses`).
_DOMINATED, _FEW_ROWS = np.float64(3.0), np.float64(15.0)
_ZERO, _ONE = np.int64(0), np.int64(1)


class Ascents(NamedTuple):
    """Ascents from S labellings, see `_ascent.ascend_slots`."""

    given: Given
    chosen: np.ndarray  # (1,)
    labels: np.ndarray  # (S, n)
    states: State
    outcomes: np.ndarray  # (S, 4)
    scratches: Scratch  # of one ascent
    matrix: np.ndarray  # (d, d) scratch


@kernel
def begin(outcomes):
    """OUT outcomes: of ascents that begin with their labels"""
    for s in range(outcomes.shape[0]):
        for j in range(outcomes.shape[1]):
            outcomes[s, j] = 0.0


@kernel
def go_on(code, ascents, start, iterations, tol):
    """Let one ascent make so many iterations, unless it ends before."""
    path, limits = ascents.scratches.path, ascents.given.limits
    for k in range(path.shape[1]):
        for f in range(path.shape[2]):
            path[0, k, f] = 0.0  # an ascent that failed may have left NaN
    limits[0], limits[1], ascents.chosen[0] = iterations, tol, start
    call(
        code,
        (
            ascents.given, ascents.chosen, ascents.labels, ascents.states, ascents.outcomes,
            ascents.scratches, _ZERO, _ONE,
        ),
    )  # fmt: skip


@kernel
def doubt(states, outcomes, start):
    """Return the mean entropy of responsibilities, as a part of the least weight (see `GaussianAscents`)."""
    weights, K, d = states.weights, states.means.shape[1], states.means.shape[2]
    expected, least = -0.5 * d, 1.0
    for k in range(K):
        weight = weights[start, k]
        expected += _LN2 * weight * states.constants[start, k]
        least = weight if weight < least else least
    return (outcomes[start, MEAN] - expected) / least


@kernel
def on_the_floor(ascents, start, g):
    """Return whether a covariance is singular up to the floor of variances, in one direction at least."""
    covariances, ratio, floor = (
        ascents.states.covariances,
        ascents.states.ratios[start, g],
        ascents.given.floor,
    )
    (d, C), factor = covariances.shape[2:], ascents.matrix
    if not ratio > _DOMINATED:
        return True
    if C == 1:
        return False
    # All ratios of its eigenvalues are larger if what is left without so many floors is positive definite.
    for i in range(d):
        for j in range(i + 1):
            left = covariances[start, g, i, j] - (_DOMINATED * floor[i] if j == i else 0.0)
            for t in range(j):
                left -= factor[i, t] * factor[j, t]
            if j < i:
                factor[i, j] = left / factor[j, j]
            elif left > 0:
                factor[i, i] = np.sqrt(left)
            else:
                return True
    return False


@kernel
def singular(ascents, start):
    """Return the largest weight of its singular components, or 0 if there is none."""
    weights, M, largest = ascents.states.weights, ascents.states.ratios.shape[1], 0.0
    for g in range(M):
        if on_the_floor(ascents, start, g):
            weight = weights[start, g] if M > 1 else 1.0
            largest = weight if weight > largest else largest
    return largest


@kernel
def lead(ascents, count, most, lists):
    """Return how many of `count` ascents, those in lists[0], lead. OUT lists[1]

    These have ended apart, and none is singular. Of those that ended alike the first one counts. Where one
    may be a mass, -1 is returned, and that is lists[1, 0]. lists[2] is scratch.
    """
    outcomes, found, least, few = ascents.outcomes, 0, np.inf, _FEW_ROWS / ascents.labels.shape[1]
    for s in range(lists.shape[1]):
        lists[2, s] = 1
    for i in range(count):
        start = lists[0, i]
        lists[2, start] = 1 if outcomes[start, FAILED] > 0 else 0
    while True:
        best = -1
        for s in range(lists.shape[1]):
            if lists[2, s] == 0 and (best < 0 or outcomes[s, MEAN] > outcomes[best, MEAN]):
                best = s
        if best < 0:
            return found
        lists[2, best] = 1
        if outcomes[best, MEAN] < least and found == most:
            return found
        share = singular(ascents, best)
        if share > few:
            lists[1, 0] = best
            return -1
        if share > 0:
            continue
        if outcomes[best, MEAN] < least:
            least = outcomes[best, MEAN] - _ALIKE
            lists[1, found] = best
            found += 1
        elif best < lists[1, found - 1]:
            lists[1, found - 1] = best


@kernel
def race(code, ascents, count, heats, tol, lists):
    """Return the winner of a race of `count` ascents, those in lists[0], or -1 if all are singular.

    Where one of those that lead may be a mass, -2 - s is returned, and s is its start.

    IN heats (H, 3): iterations, and how many go on: so many, or one in so many if that is more
    """
    started, best = count, -1
    for heat in range(heats.shape[0]):
        for i in range(count):
            go_on(code, ascents, lists[0, i], heats[heat, 0], tol)
        most, share = heats[heat, 1], started // heats[heat, 2]
        count = lead(ascents, count, share if share > most else most, lists)
        if count < 1:
            return -1 if count == 0 else -2 - lists[1, 0]
        best = lists[1, 0]
        for i in range(count):
            lists[0, i] = lists[1, i]
        if count == 1:
            break
    return best
