"""Gaussian mixtures with known parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from fastem._api import interop
from fastem._api.mixture import Mixture
from fastem._api.translations import HOLDS_PARAMETERS, advised
from fastem._families.gaussian import Gaussian
from fastem._families.registry import family_of
from fastem._report import R
from fastem._typing import ArrayLike, CovarianceType, FloatArray


class GaussianMixture(Mixture[R]):
    """A Gaussian mixture with known parameters: p(x) = sum_k weights[k] N(x; means[k], covariance[k]).

    The model is immutable. Its arrays are read-only copies, in float64 and in the units of the data.
    Densities and responsibilities of rows X are float32 if X is float32, and float64 otherwise.

    Parameters
    ----------
    weights : array of shape (k,)
        Mixing weights. They must be at least 0 and sum to 1.
    means : array of shape (k, d)
    covariances : array of shape (k, d, d) full, (d, d) tied, (k, d) diag, (k,) spherical and EII
        Covariance matrices, which must be symmetric and positive definite. For diag, spherical and EII these
        are variances.
    covariance_type : {"full", "tied", "diag", "spherical"}, or one of mclust's fourteen
    report : FitReport, optional
        How the parameters were fitted.
    feature_names : sequence of d str, optional
        Names of the columns. A table that is scored must have the same names in the same order.

    Attributes
    ----------
    weights, means, covariances, covariance_type, report, feature_names
        The parameters above. `report` is None if the model was not fitted, and a type checker knows which:
        `fit` returns a ``GaussianMixture[FitReport]``, and a ``GaussianMixture`` alone may be either.
        `feature_names` is a tuple, or None if the model was not fitted to a table.
    distribution : str
        ``"gaussian"``.
    parameters : mapping of str to array
        `means` and `covariances` by name.
    n_components, n_features : int
        k and d.
    n_parameters : int
        Number of free parameters, as `bic` and `aic` count them.

    Raises
    ------
    ValueError, TypeError
        If the shapes disagree or the parameters are not valid.

    Examples
    --------
    >>> import fastem
    >>> model = fastem.GaussianMixture([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
    >>> model.predict([[0.3], [3.0]])
    array([0, 1])
    """

    @advised(about=HOLDS_PARAMETERS)
    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: float | ArrayLike,
        covariance_type: CovarianceType = "full",
        *,
        report: R = None,  # type: ignore[assignment]
        feature_names: Sequence[str] | None = None,
    ) -> None:
        family = family_of("gaussian", covariance_type)
        parameters = {"means": means, "covariances": covariances}
        self._set(family, weights, parameters, None, report, feature_names)

    @property
    def means(self) -> FloatArray:
        return self.parameters["means"]

    @property
    def covariances(self) -> FloatArray:
        return self.parameters["covariances"]

    @property
    def covariance_type(self) -> CovarianceType:
        name: CovarianceType = self._family.name  # type: ignore[assignment]
        return name

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.mixture.GaussianMixture`` with these parameters.

        The parameters are exact copies, and `from_sklearn` converts them back. `n_iter_` and `converged_`
        come from the report. `lower_bound_` is -inf, since the model does not hold the rows that it is a
        mean over.

        Raises
        ------
        ImportError
            If scikit-learn is missing.
        """
        kind = cast(Gaussian, self._family).storage
        return interop.to_sklearn(self.weights, self.means, self.covariances, kind, self.report)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> GaussianMixture:
        """Return the model of a fitted ``sklearn.mixture.GaussianMixture``.

        The parameters are exact copies. The model has no report.

        Raises
        ------
        ImportError
            If scikit-learn is missing.
        TypeError, ValueError
            If `estimator` is something else, if it is not fitted, or if its covariances are not positive
            definite, which can happen after a fit in float32.
        """
        return cls(*interop.fitted_parameters(estimator))
