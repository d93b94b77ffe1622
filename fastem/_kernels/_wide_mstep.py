"""The M-step of Gaussians with many components in many features (see `_wide_tile`).

The lanes of a vector are features, so that no sum over lanes ends a block. Where most responsibilities of a
block of components are positive, its sums are a matrix product. Else the points of each component are added
one after another, while its sums are in registers. Sums over some tiles are in the dtype of the points.
"""

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import BLOCK_ROWS, WORD
from fastem._kernels._panels import add_product
from fastem._kernels._simd import count_bits, lanes, lowest_bit, splat, sum4
from fastem._kernels._wide_tile import DIAGONAL, SIZE, SPHERICAL, WORDS, features_width, panel_width

# In a product a pair takes as long as this part of the time that it takes alone.
_DENSE = np.float32(0.8)


@kernel
def load_given(given, first, size, tile):
    """OUT the shares: known responsibilities; words, counts: which are positive; totals: the weights"""
    shares, words, counts, K = tile.shares, tile.words, tile.counts, given.shape[1]
    for k in range(K):
        counts[k] = 0
        for i in range(WORDS):
            word = 0
            for b in range(i * WORD, (i + 1) * WORD):
                share = given[first + b, k] if b < size else shares.dtype.type(0)
                shares[k * SIZE + b] = share
                word |= (1 if share > 0 else 0) << (b - i * WORD)
            words[k * WORDS + i] = word
            counts[k] += count_bits(word)
    for b in range(SIZE):
        tile.totals[b] = tile.weights[b]


@kernel
def weigh(params, tile, sums, slot):
    """Multiply the shares by the totals, and add their sums."""
    shares, counts, totals, squares = tile.shares, tile.counts, tile.totals, tile.squares
    weights, second, places = sums.weights, sums.second, params.places
    spherical, zero = params.kind[0] == SPHERICAL, splat(shares.dtype.type(0))
    for k in range(places.shape[0]):
        if counts[k] == 0:
            continue
        n = q = zero
        for b in range(0, SIZE, lanes(shares)):
            value = load_flat(shares, k * SIZE + b) * load_flat(totals, b)
            store_flat(shares, k * SIZE + b, value)
            n, q = n + value, q + value * load_flat(squares, b)
        t0, t1, _, _ = sum4(n, q, zero, zero)
        weights[slot, k] += t0
        if spherical and places[k] < 0:
            second[slot, k, 0] += t1


@kernel
def accumulate_tile(params, tile, sums, slot):
    """Add the points to the sums of all components. The shares of narrow ones become 0."""
    shares, words, counts, points, first = tile.shares, tile.words, tile.counts, tile.points, tile.first
    K, width, panel = params.places.shape[0], params.rows.shape[1], panel_width(points)
    dense = np.int64(_DENSE * BLOCK_ROWS * SIZE)
    weigh_narrow(params, tile, sums, slot)
    for k in range(0, K, BLOCK_ROWS):
        count = 0
        for i in range(k, min(K, k + BLOCK_ROWS)):
            count += counts[i]
        if count > dense:
            for j in range(0, width, panel):
                add_product(shares, k * SIZE, SIZE, 1, points, j, width, SIZE, first, k * width + j, width)
        elif count > 0:
            for i in range(k, min(K, k + BLOCK_ROWS)):
                if counts[i] > 0:
                    add_points(shares, words, i, points, width, first)


