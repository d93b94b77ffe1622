"""Responsibilities from log-densities that other kernels have computed and that were added up.

Reading and writing the log-densities takes 16 bytes a pair. The exponential takes as long.
"""

import numpy as np

from fastem._kernels._assignment import keep_best, keep_known
from fastem._kernels._jit import entry_kernel
from fastem._kernels._layout import PEAKS, first_share
from fastem._kernels._simd import tile_rows
from fastem._kernels._tile import load_rows, load_weights, new_space, normalise, slot_range


@entry_kernel
def slot_responsibilities(
    joint, sample_weight, labels, log2_weights, hard, log2_densities, log2_likelihood, slot
):
    """Replace the log-densities of one slot by responsibilities times weights.

    IN joint (n, K): log2-densities without the weights of components, log2_weights (K,)
    IN sample_weight (n,), labels (n,), hard (1,): as in `_estep.slot_statistics`
    OUT joint; log2_densities (n,) of the mixture, or (0,); log2_likelihood (G,): their sum is added
    """
    K = joint.shape[1]
    start, stop = slot_range(joint, slot, log2_likelihood.shape[0])
    space, shares = new_space(K, 1, 0, joint), first_share(1)
    tile_weights, shift, scale = np.empty(K), -log2_weights, np.ones(K)
    for first in range(start, stop, tile_rows(joint)):
        size = min(tile_rows(joint), stop - first)
        load_rows(joint, first, size, shift, scale, space, shares)
        load_weights(sample_weight, first, size, space)
        if labels.shape[0] > 0:
            keep_known(labels, first, size, space, shares, K)
        if hard[0]:
            keep_best(space, shares, K)
        log2_likelihood[slot] += normalise(log2_weights, space, shares, tile_weights)
        if log2_densities.shape[0] > 0:
            for b in range(size):
                log2_densities[first + b] = space[PEAKS, b]
        for b in range(size):
            for k in range(K):
                joint[first + b, k] = space[shares + k, b]
