"""X that is read again in every pass, chunk by chunk."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, cycle
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastem._sources.arrays import ArraySource
from fastem._sources.cache import RowsFile, check_room
from fastem._sources.checks import check_labels, check_sample_weight, check_weight_totals, columns_of_model
from fastem._sources.chunk_checks import Form, check_chunk, check_rows_of_pass
from fastem._sources.known import Known, known_of, with_known
from fastem._sources.measurements import (
    check_unambiguous,
    check_values,
    is_square,
    noise_of_rows,
    shaped_noise,
    without_gaps,
)
from fastem._sources.noise_size import NO_NOISE, NoiseSize, noise_size
from fastem._sources.passes import SlabSource, Wanted, drawn_ranks, only_wanted
from fastem._sources.readers import Reader
from fastem._sources.tables import largest_integer
from fastem._typing import Array, RawChunk, Rows, read_only

T = TypeVar("T")


class _Tally(NamedTuple):
    rows: int = 0
    positive: int = 0
    total: float = 0.0
    largest: float = 0.0
    known: Known = known_of(Rows("X", 0, np.empty((0, 1))))
    noise: NoiseSize = NO_NOISE

    def add(self, chunk: Rows) -> "_Tally":
        n = len(chunk.X)
        known = self.known.followed_by(known_of(chunk), self.positive)
        noise = self.noise + noise_size(chunk)
        if chunk.weight is None:
            return _Tally(self.rows + n, self.positive + n, self.total + n, 1.0, known, noise)
        return _Tally(
            self.rows + n,
            self.positive + int(np.count_nonzero(chunk.weight)),
            self.total + float(chunk.weight.sum(dtype=np.float64)),
            max(self.largest, float(chunk.weight.max(initial=0))),
            known,
            noise,
        )


class ChunkSource(SlabSource):
    """Chunks of any sizes, cut into the same slabs as an array of the same rows.

    While one slab is computed, a thread reads the next. If there is a `cache_dir`, the first pass writes a
    copy of the rows there, and all later passes read the copy.
    """

    def __init__(
        self,
        reader: Reader,
        form: Form,
        sample_weight: Any,
        n_threads: int | None,
        begun: Iterator[RawChunk],
        cache_dir: Path | None = None,
        labels: Any = None,
        noise: Any = None,
    ) -> None:
        """`begun` is the pass that has begun with the first chunk, from which `form` was taken."""
        super().__init__(form.n_features, form.dtype, reader.feature_names or form.feature_names, n_threads)
        self._reader, self._form = reader, form
        self.vocabulary, self.gaps = form.vocabulary, form.gaps
        self._begun: Iterator[RawChunk] | None = begun
        self._n_samples = reader.n_samples
        for given in (sample_weight, labels):
            if given is not None and self._n_samples is None:
                self._n_samples = np.size(given)
        n = self._n_samples or 0
        self.noise_shape, self._noise, self._is_square = form.noise_shape, None, False
        if noise is not None:
            self._noise = shaped_noise(noise, self._n_samples, form.n_features)
            self._is_square = is_square(noise, form.n_features)
            if not self.gaps.allowed or len(self._noise) == 1:  # else each chunk tells what is missing
                check_values(self._noise, "noise")
            if len(self._noise) > 1 and self._n_samples is None:
                self._n_samples = len(self._noise)
        self._weight = check_sample_weight(sample_weight, n)
        self._labels = None if labels is None else check_labels(labels, n, form.k)
        self._tally: _Tally | None = None
        self._largest_integer = 0  # of the tables among the chunks
        self._cache_dir = cache_dir
        self._cached: ArraySource | None = None
        self._wanted: Wanted | None = None
        if cache_dir is not None and reader.n_samples is not None:
            about = form.weighted, form.labelled, form.noise_shape
            check_room(cache_dir, reader.n_samples, self.n_features, self.dtype, *about)

    @property
    def largest_integer(self) -> int:  # type: ignore[override]
        return max(self._reader.largest_integer, self._largest_integer)

    @property
    def n_samples(self) -> int:
        return self._counted().rows if self._n_samples is None else self._n_samples

    @property
    def n_positive(self) -> int:
        return self._counted().positive if self._form.weighted else self.n_samples

    @property
    def known(self) -> Known:
        return self._counted().known

    @property
    def noise_size(self) -> NoiseSize:
        return self._counted().noise

    def _counted(self) -> _Tally:
        if self._tally is None:
            self.moments()
        assert self._tally is not None
        return self._tally

    def chunks(self) -> Iterator[Rows]:
        tally = _Tally()
        where = "X"
        # Scoring continues the pass that has begun. If it began anew, an iterable that can be read only once
        # would miss its first chunk.
        begun, self._begun = self._begun, None
        for raw in self._reader.chunks() if begun is None else begun:
            known = None if self._weight is None else self._weight[tally.rows :]
            where, chunk = raw.where, check_chunk(raw, self._form, known)
            if self._tally is None:
                wanted = columns_of_model(raw.rows, self._form.wanted, where)
                self._largest_integer = max(self._largest_integer, largest_integer(wanted))
            if chunk.X.dtype.kind in "iu" and chunk.X.dtype.itemsize == 8:
                self.stored_dtype = chunk.X.dtype  # other chunks may have been floats
            start, stop = tally.rows, tally.rows + len(chunk.X)
            check_rows_of_pass(where, stop, self._n_samples, ended=False)
            chunk = chunk._replace(names=self.feature_names)
            if self._weight is not None:
                chunk = chunk._replace(weight=self._weight[start:stop])
            if self._labels is not None:
                chunk = chunk._replace(labels=self._labels[start:stop])
            if self._noise is not None:
                chunk = chunk._replace(noise=self._noise_of(chunk, start, stop))
            if self._wanted is not None:
                chunk = only_wanted(chunk._replace(start=start), self._wanted)
            tally = tally.add(chunk)
            yield chunk
        check_rows_of_pass(where, tally.rows, self._n_samples, ended=True)
        if self._is_square:
            check_unambiguous(tally.rows, self.n_features)
        if self._tally is None:
            check_weight_totals(tally.total, tally.largest)
            self._tally, self._n_samples = tally, tally.rows

    def _noise_of(self, chunk: Rows, start: int, stop: int) -> Array | None:
        """Return the noise of a chunk where it is given beside X."""
        noise = noise_of_rows(self._noise, start, stop)
        if noise is None or noise.strides[0] == 0 or not self.gaps.allowed:
            return noise
        if self._tally is None:
            check_values(noise, f"the noise of {chunk.where}", rows=chunk)
        return without_gaps(noise)

    def part(self, wanted: Wanted) -> "ChunkSource | ArraySource":
        if self._cached is not None:
            return self._cached.part(wanted)
        form = self._form._replace(weighted=True)
        part = ChunkSource(self._reader, form, self._weight, self.n_threads, iter(()), None, self._labels)
        part._begun, part._wanted, part._noise = None, wanted, self._noise
        return part

    def slabs(self, rows: int) -> Iterator[Rows]:
        self._begun = None  # one thread must read all of a pass, since sqlite connections require it
        if self._cached is not None:
            return self._cached.slabs(rows)
        slabs = self._slabs(rows)
        return _read_ahead(slabs if self._cache_dir is None else self._caching(slabs, self._cache_dir))

    def _caching(self, slabs: Generator[Rows], folder: Path) -> Generator[Rows]:
        with closing(slabs), self._rows_file(folder) as file:
            for slab in slabs:
                file.write(slab)
                yield slab
            rows = file.rows()._replace(names=self.feature_names)
            self._cached = ArraySource(rows, self.n_threads, gaps=self.gaps)

    def _rows_file(self, folder: Path) -> RowsFile:
        form = self._form
        about = form.weighted, form.labelled, form.noise_shape
        return RowsFile(folder, self.n_features, self.dtype, *about)

    def _slabs(self, rows: int) -> Generator[Rows]:
        start, filled = 0, 0
        # One slab is in use while the other is filled.
        slabs = cycle([self._new_slab(rows), self._new_slab(rows)])
        X, weight, labels, noise = next(slabs)
        for chunk in self.chunks():
            taken = 0
            while taken < len(chunk.X):
                size = min(rows - filled, len(chunk.X) - taken)
                source, target = slice(taken, taken + size), slice(filled, filled + size)
                slab = X
                if size == rows and self._reader.lasting and self.is_slab(chunk.X):
                    slab = chunk.X[source]
                else:
                    with np.errstate(over="ignore"):  # a longdouble may become inf, which a check finds
                        X[target] = chunk.X[source]
                if chunk.weight is not None:
                    weight[target] = chunk.weight[source]
                if chunk.labels is not None:
                    labels[target] = chunk.labels[source]
                if chunk.noise is not None:
                    noise[target] = chunk.noise[source]
                taken, filled = taken + size, filled + size
                if filled == rows:
                    yield self._slab(start, slab, weight, labels, noise)
                    start, filled = start + rows, 0
                    X, weight, labels, noise = next(slabs)
        if filled:
            yield self._slab(start, X[:filled], weight[:filled], labels[:filled], noise[:filled])

    def _slab(self, start: int, X: Array, weight: Array, labels: Array, noise: Array) -> Rows:
        form = self._form
        return Rows(
            "X",
            start,
            read_only(X),
            read_only(weight) if form.weighted else None,
            read_only(labels) if form.labelled else None,
            read_only(noise) if self.has_noise else None,
            names=self.feature_names,
        )

    def _new_slab(self, rows: int) -> tuple[Array, Array, Array, Array]:
        about = self._form.weighted, self._form.labelled, self.has_noise
        weights, labels, noises = (rows if given else 0 for given in about)
        X, noise = np.empty((rows, self.n_features), self.dtype), np.empty((noises, *self.noise_shape))
        return X, np.empty(weights, self.dtype), np.empty(labels, np.int64), noise

    def map(self, score: Callable[..., Array], numbered: bool = False) -> Iterator[Array]:
        """Return an iterator. The first chunk is scored at once, so that this call raises its errors."""
        chunks = enumerate(self.chunks())
        scores = (score(chunk, self.n_threads, *([i] if numbered else [])) for i, chunk in chunks)
        return chain([next(scores)], scores)

    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        ranks = with_known(drawn_ranks(self.n_positive, size, rng), self.known)
        if self._cached is not None:
            return self._cached.take(ranks)
        rows, weights, labels, noises, passed = [], [], [], [], 0
        for chunk in self.chunks():
            X, weight = chunk.X, chunk.weight
            positive = np.arange(len(X)) if weight is None else np.flatnonzero(weight)
            first, last = np.searchsorted(ranks, [passed, passed + len(positive)])
            chosen = positive[ranks[first:last] - passed]
            rows.append(np.asarray(X[chosen], dtype=self.dtype))
            weights.append(np.empty(0) if weight is None else weight[chosen])
            labels.append(np.empty(0, np.int64) if chunk.labels is None else chunk.labels[chosen])
            noises.append(np.empty(0) if chunk.noise is None else np.array(chunk.noise[chosen], np.float64))
            passed += len(positive)
        weight = np.concatenate(weights) if self._form.weighted else None
        known = np.concatenate(labels) if self._form.labelled else None
        noise = np.concatenate(noises) if self.has_noise else None
        return Rows("X", 0, np.concatenate(rows), weight, known, noise, names=self.feature_names)


def _read_ahead(items: Generator[T]) -> Iterator[T]:
    """Yield the same items. A thread makes the next item while the caller uses the current one.

    When the pass ends for any reason, the generator is closed once the thread does not use it. So files are
    closed at once, even if a traceback still refers to the generator. An executor whose `submit` is
    interrupted (Ctrl-C) may have started a thread for which it does not wait, hence the lock.
    """
    in_use = Lock()

    def following() -> T | None:
        with in_use:
            return next(items, None)

    try:
        with ThreadPoolExecutor(1, thread_name_prefix="fastem-reader") as reader:
            upcoming = reader.submit(following)
            while (item := upcoming.result()) is not None:
                upcoming = reader.submit(following)
                yield item
    finally:
        with in_use:
            items.close()
