"""The result of k-means."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import numpy as np

from fastem import _io
from fastem._api.missing import HOW_TO_FILL
from fastem._api.scores import Clusters
from fastem._api.scoring import Scorer
from fastem._api.translations import HOLDS_CENTERS, KMEANS_NAMES, advised
from fastem._checks import check_feature_names, check_finite, check_numeric
from fastem._families.centres import KMEANS, distances
from fastem._io import StoredMixture
from fastem._report import KR, KMeansReport, L
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import (
    Array,
    ArrayLike,
    Chunked,
    DataLike,
    Deciding,
    Float32Array,
    FloatArray,
    ForeignArray,
    IntArray,
    Lists,
    Rows,
    RowsLike,
    Table,
    read_only,
)

_SHOWN = 5
T = TypeVar("T", covariant=True)
_UNKNOWN = "Pass None if it is not known."


class _OfFit(Protocol[T]):
    """What a model has that was fitted, and others may have. A type checker reads the two cases."""

    @overload
    def __get__(self, model: KMeans[KMeansReport, Any], owner: object) -> T: ...
    @overload
    def __get__(self, model: KMeans[Any, Any], owner: object) -> T | None: ...


class KMeans(Clusters, Generic[KR, L]):
    """Clusters around their centers, as `kmeans` finds them. Each row belongs to the nearest center.

    The model is immutable. Its arrays are read-only copies, in the units of the data.

    Parameters
    ----------
    centers : array of shape (k, d)
        Centers of the clusters. They must be finite.
    labels, sizes, inertia, report, feature_names : optional
        What `kmeans` adds; see below.

    Attributes
    ----------
    centers : array of shape (k, d), float64
    labels : array of shape (n,), int64, or None
        The cluster of each row that was fitted: what `predict` returns for it. None if X was read in chunks
        or from a dask collection, whose labels need not fit in memory: use ``predict(X)``. None also for a
        model that a callback gets, or that you made.
    sizes : array of shape (k,), float64, or None
        The number of rows of each cluster, or the sum of their weights.
    inertia : float or None
        Sum of the squared distances of the rows to their centers, times the weights.
    report : KMeansReport or None
        How the fit went. `kmeans` returns a ``KMeans[KMeansReport]``: it has one, and `sizes` and `inertia`.
    feature_names : tuple of str, or None
        The names of the columns, if X was a table.
    k, n_features : int
        The number of clusters and d.

    Raises
    ------
    ValueError, TypeError
        If the shapes disagree, a center is not finite, or an argument is not what `kmeans` would pass.

    Examples
    --------
    >>> import fastem
    >>> fastem.KMeans([[0.0], [10.0]]).predict([[1], [8]])
    array([0, 1])
    """

    _elsewhere = KMEANS_NAMES
    if not TYPE_CHECKING:  # KMeans[KMeansReport] is enough; Generic knows no defaults before Python 3.13
        __class_getitem__ = classmethod(GenericAlias)
    centers: FloatArray
    labels: L
    sizes: _OfFit[FloatArray]
    inertia: _OfFit[float]
    report: KR
    feature_names: tuple[str, ...] | None

    @advised(about=HOLDS_CENTERS)
    def __init__(
        self,
        centers: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        sizes: ArrayLike | None = None,
        inertia: float | None = None,
        report: KR = None,  # type: ignore[assignment]
        feature_names: Sequence[str] | None = None,
    ) -> None:
        if isinstance(centers, Integral):
            raise TypeError(f"centers must be an array of shape (k, d); got {centers!r}. {HOLDS_CENTERS}")
        centers = check_finite("centers", centers)
        user = KMEANS.check(np.ones(centers.shape[:1]), {"centers": centers}, None)
        k, d = user.centers.shape
        if report is not None and not isinstance(report, KMeansReport):
            raise TypeError(
                f"report must be a KMeansReport, as kmeans returns it, or None; got {type(report).__name__}."
            )
        self._keep(
            centers=read_only(user.centers),
            labels=None if labels is None else read_only(_checked_labels(labels, k)),
            sizes=None if sizes is None else read_only(_checked_sizes(sizes, k)),
            inertia=None if inertia is None else _checked_inertia(inertia),
            report=report,
            feature_names=check_feature_names(feature_names, d),
            _scorer=Scorer(KMEANS, user, remedy=HOW_TO_FILL),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (
            self.centers,
            self.labels,
            self.sizes,
            self.inertia,
            self.report,
            self.feature_names,
        )

    def __repr__(self) -> str:
        parts = [f"k={self.k}", f"n_features={self.n_features}"]
        if self.inertia is not None:
            parts.append(f"inertia={self.inertia:.6g}")
        if self.sizes is not None:
            shown = [f"{size:.6g}" for size in self.sizes[:_SHOWN]] + ["..."] * (self.k > _SHOWN)
            parts.append(f"sizes=[{', '.join(shown)}]")
        if self.feature_names is not None:
            parts.append(f"feature_names={reprlib.repr(self.feature_names)}")
        if self.report is not None:
            parts.append(f"{self.report.status.name.lower()} after {self.report.n_iter} iterations")
        return f"KMeans({', '.join(parts)})"

    @property
    def k(self) -> int:
        return len(self.centers)

    @property
    def n_features(self) -> int:
        return int(self.centers.shape[1])

    @overload
    def transform(self, X: Deciding, *, n_threads: int | None = None) -> Any: ...
    @overload
    def transform(self, X: Float32Array, *, n_threads: int | None = None) -> Float32Array: ...
    @overload
    def transform(self, X: Array | Lists, *, n_threads: int | None = None) -> FloatArray: ...
    @overload
    def transform(self, X: Table | ForeignArray, *, n_threads: int | None = None) -> Array: ...
    @overload
    def transform(self, X: Chunked, *, n_threads: int | None = None) -> Iterator[Array]: ...

    def transform(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the distance of each row to each center, (n, k), in float32 if X is float32.

        Parameters, results for chunks and dask, and errors are those of `predict`.
        """
        return self._each(X, n_threads, self._distances)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, without pickles. `fastem.load` reads it."""
        arrays: dict[str, Array | None] = {"centers": self.centers, "labels": self.labels}
        options = {
            "family": KMEANS.name,
            "n_features": self.n_features,
            "feature_names": self.feature_names,
            "inertia": self.inertia,
        }
        known = {name: array for name, array in arrays.items() if array is not None}
        sizes = np.empty(0) if self.sizes is None else self.sizes
        _io.write(path, sizes, known, {}, options, self.report)

    def _source(
        self, X: DataLike, sample_weight: RowsLike, n_threads: int | None, empty: bool = False
    ) -> Source:
        names = self.feature_names
        return source_of(
            X,
            sample_weight,
            n_threads,
            n_features=self.n_features,
            feature_names=names,
            empty=empty,
            remedy=HOW_TO_FILL,
        )

    def _distances(self, rows: Rows, n_threads: int | None) -> Array:
        self._scorer.labels(rows, n_threads)  # raises the error that says which number is not finite
        return distances(rows.X, self.centers, n_threads)


def _checked_labels(labels: Any, k: int) -> IntArray:
    rule = f"labels must be integers from 0 to k - 1 = {k - 1}, one a row"
    array = check_numeric(labels, "labels")
    if array.ndim != 1:
        raise ValueError(f"{rule}; got shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{rule}; got dtype {array.dtype}. Convert them with labels.astype(int).")
    bad = (array < 0) | (array >= k)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{rule}; row {row} has {array[row]}. Number the clusters from 0.")
    return array.astype(np.int64)


def _checked_sizes(sizes: Any, k: int) -> FloatArray:
    array = check_finite("sizes", sizes)
    if array.shape != (k,):
        raise ValueError(f"sizes must have shape ({k},), one for each center; got {array.shape}.")
    if (array < 0).any():
        raise ValueError(f"sizes must be at least 0; got {array}. {_UNKNOWN}")
    return array


def _checked_inertia(inertia: Any) -> float:
    """Return the inertia, which is infinite where squares of the rows are."""
    array = check_numeric(inertia, "inertia")
    if array.ndim or not array >= 0:
        raise ValueError(f"inertia must be a number of at least 0; got {inertia!r}. {_UNKNOWN}")
    return float(array)


def _rebuilt(
    centers: Any, labels: Any, sizes: Any, inertia: Any, report: Any, feature_names: Any
) -> KMeans[Any, Any]:
    return KMeans(
        centers, labels=labels, sizes=sizes, inertia=inertia, report=report, feature_names=feature_names
    )


def read_clusters(stored: StoredMixture) -> KMeans[Any, Any]:
    """Return the model that a file holds, and check it."""
    return KMeans(
        stored.parameters["centers"],
        labels=stored.parameters.get("labels"),
        sizes=stored.weights if len(stored.weights) else None,
        inertia=stored.inertia,
        report=stored.report if isinstance(stored.report, KMeansReport) else None,
        feature_names=stored.feature_names,
    )
