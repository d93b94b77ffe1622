"""Drop-in replacements for the mixtures of scikit-learn. They need the extra ``sklearn``."""

import functools
from collections.abc import Callable
from inspect import signature
from typing import Any, ClassVar, TypeVar, cast

try:
    from sklearn.mixture import BayesianGaussianMixture as _BayesianGaussianMixture
    from sklearn.mixture import GaussianMixture as _GaussianMixture
    from sklearn.utils._param_validation import StrOptions
except ImportError:
    raise ImportError("fastem.sklearn needs scikit-learn: pip install scikit-learn.") from None

from fastem._report import FitReport
from fastem._sklearn import drop_in as _drop_in
from fastem._sklearn.overrides import overridden, tell_once
from fastem._typing import Array

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]

_Method = TypeVar("_Method", bound=Callable[..., Any])
_told: set[str] = set()


def _obeys_overrides(*called: str) -> Callable[[_Method], _Method]:
    """Leave a method to scikit-learn if a subclass overrides a step of EM or one of the methods `called`.

    fastem would not call these, so it would ignore what the subclass changes.
    """

    def decorate(ours: _Method) -> _Method:
        takes = signature(ours)

        @functools.wraps(ours)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            step = overridden(self, _DropIn, called)
            if step is None:
                return ours(self, *args, **kwargs)
            given = takes.bind(self, *args, **kwargs).arguments
            del given["self"]
            name = type(self).__qualname__
            if given.pop("sample_weight", None) is not None:
                raise ValueError(
                    f"sample_weight must be None for {name}, which overrides {step}. scikit-learn computes "
                    "this mixture, and takes no weights. Leave the weights out, or the override."
                )
            tell_once(f"{name} overrides {step}.", _told)
            if ours.__name__.startswith("fit"):
                vars(self).pop("report_", None)  # that of an earlier fit
            with _drop_in.at_most(self.n_threads), _drop_in.scikit_learns_start(self):
                return getattr(super(_DropIn, self), ours.__name__)(**given)

        return cast(_Method, method)

    return decorate


_INIT_PARAMS = [StrOptions({_drop_in.OWN, "kmeans", "random", "random_from_data", "k-means++"})]


class _DropIn:
    """The methods of both classes, which come before those of scikit-learn."""

    n_threads: int | None

    @_obeys_overrides()
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Estimate the parameters by EM.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, at least 0. An integer weight counts a row that many times.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If an argument is not valid, if a covariance is singular and ``reg_covar=0``, or if there are
            weights for a subclass that overrides a step of EM.
        """
        self.report_: FitReport = _drop_in.estimate(self, X, sample_weight, n_threads=self.n_threads)
        return self

    @_obeys_overrides()
    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Fit, then label the rows. This is ``fit(X, y, sample_weight).predict(X)``."""
        return cast(Array, self.fit(X, y, sample_weight).predict(X))

    @_obeys_overrides()
    def predict(self, X: Any) -> Array:
        """Return the most likely component of each row, (n_samples,) of int64."""
        return _drop_in.predict(self, X, n_threads=self.n_threads)

    @_obeys_overrides()
    def predict_proba(self, X: Any) -> Array:
        """Return the responsibilities p(component | x), (n_samples, n_components)."""
        return _drop_in.predict_proba(self, X, n_threads=self.n_threads)

    @_obeys_overrides()
    def score_samples(self, X: Any) -> Array:
        """Return the log-density of each row, (n_samples,)."""
        return _drop_in.score_samples(self, X, n_threads=self.n_threads)

    @_obeys_overrides("score_samples")
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-density of the rows. `sample_weight` (n_samples,) makes it a weighted mean."""
        if sample_weight is None:
            return float(super().score(X))  # type: ignore[misc]
        X, mixture = _drop_in.scored(self, X)
        return float(mixture.score(X, sample_weight, n_threads=self.n_threads))

    def _initialize_parameters(self, X: Any, random_state: Any, **kwargs: Any) -> None:
        """Start as scikit-learn does, for those who call this step of its classes."""
        with _drop_in.scikit_learns_start(self):
            super()._initialize_parameters(X, random_state, **kwargs)  # type: ignore[misc]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.array_api_support = False
        return tags


class GaussianMixture(_DropIn, _GaussianMixture):
    """Gaussian mixture as a scikit-learn estimator, fitted and scored by fastem.

    This is a subclass of ``sklearn.mixture.GaussianMixture``. It has the same parameters, attributes,
    methods, errors and warnings, and the same defaults except for `init_params`. In addition, it takes
    weights of the rows and a number of threads, and it has a report.

    Parameters
    ----------
    n_components, covariance_type, tol, reg_covar, max_iter, n_init, weights_init, means_init, \
