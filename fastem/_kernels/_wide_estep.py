"""The E-step of Gaussians with many components in many features (see `_wide_tile`).

The near part of all log-densities is a matrix product. It bounds each of them from above. Where few pairs of
a point and a component may matter by that bound, only these are finished, one by one. Else the far part is
a matrix product too. With tied covariances all of it is one product.
"""

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import BLOCK_ROWS, WORD
from fastem._kernels._math import exp2, log2_reciprocal
from fastem._kernels._panels import add_product, set_product
from fastem._kernels._simd import (
    above,
    choose,
    count_bits,
    lane_minimum,
    lanes,
    lowest_bit,
    maximum,
    minimum,
    splat,
    sum4,
)
from fastem._kernels._tile import least_exponent
from fastem._kernels._wide_tile import SIZE, TIED, WORDS, features_width, near_features, panel_width

_HUGE = np.float32(1e37)  # as in `_tile`
_KNOWN = np.float32(-1e36)  # as in `_assignment`
# A pair takes as long to finish alone as eight or more pairs in a product.
_MOST = np.int64(8)
# A responsibility counts as zero where it adds less than 2 ** -80 to a sum, as in `_tile`, or less than
# 2 ** -50 to one that begins in float32. Then 2 ** 30 points add at most 2 ** -26 to a weight, and 2 ** -20
# to a whitened scatter. One point of 32 features or more has 1 and 32 there, of which float32
# knows 2 ** -24.
_OFFSET_64, _OFFSET_32 = np.float64(85.1 * 64 / 63), np.float32(55.1 * 64 / 63)
_SLOPE = np.float32(1 / 63)


@kernel
def log2_prob_tile(params, tile, screened):
    """Return whether bounds were enough for most pairs. If not `screened`, bounds are not tried.

    OUT the shares: log-densities, or upper bounds of them where the responsibility is zero anyway
    """
    K, panel = params.log2_weights.shape[0], panel_width(tile.points)
    near, shares, columns = params.near, tile.shares, params.near.shape[1]
    for top in range(0, SIZE, panel):
        for k in range(0, K, BLOCK_ROWS):
            set_product(
                near, k * columns, 1, BLOCK_ROWS, tile.near, top * columns, panel, columns,
                shares, k * SIZE + top, SIZE, params.offsets, k,
            )  # fmt: skip
    if params.kind[0] == TIED:
        return screened
    if params.centres.shape[0] > 0:
        subtract_distances(params, tile)
    if screened:
        find_bounds(params, tile)
        screened = count_candidates(tile, K) * _MOST <= K * SIZE
    if screened:
        finish_pairs(params, tile)
    else:
        finish_all(params, tile)
    return screened


@kernel
def subtract_distances(params, tile):
    """Subtract |factor (x - centre)|^2 from the log-weights of narrow components."""
    places, centres, factors, points, shares = (
        params.places,
        params.centres,
        params.factors,
        tile.points,
        tile.shares,
    )
    width, features, step = params.rows.shape[1], features_width(params), lanes(points)
    zero = splat(points.dtype.type(0))
    for k in range(places.shape[0]):
        if places[k] < 0:
            continue
        m = places[k] * width
        for b in range(SIZE):
            q0 = q1 = q2 = q3 = zero
            for j in range(0, features, 4 * step):
                q0 = q0 + squared(factors, centres, points, m + j, b * width + j)
                q1 = q1 + squared(factors, centres, points, m + j + step, b * width + j + step)
                q2 = q2 + squared(factors, centres, points, m + j + 2 * step, b * width + j + 2 * step)
                q3 = q3 + squared(factors, centres, points, m + j + 3 * step, b * width + j + 3 * step)
            t0, t1, t2, t3 = sum4(q0, q1, q2, q3)
            shares[k * SIZE + b] -= (t0 + t1) + (t2 + t3)


@inlined_kernel
def squared(factors, centres, points, m, x):
    y = load_flat(factors, m) * (load_flat(points, x) - load_flat(centres, m))
    return y * y


