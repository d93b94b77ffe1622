"""The interface of a source, which is X as something to pass over, and passes over slabs of rows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import add
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import row_ranges
from fastem._families.base import Facts, Family
from fastem._families.frame import Frame, Moments
from fastem._families.once import computed_once
from fastem._families.statistics import Statistics
from fastem._kernels._layout import TILE_BYTES
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.distinct import Distinct, distinct_of
from fastem._sources.few import Few, few_of
from fastem._sources.known import Known
from fastem._sources.moments import MAX_SLOTS, new_totals
from fastem._sources.noise_size import NoiseSize
from fastem._sources.spread import check_observed
from fastem._sources.texts import NO_GAPS, Gaps, Vocabulary
from fastem._typing import Array, FloatArray, Rows

_TILES_PER_SLOT = 8  # with fewer, waking threads would take longer than the work
# From 64 tiles we use eight slots, so that eight threads have work. We use more slots only if each has more
# tiles, since it takes time to zero and merge the sums of a slot.
_SLOTS_IN_ANY_CASE = 8
_TILES_PER_SLOT_AND_FEATURE = 0.5
_SUMS_BYTES = 16 << 20  # for the sums of all slots together
_SLAB_BYTES = 16 << 20  # limited because a slab may have to be converted
_SLAB_SECONDS = 0.2  # limited because a kernel call cannot be interrupted
# Upper bounds on the time for one row and component: the overhead, and the time of each multiply-add.
_SECONDS_PER_PAIR = 3e-9
_SECONDS_PER_MULTIPLY = 6e-11

# (rows, n_threads) -> scores of these rows
ScoreRows = Callable[[Rows, int | None], Array]
# (start, stop) -> whether each of these rows is wanted, (stop - start,)
Wanted = Callable[[int, int], Array]
# (start, stop) -> responsibilities of these rows, (stop - start, K)
Responsibilities = Callable[[int, int], Array]


class Sweep(NamedTuple):
    """What one pass computes."""

    family: Family[Any, Any]
    k: int
    packed: Any  # the parameters, as `family.pack` makes them
    frame: Frame
    given: Responsibilities | None = None  # known responsibilities in place of an E-step
    again: Callable[[], Statistics[Any]] | None = None  # makes the same pass in float64
    origin: str = ""  # digest of the parameters, if the sums may be merged with those of other calls
    with_base_measure: bool = False  # whether the log-likelihood includes the base measure
    hard: bool = False  # whether each row belongs to its likeliest component alone
    blank: bool = False  # whether rows without numbers have their weight in the sums (see `telling`)


class Source(ABC):
    """X as a fit, or a model that scores X, uses it."""

    n_features: int
    feature_names: tuple[str, ...] | None
    stored_dtype: np.dtype[Any]
    largest_integer = 0  # in size, of integers that were floats before anything looked at them
    dtype: np.dtype[Any]  # the dtype of the kernels, float32 or float64
    n_threads: int | None
    lazy = False  # whether only a cluster reads the rows
    vocabulary: Vocabulary | None = None  # the strings in columns of text, which are numbers here
    gaps: Gaps = NO_GAPS  # whether NaN is a number that is missing
    # The shape of the known noise of a row, (d,) or (d, d), or () if rows have none.
    noise_shape: tuple[int, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether NaN is a number that is missing, and no error."""
        return self.gaps.allowed

    @property
    def has_noise(self) -> bool:
        """Whether rows come with known noise."""
        return len(self.noise_shape) > 0

    @property
    def measured(self) -> bool:
        """Whether the noise of any row is more than 0. To find it may take a first pass."""
        return self.has_noise and bool((self.noise_size.sums > 0).any())

    @property
    @abstractmethod
    def noise_size(self) -> NoiseSize:
        """How much noise each column has. To find it may take a first pass."""

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """Number of rows. To find it may take a first pass."""

    @property
    @abstractmethod
    def n_positive(self) -> int:
        """Number of rows of positive weight. All others are treated as absent."""

    @property
    @abstractmethod
    def known(self) -> Known:
        """The first rows of each known label."""

    @abstractmethod
    def moments(self) -> Moments:
        """Return the moments of all rows. Raise an error if X is not finite."""

    @property
    def found_moments(self) -> Moments | None:
        """The moments, or None if they have not been found. To find them takes a pass."""
        return None

    def raise_not_finite(self) -> NoReturn:
        """Raise an error that says what is not finite."""
        raise_not_finite(self.chunks(), *self.gaps)

    @property
    @abstractmethod
    def few(self) -> Few:
        """The columns that hold few values, by some of the rows that the moments took."""

    def facts(self) -> Facts:
        """Return what a family may learn from the rows."""
        if self.missing:
            check_observed(self.moments(), self.feature_names)
        texts = self.vocabulary or (None,) * self.n_features
        return Facts(self.feature_names, texts, self._values, self._extent)

    def _extent(self) -> tuple[FloatArray, FloatArray]:
        """Return the least and the largest value of each column in rows of positive weight."""
        self.moments()  # raises an error if X is not finite
        low, high = np.full(self.n_features, np.inf), np.full(self.n_features, -np.inf)
        for rows in self.chunks():
            for part in row_ranges(len(rows.X)):
                X = rows.X[part] if rows.weight is None else rows.X[part][rows.weight[part] > 0]
                if len(X):
                    # Along the columns of a small copy NumPy takes an eighth of the time.
                    columns = np.ascontiguousarray(X.T)
                    low, high = np.minimum(low, columns.min(axis=1)), np.maximum(high, columns.max(axis=1))
        return low, high

    def _values(self, columns: Array) -> tuple[Array, ...]:
        """Return the sorted distinct values of some columns. Raise an error if X is not finite."""
        self.moments()
        texts = self.vocabulary or (None,) * self.n_features
        found = zip(columns, self.distinct(columns).values, strict=True)
        return tuple(own if (text := texts[j]) is None else text for j, own in found)

    @abstractmethod
    def distinct(self, columns: Array) -> Distinct:
        """Return the distinct numbers of some columns in rows of positive weight."""

    @abstractmethod
    def reduce(self, sweep: Sweep) -> Statistics[Any]:
        """Make one pass: the E-step, or the sums for known responsibilities."""

    @abstractmethod
    def base_measure(self, family: Family[Any, Any], frame: Frame) -> float:
        """Return the weighted sum of log h(x) over all rows. Raise an error if rows are not valid."""

    @abstractmethod
    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        """Draw at most `size` rows of positive weight without replacement. They keep their order."""

    @abstractmethod
    def part(self, wanted: Wanted) -> "Source":
        """Return the same rows, where those that are not wanted have weight 0."""

    @abstractmethod
    def chunks(self) -> Iterable[Rows]:
        """Return all rows, or the extreme values of each part, to check the range of the numbers."""

    @abstractmethod
    def map(self, score: Callable[..., Array], numbered: bool = False) -> Any:
        """Return the scores of all rows, as an array, as an iterator over chunks, or as a lazy object.

        If `numbered`, `score` also takes the number of the chunk.
        """

    @abstractmethod
    def total(self, score: ScoreRows) -> Array:
        """Return the sum of `score` over chunks. It gives a few numbers, the last of which is the weight."""


