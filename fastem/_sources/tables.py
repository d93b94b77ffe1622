"""Tables of pandas, polars, pyarrow and others, by narwhals, an optional extra."""

from typing import Any

import numpy as np


def as_table(X: Any) -> Any:
    """X as a narwhals DataFrame; None if it is no table, or narwhals is not installed."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return None
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        return None
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    return frame if isinstance(frame, nw.DataFrame) else None


def column_names(X: Any) -> tuple[str, ...] | None:
    """Names of the columns of a table, if they are names: pandas numbers columns that have none."""
    table = as_table(X)
    if table is None or not all(isinstance(name, str) for name in table.columns):
        return None
    return tuple(table.columns)
