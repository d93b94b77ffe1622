"""BayesianGaussianMixture of scikit-learn: variational Bayes."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._api.fitting import report_of
from fastem._api.gaussian import GaussianMixture
from fastem._api.inside import in_frame
from fastem._api.interop import scoring_covariances
from fastem._api.scores import Densities
from fastem._api.scoring import Scorer
from fastem._api.variational import PROCESS, bound_with, unbiased
from fastem._em.bound import VariationalBound
from fastem._em.loop import Limits, Run, ascend
from fastem._em.objective import Likelihood
from fastem._families.gaussian import Gaussian
from fastem._families.given import Belief
from fastem._families.registry import GAUSSIANS
from fastem._families.steps import Maximised
from fastem._families.variational import VariationalPosterior, expected_mixture
from fastem._sklearn.ways import Ascent, Start, Way, precisions_cholesky, refuse, started
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import Array, DataLike, FloatArray, NoiseLike, RowsLike


class Variational(Way):
    scored = (
        "covariance_type",
        "weight_concentration_",
        "means_",
        "mean_precision_",
        "degrees_of_freedom_",
        "precisions_cholesky_",
    )

    def check(self, estimator: Any, X: Array, weight: Array | None) -> None:
        estimator._check_weights_parameters()
        estimator._check_means_parameters(X)
        estimator._check_precision_parameters(X)
        known = getattr(estimator, "weight_concentration_", None)
        process = estimator.weight_concentration_prior_type == PROCESS
        if estimator.warm_start and known is not None and isinstance(known, tuple) != process:
            raise ValueError(
                "weight_concentration_prior_type must be that of the last fit where warm_start=True, since "
                "this fit goes on from it. Set warm_start=False, or fit a clone of the estimator."
            )
        if weight is not None and estimator.mean_prior is None:
            estimator.mean_prior_ = (weight @ X / weight.sum()).astype(X.dtype)
        if estimator.covariance_prior is None:
            estimator.covariance_prior_ = _default_covariance(X, weight, estimator.covariance_type)
        else:
            estimator._checkcovariance_prior_parameter(X)
            _covariance_prior(estimator)

    def given(self, estimator: Any) -> tuple[Any, ...]:
        return ()

    def starts_alike(self, weight: Array | None) -> bool:
        return weight is None or bool((weight == 1).all())

    def fitted(self, estimator: Any) -> VariationalPosterior:
        return VariationalPosterior(
            np.atleast_2d(np.asarray(estimator.weight_concentration_, dtype=np.float64)),
            np.asarray(estimator.means_, dtype=np.float64),
            np.asarray(estimator.mean_precision_, dtype=np.float64),
            np.atleast_1d(np.asarray(estimator.degrees_of_freedom_, dtype=np.float64)),
            scoring_covariances(estimator),
        )

    def scorer(self, estimator: Any) -> Densities:
        return Expected(GAUSSIANS[estimator.covariance_type], self.fitted(estimator))

    def own_start(
        self, estimator: Any, X: Array, weight: Array | None, name: str, seed: int, n_threads: int | None
    ) -> Start:
        return Start(started(estimator, X, weight, name, seed, n_threads))

    def ascend(
        self,
        estimator: Any,
        X: Array,
        weight: Array | None,
        start: Start,
        previous: float,
        n_threads: int | None,
    ) -> Ascent:
        """The lower bounds are scikit-learn's, after each M-step."""
        began = time.perf_counter()
        bound = _bound_of(estimator, source_of(X, weight, n_threads))
        lower_bounds: list[float] = []

        def watch(iteration: int, run: Run[VariationalPosterior]) -> bool:
            if iteration > 0:
                lower_bounds.append(run.parameters.lower_bound)
                estimator._print_verbose_msg_iter_end(iteration, _change(lower_bounds, previous))
            return False

        def converged(means: Sequence[float]) -> bool:
            return len(means) > 1 and abs(_change(lower_bounds, previous)) < estimator.tol

        limits = Limits(converged, 0.0, estimator.max_iter)
        run = ascend(bound, lambda: _begin(bound, start.init), limits, k=estimator.n_components, watch=watch)
        if run.failure is not None:
            refuse(estimator.covariance_type, estimator.n_components, X.shape[1])
        run.log_likelihood = bound.plug_in_log_likelihood(run.parameters)
        found = bound.posteriors.to_user(run.parameters)
        concentrations, nu = found.concentrations, found.degrees_of_freedom
        parameters = (
            concentrations[0] if len(concentrations) == 1 else tuple(concentrations),
            found.mean_precisions,
            found.means,
            nu[0] if estimator.covariance_type == "tied" else nu,
            found.covariances,
            precisions_cholesky(found.covariances, estimator.covariance_type),
        )
        return Ascent(parameters, report_of(run, time.perf_counter() - began), lower_bounds)


