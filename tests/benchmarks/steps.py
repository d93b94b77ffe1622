"""The steps of a pass, each on its own. Only this file of the benchmarks knows the kernels' layout.

A step runs over many tiles, since with one tile the time of unpacking numba's arguments would dominate. It
takes the same arguments as its twin in `twins.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastem._kernels._estep import accumulate_tile, load_tile, log2_prob_tile
from fastem._kernels._jit import entry_kernel, python_function
from fastem._kernels._layout import POINTS, TILE_BYTES, WEIGHTS
from fastem._kernels._layout import first_share as compiled_first_share
from fastem._kernels._packing import new_lists
from fastem._kernels._tile import new_space, normalise

TILE = TILE_BYTES // 8  # in float64
first_share = python_function(compiled_first_share)


class Step(NamedTuple):
    """How to time a kernel, which writes its results into its arguments and may overwrite others."""

    function: Callable
    fresh: Callable  # () -> new arguments, for every call
    read: Callable  # (arguments, what the function returned) -> what its twin returns


def shape_of(params):
    """Return (K, d)."""
    return len(params.log2_weights), len(params.shift)


def load(params, X):
    K, d = shape_of(params)
    return Step(
        load_tiles,
        lambda: (params, X, new_spaces(len(X), K, d)),
        lambda arguments, _: take(arguments[-1], POINTS, d),
    )


def log2_prob(params, points):
    K, d = shape_of(params)
    return Step(
        log2_prob_tiles,
        lambda: (params, new_spaces(points.shape[1], K, d, points)),
        lambda arguments, _: take(arguments[-1], first_share(d), K),
    )


def normalised(params, log2_probs):
    (K, n), d = log2_probs.shape, len(params.shift)
    return Step(
        normalise_tiles,
        lambda: (params.log2_weights, first_share(d), new_spaces(n, K, d, shares=log2_probs), np.empty(K)),
        lambda arguments, log2_likelihood: (take(arguments[2], first_share(d), K), log2_likelihood),
    )


def accumulate(layout, params, points, r):
    (K, d), n = shape_of(params), points.shape[1]
    tile_weights = np.ascontiguousarray(r.reshape(K, -1, TILE).sum(axis=2).T)
    X = (points / params.inverse_scale[:, None] + params.shift[:, None]).T.copy()
    X.flags.writeable = False

    def read(arguments, _):
        sums = arguments[-1]
        merged = type(sums)(*(array.sum(axis=0) for array in sums))
        return layout.collect(params, merged)[1:]

    return Step(
        accumulate_tiles,
        lambda: (
            params,
            X,
            new_spaces(n, K, d, points, r),
            tile_weights,
            fresh_lists(K, points),
            layout.new_sums(1, K, d),
        ),
        read,
    )


@entry_kernel
def load_tiles(params, X, spaces):
    for i in range(spaces.shape[0]):
        load_tile(params, X, i * TILE, TILE, spaces[i])


@entry_kernel
def log2_prob_tiles(params, spaces):
    for i in range(spaces.shape[0]):
        log2_prob_tile(params, spaces[i])


@entry_kernel
def normalise_tiles(log2_weights, shares, spaces, tile_weights):
    log2_likelihood = 0.0
    for i in range(spaces.shape[0]):
        log2_likelihood += normalise(log2_weights, spaces[i], shares, tile_weights)
    return log2_likelihood


@entry_kernel
def accumulate_tiles(params, X, spaces, tile_weights, lists, sums):
    for i in range(spaces.shape[0]):
        start, last = i * TILE, True
        accumulate_tile(params, X, start, spaces[i], tile_weights[i], lists, last, sums, 0)


@entry_kernel
def fresh_lists(K, X):
    return new_lists(K, X)


@entry_kernel
def fresh_space(K, d, X):
    return new_space(K, d, 0, X)


def new_spaces(n, K, d, points=None, shares=None):
    """Return an aligned space for each tile of n rows, (n / TILE, rows, row length), with weights of 1."""
    one = fresh_space(K, d, np.empty((1, d)))
    buffer = np.empty((n // TILE) * one.size + 8)
    start = -buffer.ctypes.data % 64 // 8
    spaces = buffer[start : start + (n // TILE) * one.size].reshape(-1, *one.shape)
    spaces[:] = one
    spaces[:, WEIGHTS] = 1
    for array, top in ((points, POINTS), (shares, first_share(d))):
        if array is not None:
            cut = array.reshape(len(array), -1, TILE).transpose(1, 0, 2)
            spaces[:, top : top + len(array), :TILE] = cut
    return spaces


def take(spaces, top, rows):
    """Return some rows of all spaces, (rows, n)."""
    return spaces[:, top : top + rows, :TILE].transpose(1, 0, 2).reshape(rows, -1)
