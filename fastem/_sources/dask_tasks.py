"""What a task makes of one block: something that adds up.

Serial kernels only: a worker's thread is one kernel thread, and no two of them meet in numba's parallel
layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._families.gaussian import FAMILIES, KernelParams
from fastem._families.statistics import Statistics
from fastem._sources.base import ArraySource, ScoreChunk
from fastem._sources.chunk_checks import Form, check_chunk, check_rows_of_block
from fastem._typing import Array, Chunk, CovarianceType


@dataclass(frozen=True)
class Survey:
    """What the first pass finds."""

    rows: tuple[int, ...]  # of each block
    positive: tuple[int, ...]  # those of positive weight
    largest: float  # weight
    moments: Moments | None  # None if there is no weight

    def __add__(self, other: "Survey") -> "Survey":
        moments = self.moments or other.moments
        if self.moments and other.moments:
            moments = self.moments.merge(other.moments)
        largest = max(self.largest, other.largest)
        return Survey(self.rows + other.rows, self.positive + other.positive, largest, moments)


@dataclass(frozen=True)
class Sample:
    rows: Array
    weight: Array | None

    def __add__(self, other: "Sample") -> "Sample":
        weight = None
        if self.weight is not None and other.weight is not None:
            weight = np.concatenate([self.weight, other.weight])
        return Sample(np.concatenate([self.rows, other.rows]), weight)


@dataclass(frozen=True)
class OnChunks:
    """A function of a checked chunk, some arguments, and what the block has of its own."""

    function: Callable[..., Any]
    form: Form
    rows: tuple[int, ...] | None  # of each block, where they are known
    arguments: tuple[Any, ...]

    def __call__(self, i: int, own: tuple[Any, ...], rows: Any, weight: Any = None) -> Any:
        chunk = check_chunk(f"block {i} of X", rows, weight, self.form)
        if self.rows is not None:
            check_rows_of_block(chunk, self.rows[i])
        return self.function(chunk, *self.arguments, *own)


def count(chunk: Chunk) -> tuple[int, ...]:
    return (len(chunk.rows),)


def survey(chunk: Chunk) -> Survey:
    n, weight = len(chunk.rows), chunk.weight
    largest = 1.0 if weight is None else float(weight.max(initial=0))
    moments = None
    if n > 0:  # a row without weight must be finite too
        moments = _source(chunk if largest > 0 else chunk._replace(weight=None)).moments()
    positive = n if weight is None else int(np.count_nonzero(weight))
    return Survey((n,), (positive,), largest, moments if largest > 0 else None)


def statistics(
    chunk: Chunk,
    covariance_type: CovarianceType,
    params: KernelParams,
    frame: Frame,
    given: Array | None = None,
) -> Statistics:
    # Arrays from the wire may be read-only or misaligned, for which kernels would be compiled anew.
    params = type(params)(*map(np.array, params))
    rows_of = None if given is None else lambda start, stop: given[start:stop]
    return _source(chunk).reduce(FAMILIES[covariance_type], params, frame, rows_of)


def sample(chunk: Chunk, ranks: Array) -> Sample:
    return Sample(*_source(chunk).take(ranks))


def extremes(chunk: Chunk) -> tuple[Chunk, ...]:
    """The least and the largest values of the columns, as two rows."""
    if len(chunk.rows) == 0:
        return ()
    return (Chunk(chunk.where, np.stack([chunk.rows.min(axis=0), chunk.rows.max(axis=0)]), None),)


def apply(chunk: Chunk, score: ScoreChunk) -> Array:
    return score(chunk, 1)


def score(rows: Array, on_chunks: OnChunks, block_id: tuple[int, ...]) -> Any:
    return on_chunks(block_id[0], (), rows)


def numbers(partition: Any, form: Form) -> Array:
    return check_chunk("a block of X", partition, None, form).rows


def _source(chunk: Chunk) -> ArraySource:
    return ArraySource(chunk.rows, chunk.weight, 1, where=chunk.where)