@inlined_kernel
def add_points(shares, words, k, points, width, first):
    """first[k] += the sum of share * point over the points that matter to component k"""
    step, top = lanes(shares), k * width
    for j in range(0, width - width % (8 * step), 8 * step):
        o = top + j
        s0, s1 = load_flat(first, o), load_flat(first, o + step)
        s2, s3 = load_flat(first, o + 2 * step), load_flat(first, o + 3 * step)
        s4, s5 = load_flat(first, o + 4 * step), load_flat(first, o + 5 * step)
        s6, s7 = load_flat(first, o + 6 * step), load_flat(first, o + 7 * step)
        for i in range(WORDS):
            word = words[k * WORDS + i]
            while word != 0:
                b = i * WORD + lowest_bit(word)
                word &= word - 1
                r, x = splat(shares[k * SIZE + b]), b * width + j
                s0, s1 = s0 + r * load_flat(points, x), s1 + r * load_flat(points, x + step)
                s2, s3 = s2 + r * load_flat(points, x + 2 * step), s3 + r * load_flat(points, x + 3 * step)
                s4, s5 = s4 + r * load_flat(points, x + 4 * step), s5 + r * load_flat(points, x + 5 * step)
                s6, s7 = s6 + r * load_flat(points, x + 6 * step), s7 + r * load_flat(points, x + 7 * step)
        store_flat(first, o, s0)
        store_flat(first, o + step, s1)
        store_flat(first, o + 2 * step, s2)
        store_flat(first, o + 3 * step, s3)
        store_flat(first, o + 4 * step, s4)
        store_flat(first, o + 5 * step, s5)
        store_flat(first, o + 6 * step, s6)
        store_flat(first, o + 7 * step, s7)
    for j in range(width - width % (8 * step), width, 4 * step):
        o = top + j
        s0, s1 = load_flat(first, o), load_flat(first, o + step)
        s2, s3 = load_flat(first, o + 2 * step), load_flat(first, o + 3 * step)
        for i in range(WORDS):
            word = words[k * WORDS + i]
            while word != 0:
                b = i * WORD + lowest_bit(word)
                word &= word - 1
                r, x = splat(shares[k * SIZE + b]), b * width + j
                s0, s1 = s0 + r * load_flat(points, x), s1 + r * load_flat(points, x + step)
                s2, s3 = s2 + r * load_flat(points, x + 2 * step), s3 + r * load_flat(points, x + 3 * step)
        store_flat(first, o, s0)
        store_flat(first, o + step, s1)
        store_flat(first, o + 2 * step, s2)
        store_flat(first, o + 3 * step, s3)


@kernel
def weigh_narrow(params, tile, sums, slot):
    """Add the points to the sums of narrow components about their means. Their shares become 0."""
    shares, words, counts, points = tile.shares, tile.words, tile.counts, tile.points
    places, centres, width, step = params.places, params.centres, params.rows.shape[1], lanes(tile.shares)
    first, second, features = tile.first, sums.second, features_width(params)
    diagonal, zero = params.kind[0] == DIAGONAL, splat(tile.shares.dtype.type(0))
    if centres.shape[0] == 0:
        return
    for k in range(places.shape[0]):
        if places[k] < 0 or counts[k] == 0:
            continue
        counts[k], total = 0, zero
        m, top = places[k] * width, k * width
        for i in range(WORDS):
            word = words[k * WORDS + i]
            while word != 0:
                b = i * WORD + lowest_bit(word)
                word &= word - 1
                r, x = splat(shares[k * SIZE + b]), b * width
                for j in range(0, features, step):
                    z = load_flat(points, x + j) - load_flat(centres, m + j)
                    w = r * z
                    store_flat(first, top + j, load_flat(first, top + j) + w)
                    if diagonal:
                        o = top + features + j
                        store_flat(first, o, load_flat(first, o) + w * z)
                    else:
                        total = total + w * z
        for b in range(0, SIZE, step):
            store_flat(shares, k * SIZE + b, zero)
        if not diagonal:
            second[slot, k, 0] += sum4(total, zero, zero, zero)[0]


@kernel
def flush(params, tile, sums, slot):
    """Move the sums of some tiles to those of the slot, in float64."""
    K, d, width = params.means.shape[0], params.means.shape[1], params.rows.shape[1]
    first, features, kind = tile.first, features_width(params), params.kind[0]
    for k in range(K):
        o = k * width
        for j in range(d):
            sums.first[slot, k, j] += first[o + j]
        if kind == DIAGONAL:
            for j in range(d):
                sums.second[slot, k, j] += first[o + features + j]
    for o in range(first.shape[0]):
        first[o] = 0
