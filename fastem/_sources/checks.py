"""Checks of X, its weights and its origin. Messages name the parameter, the rule, the value and a remedy."""

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from fastem._checks import check_integer, check_numeric, in_words, is_iterable, row_ranges
from fastem._sources.tables import as_table, numbers_of, strings_in, type_of
from fastem._sources.texts import NO_GAPS, TEXT_TYPES, Gaps, Vocabulary, as_numbers
from fastem._typing import Array

_LARGEST_WEIGHT = 1e30  # because weights are also summed in float32


def check_X(
    X: Any,
    *,
    name: str = "X",
    n_features: int | None = None,
    empty: bool = False,
    vocabulary: Vocabulary | None = None,
    weight: Array | None = None,
    gaps: Gaps = NO_GAPS,
) -> Array:
    """Return a 2-D array of real numbers. The pass that reads the values checks them.

    If X is for a model, `n_features` is that of the model. Columns of text are allowed if there is a
    `vocabulary`. Text that is not in it is allowed in rows without `weight`. Where `gaps` are allowed, they
    become NaN.
    """
    if np.ma.is_masked(X):
        X = _unmasked(X, name, gaps)
    X = _check_table(X, name, vocabulary, weight, gaps)
    array = check_numeric(X, name)
    if array.ndim != 2:
        hint = _on_one_dimension(X, array.shape[0], name, n_features) if array.ndim == 1 else ""
        if array.ndim == 0:
            hint = f" It is {reprlib.repr(X)}."
        raise ValueError(
            f"{name} must be 2-D, (n_samples, n_features); got {array.ndim}-D of shape {array.shape}.{hint}"
        )
    if array.shape[1] == 0 or (array.shape[0] == 0 and not empty):
        raise ValueError(f"{name} must have at least one row and one column; got shape {array.shape}.")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name} must have {n_features} features, as the model has; got {array.shape[1]}.")
    return array


def _unmasked(X: Any, name: str, gaps: Gaps) -> Array:
    """Return an array with NaN, or None among text and objects, in place of masked entries."""
    if not gaps.allowed:
        raise ValueError(
            f"{name} must not have masked entries: the mask would be lost. Drop or fill them first"
            f"{gaps.remedy and ', or '}{gaps.remedy}."
        )
    if X.dtype.kind in "iub":
        X = X.astype(np.float64)
    elif X.dtype.kind != "f":
        X = X.astype(object)
    return np.asarray(X.filled(np.nan if X.dtype.kind == "f" else None))


def columns_of_model(X: Any, wanted: tuple[str, ...] | None, name: str) -> Any:
    """Return the columns of a table that a model names, in the order of the model.

    The columns of anything else are taken as they are, and so are those of a table if they have no names but
    their positions.
    """
    table = None if wanted is None else as_table(X, name)
    if wanted is None or table is None or tuple(table.columns) == wanted:
        return X
    columns = table.columns
    if strings_in(columns) is None:  # all are integers
        found = {str(column): column for column in columns}
        if set(wanted) <= set(found):
            table = table.rename({column: one for one, column in found.items() if one in wanted})
            return table.select(list(wanted)).to_native()
        if columns == list(range(len(columns))) and not set(wanted) & set(found):
            return X
    check_names_of_model(wanted, columns, name)
    return table.select(list(wanted)).to_native()


def check_names_of_model(wanted: Sequence[str], names: Sequence[Any], name: str) -> None:
    missing = [one for one in wanted if one not in names]
    if missing:
        raise ValueError(
            f"{name} must have the columns {list(wanted)}, as the model has; it lacks {missing}. "
            f"Its columns are {list(names)}. Others may be there too, in any order. Rename those that have "
            "another name, or pass an array with the columns of the model in their order."
        )


def _on_one_dimension(X: Any, n: int, name: str, n_features: int | None) -> str:
    """Say what makes rows of an array of one dimension, or of a column or row of a table."""
    array = f"{name}.to_numpy()" if hasattr(X, "to_numpy") else name
    if n_features is not None and n == n_features > 1:
        return f" Use {array}.reshape(1, -1) for one row."
    if hasattr(X, "to_frame"):
        return f" Use {name}.to_frame() for one feature, or the whole table with columns=[...]."
    return f" Use {array}.reshape(-1, 1) for one feature."


def _check_table(X: Any, name: str, vocabulary: Vocabulary | None, weight: Array | None, gaps: Gaps) -> Any:
    """Return X, or the numbers of X if it is a table."""
    table = as_table(X, name)
    if table is None:
        return X if vocabulary is None else as_numbers(X, name, vocabulary, weight, gaps)
    allowed = ("Boolean", "Object") if vocabulary is None else ("Boolean", "Object", *TEXT_TYPES)
    for column, dtype in table.schema.items():
        if not (dtype.is_numeric() or str(dtype).split("(")[0] in allowed):
            told = type_of(table[column])
            remedy = "Drop it, or choose others with columns=[...]."
            if told.startswith("Sparse"):
                remedy = f"Make it dense: {name}[{column!r}].sparse.to_dense()."
            elif str(dtype).split("(")[0] in TEXT_TYPES:
                remedy = (
                    "Drop or encode it, or choose others with columns=[...]. Text goes with "
                    'distribution="categorical".'
                )
            raise TypeError(f"{name} must hold real numbers; column {column!r} has type {told}. {remedy}")
    numbers = X if vocabulary is None else as_numbers(X, name, vocabulary, weight, gaps)
    return _plain_numbers(table, name) if numbers is X else numbers


