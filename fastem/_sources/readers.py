"""Readers, which read X again in every pass: from iterables, from functions, and from stores with slices."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastem._checks import is_sparse
from fastem._sources.chunk_checks import check_chunks, raise_mapping, raise_one_shot
from fastem._sources.tables import as_table
from fastem._typing import RawChunk

# Slices of a store have the size that slabs mostly have. Then a slice is a slab and need not be copied.
_SLICE_BYTES = 16 << 20
_SLICE_ROWS = 1 << 14  # slabs mostly have multiples of this, which is a tile for each of 64 slots


class Reader(ABC):
    """Chunks of rows in the same order in every pass. Subclasses are final."""

    n_samples: int | None = None  # None if it is not known without a pass
    lasting = False  # whether a chunk stays as it is when the next is read
    feature_names: tuple[str, ...] | None = None  # None if only the chunks may have names
    largest_integer = 0  # in size, of those that became floats in the passes so far

    @abstractmethod
    def chunks(self) -> Iterator[RawChunk]:
        """Make one pass over the chunks."""


class IterableReader(Reader):
    """An iterable of chunks, pairs (chunk, weights) or dicts, or a function that returns one."""

    def __init__(self, X: Callable[[], Iterable[Any]] | Iterable[Any]) -> None:
        self._make = X if callable(X) else lambda: X
        self.lasting = isinstance(X, Sequence)

    def chunks(self) -> Iterator[RawChunk]:
        for number, item in enumerate(check_chunks(self._make())):
            yield RawChunk(f"chunk {number} of X", *_parts(item))


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
        # Read whole chunks of the store, since a chunk can only be decompressed as a whole.
        stored = (getattr(X, "chunks", None) or (1,))[0]
        unit = stored if isinstance(stored, int) else 1
        self._rows = unit * max(1, rows // unit)

    def chunks(self) -> Iterator[RawChunk]:
        for start in range(0, max(1, self._X.shape[0]), self._rows):
            rows = self._X[start : start + self._rows]
            yield RawChunk(f"the chunk of X at row {start}", rows, None)


def reader_of(X: Any) -> Reader | None:
    """Return a reader of X in chunks, or None if X is in memory or is not data."""
    if isinstance(X, (np.ndarray, memoryview)) or is_sparse(X) or _is_table(X):
        return None
    if isinstance(X, Mapping):
        raise_mapping(X)
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
    except (TypeError, ValueError):  # its names are wrong, and the check of tables will say so
        return True


_NAMES = ("X", "sample_weight", "labels", "noise")  # the keys of chunks that are dicts


def _parts(item: Any) -> tuple[Any, ...]:
    """Return the rows of a chunk, and the weights and labels that come with it, if any."""
    if isinstance(item, dict):
        if "X" not in item or set(item) - set(_NAMES):
            raise ValueError(
                f"chunks as dicts must have the key 'X', and no others than {', '.join(_NAMES)}; "
                f"got {list(item)}."
            )
        return tuple(item.get(name) for name in _NAMES)
    return item if isinstance(item, tuple) and len(item) == 2 else (item,)


def _is_chunk(item: Any) -> bool:
    if isinstance(item, dict):
        return True
    rows = _parts(item)[0]
    return _is_table(rows) or (isinstance(rows, np.ndarray) and rows.ndim == 2)


def _is_store(X: Any) -> bool:
    """Return whether X can be sliced like an array but is not in memory.

    Arrays in memory have an attribute by which other libraries find their data.
    """
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    sliced = isinstance(shape, tuple) and len(shape) == 2 and isinstance(dtype, np.dtype)
    in_memory = any(hasattr(X, name) for name in ("__array_interface__", "__dlpack__", "toarray"))
    return sliced and hasattr(X, "__getitem__") and not in_memory
