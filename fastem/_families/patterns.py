"""Rows sorted by pattern: which of their numbers are missing."""

from typing import NamedTuple

import numpy as np

from fastem._kernels._parallel import run_slots
from fastem._kernels._patterns import BITS, number_patterns, slot_gather, slot_missing, sort_by_pattern
from fastem._typing import Array, FloatArray, read_only


class Patterns(NamedTuple):
    """The rows of a slab by pattern. Patterns with more rows come first."""

    order: Array  # (m,) the numbers of the rows, sorted by pattern
    begins: Array  # (P + 1,) where the rows of each pattern begin in the order
    observed: Array  # (P, d) of bool

    def rows(self, pattern: int) -> Array:
        return self.order[self.begins[pattern] : self.begins[pattern + 1]]


def patterns_of(X: Array, slots: int, n_threads: int | None) -> Patterns | None:
    """Sort the rows of X (m, d) by pattern, or return None if nothing is missing."""
    m, d = X.shape
    words, found = np.empty((m, -(-d // BITS)), np.int64), np.zeros(slots, np.int64)
    run_slots(slot_missing, (X, words, found), slots, n_threads)
    if not found.any():
        return None
    table = np.zeros(1 << (2 * m - 1).bit_length(), np.int32)
    numbers, firsts = np.empty(m, np.int64), np.empty(m, np.int64)
    count = number_patterns(words, table, numbers, firsts)
    sizes = np.bincount(numbers, minlength=count)
    ranked = np.argsort(-sizes, kind="stable")
    ranks, order = np.empty(count, np.int64), np.empty(m, np.int64)
    ranks[ranked] = np.arange(count)
    begins = np.concatenate([[0], np.cumsum(sizes[ranked])])
    sort_by_pattern(numbers, ranks, begins.copy(), order)
    return Patterns(order, begins, ~np.isnan(X[firsts[ranked]]))


def gathered(
    X: Array, patterns: Patterns, count: int, dtype: np.dtype[np.floating], slots: int, n_threads: int | None
) -> list[Array]:
    """Return what is observed in the rows of each of the first `count` patterns, (rows, features)."""
    if count == 0:
        return []
    begins, observed = patterns.begins[: count + 1], patterns.observed[:count]
    widths = observed.sum(axis=1)
    columns = np.nonzero(observed)[1]
    places = np.concatenate([[0], np.cumsum(widths * np.diff(begins))])
    out: FloatArray = np.empty(places[-1], dtype)
    column_begins = np.concatenate([[0], np.cumsum(widths)])
    sorted_rows = patterns.order[: begins[-1]]
    arguments = (X, sorted_rows, begins, columns, column_begins, places, out, np.array([slots]))
    run_slots(slot_gather, arguments, slots, n_threads)
    return [read_only(out[places[p] : places[p + 1]].reshape(-1, widths[p])) for p in range(count)]
