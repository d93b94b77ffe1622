"""Other libraries' EM from a given start, for comparison of speed. Each is optional.

A peer is a function (X, start) -> run, where run(passes) makes that many passes. To add one, write it
and name it in PEERS.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem._model import GaussianMixture
from fastem._typing import Array

Run = Callable[[int], Any]


def sklearn(X: Array, start: GaussianMixture) -> Run:
    """scikit-learn's GaussianMixture, with its own threads."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as Estimator

    invert = np.linalg.inv if start.covariance_type in ("full", "tied") else np.reciprocal

    def run(passes: int) -> None:
        estimator = Estimator(
            start.n_components,
            covariance_type=start.covariance_type,
            # Whatever is given, the estimator also initialises itself; this is its cheapest way.
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


def onedal(X: Array, start: GaussianMixture) -> Run:
    """oneDAL's em_gmm, through daal4py."""
    import daal4py

    storage = {"full": "full", "diag": "diagonal"}.get(start.covariance_type)
    if storage is None:
        raise NotImplementedError(f"has no {start.covariance_type} covariance")
    d = start.n_features
    shape = (-1, d) if storage == "full" else (-1, 1, d)
    covariances = [
        np.ascontiguousarray(c.reshape(shape[1:] if storage == "diagonal" else (d, d)))
        for c in start.covariances
    ]

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


PEERS: dict[str, Callable[[Array, GaussianMixture], Run]] = {"scikit-learn": sklearn, "oneDAL": onedal}
