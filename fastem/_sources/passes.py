"""X as something to pass over: what a fit asks of it, and passes over slabs of rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame, Moments
from fastem._families.statistics import Statistics
from fastem._kernels._layout import TILE_BYTES
from fastem._kernels._moments import slot_moments
from fastem._kernels._parallel import run_slots
from fastem._sources.chunk_checks import raise_not_finite
from fastem._typing import Array, Rows, read_only

_MAX_SLOTS = 64
_TILES_PER_SLOT = 8  # with fewer, waking threads would take longer than the work
# From 64 tiles we use eight slots, so that eight threads have work. Further slots must have more tiles each,
# or zeroing and merging their sums would show.
_SLOTS_IN_ANY_CASE = 8
_TILES_PER_SLOT_AND_FEATURE = 0.5
_NUMBERS_PER_SLOT = 65536  # in the pass for the moments
_SUMS_BYTES = 16 << 20  # all slots together
_SLAB_BYTES = 16 << 20  # since a slab may have to be converted
_SLAB_SECONDS = 0.2  # since a kernel call cannot be interrupted
# Upper bounds on the cost of one row and component: the overhead, and each multiply-add.
_SECONDS_PER_PAIR = 3e-9
_SECONDS_PER_MULTIPLY = 6e-11

# (rows, n_threads) -> numbers
ScoreRows = Callable[[Rows, int | None], Array]
# (start, stop) -> responsibilities of these rows, (stop - start, K)
Responsibilities = Callable[[int, int], Array]


class Sweep(NamedTuple):
    """What one pass computes."""

    family: Family[Any, Any]
    k: int
    packed: Any  # the parameters, as `family.pack` makes them
    frame: Frame
    given: Responsibilities | None = None  # known responsibilities in place of an E-step
    origin: str = ""  # digest of the parameters, where the sums will be merged with those of other calls
    with_base_measure: bool = False  # whether the log-likelihood includes the base measure


class Source(ABC):
    """What a fit asks of X, and a model that scores X."""

    n_features: int
    feature_names: tuple[str, ...] | None
    stored_dtype: np.dtype[Any]
    dtype: np.dtype[Any]  # that of the kernels: float32 or float64
    n_threads: int | None

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Rows; may take a first pass."""

    @property
    @abstractmethod
    def n_positive(self) -> int:
        """Rows of positive weight; all others are treated as absent."""

    @abstractmethod
    def moments(self) -> Moments:
        """Total weight, and weighted mean and variance of each feature; an error if X is not finite."""

    @abstractmethod
    def reduce(self, sweep: Sweep) -> Statistics[Any]:
        """One pass: the E-step, or the sums that known responsibilities imply."""

    @abstractmethod
    def base_measure(self, family: Family[Any, Any], frame: Frame) -> float:
        """The weighted sum over all rows of log h(x), which no parameter changes; an error for bad rows."""

    @abstractmethod
    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        """At most `size` rows of positive weight, without replacement, in their order, in memory."""

    @abstractmethod
    def chunks(self) -> Iterable[Rows]:
        """All rows, or the extremes of all parts, for a check of their range."""

    @abstractmethod
    def map(self, score: ScoreRows) -> Any:
        """Scores of all rows: an array, an iterator over those of the chunks, or something lazy."""

    @abstractmethod
    def total(self, score: ScoreRows) -> Array:
        """The sum over chunks of a few numbers for each, the last of which is its weight."""


