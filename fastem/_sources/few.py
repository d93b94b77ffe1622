"""Columns that hold few values, as codes and small counts do. Some rows of each slab tell."""

from dataclasses import dataclass, field

import numpy as np

from fastem._sources.parts import part_of
from fastem._typing import Array, FloatArray, Rows

_MOST_VALUES = 11  # such as the answers 0 to 10
_ROWS = 512  # of a slab, or up to twice as many
# Measured columns show more values than that in so many rows already, so that others need not be read.
_FIRST_ROWS = 32
_VERY_FIRST = 4  # most columns show it in these
_ROWS_PER_VALUE = 20


@dataclass(frozen=True)
class Few:
    """The columns that have shown few values so far, by number, and their values, sorted."""

    seen: int  # rows
    values: dict[int, FloatArray] = field(default_factory=dict)

    def __add__(self, other: "Few") -> "Few":
        if not (self.seen and other.seen):
            return self if self.seen else other
        both = {j: np.union1d(own, other.values[j]) for j, own in self.values.items() if j in other.values}
        return Few(self.seen + other.seen, {j: values for j, values in both.items() if _is_few(values)})

    def columns(self) -> dict[int, FloatArray]:
        """Return those that repeat at least two values often.

        These are two values, or whole numbers that begin with 0 or 1. Others may be rounded measurements.
        """
        return {
            j: values
            for j, values in self.values.items()
            if 2 <= len(values) <= self.seen / _ROWS_PER_VALUE and (len(values) == 2 or values[0] in (0, 1))
        }


def few_of(rows: Rows) -> Few:
    """Look at some rows of positive weight. The same rows of X are looked at in every dtype and layout."""
    n = len(rows.X)  # of few rows, a generator would take as long as the rest
    part = slice(None) if n < 2 * _ROWS else part_of(n, _ROWS, np.random.default_rng(0))
    X = rows.X[part]
    if rows.weight is not None:
        X = X[rows.weight[part] > 0]
    first = zip(*X[:_VERY_FIRST].tolist(), strict=True)
    unclear = [j for j, numbers in enumerate(first) if not _is_measured(numbers)]
    if not unclear:
        return Few(len(X))
    columns = np.array(unclear)
    for part in (X[:_FIRST_ROWS], X):
        if not len(columns):
            break
        ordered = np.sort(part[:, columns], axis=0)  # NaN comes last
        numbers = ~np.isnan(ordered)
        steps = (ordered[1:] != ordered[:-1]) & numbers[1:]
        distinct = 1 + steps.sum(axis=0)
        whole = ((ordered == np.rint(ordered)) | ~numbers).all(axis=0)
        columns = columns[(distinct <= 2) | ((distinct <= _MOST_VALUES) & whole)]
    return Few(len(X), {j: _values(X[:, j]) for j in columns.tolist()})


def _is_measured(numbers: tuple[float, ...]) -> bool:
    """Return whether these are more than two values, and no NaN, and not all whole."""
    return len(set(numbers)) > 2 and all(x == x for x in numbers) and any(x % 1 for x in numbers)


def _values(column: Array) -> FloatArray:
    """Return the distinct numbers of a column, sorted. NaN is none."""
    return np.asarray(np.unique(column[~np.isnan(column)]), dtype=np.float64)


def _is_few(values: Array) -> bool:
    return len(values) <= 2 or (len(values) <= _MOST_VALUES and bool((values == np.rint(values)).all()))
