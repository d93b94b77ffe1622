"""Lists of the points that matter to a component, and packing them next to each other.

If clusters are far apart, most responsibilities are zero. We copy the few other points next to each other,
so that the same kernels can process them like a shorter tile. In the M-step of full covariances these points
first wait in a queue until there are enough of them, because the sums over lanes at the end of a block take
as long for 8 points as for 256. With diagonal and spherical covariances, copying a point would take as long
as processing it. There we only skip vectors in which all responsibilities are zero.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import allocating_kernel, inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import POINTS, START, WORD, ZEROS, count_queues, first_queue
from fastem._kernels._new import new_counts
from fastem._kernels._simd import above, count_bits, gather_transposed, lanes, load, lowest_bit, tile_rows

SMALL = np.int64(4)  # with fewer features than this, packing costs more than it saves


class Lists(NamedTuple):
    """Lists of points of the tile and of rows of X."""

    words: np.ndarray  # (tile_rows / WORD,) a bit for each point
    points: np.ndarray  # (2 tile_rows,) the numbers of some points, or of all points sorted by label
    ends: np.ndarray  # (K,) where the points of each label end in `points`
    queues: np.ndarray  # ((Q + 1) tile_rows,) rows of X that wait in each of Q queues of tile_rows
    lengths: np.ndarray  # (Q,) how many rows wait in each queue


@allocating_kernel
def new_lists(K, X):
    """Return empty lists. They are longer than necessary, because kernels read whole vectors from them."""
    words, points = new_counts(tile_rows(X) // WORD), new_counts(2 * tile_rows(X))
    queues = new_counts((count_queues(K) + 1) * tile_rows(X))
    return Lists(words, points, new_counts(K), queues, new_counts(count_queues(K)))


@spliced_kernel
def most_packed(space):
    """Return the largest number of points of a tile that is worth packing."""
    return tile_rows(space) // 2


@inlined_kernel
def list_above(space, row, bounds, few, lists):
    """Return how many points have a larger number in `row` than in `bounds`.

    OUT lists.points: these points, if there are at most `few`
    """
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
    """OUT lists.points: all points sorted by label; lists.ends: where the points of each label end"""
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
    """OUT rows from `top`: the rows start + index[begin : begin + count] of X, in standard coordinates

    Squares of X are transposed in registers. An index of `size` or more means row size - 1, because a tile at
    the end of a slot has points that are not in X.
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
            i = start + (index[begin + t] if index[begin + t] < size else size - 1)
            space[top + j, t] = (X[i, j] - shift[j]) * inverse_scale[j]
    for j in range(corner, d, 4):
        m0, m1, m2, m3 = shift[j], shift[j + 1], shift[j + 2], shift[j + 3]
        a0, a1, a2, a3 = inverse_scale[j], inverse_scale[j + 1], inverse_scale[j + 2], inverse_scale[j + 3]
        for t in range(count):
            i = start + (index[begin + t] if index[begin + t] < size else size - 1)
            x0, x1, x2, x3 = X[i, j], X[i, j + 1], X[i, j + 2], X[i, j + 3]
            space[top + j, t] = (x0 - m0) * a0
            space[top + j + 1, t] = (x1 - m1) * a1
            space[top + j + 2, t] = (x2 - m2) * a2
            space[top + j + 3, t] = (x3 - m3) * a3


@kernel
def pack_row(space, row, index, begin, count, out, offset):
    """Copy space[row, index[begin : begin + count]] to the row `out`, from `offset` on."""
    for t in range(count):
        space[out, offset + t] = space[row, index[begin + t]]


@kernel
def pad_row(space, row, count, width):
    """Round `count` up to a multiple of `width`, and return it. OUT row: zeros from `count` to there"""
    stop = (count + width - 1) // width * width
    for t in range(count, stop):
        space[row, t] = 0
    return stop


@kernel
def compact(space, top, rows, index, count, width):
    """Move the points index[:count] to the beginning of `rows` rows from `top`, and pad them with zeros.

    The index must be sorted.
    """
    for j in range(top, top + rows):
        pack_row(space, j, index, START, count, j, START)
        pad_row(space, j, count, width)


@inlined_kernel
def list_vectors(space, row, lists):
    """Return how many vectors of `row` contain a positive number. OUT lists.points: where these begin"""
    points, count = lists.points, 0
    for b in range(0, tile_rows(space), lanes(space)):
        points[count] = b
        count += 1 if above(load(space, row, b), load(space, ZEROS, b)) != 0 else 0
    return count


@inlined_kernel
def queue_share(space, start, d, shares, k, K, lists):
    """Add the points of component k to its queue if there are few of them. Return whether there are few."""
    most, few = most_packed(space), 16 + 3 * d  # to copy a point takes d operations, to process it d^2
    few = few if few < most else most
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
    """Empty the queue of component k if it has no room for another tile.

    Return its row of shares, and its number of points rounded up to whole vectors, or 0 if there is room.
    OUT the rows of packed points: the points of the queue
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