@kernel
def find_bounds(params, tile):
    """OUT leasts: where the bound of a pair is less than this, its responsibility is zero

    The density of the component with the largest bound is finished. It is at most the largest.
    """
    shares, leasts, labels, log2_weights = tile.shares, tile.leasts, tile.labels, params.log2_weights
    find_labels(shares, log2_weights.shape[0], leasts, labels)
    for b in range(SIZE):
        k = int(labels[b])
        density = shares[k * SIZE + b] + far_density(params, tile, k, b)
        leasts[b] = max(density, -shares.dtype.type(_HUGE))
    heaviest = heaviest_of(log2_weights)
    for b in range(0, SIZE, lanes(shares)):
        peak = load_flat(leasts, b)
        store_flat(leasts, b, peak + least_of(shares, peak, heaviest))


@kernel
def find_labels(shares, K, best, labels):
    """OUT best, labels: the largest share of each point, and the first k that has it"""
    step = lanes(shares)
    for b in range(0, SIZE, 2 * step):
        best0, best1 = load_flat(shares, b), load_flat(shares, b + step)
        label0 = label1 = splat(shares.dtype.type(0))
        for k in range(1, K):
            index, o = splat(shares.dtype.type(k)), k * SIZE + b
            value0, value1 = load_flat(shares, o), load_flat(shares, o + step)
            label0, label1 = choose(value0, best0, index, label0), choose(value1, best1, index, label1)
            best0, best1 = maximum(value0, best0), maximum(value1, best1)
        store_flat(best, b, best0)
        store_flat(best, b + step, best1)
        store_flat(labels, b, label0)
        store_flat(labels, b + step, label1)


@inlined_kernel
def far_density(params, tile, k, b):
    """Return the far part of the log-density of a pair."""
    points, rows, width, features = tile.points, params.rows, params.rows.shape[1], features_width(params)
    half, step = near_features(params), lanes(points)
    zero = splat(points.dtype.type(0))
    y0 = y1 = zero
    for j in range(half, features, step):
        y0 = y0 + load_flat(rows, k * width + j) * load_flat(points, b * width + j)
    for j in range(features + half, width, step):
        y1 = y1 + load_flat(rows, k * width + j) * load_flat(points, b * width + j)
    t0, t1, _, _ = sum4(y0, y1, zero, zero)
    return (t0 + t1) + (params.offsets[1, k] + params.slopes[k] * tile.far_squares[b])


@kernel
def count_candidates(tile, K):
    """Return how many pairs may matter. OUT words: which; counts: how many of each component"""
    shares, leasts, words, counts = tile.shares, tile.leasts, tile.words, tile.counts
    total = 0
    for k in range(K):
        count = 0
        for i in range(WORDS):
            word = 0
            for b in range(0, WORD, lanes(shares)):
                p = i * WORD + b
                word |= above(load_flat(shares, k * SIZE + p), load_flat(leasts, p)) << b
            words[k * WORDS + i] = word
            count += count_bits(word)
        counts[k] = count
        total += count
    return total


@kernel
def finish_pairs(params, tile):
    """Add the far part to the log-densities of those pairs that may matter."""
    shares, words, counts = tile.shares, tile.words, tile.counts
    for k in range(params.log2_weights.shape[0]):
        if counts[k] == 0:
            continue
        for i in range(WORDS):
            word = words[k * WORDS + i]
            while word != 0:
                b = i * WORD + lowest_bit(word)
                word &= word - 1
                shares[k * SIZE + b] += far_density(params, tile, k, b)


@kernel
def finish_all(params, tile):
    """Add the far part to all log-densities."""
    far, offsets, shares = params.far, params.offsets, tile.shares
    panel, K, columns = panel_width(shares), params.log2_weights.shape[0], params.far.shape[1]
    for top in range(0, SIZE, panel):
        for k in range(0, K, BLOCK_ROWS):
            add_product(
                far, k * columns, 1, BLOCK_ROWS, tile.far, top * columns, panel, columns,
                shares, k * SIZE + top, SIZE,
            )  # fmt: skip
    for k in range(K):
        more = offsets[1, k]
        for b in range(0, SIZE, lanes(shares)):
            store_flat(shares, k * SIZE + b, load_flat(shares, k * SIZE + b) + more)


