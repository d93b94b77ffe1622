"""Rows of several data sets in one array or table, parted by a group for each row."""

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastem._sources.measurements import OfRows, check_unambiguous, is_square
from fastem._sources.tables import as_table, column_array
from fastem._typing import Array


def parted_by_group(X: Any, groups: Any, about: Mapping[str, Any]) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Return the group, its rows, and what is known `about` them, for each group in sorted order.

    Names of columns stay names, and noise that is one for all rows stays so.
    """
    table = as_table(X)
    if isinstance(groups, str):
        if table is None or groups not in table.columns:
            held = f"the columns {list(table.columns)}" if table is not None else type(X).__name__
            raise ValueError(
                f"groups must be the name of a column of X, or an array (n,); got {groups!r}, and X has "
                f"{held}."
            )
        codes, table = column_array(table[groups]), table.drop(groups)
    else:
        codes = np.asarray(groups)
    rows: Any = table if table is not None else _array_of(X)
    n = len(rows)
    _check_codes(codes, n, np.ma.getmaskarray(groups) if np.ma.isMaskedArray(groups) else None)
    d = len(rows.columns) if table is not None else rows.shape[-1]
    arrays = {name: _of_rows(name, values, n, d) for name, values in about.items()}
    names, which = np.unique(codes, return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = []
    for name, own in zip(names.tolist(), np.split(order, np.bincount(which).cumsum()[:-1]), strict=True):
        there = rows[own] if table is None else rows[own].to_native()
        parts.append((name, there, {key: _taken(values, own) for key, values in arrays.items()}))
    return parts


def _array_of(X: Any) -> Array:
    """Return X as an array, with its mask if it has one."""
    array = X if np.ma.isMaskedArray(X) else np.asarray(X)
    if array.ndim != 2:
        raise TypeError(
            f"X must be an array (n, d) or a table with groups=; got {reprlib.repr(X)}. Read files and "
            "chunks first, or pass a list of data sets."
        )
    return np.asanyarray(array)


def _check_codes(codes: Array, n: int, mask: Array | None) -> None:
    if codes.shape != (n,):
        raise ValueError(f"groups must have shape ({n},), one a row; got shape {codes.shape}.")
    none = np.zeros(n, bool) if mask is None else mask
    missing = [i for i, code in enumerate(codes.tolist()) if none[i] or code is None or code != code]
    if missing:
        raise ValueError(f"groups must name a group for each row; row {missing[0]} has none. Drop such rows.")
    if codes.dtype.kind == "O" and len({type(code) for code in codes.tolist()}) > 1:
        raise TypeError(
            f"groups must be all numbers or all text, so that they can be sorted; got {reprlib.repr(codes)}."
        )


class _OneForAll:
    """What is the same for all rows."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _taken(values: Any, rows: Array) -> Any:
    if isinstance(values, _OneForAll):
        return values.value
    return OfRows(values.values[rows]) if isinstance(values, OfRows) else values[rows]


def _of_rows(name: str, values: Any, n: int, d: int) -> Any:
    if values is None or isinstance(values, str):
        return _OneForAll(values)
    array = np.asanyarray(values)
    if array.dtype.kind in "UO":  # names of columns
        return _OneForAll(values)
    if name == "noise":
        if is_square(array, d):
            check_unambiguous(n, d)
            return _OneForAll(array[None])
        if array.ndim < 2 or len(array) == 1:
            return _OneForAll(values)
    if array.shape[:1] != (n,):
        raise ValueError(f"{name} must have shape ({n},), one a row; got shape {array.shape}.")
    return OfRows(array) if name == "noise" else array
