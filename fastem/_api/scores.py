"""Scores of rows: an array for rows in memory, an iterator for chunks, and a lazy array for dask."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, overload

from fastem._api.immutable import Immutable
from fastem._api.scoring import Scorer
from fastem._sources.passes import ScoreRows
from fastem._typing import (
    Array,
    Chunked,
    DaskCollection,
    DataLike,
    Float32Array,
    FloatArray,
    ForeignArray,
    InMemory,
    IntArray,
    Lists,
    Table,
)

_Foreign = Table | ForeignArray  # its numbers may be float32 or float64


class Clusters(Immutable):
    """A model that tells which component or cluster a row belongs to."""

    _scorer: Scorer

    @abstractmethod
    def _each(self, X: DataLike, n_threads: int | None, score: ScoreRows) -> Any:
        """Compute a score of each row of anything that `fit` takes."""

    @overload
    def predict(self, X: DaskCollection, *, n_threads: int | None = None) -> Any: ...
    @overload
    def predict(self, X: InMemory, *, n_threads: int | None = None) -> IntArray: ...
    @overload
    def predict(self, X: Chunked, *, n_threads: int | None = None) -> Iterator[IntArray]: ...

    def predict(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the likeliest component, or the nearest center, of each row, (n,) of int64.

        It is the first one if there are several.

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `fit` takes
            From a Parquet file, the columns in `feature_names` are read.
        n_threads : int, optional
            Number of threads. None means numba's setting.

        Returns
        -------
        array of shape (n,), iterator, or dask array
            If X is read in chunks, the result is an iterator over one array for each chunk. If X is a dask
            array or dataframe, the result is a lazy dask array.

        Raises
        ------
        ValueError, TypeError
            If X is not a finite (n, d) array of real numbers, if X is a table with other columns than the
            model, or if X holds values that the distribution cannot have.
        """
        return self._each(X, n_threads, self._scorer.labels)


class Densities(Clusters):
    """A model with a density for each component."""

    @overload
    def score_samples(self, X: DaskCollection, *, n_threads: int | None = None) -> Any: ...
    @overload
    def score_samples(self, X: Float32Array, *, n_threads: int | None = None) -> Float32Array: ...
    @overload
    def score_samples(self, X: Array | Lists, *, n_threads: int | None = None) -> FloatArray: ...
    @overload
    def score_samples(self, X: _Foreign, *, n_threads: int | None = None) -> Array: ...
    @overload
    def score_samples(self, X: Chunked, *, n_threads: int | None = None) -> Iterator[Array]: ...

    def score_samples(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the log-density log p(x) of each row, (n,).

        The parameters, the results for chunks and dask, and the errors are those of `predict`.
        """
        return self._each(X, n_threads, self._scorer.log_densities)

    @overload
    def predict_proba(self, X: DaskCollection, *, n_threads: int | None = None) -> Any: ...
    @overload
    def predict_proba(self, X: Float32Array, *, n_threads: int | None = None) -> Float32Array: ...
    @overload
    def predict_proba(self, X: Array | Lists, *, n_threads: int | None = None) -> FloatArray: ...
    @overload
    def predict_proba(self, X: _Foreign, *, n_threads: int | None = None) -> Array: ...
    @overload
    def predict_proba(self, X: Chunked, *, n_threads: int | None = None) -> Iterator[Array]: ...

    def predict_proba(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the responsibilities p(component | x), (n, k) (Bishop 2006, eq. 9.23).

        Each row sums to 1. The parameters, the results for chunks and dask, and the errors are those of
        `predict`.
        """
        return self._each(X, n_threads, self._scorer.responsibilities)

    @overload
    def component_log_densities(self, X: DaskCollection, *, n_threads: int | None = None) -> Any: ...
    @overload
    def component_log_densities(self, X: InMemory, *, n_threads: int | None = None) -> FloatArray: ...
    @overload
    def component_log_densities(
        self, X: Chunked, *, n_threads: int | None = None
    ) -> Iterator[FloatArray]: ...

    def component_log_densities(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the log-density log p(x | k) of each row under each component, without the weights, (n, k).

        It is in float64, and -inf where a component cannot produce a row. The parameters, the results for
        chunks and dask, and the errors are those of `predict`.
        """
        return self._each(X, n_threads, self._scorer.component_log_densities)
