"""The functions that dask tasks apply to one block. Their results can be added up.

They use serial kernels only. A worker's thread is one kernel thread, and workers' threads never meet in
numba's parallel layer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastem._families.frame import Moments
from fastem._families.statistics import Statistics
from fastem._sources.arrays import ArraySource
from fastem._sources.checks import columns_of_model
from fastem._sources.chunk_checks import Form, check_chunk, check_rows_of_block
from fastem._sources.distinct import Distinct, distinct_of
from fastem._sources.few import Few
from fastem._sources.known import Known, known_of
from fastem._sources.measurements import OfRows
from fastem._sources.noise_size import NoiseSize, noise_size
from fastem._sources.passes import Sweep, Wanted, only_wanted
from fastem._sources.tables import largest_integer
from fastem._sources.texts import NO_GAPS, Gaps, Vocabulary, merged_vocabulary, vocabulary_of
from fastem._typing import Array, RawChunk, Rows


@dataclass(frozen=True)
class Survey:
    """The result of the first pass."""

    rows: tuple[int, ...]  # number of rows of each block
    positive: tuple[int, ...]  # number of rows of positive weight of each block
    largest: float  # largest weight
    moments: Moments | None  # None if all weights are 0
    known: Known
    few: Few
    noise: NoiseSize
    largest_integer: int = 0  # in size, of tables whose integers may have become floats

    def __add__(self, other: "Survey") -> "Survey":
        moments = self.moments or other.moments
        if self.moments and other.moments:
            moments = self.moments.merge(other.moments)
        largest = max(self.largest, other.largest)
        known = self.known.followed_by(other.known, sum(self.positive))
        rows, positive, few = self.rows + other.rows, self.positive + other.positive, self.few + other.few
        noise, integer = self.noise + other.noise, max(self.largest_integer, other.largest_integer)
        return Survey(rows, positive, largest, moments, known, few, noise, integer)


@dataclass(frozen=True)
class Sample:
    rows: Rows

    def __add__(self, other: "Sample") -> "Sample":
        known, others = self.rows.known(), other.rows.known()
        joined = {name: np.concatenate([array, others[name]]) for name, array in known.items()}
        return Sample(Rows("X", 0, **joined, names=self.rows.names))


@dataclass(frozen=True)
class OnChunks:
    """Checks a block, and calls a function with it, common arguments and the block's own arguments."""

    function: Callable[..., Any]
    form: Form
    rows: tuple[int, ...] | None  # number of rows of each block, or None if unknown
    arguments: tuple[Any, ...]
    wanted: Wanted | None = None  # if there is one, the numbers of rows are known
    noise: Array | None = None  # that of all rows

    def __call__(self, i: int, own: tuple[Any, ...], rows: Any, *about: Any) -> Any:
        """`about` are the weights, labels and noise of the block, those that the form has."""
        given, parts = (self.form.weights_of_chunks, self.form.labels_of_chunks), iter(about)
        weight, labels = (next(parts, None) if has else None for has in given)
        noise = next(parts, None) if self.form.noise_of_chunks and self.noise is None else self.noise
        if noise is not None:
            noise = OfRows(noise)
        chunk = check_chunk(RawChunk(f"block {i} of X", rows, weight, labels, noise), self.form)
        if self.rows is not None:
            check_rows_of_block(chunk, self.rows[i])
            if self.wanted is not None:
                chunk = only_wanted(chunk._replace(start=sum(self.rows[:i])), self.wanted)
        return self.function(chunk, *self.arguments, *own)


class OnBlocks(OnChunks):
    """Surveys a block, and looks at its integers before they become floats."""

    def __call__(self, i: int, own: tuple[Any, ...], rows: Any, *about: Any) -> Any:
        survey = super().__call__(i, own, rows, *about)
        columns = columns_of_model(rows, self.form.wanted, f"block {i} of X")
        return replace(survey, largest_integer=largest_integer(columns))


def count(i: int, own: tuple[Any, ...], rows: Any) -> tuple[int, ...]:
    """Count the rows of a block before any check, since their text may not be known yet."""
    return (len(rows),)


def survey(chunk: Rows, gaps: Gaps) -> Survey:
    n, weight = len(chunk.X), chunk.weight
    largest = 1.0 if weight is None else float(weight.max(initial=0))
    moments, few = None, Few(0)
    if n > 0:  # a row without weight must be finite too
        source = _source(chunk if largest > 0 else chunk._replace(weight=None), gaps)
        moments = source.moments()
        few = source.few if largest > 0 else few
    positive = n if weight is None else int(np.count_nonzero(weight))
    about = known_of(chunk), few, noise_size(chunk)
    return Survey((n,), (positive,), largest, moments if largest > 0 else None, *about)


def distinct(chunk: Rows, columns: Array) -> Distinct:
    return distinct_of(chunk, columns)


@dataclass(frozen=True)
class Texts:
    vocabulary: Vocabulary

    def __add__(self, other: "Texts") -> "Texts":
        return Texts(merged_vocabulary(self.vocabulary, other.vocabulary))


def texts(weighted: bool, gaps: Gaps, i: int, own: tuple[Any, ...], rows: Any, *about: Any) -> Texts:
    """Return the text in a block before it becomes numbers. Weights come first in `about`, if any do."""
    weight = np.asarray(about[0]) if weighted else None
    return Texts(vocabulary_of(rows, f"block {i} of X", weight, gaps))


def statistics(chunk: Rows, gaps: Gaps, sweep: Sweep, given: Array | None = None) -> Statistics[Any]:
    rows_of = None if given is None else lambda start, stop: given[start:stop]
    return _source(chunk, gaps).reduce(sweep._replace(packed=own_arrays(sweep.packed), given=rows_of))


def own_arrays(packed: Any) -> Any:
    """Copy all arrays. Those from another process may be read-only or misaligned, for which numba would
    compile kernels again."""
    if isinstance(packed, tuple):
        copies = map(own_arrays, packed)
        return type(packed)(*copies) if hasattr(packed, "_fields") else tuple(copies)
    return np.array(packed) if isinstance(packed, np.ndarray) else packed


def sample(chunk: Rows, ranks: Array) -> Sample:
    return Sample(_source(chunk).take(ranks))


def extremes(chunk: Rows, missing: bool) -> tuple[Rows, ...]:
    """Return the least and the largest values of the columns, as two rows, without NaN if it may be there.

    If rows have weights, these two have the weight 0, and those of the rows of positive weight follow.
    """
    if len(chunk.X) == 0:
        return ()
    least, largest = (np.fmin, np.fmax) if missing else (np.minimum, np.maximum)
    ends = [least.reduce(chunk.X), largest.reduce(chunk.X)]
    weight = None
    if chunk.weight is not None:
        weight, positive = np.zeros(2, chunk.weight.dtype), chunk.X[chunk.weight > 0]
        if len(positive):
            ends += [least.reduce(positive), largest.reduce(positive)]
            weight = np.append(weight, np.ones_like(weight))
    return (Rows(chunk.where, 0, np.stack(ends), weight, names=chunk.names),)


def apply(chunk: Rows, score: Callable[..., Array], *number: int) -> Array:
    return score(chunk, 1, *number)


def score(rows: Array, on_chunks: OnChunks, numbered: bool, block_id: tuple[int, ...]) -> Any:
    return on_chunks(block_id[0], block_id[:1] if numbered else (), rows)


def numbers(partition: Any, form: Form) -> Array:
    return check_chunk(RawChunk("a block of X", partition), form).X


def _source(chunk: Rows, gaps: Gaps = NO_GAPS) -> ArraySource:
    return ArraySource(chunk, 1, gaps=gaps)
