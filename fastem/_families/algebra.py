"""The algebra of Gaussian components: some features given others, and one component in place of several."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem._families.layouts import GaussianParameters
from fastem._families.matrices import cholesky, invert_lower
from fastem._typing import Array, FloatArray


class Conditional(NamedTuple):
    """Some features y given others x: the mean of component k is means[k] + slopes[k] (x - known[k])."""

    family: Any  # a Gaussian
    parameters: GaussianParameters  # the means of y without x, and the covariances of y given x
    known: FloatArray  # (K, g) the means of x
    # (m, t, g), one for each covariance. None stands for zeros: features that are independent tell nothing.
    slopes: FloatArray | None

    def each_slope(self) -> FloatArray | None:
        """Return the slopes of each component, (K, t, g)."""
        if self.slopes is None:
            return None
        return np.broadcast_to(self.slopes, (len(self.known), *self.slopes.shape[1:]))


def given_the_first(matrices: FloatArray, given: Array, called: str) -> tuple[FloatArray, FloatArray]:
    """Return the slopes (m, d - g, g) and covariances (m, d - g, d - g) given the first g features.

    The Cholesky factor of a covariance holds that of the first features, and below it that of the others
    given them. So no difference of covariances is taken, and what is left is positive definite.

    Raises
    ------
    ValueError
        If a matrix has no such factor. The message has what users call the matrices, and the numbers of the
        `given` features.
    """
    g, factors = len(given), cholesky(matrices)
    proper = np.isfinite(factors).all(axis=(1, 2))
    if not proper.all():
        raise ValueError(
            f"{called} must be positive definite with the features in any order; that of component "
            f"{np.argmin(proper)} is not, by rounding, with features {given.tolist()} first. Add a small "
            "variance to its diagonal."
        )
    left = factors[:, g:, g:]
    return factors[:, g:, :g] @ invert_lower(factors[:, :g, :g]), left @ left.transpose(0, 2, 1)


def merged(
    parameters: GaussianParameters, matrices: FloatArray, groups: Sequence[Sequence[int]]
) -> GaussianParameters:
    """Return one component for each group, with the mean and covariance of the mixture of the group.

    `matrices` (K, d, d) are the covariances of all components.
    """
    k, d = len(groups), parameters.means.shape[1]
    new = GaussianParameters(np.empty(k), np.empty((k, d)), np.empty((k, d, d)))
    for j, group in enumerate(groups):
        weights, means = parameters.weights[group], parameters.means[group]
        total = weights.sum()
        shares = weights / total if total > 0 else np.full(len(group), 1 / len(group))
        new.weights[j] = total
        new.means[j] = means[0] + shares @ (means - means[0])
        apart = means - new.means[j]
        covariance = np.einsum("k,kij->ij", shares, matrices[group]) + (shares * apart.T) @ apart
        new.covariances[j] = (covariance + covariance.T) / 2
    return new
