"""Tiles: TILE rows, transposed, so that the lanes of a vector are points.

A tile serves all components while it sits in cache. Every tile is full: a last, shorter one is
padded with zeros, whose points carry no weight. Every kernel loop over points therefore has the
constant length TILE. Tiles are (rows, STRIDE): a power-of-two stride would map all features of a
point to the same cache set.
"""

import numpy as np

from fastem._kernels._jit import kernel
from fastem._kernels._math import exp2, log2
from fastem._kernels._simd import (
    VECTOR_BYTES,
    lane_minimum,
    load,
    maximum,
    minimum,
    splat,
    store,
    sum4,
)

TILE = 256
STRIDE = TILE + 8
_CACHE_LINE = 64
_HUGE = np.float32(1e37)  # log-densities below -_HUGE count as underflow
_BOUND = np.float32(1e18)  # in standard deviations


@kernel
def empty_tile(rows, X):
    """An uninitialised (rows, STRIDE) array of the dtype of X, whose rows begin at cache lines.

    A 512-bit load that straddles two lines costs two: unaligned tiles made the M-step a third slower.
    """
    buffer = np.empty(rows * STRIDE + _CACHE_LINE // X.itemsize, X.dtype)
    start = (-buffer.ctypes.data % _CACHE_LINE) // X.itemsize
    return buffer[start : start + rows * STRIDE].reshape((rows, STRIDE))


@kernel
def slot_range(n, slot, slots):
    """Rows of a slot: whole tiles, spread evenly."""
    tiles = (n + TILE - 1) // TILE
    return tiles * slot // slots * TILE, min(n, tiles * (slot + 1) // slots * TILE)


@kernel
def load_rows(X, start, size, shift, inverse_scale, tile):
    """tile[j, b] = (X[start + b, j] - shift[j]) * inverse_scale[j], and 0 beyond `size`."""
    d = X.shape[1]
    corner = d % 4
    for j in range(corner):
        m, a = shift[j], inverse_scale[j]
        for b in range(size):
            tile[j, b] = (X[start + b, j] - m) * a
    # Four features a visit: every cache line of a wide X is fetched once, not four times.
    for j in range(corner, d, 4):
        m0, m1, m2, m3 = shift[j], shift[j + 1], shift[j + 2], shift[j + 3]
        a0, a1 = inverse_scale[j], inverse_scale[j + 1]
        a2, a3 = inverse_scale[j + 2], inverse_scale[j + 3]
        for b in range(size):
            i = start + b
            tile[j, b] = (X[i, j] - m0) * a0
            tile[j + 1, b] = (X[i, j + 1] - m1) * a1
            tile[j + 2, b] = (X[i, j + 2] - m2) * a2
            tile[j + 3, b] = (X[i, j + 3] - m3) * a3
    for j in range(d):
        for b in range(size, TILE):
            tile[j, b] = 0.0


@kernel
def load_weights(sample_weight, start, size, weights):
    """OUT weights (1, STRIDE): those of the points of a tile: 1 where none are given, 0 beyond `size`."""
    if sample_weight.shape[0] == 0:
        for b in range(size):
            weights[0, b] = 1.0
    else:
        for b in range(size):
            weights[0, b] = sample_weight[start + b]
    for b in range(size, TILE):
        weights[0, b] = 0.0


@kernel
def load_responsibilities(given, start, size, weights, r, tile_weights):
    """Known labels: r[k, b] = weight * given responsibility, and its sum over the tile."""
    for k in range(given.shape[1]):
        total = r.dtype.type(0)
        for b in range(size):
            value = given[start + b, k] * weights[0, b]
            r[k, b] = value
            total += value
        for b in range(size, TILE):
            r[k, b] = 0.0
        tile_weights[k] = total


@kernel
def find_peaks(log2_probs, peaks):
    """OUT peaks (STRIDE,): the maximum over k.

    A point whose every density underflows even as a logarithm comes to belong to all components alike.
    """
    step = VECTOR_BYTES // log2_probs.itemsize
    K = log2_probs.shape[0]
    least = splat(log2_probs.dtype.type(-_HUGE))
    lowest = splat(log2_probs.dtype.type(_HUGE))
    for b in range(0, TILE, step):
        peak = load(log2_probs, 0, b)
        for k in range(1, K):
            peak = maximum(load(log2_probs, k, b), peak)
        store(peaks, 0, b, maximum(peak, least))
        lowest = minimum(peak, lowest)
    if lane_minimum(lowest) > -_HUGE:
        return
    for b in range(TILE):
        if not peaks[0, b] > -_HUGE:
            for k in range(K):
                log2_probs[k, b] = -_HUGE


@kernel
def exponentiate(log2_probs, peaks, totals):
    """Log-densities to densities relative to each point's largest; their logsumexp parts.

    IN/OUT log2_probs (K, STRIDE): l[k, b] becomes 2 ** (l[k, b] - peaks[b])
    OUT    peaks (1, STRIDE): max over k; totals (1, STRIDE): sum over k, in [1, K]
    """
    find_peaks(log2_probs, peaks)
    step = VECTOR_BYTES // log2_probs.itemsize
    for b in range(0, TILE, 2 * step):
        peak0, peak1 = load(peaks, 0, b), load(peaks, 0, b + step)
        total0 = total1 = splat(log2_probs.dtype.type(0))
        for k in range(log2_probs.shape[0]):
            value0 = exp2(load(log2_probs, k, b) - peak0)
            value1 = exp2(load(log2_probs, k, b + step) - peak1)
            store(log2_probs, k, b, value0)
            store(log2_probs, k, b + step, value1)
            total0, total1 = total0 + value0, total1 + value1
        store(totals, 0, b, total0)
        store(totals, 0, b + step, total1)


@kernel
def normalise(r, weights, peaks, totals, tile_weights):
    """Log-densities to weighted responsibilities; returns the weighted log2-likelihood.

    IN/OUT r (K, STRIDE); OUT tile_weights (K,): sums of r over the tile
    """
    exponentiate(r, peaks, totals)
    log2_likelihood = r.dtype.type(0)
    for b in range(TILE):
        log2_likelihood += weights[0, b] * (peaks[0, b] + log2(totals[0, b]))
        totals[0, b] = weights[0, b] / totals[0, b]
    step = VECTOR_BYTES // r.itemsize
    zero = splat(r.dtype.type(0))
    for k in range(r.shape[0]):
        sum0 = sum1 = zero
        for b in range(0, TILE, 2 * step):
            value0 = load(r, k, b) * load(totals, 0, b)
            value1 = load(r, k, b + step) * load(totals, 0, b + step)
            store(r, k, b, value0)
            store(r, k, b + step, value1)
            sum0, sum1 = sum0 + value0, sum1 + value1
        tile_weights[k] = sum4(sum0 + sum1, zero, zero, zero)[0]
    return log2_likelihood


@kernel
def find_labels(log2_probs, best, labels):
    """OUT best, labels (1, STRIDE): the maximum over k and the first k that reaches it."""
    for b in range(TILE):
        best[0, b] = log2_probs[0, b]
        labels[0, b] = 0.0
    for k in range(1, log2_probs.shape[0]):
        index = labels.dtype.type(k)
        for b in range(TILE):
            value = log2_probs[k, b]
            labels[0, b] = index if value > best[0, b] else labels[0, b]
            best[0, b] = max(best[0, b], value)


@kernel
def within_bounds(tile):
    """Whether every coordinate is finite and so small that no product with a whitener overflows."""
    bound = tile.dtype.type(_BOUND)
    outside = 0
    for j in range(tile.shape[0]):
        for b in range(TILE):
            outside += 0 if abs(tile[j, b]) < bound else 1
    return outside == 0
