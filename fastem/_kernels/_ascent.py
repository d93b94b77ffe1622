"""Ascents of EM for small samples and Gaussians, each of which is compiled as a whole.

On a few hundred rows what Python does between two passes takes fifty times as long as the pass. The start
"auto" makes many ascents on such a sample, and each is one slot of this kernel. Where they end need not be
exact, because the fit goes on from the best.

Tiles (T, 1 + d, stride) hold the weight and the coordinates of the points. Covariances are (M, d, C), M = K
or one for all, and C = d or only the diagonals. The entry (i, j), j <= i, is at [i, j - first(i)].
"""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel, spliced_kernel
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._math import exp2, log2_reciprocal
from fastem._kernels._simd import lanes, load, maximum, splat, store, sum4, tile_rows
from fastem._kernels._tile import least_exponent

# Columns of the outcomes.
ITERATIONS = np.int64(0)
MEAN = np.int64(1)  # the mean of the log-densities at the last E-step, without the constant of Gaussians
SETTLED = np.int64(2)  # 1 once an iteration has gained less than is asked for
FAILED = np.int64(3)  # 1 if a component has lost its rows, or has no covariance. Then the ascent ends.

_LN2 = np.log(2.0)
_HALF_LOG2_E = 0.5 / np.log(2.0)
_LOWEST = np.float64(-1e300)


