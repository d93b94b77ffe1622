"""A pass of k-means: the nearest centre of each row, and the sums over the rows of each cluster (Lloyd 1982).

Nearest is the centre of the largest c.x - |c|^2 / 2, which takes d multiply-adds for each pair of a row and a
centre, half of what the distance itself takes. It has the rounding errors of |c|^2, however near x is. So
rows whose two best centres are nearer to each other than these errors are looked at again: among the
distances themselves, in float64, and the first of equal ones wins. The others are decided already. So labels
are those of exact distances, for float32 too, wherever the rows lie.

Where a source keeps something about its rows between passes, that is the label and a bound: no other centre
is nearer than this. A bound falls by what the others have moved since (Hamerly 2010). While the own centre
is nearer than the bound, the row stays with it, whatever the others do. Labels and sums have the same bits
as without: sums are taken in the order of the rows, whether they were compared or not.

Sums are taken about the centre of each row, z = x - c, in float64: 4 operations a feature.
"""

import numpy as np

from fastem._kernels._gap import add_gap, squared_gap
from fastem._kernels._jit import entry_kernel, inlined_kernel, kernel
from fastem._kernels._layout import LEASTS, PAIR_ROWS, PEAKS, POINTS, STRIDE_BYTES, TOTALS, first_scratch
from fastem._kernels._packing import pack_rows
from fastem._kernels._panels import set_pair_product
from fastem._kernels._simd import choose, lanes, load, maximum, minimum, splat, store, tile_rows
from fastem._kernels._tile import load_rows, new_space, slot_range

_NO_SHARES = np.int64(0)
# Bounds are rounded downwards by this part, which is more than float32 rounds them. A centre is nearer than
# a bound only if this holds beyond the rounding errors of the exact distances too.
_LESS = 1 - 2.0**-21
_FAR = 1e37  # no bound is larger, as float32 reaches no farther


@inlined_kernel
def keep_two(score, index, best, second, label):
    """Return the largest and the second largest of the scores so far, and the centre that has the largest."""
    second = maximum(minimum(score, best), second)
    return maximum(score, best), second, choose(score, best, index, label)


@kernel
def assign_tile(params, space, stop):
    """Compare the points before `stop` with all centres.

    OUT TOTALS: the centre of the largest score; PEAKS: above 0 if no rounding error can change it
    OUT LEASTS: the square of a distance; no centre but the first one is nearer
    """
    centres, offsets, slack = params.centres, params.offsets, params.slack
    blocks, d = centres.shape[:2]
    step, scores = lanes(space), first_scratch(d, _NO_SHARES)
    stride = STRIDE_BYTES // space.itemsize
    zero, one, far = splat(space.dtype.type(0)), splat(space.dtype.type(1)), splat(space.dtype.type(-np.inf))
    for b in range(0, stop, 2 * step):
        best0 = best1 = second0 = second1 = far
        label0 = label1 = index = zero
        for block in range(blocks):
            set_pair_product(
                centres, block * d * PAIR_ROWS, 1, PAIR_ROWS, space, POINTS * stride + b, stride, d,
                space, scores * stride + b, stride, offsets, block * PAIR_ROWS,
            )  # fmt: skip
            for r in range(PAIR_ROWS):
                score0, score1 = load(space, scores + r, b), load(space, scores + r, b + step)
                best0, second0, label0 = keep_two(score0, index, best0, second0, label0)
                best1, second1, label1 = keep_two(score1, index, best1, second1, label1)
                index = index + one
        length0 = length1 = zero
        for j in range(POINTS, POINTS + d):
            x0, x1 = load(space, j, b), load(space, j, b + step)
            length0, length1 = length0 + x0 * x0, length1 + x1 * x1
        error0, error1 = slack[0] * length0 + slack[1], slack[0] * length1 + slack[1]
        store(space, TOTALS, b, label0)
        store(space, TOTALS, b + step, label1)
        store(space, PEAKS, b, best0 - second0 - error0)
        store(space, PEAKS, b + step, best1 - second1 - error1)
        store(space, LEASTS, b, length0 - (second0 + second0) - (error0 + error0))
        store(space, LEASTS, b + step, length1 - (second1 + second1) - (error1 + error1))


