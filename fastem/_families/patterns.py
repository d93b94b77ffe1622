"""Rows sorted by pattern: which of their numbers are missing."""

from typing import Any, NamedTuple

import numpy as np

from fastem._kernels._layout import WORD
from fastem._kernels._parallel import run_slots
from fastem._kernels._patterns import number_patterns, slot_gather, slot_missing, sort_by_pattern
from fastem._typing import Array, Rows, read_only

# Nanoseconds, as measured. A row of a rare pattern takes some for itself, for each component, and for each
# component and square of the features. So does a row of a common one, and the tile is filled with such rows.
_RARE = 100.0, 80.0, 0.4
_COMMON = 0.0, 3.0, 0.05


class Patterns(NamedTuple):
    """The patterns of the rows of a slab, m. Those with more rows come first, but the one without numbers."""

    numbers: Array  # (m,) the number of the pattern of each row, as they first appear
    ranks: Array  # (P,) the place of each pattern
    begins: Array  # (P + 1,) where the rows of each place begin, if they are sorted by place
    observed: Array  # (P, d) of bool, by place
    orders: dict[tuple[int, int], tuple[Array, Array]]  # what `sort` has found, by patterns and slots


class Sorted(NamedTuple):
    """The rows of a slab by pattern."""

    order: Array  # (m,) the numbers of the rows
    begins: Array  # (P + 1,) where those of each pattern begin
    places: Array  # where the numbers of the first patterns begin in memory
    observed: list[Array]  # what is observed in the rows of the first patterns, (rows, features)

    def rows(self, pattern: int) -> Array:
        return self.order[self.begins[pattern] : self.begins[pattern + 1]]


def kept_patterns(rows: Rows, slots: int, n_threads: int | None) -> Patterns | None:
    """Find the patterns of rows, or remember them from an earlier pass over the same rows."""
    if rows.kept is None:
        return patterns_of(rows.X, slots, n_threads)
    key = "patterns", None if rows.columns is None else rows.columns.tobytes()
    if key not in rows.kept:
        rows.kept[key] = patterns_of(rows.X, slots, n_threads)
    found: Patterns | None = rows.kept[key]
    return found


def patterns_of(X: Array, slots: int, n_threads: int | None) -> Patterns | None:
    """Find the patterns of X (m, d), or return None if nothing is missing."""
    X, (m, d) = np.ascontiguousarray(X), X.shape  # the kernel reads vectors of numbers that lie side by side
    words, found = np.empty((m, -(-d // int(WORD))), np.int64), np.zeros(slots, np.int64)
    run_slots(slot_missing, (X, words, found), slots, n_threads)
    if not found.any():
        return None
    table = np.zeros(1 << (2 * m - 1).bit_length(), np.int32)
    numbers, firsts = np.empty(m, np.int32), np.empty(m, np.int64)
    count = number_patterns(words, table, numbers, firsts)
    sizes = np.bincount(numbers, minlength=count)
    observed = ~np.isnan(X[firsts[:count]])
    # Rows without numbers need no pass. Their pattern comes last, since the search for common patterns ends
    # at the first one that is not.
    ranked = np.argsort(-sizes * observed.any(axis=1), kind="stable")
    ranks = np.empty(count, np.int64)
    ranks[ranked] = np.arange(count)
    begins = np.concatenate([[0], np.cumsum(sizes[ranked])])
    return Patterns(numbers, ranks, begins, observed[ranked], {})


def sort(
    X: Array, patterns: Patterns, common: int, memory: Array, slots: int, n_threads: int | None
) -> Sorted:
    """Sort the rows by pattern. What is observed of the first `common` patterns is copied to `memory`.

    That has as many numbers as X, or more.
    """
    numbers, ranks, begins, observed, orders = patterns
    if (common, slots) not in orders:
        order, heads = np.empty(len(X), np.int32), np.empty((slots, common), np.int64)
        sort_by_pattern(numbers, ranks, begins.copy(), order, heads)
        orders.clear()  # the last is enough
        orders[common, slots] = order, heads
    order, heads = orders[common, slots]
    if common == 0:
        return Sorted(order, begins, np.empty(0, np.int64), [])
    widths = observed[:common].sum(axis=1)
    places = np.concatenate([[0], np.cumsum(widths * np.diff(begins[: common + 1]))])
    out = memory[: places[-1]]
    columns = np.nonzero(observed[:common])[1].astype(np.uint64)
    column_begins = np.concatenate([[0], np.cumsum(widths)])
    arguments = (X, numbers, ranks, begins, heads.copy(), columns, column_begins, places, out)
    run_slots(slot_gather, arguments, slots, n_threads)
    parts = [out[places[p] : places[p + 1]].reshape(-1, widths[p]) for p in range(common)]
    return Sorted(order, begins, places, [read_only(part) for part in parts])


def is_worth_it(count: Any, k: int, d: int, tile: int, python: float) -> Any:
    """Return whether as many rows of one pattern take less time as a common one."""
    rare, common = (own + k * (pair + square * d * d) for own, pair, square in (_RARE, _COMMON))
    return count * rare > python + -(-count // tile) * tile * common
