"""Tied covariance: whiten the tile once, then work as spherical in whitened coordinates.

load    y = A x, once a point and for all components: d (d + 1) / 2
E-step  log2 p = log2_weight - |y - nu_k|^2 with nu = A mean: 2 d a pair
M-step  N += r,  s += r y: d a pair; and the scatter pooled over components, sum(r_k (y - nu_k)(y - nu_k)')

The pooled scatter needs neither d^2 a pair nor the cancelling sum(y y') - sum(N nu nu'). With p the most
likely component of a point, e = y - nu_p and g = sum_k r_k (nu_p - nu_k), it is

    sum_points (w e e' + e g' + g e')  +  sum_pk C[p, k] (nu_p - nu_k)(nu_p - nu_k)'

where C[p, k] sums r_k over the points of p. A point of one component has g = 0 and its part w e e' is
symmetric: half the work. For the others the first sum is the symmetric part of e (w e + 2 g)'.
"""

import numpy as np

from fastem._kernels._blocks import accumulate_product, accumulate_triangle, multiply
from fastem._kernels._jit import kernel
from fastem._kernels._layout import PEAKS, POINTS, TOTALS, WEIGHTS, first_scratch, first_share
from fastem._kernels._packing import compact, list_above, most_packed
from fastem._kernels._simd import lanes, load, store, take, tile_rows
from fastem._kernels._spherical import distance_tile
from fastem._kernels._tile import find_labels, load_rows

_ONLY = np.int64(0)  # matrix there is
# Matrices of sums.second: the sums over e (w e + 2 g)', and over w e e' where there is no g.
_MIXED = np.int64(0)
_SYMMETRIC = np.int64(1)


@kernel
def load_tile(params, X, start, size, space):
    """Load behind the points, then whiten into their place."""
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
    """OUT the shares: log-densities."""
    distance_tile(params.means, params.log2_weights, params.precisions, space)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """IN the shares: weighted responsibilities; their sums tile_weights (K,). OUT sums[slot].

    `sums.first` is taken about zero, sum(r y). The points are spent: e takes their place.
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
    """OUT the weights: sums of the shares, to the last bit."""
    for b in range(tile_rows(space)):
        space[WEIGHTS, b] = space[shares, b]
    for k in range(1, K):
        for b in range(tile_rows(space)):
            space[WEIGHTS, b] += space[shares + k, b]


@kernel
def subtract_pivots(transposed, space, d):
    """The points y to e = y - nu_p, with p in TOTALS."""
    for j in range(d):
        for b in range(0, tile_rows(space), lanes(space)):
            nu = take(transposed, 0, j, space, TOTALS, b)
            store(space, POINTS + j, b, load(space, POINTS + j, b) - nu)


@kernel
def average_means(transposed, space, shares, out, stop):
    """OUT rows from `out`: sum_k r_k nu_k."""
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
    """Rows from `out`: sum_k r_k nu_k to own w e + 2 g with g = w nu_p - sum_k r_k nu_k."""
    share = space.dtype.type(own)
    for i in range(transposed.shape[1]):
        for b in range(0, stop, lanes(space)):
            weight = load(space, WEIGHTS, b)
            g = weight * take(transposed, 0, i, space, TOTALS, b) - load(space, out + i, b)
            store(space, out + i, b, share * weight * load(space, POINTS + i, b) + (g + g))
