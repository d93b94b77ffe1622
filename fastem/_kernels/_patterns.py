"""Rows sorted by pattern: which of their numbers are missing, that is, NaN.

The pattern of a row is a bit for each feature, 32 in a word. Rows get the number of their pattern, in the
order in which patterns first appear, by a table of hashes. So rows are read once, however many patterns.
"""

import numpy as np

from fastem._kernels._flat import absent
from fastem._kernels._jit import entry_kernel
from fastem._kernels._layout import WORD
from fastem._kernels._simd import lanes

_MIX = np.int64(0x5851F42D)  # an odd number whose bits look random
_LOW = np.int64(0xFFFFFFFF)
_ONE = np.int64(1)
_NEXT = np.uint64(1)


@entry_kernel
def slot_missing(X, words, found, slot):
    """Look for numbers that are missing in the rows of one slot.

    OUT words (m, w): a bit for each feature, 1 if it is missing; found (G,): 1 if any is
    """
    m, d = X.shape
    slots, step, either = found.shape[0], lanes(X), np.int64(0)
    for i in range(m * slot // slots, m * (slot + 1) // slots):
        for w in range(words.shape[1]):
            first, word = w * WORD, np.int64(0)
            end = min(first + WORD, d)
            for j in range(first, end, step):
                if i * d + j + step <= m * d:
                    word |= absent(X, i, j) << np.int64(j - first)
                else:
                    for c in range(j, end):
                        word |= np.int64(X[i, c] != X[i, c]) << np.int64(c - first)
            word &= (_ONE << np.int64(end - first)) - _ONE
            words[i, w] = word
            either |= word
    found[slot] = 1 if either != 0 else 0


@entry_kernel
def number_patterns(words, table, numbers, firsts):
    """Number the patterns, and return how many there are.

    IN table (a power of 2 that is at least 2 m,): zeros
    OUT numbers (m,): the number of the pattern of each row; firsts (m,): the first row of each pattern
    """
    mask, count = np.int64(table.shape[0] - 1), 0
    for i in range(words.shape[0]):
        code = np.int64(0)
        for w in range(words.shape[1]):
            code = (code ^ words[i, w]) * _MIX
            code = (code ^ (code >> np.int64(31))) & _LOW
        place = code & mask
        while True:
            number = table[place] - 1
            if number < 0:
                number = count
                firsts[count] = i
                count += 1
                table[place] = count
                break
            same = True
            for w in range(words.shape[1]):
                same = same and words[i, w] == words[firsts[number], w]
            if same:
                break
            place = (place + 1) & mask
        numbers[i] = number
    return count


@entry_kernel
def sort_by_pattern(numbers, ranks, ends, order, heads):
    """Sort rows by the place of their pattern. Those of one pattern stay as they come.

    IN ranks (P,): the place of each pattern; ends (P + 1,): where the rows of each place begin
    OUT order (m,): the numbers of the rows; ends: where the rows of each place end
    OUT heads (G, C): where the next row of each of the first C places goes when the rows of a slot begin
    """
    m, slots = numbers.shape[0], heads.shape[0]
    for slot in range(slots):
        for place in range(heads.shape[1]):  # a slice takes two seconds to compile
            heads[slot, place] = ends[place]
        for i in range(m * slot // slots, m * (slot + 1) // slots):
            place = ranks[numbers[i]]
            order[ends[place]] = i
            ends[place] += 1


@entry_kernel
def slot_gather(X, numbers, ranks, begins, heads, columns, column_begins, places, out, slot):
    """Copy what is observed in the rows of one slot to `out`, pattern by pattern, for the first C places.

    Rows are read as they come, and written where the next row of their pattern goes.

    IN begins (C + 1,): where the rows of each place begin; heads as of `sort_by_pattern`, which change
    IN columns, uint64: the observed columns of all places; column_begins (C + 1,): where those of each begin
    IN places (C,): where the numbers of each place begin in `out`
    """
    m, (slots, count) = numbers.shape[0], heads.shape
    for i in range(m * slot // slots, m * (slot + 1) // slots):
        p = ranks[numbers[i]]
        if p >= count:
            continue
        # Unsigned numbers, since numba looks whether others count from the end: a third of the time.
        row, low, high = np.uint64(i), np.uint64(column_begins[p]), np.uint64(column_begins[p + 1])
        to = np.uint64(places[p] + (heads[slot, p] - begins[p]) * (column_begins[p + 1] - column_begins[p]))
        heads[slot, p] += 1
        for c in range(low, high):
            out[to] = X[row, columns[c]]
            to += _NEXT
