"""What reads X anew in every pass: iterables, functions that make them, and stores that can be sliced."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem._sources.chunk_checks import raise_one_shot
from fastem._sources.tables import as_table
from fastem._typing import RawChunk

# As long as a slab mostly is: so that a slice is one, and needs no copy.
_SLICE_BYTES = 16 << 20
_SLICE_ROWS = 1 << 14  # of which slabs have multiples: a tile for each of 64 slots


class Reader(ABC):
    """Chunks of rows in the same order in every pass. Subclasses are final."""

    n_samples: int | None = None  # where it is known without a pass
    lasting = False  # whether a chunk stays as it is when the next is read
    feature_names: tuple[str, ...] | None = None  # where the chunks do not tell

    @abstractmethod
    def chunks(self) -> Iterator[RawChunk]:
        """One pass."""


class IterableReader(Reader):
    """An iterable, or a function that makes one, of chunks or (chunk, weights)."""

    def __init__(self, X: Callable[[], Iterable[Any]] | Iterable[Any]) -> None:
        self._make = X if callable(X) else lambda: X
        self.lasting = isinstance(X, Sequence)

    def chunks(self) -> Iterator[RawChunk]:
        for number, item in enumerate(self._make()):
            rows, weight = item if _is_pair(item) else (item, None)
            yield RawChunk(f"chunk {number} of X", rows, weight)


class StoreReader(Reader):
    """A two-dimensional array on disk that can be sliced."""

    lasting = True

    def __init__(self, X: Any) -> None:
        self._X = X
        self.n_samples = int(X.shape[0])
        row_bytes = max(1, int(X.shape[1]) * np.dtype(X.dtype).itemsize)
        rows = _SLICE_BYTES // row_bytes
        if rows > _SLICE_ROWS:
            rows -= rows % _SLICE_ROWS
        # Whole chunks of the store, as each is decompressed as a whole.
        stored = (getattr(X, "chunks", None) or (1,))[0]
        unit = stored if isinstance(stored, int) else 1
        self._rows = unit * max(1, rows // unit)

    def chunks(self) -> Iterator[RawChunk]:
        for start in range(0, max(1, self._X.shape[0]), self._rows):
            rows = self._X[start : start + self._rows]
            yield RawChunk(f"the chunk of X at row {start}", rows, None)


def reader_of(X: Any) -> Reader | None:
    """What reads X in chunks; None for what is in memory, or is no data at all."""
    if isinstance(X, np.ndarray) or _is_table(X):
        return None
    if isinstance(X, Sequence):
        return IterableReader(X) if len(X) and _is_chunk(X[0]) else None
    if _is_store(X):
        return StoreReader(X)
    if hasattr(X, "__array__"):
        return None
    if isinstance(X, Iterator):
        raise_one_shot(X)
    return IterableReader(X) if callable(X) or isinstance(X, Iterable) else None


def _is_table(X: Any) -> bool:
    try:
        return as_table(X) is not None
    except ValueError:  # two columns of one name, which the check of tables will tell
        return True


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _is_chunk(item: Any) -> bool:
    rows = item[0] if _is_pair(item) else item
    return _is_table(rows) or (isinstance(rows, np.ndarray) and rows.ndim == 2)


def _is_store(X: Any) -> bool:
    """Whether X is sliced like an array and is none in memory: those tell others where it is."""
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    sliced = isinstance(shape, tuple) and len(shape) == 2 and isinstance(dtype, np.dtype)
    in_memory = any(hasattr(X, name) for name in ("__array_interface__", "__dlpack__", "toarray"))
    return sliced and hasattr(X, "__getitem__") and not in_memory