def _plain_numbers(table: Any, name: str) -> Array:
    """Return the numbers of a table, or say which column of objects holds something else."""
    array = numbers_of(table)
    if array.dtype.kind == "O":
        for j, column in enumerate(table.columns):
            found = [row for row, entry in enumerate(array[:, j]) if isinstance(entry, (str, bytes))]
            if found:
                raise TypeError(
                    f"{name} must hold real numbers; row {found[0]}, column {column!r} is "
                    f"{array[found[0], j]!r}. Drop or convert what is no number, for example with "
                    'pandas.to_numeric(column, errors="coerce").'
                )
    return array


def check_enough_rows(k: int, n_samples: int, n_positive: int) -> None:
    if n_samples == 0:
        raise ValueError("X must have at least one row; it has none.")
    if n_samples < k:
        raise ValueError(f"k must be at most the number of rows; got k={k} and {n_samples} rows.")
    if n_positive < k:
        raise ValueError(
            f"k must be at most the number of rows of positive weight; got k={k} and {n_positive} such rows."
        )


def check_n_threads(value: Any) -> int | None:
    return None if value is None else check_integer("n_threads", value, 1, "Pass None for numba's setting.")


def check_sample_weight(sample_weight: Any, n_samples: int, k: int = 1) -> Array | None:
    """Check the weights of all rows, and return them in their dtype."""
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_samples, "sample_weight")
    check_weight_totals(weights.sum(dtype=np.float64), weights.max())
    check_enough_rows(k, n_samples, int(np.count_nonzero(weights)))
    return weights


def check_weights(weights: Any, n_samples: int, name: str) -> Array:
    """Check the weights of some rows, and return them in their dtype."""
    array = check_numeric(weights, name)
    if array.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), one number a row; got shape {array.shape}.")
    for rows in row_ranges(n_samples):
        chunk = array[rows]
        bad = ~(np.isfinite(chunk) & (chunk >= 0))
        if bad.any():
            row = rows.start + int(np.argmax(bad))
            raise ValueError(
                f"{name} must be finite and at least 0; row {row} has {array[row]}. Use 0 to leave a row out."
            )
        if (largest := float(chunk.max())) > _LARGEST_WEIGHT:  # a sum might overflow
            _check_largest_weight(name, largest)
    return array


def check_labels(labels: Any, n_samples: int, k: int, name: str = "labels") -> Array:
    """Check the known components of some rows, and return them as int64, with -1 where none is known."""
    rule = f"{name} must be whole numbers from 0 to k - 1 = {k - 1}, or -1 (or NaN) where they are unknown"
    try:
        array = check_numeric(labels, name)
    except TypeError:
        text = next((label for label in np.ravel(labels) if isinstance(label, str)), None)
        if text is None:
            raise
        raise TypeError(
            f"{rule}; got {str(text)!r}. pandas.factorize({name})[0] numbers text so, with -1 for what is "
            "missing."
        ) from None
    if array.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), one a row; got shape {array.shape}.")
    if array.dtype.kind == "b":
        raise TypeError(f"{rule}; got booleans. Convert them with {name}.astype(int).")
    known = np.where(np.isnan(array), -1, array) if array.dtype.kind == "f" else array
    bad = ~((known >= -1) & (known < k) & (known == np.floor(known)))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{rule}; row {row} has {array[row]}. Number the components from 0.")
    return np.ascontiguousarray(known, dtype=np.int64)


def check_weight_totals(total: float, largest: float) -> None:
    if not total > 0:
        raise ValueError("sample_weight must not be zero throughout; it is. Give some rows more weight.")
    _check_largest_weight("sample_weight", largest)


def _check_largest_weight(name: str, largest: float) -> None:
    if not 1 / _LARGEST_WEIGHT <= largest <= _LARGEST_WEIGHT:
        raise ValueError(
            f"{name} must have its largest value between {1 / _LARGEST_WEIGHT:g} and "
            f"{_LARGEST_WEIGHT:g}; got {float(largest)}. Multiply all weights by one number."
        )


def check_columns(columns: Any) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str):
        raise TypeError(f"columns must be a sequence of names; got {columns!r}. For one, pass [{columns!r}].")
    if not is_iterable(columns):
        raise TypeError(f"columns must be a sequence of names; got {columns!r}. Pass a list of strings.")
    columns = list(columns)
    if not columns:
        raise ValueError("columns must name at least one column; got []. None takes all.")
    if not all(isinstance(name, str) for name in columns):
        raise TypeError(
            f"columns must be a sequence of names, which are strings; got {columns!r}. Select columns that "
            "have numbers in place of names yourself: X[[0, 2]] of pandas, X[:, [0, 2]] of an array."
        )
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns must name each column once; got {list(columns)}.")
    return tuple(columns)


def check_agreement(columns: tuple[str, ...] | None, feature_names: tuple[str, ...] | None) -> None:
    if columns is not None and feature_names is not None and set(columns) != set(feature_names):
        raise ValueError(
            f"columns must be those of the model, {list(feature_names)}; got {list(columns)}. Leave "
            "them out: the model picks its columns by name."
        )


def check_cache_dir(cache_dir: Any) -> Path | None:
    if cache_dir is None:
        return None
    if not isinstance(cache_dir, (str, os.PathLike)):
        raise TypeError(f"cache_dir must be the path of a folder; got {cache_dir!r}.")
    try:
        TemporaryFile(dir=Path(cache_dir)).close()
    except OSError as error:
        raise ValueError(
            f"cache_dir must be a folder that exists and can be written to; got {str(cache_dir)!r}: "
            f"{in_words(error)}."
        ) from None
    return Path(cache_dir)
