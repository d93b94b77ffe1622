"""Tiles: rows, transposed, so that the lanes of a vector are points.

A tile serves all components while it sits in cache. Every tile is full: a last, shorter one is
padded with zeros, whose points carry no weight. Kernel loops over all points therefore have the
constant length `tile_rows`. `_layout` tells which row of `space` holds what.
"""

import numpy as np

from fastem._kernels._jit import allocating_kernel, kernel, spliced_kernel
from fastem._kernels._layout import (
    LEASTS,
    PEAKS,
    POINTS,
    TOTALS,
    WEIGHTS,
    ZEROS,
    count_queues,
    first_queue,
    first_share,
)
from fastem._kernels._math import exp2, log2_reciprocal
from fastem._kernels._simd import (
    choose,
    lane_minimum,
    lanes,
    load,
    load_column,
    load_transposed,
    maximum,
    minimum,
    splat,
    store,
    stride,
    sum4,
    tile_rows,
)

_CACHE_LINE = 64
_HUGE = np.float32(1e37)  # log-densities below -_HUGE count as underflow
_BOUND = np.float32(1e18)  # in standard deviations


@allocating_kernel
def new_space(K, d, X):
    """The array in which a slot computes, of the dtype of X; its rows begin at cache lines.

    Rows of packed points begin as numbers, since the ends of vectors beyond them are computed on too.
    A 512-bit load that straddles two lines costs two: unaligned rows made the M-step a third slower.
    """
    rows = first_queue(d, K) + count_queues(K)
    buffer = np.empty(rows * stride(X) + _CACHE_LINE // X.itemsize, X.dtype)
    start = (-buffer.ctypes.data % _CACHE_LINE) // X.itemsize
    space = buffer[start : start + rows * stride(X)].reshape((rows, stride(X)))
    least, zero = splat(least_exponent(X)), splat(X.dtype.type(0))
    for b in range(0, tile_rows(space), lanes(space)):
        store(space, LEASTS, b, least)
        store(space, ZEROS, b, zero)
        store(space, first_share(d) + K, b, zero)
        for j in range(POINTS + d, POINTS + 2 * d):
            store(space, j, b, zero)
    return space


@spliced_kernel
def least_exponent(X):
    """That of the smallest normal number."""
    return X.dtype.type(-126 if X.itemsize == 4 else -1022)


@kernel
def slot_range(X, slot, slots):
    """Rows of a slot: whole tiles, spread evenly."""
    n, rows = X.shape[0], tile_rows(X)
    tiles = (n + rows - 1) // rows
    return tiles * slot // slots * rows, min(n, tiles * (slot + 1) // slots * rows)


@kernel
def load_rows(X, start, size, shift, inverse_scale, space, top):
    """OUT rows from `top`: (X[start + b, j] - shift[j]) * inverse_scale[j], and 0 beyond `size`."""
    d, step = X.shape[1], lanes(space)
    whole = tile_rows(space) if size == tile_rows(space) else 0
    columns = d - d % step
    for b in range(0, whole, step):
        for j in range(0, columns, step):
            load_transposed(X, start + b, j, shift, inverse_scale, space, top, b)
    for j in range(columns if whole else 0, d):
        m, a = shift[j], inverse_scale[j]
        for b in range(0, whole, step):
            store(space, top + j, b, (load_column(X, start + b, j) - m) * a)
        for b in range(whole, size):
            space[top + j, b] = (X[start + b, j] - m) * a
        for b in range(size, tile_rows(space)):
            space[top + j, b] = 0


@kernel
def load_weights(sample_weight, start, size, space):
    """OUT the weights of the points: 1 where none are given, 0 beyond `size`."""
    one = splat(space.dtype.type(1))
    for b in range(0, tile_rows(space), lanes(space)):
        store(space, WEIGHTS, b, one)
    if sample_weight.shape[0] > 0:
        for b in range(size):
            space[WEIGHTS, b] = sample_weight[start + b]
    for b in range(size, tile_rows(space)):
        space[WEIGHTS, b] = 0


@spliced_kernel
def find_peaks(space, shares, K):
    """OUT the peaks: the maximum over k of log-densities.

    A point whose every density underflows even as a logarithm comes to belong to all components alike.
    """
    least, lowest = splat(space.dtype.type(-_HUGE)), splat(space.dtype.type(_HUGE))
    for b in range(0, tile_rows(space), lanes(space)):
        peak = load(space, shares, b)
        for k in range(1, K):
            peak = maximum(load(space, shares + k, b), peak)
        store(space, PEAKS, b, maximum(peak, least))
        lowest = minimum(peak, lowest)
    if lane_minimum(lowest) > -_HUGE:
        return
    for k in range(shares, shares + K):
        for b in range(0, tile_rows(space), lanes(space)):
            store(space, k, b, maximum(load(space, k, b), least))


@kernel
def find_leasts(log2_weights, space):
    """OUT the least exponents: a responsibility below counts as zero.

    With q = log2_weight - log2_prob, a point adds r to the weight of a component and 2 ln(2) r q to its
    whitened scatter. Both stay below 2 ** -80, too little for the sums of 2 ** 30 points to notice, where

        peak - log2_prob >= 85.1 + q / 64,    since log2(q) <= 5.1 + q / 64,

    which q = log2_weight - peak + (peak - log2_prob) turns into a bound for peak - log2_prob alone.
    """
    heaviest = log2_weights[0]
    for k in range(1, log2_weights.shape[0]):
        heaviest = max(heaviest, log2_weights[k])
    slope, offset = space.dtype.type(1 / 63), space.dtype.type(85.1 * 64 / 63)
    zero, lowest = splat(space.dtype.type(0)), splat(least_exponent(space))
    for b in range(0, tile_rows(space), lanes(space)):
        least = minimum(load(space, PEAKS, b) - heaviest, zero) * slope - offset
        store(space, LEASTS, b, maximum(least, lowest))


@spliced_kernel
def exponentiate(space, shares, K):
    """Log-densities to densities relative to the peak of the point, and their sums.

    IN/OUT the shares: l becomes 2 ** (l - peak), or 0 below the least exponent
    OUT    the totals: sums over k, in [1, K]
    """
    step = lanes(space)
    for b in range(0, tile_rows(space), 2 * step):
        peak0, peak1 = load(space, PEAKS, b), load(space, PEAKS, b + step)
        least0, least1 = load(space, LEASTS, b), load(space, LEASTS, b + step)
        total0 = total1 = splat(space.dtype.type(0))
        for k in range(shares, shares + K):
            value0 = exp2(load(space, k, b) - peak0, least0)
            value1 = exp2(load(space, k, b + step) - peak1, least1)
            store(space, k, b, value0)
            store(space, k, b + step, value1)
            total0, total1 = total0 + value0, total1 + value1
        store(space, TOTALS, b, total0)
        store(space, TOTALS, b + step, total1)


@spliced_kernel
def finish_totals(space):
    """Peaks to log-densities of the mixture, totals to weight / total; returns the weighted likelihood."""
    zero = splat(space.dtype.type(0))
    log2_likelihood = zero
    for b in range(0, tile_rows(space), lanes(space)):
        weight = load(space, WEIGHTS, b)
        log2_total, reciprocal = log2_reciprocal(load(space, TOTALS, b))
        log2_density = load(space, PEAKS, b) + log2_total
        log2_likelihood = log2_likelihood + weight * log2_density
        store(space, PEAKS, b, log2_density)
        store(space, TOTALS, b, weight * reciprocal)
    return sum4(log2_likelihood, zero, zero, zero)[0]


@kernel
def normalise(log2_weights, space, shares, tile_weights):
    """Log-densities to weighted responsibilities; returns the weighted log2-likelihood.

    OUT tile_weights (K,): sums of responsibilities over the tile
    """
    K = tile_weights.shape[0]
    find_peaks(space, shares, K)
    find_leasts(log2_weights, space)
    exponentiate(space, shares, K)
    log2_likelihood = finish_totals(space)
    weigh(space, shares, TOTALS, tile_weights)
    return log2_likelihood


@kernel
def weigh(space, shares, weights, tile_weights):
    """Multiply the shares by the row `weights`. OUT tile_weights (K,): their sums over the tile."""
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    for k in range(tile_weights.shape[0]):
        sum0 = sum1 = zero
        for b in range(0, tile_rows(space), 2 * step):
            value0 = load(space, shares + k, b) * load(space, weights, b)
            value1 = load(space, shares + k, b + step) * load(space, weights, b + step)
            store(space, shares + k, b, value0)
            store(space, shares + k, b + step, value1)
            sum0, sum1 = sum0 + value0, sum1 + value1
        tile_weights[k] = sum4(sum0 + sum1, zero, zero, zero)[0]


@kernel
def find_labels(space, shares, K, best, labels):
    """OUT rows `best` and `labels`: the maximum over k and the first k that reaches it."""
    step = lanes(space)
    for b in range(0, tile_rows(space), 2 * step):
        best0, best1 = load(space, shares, b), load(space, shares, b + step)
        label0 = label1 = splat(space.dtype.type(0))
        for k in range(1, K):
            index = splat(space.dtype.type(k))
            value0, value1 = load(space, shares + k, b), load(space, shares + k, b + step)
            label0, label1 = choose(value0, best0, index, label0), choose(value1, best1, index, label1)
            best0, best1 = maximum(value0, best0), maximum(value1, best1)
        store(space, best, b, best0)
        store(space, best, b + step, best1)
        store(space, labels, b, label0)
        store(space, labels, b + step, label1)


@kernel
def within_bounds(space, d):
    """Whether every coordinate is finite and so small that no product with a whitener overflows."""
    bound = space.dtype.type(_BOUND)
    outside = 0
    for j in range(POINTS, POINTS + d):
        for b in range(tile_rows(space)):
            outside += 0 if abs(space[j, b]) < bound else 1
    return outside == 0
