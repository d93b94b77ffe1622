"""Every step of a pass on its own, over many tiles: all that the benchmarks know of the kernels.

A single tile would measure how numba unpacks its arguments. Steps write to their last arguments.
"""

from fastem._kernels._estep import accumulate_tile, load_tile, log2_prob_tile
from fastem._kernels._jit import kernel
from fastem._kernels._tile import STRIDE, TILE, empty_tile, normalise


def new_tiles(rows, X):
    """Aligned, for all rows of X, whole tiles of them: (n / TILE, rows, STRIDE)."""
    tiles = len(X) // TILE
    return empty_tile(tiles * rows, X).reshape((tiles, rows, STRIDE))


def to_tiles(array, X):
    """(rows, n) cut into tiles."""
    tiles = new_tiles(len(array), X)
    tiles[:, :, :TILE] = array.reshape(len(array), -1, TILE).transpose(1, 0, 2)
    return tiles


def from_tiles(tiles):
    """(rows, n)."""
    return tiles[:, :, :TILE].transpose(1, 0, 2).reshape(tiles.shape[1], -1)


def scratch_for(X):
    return empty_tile(X.shape[1] + 8, X)


@kernel
def load(params, X, scratch, tiles):
    for i in range(tiles.shape[0]):
        load_tile(params, X, i * TILE, TILE, scratch, tiles[i])


@kernel
def log2_prob(params, tiles, scratch, log2_probs):
    for i in range(tiles.shape[0]):
        log2_prob_tile(params, tiles[i], scratch, log2_probs[i])


@kernel
def normalised(r, weights, peaks, totals, tile_weights):
    """Weights, peaks and totals are (1, STRIDE); returns the log2-likelihood."""
    log2_likelihood = 0.0
    for i in range(r.shape[0]):
        log2_likelihood += normalise(r[i], weights, peaks, totals, tile_weights[i])
    return log2_likelihood


@kernel
def accumulate(params, tiles, r, tile_weights, scratch, sums):
    for i in range(tiles.shape[0]):
        accumulate_tile(params, tiles[i], r[i], tile_weights[i], scratch, sums, 0)
