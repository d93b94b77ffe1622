"""Gaussian parameters as points of a space without bounds, for acceleration."""

import numpy as np

from fastem._families.base import weights_of
from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.matrices import every
from fastem._typing import FloatArray


def point_of(layout: Layout, constraint: Constraint, parameters: GaussianParameters) -> FloatArray | None:
    """Return the point of parameters, or None if a line between points leaves the constraint."""
    if not constraint.straight:
        return None
    logarithms = layout.logarithms(parameters).ravel()
    return np.concatenate([np.sqrt(parameters.weights), parameters.means.ravel(), logarithms])


def parameters_at(
    layout: Layout, constraint: Constraint, point: FloatArray, like: GaussianParameters
) -> GaussianParameters | None:
    """Return the parameters of a point, in the shapes of `like`, or None if they are not valid."""
    k, d = like.means.shape
    roots, means, logarithms = point[:k], point[k : k + k * d], point[k + k * d :]
    with np.errstate(all="ignore"):
        covariances = layout.from_logarithms(logarithms, like.covariances.shape)
        parameters = GaussianParameters(weights_of(roots), means.reshape(k, d), covariances)
        valid = all(every(np.isfinite(array)) for array in parameters)
        factors = layout.factors(covariances) if valid else None
        valid = valid and every(layout.pivots(covariances, d, factors) > 0)
    if not valid:
        return None
    if constraint.direct:
        if factors is not None:
            parameters.remember(factors)
        return parameters
    # Leaps multiply rounding errors, which would leave the constraint more and more.
    ones, rest = np.ones(k), np.zeros((k, d))
    sums = GaussianSums(parameters.means, ones, rest, layout.scatter(parameters, ones))
    return parameters._replace(covariances=constraint.estimate(sums, rest, ones, covariances))
