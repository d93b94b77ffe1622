"""Means and covariances of some features given others, from responsibilities (see `_api/regression`).

The points lie in tiles of float64, so that the lanes of a vector are points. A point costs K t (g + 1)
multiply-adds for the means, where t features are predicted from g, and K t (t + 1) more for covariances.
"""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._simd import lanes, load, splat, store
from fastem._kernels._tile import slot_range

_POINTS = np.int64(TILE_BYTES // 8)


@kernel
def predict(tile, slopes, intercepts, i, each, average):
    """OUT rows each + k t of the tile: the mean of feature i of component k; row `average`: that of all

    If `each` is 0, only the latter. The first rows of the tile are the g features, and the K shares.
    """
    K, _, g = slopes.shape
    t, step = intercepts.shape[1], lanes(tile)
    zero = splat(tile.dtype.type(0))
    for b in range(0, _POINTS, 4 * step):
        m0 = m1 = m2 = m3 = zero
        for k in range(K):
            q0 = q1 = q2 = q3 = zero + intercepts[k, i]
            for j in range(g):
                a = slopes[k, i, j]
                q0, q1 = q0 + load(tile, j, b) * a, q1 + load(tile, j, b + step) * a
                q2, q3 = q2 + load(tile, j, b + 2 * step) * a, q3 + load(tile, j, b + 3 * step) * a
            share = g + k
            m0, m1 = m0 + load(tile, share, b) * q0, m1 + load(tile, share, b + step) * q1
            m2 = m2 + load(tile, share, b + 2 * step) * q2
            m3 = m3 + load(tile, share, b + 3 * step) * q3
            if each > 0:
                row = each + k * t
                store(tile, row, b, q0)
                store(tile, row, b + step, q1)
                store(tile, row, b + 2 * step, q2)
                store(tile, row, b + 3 * step, q3)
        store(tile, average, b, m0)
        store(tile, average, b + step, m1)
        store(tile, average, b + 2 * step, m2)
        store(tile, average, b + 3 * step, m3)


@kernel
def spread(tile, within, g, i, j, each, averages, out):
    """OUT row `out`: the covariance of features i and j, within components and between their means"""
    K, t = within.shape[0], within.shape[1]
    for b in range(0, _POINTS, lanes(tile)):
        mean_i, mean_j = load(tile, averages + i, b), load(tile, averages + j, b)
        total = splat(tile.dtype.type(0))
        for k in range(K):
            row = each + k * t
            apart = (load(tile, row + i, b) - mean_i) * (load(tile, row + j, b) - mean_j)
            total = total + load(tile, g + k, b) * (apart + within[k, i, j])
        store(tile, out, b, total)


@entry_kernel
def slot_regression(X, shares, slopes, intercepts, within, shift, origin, means, covariances, slots, slot):
    """Predict t features of the rows of one slot.

    IN  X (n, g) and shares (n, K), the responsibilities; slots (G,)
    IN  slopes (K, t, g), or (K, t, 0) if they are zeros; intercepts (K, t): the mean of component k is
        intercepts[k] + slopes[k] (x - shift), less the origin (t,)
    IN  within (K, t, t): the covariances of the components
    OUT means (n, t) and covariances (n, t, t), or none of them (0, ...)
    """
    K, t, g = slopes.shape
    wanted = covariances.shape[0] > 0
    averages = g + K
    out = averages + t
    each = out + 1
    tile = np.empty((each + (K * t if wanted else 0), STRIDE_BYTES // 8))
    start, stop = slot_range(X, slot, slots.shape[0])
    for first in range(start, stop, _POINTS):
        size = min(_POINTS, stop - first)
        for j in range(g):
            for b in range(size):
                tile[j, b] = X[first + b, j] - shift[j]
        for b in range(size):
            for k in range(K):
                tile[g + k, b] = shares[first + b, k]
        for row in range(g + K):
            for b in range(size, _POINTS):
                tile[row, b] = 0
        for i in range(t):
            predict(tile, slopes, intercepts, i, each + i if wanted else 0, averages + i)
        if means.shape[0] > 0:
            for i in range(t):
                for b in range(size):
                    means[first + b, i] = tile[averages + i, b] + origin[i]
        if wanted:
            for i in range(t):
                for j in range(i + 1):
                    spread(tile, within, g, i, j, each, averages, out)
                    for b in range(size):
                        covariances[first + b, i, j] = tile[out, b]
                        covariances[first + b, j, i] = tile[out, b]
