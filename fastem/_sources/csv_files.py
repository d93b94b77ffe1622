"""Files of numbers with commas between them (.csv), which are read into memory."""

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import in_words
from fastem._sources.checks import check_names_of_model
from fastem._sources.chunk_checks import check_named_columns
from fastem._sources.tables import check_unique
from fastem._sources.texts import NO_GAPS, Columns, Gaps, Vocabulary, has_text
from fastem._typing import Array, FloatArray

_MISSING_TEXT = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null"))
_MISSING = _MISSING_TEXT | {"none", "?", "-"}  # among numbers; as text these may mean something
_INTEGERS = 2.0**53  # below this float64 holds every integer
_DIGITS = 309  # an integer of more is infinite in float64
_BLOCK = 1 << 20  # bytes that are searched for quotes at a time
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class CsvRows(NamedTuple):
    """What a file holds of the wanted columns."""

    X: Array | Columns
    names: tuple[str, ...] | None  # of the columns of X, if the file has names
    others: tuple[FloatArray, ...]  # other columns that were asked for, such as weights
    largest_integer: int  # in size, of X, if it is beyond those that floats hold


class _Head(NamedTuple):
    path: str
    names: tuple[str, ...]  # the numbers of the columns, as text, if the file has no names
    named: bool
    lines: int  # lines up to the first row of numbers


def is_csv(X: Any) -> bool:
    return isinstance(X, (str, os.PathLike)) and Path(X).suffix.lower() == ".csv"


def read_csv(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    others: Sequence[str] = (),
    feature_names: tuple[str, ...] | None = None,
    vocabulary: Vocabulary | None = None,
    gaps: Gaps = NO_GAPS,
    labels: Sequence[str] = (),
) -> CsvRows:
    """Read the `columns`, or those of a model, or all but the `others`, which are read too.

    A first line that is not all numbers has the names. Without it, columns are named by their numbers, from
    0. Columns that are not read may hold text. The others may if there is a `vocabulary`. Cells without a
    number become NaN if there may be `gaps`, and in `labels`, which may be unknown, in any case.
    """
    head = _head(os.fspath(path))
    check_named_columns([*(columns or ()), *others], head.names)
    if feature_names is not None and head.named:
        check_names_of_model(feature_names, head.names, "X")
        columns = feature_names
    chosen = tuple(columns or (name for name in head.names if name not in others))
    if not chosen:
        raise ValueError(f"X must have a column beside {list(others)}; {head.path!r} has no other.")
    if "" in chosen:
        raise ValueError(
            f"X must have a name for each column that is used; column {head.names.index('')} of "
            f"{head.path!r} has none. If it numbers the rows, as pandas does unless index=False, choose the "
            "others with columns=[...]."
        )
    check_unique(repr(head.path), head.names, (*chosen, *others))
    _check_quotes(head.path)
    if next(_rows(head.path, head.lines), None) is None:
        raise ValueError(f"{head.path!r} must have at least one row of numbers.")
    used = [head.names.index(name) for name in (*chosen, *others)]
    d = len(chosen)
    whole = [j for j in used if not gaps.allowed and head.names[j] not in labels]  # where nothing may lack
    rows: Any = None
    if not has_text(vocabulary):
        try:
            rows = _loaded(head, used, np.float64)
        except ValueError as error:
            rows = _loaded_with_gaps(head, used) if len(whole) < len(used) else None
            if rows is not None and np.isnan(rows[:, [used.index(j) for j in whole]]).any():
                _explain(head, whole, error, gaps)
            if rows is None and vocabulary is None:
                _explain(head, used, error, gaps)
    if rows is None:
        rows = _with_text(head, used, d, vocabulary or (), gaps, whole)
        X: Array | Columns = Columns(rows.arrays[:d], rows.are_text[:d], chosen if head.named else None)
        beside = rows.arrays[d:]
        numbers = [(j, rows.arrays[i]) for i, j in enumerate(used[:d]) if not rows.are_text[i]]
    else:
        X, beside = (np.ascontiguousarray(rows[:, :d]) if others else rows), tuple(rows[:, d:].T)
        numbers = list(zip(used[:d], X.T, strict=True))
    largest = _largest_integer(head, [j for j, column in numbers if (np.abs(column) >= _INTEGERS).any()])
    return CsvRows(X, chosen if head.named else None, tuple(beside), largest)


