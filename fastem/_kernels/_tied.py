"""Tied covariance: whiten the tile once, then work as spherical in whitened coordinates.

load    y = A x, once a point and for all components: d (d + 1) / 2
E-step  log2 p = log2_weight - |y - nu_k|^2 with nu = A mean: 2 d a pair
M-step  N += r,  s += r y: d a pair; and the scatter pooled over components, sum(r_k (y - nu_k)(y - nu_k)')

The pooled scatter needs neither d^2 a pair nor the cancelling sum(y y') - sum(N nu nu'). With p the most
likely component of a point, e = y - nu_p and g = sum_k r_k (nu_p - nu_k), it is

    sum_points (w e e' + e g' + g e')  +  sum_pk C[p, k] (nu_p - nu_k)(nu_p - nu_k)'

where C[p, k] sums r_k over the points of p; the first sum is the symmetric part of e (w e + 2 g)'.
"""

from fastem._kernels._blocks import accumulate_product, multiply
from fastem._kernels._jit import kernel
from fastem._kernels._spherical import store_log2_prob
from fastem._kernels._tile import TILE, find_labels, load_rows


@kernel
def load_tile(params, X, start, size, scratch, tile):
    """Load, then whiten in place, from the last rows up: y_i needs x_j of j <= i only."""
    load_rows(X, start, size, params.shift, params.inverse_scale, tile)
    A = params.whiteners
    d = A.shape[1]
    corner = d % 4
    for i in range(d - 4, corner - 1, -4):
        multiply(A, 0, i, i + 4, tile, scratch)
        for a in range(4):
            for b in range(TILE):
                tile[i + a, b] = scratch[a, b]
    for i in range(corner - 1, -1, -1):
        a0 = A[0, i, i]
        for b in range(TILE):
            tile[i, b] *= a0
        for j in range(i):
            a0 = A[0, i, j]
            for b in range(TILE):
                tile[i, b] += a0 * tile[j, b]


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    means, log2_weights, one = params.means, params.log2_weights, tile.dtype.type(1)
    for k in range(means.shape[0]):
        store_log2_prob(means, k, tile, log2_weights[k], one, log2_probs)


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    """IN weighted responsibilities r (K, STRIDE) and their sums (K,). OUT the sums of this slot.

    `sums.first` is taken about zero, sum(r y). The tile is spent: f = w e + 2 g takes its place,
    while e goes to the first d rows of scratch, so that the scatter is one product e f'.
    """
    means, transposed, pivots, weights = params.means, params.transposed_means, sums.pivots, sums.weights
    K, d = means.shape
    for k in range(K):
        weights[slot, k] += tile_weights[k]
    first = sums.first.reshape((1, weights.shape[0], K, d))
    accumulate_product(r, K, tile, d, first, 0, slot)
    posterior, weight = scratch[d : d + 4], scratch[d + 4 : d + 5]
    best, pivot = scratch[d + 5 : d + 6], scratch[d + 6 : d + 7]
    find_labels(r, best, pivot)
    for b in range(TILE):
        weight[0, b] = r[0, b]
    for k in range(1, K):
        for b in range(TILE):
            weight[0, b] += r[k, b]
    for b in range(TILE):
        p = int(pivot[0, b])
        for k in range(K):
            pivots[slot, p, k] += r[k, b]
    corner = d % 4
    for i in range(corner):
        for b in range(TILE):
            posterior[0, b] = 0.0
        for k in range(K):
            a0 = means[k, i]
            for b in range(TILE):
                posterior[0, b] += a0 * r[k, b]
        split_residual(means, tile, i, weight, pivot, posterior, 0, scratch)
    for i in range(corner, d, 4):
        multiply(transposed, 0, i, K, r, posterior)
        for a in range(4):
            split_residual(means, tile, i + a, weight, pivot, posterior, a, scratch)
    accumulate_product(scratch, d, tile, d, sums.second, slot, 0)


@kernel
def split_residual(means, tile, j, weight, pivot, posterior, a, scratch):
    """Feature j: scratch[j] = e = y - nu_p, tile[j] = w e + 2 g with g = w nu_p - posterior[a]."""
    for b in range(TILE):
        nu = means[int(pivot[0, b]), j]
        e = tile[j, b] - nu
        scratch[j, b] = e
        g = weight[0, b] * nu - posterior[a, b]
        tile[j, b] = weight[0, b] * e + (g + g)
