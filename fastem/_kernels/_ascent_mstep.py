"""The M-step of ascents on small samples: parameters from sums of responsibilities times features.

Shapes are those of `_ascent`.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import kernel, spliced_kernel


class Given(NamedTuple):
    """What all ascents share."""

    tiles: np.ndarray  # (T, 1 + F, stride)
    second: (
        np.ndarray
    )  # (d, C): the sum of the products of all points, for components that share a covariance
    # (6,): iterations, least gain, least weight of a component, rounding of variances, 1 if features share a
    # variance, the longest stretch (1 is EM)
    limits: np.ndarray
    added: np.ndarray  # (d,): see `whiten`
    floor: np.ndarray  # (d,)


class State(NamedTuple):
    """Where an ascent is."""

    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, d)
    covariances: np.ndarray  # (M, d, C)
    whiteners: np.ndarray  # (M, d, C)
    constants: np.ndarray  # (K,)
    ratios: np.ndarray  # (M,): see `whiten`


class Scratch(NamedTuple):
    shares: np.ndarray  # (K, stride)
    moments: np.ndarray  # (K, F)
    path: np.ndarray  # (K, F)
    coefficients: np.ndarray  # (K, F)
    rows: np.ndarray  # (2, d)


@kernel
def state_of(states, start):
    weights, means, covariances, whiteners, constants, ratios = states
    return State(
        weights[start], means[start], covariances[start], whiteners[start], constants[start], ratios[start]
    )


@kernel
def scratch_of(scratches, slot):
    shares, moments, path, coefficients, rows = scratches
    return Scratch(shares[slot], moments[slot], path[slot], coefficients[slot], rows[slot])


@spliced_kernel
def first(i, C):
    """Return the first column of row i of a triangle: 0, or i if only the diagonal is stored (C = 1)."""
    return i if C == 1 else 0


@kernel
def estimate(moments, second, isotropic, means, covariances):
    """OUT means, and covariances before anything is added to them.

    IN second (d, C): the sum of the products of all points, for components that share a covariance
    """
    (K, d), (M, _, C) = means.shape, covariances.shape
    weight = 0.0
    for k in range(K):
        weight += moments[k, 0]
        for i in range(d):
            means[k, i] = moments[k, 1 + i] / moments[k, 0]
    for g in range(M):
        for i in range(d):
            low = first(i, C)
            for j in range(low, i + 1):
                total = 0.0
                if M < K:
                    for k in range(K):
                        total += moments[k, 1 + i] * means[k, j]
                    total = (second[i, j - low] - total) / weight
                elif not isotropic:
                    total = moments[g, 1 + d + (i if C == 1 else i * (i + 1) // 2 + j)] / moments[g, 0]
                    total -= means[g, i] * means[g, j]
                covariances[g, i, j - low] = total
        if isotropic:
            mean = moments[g, 1 + d] / moments[g, 0] if M == K else 0.0
            for i in range(d):
                mean += covariances[g, i, 0] if M < K else -means[g, i] * means[g, i]
            for i in range(d):
                covariances[g, i, 0] = mean / d


@kernel
def whiten(covariance, squares, added, floor, rounding, whitener, row):
    """Invert the Cholesky factor, row by row, and repair the covariance where that needs it.

    IN squares (d,): the mean squares of which the variances are what is left; added (d,) to the variances;
    floor (d,) to add in addition where that is not enough
    OUT whitener (d, C). Returns its log2-determinant, and the least ratio of a variance of a feature, given
    those before it, to what was added. The ratio is -1 if the covariance cannot be repaired.
    `row` (d,) is scratch.
    """
    (d, C), logarithm, ratio = covariance.shape, 0.0, np.inf
    for i in range(d):
        low = first(i, C)
        last = i - low
        covariance[i, last] += added[i]
        pivot = covariance[i, last]
        least = max(added[i], rounding * max(pivot, squares[i]), rounding * rounding * floor[i])
        for j in range(low, i):
            row[j] = 0.0
            for t in range(j + 1):
                row[j] += covariance[i, t] * whitener[j, t]
            pivot -= row[j] * row[j]
        ratio = min(ratio, max(pivot / least, 0.0))
        if not pivot > 0.5 * least:
            covariance[i, last] += floor[i]
            pivot += floor[i]
        if not pivot > 0:
            return 0.0, -1.0
        scale = 1 / np.sqrt(pivot)
        for t in range(low, i):
            total = 0.0
            for j in range(t, i):
                total += row[j] * whitener[j, t]
            whitener[i, t - low] = -total * scale
        whitener[i, last] = scale
        logarithm += np.log2(scale)
    return logarithm, ratio


@kernel
def maximise(given, scratch, least, state):
    """Make the M-step from the path. Return whether all components have rows, and ratios of at least `least`.

    OUT state
    """
    moments, second, limits, squares = scratch.path, given.second, given.limits, scratch.rows[0]
    weights, means, covariances, whiteners, constants, ratios = state
    (K, d), (M, _, C) = means.shape, covariances.shape
    weight, logarithm = 0.0, 0.0
    for k in range(K):
        weight += moments[k, 0]
        if not moments[k, 0] > limits[2]:
            return False
    estimate(moments, second, limits[4] > 0, means, covariances)
    for k in range(K):
        weights[k] = moments[k, 0] / weight
        if k < M:
            for i in range(d):
                own = second[i, 0 if C == 1 else i] / weight if M < K else means[k, i] * means[k, i]
                squares[i] = own + covariances[k, i, i - first(i, C)]
            logarithm, ratios[k] = whiten(
                covariances[k], squares, given.added, given.floor, limits[3], whiteners[k], scratch.rows[1]
            )
            if ratios[k] < least:
                return False
        constants[k] = np.log2(weights[k]) + logarithm
    return True
