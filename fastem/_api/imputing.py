"""Rows with expectations, or draws, in place of the numbers that are missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from fastem._api.scoring import Scorer
from fastem._api.translations import advised
from fastem._checks import check_rng, row_ranges
from fastem._families.base import Family
from fastem._sources.passes import Source
from fastem._sources.texts import Vocabulary, has_text
from fastem._typing import (
    Array,
    Chunked,
    DataLike,
    Deciding,
    Float32Array,
    FloatArray,
    ForeignArray,
    Lists,
    NoiseLike,
    RngLike,
    Rows,
    RowsLike,
    Table,
)


class Imputes:
    """The method `impute` of a mixture."""

    _family: Family[Any, Any]
    _user: Any

    @abstractmethod
    def _source(
        self,
        X: DataLike,
        sample_weight: RowsLike,
        n_threads: int | None,
        empty: bool = False,
        missing: bool = False,
        noise: NoiseLike = None,
    ) -> Source: ...

    @overload
    def impute(self, X: Deciding, *, rng: RngLike = None, n_threads: int | None = None) -> Any: ...
    @overload
    def impute(
        self, X: Float32Array, *, rng: RngLike = None, n_threads: int | None = None
    ) -> Float32Array: ...
    @overload
    def impute(
        self, X: Array | Lists, *, rng: RngLike = None, n_threads: int | None = None
    ) -> FloatArray: ...
    @overload
    def impute(
        self, X: Table | ForeignArray, *, rng: RngLike = None, n_threads: int | None = None
    ) -> Array: ...
    @overload
    def impute(self, X: Chunked, *, rng: RngLike = None, n_threads: int | None = None) -> Iterator[Array]: ...

    @advised()
    def impute(self, X: Any, *, rng: RngLike = None, n_threads: int | None = None) -> Any:
        """Return the rows with the missing numbers filled in, (n, d).

        Without `rng`, a missing number becomes its expectation given what is observed in its row (Little and
        Rubin 2002), and a missing category the likeliest one. Such numbers vary less than real ones. With
        `rng`, they are drawn: a component by the responsibilities, and then what is missing given what is
        observed. Several draws show how uncertain results are (multiple imputation, Rubin 1987).

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `fit` takes
            NaN, None, nulls and masked entries are missing, also if the model has ``missing="error"``.
        rng : None, int or numpy.random.Generator
            None means expectations.
        n_threads : int, optional
            Number of threads. None means numba's setting.

        Returns
        -------
        array of shape (n, d), iterator, or dask array
            In float32 if X is, and else in float64. The numbers that are observed stay as they are, bit for
            bit. If columns hold text, it is an array of objects with their texts. Chunks and dask give what
            they give for `predict`. The draws for chunks are not those for an array of the same rows.

        Raises
        ------
        ValueError, TypeError
            If X is not an (n, d) array of real numbers or holds inf, if X is a table that lacks a column of
            the model, if X holds values that the distribution cannot have, or if the model has a component of
            noise or a distribution of your own.

        Examples
        --------
        >>> import fastem, numpy as np
        >>> model = fastem.GaussianMixture([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]])
        >>> model.impute([[5.0, np.nan]])
        array([[5., 3.]])
        """
        family = self._family.with_missing()
        seed = None if rng is None else int(check_rng(rng).integers(2**63))
        source = self._source(X, None, n_threads, empty=True, missing=True)
        fill = _Fill(family, self._user, Scorer(family, self._user), seed, family.vocabulary)
        return source.map(fill, numbered=True)


@dataclass(frozen=True)
class _Fill:
    """Fills rows. Those of each chunk have random numbers of their own, which its number tells."""

    family: Family[Any, Any]
    user: Any
    scorer: Scorer
    seed: int | None
    vocabulary: Vocabulary | None

    def __call__(self, rows: Rows, n_threads: int | None, number: int) -> Array:
        X = np.array(rows.X, dtype=np.float32 if rows.X.dtype == np.float32 else np.float64)
        for chosen in row_ranges(len(X)):
            part = rows.part(chosen)
            shares = self.scorer.responsibilities(part, n_threads)  # which checks all rows
            gaps = np.isnan(X[chosen])
            own = np.flatnonzero(gaps.any(axis=1))
            if not len(own):
                continue
            r, rng = shares[own].astype(np.float64), None
            if self.seed is not None:
                rng = np.random.default_rng([self.seed, number, chosen.start])
                r = _drawn(r, rng)
            filled = self.family.imputed(self.user, X[chosen][own].astype(np.float64), r, rng)
            X[chosen][gaps] = filled[gaps[own]]
        return X if not has_text(self.vocabulary) else _with_text(X, self.vocabulary or ())


def _drawn(responsibilities: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return 1 for a component of each row, drawn by the responsibilities, and 0 for the others."""
    sums = responsibilities.cumsum(axis=1)
    places = rng.random(len(sums)) * sums[:, -1]
    labels = np.minimum((sums <= places[:, None]).sum(axis=1), sums.shape[1] - 1)
    return np.asarray(labels[:, None] == np.arange(sums.shape[1]), dtype=np.float64)


def _with_text(X: Array, vocabulary: Vocabulary) -> Array:
    """Return the rows with the text that numbers stand for in columns of text."""
    found = X.astype(object)
    for j, texts in enumerate(vocabulary):
        if texts is not None:
            found[:, j] = texts[X[:, j].astype(np.int64)]
    return found
