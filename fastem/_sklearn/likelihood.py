"""GaussianMixture of scikit-learn: maximum likelihood."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any, cast

import numpy as np

from fastem._api.fitting import fit_by
from fastem._api.gaussian import GaussianMixture
from fastem._api.interop import scoring_parameters
from fastem._em.loop import KEPT
from fastem._report import FitReport
from fastem._sklearn.ways import (
    Ascent,
    Start,
    Way,
    options_of,
    precisions_cholesky,
    refuse,
    started,
)
from fastem._typing import Array

# Our own start is near a maximum, where gains are small. So the iterations go on down to this share of tol.
_TOL_SHARE = 0.1


class MaximumLikelihood(Way):
    scored = ("covariance_type", "weights_", "means_", "precisions_cholesky_")

    def check(self, estimator: Any, X: Array, weight: Array | None) -> None:
        """Call scikit-learn's checks of initial parameters. scikit-learn 1.8 added a parameter to them."""
        check = estimator._check_parameters
        check(X, xp=np) if _takes_xp(check.__func__) else check(X)

    def given(self, estimator: Any) -> tuple[Any, ...]:
        return estimator.weights_init, estimator.means_init, estimator.precisions_init

    def starts_alike(self, weight: Array | None) -> bool:
        return weight is None or bool((weight == weight[0]).all())

    def fitted(self, estimator: Any) -> GaussianMixture:
        return GaussianMixture(*scoring_parameters(estimator))

    def scorer(self, estimator: Any) -> GaussianMixture:
        return self.fitted(estimator)

    def own_start(
        self, estimator: Any, X: Array, weight: Array | None, name: str, seed: int, n_threads: int | None
    ) -> Start:
        weights, means, precisions = self.given(estimator)
        if weights is None and means is None and precisions is None:
            return Start(name, seed, _TOL_SHARE)
        found = started(estimator, X, weight, name, seed, n_threads)
        invert = np.linalg.inv if estimator.covariance_type in ("full", "tied") else np.reciprocal
        start = GaussianMixture(
            found.weights if weights is None else weights,
            found.means if means is None else means,
            found.covariances if precisions is None else invert(precisions),
            estimator.covariance_type,
        )
        return Start(start, tol_share=_TOL_SHARE)

    def ascend(
        self,
        estimator: Any,
        X: Array,
        weight: Array | None,
        start: Start,
        previous: float,
        n_threads: int | None,
    ) -> Ascent:
        """The lower bounds are mean log-likelihoods before each M-step, or after it from our own start."""
        lower_bounds: list[float] = []
        tol = estimator.tol * start.tol_share

        def converged(means: Sequence[float]) -> bool:
            """Return whether to stop, by scikit-learn's rule.

            scikit-learn stops one M-step after the change became small. Our own start is near a maximum, so
            the change of the first M-step counts, except if it is the only one: scikit-learn never says of
            such a fit that it has converged. `tol` may be smaller than the user's. So in the last iteration
            the user's own tol decides whether the fit has converged.
            """
            if len(means) < 2:
                return False
            if start.tol_share < 1:
                bound, before = means[-1], means[-2] if estimator.max_iter > 1 else previous
            else:
                bound, before = means[-2], means[-3] if len(means) > 2 else previous
            lower_bounds.append(bound)
            change = bound - before
            estimator._print_verbose_msg_iter_end(len(lower_bounds), change)
            return bool(abs(change) < (tol if len(lower_bounds) < estimator.max_iter else estimator.tol))

        options = options_of(estimator, converged, estimator.max_iter, start.seed)
        limits = replace(options.limits, leave_saddles=False)
        if estimator.reg_covar == 0:  # asks for no repair
            limits = replace(limits, reseeds=0)
        options = options._replace(limits=limits)
        model = cast(GaussianMixture, fit_by(options, start.init, X, weight, n_threads))
        parameters = (
            model.weights,
            model.means,
            model.covariances,
            precisions_cholesky(model.covariances, model.covariance_type),
        )
        return Ascent(parameters, _refuse_repairs(estimator, model), lower_bounds)


@cache
def _takes_xp(function: Callable[..., Any]) -> bool:
    return "xp" in signature(function).parameters


def _refuse_repairs(estimator: Any, model: GaussianMixture) -> FitReport:
    """Raise scikit-learn's error if reg_covar=0 and a component had to be repaired.

    A component without rows has no covariance of its own to be singular if the components share one.

    There is no error if components became singular only in the last of `max_iter` iterations.
    scikit-learn's tests require that such a fit ends with a warning only.
    """
    report = model.report
    assert report is not None
    shared = estimator.covariance_type == "tied"
    repairs = [repair for repair in report.repairs if not (shared and repair.what == KEPT)]
    cut_short = not report.converged and all(repair.iteration == report.n_iter for repair in repairs)
    if estimator.reg_covar == 0 and repairs and not cut_short:
        refuse(estimator.covariance_type, *model.means.shape)
    return report
