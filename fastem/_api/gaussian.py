"""Gaussian mixtures with known parameters."""

from collections.abc import Sequence
from typing import Any

from fastem._api import interop
from fastem._api.mixture import Mixture
from fastem._families.registry import family_of
from fastem._report import FitReport
from fastem._typing import CovarianceType, FloatArray


class GaussianMixture(Mixture):
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
    distribution : str
        ``"gaussian"``.
    parameters : mapping of str to array
        `means` and `covariances` by name.
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
        """A fitted ``sklearn.mixture.GaussianMixture`` with these parameters, for its ecosystem.

        Its parameters are copies, bit by bit; `from_sklearn` takes them back. `n_iter_` and `converged_`
        are those of the report; `lower_bound_`, a mean over rows that are not here, is -inf.

        Raises
        ------
        ImportError
            If scikit-learn is missing.
        """
        return interop.to_sklearn(
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
        return cls(*interop.fitted_parameters(estimator))
