"""What differs between scikit-learn's mixtures: how an ascent goes, and what it finds."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np

from fastem._api.fitting import fit_by
from fastem._api.gaussian import GaussianMixture
from fastem._api.interop import import_mixture
from fastem._api.options import Options, check_options
from fastem._api.scores import Densities
from fastem._report import FitReport
from fastem._typing import Array, FloatArray


class Start(NamedTuple):
    """Where the iterations over all rows begin."""

    init: Any  # a model or a posterior, or the name of a start of ours
    seed: int | None = None
    tol_share: float = 1.0  # the iterations continue down to this share of tol


class Ascent(NamedTuple):
    """The result of one start."""

    parameters: tuple[Any, ...]  # what scikit-learn's `_set_parameters` takes
    report: FitReport
    lower_bounds: list[float]

    @property
    def lower_bound(self) -> float:
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


class Way(ABC):
    """How one of scikit-learn's classes is fitted and scored. Subclasses are final."""

    scored: ClassVar[tuple[str, ...]]  # attributes that predictions follow

    @abstractmethod
    def check(self, estimator: Any, X: Array, weight: Array | None) -> None:
        """Check what depends on X, as scikit-learn does."""

    @abstractmethod
    def given(self, estimator: Any) -> tuple[Any, ...]:
        """Return the initial parameters that a user may give, which are None unless given."""

    @abstractmethod
    def starts_alike(self, weight: Array | None) -> bool:
        """Return whether scikit-learn, which takes no weights, would have the same start."""

    @abstractmethod
    def fitted(self, estimator: Any) -> Any:
        """Return the parameters of an estimator, to start from."""

    @abstractmethod
    def own_start(
        self, estimator: Any, X: Array, weight: Array | None, name: str, seed: int, n_threads: int | None
    ) -> Start:
        """Return our own start of this name, with what the user has given."""

    @abstractmethod
    def ascend(
        self,
        estimator: Any,
        X: Array,
        weight: Array | None,
        start: Start,
        previous: float,
        n_threads: int | None,
    ) -> Ascent:
        """Iterate by scikit-learn's rules. `previous` is the last bound of a warm start."""

    @abstractmethod
    def scorer(self, estimator: Any) -> Densities:
        """Return what scores rows by the parameters of an estimator."""


def options_of(estimator: Any, tol: Any, max_iter: int, rng: int | None) -> Options[Any]:
    options = check_options(
        estimator.n_components,
        estimator.covariance_type,
        "gaussian",
        "auto",
        1,
        tol,
        max_iter,
        estimator.reg_covar,
        None,
        None,
        rng,
    )
    # The likelihood alone decides, as between scikit-learn's restarts.
    return options._replace(sound_first=False)


def started(
    estimator: Any, X: Array, weight: Array | None, name: str, seed: int, n_threads: int | None
) -> GaussianMixture:
    """Return the model that our own start of this name finds."""
    options = options_of(estimator, estimator.tol, 0, seed)
    return cast(GaussianMixture, fit_by(options, name, X, weight, n_threads))


def precisions_cholesky(covariances: FloatArray, covariance_type: str) -> FloatArray:
    """Return the upper triangular roots of the precisions.

    For matrices, scikit-learn computes them with a triangular solve of scipy, which wakes the threads of
    BLAS. These then spin for a tenth of a second, and passes of the next fit took 5 ms instead of 1 ms. Its
    function takes ten times as long as a root.
    """
    if covariance_type in ("full", "tied"):
        try:
            inverse = np.linalg.inv(np.linalg.cholesky(covariances))
        except np.linalg.LinAlgError:
            pass  # scikit-learn's function below raises the error in its own words
        else:
            return np.triu(np.swapaxes(inverse, -1, -2))
    elif (covariances > 0).all():
        return np.asarray(1 / np.sqrt(covariances))
    return np.asarray(import_mixture()._compute_precision_cholesky(covariances, covariance_type))


def refuse(covariance_type: str, k: int, d: int) -> None:
    """Raise scikit-learn's error about singular covariances."""
    shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[covariance_type]
    import_mixture()._compute_precision_cholesky(np.zeros(shape), covariance_type)
