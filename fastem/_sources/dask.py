"""Arrays and dataframes of dask, which is an optional extra, as a source."""

import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame, Moments
from fastem._families.once import computed_once
from fastem._families.statistics import Statistics
from fastem._sources import dask_tasks as tasks
from fastem._sources.about import About
from fastem._sources.arrays import base_measure_of
from fastem._sources.checks import (
    check_columns,
    check_labels,
    check_names_of_model,
    check_sample_weight,
    check_weight_totals,
)
from fastem._sources.chunk_checks import (
    check_blocks,
    check_named_columns,
    check_rows_of_pass,
    check_whole_rows,
    form_of,
    raise_no_columns,
    raise_no_rows,
)
from fastem._sources.dask_graph import Blocks
from fastem._sources.distinct import Distinct
from fastem._sources.few import Few
from fastem._sources.known import Known, with_known
from fastem._sources.measurements import (
    OfRows,
    check_names_of_noise,
    check_unambiguous,
    check_values,
    is_square,
    shape_of_noise,
    shaped_noise,
)
from fastem._sources.noise_size import NoiseSize
from fastem._sources.passes import ScoreRows, Source, Sweep, Wanted, drawn_ranks
from fastem._sources.tables import as_table
from fastem._sources.texts import NO_GAPS, Gaps, Vocabulary, has_text
from fastem._typing import Array, RawChunk, Rows


def is_dask(X: Any) -> bool:
    """Return whether X is one of dask's own collections. Collections of other libraries do not count."""
    base = sys.modules.get("dask.base")
    return base is not None and type(X).__module__.startswith("dask.") and base.is_dask_collection(X)


