"""The responsibilities of a tile: by the E-step alone, as the options of a pass want them, or as given.

A pass without options is what most processes need, so its code holds none of them. Those of a pass have
arrays for both of `labels` and `hard`, and `()` takes the place of each in a pass without options. Given
responsibilities are no option, because most starts are labels: they would compile both.
"""

from numba import types
from numba.extending import overload

from fastem._kernels._assignment import keep_best, keep_known
from fastem._kernels._dispatch import screened_log2_prob_tile
from fastem._kernels._jit import KERNEL_OPTIONS, kernel
from fastem._kernels._layout import WEIGHTS, first_share
from fastem._kernels._simd import tile_rows
from fastem._kernels._tile import normalise, weigh


@kernel
def load_shares(given, start, size, space, shares, tile_weights):
    """OUT the shares: given responsibilities times weights; tile_weights (K,): their sums over the tile"""
    for k in range(tile_weights.shape[0]):
        for b in range(size):
            space[shares + k, b] = given[start + b, k]
        for b in range(size, tile_rows(space)):
            space[shares + k, b] = 0
    weigh(space, shares, WEIGHTS, tile_weights)


def share_tile(params, X, start, size, space, lists, screened, labels, hard, tile_weights, sums, slot):
    """Return whether to screen the next tile.

    IN labels, hard: see `slot_statistics`
    OUT the shares: responsibilities times weights; tile_weights (K,): their sums over the tile
    OUT sums.log2_likelihood[slot]
    """
    kernel = _by_e_step if isinstance(hard, tuple) else _by_options
    return kernel(params, X, start, size, space, lists, screened, labels, hard, tile_weights, sums, slot)


def _by_e_step(params, X, start, size, space, lists, screened, labels, hard, tile_weights, sums, slot):
    screened = screened_log2_prob_tile(params, X, start, size, space, lists, screened)
    shares = first_share(X.shape[1])
    sums.log2_likelihood[slot] += normalise(params.log2_weights, space, shares, tile_weights)
    return screened


def _by_options(params, X, start, size, space, lists, screened, labels, hard, tile_weights, sums, slot):
    shares, K = first_share(X.shape[1]), tile_weights.shape[0]
    # Screening leaves bounds in place of densities that only a known label makes matter.
    screened = screened and labels.shape[0] == 0
    screened = screened_log2_prob_tile(params, X, start, size, space, lists, screened)
    if labels.shape[0] > 0:
        keep_known(labels, start, size, space, shares, K)
    if hard[0]:
        keep_best(space, shares, K)
    sums.log2_likelihood[slot] += normalise(params.log2_weights, space, shares, tile_weights)
    return screened


@overload(share_tile, jit_options=KERNEL_OPTIONS)
def _share_tile(params, X, start, size, space, lists, screened, labels, hard, tile_weights, sums, slot):
    return _by_e_step if isinstance(hard, types.BaseTuple) else _by_options