def _change(lower_bounds: list[float], previous: float) -> float:
    return lower_bounds[-1] - (lower_bounds[-2] if len(lower_bounds) > 1 else previous)


def _bound_of(estimator: Any, source: Source) -> VariationalBound:
    family: Gaussian = GAUSSIANS[estimator.covariance_type]
    frame = family.frame(source.moments(), source.dtype)
    belief = Belief(
        float(estimator.weight_concentration_prior_),
        float(estimator.mean_precision_prior_),
        frame.standardise(np.asarray(estimator.mean_prior_, dtype=np.float64)),
        float(estimator.degrees_of_freedom_prior_),
        family.conjugate_prior.scale_from_user(_covariance_prior(estimator), frame),
        divided=False,
    )
    likelihood = Likelihood(source, family, estimator.n_components, frame, estimator.reg_covar)
    process = estimator.weight_concentration_prior_type == PROCESS
    return bound_with(likelihood, belief, process, estimator.reg_covar)


def _begin(
    bound: VariationalBound, init: GaussianMixture | VariationalPosterior
) -> Maximised[VariationalPosterior]:
    if isinstance(init, VariationalPosterior):
        return Maximised(bound.posteriors.from_user(init), [], [], [])
    return bound.begin(Maximised(in_frame(init, bound.likelihood.frame), [], [], []), by_weight=True)


def _covariance_prior(estimator: Any) -> FloatArray:
    """Return the covariance of the prior. Of spherical ones scikit-learn does not check the shape."""
    covariance = np.asarray(estimator.covariance_prior_, dtype=np.float64)
    if estimator.covariance_type != "spherical":
        return covariance
    if covariance.size != 1 or not covariance > 0:
        raise ValueError(
            "covariance_prior must be one number above 0 for covariance_type='spherical'; got "
            f"{estimator.covariance_prior!r}. Pass covariance_type='diag' for a variance of each feature."
        )
    return covariance.reshape(())


def _default_covariance(X: Array, weight: Array | None, covariance_type: str) -> Any:
    """Return scikit-learn's default of `covariance_prior_`, whose code computes that of every type."""
    if weight is None:
        if covariance_type in ("full", "tied"):
            return np.atleast_2d(np.cov(X.T))
        variances = np.var(X, axis=0, ddof=1)
        return variances if covariance_type == "diag" else variances.mean()
    total = float(weight.sum(dtype=np.float64))
    gaps = X - weight @ X / total
    if covariance_type in ("full", "tied"):
        return unbiased((gaps * weight[:, None]).T @ gaps / total, total)
    variances = unbiased(weight @ np.square(gaps) / total, total)
    return variances if covariance_type == "diag" else variances.mean()


class Expected(Densities):
    """Scores by the expected log-parameters of a posterior, as scikit-learn defines them."""

    _shape: tuple[int, int]

    def __init__(self, family: Gaussian, posterior: VariationalPosterior) -> None:
        k, d = posterior.means.shape
        user = expected_mixture(posterior)
        self._keep(_scorer=Scorer(family, user, family.offsets(posterior)), _shape=(k, d))

    def _source(
        self,
        X: DataLike,
        sample_weight: RowsLike,
        n_threads: int | None,
        empty: bool = False,
        *,
        noise: NoiseLike = None,
    ) -> Source:
        return source_of(X, sample_weight, n_threads, n_features=self._shape[1], empty=empty, noise=noise)

    @property
    def n_components(self) -> int:
        return self._shape[0]

    @property
    def n_parameters(self) -> int:
        raise NotImplementedError("A posterior has no number of parameters.")
