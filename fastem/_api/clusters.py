"""The result of k-means."""

import os
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem import _io
from fastem._api.immutable import Immutable
from fastem._api.scoring import Scorer
from fastem._checks import check_feature_names, check_finite, check_numeric
from fastem._families.centres import KMEANS, distances
from fastem._io import StoredMixture
from fastem._report import KMeansReport
from fastem._sources.open import source_of
from fastem._sources.passes import ScoreRows
from fastem._typing import Array, FloatArray, Rows, read_only

_SHOWN = 5
_UNKNOWN = "Pass None if it is not known."


class KMeans(Immutable):
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
        How the fit went.
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

    centers: FloatArray
    labels: Array | None
    sizes: FloatArray | None
    inertia: float | None
    report: KMeansReport | None
    feature_names: tuple[str, ...] | None
    _scorer: Scorer

    def __init__(
        self,
        centers: Any,
        *,
        labels: Any = None,
        sizes: Any = None,
        inertia: float | None = None,
        report: KMeansReport | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
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
            _scorer=Scorer(KMEANS, user),
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

    def predict(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the nearest center of each row, (n,) of int64, and the first if several are nearest.

        Parameters
        ----------
        X : array of shape (n, d), table, or anything else that `kmeans` takes
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
            If X is not a finite (n, d) array of real numbers, or a table that lacks a column of the model.
        """
        return self._each(X, n_threads, self._scorer.labels)

    def transform(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Return the distance of each row to each center, (n, k), in float32 if X is float32.

        Parameters, results for chunks and dask, and errors are those of `predict`.
        """
        return self._each(X, n_threads, self._distances)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, without pickles. `fastem.load` reads it."""
        arrays = {"centers": self.centers, "labels": self.labels}
        options = {
            "family": KMEANS.name,
            "n_features": self.n_features,
            "feature_names": self.feature_names,
            "inertia": self.inertia,
        }
        known = {name: array for name, array in arrays.items() if array is not None}
        sizes = np.empty(0) if self.sizes is None else self.sizes
        _io.write(path, sizes, known, {}, options, self.report)

    def _each(self, X: Any, n_threads: int | None, score: ScoreRows) -> Any:
        names = self.feature_names
        source = source_of(X, None, n_threads, n_features=self.n_features, feature_names=names, empty=True)
        return source.map(score)

    def _distances(self, rows: Rows, n_threads: int | None) -> Array:
        self._scorer.labels(rows, n_threads)  # raises the error that says which number is not finite
        return distances(rows.X, self.centers, n_threads)


def _checked_labels(labels: Any, k: int) -> Array:
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


def _rebuilt(centers: Any, labels: Any, sizes: Any, inertia: Any, report: Any, feature_names: Any) -> KMeans:
    return KMeans(
        centers, labels=labels, sizes=sizes, inertia=inertia, report=report, feature_names=feature_names
    )


def read_clusters(stored: StoredMixture) -> KMeans:
    """Return the model that a file holds, and check it."""
    return KMeans(
        stored.parameters["centers"],
        labels=stored.parameters.get("labels"),
        sizes=stored.weights if len(stored.weights) else None,
        inertia=stored.inertia,
        report=stored.report if isinstance(stored.report, KMeansReport) else None,
        feature_names=stored.feature_names,
    )
