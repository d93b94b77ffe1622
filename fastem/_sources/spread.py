"""Checks of what columns vary by. The pass that takes their moments comes before."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastem._checks import row_ranges
from fastem._families.frame import Moments
from fastem._families.matrices import every
from fastem._report import WarningCause, warn
from fastem._typing import Array, Rows

# Variances of components and their floor must be normal numbers, also in the user's units.
_LEAST_DEVIATION = 1e-151
# Rounding matters if a standard deviation has fewer steps between neighbouring numbers than this.
_LEAST_VALUES = 64
LARGEST_INTEGER = 2**53  # float64 cannot represent all integers beyond this


def check_spread(
    chunks: Callable[[], Iterable[Rows]],
    dtype: np.dtype[Any],
    moments: Moments,
    names: tuple[str, ...] | None = None,
    largest: int = 0,
) -> None:
    """Raise an error if variances leave the range of float64, or are unknown. Warn if X has too few digits.

    The `chunks`, of dtype `dtype`, are read only in the rare cases in which the moments are not enough. The
    `largest` of the integers that chunks had before they were floats is known, in size.
    """
    check_observed(moments, names)
    mean, variance = moments.mean, moments.variance
    if not every(variance >= _LEAST_DEVIATION**2):
        _check_small(chunks, moments, names)
    spacing = np.finfo(dtype if dtype.kind == "f" else np.float64).eps * np.abs(mean)
    clear = np.sqrt(variance) >= _LEAST_VALUES * spacing
    if not every(clear) and (blurred := (variance > 0) & ~clear).any():
        worst = int(np.argmax(blurred))
        warn(
            WarningCause.PRECISION,
            f"Column {_called(worst, names)} of X has mean {mean[worst]:.6g} and standard deviation "
            f"{np.sqrt(variance[worst]):.3g}, in {dtype}.",
        )
        return
    if dtype.kind in "iu" and dtype.itemsize == 8:
        largest = max(largest, _largest_integer(chunks()))
    if largest > LARGEST_INTEGER:
        warn(
            WarningCause.PRECISION,
            f"X holds integers up to {largest} in size; float64 holds all integers only up to 2**53.",
        )


def _largest_integer(chunks: Iterable[Rows]) -> int:
    """Return the size of the largest integer of chunks, of which some may be floats."""
    sizes = (
        max(abs(int(X[rows].min())), abs(int(X[rows].max())))
        for X in (chunk.X for chunk in chunks)
        if X.dtype.kind in "iu"
        for rows in row_ranges(len(X))
    )
    return max(sizes, default=0)


def _check_small(
    chunks: Callable[[], Iterable[Rows]], moments: Moments, names: tuple[str, ...] | None
) -> None:
    """Raise an error if a column varies by next to nothing, but is not constant."""
    variance = moments.variance
    small = (variance > 0) & (variance < _LEAST_DEVIATION**2)
    constant = np.flatnonzero(variance == 0)
    if len(constant):
        first: Array | None = None
        for X in (chunk.X for chunk in chunks()):
            for rows in row_ranges(len(X)):
                columns = X[rows][:, constant]
                if first is None:
                    first = columns[0].copy()  # chunks may share one buffer
                if moments.gaps:
                    first = np.where(np.isnan(first), _first_numbers(columns), first)
                small[constant] |= _differ_by_next_to_nothing(columns, first)
    if small.any():
        j = int(np.argmax(small))
        has = f"has {np.sqrt(variance[j]):.3g}"
        if variance[j] == 0:
            has = "is not constant, but the squares of its differences underflow to 0 in float64"
        raise ValueError(
            f"X must have columns of standard deviation {_LEAST_DEVIATION} at least, or constant columns; "
            f"column {_called(j, names)} {has}. Rescale the columns."
        )


def _called(j: int, names: tuple[str, ...] | None) -> str:
    """The name of a column in quotes, or its number if it has no name, for messages."""
    return str(j) if names is None else repr(names[j])


def check_observed(moments: Moments, names: tuple[str, ...] | None) -> None:
    """Raise an error if a column has no number, so that nothing can be learned about it."""
    if moments.observed is None or (moments.observed > 0).all():
        return
    j = int(np.argmin(moments.observed))
    raise ValueError(
        f"X must have a number in each column, in a row of positive weight; column "
        f"{_called(j, names)} has none. Leave it out."
    )


def _first_numbers(columns: Array) -> Array:
    """Return the first number of each column, or NaN if it has none."""
    return np.asarray(columns[np.isnan(columns).argmin(axis=0), np.arange(columns.shape[1])])


def _differ_by_next_to_nothing(columns: Array, row: Array) -> Array:
    """Return the columns with differences whose squares underflow, so that the variance misses them."""
    gap = np.abs(columns.astype(np.float64) - row.astype(np.float64))
    return np.asarray(((gap > 0) & (gap < _LEAST_DEVIATION)).any(axis=0))
