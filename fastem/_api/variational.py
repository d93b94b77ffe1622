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
    added = reg_covar / np.square(frame.scale)
    return VariationalBound(likelihood, family.variational(belief, process, frame), added)


def _scale(likelihood: Likelihood[GaussianParameters], family: Gaussian) -> FloatArray:
    """Return the unbiased covariance of all rows, in the shape of one covariance."""
    alone = replace(likelihood, k=1, fixed=None)
    origin = family.origin(1, likelihood.source.n_features)
    sums = alone.sums_given(origin, lambda start, stop: np.ones((stop - start, 1))).summed
    total = sums.weights.sum()
    return np.asarray(family.spread(sums) * (total / (total - 1 if total > 1 else 1)))
