"""The bound of a fit by variational inference, whose defaults are those of scikit-learn."""

from dataclasses import replace

import numpy as np

from fastem._api.prior import Prior
from fastem._em.bound import VariationalBound
from fastem._em.objective import Likelihood
from fastem._families.gaussian import Gaussian
from fastem._families.given import Belief
from fastem._families.layouts import GaussianParameters
from fastem._typing import FloatArray

PROCESS = "dirichlet_process"


def bound_of(likelihood: Likelihood[GaussianParameters], prior: Prior, reg_covar: float) -> VariationalBound:
    """Return the bound of the rows, given a prior in their units. None in it means scikit-learn's default."""
    family, frame, d = likelihood.family, likelihood.frame, likelihood.source.n_features
    assert isinstance(family, Gaussian)
    prior.check_scale(frame)
    mean = likelihood.source.moments().mean if prior.mean is None else prior.mean
    if prior.covariance is None:
        scale = _scale(likelihood, family)
    else:
        scale = family.conjugate_prior.scale_from_user(prior.covariance, frame)
    belief = Belief(
        concentration=prior.weight_concentration or 1 / likelihood.k,
        precision=prior.mean_precision or 1.0,
        mean=frame.standardise(mean),
        degrees_of_freedom=prior.degrees_of_freedom or float(d),
        scale=scale,
        divided=False,
    )
    process = (prior.weight_concentration_type or PROCESS) == PROCESS
    return bound_with(likelihood, belief, process, reg_covar)


def bound_with(
    likelihood: Likelihood[GaussianParameters], belief: Belief, process: bool, reg_covar: float
) -> VariationalBound:
    """Return the bound with a prior in standard coordinates. `process`: it is a Dirichlet process."""
    family, frame = likelihood.family, likelihood.frame
    assert isinstance(family, Gaussian)
    added = reg_covar / np.square(frame.scale)
    return VariationalBound(likelihood, family.variational(belief, process, frame), added)


def unbiased(covariance: FloatArray, total: float) -> FloatArray:
    """Return a covariance of rows of this total weight, times n / (n - 1), but at most times 2."""
    return np.asarray(covariance * (total / max(total - 1, total / 2)))


def _scale(likelihood: Likelihood[GaussianParameters], family: Gaussian) -> FloatArray:
    """Return the unbiased covariance of all rows, in the shape of one covariance."""
    alone = replace(likelihood, k=1, fixed=None)
    origin = family.origin(1, likelihood.source.n_features)
    sums = alone.sums_given(origin, lambda start, stop: np.ones((stop - start, 1))).summed
    return unbiased(family.spread(sums), float(sums.weights.sum()))