@kernel
def keep_known(labels, first, size, shares, K):
    """OUT the shares: -inf for all components but the known one, as `_assignment.keep_known` does"""
    for b in range(size):
        label = labels[first + b]
        if label >= 0:
            own = max(shares[label * SIZE + b], _KNOWN)
            for k in range(K):
                shares[k * SIZE + b] = -np.inf
            shares[label * SIZE + b] = own


@kernel
def keep_best(tile, K):
    """OUT the shares: -inf for all components but the likeliest one, or the first of these"""
    shares, labels, peaks = tile.shares, tile.labels, tile.peaks
    find_labels(shares, K, peaks, labels)
    for o in range(K * SIZE):
        shares[o] = -np.inf
    for b in range(SIZE):
        shares[int(labels[b]) * SIZE + b] = max(peaks[b], _KNOWN)


@kernel
def heaviest_of(log2_weights):
    heaviest = log2_weights[0]
    for k in range(1, log2_weights.shape[0]):
        heaviest = max(heaviest, log2_weights[k])
    return heaviest


@inlined_kernel
def least_of(shares, peak, heaviest):
    """Return the bound of `_tile.find_leasts` for a vector of peaks."""
    zero = splat(shares.dtype.type(0))
    offset = shares.dtype.type(_OFFSET_32 if shares.itemsize == 4 else _OFFSET_64)
    least = minimum(peak - heaviest, zero) * shares.dtype.type(_SLOPE) - offset
    return maximum(least, splat(least_exponent(shares)))


@kernel
def find_peaks(tile, K):
    """OUT the peaks, as `_tile.find_peaks` finds them"""
    shares, peaks, step = tile.shares, tile.peaks, lanes(tile.shares)
    least, lowest = splat(shares.dtype.type(-_HUGE)), splat(shares.dtype.type(_HUGE))
    for b in range(0, SIZE, 2 * step):
        peak0, peak1 = load_flat(shares, b), load_flat(shares, b + step)
        for k in range(1, K):
            o = k * SIZE + b
            peak0, peak1 = maximum(load_flat(shares, o), peak0), maximum(load_flat(shares, o + step), peak1)
        store_flat(peaks, b, maximum(peak0, least))
        store_flat(peaks, b + step, maximum(peak1, least))
        lowest = minimum(minimum(peak0, peak1), lowest)
    if lane_minimum(lowest) > -_HUGE:
        return
    for o in range(0, K * SIZE, step):
        store_flat(shares, o, maximum(load_flat(shares, o), least))


@kernel
def normalise(params, tile):
    """Replace log-densities by densities relative to the peak. Return the log2-likelihood of the tile.

    OUT words, counts: which of them are not zero; totals: weight / their sum
    """
    shares, words, counts, peaks = tile.shares, tile.words, tile.counts, tile.peaks
    leasts, totals, weights = tile.leasts, tile.totals, tile.weights
    K, step = params.log2_weights.shape[0], lanes(tile.shares)
    zero = splat(shares.dtype.type(0))
    find_peaks(tile, K)
    heaviest = heaviest_of(params.log2_weights)
    for b in range(0, SIZE, step):
        store_flat(leasts, b, least_of(shares, load_flat(peaks, b), heaviest))
        store_flat(totals, b, zero)
    for k in range(K):
        count = 0
        for i in range(WORDS):
            word = 0
            for b in range(0, WORD, step):
                p = i * WORD + b
                least, o = load_flat(leasts, p), k * SIZE + p
                x = load_flat(shares, o) - load_flat(peaks, p)
                bits = above(x, least)
                if bits == 0:
                    store_flat(shares, o, zero)
                else:
                    value = exp2(x, least)
                    store_flat(shares, o, value)
                    store_flat(totals, p, load_flat(totals, p) + value)
                    word |= bits << b
            words[k * WORDS + i] = word
            count += count_bits(word)
        counts[k] = count
    log2_likelihood = zero
    for b in range(0, SIZE, step):
        weight = load_flat(weights, b)
        log2_total, reciprocal = log2_reciprocal(load_flat(totals, b))
        log2_likelihood = log2_likelihood + weight * (load_flat(peaks, b) + log2_total)
        store_flat(totals, b, weight * reciprocal)
    return sum4(log2_likelihood, zero, zero, zero)[0]
