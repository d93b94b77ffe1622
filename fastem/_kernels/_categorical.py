"""Categories. The log-density of a point is a sum of numbers from a table, one for each column.

load    joint categories become places of rows in the table: 1 or 2 operations per point and column
E-step  log2 p = sum_g table[g, category_g]     1 addition per pair and group of columns
M-step  counts[g, category_g] += r              1 addition, and it is stored

The lanes are components, since all components of a point use the same row. So a pair needs an eighth of an
operation (float64, AVX-512) and no comparison, however many categories there are.
"""

from fastem._kernels._jit import entry_kernel, kernel
from fastem._kernels._layout import POINTS, first_share
from fastem._kernels._lookup import add_up, look_up, store_offsets
from fastem._kernels._simd import lanes, load, maximum, minimum, splat, store, tile_rows
from fastem._kernels._tile import load_rows, slot_range


@kernel
def load_tile(params, X, start, size, space):
    """OUT the points: the code of each category, which is its rank among those of its column
    OUT the rows of packed points, one for each group: the places of the rows in the table, as integers

    A value that is no category gets the code of one, so that no address is wrong. `slot_unseen` finds it.
    NaN gets the last code, which is that of a missing value where there may be any.
    """
    d, width = X.shape[1], params.table.shape[1]
    load_rows(X, start, size, params.shift, params.inverse_scale, space, POINTS)
    zero = splat(space.dtype.type(0))
    for j in range(d):
        first, stop = params.starts[j], params.starts[j + 1]
        span = params.rank_starts[j + 1] - params.rank_starts[j]
        if params.consecutive[j] > 0:
            span = stop - first
        if span == 0:
            for b in range(tile_rows(space)):
                rank = rank_of(space[POINTS + j, b], params.values, first, stop)
                space[POINTS + j, b] = min(rank, stop - first - 1)
        last = splat(space.dtype.type(max(span, stop - first) - 1))
        for b in range(0, tile_rows(space), lanes(space)):
            store(space, POINTS + j, b, maximum(minimum(load(space, POINTS + j, b), last), zero))
        if span > 0 and params.consecutive[j] == 0:
            for b in range(tile_rows(space)):
                space[POINTS + j, b] = params.ranks[params.rank_starts[j] + int(space[POINTS + j, b])]
    for g in range(params.rows.shape[0]):
        for b in range(0, tile_rows(space), lanes(space)):
            joint = load(space, POINTS + params.groups[g], b)
            for j in range(params.groups[g] + 1, params.groups[g + 1]):
                joint = joint * params.sizes[j] + load(space, POINTS + j, b)
            store_offsets(space, POINTS + d + g, b, joint, params.rows[g], width)


@kernel
def rank_of(x, values, first, stop):
    """Return how many of the sorted values[first:stop] are less than x, or all of them if x is NaN."""
    low, count = first, stop - first
    while count > 0:
        half = count // 2
        if values[low + half] >= x:
            count = half
        else:
            low += half + 1
            count -= half + 1
    return low - first


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities. The rows of the first group contain the log-weights."""
    K, d, groups = params.log2_weights.shape[0], params.shift.shape[0], params.rows.shape[0]
    for b in range(0, tile_rows(space), lanes(space)):
        for k in range(0, K, lanes(space)):
            look_up(params.table, k, space, POINTS + d, groups, first_share(d), K, b)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments."""
    K, d, groups = params.log2_weights.shape[0], params.shift.shape[0], params.rows.shape[0]
    for k in range(K):
        sums.weights[slot, k] += tile_weights[k]
    for b in range(0, tile_rows(space), lanes(space)):
        for k in range(0, K, lanes(space)):
            add_up(sums.counts, slot, k, space, POINTS + d, groups, first_share(d), K, b)


@entry_kernel
def slot_unseen(X, sample_weight, shift, values, starts, consecutive, missing, failures, slot):
    """Look for values that are no categories, in the rows of one slot that have weight.

    IN missing (1,): 1 if NaN is a missing value, else 0
    OUT failures (G,): 1 if there is such a value. Then the kernel stops.
    """
    begin, end = slot_range(X, slot, failures.shape[0])
    for i in range(begin, end):
        if sample_weight.shape[0] > 0 and sample_weight[i] == 0:
            continue
        for j in range(X.shape[1]):
            x, first, stop = X[i, j] - shift[j], starts[j], starts[j + 1]
            if consecutive[j] > 0:
                known = 0 <= x < stop - first and x == int(x)
            else:
                rank = rank_of(x, values, first, stop)
                known = rank < stop - first and values[first + rank] == x
            if not known and not (missing[0] > 0 and x != x):
                failures[slot] = 1
                return
