"""Only what matters: some points of a tile, packed side by side behind it.

Where clusters are apart, most responsibilities are zero. The few points that are left are copied next
to each other, so that the same kernels work on them as on a shorter tile. In the M-step of full
covariances their rows of X queue up with those of later tiles first: the sums over lanes that end a block
cost as much for 8 points as for 256.
Where a point costs no more than its copy does, vectors of points that are all zero are left out instead.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import allocating_kernel, inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import POINTS, START, WORD, ZEROS, count_queues, first_queue
from fastem._kernels._simd import above, count_bits, gather_transposed, lanes, load, lowest_bit, tile_rows

SMALL = np.int64(4)  # features below which packing costs more than it saves


class Lists(NamedTuple):
    """Points of a tile, by their numbers in it, and rows of X."""

    words: np.ndarray  # (tile / WORD,) a bit for each point
    points: np.ndarray  # (2 tile,) some of them, or all by label
    ends: np.ndarray  # (K,) where the points of each label end
    queues: np.ndarray  # ((Q + 1) tile,) rows of X that wait for the M-step, a tile for each of Q queues
    lengths: np.ndarray  # (Q,) how many wait in each


@allocating_kernel
def new_lists(K, X):
    """Points and queues are longer than a tile, as whole vectors of them are read."""
    words, points = np.zeros(tile_rows(X) // WORD, np.int64), np.zeros(2 * tile_rows(X), np.int64)
    queues = np.zeros((count_queues(K) + 1) * tile_rows(X), np.int64)
    return Lists(words, points, np.zeros(K, np.int64), queues, np.zeros(count_queues(K), np.int64))


@spliced_kernel
def most_packed(space):
    """Points of a tile that are worth packing, at most."""
    return tile_rows(space) // 2


@inlined_kernel
def list_above(space, row, bounds, few, lists):
    """How many points have a larger number in `row` than in `bounds`. OUT the points: if at most `few`."""
    words, points = lists.words, lists.points
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
                points[t] = i * WORD + lowest_bit(word)
                word &= word - 1
                t += 1
    return count


@kernel
def sort_by_label(space, labels, lists):
    """OUT the points: by label; the ends: of those of each label."""
    points, ends = lists.points, lists.ends
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
        points[ends[k]] = b
        ends[k] += 1


@kernel
def pack_rows(params, X, start, size, space, index, begin, count, top):
    """OUT rows from `top`: the rows start + index[begin : begin + count] of X, in standard coordinates.

    Squares of X are transposed in registers. Of a tile, `size` rows are there: those beyond are the last.
    """
    d, step = X.shape[1], lanes(space)
    columns = d - d % step
    shift, inverse_scale = params.shift, params.inverse_scale
    for t in range(0, count, step):
        for j in range(0, columns, step):
            gather_transposed(X, start, size, index, begin + t, j, shift, inverse_scale, space, top, t)
    corner = columns + (d - columns) % 4
    for j in range(columns, corner):
        for t in range(count):
            i = start + min(index[begin + t], size - 1)
            space[top + j, t] = (X[i, j] - shift[j]) * inverse_scale[j]
    for j in range(corner, d, 4):
        m0, m1, m2, m3 = shift[j], shift[j + 1], shift[j + 2], shift[j + 3]
        a0, a1, a2, a3 = inverse_scale[j], inverse_scale[j + 1], inverse_scale[j + 2], inverse_scale[j + 3]
        for t in range(count):
            i = start + min(index[begin + t], size - 1)
            x0, x1, x2, x3 = X[i, j], X[i, j + 1], X[i, j + 2], X[i, j + 3]
            space[top + j, t] = (x0 - m0) * a0
            space[top + j + 1, t] = (x1 - m1) * a1
            space[top + j + 2, t] = (x2 - m2) * a2
            space[top + j + 3, t] = (x3 - m3) * a3


@kernel
def pack_row(space, row, index, begin, count, out, offset):
    """Copy the numbers of the points index[begin : begin + count] to the row `out`, from `offset` on."""
    for t in range(count):
        space[out, offset + t] = space[row, index[begin + t]]


@kernel
def pad_row(space, row, count, width):
    """The end of `count` points, rounded up to multiples of `width`. OUT the row: zeros up to it."""
    stop = (count + width - 1) // width * width
    for t in range(count, stop):
        space[row, t] = 0
    return stop


@kernel
def compact(space, top, rows, index, count, width):
    """Move the points index[:count], which ascend, to the beginning of `rows` rows from `top`, padded."""
    for j in range(top, top + rows):
        pack_row(space, j, index, START, count, j, START)
        pad_row(space, j, count, width)


@inlined_kernel
def list_vectors(space, row, lists):
    """How many vectors of `row` hold a positive number. OUT the points: where these begin."""
    points, count = lists.points, 0
    for b in range(0, tile_rows(space), lanes(space)):
        points[count] = b
        count += min(above(load(space, row, b), load(space, ZEROS, b)), 1)
    return count


@inlined_kernel
def queue_share(space, start, d, shares, k, K, lists):
    """Add the points of component k to its queue, if they are few; False if not, and they stay in place."""
    few = min(most_packed(space), 16 + 3 * d)  # a copy costs d, a point where it stands d^2
    count = list_above(space, shares + k, ZEROS, few, lists)
    if count > few:
        return False
    points, queues, lengths = lists.points, lists.queues, lists.lengths
    q = queue_of(k, K, lengths)
    length = lengths[q]
    pack_row(space, shares + k, points, START, count, first_queue(d, K) + q, length)
    for t in range(count):
        queues[q * tile_rows(space) + length + t] = start + points[t]
    lengths[q] = length + count
    return True


@inlined_kernel
def close_queue(params, X, space, d, k, K, last, lists):
    """(row, stop): responsibilities in the queue of component k, if it cannot take another tile; else none.

    OUT the rows behind the points: its points.
    """
    lengths = lists.lengths
    q = queue_of(k, K, lengths)
    row, length = first_queue(d, K) + q, lengths[q]
    if not last and lengths.shape[0] == K and length <= tile_rows(space) - most_packed(space):
        return row, START
    lengths[q] = 0
    pack_rows(params, X, START, X.shape[0], space, lists.queues, q * tile_rows(space), length, POINTS + d)
    return row, pad_row(space, row, length, lanes(space))


@spliced_kernel
def queue_of(k, K, lengths):
    return k if lengths.shape[0] == K else 0
