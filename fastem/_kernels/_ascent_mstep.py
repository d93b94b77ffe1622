"""The M-step of ascents on small samples: parameters from sums of responsibilities times features.

Shapes are those of `_ascent`.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import inlined_kernel, ordered_kernel, spliced_kernel


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


@spliced_kernel
def first(i, C):
    """Return the first column of row i of a triangle: 0, or i if only the diagonal is stored (C = 1)."""
    return i if C == 1 else 0


# Ordered kernels here have short sums, of which LLVM would make vectors otherwise. `whiten` has longer ones.
@ordered_kernel
def estimate(moments, g, share, second, isotropic, means, covariances, squares):
    """OUT covariances[g] before anything is added to it; squares: see `whiten`

    IN share: one by the weight of the rows that it is of; second (d, C): the sum of the products of all
    points, for components that share a covariance
    """
    (K, d), (M, _, C) = means.shape, covariances.shape
    place, mean = 1 + d, 0.0
    for i in range(d):
        low, square = first(i, C), 0.0
        for j in range(low, i + 1):
            if M < K:
                total = second[i, j - low]
                square = total * share
                for k in range(K):
                    total -= moments[k, 1 + i] * means[k, j]
                total *= share
            elif isotropic:
                square = means[g, i] * means[g, i]
                total = -square
            else:
                square = moments[g, place] * share
                total = square - means[g, i] * means[g, j]
                place += 1
            covariances[g, i, j - low] = total
        squares[i] = square
        mean += total
    if isotropic:
        mean = (mean + moments[g, place] * share if M == K else mean) / d
        for i in range(d):
            covariances[g, i, 0] = mean
            squares[i] += mean if M == K else 0.0


@inlined_kernel
def whiten(covariances, g, squares, added, floor, rounding, whiteners, row):
    """Invert the Cholesky factor, row by row, and repair the covariance where that needs it.

    IN squares (d,): the mean squares of which the variances are what is left; added (d,) to the variances;
    floor (d,) to add in addition where that is not enough
    OUT whiteners[g]. Returns a number and what to add to its log2 to get the log2-determinant, and the least
    ratio of a variance of a feature, given those before it, to what was added. The ratio is -1 if the
    covariance cannot be repaired.
    `row` (d,) is scratch.
    """
    (_, d, C), ratio, determinant, logarithm = covariances.shape, np.inf, 1.0, 0.0
    for i in range(d):
        last, pivot = i if C > 1 else 0, covariances[g, i, i if C > 1 else 0] + added[i]
        covariances[g, i, last] = pivot
        noise = rounding * (pivot if pivot > squares[i] else squares[i])
        least = noise if noise > added[i] else added[i]
        noise = rounding * rounding * floor[i]
        least = noise if noise > least else least
        for j in range(last):
            total = 0.0
            for t in range(j + 1):
                total += covariances[g, i, t] * whiteners[g, j, t]
            row[j] = total
            pivot -= total * total
        part = pivot / least
        if part < ratio:
            ratio = part if part > 0 else 0.0
        if not pivot > 0.5 * least:
            covariances[g, i, last] += floor[i]
            pivot += floor[i]
        if not pivot > 0:
            return 1.0, 0.0, -1.0
        scale = 1 / np.sqrt(pivot)
        for t in range(last):
            total = 0.0
            for j in range(t, i):
                total += row[j] * whiteners[g, j, t]
            whiteners[g, i, t] = -total * scale
        whiteners[g, i, last] = scale
        determinant *= scale
        if not 1e-100 < determinant < 1e100:
            determinant, logarithm = 1.0, logarithm + np.log2(determinant)
    return determinant, logarithm, ratio


@ordered_kernel
def maximise(given, scratch, least, state):
    """Make the M-step from the path. Return whether all components have rows, and ratios of at least `least`.

    OUT state
    """
    moments, second, limits, squares, row = (
        scratch.path, given.second, given.limits, scratch.rows[0], scratch.rows[1]
    )  # fmt: skip
    weights, means, covariances, whiteners, constants, ratios = state
    (K, d), M = means.shape, covariances.shape[0]
    weight, determinant, logarithm = 0.0, 1.0, 0.0
    for k in range(K):
        own = moments[k, 0]
        if not own > limits[2]:
            return False
        weight += own
        share = 1 / own
        for i in range(d):
            means[k, i] = moments[k, 1 + i] * share
    for k in range(K):
        own = moments[k, 0]
        if k < M:
            share = 1 / (own if M == K else weight)
            estimate(moments, k, share, second, limits[4] > 0, means, covariances, squares)
            determinant, logarithm, ratio = whiten(
                covariances, k, squares, given.added, given.floor, limits[3], whiteners, row
            )
            ratios[k] = ratio
            if ratio < least:
                return False
        own /= weight
        weights[k] = own
        constants[k] = np.log2(own * determinant) + logarithm
    return True
