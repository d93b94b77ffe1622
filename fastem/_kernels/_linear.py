"""Exponential families with independent features. Their log-density is linear in t(x).

E-step  log2 p = log2_weight + <eta, t>          1 multiply-add per pair and statistic
M-step  N += r,  s += r t                        1 multiply-add

What the statistics t are is data, so that all families, and columns of different families side by side, use
the same machine code. A logarithm takes about 20 operations for each number, whatever K is.

Both steps are matrix products over the tile. They need at least half the time of the E-step with diagonal
covariances, and a quarter of that M-step if no responsibility is zero. Up to about 16 features, loading and
normalising take longer than each of the products.
"""

import numpy as np

from fastem._kernels._blocks import accumulate_corner, accumulate_rows, multiply_add
from fastem._kernels._jit import kernel
from fastem._kernels._layout import POINTS, first_scratch, first_share
from fastem._kernels._math import log2
from fastem._kernels._simd import lanes, load, splat, store, tile_rows
from fastem._kernels._tile import load_rows

# Transforms. Of u, which is column columns[i] in standard coordinates, statistic i is
PLAIN = 0  # (u - centre) * factor
LOGARITHM = 1  # (log2(u) - centre) * factor
SQUARE = 2  # the square of the statistic number columns[i], which comes before
EXCESS = 3  # (u - centre) - log2(u) * factor; with 1 and log(2) it is (u - 1)^2 / 2 near 1

_ONLY = np.int64(0)  # the index of a single matrix


@kernel
def load_tile(params, X, start, size, space):
    """OUT T rows from POINTS on: the statistics, which may fill the rows of packed points"""
    columns, centres, factors = params.columns, params.centres, params.factors
    if columns.shape[0] == 0:
        load_rows(X, start, size, params.shift, params.inverse_scale, space, POINTS)
        return
    scratch = first_scratch(X.shape[1], params.log2_weights.shape[0])
    load_rows(X, start, size, params.shift, params.inverse_scale, space, scratch)
    for i in range(columns.shape[0]):
        transform, column, out = params.transforms[i], columns[i], POINTS + i
        centre, factor = centres[i], factors[i]
        if transform == PLAIN:
            for b in range(0, tile_rows(space), lanes(space)):
                store(space, out, b, (load(space, scratch + column, b) - centre) * factor)
        elif transform == LOGARITHM:
            for b in range(0, tile_rows(space), lanes(space)):
                store(space, out, b, (log2(load(space, scratch + column, b)) - centre) * factor)
        elif transform == SQUARE:
            for b in range(0, tile_rows(space), lanes(space)):
                t = load(space, POINTS + column, b)
                store(space, out, b, t * t)
        else:
            for b in range(0, tile_rows(space), lanes(space)):
                u = load(space, scratch + column, b)
                store(space, out, b, (u - centre) - log2(u) * factor)


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities

    The loop over components is inside the loop over points, as in `_spherical.distance_tile`. An eta of
    -1e30 gives a log-density of -1e30 or less, possibly -inf. Its exponential is exactly zero.
    """
    etas, log2_weights = params.etas, params.log2_weights
    K, T = etas.shape[1:]
    step, shares, corner = lanes(space), first_share(params.shift.shape[0]), K % 4
    zero = splat(space.dtype.type(0))
    for b in range(0, tile_rows(space), 4 * step):
        for k in range(corner):
            y0 = y1 = y2 = y3 = zero + log2_weights[k]
            for j in range(T):
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
                etas, _ONLY, k, T, space, POINTS, b, (w0, w1, w2, w3, w0, w1, w2, w3)
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
    """Add the first S statistics to the sums. `_dispatch.accumulate_tile` describes the arguments.

    Vectors of zeros are not skipped as in `_diag`. To skip them, we would have to process one component at a
    time, and would read the points from the second-level cache four times as often. With 16 features that was
    as fast if components were far apart, and took twice as long elsewhere.
    """
    weights = sums.weights
    K, S = sums.first.shape[1:]
    shares, corner, stop = first_share(params.shift.shape[0]), K % 4, tile_rows(space)
    first = sums.first.reshape((1, weights.shape[0], K, S))
    for k in range(K):
        weights[slot, k] += tile_weights[k]
    accumulate_corner(space, shares, corner, POINTS, S, stop, first, _ONLY, slot)
    for k in range(corner, K, 4):
        heaviest = max(tile_weights[k], tile_weights[k + 1], tile_weights[k + 2], tile_weights[k + 3])
        if heaviest > 0:
            accumulate_rows(space, shares + k, POINTS, S, stop, first, _ONLY, slot, k)
