"""The scatter of all rows about zero in standard coordinates, a product of matrices in float64.

In float32 the scatter within components would lose its digits to that between them.
"""

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import entry_kernel
from fastem._kernels._layout import BLOCK_ROWS
from fastem._kernels._panels import add_product
from fastem._kernels._simd import lanes, splat
from fastem._kernels._tile import slot_range
from fastem._kernels._wide_tile import SIZE, padded, panel_width


@entry_kernel
def slot_scatter(X, sample_weight, shift, inverse_scale, scatter, slot):
    """Add the sum of w x x' over the rows of one slot to its scatter.

    IN X (n, d); sample_weight (n,) in float64, or (0,) for weights of 1
    OUT scatter (G, d, d): the lower triangle
    """
    d = X.shape[1]
    start, stop = slot_range(X, slot, scatter.shape[0])
    # Blocks are whole. Of the numbers beyond the last feature and above the diagonal none counts.
    rows = padded(d, BLOCK_ROWS)
    width = padded(d, panel_width(scatter))
    points, weighted = np.zeros(SIZE * width), np.zeros(SIZE * width + BLOCK_ROWS)
    sums = np.zeros(rows * width)
    for first in range(start, stop, SIZE):
        size = min(SIZE, stop - first)
        for b in range(size):
            i, o = first + b, b * width
            weight = sample_weight[i] if sample_weight.shape[0] > 0 else 1.0
            for j in range(d):
                points[o + j] = (X[i, j] - shift[j]) * inverse_scale[j] if weight > 0 else 0.0
            for j in range(0, width, lanes(points)):
                store_flat(weighted, o + j, splat(weight) * load_flat(points, o + j))
        for i in range(0, rows, BLOCK_ROWS):
            for j in range(0, min(i + BLOCK_ROWS, d), panel_width(scatter)):
                add_product(weighted, i, 1, width, points, j, width, size, sums, i * width + j, width)
    for i in range(d):
        for j in range(i + 1):
            scatter[slot, i, j] += sums[i * width + j]
