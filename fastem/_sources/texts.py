"""Columns of text, which become numbers before anything else sees them: the ranks of their strings.

The vocabulary of X says for each column which strings it may have, sorted, or None if it holds numbers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import in_words
from fastem._sources.tables import as_table, column_array, column_names, strings_in
from fastem._typing import Array, FloatArray

Vocabulary = tuple[Array | None, ...]

TEXT_TYPES = ("String", "Categorical", "Enum")
_MOST_NAMED = 8  # columns in a message


class Gaps(NamedTuple):
    """What becomes of entries that are missing: NaN if they are allowed, and else an error."""

    allowed: bool = False
    remedy: str = ""  # what a user may do about them where they are an error, beside what is always said


NO_GAPS = Gaps()


class Columns(NamedTuple):
    """The columns of some rows, where some are text."""

    arrays: tuple[Array, ...]
    are_text: tuple[bool, ...]
    names: tuple[str, ...] | None = None

    def called(self, j: int) -> str:
        """The name of a column in quotes, or its number, for messages."""
        return str(j) if self.names is None else repr(self.names[j])

    def __len__(self) -> int:
        return len(self.arrays[0]) if self.arrays else 0


def columns_of(X: Any) -> Columns | None:
    """Return the columns of a table, or of an array of objects or strings. None if all are plain numbers."""
    if isinstance(X, Columns):
        return X
    table = as_table(X)
    if table is not None:
        kinds = [str(kind).split("(")[0] for kind in table.schema.values()]
        if not {"Object", *TEXT_TYPES}.intersection(kinds):
            return None
        arrays = tuple(column_array(table[name]) for name in table.columns)
        # Categories of pandas may be numbers. The type of a block of dask has no rows.
        text = (
            _has_text(array) or (kind in TEXT_TYPES and (kind != "Categorical" or len(array) == 0))
            for kind, array in zip(kinds, arrays, strict=True)
        )
        return Columns(arrays, tuple(text), strings_in(table.columns))
    try:
        array = X if isinstance(X, np.ndarray) else np.asarray(X)
    except ValueError:  # rows of different lengths, which a check will find
        return None
    if array.ndim != 2 or array.dtype.kind not in "UO":
        return None
    if array.dtype.kind == "U":
        return Columns(tuple(array.T), (True,) * array.shape[1])
    return Columns(tuple(array.T), tuple(map(_has_text, array.T)))


def _has_text(column: Array) -> bool:
    return column.dtype.kind == "U" or (
        column.dtype.kind == "O" and any(isinstance(entry, str) for entry in column.tolist())
    )


def has_text(vocabulary: Vocabulary | None) -> bool:
    return any(values is not None for values in vocabulary or ())


def vocabulary_of(X: Any, name: str, weight: Array | None, gaps: Gaps = NO_GAPS) -> Vocabulary:
    """Return the strings in rows of positive weight, or () if all columns are plain numbers."""
    columns = columns_of(X)
    if columns is None:
        return ()
    return tuple(
        _sorted(
            _strings(columns, j, name, gaps, weight),
            columns.called(j),
        )
        if text
        else None
        for j, text in enumerate(columns.are_text)
    )


def _sorted(strings: Sequence[str | None], column: str) -> Array:
    found = sorted(string for string in set(strings) if string is not None)
    values = np.array(found, dtype=np.str_)
    if values.tolist() != found:
        raise ValueError(f"X must have no text that ends in a NUL; column {column} has such. Strip it.")
    return values


def merged_vocabulary(one: Vocabulary, other: Vocabulary) -> Vocabulary:
    """Return the vocabulary of the rows of both. A column of which both know text has the text of both."""
    if not (one and other):
        return one or other
    return tuple(
        a if b is None else b if a is None else np.union1d(a, b) for a, b in zip(one, other, strict=True)
    )


def as_numbers(X: Any, name: str, vocabulary: Vocabulary, weight: Array | None, gaps: Gaps = NO_GAPS) -> Any:
    """Return X with each text replaced by its rank in the vocabulary, which X has itself if it is ().

    A text that is not in the vocabulary is an error, unless the weight of its row is 0.
    """
    vocabulary = vocabulary or vocabulary_of(X, name, None, gaps)
    if not has_text(vocabulary):
        columns = columns_of(X)
        if columns is None or not any(columns.are_text):
            return X
    else:
        columns = columns_of(X)
        if columns is None:
            array = np.asarray(X)
            if array.ndim != 2:
                return X
            columns = Columns(tuple(array.T), (False,) * array.shape[1], column_names(X))
    if len(columns.arrays) != len(vocabulary):
        raise ValueError(
            f"{name} must have {len(vocabulary)} features, as in the fit; got {len(columns.arrays)}."
        )
    numbers = np.empty((len(columns), len(vocabulary)))
    for j, (column, text, values) in enumerate(
        zip(columns.arrays, columns.are_text, vocabulary, strict=True)
    ):
        called = columns.called(j)
        if text != (values is not None) and len(column) and not (gaps.allowed and _is_empty(column)):
            wanted, got = ("numbers", "text") if text else ("text", "numbers")
            raise TypeError(f"{name} must hold {wanted} in column {called}, as in the fit; got {got}.")
        if values is None:
            numbers[:, j] = _plain(column, name, called)
        else:
            numbers[:, j] = _ranks(_strings(columns, j, name, gaps), values, name, called, weight)
    return numbers


def _plain(column: Array, name: str, called: str) -> FloatArray:
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold real numbers or text; column {called} has {in_words(error)}."
        ) from None


def _strings(
    columns: Columns, j: int, name: str, gaps: Gaps, weight: Array | None = None
) -> list[str | None]:
    """Return a column of text as a list, with None for what is missing, of the rows that have weight."""
    column = columns.arrays[j] if weight is None else columns.arrays[j][weight > 0]
    strings: list[Any] = column.tolist()
    if column.dtype.kind != "U" and not all(isinstance(entry, str) for entry in strings):
        if any(_is_no_text(entry, gaps) for entry in strings):
            _raise_no_text(columns, j, name, gaps, weight)
        strings = [None if _is_null(entry) else entry for entry in strings]
    return strings


def _is_no_text(entry: Any, gaps: Gaps) -> bool:
    return not isinstance(entry, str) and not (gaps.allowed and _is_null(entry))


def _raise_no_text(columns: Columns, j: int, name: str, gaps: Gaps, weight: Array | None) -> NoReturn:
    """Tell the first entry of a column that is no text, and how many there are in each column of text."""
    counted = np.full(len(columns), True) if weight is None else weight > 0
    wrong = {
        i: counted & [_is_no_text(entry, gaps) for entry in columns.arrays[i].tolist()]
        for i, text in enumerate(columns.are_text)
        if text
    }
    row = int(wrong[j].argmax())
    counts = [f"{wrong[i].sum()} in column {columns.called(i)}" for i in wrong if wrong[i].any()]
    told = ", ".join(counts[:_MOST_NAMED])
    if len(counts) > _MOST_NAMED:
        told += f" and some in {len(counts) - _MOST_NAMED} other columns"
    raise ValueError(
        f"{name} must have text throughout in a column of text; row {row}, column {columns.called(j)} is "
        f"{columns.arrays[j].tolist()[row]!r}. Entries without text: {told}, in "
        f"{len(columns)} rows. Drop such rows, or give what is missing a name of its own"
        f"{gaps.remedy and ', or '}{gaps.remedy}."
    )


def _is_null(entry: Any) -> bool:
    """Return whether an entry is None, NaN, or what pandas has in their place."""
    return (
        entry is None
        or (isinstance(entry, float) and math.isnan(entry))
        or type(entry).__name__ in ("NAType", "NaTType")
    )


def _is_empty(column: Array) -> bool:
    """Return whether all entries of a column are missing, so that it may be one of text or of numbers."""
    return column.dtype.kind in "fO" and all(map(_is_null, column.tolist()))


def _ranks(
    strings: Sequence[str | None], values: Array, name: str, called: str, weight: Array | None
) -> FloatArray:
    ranks: dict[str | None, float] = {value: float(rank) for rank, value in enumerate(values.tolist())}
    ranks[None] = math.nan
    try:
        return np.fromiter(map(ranks.__getitem__, strings), np.float64, len(strings))
    except KeyError:
        for row, string in enumerate(strings):
            if string not in ranks and (weight is None or weight[row] > 0):
                raise ValueError(
                    f"{name} must hold the categories that the fit saw; row {row}, column {called} is "
                    f"{string!r}. Drop such rows, or fit to rows with all categories."
                ) from None
    return np.array([ranks.get(string, 0.0) for string in strings])
