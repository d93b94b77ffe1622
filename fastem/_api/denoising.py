"""Rows without the noise that they were measured with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, overload

from fastem._api.scoring import Scorer
from fastem._sources.passes import Source
from fastem._typing import Chunked, DataLike, Deciding, FloatArray, InMemory, NoiseLike, RowsLike


class Denoises:
    """The method `denoise` of a mixture of Gaussians."""

    _scorer: Scorer

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
    def denoise(self, X: Deciding, noise: NoiseLike = None, *, n_threads: int | None = None) -> Any: ...
    @overload
    def denoise(
        self, X: InMemory, noise: NoiseLike = None, *, n_threads: int | None = None
    ) -> FloatArray: ...
    @overload
    def denoise(
        self, X: Chunked, noise: NoiseLike = None, *, n_threads: int | None = None
    ) -> Iterator[FloatArray]: ...

    def denoise(self, X: Any, noise: Any = None, *, n_threads: int | None = None) -> Any:
        """Return what the true values of rows measured with known noise are expected to be, (n, d).

        The expectation is over the components, by their responsibilities, and over the true values given
        each (Bovy, Hogg and Roweis 2011, eq. 20). It is nearer to the middle of a component than the row,
        the more so the larger the noise. Expectations vary less than true values do: to describe the
        population, use the mixture itself.

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `fit` takes
            NaN is a value that was not measured, if the model has ``missing="marginalise"``. Its expectation
            given the rest of the row takes its place.
        noise : array or sequence of str
            The known noise of the rows, as in `fit`. It is left out where X is chunks that come with theirs.
        n_threads : int, optional
            Number of threads. None means numba's setting.

        Returns
        -------
        array of shape (n, d), iterator, or dask array
            In float64. Chunks and dask give what they give for `predict`.

        Raises
        ------
        ValueError, TypeError
            If X or the noise is not valid, or if X is a table that lacks a column of the model.

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture([1.0], [[0.0]], [[[3.0]]])
        >>> model.denoise([[4.0]], noise=[1.0])
        array([[3.]])
        """
        source = self._source(X, None, n_threads, empty=True, noise=noise)
        if not source.has_noise:
            raise ValueError("noise must be given for denoise; got None. Without noise, the rows are true.")
        return source.map(self._scorer.true_values)
