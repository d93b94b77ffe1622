"""X as something to sweep: what a fit asks of it, the sweeps over slabs, and arrays in memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, reduce
from itertools import repeat
from operator import add
from typing import Any

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._families.gaussian import Family, KernelParams
from fastem._families.statistics import Statistics, statistics_of
from fastem._kernels._estep import slot_scores, slot_statistics
from fastem._kernels._layout import TILE_BYTES
from fastem._kernels._moments import slot_moments
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import Sums
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.pages import swept
from fastem._typing import Array, Chunk, FloatArray, Slab

_LN2 = float(np.log(2))
_MAX_SLOTS = 64
_TILES_PER_SLOT = 8  # fewer, and waking threads would show
# More slots than a few have more tiles each, or zeroing and merging their sums would show.
_SLOTS_IN_ANY_CASE = 8
_TILES_PER_SLOT_AND_FEATURE = 0.5
_NUMBERS_PER_SLOT = 65536  # of the moments
_SUMS_BYTES = 16 << 20  # all slots together
_SLAB_BYTES = 16 << 20  # as a slab may have to be converted
_RANK_CHUNK = 65536
_SCORED_ROWS = 1 << 20
_SLAB_SECONDS = 0.2  # a kernel call cannot be interrupted
# Bounds from above on the cost of one (row, component): overhead, and per multiply-add.
_SECONDS_PER_PAIR = 3e-9
_SECONDS_PER_MULTIPLY = 6e-11


# (chunk, n_threads) -> numbers
ScoreChunk = Callable[[Chunk, int | None], Array]


class Source(ABC):
    """What a fit asks of X, and a model that scores X."""

    n_features: int
    feature_names: tuple[str, ...] | None
    stored_dtype: np.dtype[Any]
    dtype: np.dtype[Any]  # of the kernels: float32 or float64

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Rows; may take a first pass."""

    @property
    @abstractmethod
    def n_positive(self) -> int:
        """Rows of positive weight: the others are as if absent."""

    @abstractmethod
    def moments(self) -> Moments:
        """Total weight, and weighted mean and variance of each feature; an error if X is not finite."""

    @abstractmethod
    def reduce(
        self,
        family: Family,
        params: KernelParams,
        frame: Frame,
        given: Callable[[int, int], Array] | None = None,
    ) -> Statistics:
        """One pass: the E-step, or with `given(start, stop)` responsibilities the sums they imply."""

    @abstractmethod
    def sample(self, size: int, rng: np.random.Generator) -> "ArraySource":
        """At most `size` rows of positive weight, without replacement, in their order, in memory."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """All rows, or of all parts the extremes, for a check of their range."""

    @abstractmethod
    def map(self, score: ScoreChunk) -> Any:
        """Scores of all rows: an array, an iterator over those of the chunks, or something lazy."""

    @abstractmethod
    def total(self, score: ScoreChunk) -> Array:
        """The sum over chunks of a few numbers of each, the last of which is its weight."""


class SlabSource(Source):
    """Rows that one process sweeps in slabs, side by side in threads.

    Slabs are C-contiguous, aligned, native and of the kernel's dtype. Their sizes, and how many ways a
    pass is split, are functions of the numbers of rows, features and components alone: so are the bits.
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
        self._n_threads = n_threads
        self._tile_rows = TILE_BYTES // self.dtype.itemsize

    @abstractmethod
    def slabs(self, rows: int) -> Iterator[Slab]:
        """Slabs of `rows` rows but for the last."""

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
        for _, X, weight in self.slabs(self._slab_rows(1, d, _MAX_SLOTS)):
            # Of the slab alone, as a stream does not know how many are to come.
            slots = max(1, min(_MAX_SLOTS, X.size // _NUMBERS_PER_SLOT))
            used = max(used, slots)
            run_slots(slot_moments, (X, weight, *(a[:slots] for a in sums)), slots, self._n_threads)
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

    def reduce(
        self,
        family: Family,
        params: KernelParams,
        frame: Frame,
        given: Callable[[int, int], Array] | None = None,
    ) -> Statistics:
        k, d = params.means.shape
        sums = family.new_sums(1, k, d)
        slots = self._slots(sum(array.nbytes for array in sums))
        sums = family.new_sums(slots, k, d)
        rows = self._slab_rows(k, d * (d + 1) if sums.second.shape[2:] == (d, d) else 2 * d, slots)
        if given is not None:
            rows = min(rows, max(self._tile_rows, _SLAB_BYTES // (k * self.dtype.itemsize)))
        responsibilities = read_only(np.empty((0, k), self.dtype))
        arguments: tuple[Any, ...] = ()
        for start, X, weight in self.slabs(rows):
            if given is not None:
                known = np.ascontiguousarray(given(start, start + len(X)), dtype=self.dtype)
                responsibilities = read_only(known)
            arguments = (X, weight, responsibilities, params, sums)
            run_slots(slot_statistics, arguments, slots, self._n_threads)
        merged = Sums(*(array.sum(axis=0) for array in sums))
        del sums, arguments  # the largest arrays of a fit, before collecting takes its own
        if not all(np.isfinite(array).all() for array in merged):
            raise_not_finite(self.chunks())
        collected = family.collect(params, merged)
        log_likelihood = _LN2 * float(merged.log2_likelihood)
        log_likelihood += density_constant(frame) * float(collected.weights.sum())
        return statistics_of(family.name, self.n_positive, collected, log_likelihood, params, frame)

    def total(self, score: ScoreChunk) -> Array:
        return reduce(add, (score(chunk, self._n_threads) for chunk in self.chunks()))

    def _slots(self, bytes_per_slot: int) -> int:
        """How many ways a pass is split: a function of the problem alone, never of the threads."""
        tiles = self.n_samples // self._tile_rows
        by_work = max(_SLOTS_IN_ANY_CASE, tiles // (_TILES_PER_SLOT_AND_FEATURE * self.n_features))
        by_memory = _SUMS_BYTES // max(bytes_per_slot, 1)
        return int(max(1, min(_MAX_SLOTS, tiles // _TILES_PER_SLOT, by_work, by_memory)))

    def _slab_rows(self, k: int, multiplies: int, slots: int) -> int:
        """Rows of one kernel call: at most about a fifth of a second for one thread, and 16 MB.

        The same for every layout of X, as the bits of the sums depend on it.
        """
        seconds = k * (_SECONDS_PER_PAIR + multiplies * _SECONDS_PER_MULTIPLY)
        by_time = int(_SLAB_SECONDS / seconds)
        by_memory = int(_SLAB_BYTES // (self.n_features * self.dtype.itemsize))
        # Whole tiles for every slot, or at least whole tiles.
        rows = min(by_time, by_memory)
        tile = self._tile_rows
        quantum = tile * slots if rows >= tile * slots else tile
        return max(1, rows // quantum) * quantum


class ArraySource(SlabSource):
    """Rows of an array, with weights.

    A slab of an array that is not what kernels read is converted on its own: no full copy is ever made.
    """

    def __init__(
        self,
        X: Array,
        sample_weight: Array | None,
        n_threads: int | None,
        feature_names: tuple[str, ...] | None = None,
        where: str = "X",
    ) -> None:
        super().__init__(X.shape[1], X.dtype, feature_names, n_threads)
        self._where = where
        self._X = X
        self._weight = sample_weight
        self._as_is = self.is_slab(X)

    @property
    def n_samples(self) -> int:
        return len(self._X)

    @cached_property
    def n_positive(self) -> int:
        return self.n_samples if self._weight is None else int(np.count_nonzero(self._weight))

    def slabs(self, rows: int) -> Iterator[Slab]:
        nothing = np.empty(0, self.dtype)
        weights = repeat((0, nothing)) if self._weight is None else swept(self._weight, rows)
        for (start, slab), (_, weight) in zip(swept(self._X, rows), weights, strict=False):
            if not self._as_is:
                with np.errstate(over="ignore"):  # a longdouble beyond float64 is inf, and found as such
                    slab = np.ascontiguousarray(slab, dtype=self.dtype)
            yield start, read_only(slab), read_only(np.ascontiguousarray(weight, dtype=self.dtype))

    def chunks(self) -> Iterator[Chunk]:
        yield Chunk(self._where, self._X, self._weight)

    def map(self, score: ScoreChunk) -> Array:
        return score(next(self.chunks()), self._n_threads)

    def total(self, score: ScoreChunk) -> Array:
        """In parts, as a number for each row is held."""
        parts = range(0, max(1, self.n_samples), _SCORED_ROWS)
        return reduce(add, (score(self._part(start, len(parts)), self._n_threads) for start in parts))

    def _part(self, start: int, parts: int) -> Chunk:
        rows = slice(start, start + _SCORED_ROWS)
        where = self._where if parts == 1 else f"the part of {self._where} at row {start}"
        return Chunk(where, self._X[rows], None if self._weight is None else self._weight[rows])

    def score(
        self,
        params: KernelParams,
        frame: Frame,
        *,
        log_densities: Array | None = None,
        labels: Array | None = None,
        responsibilities: Array | None = None,
    ) -> None:
        """Fill the outputs that are given; log-densities in natural logarithms and user units."""
        k, d = params.means.shape
        slots = self._slots(k * 8)
        failures = np.zeros(slots, np.int64)
        nothing = np.empty(0, self.dtype), np.empty(0, np.int64), np.empty((0, k), self.dtype)
        for start, X, _ in self.slabs(self._slab_rows(k, d * (d + 1), slots)):
            wanted = slice(start, start + len(X))
            outputs = (
                nothing[0] if log_densities is None else log_densities[wanted],
                nothing[1] if labels is None else labels[wanted],
                nothing[2] if responsibilities is None else responsibilities[wanted],
            )
            arguments = (X, params, *outputs, failures)
            run_slots(slot_scores, arguments, slots, self._n_threads)
            if failures.any():
                raise_not_finite(self.chunks())
            if log_densities is not None:
                outputs[0][:] = outputs[0].astype(np.float64) * _LN2 + density_constant(frame)

    def sample(self, size: int, rng: np.random.Generator) -> "ArraySource":
        n = self.n_positive
        if n <= size and n == self.n_samples:
            return self
        return ArraySource(*self.take(drawn_ranks(n, size, rng)), self._n_threads)

    def take(self, ranks: Array) -> tuple[Array, Array | None]:
        """The rows with these (sorted) ranks among those of positive weight, and their weights."""
        chosen = self._positive_rows(ranks)
        return self._rows(chosen), None if self._weight is None else self._weight[chosen]

    def _rows(self, chosen: Array) -> Array:
        """Some rows, sorted, range by range: of a memory-mapped file all pages would stay in memory."""
        rows = np.empty((len(chosen), self.n_features), self.dtype)
        for start, here in swept(self._X, _RANK_CHUNK):
            first, last = np.searchsorted(chosen, [start, start + len(here)])
            rows[first:last] = here[chosen[first:last] - start]
        return rows

    def _positive_rows(self, ranks: Array) -> Array:
        """Row numbers of the rows with these (sorted) ranks among those of positive weight."""
        if self._weight is None:
            return ranks
        rows, passed = [], 0
        for start, weights in swept(self._weight, _RANK_CHUNK):
            positive = start + np.flatnonzero(weights)
            first, last = np.searchsorted(ranks, [passed, passed + len(positive)])
            rows.append(positive[ranks[first:last] - passed])
            passed += len(positive)
        return np.concatenate(rows)

    def standardised(self, frame: Frame, isotropic: bool) -> tuple[FloatArray, FloatArray]:
        """All rows with variance 1 in every feature (on average, if isotropic), (d, n); their weights.

        For samples only. The frame's powers of two will not do here: which clusters k-means finds must
        not depend on the units.
        """
        weights = np.ones(self.n_samples) if self._weight is None else self._weight.astype(np.float64)
        points = np.ascontiguousarray(frame.standardise(np.asarray(self._X, dtype=self.dtype)).T)
        total = weights.sum()
        points -= (np.einsum("ji,i->j", points, weights) / total)[:, None]
        variance = np.einsum("ji,ji,i->j", points, points, weights) / total
        if isotropic:
            variance[:] = variance.mean()
        points /= np.sqrt(np.where(variance > 0, variance, 1.0))[:, None]
        return points, weights


def drawn_ranks(n: int, size: int, rng: np.random.Generator) -> Array:
    """Which of n rows a sample of at most `size` takes, sorted: the same for all that hold these rows."""
    return np.arange(n) if n <= size else np.sort(rng.choice(n, size, replace=False, shuffle=False))


def density_constant(frame: Frame) -> float:
    """What the kernels leave out of every log-density: (2 pi)^(-d/2) and the Jacobian of the frame."""
    return -0.5 * len(frame.scale) * float(np.log(2 * np.pi)) - frame.log_scale


def read_only(array: Array) -> Array:
    """A read-only view: the kernels are compiled for those only, and cannot write to them."""
    view = array.view()
    view.flags.writeable = False
    return view