precisions_init, random_state, warm_start, verbose, verbose_interval
        These mean the same as in scikit-learn. With ``reg_covar=0`` a singular covariance raises an error.
        With ``reg_covar > 0`` singular components are repaired, and the report lists the repairs.
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}
        With "auto" the fit begins with the best of several starts, found by EM on a sample of the rows. The
        other names are those of scikit-learn.
    n_threads : int, optional
        Maximum number of threads. None means numba's setting. The result does not depend on it. A fit also
        limits the threads of BLAS and OpenMP to this number, since scikit-learn's k-means uses them.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_
        The fitted parameters, in the dtype of X. You may set them by hand, since the methods use nothing
        else.
    converged_, n_iter_, lower_bound_, lower_bounds_, n_features_in_, feature_names_in_
        These mean the same as in scikit-learn.
    report_ : FitReport
        How the fit went: its status with advice, its history and its repairs. It is missing if scikit-learn
        made the fit.

    Notes
    -----
    After the start "auto" a fit iterates on all rows until the change is below 10 % of `tol`, but makes at
    most `max_iter` iterations. `n_iter_` counts the iterations after the start.

    If `init_params` is a name of scikit-learn, a fit to at most 65,536 rows without weights initialises with
    scikit-learn's own code and random numbers. So the same ``random_state`` finds the same components. A fit
    to more rows, or to rows of unequal weight, has the start "auto".

    If a subclass overrides a step of EM (``_m_step``, ``_initialize``, ``_estimate_log_prob`` or another
    private method of scikit-learn's classes), scikit-learn computes, without sample weights, and "auto"
    means "kmeans". The logger
    ``fastem`` says which method is the reason, once.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem.sklearn import GaussianMixture
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> GaussianMixture(2, random_state=0).fit(X).predict([[0, 0], [12, 3]])
    array([1, 0])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_GaussianMixture._parameter_constraints,
        "init_params": _INIT_PARAMS,
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "auto",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            n_components,
            covariance_type=covariance_type,
            tol=tol,
            reg_covar=reg_covar,
            max_iter=max_iter,
            n_init=n_init,
            init_params=init_params,
            weights_init=weights_init,
            means_init=means_init,
            precisions_init=precisions_init,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
            verbose_interval=verbose_interval,
        )
        self.n_threads = n_threads

    @_obeys_overrides("score", "score_samples")
    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Bayesian information criterion, where n is the number of rows or the sum of weights."""
        X, mixture = _drop_in.scored(self, X)
        return float(mixture.bic(X, sample_weight, n_threads=self.n_threads))

    @_obeys_overrides("score", "score_samples")
    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Return the Akaike information criterion. `sample_weight` weights the log-likelihood of the rows."""
        X, mixture = _drop_in.scored(self, X)
        return float(mixture.aic(X, sample_weight, n_threads=self.n_threads))


class BayesianGaussianMixture(_DropIn, _BayesianGaussianMixture):
    """Variational Bayesian Gaussian mixture as a scikit-learn estimator, fitted and scored by fastem.

    This is a subclass of ``sklearn.mixture.BayesianGaussianMixture``. It has the same parameters, attributes,
    methods, errors and warnings, and the same defaults except for `init_params`. In addition, it takes
    weights of the rows and a number of threads, and it has a report.

    Parameters
    ----------
    n_components, covariance_type, tol, reg_covar, max_iter, n_init, weight_concentration_prior_type, \
weight_concentration_prior, mean_precision_prior, mean_prior, degrees_of_freedom_prior, covariance_prior, \
random_state, warm_start, verbose, verbose_interval
        These mean the same as in scikit-learn.
    init_params : {"auto", "kmeans", "k-means++", "random", "random_from_data"}
        With "auto" the responsibilities of the first M-step are those of the best of several mixtures, found
        by EM on a sample of the rows. With a Dirichlet process, the components are in the order of their
        weights. The other names are those of scikit-learn.
    n_threads : int, optional
        The same as for `GaussianMixture`.

    Attributes
    ----------
    weights_, means_, covariances_, precisions_, precisions_cholesky_, weight_concentration_, \
mean_precision_, degrees_of_freedom_
        The posterior, and expectations under it, in the dtype of X.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, \
covariance_prior_
        The prior. With weights, its defaults are the weighted mean and covariance.
    converged_, n_iter_, lower_bound_, lower_bounds_, n_features_in_, feature_names_in_
        These mean the same as in scikit-learn, whose lower bound leaves out constants.
    report_ : FitReport
        How the fit went. Its history holds the bound with all constants, and its log-likelihood is that of
        the expectations. It is missing if scikit-learn made the fit.

    Notes
    -----
    If `init_params` is a name of scikit-learn, a fit to at most 65,536 rows without weights initialises with
    scikit-learn's own code and random numbers. A fit to more rows, or to weighted ones, has the start "auto".

    If a subclass overrides a step of EM, scikit-learn computes, as for `GaussianMixture`.

    References
    ----------
    Bishop, C. M. (2006). Pattern Recognition and Machine Learning, section 10.2. Springer.

    Blei, D. M. and Jordan, M. I. (2006). Variational inference for Dirichlet process mixtures. Bayesian
    Analysis 1, 121-143.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem.sklearn import BayesianGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> BayesianGaussianMixture(n_components=2, random_state=0).fit(X).predict([[0, 0], [9, 3]])
    array([0, 1])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BayesianGaussianMixture._parameter_constraints,
        "init_params": _INIT_PARAMS,
    }

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "auto",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            n_components=n_components,
            covariance_type=covariance_type,
            tol=tol,
            reg_covar=reg_covar,
            max_iter=max_iter,
            n_init=n_init,
            init_params=init_params,
            weight_concentration_prior_type=weight_concentration_prior_type,
            weight_concentration_prior=weight_concentration_prior,
            mean_precision_prior=mean_precision_prior,
            mean_prior=mean_prior,
            degrees_of_freedom_prior=degrees_of_freedom_prior,
            covariance_prior=covariance_prior,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
            verbose_interval=verbose_interval,
        )
        self.n_threads = n_threads
