"""Tables of pandas, polars, pyarrow and others, read with narwhals, which is an optional extra."""

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