def tiles_of(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tiles (T, 1 + d, stride) for points (d, m) and weights (m,). The last is padded with zeros."""
    d, m = points.shape
    rows = TILE_BYTES // 8
    tiles = np.zeros((-(-m // rows), 1 + d, STRIDE_BYTES // 8))
    for t, tile in enumerate(tiles):
        part = slice(t * rows, (t + 1) * rows)
        own = len(weights[part])
        tile[0, :own], tile[1:, :own] = weights[part], points[:, part]
    return tiles


@spliced_kernel
def first(i, C):
    """Return the first column of row i of a triangle: 0, or i if only the diagonal is stored (C = 1)."""
    return i if C == 1 else 0


@kernel
def share_points(tile, rows, means, whiteners, constants, shares):
    """Return the weighted sum of log2-densities.

    OUT shares (K + 1, stride): responsibilities times weights; the last row is scratch
    """
    (K, d), (M, _, C), step = means.shape, whiteners.shape, lanes(tile)
    least, zero, lowest = splat(least_exponent(tile)), splat(np.float64(0)), splat(_LOWEST)
    likelihood = zero
    for b in range(0, rows, 2 * step):
        c = b + step
        peak0 = peak1 = lowest
        for k in range(K):
            g, q0, q1 = k if M == K else 0, zero, zero
            for i in range(d):
                y0, y1, low = zero, zero, first(i, C)
                for j in range(low, i + 1):
                    mean, factor = means[k, j], whiteners[g, i, j - low]
                    y0 = y0 + (load(tile, 1 + j, b) - mean) * factor
                    y1 = y1 + (load(tile, 1 + j, c) - mean) * factor
                q0, q1 = q0 + y0 * y0, q1 + y1 * y1
            q0, q1 = constants[k] - q0 * _HALF_LOG2_E, constants[k] - q1 * _HALF_LOG2_E
            store(shares, k, b, q0)
            store(shares, k, c, q1)
            peak0, peak1 = maximum(q0, peak0), maximum(q1, peak1)
        total0 = total1 = zero
        for k in range(K):
            share0, share1 = exp2(load(shares, k, b) - peak0, least), exp2(load(shares, k, c) - peak1, least)
            store(shares, k, b, share0)
            store(shares, k, c, share1)
            total0, total1 = total0 + share0, total1 + share1
        logarithm0, factor0 = log2_reciprocal(total0)
        logarithm1, factor1 = log2_reciprocal(total1)
        weight0, weight1 = load(tile, 0, b), load(tile, 0, c)
        likelihood = likelihood + weight0 * (logarithm0 + peak0) + weight1 * (logarithm1 + peak1)
        factor0, factor1 = weight0 * factor0, weight1 * factor1
        for k in range(K):
            store(shares, k, b, load(shares, k, b) * factor0)
            store(shares, k, c, load(shares, k, c) * factor1)
    return sum4(likelihood, zero, zero, zero)[0]


@kernel
def add_moments(tile, rows, means, shares, totals, sums, scatters):
    """Add the moments of points about the means. OUT totals (K,), sums (K, d), scatters (K, d, C)"""
    (K, d), C, step, zero = means.shape, scatters.shape[2], lanes(tile), splat(np.float64(0))
    for k in range(K):
        weight = zero
        for b in range(0, rows, step):
            weight = weight + load(shares, k, b)
        for i in range(d):
            low, total = first(i, C), zero
            for b in range(0, rows, step):
                product = load(shares, k, b) * (load(tile, 1 + i, b) - means[k, i])
                store(shares, K, b, product)
                total = total + product
            for j in range(low, i + 1):
                one = other = zero
                for b in range(0, rows, 2 * step):
                    one = one + load(shares, K, b) * (load(tile, 1 + j, b) - means[k, j])
                    other = other + load(shares, K, b + step) * (load(tile, 1 + j, b + step) - means[k, j])
                heavy, linear, even, odd = sum4(weight, total, one, other)
                scatters[k, i, j - low] += even + odd
            sums[k, i] += linear
        totals[k] += heavy


@kernel
def estimate(totals, sums, scatters, isotropic, means, covariances):
    """OUT means, and covariances before anything is added to them. The scatters are used up."""
    (K, d), (M, _, C) = means.shape, covariances.shape
    weight = 0.0
    for k in range(K):
        weight += totals[k]
    covariances[:] = 0.0
    for k in range(K):
        g, divisor = k if M == K else 0, totals[k] if M == K else weight
        for i in range(d):
            low = first(i, C)
            for j in range(low, i + 1):
                between = sums[k, i] * sums[k, j] / totals[k]
                covariances[g, i, j - low] += (scatters[k, i, j - low] - between) / divisor
        for i in range(d):
            means[k, i] += sums[k, i] / totals[k]
        if isotropic:
            mean = 0.0
            for i in range(d):
                mean += covariances[g, i, 0] / d
            covariances[g, :, 0] = mean


@kernel
def whiten(covariance, added, floor, rounding, whitener, row):
    """Invert the Cholesky factor, row by row, and repair the covariance where that needs it.

    IN added (d,) to the variances; floor (d,) to add in addition where that is not enough
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
        least = max(added[i], rounding * pivot, rounding * rounding * floor[i])
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


@entry_kernel
def slot_ascend(
    tiles,
    labels,
    chosen,
    limits,
    added,
    floor,
    weights,
    means,
    covariances,
    whiteners,
    constants,
    ratios,
    outcomes,
    shares,
    totals,
    sums,
    scatters,
    row,
    slot,
):
    """Serial: one ascent, that of the start chosen[slot]. S starts of m points.

    IN     labels (S, m); chosen (G,); limits (5,): iterations, least gain, least weight of a component,
           rounding of variances, 1 if features share a variance
    IN     added and floor (d,): see `whiten`
    IN/OUT means (S, K, d), covariances and whiteners (S, M, d, C), constants (S, K); outcomes (S, 4) with
           zeros at first. An ascent can go on later.
    OUT    weights (S, K); ratios (S, M), see `whiten`
    Scratch: shares (G, K + 1, stride), totals (G, K), sums (G, K, d), scatters (G, K, d, C), row (G, d)
    """
    start, size = chosen[slot], tile_rows(tiles)
    labels, weights, means, covariances = labels[start], weights[start], means[start], covariances[start]
    whiteners, constants, ratios = whiteners[start], constants[start], ratios[start]
    outcome = outcomes[start]
    shares, totals, sums, scatters, row = shares[slot], totals[slot], sums[slot], scatters[slot], row[slot]
    K, M, m, step = means.shape[0], covariances.shape[0], labels.shape[0], lanes(tiles)
    for _ in range(int(limits[0])):
        if outcome[SETTLED] + outcome[FAILED] > 0:
            return
        totals[:] = 0.0
        sums[:] = 0.0
        scatters[:] = 0.0
        likelihood = 0.0
        for t in range(tiles.shape[0]):
            tile, rows = tiles[t], min(size, -(-(m - t * size) // (2 * step)) * (2 * step))
            if outcome[ITERATIONS] == 0:
                for k in range(K):
                    for b in range(rows):
                        shares[k, b] = tile[0, b] if labels[min(t * size + b, m - 1)] == k else 0.0
            else:
                likelihood += share_points(tile, rows, means, whiteners, constants, shares)
            add_moments(tile, rows, means, shares, totals, sums, scatters)
        weight = 0.0
        for k in range(K):
            weight += totals[k]
            if not totals[k] > limits[2]:
                outcome[FAILED] = 1
                return
        likelihood *= _LN2 / weight
        if outcome[ITERATIONS] > 1 and likelihood - outcome[MEAN] < limits[1]:
            outcome[SETTLED] = 1
        outcome[MEAN] = likelihood
        outcome[ITERATIONS] += 1
        estimate(totals, sums, scatters, limits[4] > 0, means, covariances)
        logarithm = 0.0
        for k in range(K):
            weights[k] = totals[k] / weight
            if k < M:
                logarithm, ratios[k] = whiten(covariances[k], added, floor, limits[3], whiteners[k], row)
                if ratios[k] < 0:
                    outcome[FAILED] = 1
                    return
            constants[k] = np.log2(weights[k]) + logarithm
