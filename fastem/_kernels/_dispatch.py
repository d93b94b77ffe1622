"""Which kernels serve which parameters. The type of the params selects them, when numba compiles a call."""

from collections.abc import Callable
from typing import NamedTuple

from numba.extending import overload

from fastem._kernels._jit import KERNEL_OPTIONS, python_function


def no_more_rows(params):
    return 0


class Kernels(NamedTuple):
    """The kernels of a type of params. The functions of the same names below describe them."""

    load_tile: Callable[..., None]
    log2_prob_tile: Callable[..., None]
    accumulate_tile: Callable[..., None]
    screened_log2_prob_tile: Callable[..., None] | None = None  # None: densities cost too little to screen
    more_rows: Callable[..., int] = no_more_rows


# The kernels of each type of params. `_estep` fills it, so that kernels which call those of another type do
# not import in a circle. numba looks into it when it compiles a kernel.
KERNELS: dict[type, Kernels] = {}


def load_tile(params, X, start, size, space):
    """OUT the points: rows of X in the coordinates that the covariance type works in"""
    return KERNELS[type(params)].load_tile(params, X, start, size, space)


def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    return KERNELS[type(params)].log2_prob_tile(params, space)


def more_rows(params):
    """Return how many rows of `space` these kernels need beyond those that all kernels have."""
    return KERNELS[type(params)].more_rows(params)


def screened_log2_prob_tile(params, X, start, size, space, lists, screened):
    """Return whether to screen the next tile.

    OUT the shares: log-densities, or upper bounds of them where the responsibility is zero anyway
    """
    return _screen(KERNELS[type(params)])(params, X, start, size, space, lists, screened)


def _screen(kernels):
    """Return the screened kernel of a covariance type, or else one that computes all densities."""
    if kernels.screened_log2_prob_tile is not None:
        return python_function(kernels.screened_log2_prob_tile)
    f = kernels.log2_prob_tile

    def unscreened(params, X, start, size, space, lists, screened):
        f(params, space)
        return screened

    return unscreened


def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. Some of them may wait in queues until a later tile, at most the `last`.

    IN the shares: responsibilities times weights; tile_weights (K,): their sums over the tile
    OUT sums[slot]; the points may be overwritten
    """
    return KERNELS[type(params)].accumulate_tile(
        params, X, start, space, tile_weights, lists, last, sums, slot
    )


def class_of(params, classes):
    """Return which of the classes of NamedTuples a numba type stands for.

    numba does not document `instance_class`. If it is missing, we read the name of the class from the type.
    """
    names = {kind.__name__: kind for kind in classes}
    return getattr(params, "instance_class", None) or names[str(params).split("(")[0]]


def _kernels_of(params):
    return KERNELS[class_of(params, KERNELS)]


@overload(load_tile, jit_options=KERNEL_OPTIONS)
def _load_tile(params, X, start, size, space):
    return python_function(_kernels_of(params).load_tile)


@overload(log2_prob_tile, jit_options=KERNEL_OPTIONS)
def _log2_prob_tile(params, space):
    f = _kernels_of(params).log2_prob_tile

    # numba compiles what an overload returns again for callers with other options, but not what that calls.
    def call(params, space):
        f(params, space)

    return call


@overload(more_rows, jit_options=KERNEL_OPTIONS)
def _more_rows(params):
    return python_function(_kernels_of(params).more_rows)


@overload(screened_log2_prob_tile, jit_options=KERNEL_OPTIONS)
def _screened_log2_prob_tile(params, X, start, size, space, lists, screened):
    return _screen(_kernels_of(params))


@overload(accumulate_tile, jit_options=KERNEL_OPTIONS)
def _accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    return python_function(_kernels_of(params).accumulate_tile)
