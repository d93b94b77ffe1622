"""The posterior of a fit with a prior, whose defaults are those of Fraley and Raftery (2007), section 3."""

from dataclasses import replace
from typing import Any

import numpy as np

from fastem._api.options import Options
from fastem._api.prior import Prior
from fastem._em.objective import Likelihood, Posterior
from fastem._families.base import P
from fastem._families.floor import RELATIVE_FLOOR
from fastem._families.frame import Frame
from fastem._families.gaussian import Gaussian
from fastem._families.given import Belief
from fastem._typing import FloatArray

_MEAN_PRECISION = 0.01


def check_prior(options: Options[Any], d: int) -> None:
    """Raise an error unless the prior suits the family and d features."""
    family = options.family
    if options.prior is not None and isinstance(family, Gaussian):
        options.prior.check(d, family.storage)


def posterior_of(likelihood: Likelihood[P], prior: Prior) -> Posterior[P]:
    """Return the posterior of the rows. Without `reg_covar`, the prior alone keeps covariances from 0."""
    known = {**vars(likelihood), "reg_covar": likelihood.reg_covar or 0.0}
    return Posterior(**known, belief=_belief(likelihood, prior))


def _belief(likelihood: Likelihood[Any], prior: Prior) -> Belief:
    frame, d = likelihood.frame, likelihood.source.n_features
    mean = likelihood.source.moments().mean if prior.mean is None else prior.mean
    divided = prior.covariance is None
    scale = _scatter(likelihood) if prior.covariance is None else scale_in_frame(prior.covariance, frame)
    return Belief(
        concentration=prior.weight_concentration or 1.0,
        precision=prior.mean_precision or _MEAN_PRECISION,
        mean=frame.standardise(mean),
        degrees_of_freedom=prior.degrees_of_freedom or d + 2.0,
        scale=scale,
        divided=divided,
    )


def scale_in_frame(covariance: FloatArray, frame: Frame) -> FloatArray:
    """Return a matrix (1, d, d), variances (1, d) or a variance (1,) in standard coordinates."""
    if covariance.ndim == 2:
        return np.asarray(covariance / frame.scale[:, None] / frame.scale)[None]
    if covariance.ndim == 1:
        return np.asarray(covariance / frame.scale / frame.scale)[None]
    return np.asarray(covariance / frame.scale[:1] / frame.scale[:1])


def _scatter(likelihood: Likelihood[Any]) -> FloatArray:
    """Return the covariance of all rows, or the mean of their variances if covariances are no matrices.

    A millionth of each variance makes it positive definite where columns are collinear or constant.
    """
    family, frame, d = likelihood.family, likelihood.frame, likelihood.source.n_features
    variance = likelihood.source.moments().variance
    if not isinstance(family, Gaussian) or family.storage in ("full", "tied"):
        alone = replace(likelihood, k=1, fixed=None)
        sums = alone.sums_given(family.origin(1, d), lambda start, stop: np.ones((stop - start, 1))).summed
        mean = sums.first / sums.weights[:, None]
        covariance = sums.scatter / sums.weights[:, None, None] - mean[:, :, None] * mean[:, None, :]
        known = np.where(variance > 0, np.diagonal(covariance[0]), 1.0)
        return np.asarray(covariance + np.diag(RELATIVE_FLOOR * known))
    mean_variance = float(variance.mean())
    if mean_variance == 0:
        mean_variance = RELATIVE_FLOOR * float(np.square(frame.scale).mean())
    return scale_in_frame(
        np.full(d, mean_variance) if family.storage == "diag" else np.asarray(mean_variance), frame
    )
