"""Every step of a pass on its own, over many tiles: all that these benchmarks know of the kernels' layout.

One tile would measure how numba unpacks its arguments. A step takes what its twin in `twins.py` takes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastem._kernels._estep import accumulate_tile, load_tile, log2_prob_tile
from fastem._kernels._jit import kernel
from fastem._kernels._params import Sums
from fastem._kernels._tile import STRIDE, TILE, empty_tile, normalise


class Step(NamedTuple):
    """How to time a kernel, which returns through its arguments and spends some of them."""

    function: Callable
    fresh: Callable  # () -> its arguments, anew for every call
    read: Callable  # (arguments, what the function returned) -> what its twin returns


def load(params, X):
    return Step(
        load_tiles,
        lambda: (params, X, scratch_for(X), new_tiles(X.shape[1], X)),
        lambda arguments, _: from_tiles(arguments[-1]),
    )


def log2_prob(params, points):
    return Step(
        log2_prob_tiles,
        lambda: (params, to_tiles(points), scratch_for(points.T), new_tiles(len(params.means), points.T)),
        lambda arguments, _: from_tiles(arguments[-1]),
    )


def normalised(params, log2_probs):
    K, n = log2_probs.shape

    def fresh():
        weights, peaks, totals = to_tiles(np.ones((1, n)))[0], *new_tiles(2, log2_probs.T)[0][:, None]
        return to_tiles(log2_probs), weights, peaks, totals, np.empty((n // TILE, K))

    return Step(
        normalise_tiles,
        fresh,
        lambda arguments, log2_likelihood: (from_tiles(arguments[0]), log2_likelihood),
    )


def accumulate(family, params, points, r):
    (d, _), K = points.shape, len(r)
    tile_weights = np.ascontiguousarray(r.reshape(K, -1, TILE).sum(axis=2).T)
    scratch = scratch_for(points.T)

    def read(arguments, _):
        merged = Sums(*(array.sum(axis=0) for array in arguments[-1]))
        return family.collect(params, merged)[1:]

    return Step(
        accumulate_tiles,
        lambda: (params, to_tiles(points), to_tiles(r), tile_weights, scratch, family.new_sums(1, K, d)),
        read,
    )


@kernel
def load_tiles(params, X, scratch, tiles):
    for i in range(tiles.shape[0]):
        load_tile(params, X, i * TILE, TILE, scratch, tiles[i])


@kernel
def log2_prob_tiles(params, tiles, scratch, log2_probs):
    for i in range(tiles.shape[0]):
        log2_prob_tile(params, tiles[i], scratch, log2_probs[i])


@kernel
def normalise_tiles(r, weights, peaks, totals, tile_weights):
    log2_likelihood = 0.0
    for i in range(r.shape[0]):
        log2_likelihood += normalise(r[i], weights, peaks, totals, tile_weights[i])
    return log2_likelihood


@kernel
def accumulate_tiles(params, tiles, r, tile_weights, scratch, sums):
    for i in range(tiles.shape[0]):
        accumulate_tile(params, tiles[i], r[i], tile_weights[i], scratch, sums, 0)


def scratch_for(X):
    return empty_tile(X.shape[1] + 8, X)


def new_tiles(rows, X):
    """Aligned, for all rows of X, whole tiles of them: (n / TILE, rows, STRIDE)."""
    tiles = len(X) // TILE
    return empty_tile(tiles * rows, X).reshape((tiles, rows, STRIDE))


def to_tiles(array):
    """(rows, n) cut into tiles."""
    tiles = new_tiles(len(array), array.T)
    tiles[:, :, :TILE] = array.reshape(len(array), -1, TILE).transpose(1, 0, 2)
    return tiles


def from_tiles(tiles):
    """(rows, n)."""
    return tiles[:, :, :TILE].transpose(1, 0, 2).reshape(tiles.shape[1], -1)