def _head(path: str) -> _Head:
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"X as a path that ends in .csv must be a file; {path!r} is a folder. Pass a function that "
            "yields its tables, or dask.dataframe.read_csv of its files."
        )
    if not os.path.isfile(path):
        raise FileNotFoundError(f"X as a path must be that of a file that exists; there is no {path!r}.")
    rows = _rows(path)
    _, lines, fields = next(rows, (0, 0, []))
    if not fields:
        raise ValueError(f"{path!r} must have at least one row of numbers.")
    if len(fields) == 1:
        _check_separator(path, fields[0])
    numbers = [_number(field) for field in fields]
    if any(number is not None for number in numbers) and all(
        number is not None or _is_missing(field) for number, field in zip(numbers, fields, strict=True)
    ):
        return _Head(path, tuple(str(j) for j in range(len(fields))), False, 0)
    if fields[0].startswith("#") and len(next(rows, (0, 0, fields))[2]) != len(fields):
        raise ValueError(
            f"{path!r} must begin with the names of its columns, or with numbers; line {lines} is a comment, "
            f'{",".join(fields)!r}. Remove it, or pass pandas.read_csv(path, comment="#").'
        )
    return _Head(path, tuple(field.strip() for field in fields), True, lines)


def _rows(path: str, skipped: int = 0) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the number of each row that is not empty, that of its last line, from 1, and its fields."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for _ in range(skipped):
                file.readline()
            reader = csv.reader(file, skipinitialspace=True)
            row = 0
            for fields in reader:
                if fields and fields != [""]:
                    yield row, skipped + reader.line_num, fields
                    row += 1
    except UnicodeDecodeError as error:
        encoding = "utf-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
        raise ValueError(
            f"{path!r} must be text in UTF-8; {in_words(error)}. Convert it, or pass the table "
            f"pandas.read_csv(path, encoding={encoding!r}), or whichever encoding it has."
        ) from None
    except csv.Error as error:
        raise ValueError(
            f"{path!r} must be text with commas between its fields: {in_words(error)}. Mend it, or pass "
            "the table pandas.read_csv(path), with options for what differs."
        ) from None


def _check_quotes(path: str) -> None:
    """Raise an error if a double quote opens and none closes, since all rows after it would be one field."""
    with open(path, "rb") as data:
        if sum(part.count(b'"') for part in iter(lambda: data.read(_BLOCK), b"")) % 2 == 0:
            return
    line = 0
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            for _ in reader:
                line = reader.line_num
        except csv.Error as error:
            if "end of data" in str(error):
                raise ValueError(
                    f"{path!r} must close each double quote; one that opens in the row of line {line + 1} is "
                    "never closed. Close or remove it."
                ) from None


def _loaded_with_gaps(head: _Head, used: list[int]) -> Array | None:
    """Return the columns of these numbers, with NaN in cells without one, or None if there is text."""
    try:
        return _loaded(head, used, np.float64, _number_or_nan)
    except ValueError:
        return None


def _number_or_nan(cell: str) -> float:
    return math.nan if _is_missing(cell) else float(cell)


def _loaded(head: _Head, used: list[int], dtype: Any, convert: Any = None) -> Array:
    """Return the columns of these numbers."""
    everything = used == list(range(len(head.names)))
    with open(head.path, encoding="utf-8-sig") as file:
        for _ in range(head.lines):
            file.readline()
        rows = np.loadtxt(
            file,
            dtype=dtype,
            delimiter=",",
            comments=None,  # a row that begins with # is a mistake, not to be left out in silence
            ndmin=2,
            usecols=None if everything else used,
            quotechar='"',
            converters=convert,
        )
    if rows.size and rows.shape[1] != len(used):
        raise ValueError(f"rows have {rows.shape[1]} fields")
    return np.asarray(rows)