class SlabSource(Source):
    """Rows that one process passes over in slabs. The threads divide each slab among them.

    Slabs are C-contiguous, aligned, in native byte order and in the kernels' dtype. Their sizes and the
    number of slots depend only on the numbers of rows, features and components. So do the bits of the result.
    """

    _few: Few
    _all_tell = False  # whether it is known that no row is without numbers

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
        self._divisions: dict[Any, tuple[int, int]] = {}
        self._tile_rows = TILE_BYTES // self.dtype.itemsize

    @abstractmethod
    def slabs(self, rows: int) -> Iterator[Rows]:
        """Yield slabs of `rows` rows. The last one may be shorter."""

    def is_slab(self, rows: Array) -> bool:
        """Return whether kernels can read these rows without a conversion."""
        flags, dtype = rows.flags, rows.dtype
        return flags.c_contiguous and flags.aligned and dtype.isnative and dtype == self.dtype

    def moments(self) -> Moments:
        return self._moments

    @property
    def found_moments(self) -> Moments | None:
        return vars(self).get("_moments")

    @property
    def few(self) -> Few:
        self.moments()
        return self._few

    @computed_once
    def _moments(self) -> Moments:
        total = new_totals(self.n_features, self.missing)
        few: Few | None = None
        all_tell = self.missing
        for slab in self.slabs(self._slab_rows(1, self.n_features, MAX_SLOTS, self.dtype.itemsize)):
            total.add(slab, self.n_threads)
            all_tell = all_tell and telling(slab) is slab
            if few is None or few.values or not few.seen:
                few = few_of(slab) if few is None else few + few_of(slab)
        self._few, self._all_tell = few or Few(0), all_tell
        moments = total.moments()
        if not moments.in_range:
            self.raise_not_finite()
        return moments

    def distinct(self, columns: Array) -> Distinct:
        rows = self._slab_rows(1, self.n_features, 1, self.dtype.itemsize)
        return reduce(add, (distinct_of(slab, columns) for slab in self.slabs(rows)))

    def reduce(self, sweep: Sweep) -> Statistics[Any]:
        family, k = sweep.family, sweep.k
        slots, slab_rows = self._divided(sweep)
        running = family.begin_pass(sweep.packed, k, sweep.frame, sweep.hard, slots, self.n_threads)
        base = 0.0
        for slab in self._telling(family, slab_rows, sweep.blank):
            given = None if sweep.given is None else sweep.given(slab.start, slab.start + len(slab.X))
            running.add(slab, given)
            if sweep.with_base_measure and family.has_base_measure:
                base += slab.weighted_sum(family.base_measure(slab, sweep.frame, self.n_threads))
        summed = running.end()
        if summed is None:
            raise_not_finite(self.chunks(), family.missing, self.gaps.remedy)
        statistics: Statistics[Any] = Statistics(
            family,
            sweep.frame,
            summed.sums,
            self.n_positive,
            summed.log_likelihood + base,
            family.working_dtype(sweep.packed),
            sweep.origin,
            rows_dtype=self.dtype,
            again=sweep.again,
        )
        if summed.weight is not None:
            vars(statistics)["total_weight"] = summed.weight  # or it would be summed once more
        return statistics

    def base_measure(self, family: Family[Any, Any], frame: Frame) -> float:
        total = 0.0
        for slab in self._telling(family, self._slab_rows(1, self.n_features, 1, self.dtype.itemsize)):
            total += slab.weighted_sum(family.base_measure(slab, frame, self.n_threads))
        return total

    def _telling(self, family: Family[Any, Any], rows: int, blank: bool = False) -> Iterator[Rows]:
        """Yield slabs of `rows` rows. Those that tell nothing have weight 0, unless `blank` ones count."""
        asks = family.missing and not (self._all_tell or blank)
        return map(telling, self.slabs(rows)) if asks else self.slabs(rows)

    def total(self, score: ScoreRows) -> Array:
        return reduce(add, (score(chunk, self.n_threads) for chunk in self.chunks()))

    def _divided(self, sweep: Sweep) -> tuple[int, int]:
        """Return the number of slots of a pass, and that of the rows of its slabs."""
        cost = sweep.family.cost(sweep.packed, sweep.k, self.n_features)
        # The passes of a fit are alike.
        about = cost, sweep.k, sweep.family.working_dtype(sweep.packed), sweep.given is None, sweep.family
        if about not in self._divisions:
            slots = self._slots(cost.bytes_per_slot)
            self._divisions[about] = slots, self._rows_of(sweep, cost.multiply_adds, slots)
        return self._divisions[about]

    def _slots(self, bytes_per_slot: int) -> int:
        """Return the number of slots of a pass. It depends on the problem alone, never on the threads."""
        tiles = self.n_samples // self._tile_rows
        by_work = max(_SLOTS_IN_ANY_CASE, tiles // (_TILES_PER_SLOT_AND_FEATURE * self.n_features))
        by_memory = _SUMS_BYTES // max(bytes_per_slot, 1)
        return int(max(1, min(MAX_SLOTS, tiles // _TILES_PER_SLOT, by_work, by_memory)))

    def _rows_of(self, sweep: Sweep, multiplies: int, slots: int) -> int:
        """Rows of one slab of this pass."""
        itemsize = sweep.family.working_dtype(sweep.packed).itemsize
        rows = self._slab_rows(sweep.k, multiplies, slots, itemsize)
        if sweep.given is None and not sweep.family.holds_responsibilities:
            return rows
        return min(rows, max(self._tile_rows, _SLAB_BYTES // (sweep.k * itemsize)))

    def _slab_rows(self, k: int, multiplies: int, slots: int, itemsize: int) -> int:
        """Return the number of rows of one kernel call.

        They take at most about a fifth of a second on one thread, and at most 16 MB. The number must not
        depend on the layout of X, since the bits of the sums depend on it.
        """
        seconds = k * (_SECONDS_PER_PAIR + multiplies * _SECONDS_PER_MULTIPLY)
        by_time = int(_SLAB_SECONDS / seconds)
        numbers = self.n_features + (math.prod(self.noise_shape) if self.has_noise else 0)
        by_memory = int(_SLAB_BYTES // (numbers * itemsize))
        # Each slot gets whole tiles if possible. In any case the slab has whole tiles.
        rows = min(by_time, by_memory)
        tile = self._tile_rows
        quantum = tile * slots if rows >= tile * slots else tile
        return max(1, rows // quantum) * quantum


def drawn_ranks(n: int, size: int, rng: np.random.Generator) -> Array:
    """Draw the numbers of at most `size` of n rows, sorted. All sources of these rows get the same ones."""
    return np.arange(n) if n <= size else np.sort(rng.choice(n, size, replace=False, shuffle=False))


def only_wanted(rows: Rows, wanted: Wanted) -> Rows:
    """Return rows where those that are not wanted have weight 0."""
    weights = rows.weights * wanted(rows.start, rows.start + len(rows.X))
    return _weighing(rows, weights)


def telling(rows: Rows) -> Rows:
    """Return rows where those of which neither a number nor the label is known have weight 0.

    Their log-density is 0 under any parameters. Expected sums would have of them what the parameters of the
    pass say. That moves no maximum, but holds components back, a small one so much that it cannot move.
    """
    blank = np.flatnonzero(np.isnan(rows.X[:, 0]))
    for j in range(1, rows.X.shape[1]):
        if not len(blank):
            break
        blank = blank[np.isnan(rows.X[blank, j])]
    if rows.labels is not None:
        blank = blank[rows.labels[blank] < 0]
    if not len(blank):
        return rows
    weights = rows.weights
    weights[blank] = 0
    return _weighing(rows, weights)


def _weighing(rows: Rows, weights: FloatArray) -> Rows:
    """Return rows with these weights, in the dtype of kernels."""
    return rows._replace(weight=weights.astype(np.float32 if rows.X.dtype == np.float32 else np.float64))