class SlabSource(Source):
    """Rows that one process passes over in slabs, each of which threads share.

    Slabs are C-contiguous, aligned, native and of the kernel's dtype. Their sizes, and the number of slots
    that share a pass, depend on the numbers of rows, features and components alone. So do the bits.
    """

    def __init__(
        self,
        n_features: int,
        dtype: np.dtype[Any],
        feature_names: tuple[str, ...] | None,
        n_threads: int | None,
    ) -> None:
        self.n_features = n_features
        self.stored_dtype = dtype
        self.dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
        self.feature_names = feature_names
        self.n_threads = n_threads
        self._tile_rows = TILE_BYTES // self.dtype.itemsize

    @abstractmethod
    def slabs(self, rows: int) -> Iterator[Rows]:
        """Slabs of `rows` rows; the last one may be shorter."""

    def is_slab(self, rows: Array) -> bool:
        """Whether kernels read these rows as they are."""
        flags, dtype = rows.flags, rows.dtype
        return flags.c_contiguous and flags.aligned and dtype.isnative and dtype == self.dtype

    def moments(self) -> Moments:
        return self._moments

    @cached_property
    def _moments(self) -> Moments:
        d = self.n_features
        sums = np.zeros(_MAX_SLOTS), np.zeros((_MAX_SLOTS, d)), np.zeros((_MAX_SLOTS, d))
        used = 1
        for slab in self.slabs(self._slab_rows(1, d, _MAX_SLOTS)):
            X, weight = slab.X, np.empty(0, self.dtype) if slab.weight is None else slab.weight
            # By the size of the slab alone, since a stream does not know how many are to come.
            slots = max(1, min(_MAX_SLOTS, X.size // _NUMBERS_PER_SLOT))
            used = max(used, slots)
            arguments = (X, read_only(weight), *(a[:slots] for a in sums))
            run_slots(slot_moments, arguments, slots, self.n_threads)
        weights, means, squares = (a[:used] for a in sums)
        total = weights.sum()
        with np.errstate(all="ignore"):
            share = weights / total
            origin = means[np.argmax(weights)]  # about it, so that a constant feature has no spread at all
            mean = origin + share @ (means - origin)
            variance = (
                squares.sum(axis=0) + (weights[:, None] * np.square(means - mean)).sum(axis=0)
            ) / total
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise_not_finite(self.chunks())
        return Moments(float(total), mean, variance)

    def reduce(self, sweep: Sweep) -> Statistics[Any]:
        family, k = sweep.family, sweep.k
        slots = self._slots(family.bytes_per_slot(k, self.n_features))
        running = family.begin_pass(sweep.packed, k, sweep.frame, slots, self.n_threads)
        base = 0.0
        for slab in self.slabs(self._rows_of(sweep, slots)):
            given = None if sweep.given is None else sweep.given(slab.start, slab.start + len(slab.X))
            running.add(slab, given)
            if sweep.with_base_measure and family.has_base_measure:
                base += slab.weighted_sum(family.base_measure(slab, sweep.frame, self.n_threads))
        summed = running.end()
        if summed is None:
            raise_not_finite(self.chunks())
        return Statistics(
            family,
            sweep.frame,
            summed.sums,
            self.n_positive,
            summed.log_likelihood + base,
            family.working_dtype(self.dtype),
            sweep.origin,
        )

    def base_measure(self, family: Family[Any, Any], frame: Frame) -> float:
        total = 0.0
        for slab in self.slabs(self._slab_rows(1, self.n_features, 1)):
            total += slab.weighted_sum(family.base_measure(slab, frame, self.n_threads))
        return total

    def total(self, score: ScoreRows) -> Array:
        return reduce(add, (score(chunk, self.n_threads) for chunk in self.chunks()))

    def _slots(self, bytes_per_slot: int) -> int:
        """How many slots share a pass: a function of the problem alone, never of the threads."""
        tiles = self.n_samples // self._tile_rows
        by_work = max(_SLOTS_IN_ANY_CASE, tiles // (_TILES_PER_SLOT_AND_FEATURE * self.n_features))
        by_memory = _SUMS_BYTES // max(bytes_per_slot, 1)
        return int(max(1, min(_MAX_SLOTS, tiles // _TILES_PER_SLOT, by_work, by_memory)))

    def _rows_of(self, sweep: Sweep, slots: int) -> int:
        """Rows of one slab of this pass."""
        rows = self._slab_rows(sweep.k, sweep.family.multiply_adds(self.n_features), slots)
        if sweep.given is None and not sweep.family.holds_responsibilities:
            return rows
        return min(rows, max(self._tile_rows, _SLAB_BYTES // (sweep.k * self.dtype.itemsize)))

    def _slab_rows(self, k: int, multiplies: int, slots: int) -> int:
        """Rows of one kernel call: at most about a fifth of a second for one thread, and 16 MB.

        It must not depend on the layout of X, since the bits of the sums depend on it.
        """
        seconds = k * (_SECONDS_PER_PAIR + multiplies * _SECONDS_PER_MULTIPLY)
        by_time = int(_SLAB_SECONDS / seconds)
        by_memory = int(_SLAB_BYTES // (self.n_features * self.dtype.itemsize))
        # Whole tiles for every slot, or at least whole tiles.
        rows = min(by_time, by_memory)
        tile = self._tile_rows
        quantum = tile * slots if rows >= tile * slots else tile
        return max(1, rows // quantum) * quantum


def drawn_ranks(n: int, size: int, rng: np.random.Generator) -> Array:
    """Which of n rows a sample of at most `size` takes, sorted: the same for all that hold these rows."""
    return np.arange(n) if n <= size else np.sort(rng.choice(n, size, replace=False, shuffle=False))
