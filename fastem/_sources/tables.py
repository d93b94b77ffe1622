"""Tables of pandas, polars, pyarrow and others, read with narwhals, which is an optional extra."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._typing import Array


def as_table(X: Any, name: str = "X") -> Any:
    """Return X as a narwhals DataFrame, or None if X is not a table or narwhals is not installed.

    The columns of a table must have different names, which are all strings, or all integers.
    """
    if isinstance(X, (np.ndarray, list, tuple)):
        return None
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        return None
    try:
        frame = nw.from_native(X, eager_only=True, pass_through=True)
    except ValueError:  # two columns have the same name
        names = list(getattr(X, "column_names", None) or X.columns)
        check_unique(name, names, names)
        raise
    if isinstance(frame, nw.DataFrame):
        _check_kind_of_names(frame.columns, name)
        return frame
    if nw.dependencies.is_polars_lazyframe(X):
        remedy = "Pass X.collect()." if name == "X" else "Collect it, by its method collect()."
        raise TypeError(f"{name} must be a table in memory; got a LazyFrame. {remedy}")
    return None


def check_unique(name: str, names: Sequence[Any], used: Sequence[Any]) -> None:
    """Raise an error if columns that are used share their name with another."""
    counts = Counter(names)
    same = [one for one in dict.fromkeys(used) if counts[one] > 1]
    if same:
        raise ValueError(
            f"{name} must have columns of different names; several are called "
            f"{', '.join(map(repr, same))}. Rename them, or leave out all but one of each name."
        )


def _check_kind_of_names(names: Sequence[Any], name: str) -> None:
    """Raise an error unless all names are strings, or all are integers, so that they count by position."""
    if all(isinstance(one, str) for one in names) or all(map(_is_integer, names)):
        return
    other = next(one for one in names if not isinstance(one, str))
    if isinstance(other, tuple):
        levels = (part for one in names if isinstance(one, tuple) for part in one)
        join = '"_".join' if all(isinstance(part, str) for part in levels) else "str"
        remedy = f"Join those of several levels: X.columns = X.columns.map({join})."
    else:
        remedy = "Make strings of them: X.columns = X.columns.map(str)."
    raise TypeError(
        f"{name} must have names of columns that are all strings, or all integers (which are taken by "
        f"position); got {other!r} among {list(names)}. {remedy}"
    )


def _is_integer(name: Any) -> bool:
    return isinstance(name, (int, np.integer)) and not isinstance(name, bool)


def column_names(X: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a table, or None if they are not strings.

    pandas gives numbers to columns without a name.
    """
    return strings_in(column_keys(X, 0))


def column_keys(X: Any, d: int) -> tuple[Any, ...]:
    """Return what tells d columns apart: their names or numbers in a table, and else their positions."""
    table = as_table(X)
    return tuple(range(d)) if table is None else tuple(table.columns)


def strings_in(labels: Sequence[Any]) -> tuple[str, ...] | None:
    return tuple(labels) if labels and all(isinstance(one, str) for one in labels) else None


def type_of(column: Any) -> str:
    """Return the type of a column of a table in words, which is that of its library if narwhals has none."""
    if str(column.dtype) != "Unknown":
        return str(column.dtype)
    native = column.to_native()
    return str(getattr(native, "type", None) or native.dtype)


def largest_integer(X: Any) -> int:
    """Return the size of the largest 64-bit integer of a table, which may become a float, or 0."""
    table = as_table(X)
    if table is None:
        return 0
    import narwhals.stable.v2 as nw

    wide = (table[name] for name, dtype in table.schema.items() if dtype in (nw.Int64, nw.UInt64))
    ends = (end for column in wide for end in (column.min(), column.max()))
    return max((abs(int(end)) for end in ends if end is not None), default=0)


def numbers_of(table: Any) -> Array:
    """Return the columns of a table as an array, with NaN for missing numbers."""
    array = np.asarray(table.to_numpy())
    if array.dtype.kind != "O":
        return array
    return np.column_stack([column_array(table[name]) for name in table.columns])


def column_array(column: Any) -> Array:
    """Return a column of a table as an array. If it has numbers, its missing ones are NaN."""
    import narwhals.stable.v2 as nw

    array = np.asarray(column.to_numpy())
    if array.dtype.kind != "O":
        return array
    missing = np.asarray(column.is_null().to_numpy(), dtype=np.bool_)
    numbers = np.full(len(array), np.nan, np.float32 if column.dtype == nw.Float32 else np.float64)
    if any(isinstance(entry, str) for entry in array[~missing]):
        return array
    try:
        numbers[~missing] = array[~missing].astype(numbers.dtype)
    except (TypeError, ValueError, OverflowError):
        return array
    return numbers


def parted(
    X: Any, columns: Sequence[str] | None, named: Sequence[str]
) -> tuple[Any, list[Any], tuple[str, ...]] | None:
    """Return the wanted columns of a table, those that are `named`, and all names. None if X is no table.

    By default all columns but those that are named are wanted.
    """
    table = as_table(X)
    if table is None:
        return None
    names = tuple(table.columns)
    wanted = [name for name in names if name not in named] if columns is None else list(columns)
    if not {*wanted, *named} <= set(names):
        return X, [], names
    return table.select(wanted).to_native(), [column_array(table[name]) for name in named], names
