"""A pass of Gaussians with many components in many features. `_wide_tile` tells how they are evaluated."""

from fastem._kernels._jit import entry_kernel
from fastem._kernels._tile import slot_range
from fastem._kernels._wide_estep import keep_best, keep_known, log2_prob_tile, normalise
from fastem._kernels._wide_mstep import accumulate_tile, flush, load_given, weigh
from fastem._kernels._wide_tile import SIZE, load_statistics, load_weights, new_tile

# A slot adds up so many tiles in the dtype of the points before it moves their sums to float64. This move
# takes as long as a few tiles in which hardly any responsibility is positive.
_TILES = 32


@entry_kernel
def slot_wide(X, sample_weight, labels, given, params, hard, sums, slot):
    """Add the rows of one slot to its sums. `_estep.slot_statistics` describes the arguments.

    Bounds are tried again every few tiles if they were not enough in one.
    """
    K = params.log2_weights.shape[0]
    start, stop = slot_range(X, slot, sums.weights.shape[0])
    tile = new_tile(params, X)
    tiles, screened = 0, labels.shape[0] == 0
    for first in range(start, stop, SIZE):
        size = min(SIZE, stop - first)
        load_weights(sample_weight, first, size, tile)
        load_statistics(params, X, first, size, tile)
        if given.shape[0] > 0:
            load_given(given, first, size, tile)
        else:
            screened = log2_prob_tile(params, tile, screened)
            if labels.shape[0] > 0:
                keep_known(labels, first, size, tile.shares, K)
            if hard[0]:
                keep_best(tile, K)
            sums.log2_likelihood[slot] += normalise(params, tile)
        weigh(params, tile, sums, slot)
        accumulate_tile(params, tile, sums, slot)
        tiles += 1
        if tiles == _TILES or first + SIZE >= stop:
            flush(params, tile, sums, slot)
            tiles, screened = 0, labels.shape[0] == 0
