"""The model: what `fit` returns, and what a user builds from known parameters."""

import os
import reprlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastem import _io
from fastem._api import interop as _interop
from fastem._checks import (
    check_count,
    check_covariance_type,
    check_feature_names,
    check_parameters,
    check_rng,
)
from fastem._families.frame import Frame, Moments, frame_of
from fastem._families.gaussian import FAMILIES, Family, KernelParams, Parameters
from fastem._report import FitReport
from fastem._sources.base import ArraySource, ScoreChunk, Source
from fastem._sources.open import source_of
from fastem._typing import Array, Chunk, CovarianceType, FloatArray


class GaussianMixture:
    """A Gaussian mixture with known parameters: p(x) = sum_k weights[k] N(x; means[k], covariance[k]).

    Immutable: its arrays are read-only copies, in float64 and in the units of the data. What it returns
    for rows X has the dtype of X if that is float32, else float64.

    Parameters
    ----------
    weights : array of shape (k,)
        Mixing weights, at least 0, with sum 1.
    means : array of shape (k, d)
    covariances : array of shape (k, d, d) full, (d, d) tied, (k, d) diag, (k,) spherical
        Covariance matrices, symmetric and positive definite; variances for diag and spherical.
    covariance_type : {"full", "tied", "diag", "spherical"}
    report : FitReport, optional
        How the parameters were fitted.
    feature_names : sequence of d str, optional
        Names of the columns. Tables that are scored must have the same ones, in the same order.

    Attributes
    ----------
    weights, means, covariances, covariance_type, report, feature_names
        As above; `report` is None for a model that was not fitted, `feature_names` (a tuple) None for one
        that was not fitted to a table.
    n_components, n_features : int
        k and d.
    n_parameters : int
        Free parameters, as `bic` and `aic` count them.

    Raises
    ------
    ValueError, TypeError
        If shapes disagree or the parameters are not those of a mixture.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.GaussianMixture([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
    >>> model.predict([[0.3], [3.0]])
    array([0, 1])
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray
    covariance_type: CovarianceType
    report: FitReport | None
    feature_names: tuple[str, ...] | None
    _prepared: dict[np.dtype[Any], tuple[KernelParams, Frame]]

    def __init__(
        self,
        weights: Any,
        means: Any,
        covariances: Any,
        covariance_type: CovarianceType = "full",
        *,
        report: FitReport | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        covariance_type = check_covariance_type(covariance_type)
        arrays = check_parameters(weights, means, covariances, covariance_type)
        for name, array in zip(("weights", "means", "covariances"), arrays, strict=True):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "covariance_type", covariance_type)
        object.__setattr__(self, "report", report)
        object.__setattr__(self, "feature_names", check_feature_names(feature_names, self.n_features))
        object.__setattr__(self, "_prepared", {})
        self._check_positive_definite()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"GaussianMixture is immutable; build a new one instead of setting {name!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("GaussianMixture is immutable.")

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.weights, self.means, self.covariances, self.covariance_type)
        return _rebuild, (*arguments, self.report, self.feature_names)

    def __repr__(self) -> str:
        names = "" if self.feature_names is None else f", feature_names={reprlib.repr(self.feature_names)}"
        return (
            f"GaussianMixture(n_components={self.n_components}, n_features={self.n_features}, "
            f"covariance_type={self.covariance_type!r}{names})"
        )

    @property
    def n_components(self) -> int:
        return int(self.means.shape[0])

    @property
    def n_features(self) -> int:
        return int(self.means.shape[1])

    @property
    def n_parameters(self) -> int:
        k, d = self.n_components, self.n_features
        return self._family.n_parameters(k, d) + k * d + k - 1

    def score_samples(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Log-density log p(x) of each row.

        Parameters
        ----------
        X : array of shape (n, d), table, or whatever else `fit` takes
            Of a Parquet file those columns are read that `feature_names` tells.
        n_threads : int, optional
            Threads to use; None for numba's setting.

        Returns
        -------
        array of shape (n,), iterator, or dask array
            Of X that is read in chunks, an iterator over one array for each chunk; of a dask
            array or dataframe a dask array, lazy.

        Raises
        ------
        ValueError, TypeError
            If X is not a finite (n, d) array of real numbers, or a table of other columns than the model's.
        """
        return self._each(X, n_threads, self._log_densities)

    def predict(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Most likely component of each row, (n,) of int64. Parameters as in `score_samples`."""
        return self._each(X, n_threads, self._labels)

    def predict_proba(self, X: Any, *, n_threads: int | None = None) -> Any:
        """Responsibilities p(component | x) (Bishop 2006, eq. 9.23), (n, k), each row with sum 1.

        Parameters as in `score_samples`.
        """
        return self._each(X, n_threads, self._responsibilities)

    def score(self, X: Any, sample_weight: Any = None, *, n_threads: int | None = None) -> float:
        """Mean log-density of the rows, weighted by `sample_weight` (n,) if given."""
        log_likelihood, total_weight = self._totals(X, sample_weight, n_threads)
        return log_likelihood / total_weight

    def bic(self, X: Any, sample_weight: Any = None, *, n_threads: int | None = None) -> float:
        """Bayesian information criterion, -2 log L + n_parameters log n: lower is better.

        n is the number of rows, or the sum of their weights. Parameters as in `score`.
        """
        log_likelihood, n = self._totals(X, sample_weight, n_threads)
        return -2 * log_likelihood + self.n_parameters * float(np.log(n))

    def aic(self, X: Any, sample_weight: Any = None, *, n_threads: int | None = None) -> float:
        """Akaike information criterion, -2 log L + 2 n_parameters: lower is better.

        Parameters as in `score`.
        """
        log_likelihood, _ = self._totals(X, sample_weight, n_threads)
        return -2 * log_likelihood + 2.0 * self.n_parameters

    def sample(self, n: int, rng: Any = None) -> tuple[FloatArray, Array]:
        """Draw rows from the mixture, independent of each other.

        Parameters
        ----------
        n : int
        rng : None, int or numpy.random.Generator

        Returns
        -------
        X : array of shape (n, d)
        labels : array of shape (n,), int64
            The component each row came from.
        """
        n = check_count("n", n, 0)
        rng = check_rng(rng)
        k, d = self.means.shape
        labels = rng.choice(k, n, p=self.weights / self.weights.sum())
        X = rng.standard_normal((n, d))
        parameters, frame = self._standardised(np.dtype(np.float64))
        covariances = np.broadcast_to(parameters.covariances, (k, *parameters.covariances.shape[1:]))
        for component in range(k):
            mine = labels == component
            noise = self._family.colour(covariances[component], X[mine])
            X[mine] = frame.restore(parameters.means[component] + noise)
        return X, labels

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, without pickles; `fastem.load` reads it."""
        options = {name: getattr(self, name) for name in _io.OPTIONS}
        _io.write(path, self.weights, self.means, self.covariances, options, self.report)

    def to_sklearn(self) -> Any:
        """A fitted ``sklearn.mixture.GaussianMixture`` with these parameters, for its ecosystem.

        Its parameters are copies, bit by bit; `from_sklearn` takes them back. `n_iter_` and `converged_`
        are those of the report; `lower_bound_`, a mean over rows that are not here, is -inf.

        Raises
        ------
        ImportError
            If scikit-learn is missing.
        """
        return _interop.to_sklearn(
            self.weights, self.means, self.covariances, self.covariance_type, self.report
        )

    @classmethod
    def from_sklearn(cls, estimator: Any) -> "GaussianMixture":
        """The model of a fitted ``sklearn.mixture.GaussianMixture``, bit by bit, without a report.

        Raises
        ------
        ImportError
            If scikit-learn is missing.
        TypeError, ValueError
            If `estimator` is something else, is not fitted, or its covariances are not positive
            definite, as those of a float32 fit may be.
        """
        return cls(*_interop.fitted_parameters(estimator))

    @property
    def _family(self) -> Family:
        return FAMILIES[self.covariance_type]

    def _source(self, X: Any, sample_weight: Any, n_threads: int | None, *, empty: bool = False) -> Source:
        names = self.feature_names
        return source_of(
            X, sample_weight, n_threads, n_features=self.n_features, feature_names=names, empty=empty
        )

    def _each(self, X: Any, n_threads: int | None, score: ScoreChunk) -> Any:
        return self._source(X, None, n_threads, empty=True).map(score)

    def _totals(self, X: Any, sample_weight: Any, n_threads: int | None) -> tuple[float, float]:
        """Log-likelihood and total weight."""
        log_likelihood, total_weight = self._source(X, sample_weight, n_threads).total(self._totals_of)
        return float(log_likelihood), float(total_weight)

    def _totals_of(self, chunk: Chunk, n_threads: int | None) -> Array:
        log_densities = self._log_densities(chunk, n_threads).astype(np.float64, copy=False)
        if chunk.weight is None:
            return np.array([log_densities.sum(), len(log_densities)])
        return np.array([(log_densities * chunk.weight).sum(), chunk.weight.sum(dtype=np.float64)])

    def _log_densities(self, chunk: Chunk, n_threads: int | None) -> Array:
        out = np.empty(len(chunk.rows), _dtype_of(chunk.rows))
        self._score(chunk, n_threads, log_densities=out)
        return out

    def _labels(self, chunk: Chunk, n_threads: int | None) -> Array:
        out = np.empty(len(chunk.rows), np.int64)
        self._score(chunk, n_threads, labels=out)
        return out

    def _responsibilities(self, chunk: Chunk, n_threads: int | None) -> Array:
        out = np.empty((len(chunk.rows), self.n_components), _dtype_of(chunk.rows))
        self._score(chunk, n_threads, responsibilities=out)
        return out

    def _check_positive_definite(self) -> None:
        d = self.n_features
        covariances = self.covariances.reshape(self._family.shape(self.n_components, d))
        proper = (self._family.variances(covariances, d) > 0).all(axis=1)
        if proper.all():
            parameters, _ = self._standardised(np.dtype(np.float64))
            proper = (self._family.pivots(parameters.covariances, d) > 0).all(axis=1)
        if not proper.all():
            which = "" if self.covariance_type == "tied" else f" of component {np.argmin(proper)}"
            raise ValueError(
                f"covariances must be positive definite; that{which} is not. "
                "Add a small variance to its diagonal."
            )

    def _standardised(self, dtype: np.dtype[Any]) -> tuple[Parameters, Frame]:
        """The parameters in standard coordinates, and the frame, a function of the model alone."""
        family = self._family
        k, d = self.means.shape
        covariances = self.covariances.reshape(family.shape(k, d))
        mean = self.weights @ self.means
        variance = self.weights @ (family.variances(covariances, d) + np.square(self.means - mean))
        frame = frame_of(Moments(1.0, mean, variance), dtype, family.isotropic)
        scaled = family.rescale(covariances, 1 / frame.scale)
        return Parameters(self.weights, frame.standardise(self.means), scaled), frame

    def _prepare(self, dtype: np.dtype[Any]) -> tuple[KernelParams, Frame]:
        """What the kernels need, made once for each dtype."""
        if dtype not in self._prepared:
            parameters, frame = self._standardised(dtype)
            self._prepared[dtype] = self._family.prepare(parameters, frame, dtype), frame
        return self._prepared[dtype]

    def _score(self, chunk: Chunk, n_threads: int | None, **outputs: Array) -> None:
        if len(chunk.rows) == 0:
            return
        source = ArraySource(chunk.rows, None, n_threads, where=chunk.where)
        params, frame = self._prepare(source.dtype)
        source.score(params, frame, **outputs)


def model_of(
    parameters: Parameters,
    frame: Frame,
    covariance_type: CovarianceType,
    report: FitReport | None,
    feature_names: tuple[str, ...] | None,
) -> GaussianMixture:
    """The model with these parameters, taken from standard coordinates to user units."""
    family = FAMILIES[covariance_type]
    covariances = family.rescale(parameters.covariances, frame.scale)
    return GaussianMixture(
        parameters.weights,
        frame.restore(parameters.means),
        covariances.reshape(family.public_shape(*parameters.means.shape)),
        covariance_type,
        report=report,
        feature_names=feature_names,
    )


def load(path: str | os.PathLike[str]) -> GaussianMixture:
    """Read a model that `GaussianMixture.save` wrote. Nothing in the file is executed.

    Raises
    ------
    ValueError
        If the file is not a fastem model, is damaged, or is of a newer format.
    OSError
        If it cannot be opened.
    """
    weights, means, covariances, options, report = _io.read(path)
    try:
        return GaussianMixture(weights, means, covariances, **options, report=report)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} does not hold a valid model: {error}") from None


def _rebuild(
    weights: Array,
    means: Array,
    covariances: Array,
    covariance_type: CovarianceType,
    report: FitReport | None,
    feature_names: tuple[str, ...] | None,
) -> GaussianMixture:
    return GaussianMixture(
        weights, means, covariances, covariance_type, report=report, feature_names=feature_names
    )


def _dtype_of(X: Array) -> type[np.floating[Any]]:
    return np.float32 if X.dtype == np.float32 else np.float64
