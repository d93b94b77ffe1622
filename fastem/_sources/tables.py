"""Tables of pandas, polars, pyarrow and others, read with narwhals, which is an optional extra."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def as_table(X: Any) -> Any:
    """Return X as a narwhals DataFrame, or None if X is not a table or narwhals is not installed."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return None
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        return None
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    return frame if isinstance(frame, nw.DataFrame) else None


def column_names(X: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a table, or None if they are not strings.

    pandas gives numbers to columns without a name.
    """
    table = as_table(X)
    if table is None or not all(isinstance(name, str) for name in table.columns):
        return None
    return tuple(table.columns)


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
    return table.select(wanted).to_native(), [table[name].to_numpy() for name in named], names