def _with_text(
    head: _Head, used: list[int], d: int, vocabulary: Vocabulary, gaps: Gaps, whole: list[int]
) -> Columns:
    """Return the columns, some of which may hold text: those of a `vocabulary`, or that are not numbers."""
    try:
        rows = _loaded(head, used, np.str_)
    except ValueError as error:
        _explain(head, used, error, gaps)
    arrays, are_text = [], []
    for j, strings in enumerate(np.char.strip(rows.T)):
        text = bool(vocabulary) and j < d and vocabulary[j] is not None
        if not text:
            numbers = strings
            if used[j] not in whole:
                numbers = np.where(_are_in(_MISSING, strings), "nan", strings)
            try:
                arrays.append(numbers.astype(np.float64))
            except ValueError as error:
                text = j < d
                if not text or all(_number(cell) is not None or _is_missing(cell) for cell in strings):
                    _explain(head, [used[j]], error, gaps)
        if text:
            absent = _are_in(_MISSING_TEXT, strings) if gaps.allowed else strings == ""
            arrays.append(np.where(absent, None, strings.astype(object)))
        are_text.append(text)
    return Columns(tuple(arrays), tuple(are_text))


def _largest_integer(head: _Head, used: list[int]) -> int:
    """Return the size of the largest integer in the cells of these columns, or 0 if they have none."""
    if not used:
        return 0
    cells = (fields[j].strip().lstrip("+-") for _, _, fields in _rows(head.path, head.lines) for j in used)
    return max((int(cell) for cell in cells if cell.isdecimal() and len(cell) <= _DIGITS), default=0)


def _are_in(words: frozenset[str], strings: Array) -> Array:
    return np.isin(np.char.lower(strings), list(words))


def _explain(head: _Head, used: list[int], error: ValueError, gaps: Gaps) -> NoReturn:
    """Say what is wrong with a file that could not be read, by reading it again."""
    width = len(head.names)
    missing: Counter[int] = Counter()
    first, n = "", 0
    for row, line, fields in _rows(head.path, head.lines):
        where = f"row {row} (line {line})"
        if len(fields) != width:
            _check_separator(head.path, ",".join(fields))
            raise ValueError(
                f"{head.path!r} must have {width} fields in each row, as in the first line; {where} has "
                f"{len(fields)}. Mend it, or put fields with commas between double quotes."
            )
        n += 1
        for j in used:
            if _number(fields[j]) is not None:
                continue
            if not _is_missing(fields[j]):
                _raise_text(head, j, where, fields[j])
            if gaps.allowed:
                continue
            missing[j] += 1
            first = first or where
    if not missing:
        raise ValueError(f"{head.path!r} must hold numbers separated by commas: {in_words(error)}.") from None
    counts = ", ".join(f"{missing[j]} in column {_called(head, j)}" for j in sorted(missing))
    raise ValueError(
        f"{head.path!r} must have a number in each cell that is used; cells without one: {counts}, in {n} "
        f"rows; the first is in {first}. Drop such rows, fill in the values, or leave these columns out with "
        f"columns=[...]{gaps.remedy and ', or '}{gaps.remedy}. pandas does the first by "
        "pandas.read_csv(path).dropna(), a table to pass as X."
    ) from None


def _raise_text(head: _Head, j: int, where: str, text: str) -> NoReturn:
    _check_separator(head.path, text)
    remedy = "Choose columns of numbers with columns=[...]"
    if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", text):
        remedy = "Write decimal points in place of decimal commas"
    elif head.named and head.names[0].startswith("#"):
        remedy = "Remove the first line if it is a comment"
    raise ValueError(
        f"{head.path!r} must hold numbers in the columns that are used; {where}, column {_called(head, j)} "
        f"is {text!r}. {remedy}. The first line may hold names. Text goes with "
        'distribution="categorical".'
    ) from None


def _check_separator(path: str, text: str) -> None:
    """Raise an error if a text without the commas that it should have has other separators."""
    for separator, called in _SEPARATORS.items():
        if separator in text:
            raise ValueError(
                f"{path!r} must have commas between its fields; it has {called}. Read it with "
                f"pandas.read_csv(path, sep={separator!r}), which gives a table to pass as X (where numbers "
                'have decimal commas, add decimal=",").'
            ) from None
    if len(text.split()) > 1 and all(_number(part) is not None for part in text.split()):
        raise ValueError(
            f"{path!r} must have commas between its fields; it has spaces. Read it with numpy.loadtxt(path), "
            "which gives an array to pass as X."
        ) from None


def _number(text: str) -> float | None:
    """Return a number, or None if the text is none, or NaN."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _is_missing(text: str) -> bool:
    return text.strip().lower() in _MISSING


def _called(head: _Head, j: int) -> str:
    return repr(head.names[j]) if head.named else str(j)
