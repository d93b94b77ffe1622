"""The distinct values of each column."""

from dataclasses import dataclass

import numpy as np

from fastem._checks import row_ranges
from fastem._typing import Array, FloatArray, Rows

MOST = 1 << 16
# Whole numbers that span at most so many are counted, which takes less time than sorting.
_COUNTED = 1 << 12


@dataclass(frozen=True)
class Distinct:
    """The distinct values of some columns in rows of positive weight, sorted."""

    columns: Array  # the numbers of the columns
    values: tuple[FloatArray, ...]

    def __add__(self, other: "Distinct") -> "Distinct":
        merged = tuple(
            one if one is two or np.array_equal(one, two) else np.union1d(one, two)
            for one, two in zip(self.values, other.values, strict=True)
        )
        for j, values in zip(self.columns, merged, strict=True):
            if len(values) > MOST:
                raise ValueError(
                    f"X must have at most {MOST} categories in a column; column {j} has more. Join the rare "
                    "ones, or leave the column out if it names the rows."
                )
        return Distinct(self.columns, merged)


def distinct_of(rows: Rows, columns: Array) -> Distinct:
    found = Distinct(columns, (np.empty(0),) * len(columns))
    for chosen in row_ranges(len(rows.X)):
        X = rows.X[chosen]
        if rows.weight is not None:
            X = X[rows.weight[chosen] > 0]
        if len(X):
            own = np.ascontiguousarray(X.T[columns])
            found = found + Distinct(columns, tuple(_distinct(column).astype(np.float64) for column in own))
    return found


def _distinct(column: Array) -> Array:
    if np.isnan(column.min()):
        column = column[~np.isnan(column)]
    if not len(column):
        return column
    low, high = column.min(), column.max()
    if high - low < _COUNTED:
        ranks = (column - low).astype(np.int64)
        if (ranks == column - low).all():
            return np.asarray(np.flatnonzero(np.bincount(ranks)) + low.astype(np.float64))
    return np.unique(column)
