"""Arrays in memory or memory-mapped, as a source."""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.once import computed_once
from fastem._families.steps import Scores
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.known import Known, known_of, with_known
from fastem._sources.measurements import converted_noise
from fastem._sources.noise_size import NoiseSize, noise_size
from fastem._sources.pages import is_mapped, swept
from fastem._sources.passes import ScoreRows, SlabSource, Sweep, Wanted, drawn_ranks, only_wanted
from fastem._sources.texts import NO_GAPS, Gaps, Vocabulary
from fastem._typing import Array, FloatArray, Rows, read_only

_RANK_CHUNK = 65536
_SCORED_ROWS = 1 << 20
_KEPT_ROWS = 1 << 21  # passes keep 8 bytes about each row, if there are no more


class ArraySource(SlabSource):
    """Rows of an array, with what is known about each.

    If kernels cannot read the array as it is, each slab is converted on its own. No full copy is ever made.
    """

    def __init__(
        self,
        rows: Rows,
        n_threads: int | None = None,
        feature_names: tuple[str, ...] | None = None,
        vocabulary: Vocabulary | None = None,
        gaps: Gaps = NO_GAPS,
        largest_integer: int = 0,
    ) -> None:
        super().__init__(rows.X.shape[1], rows.X.dtype, feature_names, n_threads)
        self.largest_integer = largest_integer
        self._rows, self.vocabulary, self.gaps = rows, vocabulary, gaps
        self._kept: dict[tuple[int, int], dict[Any, Any]] = {}
        self.noise_shape = () if rows.noise is None else rows.noise.shape[1:]

    @property
    def n_samples(self) -> int:
        return len(self._rows.X)

    @computed_once
    def n_positive(self) -> int:
        weight = self._rows.weight
        return self.n_samples if weight is None else int(np.count_nonzero(weight))

    @computed_once
    def noise_size(self) -> NoiseSize:
        return noise_size(self._rows)

    def slabs(self, rows: int) -> Iterator[Rows]:
        if rows >= self.n_samples and self._whole is not None:
            return iter((self._whole,))
        return self._slabs(rows)

    @computed_once
    def _whole(self) -> Rows | None:
        """All rows as one slab, if they are in memory as kernels read them: few are begun again and again."""
        known = self._rows.known()
        if not self.n_samples or not all(
            self._is_read(*one) and not is_mapped(one[1]) for one in known.items()
        ):
            return None
        return self._slab(self._rows.start, known)

    def _slabs(self, rows: int) -> Iterator[Rows]:
        known = {name: swept(array, rows) for name, array in self._rows.known().items()}
        for parts in zip(*known.values(), strict=True):
            arrays = {name: part for name, (_, part) in zip(known, parts, strict=True)}
            yield self._slab(self._rows.start + parts[0][0], arrays)

    def _slab(self, start: int, arrays: dict[str, Array]) -> Rows:
        """Return rows that kernels can read."""
        kept = self._kept.setdefault((start, len(arrays["X"])), {})
        converted = {name: self._converted(name, array) for name, array in arrays.items()}
        about = self._rows.names, kept if self.n_samples <= _KEPT_ROWS else None
        return Rows(self._rows.where, start, **converted, names=about[0], kept=about[1])

    def _is_read(self, name: str, array: Array) -> bool:
        """Return whether kernels can read an array as it is."""
        return name == "labels" or (name != "noise" and self.is_slab(array))

    def _converted(self, name: str, array: Array) -> Array:
        """Return an array that kernels can read."""
        if self._is_read(name, array):
            return read_only(array)
        if name == "noise":
            return converted_noise(array)
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes inf, which a check finds
            return read_only(np.ascontiguousarray(array, dtype=self.dtype))

    def part(self, wanted: Wanted) -> "ArraySource":
        rows = only_wanted(self._rows, wanted)
        return ArraySource(rows, self.n_threads, self.feature_names, self.vocabulary, self.gaps)

    def chunks(self) -> Iterator[Rows]:
        yield self._rows

    def map(self, score: Callable[..., Array], numbered: bool = False) -> Array:
        return score(self._rows, self.n_threads, *([0] if numbered else []))

    def total(self, score: ScoreRows) -> Array:
        """Sum over parts of the rows, since scoring holds a number for each row of a part in memory."""
        parts = range(0, max(1, self.n_samples), _SCORED_ROWS)
        return reduce(add, (score(self._part(start, len(parts)), self.n_threads) for start in parts))

    def _part(self, start: int, parts: int) -> Rows:
        part = self._rows.part(slice(start, start + _SCORED_ROWS))
        where = self._rows.where if parts == 1 else f"the part of {self._rows.where} at row {start}"
        return part._replace(where=where, start=0)

    def score(self, sweep: Sweep, wanted: Scores) -> None:
        """Fill the wanted scores. Log-densities are in user units."""
        family = sweep.family
        slots = self._slots(family.bytes_per_scoring_slot(sweep.k, self.n_features))
        for slab in self.slabs(self._rows_of(sweep, family.multiply_adds(self.n_features), slots)):
            first = slab.start - self._rows.start
            part = wanted.part(slice(first, first + len(slab.X)))
            if not family.score(sweep.packed, sweep.frame, slab, part, slots, self.n_threads):
                raise_not_finite(self.chunks(), family.missing, self.gaps.remedy)
            if family.has_base_measure:
                # It checks the rows, whatever is wanted.
                base = family.base_measure(slab, sweep.frame, self.n_threads)
                if part.log_densities is not None:
                    part.log_densities[:] += base
                if part.joint is not None:
                    part.joint[:] += base[:, None] / np.log(2)

    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        n = self.n_positive
        if n <= size and n == self.n_samples:
            return self._rows
        return self.take(with_known(drawn_ranks(n, size, rng), self.known))

    @computed_once
    def known(self) -> Known:
        return known_of(self._rows)

    def take(self, ranks: Array) -> Rows:
        """Return the rows with these (sorted) ranks among the rows of positive weight."""
        chosen = self._positive_rows(ranks)
        known = {name: array[chosen] for name, array in self._rows.known().items() if name != "X"}
        return Rows(self._rows.where, 0, self._taken(chosen), **known, names=self._rows.names)

    def _taken(self, chosen: Array) -> Array:
        """Return the chosen rows (sorted). Reading range by range keeps a mapped file out of memory."""
        rows = np.empty((len(chosen), self.n_features), self.dtype)
        for start, here in swept(self._rows.X, _RANK_CHUNK):
            first, last = np.searchsorted(chosen, [start, start + len(here)])
            rows[first:last] = here[chosen[first:last] - start]
        return rows

    def _positive_rows(self, ranks: Array) -> Array:
        """Return the numbers of the rows with these (sorted) ranks among the rows of positive weight."""
        if self._rows.weight is None:
            return ranks
        rows, passed = [], 0
        for start, weights in swept(self._rows.weight, _RANK_CHUNK):
            positive = start + np.flatnonzero(weights)
            first, last = np.searchsorted(ranks, [passed, passed + len(positive)])
            rows.append(positive[ranks[first:last] - passed])
            passed += len(positive)
        return np.concatenate(rows)


def base_measure_of(family: Family[Any, Any], frame: Frame, rows: Rows, n_threads: int | None) -> FloatArray:
    """Return the weighted sum of log h(x) over some rows, and their total weight."""
    return np.array([ArraySource(rows, n_threads).base_measure(family, frame), rows.total_weight])
