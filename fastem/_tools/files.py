"""The data files of the command line: .csv and Parquet by their paths, .npy as a mapped array."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem._sources.about import About
from fastem._sources.checks import check_columns
from fastem._sources.chunk_checks import check_named_columns
from fastem._sources.csv_files import is_csv, read_csv
from fastem._sources.measurements import OfRows, joined
from fastem._sources.parquet import ParquetReader
from fastem._sources.texts import Gaps
from fastem._typing import Array


class DataFile(NamedTuple):
    """What `fit` and models read. `columns` chooses those of a path; of arrays they have been chosen."""

    X: Any  # the path of a .csv or of Parquet, or an array
    columns: tuple[str, ...] | None
    has_names: bool = True  # of its columns, where that has been looked up
    noise: Any = None  # that of the rows: names of columns of a path, or variances

    @property
    def n_samples(self) -> int | None:
        """The number of rows. Of the path of a .csv it is not known before the file is read."""
        if not isinstance(self.X, str):
            return len(self.X)
        return None if is_csv(self.X) else ParquetReader(self.X, self.columns, About(), True).n_samples


def open_file(
    path: Path, columns: Sequence[str] | None = None, noise: tuple[str, ...] | None = None
) -> DataFile:
    """Open a file of rows, or a folder of Parquet files, to fit it.

    `columns` are names, or numbers from 0 where the file has no names. So are those of the variances of
    `noise`.
    """
    if not path.exists():
        raise FileNotFoundError(f"FILE must exist; there is no {str(path)!r}.")
    wanted = check_columns(columns)
    if path.is_dir() or path.suffix == ".parquet" or is_csv(path):
        return DataFile(str(path), wanted, noise=noise)
    if path.suffix == ".npy":
        return _chosen(_read_npy(path), wanted, noise)
    raise ValueError(
        f"FILE must end in .csv, .npy or .parquet, or be a folder of Parquet files; got {str(path)!r}."
    )


def open_for_model(
    path: Path,
    columns: Sequence[str] | None,
    feature_names: tuple[str, ...] | None,
    texts: bool,
    missing: bool = False,
    keep: bool = False,
    noise: tuple[str, ...] | None = None,
) -> DataFile:
    """Open a file for a model, which picks its features by their names. If there are `columns`, it has these.

    It cannot pick columns by number. Where a .csv has no names, they are chosen here. With `keep`, it is
    looked up whether a .csv has names. `texts` and `missing` tell whether the model takes text and NaN.
    """
    data = open_file(path, columns, noise)
    if not isinstance(data.X, str):
        return data
    if not is_csv(path):
        return data._replace(columns=data.columns or feature_names)
    if keep or noise or all(name.isdecimal() for name in data.columns or [""]):
        vocabulary = () if texts else None
        rows, names, others, _ = read_csv(
            path, data.columns, noise or (), feature_names, vocabulary, Gaps(missing)
        )
        if names is None:
            return DataFile(rows, None, False, joined(others, noise) if noise else None)
    return data


def _read_npy(path: Path) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} must be a .npy file of numbers: {error}") from None
    if array.ndim != 2:
        raise ValueError(f"{str(path)!r} must hold a 2-D array, rows by columns; got shape {array.shape}.")
    return np.asarray(array)


def _chosen(X: Array, wanted: tuple[str, ...] | None, noise: tuple[str, ...] | None) -> DataFile:
    if wanted is None and noise is None:
        return DataFile(X, None)
    numbers = [str(j) for j in range(X.shape[1])]
    variances = noise or ()
    wanted = wanted or tuple(number for number in numbers if number not in variances)
    check_named_columns([*wanted, *variances], numbers)
    chosen, known = (X[:, [numbers.index(name) for name in names]] for names in (wanted, variances))
    return DataFile(chosen, None, noise=OfRows(known, variances) if variances else None)
