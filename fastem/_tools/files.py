"""The data files of the command line: .csv and .npy in memory, Parquet by its path."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._sources.checks import check_columns
from fastem._sources.parquet import ParquetReader
from fastem._typing import Array


class DataFile(NamedTuple):
    """What `fit` and models read. `columns` chooses those of Parquet; of arrays they have been chosen."""

    X: Any  # an array, which may be mapped into memory, or the path of Parquet
    columns: tuple[str, ...] | None
    names: tuple[str, ...] | None  # of the columns of an array, where the file has names

    @property
    def n_samples(self) -> int:
        if isinstance(self.X, np.ndarray):
            return len(self.X)
        return ParquetReader(self.X, self.columns, None, True).n_samples or 0


def open_file(
    path: Path, columns: Sequence[str] | None = None, *, of_model: Sequence[str] | None = None
) -> DataFile:
    """Open a file of rows, or a folder of Parquet files.

    `columns` are names, or numbers from 0 where the file has no names. Without them, a file that has names is
    read in the order of those `of_model`.
    """
    if not path.exists():
        raise FileNotFoundError(f"FILE must exist; there is no {str(path)!r}.")
    wanted = check_columns(columns)
    if path.is_dir() or path.suffix == ".parquet":
        return DataFile(str(path), wanted or check_columns(of_model), None)
    if path.suffix == ".npy":
        return _chosen(_read_npy(path), None, wanted)
    if path.suffix == ".csv":
        names = _header(path)
        if wanted is None and names is not None:
            wanted = check_columns(of_model)
        return _chosen(_read_csv(path, names, wanted), names, wanted)
    raise ValueError(
        f"FILE must end in .csv, .npy or .parquet, or be a folder of Parquet files; got {str(path)!r}."
    )


def _read_npy(path: Path) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} must be a .npy file of numbers: {error}") from None
    if array.ndim != 2:
        raise ValueError(f"{str(path)!r} must hold a 2-D array, rows by columns; got shape {array.shape}.")
    return np.asarray(array)


def _header(path: Path) -> tuple[str, ...] | None:
    """Return the names in the first line of a .csv, or None if that line is numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{str(path)!r} must be text in UTF-8, with commas between: {error}.") from None
    try:
        [float(field) for field in first]
    except ValueError:
        names = tuple(name.strip() for name in first)
        if len(set(names)) < len(names):
            raise ValueError(
                f"{str(path)!r} must have columns of different names; got {list(names)}."
            ) from None
        return names
    return None


def _read_csv(path: Path, names: tuple[str, ...] | None, wanted: tuple[str, ...] | None) -> Array:
    """Return the wanted columns of a .csv, or all. Those that are not wanted may hold text."""
    used = None if wanted is None or names is None else _places(names, wanted)
    try:
        with path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # it is an error below
            rows = np.loadtxt(
                file,
                delimiter=",",
                comments=None,  # a row that begins with # is a mistake, not to be left out in silence
                skiprows=int(names is not None),
                ndmin=2,
                usecols=used,
                quotechar='"',
            )
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} must hold numbers separated by commas: {str(error).split(';')[0].rstrip('.')}. "
            "Rows count from 0, after the header. Choose columns of numbers with --columns, and leave out "
            "rows with missing values."
        ) from None
    if rows.size == 0:
        raise ValueError(f"{str(path)!r} must have at least one row of numbers.")
    return np.asarray(rows)


def _chosen(X: Array, names: tuple[str, ...] | None, wanted: tuple[str, ...] | None) -> DataFile:
    if wanted is None or names is not None:
        return DataFile(X, None, names if wanted is None else wanted)
    return DataFile(X[:, _places([str(j) for j in range(X.shape[1])], wanted)], None, None)


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"FILE must have the column {name!r}; it has {', '.join(names)}. "
                "Choose others with --columns."
            )
    return [names.index(name) for name in wanted]
