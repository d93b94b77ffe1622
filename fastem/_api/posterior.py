"""The posterior of a fit with a prior, whose defaults are those of Fraley and Raftery (2007), section 3."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from fastem._api.options import Options
from fastem._api.prior import Prior
from fastem._em.objective import Likelihood, Posterior
from fastem._em.starts import given_start
from fastem._families.given import Belief, ConjugatePrior
from fastem._families.steps import P
from fastem._typing import FloatArray

_MEAN_PRECISION = 0.01


def check_prior(options: Options[Any], d: int) -> None:
    """Raise an error unless the prior suits the family and d features."""
    kind = options.family.conjugate_prior
    if options.prior is not None and kind is not None:
        options.prior.check(d, kind.storage)


def posterior_of(likelihood: Likelihood[P], prior: Prior) -> Posterior[P]:
    """Return the posterior of the rows. Without `reg_covar`, the prior alone keeps covariances from 0."""
    kind = likelihood.family.conjugate_prior
    assert kind is not None
    known = {field.name: getattr(likelihood, field.name) for field in fields(likelihood)}
    known["reg_covar"] = likelihood.reg_covar or 0.0
    return Posterior(**known, kind=kind, belief=_belief(likelihood, prior, kind))


def _belief(likelihood: Likelihood[Any], prior: Prior, kind: ConjugatePrior) -> Belief:
    frame, d = likelihood.frame, likelihood.source.n_features
    prior.check_scale(frame)
    if prior.covariance is None:
        alone = replace(likelihood, k=1, fixed=None)
        place = likelihood.family.origin(1, d)
        if likelihood.family.missing:  # what is expected of missing numbers depends on the covariance
            place = given_start(alone, np.ones((likelihood.source.n_samples, 1))).parameters
        scale = kind.scale_of(alone.sums_given(place, _of_one_component).summed, frame)
    else:
        scale = kind.scale_from_user(prior.covariance, frame)
    return Belief(
        concentration=prior.weight_concentration or 1.0,
        precision=prior.mean_precision or _MEAN_PRECISION,
        mean=frame.standardise(likelihood.source.moments().mean if prior.mean is None else prior.mean),
        degrees_of_freedom=prior.degrees_of_freedom or d + 2.0,
        scale=scale,
        divided=prior.covariance is None,
    )


def _of_one_component(start: int, stop: int) -> FloatArray:
    return np.ones((stop - start, 1))