@kernel
def nearest_of_all(X, i, centres, scale):
    """Return the first of the nearest centres."""
    label, least = 0, np.inf
    for k in range(centres.shape[0]):
        q = squared_gap(X, i, centres, k, scale)
        if q < least:
            label, least = k, q
    return label


@kernel
def list_undecided(X, start, size, params, kept, found, first):
    """Return how many rows of a tile have to be compared with all centres.

    OUT found.points[first :]: which ones
    OUT found.labels[first :], kept.bounds: of the others
    """
    labels, bounds, drifts = kept.labels, kept.bounds, kept.drifts
    places, scale = params.places, np.float64(params.inverse_scale[0])
    count = 0
    for b in range(size):
        found.points[first + count] = b
        if bounds.shape[0] == 0:
            count += 1
            continue
        i = start + b
        k = labels[i]
        bound = np.float64(bounds[i]) - drifts[k]
        gap = squared_gap(X, i, places, k, scale) if bound > 0 else np.inf
        found.labels[first + b], bounds[i] = k, bound * _LESS
        count += 0 if gap < bound * bound * _LESS else 1
    return count


@kernel
def decide(X, start, params, kept, found, first, count, space):
    """Find the nearest centres of the points that `list_undecided` has found.

    OUT found.labels[first :], kept: of these points
    """
    places, scale = params.places, np.float64(params.inverse_scale[0])
    assign_tile(params, space, count)
    for p in range(count):
        b = found.points[first + p]
        k, bound = int(space[TOTALS, p]), np.float64(space[LEASTS, p])
        if not space[PEAKS, p] > 0:
            k, bound = nearest_of_all(X, start + b, places, scale), 0.0
        found.labels[first + b] = k
        if kept.bounds.shape[0] > 0:
            kept.labels[start + b] = k
            kept.bounds[start + b] = min(np.sqrt(bound) * _LESS, _FAR) if bound > 0 else 0.0


@entry_kernel
def slot_lloyd(X, sample_weight, params, kept, found, labels, sums, slot):
    """Add the rows of one slot to the sums of their nearest centres.

    IN X (n, d); sample_weight (n,), or (0,) for weights of 1
    IN, OUT kept
    OUT found: scratch
    OUT labels (n,), or (0,) if they are not wanted
    OUT sums[slot]
    """
    d = X.shape[1]
    places, scale = params.places, np.float64(params.inverse_scale[0])
    totals, first, errors, reach, outermost = sums
    start, stop = slot_range(X, slot, totals.shape[0])
    space = new_space(_NO_SHARES, d, PAIR_ROWS, X)
    own = slot * tile_rows(X)
    for t in range(start, stop, tile_rows(X)):
        size = min(tile_rows(X), stop - t)
        count = list_undecided(X, t, size, params, kept, found, own)
        if count == size:
            load_rows(X, t, size, params.shift, params.inverse_scale, space, POINTS)
        else:
            pack_rows(params, X, t, size, space, found.points, own, count, POINTS)
        decide(X, t, params, kept, found, own, count, space)
        for b in range(size):
            i, k = t + b, found.labels[own + b]
            if labels.shape[0] > 0:
                labels[i] = k
            weight = np.float64(sample_weight[i]) if sample_weight.shape[0] > 0 else 1.0
            q = add_gap(X, i, places, k, scale, weight, first, slot)
            totals[slot, k] += weight
            errors[slot, k] += weight * q
            if q > reach[slot, k] and weight > 0:
                reach[slot, k] = q
                for j in range(d):
                    outermost[slot, k, j] = X[i, j]


@entry_kernel
def slot_distances(X, centres, scale, distances, slots, slot):
    """OUT distances (n, K): from each row to each centre (K, d), in user units

    IN scale (1,): a power of two that keeps squares in the range of float64
    IN slots (G,): only their number matters
    """
    start, stop = slot_range(X, slot, slots.shape[0])
    for i in range(start, stop):
        for k in range(centres.shape[0]):
            distances[i, k] = np.sqrt(squared_gap(X, i, centres, k, scale[0])) / scale[0]
