"""Gaussian mixtures with known parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast, overload

from fastem._api import interop
from fastem._api.conditions import condition_of, marginal_of, merged_model
from fastem._api.denoising import Denoises
from fastem._api.missing import Missing, with_missing
from fastem._api.mixture import Mixture
from fastem._api.regression import regressed
from fastem._api.translations import HOLDS_PARAMETERS, advised
from fastem._families.gaussian import Gaussian
from fastem._families.registry import family_of
from fastem._report import R
from fastem._typing import Array, ArrayLike, Chunked, CovarianceType, Deciding, FloatArray, InMemory

Features = str | int | Sequence[str | int]


class GaussianMixture(Mixture[R], Denoises):
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
    missing : {"error", "marginalise"}
        What becomes of NaN in rows that are scored. ``"marginalise"``: a number that is missing, and the
        density is that of what is observed.

    Attributes
    ----------
    weights, means, covariances, covariance_type, report, feature_names, missing
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
        missing: Missing = "error",
    ) -> None:
        family = with_missing(family_of("gaussian", covariance_type), missing)
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

    def marginal(self, features: Features) -> GaussianMixture[None]:
        """Return the mixture of some of the features alone, in the order given.

        It keeps the covariance type if the covariances of some features keep to it, whatever they are. Those
        of EVI do not, and become diag. Those of EEV, VEV, EVV, EVE and VVE become full. All features in
        another order keep it in any case.

        Parameters
        ----------
        features : sequence of str or int
            Names or numbers of the features.

        Raises
        ------
        ValueError, TypeError
            If there is no feature, an unknown one, or one that is given twice.

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]])
        >>> model.marginal([1]).covariances
        array([[[9.]]])
        """
        return cast("GaussianMixture[None]", marginal_of(self, features))

    def condition(self, values: Mapping[str, float] | Mapping[int, float]) -> GaussianMixture[None]:
        """Return the mixture of the other features, in their order, where the values of some are known.

        The new weights are the responsibilities for the values, and each component has its conditional mean
        and covariance (Bishop 2006, eqs. 2.81 and 2.82). The covariance type is that of `marginal`.

        Parameters
        ----------
        values : dict of str or int to float
            Values by the names or the numbers of features. For many rows, use `regress`.

        Raises
        ------
        ValueError, TypeError
            If there is no value, one that is not finite, or one for an unknown feature; if a feature is given
            twice, or none is left; or if the values are so far from the model that float64 has no densities.

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]])
        >>> model.condition({0: 5.0})
        GaussianMixture(n_components=1, n_features=1, covariance_type='full')
        >>> model.condition({0: 5.0}).means
        array([[3.]])
        """
        return cast("GaussianMixture[None]", condition_of(self, values))

    @overload
    def regress(
        self,
        X: Deciding,
        given: Features,
        targets: Features | None = None,
        *,
        return_cov: bool = False,
        n_threads: int | None = None,
    ) -> Any: ...
    @overload
    def regress(
        self,
        X: InMemory,
        given: Features,
        targets: Features | None = None,
        *,
        return_cov: Literal[False] = False,
        n_threads: int | None = None,
    ) -> Array: ...
    @overload
    def regress(
        self,
        X: InMemory,
        given: Features,
        targets: Features | None = None,
        *,
        return_cov: Literal[True],
        n_threads: int | None = None,
    ) -> tuple[Array, Array]: ...
    @overload
    def regress(
        self,
        X: Chunked,
        given: Features,
        targets: Features | None = None,
        *,
        return_cov: bool = False,
        n_threads: int | None = None,
    ) -> Iterator[Any]: ...

    def regress(
        self,
        X: Any,
        given: Any,
        targets: Any = None,
        *,
        return_cov: bool = False,
        n_threads: int | None = None,
    ) -> Any:
        """Return the mean of some features given others, for each row (Gaussian mixture regression).

        It is the mean of the mixture that `condition` returns for the row, and the best prediction by least
        squares if the model is true. The covariance is that of the same mixture. If it has several modes, the
        mean may lie between them, and `condition` tells more.

        Parameters
        ----------
        X : array of shape (n, g), table, or anything else that `fit` takes
            The given features, in the order of `given`. Of tables and files that have names, these columns
            are taken if the model has names. If the model has ``missing="marginalise"``, each row is
            regressed on those of them that it has; one with none of them gets the mean of the whole mixture.
        given : sequence of g str or int
            Names or numbers of the features in X.
        targets : sequence of t str or int, optional
            The features to predict. By default they are all others, in their order.
        return_cov : bool
            Whether to return the covariances too.
        n_threads : int, optional
            Number of threads. None means numba's setting.

        Returns
        -------
        mean : array of shape (n, t)
            In float32 if X is, and else in float64. If X is read in chunks, it is an iterator over one array
            for each chunk; if X is a dask array or dataframe, it is a lazy dask array.
        cov : array of shape (n, t, t)
            With `return_cov` the result is (mean, cov). If X is read in chunks, it is an iterator over such
            pairs.

        Raises
        ------
        ValueError, TypeError
            If features are unknown, given twice, or both given and targets; if none are left to predict; or
            if X is not an (n, g) array of real numbers that are finite, or may be missing; or if it is a
            table that lacks one of the columns.

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]])
        >>> model.regress([[1.0], [5.0]], given=[0], targets=[1])
        array([[2.],
               [3.]])
        """
        return regressed(self, X, given, targets, return_cov, n_threads)

    def merge(self, groups: Sequence[Sequence[int]]) -> GaussianMixture[None]:
        """Return the mixture with one component for each group, which has its mean and covariance.

        The weight of a group is the sum of its weights, and its mean and covariance are those of the mixture
        of its components. So the mean and covariance of the whole mixture stay; its density does not. The
        covariance type becomes full, since only full covariances can be those of any mixture.

        Parameters
        ----------
        groups : sequence of sequences of int
            Numbers of components, which must have each of them once. ``merge_order(X).groups(n)`` tells which
            overlap.

        Raises
        ------
        ValueError, TypeError
            If `groups` are not such.

        Examples
        --------
        >>> import fastem
        >>> means, variances = [[-1.0], [1.0], [9.0]], [1.0, 1.0, 2.0]
        >>> model = fastem.GaussianMixture([0.25, 0.25, 0.5], means, variances, "spherical")
        >>> model.merge([[0, 1], [2]]).covariances.ravel()
        array([2., 2.])
        """
        return cast("GaussianMixture[None]", merged_model(self, groups))

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
