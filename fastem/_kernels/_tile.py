"""Loading and normalising tiles. A tile is a few hundred rows of X.

A tile is transposed, so that the lanes of a vector are points. All components use it while it is in cache.
The last tile of a slot may be shorter. It is padded with points of weight 0, so that loops over points always
have the length `tile_rows`. `_layout` describes the rows of `space`.
"""

import numpy as np

from fastem._kernels._jit import allocating_kernel, kernel, spliced_kernel
from fastem._kernels._layout import (
    CACHE_LINE,
    LEASTS,
    PEAKS,
    POINTS,
    TOTALS,
    WEIGHTS,
    ZEROS,
    first_more,
    first_share,
)
from fastem._kernels._math import exp2, log2_reciprocal
from fastem._kernels._new import new_array
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
from fastem._kernels._views import aligned_rows

_HUGE = np.float32(1e37)  # log-densities below -_HUGE count as -_HUGE
_BOUND = np.float32(1e18)  # the largest coordinate that can be scored, in standard deviations


@allocating_kernel
def new_space(K, d, more, X):
    """Return the array that a slot computes in, with the dtype of X, and `more` rows at its end.

    Its rows begin at cache lines, because a 512-bit load across two cache lines costs as much as two loads.
    Unaligned rows made the M-step a third slower. The rows of packed points begin as zeros, because kernels
    compute on whole vectors, also beyond the last point.
    """
    rows = first_more(d, K) + more
    buffer = new_array(rows * stride(X) + CACHE_LINE // X.itemsize, X.dtype)
    space = aligned_rows(buffer, rows, stride(X))
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
    """Return the exponent of the smallest normal number."""
    return X.dtype.type(-126 if X.itemsize == 4 else -1022)


@kernel
def slot_range(X, slot, slots):
    """Return the first row of a slot and the end of its rows. Tiles are divided evenly between slots."""
    n, rows = X.shape[0], tile_rows(X)
    tiles = (n + rows - 1) // rows
    stop = tiles * (slot + 1) // slots * rows
    return tiles * slot // slots * rows, stop if stop < n else n


@kernel
def load_rows(X, start, size, shift, inverse_scale, space, top):
    """OUT rows from `top`: (X[start + b, j] - shift[j]) * inverse_scale[j] for b < size, then 0"""
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
    """OUT WEIGHTS: sample_weight, or 1 if there is none, for b < size, then 0"""
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
    """OUT PEAKS: the largest log-density of each point

    If all log-densities of a point are below -_HUGE, they are set to -_HUGE, and the point belongs to all
    components in equal parts.
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
    """OUT LEASTS: if log2_prob - peak is less than this, the responsibility is set to zero

    Let q = log2_weight - log2_prob. A point adds its responsibility r to the weight of a component, and
    2 ln(2) r q to its whitened scatter. Sums over 2 ** 30 points cannot notice less than 2 ** -80. Both are
    less if

        peak - log2_prob >= 85.1 + q / 64,    because log2(q) <= 5.1 + q / 64.

    With q = log2_weight - peak + (peak - log2_prob), this becomes a bound for peak - log2_prob.
    """
    heaviest = log2_weights[0]
    for k in range(1, log2_weights.shape[0]):
        heaviest = log2_weights[k] if log2_weights[k] > heaviest else heaviest
    slope, offset = space.dtype.type(1 / 63), space.dtype.type(85.1 * 64 / 63)
    zero, lowest = splat(space.dtype.type(0)), splat(least_exponent(space))
    for b in range(0, tile_rows(space), lanes(space)):
        least = minimum(load(space, PEAKS, b) - heaviest, zero) * slope - offset
        store(space, LEASTS, b, maximum(least, lowest))


@spliced_kernel
def exponentiate(space, shares, K):
    """Replace log-densities by densities relative to the peak of the point.

    OUT the shares: l becomes 2 ** (l - peak), or 0 if l - peak is below LEASTS
    OUT TOTALS: their sums over k, which are in [1, K]
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
    """Return the log2-likelihood of the tile.

    OUT PEAKS: log-densities of the mixture
    OUT TOTALS: weight / total
    """
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
def share_out(space, shares, K):
    """Replace log-densities by densities relative to the peak of the point. OUT see `finish_totals`"""
    find_peaks(space, shares, K)
    exponentiate(space, shares, K)
    finish_totals(space)


@kernel
def normalise(log2_weights, space, shares, tile_weights):
    """Replace log-densities by responsibilities times weights. Return the log2-likelihood of the tile.

    OUT tile_weights (K,): their sums over the tile
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
    """Multiply the shares by the row `weights`. OUT tile_weights (K,): their sums over the tile"""
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
    """OUT the rows `best` and `labels`: the largest share of each point, and the first k that has it"""
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
    """Return whether all coordinates are finite, and too small for products with a whitener to overflow.

    Statistics of `_linear` beyond the first d are finite if these are.
    """
    bound = space.dtype.type(_BOUND)
    outside = 0
    for j in range(POINTS, POINTS + d):
        for b in range(tile_rows(space)):
            outside += 0 if abs(space[j, b]) < bound else 1
    return outside == 0
