"""The pass before the first: weight, mean and spread of every feature, and whether all is finite."""

import numpy as np
from numba import prange

from fastem._kernels._jit import kernel, parallel_kernel
from fastem._kernels._tile import STRIDE, TILE, load_rows, load_weights, slot_range


@kernel
def slot_moments(X, sample_weight, zeros, ones, weights, means, squares, slot):
    """Serial: moments of the rows of one slot, float64, merged tile by tile.

    Two passes over each tile, the first about its first row, so that a constant feature has a spread
    of exactly zero; tiles merge as in Chan, Golub and LeVeque (1983).

    IN  zeros, ones (d,) float64: the trivial shift and scale
    OUT weights (G,), means (G, d), squares (G, d): sums of w (x - mean)^2
    """
    n, d = X.shape
    start, stop = slot_range(n, slot, weights.shape[0])
    tile = np.empty((d, STRIDE), np.float64)
    w = np.empty((1, STRIDE), np.float64)
    for first in range(start, stop, TILE):
        size = min(TILE, stop - first)
        load_rows(X, first, size, zeros, ones, tile)
        load_weights(sample_weight, first, size, w)
        tile_weight = 0.0
        for b in range(TILE):
            tile_weight += w[0, b]
        total = weights[slot] + tile_weight
        share = tile_weight / total if total > 0 else 0.0
        for j in range(d):
            origin = tile[j, 0]
            s = 0.0
            for b in range(size):
                s += w[0, b] * (tile[j, b] - origin)
            mean = origin + (s / tile_weight if tile_weight > 0 else s)
            q = 0.0
            for b in range(size):
                z = tile[j, b] - mean
                q += w[0, b] * (z * z)
            delta = mean - means[slot, j]
            squares[slot, j] += q + weights[slot] * share * (delta * delta)
            means[slot, j] += share * delta
        weights[slot] = total


@parallel_kernel
def sweep_moments(X, sample_weight, zeros, ones, weights, means, squares):
    """Parallel: `slot_moments` of every slot."""
    for slot in prange(weights.shape[0]):
        slot_moments(X, sample_weight, zeros, ones, weights, means, squares, slot)
