"""Other libraries, for comparison of speed. Each is optional.

To add a library, write the functions of a `Peer` that it supports, and add it to PEERS. Import the library
inside these functions. Raise NotImplementedError for what it does not support.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._typing import Array

# Does the work as many times as the argument says.
Run = Callable[[int], Any]


class Peer(NamedTuple):
    """What a library can do."""

    # (X, start) -> run(passes), which makes this many passes of EM from that start, whatever the gain
    em: Callable[[Array, GaussianMixture], Run]
    # model -> the library's model with the same parameters and scikit-learn's methods; None if there is none
    scorer: Callable[[GaussianMixture], Any] | None = None


def _sklearn_em(X: Array, start: GaussianMixture) -> Run:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as Estimator

    invert = np.linalg.inv if start.covariance_type in ("full", "tied") else np.reciprocal

    def run(passes: int) -> None:
        estimator = Estimator(
            start.n_components,
            covariance_type=start.covariance_type,
            # The estimator initialises itself even if all parameters are given. This is its cheapest way.
            init_params="random_from_data",
            weights_init=start.weights.astype(X.dtype),
            means_init=start.means.astype(X.dtype),
            precisions_init=invert(start.covariances).astype(X.dtype),
            max_iter=passes,
            tol=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(X)

    return run


def _sklearn_scorer(model: GaussianMixture) -> Any:
    from sklearn.mixture import GaussianMixture as Estimator

    estimator = Estimator(model.n_components, covariance_type=model.covariance_type)
    estimator.weights_, estimator.means_ = model.weights, model.means
    estimator.covariances_ = model.covariances
    if model.covariance_type in ("full", "tied"):
        inverse = np.linalg.inv(np.linalg.cholesky(model.covariances))
        estimator.precisions_cholesky_ = np.swapaxes(inverse, -2, -1)
    else:
        estimator.precisions_cholesky_ = 1 / np.sqrt(model.covariances)
    return estimator


def _onedal_em(X: Array, start: GaussianMixture) -> Run:
    import daal4py

    storage = {"full": "full", "diag": "diagonal"}.get(start.covariance_type)
    if storage is None:
        raise NotImplementedError(f"has no {start.covariance_type} covariance")
    covariances = [np.atleast_2d(covariance) for covariance in start.covariances]

    def run(passes: int) -> None:
        algorithm = daal4py.em_gmm(
            nComponents=start.n_components,
            fptype="float" if X.dtype == np.float32 else "double",
            maxIterations=passes,
            accuracyThreshold=0.0,
            covarianceStorage=storage,
        )
        algorithm.compute(X, start.weights.reshape(1, -1), start.means, covariances)

    return run


PEERS: dict[str, Peer] = {"scikit-learn": Peer(_sklearn_em, _sklearn_scorer), "oneDAL": Peer(_onedal_em)}
