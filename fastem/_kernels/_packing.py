"""Only what matters: some points of a tile, packed side by side behind it.

Where clusters are apart, most responsibilities are zero. The few points that are left are copied next
to each other, so that the same kernels work on them as on a shorter tile.
"""

import numpy as np

from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import POINTS, START, TILE, WORD, ZEROS
from fastem._kernels._simd import above, count_bits, lanes, load, lowest_bit

FEW = np.int64(TILE // 2)  # points worth packing, at most
_SMALL = 4  # features below which packing costs more than it saves


@inlined_kernel
def list_above(space, row, bounds, words, index):
    """How many points have a larger number in `row` than in `bounds`. OUT index: these, if at most FEW."""
    count = 0
    for i in range(TILE // WORD):
        word = 0
        for lane in range(0, WORD, lanes(space)):
            b = i * WORD + lane
            word |= above(load(space, row, b), load(space, bounds, b)) << lane
        words[i] = word
        count += count_bits(word)
    if count <= FEW:
        t = 0
        for i in range(TILE // WORD):
            word = words[i]
            while word != 0:
                index[t] = i * WORD + lowest_bit(word)
                word &= word - 1
                t += 1
    return count


@kernel
def sort_by_label(space, labels, ends, index):
    """OUT index: the points by label; ends (K,): where those of each label end."""
    ends[:] = 0
    for b in range(TILE):
        ends[int(space[labels, b])] += 1
    begin = 0
    for k in range(ends.shape[0]):
        count = ends[k]
        ends[k] = begin
        begin += count
    for b in range(TILE):
        k = int(space[labels, b])
        index[ends[k]] = b
        ends[k] += 1


@kernel
def pack(space, d, index, begin, stop):
    """Copy the points index[begin : begin + stop] to the rows behind all points."""
    corner = d % 4
    for j in range(POINTS, POINTS + corner):
        for t in range(stop):
            space[d + j, t] = space[j, index[begin + t]]
    for j in range(POINTS + corner, POINTS + d, 4):
        for t in range(stop):
            b = index[begin + t]
            x0, x1, x2, x3 = space[j, b], space[j + 1, b], space[j + 2, b], space[j + 3, b]
            space[d + j, t] = x0
            space[d + j + 1, t] = x1
            space[d + j + 2, t] = x2
            space[d + j + 3, t] = x3


@kernel
def pack_row(space, row, out, index, count, stop):
    """OUT row `out`, which may be `row`: the numbers of the points index[:count], and zeros up to `stop`."""
    for t in range(count):
        space[out, t] = space[row, index[t]]
    for t in range(count, stop):
        space[out, t] = 0


@inlined_kernel
def pack_share(space, d, shares, k, K, words, index):
    """(top, row, stop): component k finds its points in d rows from `top`, their responsibilities in `row`.

    Those are all points as they stand, or if they are few those with a responsibility, packed.
    """
    if d < _SMALL:
        return POINTS, shares + k, TILE
    count = list_above(space, shares + k, ZEROS, words, index)
    if count > FEW:
        return POINTS, shares + k, TILE
    stop = (count + lanes(space) - 1) // lanes(space) * lanes(space)
    pack(space, d, index, START, stop)
    pack_row(space, shares + k, shares + K, index, count, stop)
    return POINTS + d, shares + K, stop
