"""Only what matters: some points of a tile, packed side by side behind it.

Where clusters are apart, most responsibilities are zero. The few points that are left are copied next
to each other, so that the same kernels work on them as on a shorter tile. With full covariances they
wait for those of later tiles: the sums over lanes that end a block cost as much for 8 points as for 256.
Where a point costs no more than its copy does, vectors of points that are all zero are left out instead.
"""

import numpy as np

from fastem._kernels._jit import inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import POINTS, START, WORD, ZEROS, count_queues, first_queue
from fastem._kernels._simd import above, count_bits, gather_transposed, lanes, load, lowest_bit, tile_rows

SMALL = np.int64(4)  # features below which packing costs more than it saves


@spliced_kernel
def most_packed(space):
    """Points of a tile that are worth packing, at most."""
    return tile_rows(space) // 2


@inlined_kernel
def list_above(space, row, bounds, few, words, index):
    """How many points have a larger number in `row` than in `bounds`. OUT index: these, if at most `few`."""
    count = 0
    for i in range(words.shape[0]):
        word = 0
        for lane in range(0, WORD, lanes(space)):
            b = i * WORD + lane
            word |= above(load(space, row, b), load(space, bounds, b)) << lane
        words[i] = word
        count += count_bits(word)
    if count <= few:
        t = 0
        for i in range(words.shape[0]):
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
    for b in range(tile_rows(space)):
        ends[int(space[labels, b])] += 1
    begin = 0
    for k in range(ends.shape[0]):
        count = ends[k]
        ends[k] = begin
        begin += count
    for b in range(tile_rows(space)):
        k = int(space[labels, b])
        index[ends[k]] = b
        ends[k] += 1


@kernel
def pack(space, j0, d, index, begin, count, top, offset):
    """Copy features from j0 on of the points index[begin : begin + count] to rows from `top`, at `offset`."""
    corner = j0 + (d - j0) % 4
    for j in range(j0, corner):
        for t in range(count):
            space[top + j, offset + t] = space[POINTS + j, index[begin + t]]
    for j in range(corner, d, 4):
        x, out = POINTS + j, top + j
        for t in range(count):
            b = index[begin + t]
            x0, x1, x2, x3 = space[x, b], space[x + 1, b], space[x + 2, b], space[x + 3, b]
            space[out, offset + t] = x0
            space[out + 1, offset + t] = x1
            space[out + 2, offset + t] = x2
            space[out + 3, offset + t] = x3


@kernel
def pack_rows(params, X, start, size, space, index, begin, count, top):
    """The same for all features, from the rows of X, in squares that are transposed in registers."""
    d, step = X.shape[1], lanes(space)
    columns = d - d % step
    shift, inverse_scale = params.shift, params.inverse_scale
    for t in range(0, count, step):
        for j in range(0, columns, step):
            gather_transposed(X, start, size, index, begin + t, j, shift, inverse_scale, space, top, t)
    pack(space, columns, d, index, begin, count, top, START)


@kernel
def pack_row(space, row, index, count, out, offset):
    """Copy the numbers of the points index[:count] to the row `out`, which may be `row`, from `offset` on."""
    for t in range(count):
        space[out, offset + t] = space[row, index[t]]


@kernel
def pad(space, top, rows, length, width):
    """The end of `length` points, rounded up to whole vectors. OUT `rows` rows from `top`: zeros up to it."""
    stop = (length + width - 1) // width * width
    for j in range(top, top + rows):
        for t in range(length, stop):
            space[j, t] = 0
    return stop


@inlined_kernel
def list_vectors(space, row, index):
    """How many vectors of `row` hold a positive number. OUT index: where these begin."""
    count = 0
    for b in range(0, tile_rows(space), lanes(space)):
        index[count] = b
        count += min(above(load(space, row, b), load(space, ZEROS, b)), 1)
    return count


@inlined_kernel
def queue_share(space, d, shares, k, K, words, index, lengths):
    """Add the points of component k to its queue, if they are few; False if not, and they stay in place."""
    few = min(most_packed(space), 16 + 3 * d)  # a copy costs d, a point where it stands d^2
    count = list_above(space, shares + k, ZEROS, few, words, index)
    if count > few:
        return False
    q = queue_of(d, k, K)
    top, length = first_queue(d, K) + q * (d + 1), lengths[q]
    pack(space, START, d, index, START, count, top, length)
    pack_row(space, shares + k, index, count, top + d, length)
    lengths[q] = length + count
    return True


@inlined_kernel
def close_queue(space, d, k, K, last, lengths):
    """(top, stop): the queue of component k, if it could not take another tile; else no points."""
    q, queues = queue_of(d, k, K), count_queues(d, K)
    top, length = first_queue(d, K) + q * (d + 1), lengths[q]
    if not last and queues == K and length <= tile_rows(space) - most_packed(space):
        return top, START
    lengths[q] = 0
    return top, pad(space, top, d + 1, length, lanes(space))


@spliced_kernel
def queue_of(d, k, K):
    return k if count_queues(d, K) == K else 0