class DaskSource(Source):
    """The blocks of a dask array or dataframe. They stay where they are, and only small results come here."""

    lazy = True

    def __init__(
        self,
        X: Any,
        sample_weight: Any,
        n_threads: int | None,
        columns: Sequence[str] | None,
        n_features: int | None,
        feature_names: tuple[str, ...] | None,
        labels: Any,
        k: int,
        vocabulary: Vocabulary | None = None,
        gaps: Gaps = NO_GAPS,
        noise: Any = None,
    ) -> None:
        about = About(sample_weight, labels, noise)
        X, about = _selected(X, about, check_columns(columns), feature_names)
        sample_weight, labels, noise = about
        like = X._meta if _is_frame(X) else np.empty((0, *X.shape[1:]), X.dtype)
        self._form = form_of(
            [RawChunk("X", like)], None, n_features, feature_names, k=k, vocabulary=vocabulary, gaps=gaps
        )
        self.gaps = gaps
        self.n_features, self.feature_names = self._form.n_features, self._form.feature_names
        self.stored_dtype = self._form.dtype
        self.dtype = np.dtype(np.float32 if self.stored_dtype == np.float32 else np.float64)
        self._X, self.n_threads = X, n_threads
        # The number of rows of each block, or None if dask does not know it.
        self._block_rows = None if _is_frame(X) or np.isnan(X.shape[0]) else X.chunks[0]
        self._blocks = Blocks(X)
        self._wanted: Wanted | None = None
        beside = []
        if sample_weight is not None:
            beside.append(self._in_blocks(sample_weight, "sample_weight", check_sample_weight))
        if labels is not None:
            beside.append(self._in_blocks(labels, "labels", partial(check_labels, k=k)))
        self._noise, self._is_square = None, False  # blocks of it, or an array for all rows
        if noise is not None:
            self._is_square = not is_dask(noise) and is_square(noise, self.n_features)
            self._noise = self._noise_in_blocks(noise)
            self.noise_shape = self._noise.shape[1:]
            if is_dask(self._noise):
                beside.append(self._noise)
        if beside:
            self._blocks = Blocks(X, *beside)
        weighted, labelled = sample_weight is not None, labels is not None
        self._form = self._form._replace(
            weights_of_chunks=weighted,
            weighted=weighted,
            labels_of_chunks=labelled,
            labelled=labelled,
            noise_shape=self.noise_shape,
            noise_of_chunks=self.has_noise,
        )
        if vocabulary == () and has_text(self._form.vocabulary):
            learn = partial(tasks.texts, self._form.weighted, gaps)
            self._form = self._form._replace(vocabulary=self._of_blocks(learn).vocabulary)
        self.vocabulary = self._form.vocabulary

    def _in_blocks(self, given: Any, name: str, check: Callable[[Any, int], Any]) -> Any:
        """Return an array as a dask collection like X. This may need a pass to count rows of X."""
        if not is_dask(given):
            import dask.array as da

            if self._block_rows is None:
                self._block_rows = self._of_blocks(tasks.count)
            array = check(given, sum(self._block_rows))
            return da.from_array(array, chunks=(self._block_rows, *array.shape[1:]))
        check_blocks(self._X, given, name)
        return given

    def _noise_in_blocks(self, noise: Any) -> Any:
        """Return noise as a dask collection like X, or as an array if it is that of all rows."""
        d = self.n_features
        if is_dask(noise):
            check_blocks(self._X, noise, "noise")
            if not _is_frame(noise):
                check_whole_rows(noise, "noise")
            shape_of_noise(OfRows(np.empty((2, *noise.shape[1:]))), d, "noise")
            return noise
        n = None if self._block_rows is None else sum(self._block_rows)
        array = shaped_noise(noise, n, d)
        if not self.gaps.allowed or len(array) == 1:  # else blocks tell what is missing
            check_values(array, "noise")
        if len(array) == 1:
            return array
        return self._in_blocks(array, "noise", lambda given, n: shaped_noise(OfRows(given), n, d))

    def _of_blocks(self, function: Callable[..., Any]) -> Any:
        """Return the sum of a function over all blocks as they are, before any check."""
        return self._blocks.sum(function, dict.fromkeys(range(len(self._blocks)), ()))

    def _total(self, function: Callable[..., Any], *arguments: Any, own: dict[int, Any] | None = None) -> Any:
        """Return the sum of function(chunk, *arguments, *own[i]) over the blocks in `own`, or over all."""
        if own is None:
            own = dict.fromkeys(range(len(self._blocks)), ())
        return self._blocks.sum(self._on_chunks(function, arguments), own)

    def _on_chunks(self, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> tasks.OnChunks:
        noise = None if is_dask(self._noise) else self._noise
        task = tasks.OnBlocks if function is tasks.survey else tasks.OnChunks
        return task(function, self._form, self._block_rows, arguments, self._wanted, noise)

    @computed_once
    def _survey(self) -> tasks.Survey:
        survey: tasks.Survey = self._total(tasks.survey, self.gaps)
        check_rows_of_pass("X", sum(survey.rows), None, ended=True)
        self._block_rows = survey.rows
        if self._is_square:
            check_unambiguous(sum(survey.rows), self.n_features)
        moments = survey.moments
        check_weight_totals(0.0 if moments is None else moments.weight, survey.largest)
        return survey

    @property
    def n_samples(self) -> int:
        return sum(self._survey.rows)

    @property
    def n_positive(self) -> int:
        return sum(self._survey.positive)

    @property
    def known(self) -> Known:
        return self._survey.known

    @property
    def noise_size(self) -> NoiseSize:
        return self._survey.noise

    @property
    def largest_integer(self) -> int:  # type: ignore[override]
        return self._survey.largest_integer

    def part(self, wanted: Wanted) -> "DaskSource":
        assert self.n_samples > 0  # which counts the rows of each block
        part = copy(self)
        del part._survey
        part._wanted = wanted
        return part

    def moments(self) -> Moments:
        moments = self._survey.moments
        assert moments is not None
        if not moments.in_range:
            self.raise_not_finite()
        return moments

    @property
    def few(self) -> Few:
        return self._survey.few

    def distinct(self, columns: Array) -> Distinct:
        found: Distinct = self._total(tasks.distinct, columns)
        return found

    def reduce(self, sweep: Sweep) -> Statistics[Any]:
        own, again, sweep = None, sweep.again, sweep._replace(again=None)
        if sweep.given is not None:
            ends = accumulate(self._survey.rows, initial=0)
            own = {i: (sweep.given(start, stop),) for i, (start, stop) in enumerate(pairwise(ends))}
            sweep = sweep._replace(given=None)
        statistics: Statistics[Any] = self._total(tasks.statistics, self.gaps, sweep, own=own)
        if statistics.n_samples == 0:
            self.moments()  # this raises an error that says what is wrong
        return statistics if again is None else replace(statistics, again=again)

    def base_measure(self, family: Family[Any, Any], frame: Frame) -> float:
        return float(self.total(partial(base_measure_of, family, frame))[0])

    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        ranks = with_known(drawn_ranks(self.n_positive, size, rng), self.known)
        ends = list(accumulate(self._survey.positive, initial=0))
        cuts = enumerate(pairwise(np.searchsorted(ranks, ends)))
        own = {i: (ranks[first:last] - ends[i],) for i, (first, last) in cuts if first < last}
        sample: tasks.Sample = self._total(tasks.sample, own=own)
        return sample.rows

    def chunks(self) -> Iterator[Rows]:
        """Yield two rows for each block: the least and the largest values of its columns."""
        yield from self._total(tasks.extremes, self.missing)

    def map(self, score: Callable[..., Array], numbered: bool = False) -> Any:
        """Return a lazy dask array with the blocks of X."""
        import dask

        nothing = np.empty((0, self.n_features), self.stored_dtype)
        like = score(Rows("X", 0, nothing), 1, *([0] if numbered else []))
        if self.has_noise:
            return self._mapped_with_noise(score, like)
        X = self._X
        if _is_frame(X):
            X = X.map_partitions(tasks.numbers, self._form, meta=nothing)
        shape: dict[str, Any] = {"drop_axis": 1}
        if like.ndim > 1:
            sizes = tuple((size,) for size in like.shape[1:])
            shape = {"chunks": (X.chunks[0], *sizes), "new_axis": list(range(2, like.ndim))}
        form = self._form._replace(columns=tuple(range(self.n_features)))
        if _is_frame(self._X):  # whose text has become numbers
            form = form._replace(vocabulary=None)
        on_chunks = tasks.OnChunks(tasks.apply, form, None, (score,))
        # This is delayed, so that the graph holds the model once, and not in every task.
        delayed = dask.delayed(on_chunks, traverse=False)
        return X.map_blocks(tasks.score, delayed, numbered, dtype=like.dtype, meta=like, **shape)

    def _mapped_with_noise(self, score: Callable[..., Array], like: Array) -> Any:
        """Return the same where each block has its noise."""
        import dask
        import dask.array as da

        collections = [self._X, self._noise] if is_dask(self._noise) else [self._X]
        blocks = zip(*(np.ravel(one.to_delayed()) for one in collections), strict=True)
        on_chunks = dask.delayed(self._on_chunks(tasks.apply, (score,)), traverse=False)
        rows = self._block_rows or (np.nan,) * len(self._blocks)
        scores = [
            da.from_delayed(on_chunks(i, (), *block), (n, *like.shape[1:]), like.dtype, like)
            for i, (block, n) in enumerate(zip(blocks, rows, strict=True))
        ]
        return da.concatenate(scores, allow_unknown_chunksizes=True)

    def total(self, score: ScoreRows) -> Array:
        total = np.asarray(self._total(tasks.apply, score))
        if total[-1] == 0:
            self.moments()  # this raises an error that says what is wrong
        return total


def _is_frame(X: Any) -> bool:
    return type(X).__module__.startswith("dask.dataframe.")


def _selected(
    X: Any,
    about: About,
    columns: tuple[str, ...] | None,
    feature_names: tuple[str, ...] | None,
) -> tuple[Any, About]:
    """Return the wanted columns of X, and what is given beside, which may be other columns of X.

    If there are `feature_names` of a model, these are wanted.
    """
    import dask.array as da

    if not _is_frame(X) and not isinstance(X, da.Array):
        raise_no_rows(X)
    if _is_frame(X):
        as_table(X._meta)  # which checks the names
    else:
        check_whole_rows(X)
    named = about.names
    if feature_names is not None and _is_frame(X) and all(isinstance(name, str) for name in X.columns):
        check_names_of_model(feature_names, list(X.columns), "X")
        columns = feature_names
    if not named and columns is None:
        return X, about
    if not _is_frame(X):
        raise_no_columns(X)
    names = list(X.columns)
    columns = columns or tuple(name for name in names if name not in named)
    check_named_columns([*columns, *named], names)
    weight, labels = (X[given] if isinstance(given, str) else given for given in about[:2])
    if about.named[2]:
        check_names_of_noise(about.named[2], len(columns))
    noise = X[list(about.named[2])] if about.named[2] else about.noise
    return X[list(columns)], About(weight, labels, noise)
