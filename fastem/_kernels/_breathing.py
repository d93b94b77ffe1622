"""K-means that breathes (Fritzke 2020): it leaves the optima in which Lloyd's iterations end.

When Lloyd's iterations have settled, some centres are added where the error is largest. After more iterations
as many are removed, those of least use. While that lowers the error it is repeated; when it does not, with
one centre fewer. Every geometry of a sample is a slot of its own, so that they run side by side in threads.

An iteration computes the distances of all points to all centres, 2 operations a feature, and the sums over
the points of each centre, 1 multiply-add a feature.

Points lie in tiles (T, 4 + d, stride), which the kernel also uses for what it finds of each point.
"""

import numpy as np

from fastem._kernels._jit import compact_kernel, kernel, spliced_kernel
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._simd import choose, lanes, load, maximum, minimum, splat, store, tile_rows

# Rows of a tile: the nearest centre, squared distances to the nearest and the second nearest, the weight.
_LABEL = np.int64(0)
_NEAREST = np.int64(1)
_SECOND = np.int64(2)
_WEIGHT = np.int64(3)
_COORDINATES = np.int64(4)
_FAR = np.float64(1e300)

_SETTLED = 1e-3  # Lloyd's iterations end when one lowers the error by less than this part of it
_WORTH = 1e-3  # a breath must lower the error by this part of it
_ITERATIONS = 20  # of Lloyd's in each half of a breath
_NUDGE = 0.01  # root mean squared distances between a centre and the one that is put beside it
_NEIGHBOURS = 1.1  # mean distances between nearest centres, within which one removal protects the others


