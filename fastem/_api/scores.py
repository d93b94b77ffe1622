"""Scores of rows: an array for rows in memory, an iterator for chunks, and a lazy array for dask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, overload

from fastem._api.immutable import Immutable
from fastem._api.scoring import Scorer
from fastem._checks import check_responsibilities
from fastem._criteria import aic_of, bic_of
from fastem._sources.passes import ScoreRows, Source
from fastem._typing import (
    Array,
    ArrayLike,
    Chunked,
    DataLike,
    Deciding,
    Float32Array,
    FloatArray,
    ForeignArray,
    InMemory,
    IntArray,
    Lists,
    NoiseLike,
    RowsLike,
    Table,
)

_Foreign = Table | ForeignArray  # its numbers may be float32 or float64


class Clusters(Immutable, ABC):
    """A model that tells which component or cluster a row belongs to."""

    _scorer: Scorer

    @abstractmethod
    def _source(
        self, X: DataLike, sample_weight: RowsLike, n_threads: int | None, empty: bool = False
    ) -> Source:
        """Open X as a source for this model. With `empty` it may have no rows."""

    def _each(self, X: DataLike, n_threads: int | None, score: ScoreRows, noise: NoiseLike = None) -> Any:
        """Compute a score of each row."""
        about: dict[str, Any] = {} if noise is None else {"noise": noise}
        return self._source(X, None, n_threads, empty=True, **about).map(score)

    @overload
    def predict(self, X: Deciding, *, n_threads: int | None = None) -> Any: ...
    @overload
    def predict(self, X: InMemory, *, n_threads: int | None = None) -> IntArray: ...
    @overload
    def predict(self, X: Chunked, *, n_threads: int | None = None) -> Iterator[IntArray]: ...

    def predict(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the nearest center of each row, (n,) of int64. It is the first one if there are several.

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `fit` takes
            Of tables and files that have names, the columns in `feature_names` are taken, whatever others
            there are, and in whatever order.
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
            If X is not a finite (n, d) array of real numbers, if X is a table that lacks a column of the
            model, or if X holds values that the distribution cannot have.
        """
        return self._each(X, n_threads, self._scorer.labels)


