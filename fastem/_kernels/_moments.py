"""The pass before the first E-step. It computes the weight, and the mean and variance of each feature."""

import numpy as np

from fastem._kernels._jit import compact_allocating_kernel
from fastem._kernels._new import new_array
from fastem._kernels._simd import tile_rows
from fastem._kernels._tile import slot_range


@compact_allocating_kernel
def slot_moments(X, sample_weight, weights, means, squares, slot):
    """Compute the moments of the rows of one slot in float64.

    We go twice through each tile. The first time we subtract its first row of positive weight, so that a
    constant feature gets a variance of exactly zero. Another row may be so far away that its difference from
    the others has no digits of them. Tiles are merged as in Chan, Golub and LeVeque (1983).

    OUT weights (G,), means (G, d)
    OUT squares (G, d): sums of w (x - mean)^2
    """
    d = X.shape[1]
    start, stop = slot_range(X, slot, weights.shape[0])
    mean, sums = new_array(d, means.dtype), new_array(d, means.dtype)
    for first in range(start, stop, tile_rows(X)):
        last, near = first + tile_rows(X), first
        last = last if last < stop else stop
        if sample_weight.shape[0] > 0:
            while near < last - 1 and not sample_weight[near] > 0:
                near += 1
        for j in range(d):
            sums[j] = 0.0
        tile_weight = 0.0
        for i in range(first, last):
            w = sample_weight[i] if sample_weight.shape[0] > 0 else 1.0
            tile_weight += w
            for j in range(d):
                sums[j] += w * (np.float64(X[i, j]) - X[near, j])
        for j in range(d):
            mean[j] = X[near, j] + (sums[j] / tile_weight if tile_weight > 0 else sums[j])
            sums[j] = 0.0
        for i in range(first, last):
            w = sample_weight[i] if sample_weight.shape[0] > 0 else 1.0
            for j in range(d):
                z = X[i, j] - mean[j]
                sums[j] += w * (z * z)
        total = weights[slot] + tile_weight
        share = tile_weight / total if total > 0 else 0.0
        for j in range(d):
            delta = mean[j] - means[slot, j]
            squares[slot, j] += sums[j] + weights[slot] * share * (delta * delta)
            means[slot, j] += share * delta
        weights[slot] = total
