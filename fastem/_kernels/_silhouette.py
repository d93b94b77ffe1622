"""Sums of the distances from each point to the rows of every cluster, for silhouettes (Rousseeuw 1987).

The points lie in tiles, so that the lanes of a vector are points, and every tile is a slot of its own. The
rows are sorted by their clusters. So the sums over one cluster are complete before the next begins, and of
each point there are only two numbers to keep: the sum over its own cluster and the least mean over the
others.

A pair of points costs 2 d operations for the squared distance and one square root. To compute each pair only
once would spare half of that, but then all sums are open at once, which takes n K numbers.
"""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._simd import lanes, load, splat, square_root, store, tile_rows

# Rows of a tile: the sums over a block of rows of X, and the coordinates.
_SUMS = np.int64(0)
_COORDINATES = np.int64(1)
# The rows of a block stay in cache for all points of a tile. Sums over a block are in the dtype of X, sums
# over blocks in float64.
_BLOCK = 128


def rows_of_tile(rows: np.ndarray) -> int:
    return TILE_BYTES // rows.itemsize


def new_tiles(rows: np.ndarray) -> np.ndarray:
    """Return tiles (T, 1 + d, stride) of rows (n, d). The last is padded with points at the origin."""
    n, d = rows.shape
    size, stride = rows_of_tile(rows), STRIDE_BYTES // rows.itemsize
    tiles = np.zeros((-(-n // size), d + 1, stride), rows.dtype)
    full = n // size
    tiles[:full, _COORDINATES:, :size] = rows[: full * size].reshape(full, size, d).transpose(0, 2, 1)
    if n > full * size:
        tiles[full, _COORDINATES:, : n - full * size] = rows[full * size :].T
    return tiles


@kernel
def sum_distances(tile, rows, weights, first, end):
    """OUT the sums of the tile: of weights[i] |x - rows[i]| over i from first to end, for each point x"""
    d, step = rows.shape[1], lanes(tile)
    zero = splat(tile.dtype.type(0))
    for b in range(0, tile_rows(tile), 4 * step):
        sum0 = sum1 = sum2 = sum3 = zero
        for i in range(first, end):
            q0 = q1 = q2 = q3 = zero
            for j in range(d):
                y, x = rows[i, j], _COORDINATES + j
                z0, z1 = load(tile, x, b) - y, load(tile, x, b + step) - y
                z2, z3 = load(tile, x, b + 2 * step) - y, load(tile, x, b + 3 * step) - y
                q0, q1, q2, q3 = q0 + z0 * z0, q1 + z1 * z1, q2 + z2 * z2, q3 + z3 * z3
            w = weights[i]
            sum0, sum1 = sum0 + square_root(q0) * w, sum1 + square_root(q1) * w
            sum2, sum3 = sum2 + square_root(q2) * w, sum3 + square_root(q3) * w
        store(tile, _SUMS, b, sum0)
        store(tile, _SUMS, b + step, sum1)
        store(tile, _SUMS, b + 2 * step, sum2)
        store(tile, _SUMS, b + 3 * step, sum3)


@entry_kernel
def slot_distances(tiles, rows, weights, labels, bounds, totals, own, nearest, scratch, first, slot):
    """Serial: one tile of points. K clusters, T tiles of m points, of which the last may be padded.

    IN/OUT tiles (T, 1 + d, stride)
    IN     rows (n, d), sorted by cluster, and their weights (n,); labels (T m,): the cluster of each point
    IN     bounds (K + 1,): the rows of cluster k are those from bounds[k] to bounds[k + 1]
    IN     totals (K,): the weight of each cluster, or 0 if it counts for nobody
    IN     first (1,): the tile of slot 0
    OUT    own (T m,): the weighted sum of the distances to the rows of the point's own cluster
    OUT    nearest (T m,): the least mean distance to the rows of another cluster
    Scratch: scratch (T m,) of float64
    """
    t = first[0] + slot
    tile = tiles[t]
    points = tile_rows(tile)
    start = t * points
    for b in range(start, start + points):
        nearest[b] = np.inf
    for k in range(totals.shape[0]):
        if not totals[k] > 0:
            continue
        for b in range(start, start + points):
            scratch[b] = 0.0
        for row in range(bounds[k], bounds[k + 1], _BLOCK):
            sum_distances(tile, rows, weights, row, min(row + _BLOCK, bounds[k + 1]))
            for b in range(points):
                scratch[start + b] += tile[_SUMS, b]
        for b in range(start, start + points):
            if labels[b] == k:
                own[b] = scratch[b]
            else:
                nearest[b] = min(nearest[b], scratch[b] / totals[k])
