"""A pass of k-means: the nearest centre of each row, and the sums over the rows of each cluster (Lloyd 1982).

Nearest is the centre of the least |c|^2 / 2 - c.x, which takes d multiply-adds for each pair of a row and a
centre, half of what the distance itself takes. It has the rounding errors of |c|^2, however near x is. So
rows whose two best centres are nearer to each other than these errors are looked at again: among the
distances themselves, in float64, and the first of equal ones wins. The others are decided already. So labels
are those of exact distances, for float32 too, wherever the rows lie.

Sums are taken about the centre of each row, z = x - c, in float64: 4 operations a feature.
"""

import numpy as np

from fastem._kernels._blocks import multiply_add
from fastem._kernels._jit import entry_kernel, inlined_kernel, kernel
from fastem._kernels._layout import PEAKS, POINTS, TOTALS
from fastem._kernels._simd import choose, lanes, load, maximum, minimum, splat, store, tile_rows
from fastem._kernels._tile import load_rows, new_space, slot_range

_NO_SHARES = np.int64(0)


@inlined_kernel
def keep_two(half, product, index, nearest, second, label):
    """Return the least and the second least of the scores so far, and the centre that has the least."""
    score = half - product
    second = minimum(second, maximum(nearest, score))
    return minimum(score, nearest), second, choose(nearest, score, index, label)


@kernel
def assign_tile(params, space):
    """OUT TOTALS: the centre of the least score; PEAKS: above 0 if no rounding error can change it"""
    centres, halves, slack = params.centres, params.halves, params.slack
    K, d = centres.shape[1:]
    step = lanes(space)
    zero, far = splat(space.dtype.type(0)), splat(space.dtype.type(np.inf))
    zeros = (zero, zero, zero, zero, zero, zero, zero, zero)
    for b in range(0, tile_rows(space), 2 * step):
        nearest0 = nearest1 = second0 = second1 = far
        label0 = label1 = zero
        for k in range(0, K, 4):
            y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(centres, 0, k, d, space, POINTS, b, zeros)
            h, index = splat(halves[k]), splat(space.dtype.type(k))
            nearest0, second0, label0 = keep_two(h, y0, index, nearest0, second0, label0)
            nearest1, second1, label1 = keep_two(h, u0, index, nearest1, second1, label1)
            h, index = splat(halves[k + 1]), splat(space.dtype.type(k + 1))
            nearest0, second0, label0 = keep_two(h, y1, index, nearest0, second0, label0)
            nearest1, second1, label1 = keep_two(h, u1, index, nearest1, second1, label1)
            h, index = splat(halves[k + 2]), splat(space.dtype.type(k + 2))
            nearest0, second0, label0 = keep_two(h, y2, index, nearest0, second0, label0)
            nearest1, second1, label1 = keep_two(h, u2, index, nearest1, second1, label1)
            h, index = splat(halves[k + 3]), splat(space.dtype.type(k + 3))
            nearest0, second0, label0 = keep_two(h, y3, index, nearest0, second0, label0)
            nearest1, second1, label1 = keep_two(h, u3, index, nearest1, second1, label1)
        length0 = length1 = zero
        for j in range(POINTS, POINTS + d):
            x0, x1 = load(space, j, b), load(space, j, b + step)
            length0, length1 = length0 + x0 * x0, length1 + x1 * x1
        store(space, TOTALS, b, label0)
        store(space, TOTALS, b + step, label1)
        store(space, PEAKS, b, second0 - nearest0 - (slack[0] * length0 + slack[1]))
        store(space, PEAKS, b + step, second1 - nearest1 - (slack[0] * length1 + slack[1]))


@kernel
def squared_distance(X, i, centres, k, scale):
    """Return |x - c|^2 in float64, in units of the inverse of `scale`."""
    q = 0.0
    for j in range(X.shape[1]):
        z = (X[i, j] - centres[k, j]) * scale
        q += z * z
    return q


@kernel
def nearest_of_all(X, i, centres, scale):
    """Return the first of the nearest centres."""
    label, least = 0, np.inf
    for k in range(centres.shape[0]):
        q = squared_distance(X, i, centres, k, scale)
        if q < least:
            label, least = k, q
    return label


@entry_kernel
def slot_lloyd(X, sample_weight, params, labels, sums, slot):
    """Add the rows of one slot to the sums of their nearest centres.

    IN X (n, d); sample_weight (n,), or (0,) for weights of 1
    OUT labels (n,), or (0,) if they are not wanted
    OUT sums[slot]
    """
    d = X.shape[1]
    places, scale = params.places, np.float64(params.inverse_scale[0])
    totals, first, errors, reach, outermost = sums
    start, stop = slot_range(X, slot, totals.shape[0])
    space = new_space(_NO_SHARES, d, _NO_SHARES, X)
    for t in range(start, stop, tile_rows(X)):
        size = min(tile_rows(X), stop - t)
        load_rows(X, t, size, params.shift, params.inverse_scale, space, POINTS)
        assign_tile(params, space)
        for b in range(size):
            i, k = t + b, int(space[TOTALS, b])
            if not space[PEAKS, b] > 0:
                k = nearest_of_all(X, i, places, scale)
            if labels.shape[0] > 0:
                labels[i] = k
            weight = np.float64(sample_weight[i]) if sample_weight.shape[0] > 0 else 1.0
            q = 0.0
            for j in range(d):
                z = (X[i, j] - places[k, j]) * scale
                q += z * z
                first[slot, k, j] += weight * z
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
            distances[i, k] = np.sqrt(squared_distance(X, i, centres, k, scale[0])) / scale[0]
