"""K-means that breathes (Fritzke 2020): it leaves the optima in which Lloyd's iterations end.

When Lloyd's iterations have settled, some centres are added where the error is largest. After more iterations
as many are removed, those of least use. While that lowers the error it is repeated; when it does not, with
one centre fewer. Every geometry of a sample is a slot of its own, so that they run side by side in threads.

An iteration computes the distances of all points to all centres, 2 operations a feature. Sums over the points
of each centre are kept from one iteration to the next, and only points that change their centre change them.

Points lie in tiles (T, 5 + d, stride), which the kernel also uses for what it finds of each point. They are
float32: points are standardised, and where a centre is need not be known better. Sums are float64.
"""

from typing import Any

import numpy as np

from fastem._kernels._jit import compact_kernel, kernel, spliced_kernel
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._simd import (
    above,
    choose,
    lanes,
    load,
    lowest_bit,
    maximum,
    minimum,
    splat,
    store,
    sum4,
    tile_rows,
)
from fastem._kernels._views import section

# Rows of a tile: the nearest centre, and that of the iteration before, squared distances to the nearest and
# the second nearest, the weight.
_LABEL = np.int64(0)
_BEFORE = np.int64(1)
_NEAREST = np.int64(2)
_SECOND = np.int64(3)
_WEIGHT = np.int64(4)
_COORDINATES = np.int64(5)
_FAR = np.float32(1e37)
_NONE = np.float32(-1)

_SETTLED = 1e-3  # Lloyd's iterations end when one lowers the error by less than this part of it
_WORTH = 1e-3  # a breath must lower the error by this part of it
_ITERATIONS = np.int64(20)  # of Lloyd's in each half of a breath
_ONE = np.int64(1)  # after a breath in vain
_FEW = 5  # centres of a breath, below which there is one less after one in vain, and above half as many
_NUDGE = 0.01  # root mean squared distances between a centre and the one that is put beside it
_EMPTY = 1e-10  # of all weight: what rounding may leave of the weight of a centre that has lost its points
_NEIGHBOURS = 1.1  # mean distances between nearest centres, within which one removal protects the others


