"""A copy of the rows in a temporary file, which is written once and then memory-mapped."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from fastem._typing import Array


class RowsFile:
    """Writes rows and weights to files without a name. These vanish with the arrays that map them."""

    def __init__(self, folder: Path, n_features: int, dtype: np.dtype[Any], weighted: bool) -> None:
        self._folder, self._n_features, self._dtype = folder, n_features, dtype
        self._n_samples = 0
        with ExitStack() as opened:
            self._rows = opened.enter_context(TemporaryFile(dir=folder))
            self._weights = opened.enter_context(TemporaryFile(dir=folder)) if weighted else None
            self._files = opened.pop_all()

    def __enter__(self) -> "RowsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def write(self, rows: Array, weights: Array | None) -> None:
        self._n_samples += len(rows)
        self._write(self._rows, rows)
        if self._weights is not None and weights is not None:
            self._write(self._weights, weights)

    def arrays(self) -> tuple[Array, Array | None]:
        """Return everything that was written, memory-mapped."""
        rows = self._mapped(self._rows, (self._n_samples, self._n_features))
        return rows, None if self._weights is None else self._mapped(self._weights, (self._n_samples,))

    def _write(self, file: IO[bytes], array: Array) -> None:
        try:
            file.write(array.data)
            file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"cache_dir must have room for X; {self._n_samples} rows of it could not be written to "
                f"{str(self._folder)!r}: {error}. Name a folder on another disk.",
            ) from None

    def _mapped(self, file: IO[bytes], shape: tuple[int, ...]) -> Array:
        return np.memmap(file, self._dtype, "r", shape=shape)


def check_room(folder: Path, n_samples: int, n_features: int, dtype: np.dtype[Any], weighted: bool) -> None:
    needed = n_samples * (n_features + weighted) * dtype.itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"cache_dir must have room for X, {needed / 1e9:.3g} GB; {str(folder)!r} has {free / 1e9:.3g}. "
            "Name a folder on another disk, or leave it out to read X anew in each pass."
        )
