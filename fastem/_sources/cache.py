"""A copy of the rows in temporary files, which are written once and then memory-mapped."""

import math
import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from fastem._checks import in_words
from fastem._typing import Array, Rows


class RowsFile:
    """Writes rows, and what is known about them, to files without a name.

    The files vanish with the arrays that map them.
    """

    def __init__(
        self,
        folder: Path,
        n_features: int,
        dtype: np.dtype[Any],
        weighted: bool,
        labelled: bool,
        noise_shape: tuple[int, ...] = (),
    ) -> None:
        self._folder, self._n_samples = folder, 0
        self._shapes = {"X": (n_features,), "noise": noise_shape}  # of what has more than a number for a row
        self._dtypes = {"X": dtype}
        if weighted:
            self._dtypes["weight"] = dtype
        if labelled:
            self._dtypes["labels"] = np.dtype(np.int64)
        if noise_shape:
            self._dtypes["noise"] = np.dtype(np.float64)
        with ExitStack() as opened:
            self._kept = {name: opened.enter_context(TemporaryFile(dir=folder)) for name in self._dtypes}
            self._files = opened.pop_all()

    def __enter__(self) -> "RowsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def write(self, rows: Rows) -> None:
        self._n_samples += len(rows.X)
        known = rows.known()
        for name, file in self._kept.items():
            self._write(file, known[name])

    def rows(self) -> Rows:
        """Return everything that was written, memory-mapped."""
        n = self._n_samples
        shapes = {name: (n, *self._shapes.get(name, ())) for name in self._kept}
        arrays: dict[str, Any] = {
            name: np.memmap(file, self._dtypes[name], "r", shape=shapes[name])
            for name, file in self._kept.items()
        }
        return Rows("X", 0, **arrays)

    def _write(self, file: IO[bytes], array: Array) -> None:
        try:
            file.write(array.data)
            file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"cache_dir must have room for X; {self._n_samples} rows of it could not be written to "
                f"{str(self._folder)!r}: {in_words(error)}. Name a folder on another disk.",
            ) from None


def check_room(
    folder: Path,
    n_samples: int,
    n_features: int,
    dtype: np.dtype[Any],
    weighted: bool,
    labelled: bool,
    noise_shape: tuple[int, ...] = (),
) -> None:
    row = (n_features + weighted) * dtype.itemsize + labelled * np.dtype(np.int64).itemsize
    row += math.prod(noise_shape) * np.dtype(np.float64).itemsize if noise_shape else 0
    needed = n_samples * row
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"cache_dir must have room for X, {needed / 1e9:.3g} GB; {str(folder)!r} has {free / 1e9:.3g}. "
            "Name a folder on another disk, or leave it out to read X anew in each pass."
        )
