"""The pass before the first E-step where numbers may be missing: the moments of what each column has."""

import numpy as np

from fastem._kernels._jit import compact_allocating_kernel
from fastem._kernels._new import new_array, new_counts
from fastem._kernels._simd import tile_rows
from fastem._kernels._tile import slot_range


@compact_allocating_kernel
def slot_observed_moments(X, sample_weight, totals, weights, means, squares, gaps, slot):
    """Compute the moments of the rows of one slot in float64, as `slot_moments` does, where NaN is no number.

    So each column has a weight of its own. The first number of a column in a tile is subtracted first.

    OUT totals (G,): the weight of the rows
    OUT weights (G, d): the weight of the rows that have a number there; means (G, d)
    OUT squares (G, d): sums of w (x - mean)^2
    OUT gaps (G,): how many numbers are missing, whatever the weights of their rows
    """
    d = X.shape[1]
    start, stop = slot_range(X, slot, totals.shape[0])
    kind, found = means.dtype, new_counts(d)
    origin, mean, sums, tile_weights = (
        new_array(d, kind),
        new_array(d, kind),
        new_array(d, kind),
        new_array(d, kind),
    )
    for first in range(start, stop, tile_rows(X)):
        last = min(first + tile_rows(X), stop)
        for j in range(d):
            origin[j] = sums[j] = tile_weights[j] = 0.0
            found[j] = 0
        for i in range(first, last):
            w = sample_weight[i] if sample_weight.shape[0] > 0 else 1.0
            totals[slot] += w
            for j in range(d):
                x = X[i, j]
                if np.isnan(x):
                    gaps[slot] += 1
                    continue
                if found[j] == 0:
                    origin[j] = x
                    found[j] = 1
                tile_weights[j] += w
                sums[j] += w * (x - origin[j])
        for j in range(d):
            mean[j] = origin[j] + (sums[j] / tile_weights[j] if tile_weights[j] > 0 else sums[j])
            sums[j] = 0.0
        for i in range(first, last):
            w = sample_weight[i] if sample_weight.shape[0] > 0 else 1.0
            for j in range(d):
                x = X[i, j]
                if not np.isnan(x):
                    z = x - mean[j]
                    sums[j] += w * (z * z)
        for j in range(d):
            total = weights[slot, j] + tile_weights[j]
            share = tile_weights[j] / total if total > 0 else 0.0
            delta = mean[j] - means[slot, j]
            squares[slot, j] += sums[j] + weights[slot, j] * share * (delta * delta)
            means[slot, j] += share * delta
            weights[slot, j] = total
