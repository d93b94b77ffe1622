"""Memory-mapped files: the next slab is read ahead, and those behind take no memory."""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from fastem._typing import Array

# One that is copied on write holds changes that are in no file.
_SHARED_MODES = ("r", "r+", "w+")


def swept(array: Array, rows: int) -> Iterator[tuple[int, Array]]:
    """(first row, slab) of an array that may be a memory-mapped file."""
    pages = _Pages(array)
    for start in range(0, len(array), rows):
        slab = array[start : start + rows]
        pages.move_to(slab, array[start + rows : start + 2 * rows])
        yield start, slab
    pages.leave()


class _Pages:
    """What a sweep tells the operating system of the pages of a memory-mapped array.

    Pages behind the sweep leave the memory of this process and stay in the cache of the system, so that
    the next pass finds them there. Of any other array it tells nothing.
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
        """First byte and end of the pages, whole ones, that a slab lies in."""
        first = slab.ctypes.data - self._origin
        page = mmap.PAGESIZE
        return first // page * page, first + slab.nbytes

    def _advise(self, advice: int, first: int, end: int) -> None:
        if self._mapping is not None:
            with suppress(OSError):  # it is advice: pages that are locked in memory stay
                self._mapping.madvise(advice, first, end - first)


def _mapping_of(X: Array) -> mmap.mmap | None:
    """The shared mapping whose rows X is, one after the other; None if there is none."""
    owner: Any = X
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    if not (isinstance(owner, np.memmap) and owner.mode in _SHARED_MODES and X.flags.c_contiguous):
        return None
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
