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
def whiten_means(means, whiteners, offsets):
    """OUT offsets (K, d): whitener @ mean"""
    (K, d), (M, _, C) = means.shape, whiteners.shape
    for k in range(K):
        g = k if M == K else 0
        for i in range(d):
            low, total = first(i, C), 0.0
            for j in range(low, i + 1):
                total += whiteners[g, i, j - low] * means[k, j]
            offsets[k, i] = total


@kernel
def share_points(tile, rows, offsets, whiteners, constants, shares):
    """Return the weighted sum of log2-densities.

    OUT shares (K + 1, stride): responsibilities times weights; the last row is scratch
    """
    (K, d), (M, _, C), step = offsets.shape, whiteners.shape, lanes(tile)
    least, zero, lowest = splat(least_exponent(tile)), splat(np.float64(0)), splat(_LOWEST)
    likelihood = zero
    for b in range(0, rows, 4 * step):
        b1, b2, b3 = b + step, b + 2 * step, b + 3 * step
        for k in range(K):
            g, q0, q1, q2, q3 = k if M == K else 0, zero, zero, zero, zero
            for i in range(d):
                low = first(i, C)
                y0 = y1 = y2 = y3 = splat(-offsets[k, i])
                for j in range(low, i + 1):
                    factor = whiteners[g, i, j - low]
                    y0, y1 = y0 + load(tile, 1 + j, b) * factor, y1 + load(tile, 1 + j, b1) * factor
                    y2, y3 = y2 + load(tile, 1 + j, b2) * factor, y3 + load(tile, 1 + j, b3) * factor
                q0, q1, q2, q3 = q0 + y0 * y0, q1 + y1 * y1, q2 + y2 * y2, q3 + y3 * y3
            constant = constants[k]
            q0, q1 = constant - q0 * _HALF_LOG2_E, constant - q1 * _HALF_LOG2_E
            q2, q3 = constant - q2 * _HALF_LOG2_E, constant - q3 * _HALF_LOG2_E
            store(shares, k, b, q0)
            store(shares, k, b1, q1)
            store(shares, k, b2, q2)
            store(shares, k, b3, q3)
        for c in range(b, b + 4 * step, step):
            peak, total = lowest, zero
            for k in range(K):
                peak = maximum(load(shares, k, c), peak)
            for k in range(K):
                share = exp2(load(shares, k, c) - peak, least)
                store(shares, k, c, share)
                total = total + share
            logarithm, factor = log2_reciprocal(total)
            weight = load(tile, 0, c)
            likelihood = likelihood + weight * (logarithm + peak)
            factor = weight * factor
            for k in range(K):
                store(shares, k, c, load(shares, k, c) * factor)
    return sum4(likelihood, zero, zero, zero)[0]


@kernel
def add_moments(tile, rows, means, shares, totals, sums, scatters):
    """Add the moments of points about the means. OUT totals (K,), sums (K, d), scatters (K, d, C)

    sum(r z z') = sum(r z x') - sum(r z) mean', so only one factor is centred. Columns come in pairs.
    """
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
            heavy, linear, _, _ = sum4(weight, total, zero, zero)
            for j in range(low, i + 1, 2):
                t = min(j + 1, i)
                one = other = one2 = other2 = zero
                for b in range(0, rows, 2 * step):
                    c = b + step
                    left, right = load(shares, K, b), load(shares, K, c)
                    one, one2 = one + left * load(tile, 1 + j, b), one2 + right * load(tile, 1 + j, c)
                    other, other2 = other + left * load(tile, 1 + t, b), other2 + right * load(tile, 1 + t, c)
                even, odd, even2, odd2 = sum4(one, other, one2, other2)
                scatters[k, i, j - low] += even + even2 - linear * means[k, j]
                if t > j:
                    scatters[k, i, t - low] += odd + odd2 - linear * means[k, t]
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
    offsets,
    slot,
):
    """Serial: one ascent, that of the start chosen[slot]. S starts of m points.

    IN     labels (S, m); chosen (G,); limits (5,): iterations, least gain, least weight of a component,
           rounding of variances, 1 if features share a variance
    IN     added and floor (d,): see `whiten`
    IN/OUT means (S, K, d), covariances and whiteners (S, M, d, C), constants (S, K); outcomes (S, 4) with
           zeros at first. An ascent can go on later.
    OUT    weights (S, K); ratios (S, M), see `whiten`
    Scratch: shares (G, K + 1, stride), totals (G, K), sums (G, K, d), scatters (G, K, d, C),
    offsets (G, K, d)
    """
    start, size = chosen[slot], tile_rows(tiles)
    labels, weights, means, covariances = labels[start], weights[start], means[start], covariances[start]
    whiteners, constants, ratios = whiteners[start], constants[start], ratios[start]
    outcome = outcomes[start]
    shares, totals, sums, scatters = shares[slot], totals[slot], sums[slot], scatters[slot]
    offsets = offsets[slot]
    K, M, m, step = means.shape[0], covariances.shape[0], labels.shape[0], lanes(tiles)
    for _ in range(int(limits[0])):
        if outcome[SETTLED] + outcome[FAILED] > 0:
            return
        totals[:] = 0.0
        sums[:] = 0.0
        scatters[:] = 0.0
        likelihood = 0.0
        whiten_means(means, whiteners, offsets)
        for t in range(tiles.shape[0]):
            tile, rows = tiles[t], min(size, -(-(m - t * size) // (4 * step)) * (4 * step))
            if outcome[ITERATIONS] == 0:
                for k in range(K):
                    for b in range(rows):
                        shares[k, b] = tile[0, b] if labels[min(t * size + b, m - 1)] == k else 0.0
            else:
                likelihood += share_points(tile, rows, offsets, whiteners, constants, shares)
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
                logarithm, ratios[k] = whiten(
                    covariances[k], added, floor, limits[3], whiteners[k], offsets[0]
                )
                if ratios[k] < 0:
                    outcome[FAILED] = 1
                    return
            constants[k] = np.log2(weights[k]) + logarithm
