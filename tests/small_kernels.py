"""Kernels that tests call. They are compiled anew after an edit of this file or of fastem/_kernels."""

import numpy as np

from fastem._kernels._ascent_blocks import add_features, set_densities
from fastem._kernels._blocks import accumulate_by_four, accumulate_by_two
from fastem._kernels._jit import entry_kernel
from fastem._kernels._layout import PAIR_ROWS, STRIDE_BYTES
from fastem._kernels._math import exp2, log2, log2_reciprocal, rough_exp2, rough_log2_reciprocal
from fastem._kernels._panels import set_pair_product
from fastem._kernels._simd import lanes, load, splat, store, sum4, tile_rows
from fastem._kernels._tile import least_exponent


@entry_kernel
def allocate_slot(sizes, sums, slot):
    """OUT sums (G,): the sum of as many ones as `sizes` says for the slot."""
    sums[slot] = np.ones(sizes[slot]).sum()


@entry_kernel
def exp2_row(x):
    """Apply exp2 in place to the row of a (1, n) array, one vector at a time."""
    least = splat(least_exponent(x))
    for b in range(0, x.shape[1], lanes(x)):
        store(x, 0, b, exp2(load(x, 0, b), least))


@entry_kernel
def log2_reciprocal_rows(x):
    """Replace row 0 by its logarithms, and row 1 by the reciprocals of row 0."""
    for b in range(0, tile_rows(x), lanes(x)):
        logarithm, reciprocal = log2_reciprocal(load(x, 0, b))
        store(x, 0, b, logarithm)
        store(x, 1, b, reciprocal)


@entry_kernel
def rough_rows(x):
    """Replace row 0 by powers of two, and rows 1 and 2 by the logarithms and the reciprocals of row 1."""
    for b in range(0, tile_rows(x), lanes(x)):
        store(x, 0, b, rough_exp2(load(x, 0, b)))
        logarithm, reciprocal = rough_log2_reciprocal(load(x, 1, b))
        store(x, 1, b, logarithm)
        store(x, 2, b, reciprocal)


@entry_kernel
def products_of_ascents(size, k, coefficients, used, tile, rows, shares, moments):
    """OUT shares, moments: those of `size` components from k on, see `_ascent_blocks`"""
    for b in range(0, rows, 4 * lanes(tile)):
        set_densities(size, coefficients, k, used, tile, b, shares)
    for f in range(0, moments.shape[1], 4):
        add_features(size, shares, k, tile, f, rows, moments)


@entry_kernel
def log2_less_rows(x, less):
    """Replace row 0 by its logarithms minus a number."""
    for b in range(0, tile_rows(x), lanes(x)):
        store(x, 0, b, log2(load(x, 0, b)) - less)


@entry_kernel
def sums_of_four_rows(x):
    b = 0
    return sum4(load(x, 0, b), load(x, 1, b), load(x, 2, b), load(x, 3, b))


@entry_kernel
def add_product_by_four(space, columns, out):
    accumulate_by_four(space, 3, 8, columns, tile_rows(space), out, 0, 1, 2)


@entry_kernel
def add_product_by_two(space, columns, out):
    accumulate_by_two(space, 3, 8, columns, tile_rows(space), out, 0, 1, 2)


@entry_kernel
def product_with_components(packed, offsets, space, top, out, stop):
    columns, stride = packed.shape[1], STRIDE_BYTES // space.itemsize
    for b in range(0, stop, 2 * lanes(space)):
        for block in range(packed.shape[0]):
            set_pair_product(
                packed, block * columns * PAIR_ROWS, 1, PAIR_ROWS, space, top * stride + b, stride, columns,
                space, (out + block * PAIR_ROWS) * stride + b, stride, offsets, block * PAIR_ROWS,
            )  # fmt: skip