class Densities(Clusters):
    """A model with a density for each component."""

    weights: FloatArray

    @abstractmethod
    def _source(
        self,
        X: DataLike,
        sample_weight: RowsLike,
        n_threads: int | None,
        empty: bool = False,
        *,
        noise: NoiseLike = None,
    ) -> Source: ...

    @overload
    def predict(self, X: Deciding, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any: ...
    @overload
    def predict(self, X: InMemory, *, noise: NoiseLike = None, n_threads: int | None = None) -> IntArray: ...
    @overload
    def predict(
        self, X: Chunked, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Iterator[IntArray]: ...

    def predict(self, X: Any, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any:
        """Return the likeliest component of each row, (n,) of int64.

        It is the first one if there are several. The component of noise, if there is one, has the label -1.

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `fit` takes
            Of tables and files that have names, the columns in `feature_names` are taken, whatever others
            there are, and in whatever order.
        noise : array or sequence of str, optional
            The known noise of the rows, as in `fit`, for Gaussian components: the density of a row is then
            that of its true value plus this noise. A model does not remember that of the rows it was
            fitted to.
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
            If X is not a finite (n, d) array of real numbers, if X is a table that lacks a column of the
            model, if X holds values that the distribution cannot have, or if noise is not valid.
        """
        return self._each(X, n_threads, self._scorer.labels, noise)

    @property
    @abstractmethod
    def n_parameters(self) -> int: ...

    @overload
    def score_samples(self, X: Deciding, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any: ...
    @overload
    def score_samples(
        self, X: Float32Array, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Float32Array: ...
    @overload
    def score_samples(
        self, X: Array | Lists, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> FloatArray: ...
    @overload
    def score_samples(
        self, X: _Foreign, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Array: ...
    @overload
    def score_samples(
        self, X: Chunked, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Iterator[Array]: ...

    def score_samples(self, X: Any, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any:
        """Return the log-density log p(x) of each row, (n,).

        The parameters, the results for chunks and dask, and the errors are those of `predict`.
        """
        return self._each(X, n_threads, self._scorer.log_densities, noise)

    @overload
    def predict_proba(self, X: Deciding, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any: ...
    @overload
    def predict_proba(
        self, X: Float32Array, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Float32Array: ...
    @overload
    def predict_proba(
        self, X: Array | Lists, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> FloatArray: ...
    @overload
    def predict_proba(
        self, X: _Foreign, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Array: ...
    @overload
    def predict_proba(
        self, X: Chunked, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Iterator[Array]: ...

    def predict_proba(self, X: Any, *, noise: NoiseLike = None, n_threads: int | None = None) -> Any:
        """Return the responsibilities p(component | x), (n, k) (Bishop 2006, eq. 9.23).

        Each row sums to 1. A component of noise comes last, (n, k + 1). The parameters, the results for
        chunks and dask, and the errors are those of `predict`.
        """
        return self._each(X, n_threads, self._scorer.responsibilities, noise)

    @overload
    def component_log_densities(
        self, X: Deciding, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Any: ...
    @overload
    def component_log_densities(
        self, X: InMemory, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> FloatArray: ...
    @overload
    def component_log_densities(
        self, X: Chunked, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Iterator[FloatArray]: ...

    def component_log_densities(
        self, X: Any, *, noise: NoiseLike = None, n_threads: int | None = None
    ) -> Any:
        """Return the log-density log p(x | k) of each row under each component, without the weights, (n, k).

        It is in float64, and -inf where a component cannot produce a row. The parameters, the results for
        chunks and dask, and the errors are those of `predict`.
        """
        return self._each(X, n_threads, self._scorer.component_log_densities, noise)

    def lower_bound(
        self,
        X: DataLike,
        responsibilities: ArrayLike | None = None,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return a lower bound of the total log-likelihood, by Jensen's inequality (Bishop 2006, eq. 9.71).

        For responsibilities q it is sum_i w_i sum_k q_ik (log p(x_i, k) - log q_ik), where q of 0 adds
        nothing. It is largest, and equals the log-likelihood, if q are those of the model. EM raises it in
        turn over q, in the E-step, and over the parameters, in the M-step.

        Parameters
        ----------
        X : array of shape (n, d), or anything else that `fit` takes
        responsibilities : array of shape (n, k), optional
            Numbers of at least 0 that sum to 1 in each row. None means those of the model. They must be None
            if X is a dask collection.
        sample_weight : array of shape (n,), optional
            Weights of the rows.
        noise : array or sequence of str, optional
            The known noise of the rows, as in `predict`.
        n_threads : int, optional
            The same as in `fit`.

        Returns
        -------
        float
            It is -inf if a row has a positive responsibility for a component that cannot produce it.

        Raises
        ------
        ValueError, TypeError
            If an argument is not valid.
        """
        source = self._source(X, sample_weight, n_threads, noise=noise)
        if responsibilities is None:
            return float(source.total(self._scorer.totals)[0])
        if source.lazy:
            raise TypeError(
                "responsibilities must be None where X is a dask collection. Compute the blocks one by one."
            )
        q = check_responsibilities(responsibilities, source.n_samples, len(self.weights), "responsibilities")
        return self._scorer.lower_bound(source.chunks(), q, n_threads)

    def score(
        self,
        X: DataLike,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return the mean log-density of the rows. `sample_weight` (n,) makes it a weighted mean."""
        log_likelihood, total_weight = self._totals(X, sample_weight, noise, n_threads)
        return log_likelihood / total_weight

    def bic(
        self,
        X: DataLike,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return the Bayesian information criterion, -2 log L + n_parameters log n. Lower is better.

        n is the number of rows, or the sum of their weights.
        """
        return bic_of(*self._totals(X, sample_weight, noise, n_threads), self.n_parameters)

    def aic(
        self,
        X: DataLike,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return the Akaike information criterion, -2 log L + 2 n_parameters. Lower is better."""
        return aic_of(self._totals(X, sample_weight, noise, n_threads)[0], self.n_parameters)

    def icl(
        self,
        X: DataLike,
        sample_weight: RowsLike = None,
        *,
        noise: NoiseLike = None,
        n_threads: int | None = None,
    ) -> float:
        """Return the integrated completed likelihood (Biernacki, Celeux and Govaert 2000). Lower is better.

        It is `bic` with the classification log-likelihood, sum_i w_i max_k log p(x_i, k), in place of log L.
        So overlap of the components counts against them.
        """
        totals = self._source(X, sample_weight, n_threads, noise=noise).total(self._scorer.classified_totals)
        return bic_of(float(totals[0]), float(totals[1]), self.n_parameters)

    def _totals(
        self, X: DataLike, sample_weight: RowsLike, noise: NoiseLike, n_threads: int | None
    ) -> tuple[float, float]:
        """Return the log-likelihood and the total weight."""
        totals = self._source(X, sample_weight, n_threads, noise=noise).total(self._scorer.totals)
        return float(totals[0]), float(totals[1])
