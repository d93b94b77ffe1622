"""The moments of all rows, summed slab by slab: of whole rows, or of what each column has."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastem._families.frame import Moments
from fastem._kernels._moments import slot_moments
from fastem._kernels._observed import slot_observed_moments
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, FloatArray, Rows, read_only

MAX_SLOTS = 64
_NUMBERS_PER_SLOT = 65536


def new_totals(d: int, missing: bool) -> "_Totals":
    """Return the empty sums over rows of d features, in which numbers may be `missing`."""
    return _ObservedTotals(d) if missing else _PlainTotals(d)


class _Totals(ABC):
    """Sums over the slabs so far, for each slot."""

    kernel: Any
    arrays: tuple[Array, ...]  # what the kernel fills, with the slots along the first axis
    used = 1  # slots

    def add(self, slab: Rows, n_threads: int | None) -> None:
        X, weight = slab.X, np.empty(0, slab.X.dtype) if slab.weight is None else slab.weight
        # The slots depend on this slab alone, since a stream does not know how many slabs will follow.
        slots = max(1, min(MAX_SLOTS, X.size // _NUMBERS_PER_SLOT))
        self.used = max(self.used, slots)
        run_slots(self.kernel, (X, read_only(weight), *(a[:slots] for a in self.arrays)), slots, n_threads)

    @abstractmethod
    def moments(self) -> Moments: ...


class _PlainTotals(_Totals):
    kernel = staticmethod(slot_moments)

    def __init__(self, d: int) -> None:
        self.arrays = np.zeros(MAX_SLOTS), np.zeros((MAX_SLOTS, d)), np.zeros((MAX_SLOTS, d))

    def moments(self) -> Moments:
        weights, means, squares = (a[: self.used] for a in self.arrays)
        with np.errstate(all="ignore"):
            if self.used == 1:  # the rest would take longer than the pass over a few hundred rows
                return Moments(float(weights[0]), means[0], squares[0] / weights[0])
            total = weights.sum()
            share = weights / total
            origin = means[np.argmax(weights)]  # makes the variance of a constant feature exactly 0
            mean = origin + share @ (means - origin)
            gaps = (weights[:, None] * np.square(means - mean)).sum(axis=0)
            return Moments(float(total), mean, (squares.sum(axis=0) + gaps) / total)


class _ObservedTotals(_Totals):
    kernel = staticmethod(slot_observed_moments)

    def __init__(self, d: int) -> None:
        of_columns: tuple[FloatArray, ...] = tuple(np.zeros((3, MAX_SLOTS, d)))
        self.arrays = np.zeros(MAX_SLOTS), *of_columns, np.zeros(MAX_SLOTS, np.int64)

    def moments(self) -> Moments:
        """Columns without any number of positive weight have the mean and the variance 0."""
        totals, weights, means, squares, missing = (a[: self.used] for a in self.arrays)
        observed = weights.sum(axis=0)
        with np.errstate(all="ignore"):
            share = weights / np.where(observed > 0, observed, 1.0)
            origin = np.take_along_axis(means, weights.argmax(axis=0)[None], axis=0)[0]
            mean = origin + (share * (means - origin)).sum(axis=0)
            gaps = (weights * np.square(means - mean)).sum(axis=0)
            variance = (squares.sum(axis=0) + gaps) / np.where(observed > 0, observed, 1.0)
        return Moments(float(totals.sum()), mean, variance, observed, int(missing.sum()))
