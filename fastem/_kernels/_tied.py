"""Tied covariances. The tile is whitened once, and then treated like spherical covariances.

load    y = A x: d (d + 1) / 2 multiply-adds per point, for all components together
E-step  log2 p = log2_weight - |y - nu_k|^2 with nu = A mean: 2 d operations per pair
M-step  N += r,  s += r y: d operations per pair; and the scatter over all components,
        sum(r_k (y - nu_k)(y - nu_k)')

We need not compute this scatter for each pair, in d^2 operations, nor as sum(y y') - sum(N nu nu'), which
would cancel. If p is the likeliest component of a point, e = y - nu_p, g = sum_k r_k (nu_p - nu_k), and w is
the weight of the point, the scatter is

    sum_points (w e e' + e g' + g e')  +  sum_pk C[p, k] (nu_p - nu_k)(nu_p - nu_k)'

where C[p, k] is the sum of r_k over the points whose likeliest component is p. A point with one component has
g = 0. Its part w e e' is symmetric, which takes half the work. For the other points the first sum is the
symmetric part of e (w e + 2 g)'.
"""

import numpy as np

from fastem._kernels._blocks import accumulate_product, accumulate_triangle, multiply
from fastem._kernels._jit import kernel
from fastem._kernels._layout import PEAKS, POINTS, TOTALS, WEIGHTS, first_scratch, first_share
from fastem._kernels._packing import compact, list_above, most_packed
from fastem._kernels._simd import lanes, load, store, take, tile_rows
from fastem._kernels._spherical import distance_tile
from fastem._kernels._tile import find_labels, load_rows

_ONLY = np.int64(0)  # the index of a single matrix
# The two matrices of sums.second: the sum of e (w e + 2 g)', and that of w e e' for points with g = 0.
_MIXED = np.int64(0)
_SYMMETRIC = np.int64(1)


@kernel
def load_tile(params, X, start, size, space):
    """OUT the points: whitened rows of X. The rows themselves are loaded to the rows of packed points."""
    A = params.whiteners
    d = A.shape[1]
    loaded, corner = POINTS + d, d % 4
    load_rows(X, start, size, params.shift, params.inverse_scale, space, loaded)
    for i in range(corner):
        for b in range(tile_rows(space)):
            space[POINTS + i, b] = A[0, i, 0] * space[loaded, b]
        for j in range(1, i + 1):
            for b in range(tile_rows(space)):
                space[POINTS + i, b] += A[0, i, j] * space[loaded + j, b]
    for i in range(corner, d, 4):
        multiply(A, 0, i, i + 4, space, loaded, POINTS + i, tile_rows(space))


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    distance_tile(params.means, params.log2_weights, params.precisions, space)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments.

    `sums.first` is not centred: it is sum(r y). The points are replaced by e.
    """
    means, transposed, pivots, weights = params.means, params.transposed_means, sums.pivots, sums.weights
    K, d = means.shape
    shares, scratch = first_share(d), first_scratch(d, K)
    for k in range(K):
        weights[slot, k] += tile_weights[k]
    first = sums.first.reshape((1, weights.shape[0], K, d))
    accumulate_product(space, shares, K, POINTS, d, tile_rows(space), first, _ONLY, slot)
    find_labels(space, shares, K, PEAKS, TOTALS)
    sum_shares(space, shares, K)
    for b in range(tile_rows(space)):
        p = int(space[TOTALS, b])
        for k in range(K):
            pivots[slot, p, k] += space[shares + k, b]
    subtract_pivots(transposed, space, d)
    stop, own = tile_rows(space), 1
    count = list_above(space, WEIGHTS, PEAKS, most_packed(space), lists)
    if count <= most_packed(space):
        for j in range(d):
            for b in range(tile_rows(space)):
                space[scratch + j, b] = space[WEIGHTS, b] * space[POINTS + j, b]
        accumulate_triangle(space, POINTS, scratch, d, tile_rows(space), sums.second, slot, _SYMMETRIC)
        own, width = 0, 2 * lanes(space)
        compact(space, POINTS, d, lists.points, count, width)
        compact(space, shares, K, lists.points, count, width)
        compact(space, TOTALS, 1, lists.points, count, width)
        compact(space, WEIGHTS, 1, lists.points, count, width)
        stop = (count + width - 1) // width * width
    if count > 0:
        average_means(transposed, space, shares, scratch, stop)
        mix(transposed, space, scratch, own, stop)
        accumulate_product(space, POINTS, d, scratch, d, stop, sums.second, slot, _MIXED)


@kernel
def sum_shares(space, shares, K):
    """OUT WEIGHTS: the sum of the shares of each point. It is exactly the largest if the others are 0."""
    for b in range(tile_rows(space)):
        space[WEIGHTS, b] = space[shares, b]
    for k in range(1, K):
        for b in range(tile_rows(space)):
            space[WEIGHTS, b] += space[shares + k, b]


@kernel
def subtract_pivots(transposed, space, d):
    """Replace the points y by e = y - nu_p. TOTALS contains p."""
    for j in range(d):
        for b in range(0, tile_rows(space), lanes(space)):
            nu = take(transposed, 0, j, space, TOTALS, b)
            store(space, POINTS + j, b, load(space, POINTS + j, b) - nu)


@kernel
def average_means(transposed, space, shares, out, stop):
    """OUT rows from `out`: sum_k r_k nu_k"""
    d, K = transposed.shape[1:]
    corner = d % 4
    for i in range(corner):
        for b in range(stop):
            space[out + i, b] = 0
        for k in range(K):
            for b in range(stop):
                space[out + i, b] += transposed[0, i, k] * space[shares + k, b]
    for i in range(corner, d, 4):
        multiply(transposed, 0, i, K, space, shares, out + i, stop)


@kernel
def mix(transposed, space, out, own, stop):
    """Replace the rows from `out`, sum_k r_k nu_k, by own w e + 2 g, where g = w nu_p - sum_k r_k nu_k."""
    share = space.dtype.type(own)
    for i in range(transposed.shape[1]):
        for b in range(0, stop, lanes(space)):
            weight = load(space, WEIGHTS, b)
            g = weight * take(transposed, 0, i, space, TOTALS, b) - load(space, out + i, b)
            store(space, out + i, b, share * weight * load(space, POINTS + i, b) + (g + g))
