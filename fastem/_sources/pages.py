"""Passes over memory-mapped files, which read the next slab ahead and release slabs that are done."""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from fastem._typing import Array

# The other mode, copy on write, holds changes that are in no file, so its pages must not be released.
_SHARED_MODES = ("r", "r+", "w+")


def swept(array: Array, rows: int) -> Iterator[tuple[int, Array]]:
    """Yield (first row, slab) for the slabs of an array, which may be a memory-mapped file."""
    pages = _Pages(array)
    for start in range(0, len(array), rows):
        slab = array[start : start + rows]
        pages.move_to(slab, array[start + rows : start + 2 * rows])
        yield start, slab
    pages.leave()


def is_mapped(array: Array) -> bool:
    """Return whether `swept` advises the system about the pages of an array."""
    return _mapping_of(array) is not None


class _Pages:
    """Advises the operating system about the pages of a memory-mapped array during a pass.

    Pages that are done leave the memory of this process but stay in the cache of the system, where the next
    pass finds them. For any other array it gives no advice.
    """

    def __init__(self, X: Array) -> None:
        self._mapping = _mapping_of(X)
        self._here: tuple[int, int] | None = None
        if self._mapping is not None:
            self._origin = np.frombuffer(self._mapping, np.uint8).ctypes.data

    def move_to(self, slab: Array, following: Array) -> None:
        if self._mapping is None:
            return
        self.leave()
        self._here = self._bounds(slab)
        if following.size:
            self._advise(mmap.MADV_WILLNEED, *self._bounds(following))

    def leave(self) -> None:
        if self._here is not None:
            self._advise(mmap.MADV_DONTNEED, *self._here)
            self._here = None

    def _bounds(self, slab: Array) -> tuple[int, int]:
        """Return the first byte of the first page of a slab, and the end of the slab."""
        first = slab.ctypes.data - self._origin
        page = mmap.PAGESIZE
        return first // page * page, first + slab.nbytes

    def _advise(self, advice: int, first: int, end: int) -> None:
        if self._mapping is not None:
            with suppress(OSError):  # advice may fail, for example for pages that are locked in memory
                self._mapping.madvise(advice, first, end - first)


def _mapping_of(X: Array) -> mmap.mmap | None:
    """Return the shared mapping that holds the rows of X contiguously, or None if there is none."""
    owner: Any = X
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    if not (isinstance(owner, np.memmap) and owner.mode in _SHARED_MODES and X.flags.c_contiguous):
        return None
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
