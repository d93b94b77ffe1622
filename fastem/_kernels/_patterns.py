"""Rows sorted by pattern: which of their numbers are missing, that is, NaN.

The pattern of a row is a bit for each feature, 63 in a word. Rows get the number of their pattern, in the
order in which patterns first appear, by a table of hashes. So rows are read once, however many patterns.
"""

import numpy as np

from fastem._kernels._jit import entry_kernel

BITS = 63  # in one word, which keeps its sign
_MIX = np.int64(-7046029254386353131)  # an odd number whose bits look random


@entry_kernel
def slot_missing(X, words, found, slot):
    """Look for numbers that are missing in the rows of one slot.

    OUT words (m, w): a bit for each feature, 1 if it is missing; found (G,): 1 if any is
    """
    m, d = X.shape
    slots, any_word = found.shape[0], np.int64(0)
    for i in range(m * slot // slots, m * (slot + 1) // slots):
        for w in range(words.shape[1]):
            word, first = np.int64(0), w * BITS
            for j in range(first, min(first + BITS, d)):
                word |= np.int64(X[i, j] != X[i, j]) << np.int64(j - first)
            words[i, w] = word
            any_word |= word
    found[slot] = 1 if any_word != 0 else 0


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
            code ^= (code >> np.int64(29)) & np.int64(0x7FFFFFFFF)
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
def sort_by_pattern(numbers, ranks, ends, order):
    """Sort rows by the place of their pattern. Those of one pattern stay as they come.

    IN ranks (P,): the place of each pattern; ends (P + 1,): where the rows of each place begin
    OUT order (m,): the numbers of the rows; ends: where the rows of each place end
    """
    for i in range(numbers.shape[0]):
        place = ranks[numbers[i]]
        order[ends[place]] = i
        ends[place] += 1


@entry_kernel
def slot_gather(X, order, begins, columns, column_begins, places, out, slots, slot):
    """Copy what is observed in the rows of one slot to `out`, pattern by pattern.

    IN order (t,): numbers of rows, sorted by pattern; begins (P + 1,): where those of each pattern begin
    IN columns: the observed columns of all patterns; column_begins (P + 1,): where those of each begin
    IN places (P,): where the numbers of each pattern begin in `out`
    """
    total = order.shape[0]
    first, stop = total * slot // slots[0], total * (slot + 1) // slots[0]
    p = 0
    for t in range(first, stop):
        while t >= begins[p + 1]:
            p += 1
        low, high = column_begins[p], column_begins[p + 1]
        to, i = places[p] + (t - begins[p]) * (high - low), order[t]
        for c in range(low, high):
            out[to + c - low] = X[i, columns[c]]
