"""Numbers that are missing, where features are independent given the component.

A missing number is NaN in X. In the tile it becomes zero, and two rows for each feature tell where numbers
are observed and where not. Another tells whether the tile has any gap. One without takes the kernels of
complete rows.

Linear families and t distributions put all that does not depend on the row into the log-weights. A matrix
product takes it back for the features that are missing. For a row without gaps this adds zero, so that its
log-density has the same bits in any tile.

load    a comparison, two choices and three stores for each number
E-step  l += changes @ gaps                1 multiply-add per pair and feature
M-step  sum of r where observed            1 multiply-add per pair and feature
"""

from fastem._kernels._blocks import accumulate_corner, accumulate_rows, multiply_add
from fastem._kernels._jit import kernel, spliced_kernel
from fastem._kernels._layout import first_more, first_share
from fastem._kernels._simd import choose, lane_minimum, lanes, load, minimum, splat, store, tile_rows


@spliced_kernel
def gap_rows(d, K):
    """Return how many rows of `space` are needed beyond those that all kernels have."""
    return 2 * K + 2 * d + 2


@spliced_kernel
def first_observed(d, K):
    """Return the first of d rows: 1 where the feature is observed, 0 where it is missing.

    t distributions have 2 K rows of their own before. No other kernel touches these.
    """
    return first_more(d, K) + 2 * K


@spliced_kernel
def first_gap(d, K):
    """Return the first of d rows: 0 where the feature is observed, 1 where it is missing."""
    return first_observed(d, K) + d


@spliced_kernel
def gap_flag(d, K):
    """Return the row whose first number tells whether the tile has gaps."""
    return first_observed(d, K) + 2 * d


@spliced_kernel
def gap_counts(d, K):
    """Return the row of how many features each point lacks, which t distributions need."""
    return first_observed(d, K) + 2 * d + 1


@spliced_kernel
def has_gaps(space, d, K):
    """Return whether a number of the tile is missing."""
    return space[gap_flag(d, K), 0] > 0


@kernel
def find_gaps(space, top, d, K):
    """Put zeros in place of NaN in the d rows from `top`.

    OUT the rows of what is observed and of gaps, unless the tile has no gap; whether it has any
    """
    step = lanes(space)
    zero, one = splat(space.dtype.type(0)), splat(space.dtype.type(1))
    # A square is above -1 unless it is NaN, also that of an infinite number, which is an error found later.
    below = zero - one
    least = one
    for j in range(d):
        for b in range(0, tile_rows(space), step):
            x = load(space, top + j, b)
            least = minimum(choose(x * x, below, one, zero), least)
    space[gap_flag(d, K), 0] = 1 - lane_minimum(least)
    if not has_gaps(space, d, K):
        return
    observed, gaps = first_observed(d, K), first_gap(d, K)
    for j in range(d):
        for b in range(0, tile_rows(space), step):
            x = load(space, top + j, b)
            there = choose(x * x, below, one, zero)
            store(space, observed + j, b, there)
            store(space, gaps + j, b, one - there)
            store(space, top + j, b, choose(x * x, below, x, zero))


@kernel
def without_nan(space, top, rows):
    """Put zeros in place of NaN."""
    zero = splat(space.dtype.type(0))
    below = zero - splat(space.dtype.type(1))
    for i in range(top, top + rows):
        for b in range(0, tile_rows(space), lanes(space)):
            x = load(space, i, b)
            store(space, i, b, choose(x * x, below, x, zero))


@kernel
def add_changes(changes, space):
    """Add changes[0, k] @ gaps to the shares of each component k."""
    K, d = changes.shape[1:]
    step, shares, gaps, corner = lanes(space), first_share(d), first_gap(d, K), K % 4
    for k in range(corner):
        for b in range(0, tile_rows(space), 2 * step):
            y0, y1 = load(space, shares + k, b), load(space, shares + k, b + step)
            for j in range(d):
                a = changes[0, k, j]
                y0, y1 = y0 + a * load(space, gaps + j, b), y1 + a * load(space, gaps + j, b + step)
            store(space, shares + k, b, y0)
            store(space, shares + k, b + step, y1)
    for k in range(corner, K, 4):
        row = shares + k
        for b in range(0, tile_rows(space), 2 * step):
            y0, y1 = load(space, row, b), load(space, row + 1, b)
            y2, y3 = load(space, row + 2, b), load(space, row + 3, b)
            u0, u1 = load(space, row, b + step), load(space, row + 1, b + step)
            u2, u3 = load(space, row + 2, b + step), load(space, row + 3, b + step)
            y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(
                changes, 0, k, d, space, gaps, b, (y0, y1, y2, y3, u0, u1, u2, u3)
            )
            store(space, row, b, y0)
            store(space, row + 1, b, y1)
            store(space, row + 2, b, y2)
            store(space, row + 3, b, y3)
            store(space, row, b + step, u0)
            store(space, row + 1, b + step, u1)
            store(space, row + 2, b + step, u2)
            store(space, row + 3, b + step, u3)


@kernel
def accumulate_observed(space, tile_weights, observed, slot):
    """Add to observed[slot, k, j] the shares of component k over the points where feature j is observed."""
    K, d = observed.shape[1:]
    if not has_gaps(space, d, K):
        for k in range(K):
            for j in range(d):
                observed[slot, k, j] += tile_weights[k]
        return
    shares, right, corner, stop = first_share(d), first_observed(d, K), K % 4, tile_rows(space)
    out = observed.reshape((1, observed.shape[0], K, d))
    accumulate_corner(space, shares, corner, right, d, stop, out, 0, slot)
    for k in range(corner, K, 4):
        heaviest = max(tile_weights[k], tile_weights[k + 1], tile_weights[k + 2], tile_weights[k + 3])
        if heaviest > 0:
            accumulate_rows(space, shares + k, right, d, stop, out, 0, slot, k)