def new_tiles(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tiles (G, T, 4 + d, stride) of float64 for points (G, d, m). The last are padded with weights of 0."""
    G, d, m = points.shape
    rows, stride = TILE_BYTES // 8, STRIDE_BYTES // 8
    count = -(-m // rows)
    padded = np.zeros((G, d + 1, count * rows))
    padded[:, 0, :m], padded[:, 1:, :m] = weights, points
    tiles = np.zeros((G, count, d + 4, stride))
    tiles[:, :, _WEIGHT:, :rows] = padded.reshape(G, d + 1, count, rows).transpose(0, 2, 1, 3)
    return tiles


def labels_of(tiles: np.ndarray, m: int) -> np.ndarray:
    """The nearest centre of each of the m points, (G, m)."""
    return tiles[:, :, _LABEL, : TILE_BYTES // 8].reshape(len(tiles), -1)[:, :m].astype(np.int64)


@kernel
def assign_tile(tile, centres, K):
    """OUT of each point: its nearest centre, and the squared distances to that and to the second nearest."""
    d, step = centres.shape[1], lanes(tile)
    far, zero = splat(_FAR), splat(np.float64(0))
    for b in range(0, tile_rows(tile), 2 * step):
        nearest0 = nearest1 = second0 = second1 = far
        label0 = label1 = zero
        for k in range(K):
            q0 = q1 = zero
            for j in range(d):
                c, x = centres[k, j], _COORDINATES + j
                z0, z1 = load(tile, x, b) - c, load(tile, x, b + step) - c
                q0, q1 = q0 + z0 * z0, q1 + z1 * z1
            index = splat(np.float64(k))
            second0 = minimum(second0, maximum(nearest0, q0))
            second1 = minimum(second1, maximum(nearest1, q1))
            label0, label1 = choose(nearest0, q0, index, label0), choose(nearest1, q1, index, label1)
            nearest0, nearest1 = minimum(q0, nearest0), minimum(q1, nearest1)
        store(tile, _LABEL, b, label0)
        store(tile, _LABEL, b + step, label1)
        store(tile, _NEAREST, b, nearest0)
        store(tile, _NEAREST, b + step, nearest1)
        store(tile, _SECOND, b, second0)
        store(tile, _SECOND, b + step, second1)


@kernel
def assign(tiles, centres, K, totals, sums, errors, uses):
    """Assign all points, and return the error: the weighted sum of squared distances.

    OUT totals (K,), sums (K, d), errors (K,): weight, weighted sum and error of the points of each centre
    OUT uses (K,): how much the error would grow without the centre
    """
    d = centres.shape[1]
    for k in range(K):
        totals[k] = errors[k] = uses[k] = 0.0
        for j in range(d):
            sums[k, j] = 0.0
    for t in range(tiles.shape[0]):
        tile = tiles[t]
        assign_tile(tile, centres, K)
        for b in range(tile_rows(tile)):
            k, weight = int(tile[_LABEL, b]), tile[_WEIGHT, b]
            totals[k] += weight
            errors[k] += weight * tile[_NEAREST, b]
            uses[k] += weight * (tile[_SECOND, b] - tile[_NEAREST, b])
            for j in range(d):
                sums[k, j] += weight * tile[_COORDINATES + j, b]
    error = 0.0
    for k in range(K):
        error += errors[k]
    return error


@kernel
def settle(tiles, centres, K, iterations, totals, sums, errors, uses):
    """Lloyd's iterations. IN/OUT centres; returns the error, and how many iterations there were."""
    before = np.inf
    for i in range(iterations):
        error = assign(tiles, centres, K, totals, sums, errors, uses)
        for k in range(K):
            if totals[k] > 0:
                for j in range(centres.shape[1]):
                    centres[k, j] = sums[k, j] / totals[k]
        if not error < before * (1 - _SETTLED):
            return error, i + 1
        before = error
    return before, iterations


@spliced_kernel
def add_centres(centres, errors, K, count, noise, step, first):
    """Put `count` centres beside those of the largest errors, which are spent."""
    for t in range(count):
        worst = 0
        for k in range(K):
            if errors[k] > errors[worst]:
                worst = k
        errors[worst] = -1.0
        for j in range(centres.shape[1]):
            centres[K + t, j] = centres[worst, j] + step * noise[(first + t) % noise.shape[0], j]


@spliced_kernel
def squared_distance(centres, k, other):
    total = 0.0
    for j in range(centres.shape[1]):
        z = centres[k, j] - centres[other, j]
        total += z * z
    return total


@kernel
def choose_least_useful(centres, uses, K, count, marks):
    """OUT marks (K,): 1 for the `count` centres to remove.

    The neighbours of a removed centre take its points. They are protected (2) while enough others are left.
    """
    mean = 0.0
    for k in range(K):
        nearest = np.inf
        for other in range(K):
            if other != k:
                nearest = min(nearest, squared_distance(centres, k, other))
        mean += np.sqrt(nearest) / K
        marks[k] = 0
    near = (_NEIGHBOURS * mean) * (_NEIGHBOURS * mean)
    protected = 0
    for _ in range(count):
        least = -1
        for k in range(K):
            if marks[k] == 0 and (least < 0 or uses[k] < uses[least]):
                least = k
        marks[least] = 1
        for k in range(K):
            if marks[k] == 0 and protected + count < K and squared_distance(centres, least, k) < near:
                marks[k] = 2
                protected += 1


@kernel
def copy_centres(source, target, K):
    for k in range(K):
        for j in range(source.shape[1]):
            target[k, j] = source[k, j]


@kernel
def slot_breathe(tiles, centres, noise, limits, more, totals, sums, errors, uses, marks, outcomes, slot):
    """One geometry. G geometries, at most L = K + depth centres.

    IN/OUT tiles (G, T, 4 + d, stride); centres (G, K, d), seeds at first
    IN     noise (N, d) of unit variance; limits (2,): centres to add at first, iterations of Lloyd's in all
    OUT    outcomes (G, 2): the error and the iterations used
    Scratch: more and sums (G, L, d); totals, errors, uses (G, L); marks (G, L) of int64
    """
    K, depth, budget = centres.shape[1], limits[0], limits[1]
    tiles, kept, more, sums = tiles[slot], centres[slot], more[slot], sums[slot]
    totals, errors, uses, marks = totals[slot], errors[slot], uses[slot], marks[slot]
    copy_centres(kept, more, K)
    error, used = settle(tiles, more, K, budget, totals, sums, errors, uses)
    copy_centres(more, kept, K)
    count, breaths = min(depth, K), 0
    while count > 0 and used < budget and error > 0:
        weight = 0.0
        for k in range(K):
            weight += totals[k]
        spread = np.sqrt(error / weight)
        add_centres(more, errors, K, count, noise, _NUDGE * spread, breaths * depth)
        _, n = settle(tiles, more, K + count, _ITERATIONS, totals, sums, errors, uses)
        used += n
        choose_least_useful(more, uses, K + count, count, marks)
        t = 0
        for k in range(K + count):
            if marks[k] != 1:
                for j in range(kept.shape[1]):
                    more[t, j] = more[k, j]
                t += 1
        lower, n = settle(tiles, more, K, _ITERATIONS, totals, sums, errors, uses)
        used += n
        if lower < error * (1 - _WORTH):
            error = lower
            copy_centres(more, kept, K)
        else:
            count -= 1
            copy_centres(kept, more, K)
            assign(tiles, more, K, totals, sums, errors, uses)
            used += 1
        breaths += 1
    assign(tiles, kept, K, totals, sums, errors, uses)
    outcomes[slot, 0], outcomes[slot, 1] = error, used


@compact_kernel
def breathe_slots(
    tiles, centres, noise, limits, more, totals, sums, errors, uses, marks, outcomes, begin, end
):
    """Serial: the geometries from `begin` to `end`, see `slot_breathe`."""
    for slot in range(begin, end):
        slot_breathe(tiles, centres, noise, limits, more, totals, sums, errors, uses, marks, outcomes, slot)
