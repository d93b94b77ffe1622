"""Conversion of parameters from and to scikit-learn's GaussianMixture, which is imported only when needed."""

from typing import Any

import numpy as np

from fastem._report import FitReport
from fastem._typing import Array, CovarianceType, FloatArray


def import_mixture() -> Any:
    """Return the module of scikit-learn with the class and with the function for `precisions_cholesky_`."""
    try:
        from sklearn.mixture import _gaussian_mixture
    except ImportError:
        raise ImportError("This needs scikit-learn: pip install scikit-learn.") from None
    return _gaussian_mixture


def mixture_classes() -> tuple[type, ...]:
    """Return the classes of scikit-learn that fastem replaces."""
    import_mixture()
    from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

    return GaussianMixture, BayesianGaussianMixture


def to_sklearn(
    weights: FloatArray,
    means: FloatArray,
    covariances: FloatArray,
    covariance_type: str,
    report: FitReport | None,
) -> Any:
    """Return a fitted scikit-learn estimator with copies of these parameters."""
    estimator = import_mixture().GaussianMixture(len(weights), covariance_type=covariance_type)
    # This is scikit-learn's own function, so parameters that came from scikit-learn go back bit by bit.
    cholesky = import_mixture()._compute_precision_cholesky(covariances, covariance_type)
    estimator._set_parameters((weights.copy(), means.copy(), covariances.copy(), cholesky))
    estimator.n_features_in_ = means.shape[1]
    estimator.converged_ = report is not None and report.converged
    estimator.n_iter_ = 0 if report is None else report.n_iter
    # scikit-learn itself sets these values before the first E-step, so a warm start continues from here.
    estimator.lower_bound_ = -np.inf
    estimator.lower_bounds_ = []
    return estimator


def fitted_parameters(estimator: Any) -> tuple[Array, Array, Array, CovarianceType]:
    """Return the arguments of `fastem.GaussianMixture`, exactly as they were fitted."""
    mixture = import_mixture().GaussianMixture
    if not isinstance(estimator, mixture):
        raise TypeError(
            f"estimator must be a sklearn.mixture.GaussianMixture; got {type(estimator).__name__}. "
            "Other mixture classes have other densities."
        )
    if not hasattr(estimator, "covariances_"):
        raise ValueError("estimator must be fitted; it has no covariances_. Call its fit first.")
    return estimator.weights_, estimator.means_, estimator.covariances_, estimator.covariance_type


def scoring_parameters(estimator: Any) -> tuple[Array, Array, Array, CovarianceType]:
    """Return the arguments that match what scikit-learn scores with."""
    weights = np.asarray(estimator.weights_, dtype=np.float64)
    return (
        weights / weights.sum(),
        estimator.means_,
        scoring_covariances(estimator),
        estimator.covariance_type,
    )


def scoring_covariances(estimator: Any) -> FloatArray:
    """Return the covariances that match what scikit-learn scores with.

    It scores with `precisions_cholesky_`, and a user may have set only that and not `covariances_`.
    """
    cholesky = np.asarray(estimator.precisions_cholesky_, dtype=np.float64)
    if estimator.covariance_type in ("full", "tied"):
        root = np.linalg.inv(cholesky)
        return np.asarray(np.swapaxes(root, -1, -2) @ root)
    return np.asarray(1 / np.square(cholesky))
