"""The data files of the command line: .csv and .npy in memory, Parquet by its path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._sources.checks import check_columns
from fastem._sources.chunk_checks import check_named_columns
from fastem._sources.csv_files import is_csv, read_csv
from fastem._sources.parquet import ParquetReader
from fastem._typing import Array


class DataFile(NamedTuple):
    """What `fit` and models read. `columns` chooses those of Parquet; of arrays they have been chosen."""

    X: Any  # an array, which may be mapped into memory; columns with text; or the path of Parquet
    columns: tuple[str, ...] | None
    names: tuple[str, ...] | None  # of the columns of an array, where the file has names

    @property
    def n_samples(self) -> int:
        if isinstance(self.X, str):
            return ParquetReader(self.X, self.columns, None, True).n_samples or 0
        return len(self.X)


def open_file(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    of_model: Sequence[str] | None = None,
    texts: bool = False,
) -> DataFile:
    """Open a file of rows, or a folder of Parquet files.

    `columns` are names, or numbers from 0 where the file has no names. Without them, a file that has names is
    read in the order of those `of_model`. Only with `texts` may the columns of a .csv be text.
    """
    if not path.exists():
        raise FileNotFoundError(f"FILE must exist; there is no {str(path)!r}.")
    wanted = check_columns(columns)
    if path.is_dir() or path.suffix == ".parquet":
        return DataFile(str(path), wanted or check_columns(of_model), None)
    if path.suffix == ".npy":
        return _chosen(_read_npy(path), wanted)
    if is_csv(path):
        model = None if wanted is not None else check_columns(of_model)
        rows, names, _ = read_csv(path, wanted, feature_names=model, vocabulary=() if texts else None)
        return DataFile(rows, None, names)
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


def _chosen(X: Array, wanted: tuple[str, ...] | None) -> DataFile:
    if wanted is None:
        return DataFile(X, None, None)
    numbers = [str(j) for j in range(X.shape[1])]
    check_named_columns(wanted, numbers)
    return DataFile(X[:, [numbers.index(name) for name in wanted]], None, None)
