"""Exponential families whose log-density is linear in t(x), with independent features.

E-step  log2 p = log2_weight + <eta, t>          1 multiply-add a pair and feature
M-step  N += r,  s += r t                        1 multiply-add

Both are matrix products over the tile. So the floor is half the E-step of diagonal covariances, and a
quarter of their M-step where no responsibility is zero. Up to 16 features or so, loading and normalising
cost more than either product.
"""

import numpy as np

from fastem._kernels._blocks import accumulate_corner, accumulate_rows, multiply_add
from fastem._kernels._jit import kernel
from fastem._kernels._layout import POINTS, first_share
from fastem._kernels._simd import lanes, load, splat, store, tile_rows

_ONLY = np.int64(0)  # matrix there is


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities. Components come inside points, as in `_spherical.distance_tile`.

    An eta of -1e30 makes one of -1e30 or below, up to -inf, of which the exponential is exactly zero.
    """
    etas, log2_weights = params.etas, params.log2_weights
    K, d = etas.shape[1:]
    step, shares, corner = lanes(space), first_share(d), K % 4
    zero = splat(space.dtype.type(0))
    for b in range(0, tile_rows(space), 4 * step):
        for k in range(corner):
            y0 = y1 = y2 = y3 = zero + log2_weights[k]
            for j in range(d):
                a, x = etas[0, k, j], POINTS + j
                y0, y1 = y0 + a * load(space, x, b), y1 + a * load(space, x, b + step)
                y2, y3 = y2 + a * load(space, x, b + 2 * step), y3 + a * load(space, x, b + 3 * step)
            store(space, shares + k, b, y0)
            store(space, shares + k, b + step, y1)
            store(space, shares + k, b + 2 * step, y2)
            store(space, shares + k, b + 3 * step, y3)
    for b in range(0, tile_rows(space), 2 * step):
        for k in range(corner, K, 4):
            w0, w1 = zero + log2_weights[k], zero + log2_weights[k + 1]
            w2, w3 = zero + log2_weights[k + 2], zero + log2_weights[k + 3]
            y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(
                etas, _ONLY, k, d, space, POINTS, b, (w0, w1, w2, w3, w0, w1, w2, w3)
            )
            row = shares + k
            store(space, row, b, y0)
            store(space, row + 1, b, y1)
            store(space, row + 2, b, y2)
            store(space, row + 3, b, y3)
            store(space, row, b + step, u0)
            store(space, row + 1, b + step, u1)
            store(space, row + 2, b + step, u2)
            store(space, row + 3, b + step, u3)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """IN the shares: weighted responsibilities; their sums tile_weights (K,). OUT sums[slot].

    Vectors of zeros are not left out as in `_diag`. Component by component, the points come from the second
    cache four times as often: as fast at 16 features where components are apart, half as fast elsewhere.
    """
    weights = sums.weights
    K, d = params.etas.shape[1:]
    shares, corner, stop = first_share(d), K % 4, tile_rows(space)
    first = sums.first.reshape((1, weights.shape[0], K, d))
    for k in range(K):
        weights[slot, k] += tile_weights[k]
    accumulate_corner(space, shares, corner, POINTS, d, stop, first, _ONLY, slot)
    for k in range(corner, K, 4):
        heaviest = max(tile_weights[k], tile_weights[k + 1], tile_weights[k + 2], tile_weights[k + 3])
        if heaviest > 0:
            accumulate_rows(space, shares + k, POINTS, d, stop, first, _ONLY, slot, k)