def new_tiles(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tiles (G, T, 5 + d, stride) for points (G, d, m). The last are padded with weights of 0.

    Weights are those parts of the largest, which float32 can tell.
    """
    G, d, m = points.shape
    rows, stride = TILE_BYTES // 4, STRIDE_BYTES // 4
    count = -(-m // rows)
    padded = np.zeros((G, d + 1, count * rows), np.float32)
    padded[:, 0, :m], padded[:, 1:, :m] = weights / (weights.max() or 1.0), points
    tiles = np.zeros((G, count, d + 5, stride), np.float32)
    tiles[:, :, _WEIGHT:, :rows] = padded.reshape(G, d + 1, count, rows).transpose(0, 2, 1, 3)
    return tiles


def labels_of(tiles: np.ndarray, m: int) -> np.ndarray:
    """The nearest centre of each of the m points, (G, m)."""
    return tiles[:, :, _LABEL, : TILE_BYTES // 4].reshape(len(tiles), -1)[:, :m].astype(np.int64)


@kernel
def assign_tile(tile, centres, K):
    """Return the weighted sum of squared distances to the nearest centre.

    OUT of each point: its nearest centre, and the squared distances to that and to the second nearest.
    """
    d, step = centres.shape[1], lanes(tile)
    far, zero = splat(_FAR), splat(np.float32(0))
    error0 = error1 = zero
    for b in range(0, tile_rows(tile), 2 * step):
        nearest0 = nearest1 = second0 = second1 = far
        label0 = label1 = zero
        for k in range(K):
            q0 = q1 = zero
            for j in range(d):
                c, x = splat(centres[k, j]), _COORDINATES + j
                z0, z1 = load(tile, x, b) - c, load(tile, x, b + step) - c
                q0, q1 = q0 + z0 * z0, q1 + z1 * z1
            index = splat(np.float32(k))
            second0 = minimum(second0, maximum(nearest0, q0))
            second1 = minimum(second1, maximum(nearest1, q1))
            label0, label1 = choose(nearest0, q0, index, label0), choose(nearest1, q1, index, label1)
            nearest0, nearest1 = minimum(q0, nearest0), minimum(q1, nearest1)
        error0 = error0 + load(tile, _WEIGHT, b) * nearest0
        error1 = error1 + load(tile, _WEIGHT, b + step) * nearest1
        store(tile, _BEFORE, b, load(tile, _LABEL, b))
        store(tile, _BEFORE, b + step, load(tile, _LABEL, b + step))
        store(tile, _LABEL, b, label0)
        store(tile, _LABEL, b + step, label1)
        store(tile, _NEAREST, b, nearest0)
        store(tile, _NEAREST, b + step, nearest1)
        store(tile, _SECOND, b, second0)
        store(tile, _SECOND, b + step, second1)
    return sum4(error0 + error1, zero, zero, zero)[0]


@kernel
def move_point(tile, b, totals, sums):
    """Take a point from the sums of the centre that it had, and add it to those of its centre."""
    weight, k, before = np.float64(tile[_WEIGHT, b]), np.int64(tile[_LABEL, b]), np.int64(tile[_BEFORE, b])
    totals[k] += weight
    if before >= 0:
        totals[before] -= weight
    for j in range(sums.shape[1]):
        part = weight * tile[_COORDINATES + j, b]
        sums[k, j] += part
        if before >= 0:
            sums[before, j] -= part


@kernel
def assign(tiles, centres, K, totals, sums):
    """Assign all points, and return the error: the weighted sum of squared distances.

    IN/OUT totals (K,), sums (K, d): weight and weighted sum of the points of each centre
    """
    error = 0.0
    for t in range(tiles.shape[0]):
        tile = section(tiles, t)
        error += assign_tile(tile, centres, K)
        for b in range(0, tile_rows(tile), lanes(tile)):
            label, before = load(tile, _LABEL, b), load(tile, _BEFORE, b)
            changed = above(label, before) | above(before, label)
            while changed != 0:
                move_point(tile, b + lowest_bit(changed), totals, sums)
                changed &= changed - 1
    return error


@kernel
def forget(tiles, K, totals, sums):
    """Let no point have a centre."""
    none = splat(_NONE)
    for t in range(tiles.shape[0]):
        for b in range(0, tile_rows(tiles), lanes(tiles)):
            store(section(tiles, t), _LABEL, b, none)
    for k in range(K):
        totals[k] = 0.0
        for j in range(sums.shape[1]):
            sums[k, j] = 0.0


@kernel
def weigh_centres(tiles, K, errors, uses):
    """OUT errors (K,): of the points of each centre; uses (K,): how much the error would grow without it"""
    for k in range(K):
        errors[k] = uses[k] = 0.0
    for t in range(tiles.shape[0]):
        tile = section(tiles, t)
        for b in range(tile_rows(tile)):
            k, weight, nearest = np.int64(tile[_LABEL, b]), np.float64(tile[_WEIGHT, b]), tile[_NEAREST, b]
            errors[k] += weight * nearest
            uses[k] += weight * (tile[_SECOND, b] - nearest)


@kernel
def settle(tiles, centres, K, iterations, totals, sums, errors, uses):
    """Lloyd's iterations. IN/OUT centres; returns the error, and how many iterations there were.

    OUT errors, uses, see `weigh_centres`
    """
    before, turns = np.inf, iterations
    forget(tiles, K, totals, sums)
    for i in range(iterations):
        error = assign(tiles, centres, K, totals, sums)
        weight = 0.0
        for k in range(K):
            weight += totals[k]
        for k in range(K):
            if totals[k] > _EMPTY * weight:
                for j in range(centres.shape[1]):
                    centres[k, j] = sums[k, j] / totals[k]
        settled = not error < before * (1 - _SETTLED)
        before = error
        if settled:
            turns = i + 1
            break
    weigh_centres(tiles, K, errors, uses)
    return before, turns


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
                square = squared_distance(centres, k, other)
                nearest = square if square < nearest else nearest
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


@compact_kernel
def breathe(tiles, everyone, centres, noise, limits, more, totals, sums, errors, uses, marks, outcome):
    """One geometry, with at most L = K + depth centres.

    IN/OUT tiles (T, 5 + d, stride) of the points that tell where centres are
    IN/OUT centres (K, d), seeds at first
    OUT    everyone, tiles of all points: their nearest centres in the end
    IN     noise (N, d) of unit variance
    IN     limits (3,): centres to add at first, and at least, iterations of Lloyd's in all
    OUT    outcome (2,): the error and the iterations used
    Scratch: more and sums (L, d), float32 and float64; totals, errors, uses (L,); marks (L,) of int64
    """
    K, depth, least, budget = centres.shape[0], limits[0], limits[1], limits[2]
    copy_centres(centres, more, K)
    error, used = settle(tiles, more, K, budget, totals, sums, errors, uses)
    copy_centres(more, centres, K)
    count, breaths = depth if depth < K else K, 0
    while count >= least and used < budget and error > 0:
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
                for j in range(centres.shape[1]):
                    more[t, j] = more[k, j]
                t += 1
        lower, n = settle(tiles, more, K, _ITERATIONS, totals, sums, errors, uses)
        used += n
        if lower < error * (1 - _WORTH):
            error = lower
            copy_centres(more, centres, K)
        else:
            count = count // 2 if count > _FEW else count - 1
            copy_centres(centres, more, K)
            settle(tiles, more, K, _ONE, totals, sums, errors, uses)
            used += 1
        breaths += 1
    for t in range(everyone.shape[0]):
        assign_tile(section(everyone, t), centres, K)
    outcome[0], outcome[1] = error, used


def breathe_slots(
    tiles: np.ndarray,
    everyone: np.ndarray,
    centres: np.ndarray,
    noise: np.ndarray,
    limits: np.ndarray,
    *others: Any,
) -> None:
    """The geometries from `begin` to `end`, the last two arguments. Of each array the first axis tells which.

    Parts of arrays are made here, because they take long to compile.
    """
    *arrays, begin, end = others
    for slot in range(begin, end):
        breathe(tiles[slot], everyone[slot], centres[slot], noise, limits, *(array[slot] for array in arrays))
