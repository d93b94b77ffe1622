"""Constraints that tell the volume of a covariance from its shape, each of which is shared or not.

A covariance is its volume times a matrix of determinant 1. Celeux and Govaert (1995) derive the M-steps.
Where volumes vary and the rest is shared, no formula gives both, but each gives the other. Their steps in
turn lead to the only maximum, since the likelihood is concave along geodesics (Wiesel 2012).
"""

import numpy as np

from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianSums
from fastem._families.matrices import cholesky, diagonals, invert_lower
from fastem._typing import FloatArray

_ROUNDS = 100
_PRECISION = 1e-7  # of volumes, relative: the likelihood is flat to the square of this


class EVI(Constraint):
    """Axes of features, one volume, a shape for each component."""

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        spreads = sums.scatter - weights[:, None] * shift * shift
        volumes = geometric_means(spreads)
        return np.asarray(spreads / volumes[:, None] * (volumes.sum() / weights.sum()))

    def n_parameters(self, k: int, d: int) -> int:
        return 1 + k * (d - 1)


class VEI(Constraint):
    """Axes of features, a volume for each component, one shape."""

    inherited = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        spreads = sums.scatter - weights[:, None] * shift * shift
        first = geometric_means(spreads) / weights if before is None else geometric_means(before)
        volumes, shape = shared_shape(spreads, weights, first)
        return np.outer(volumes, shape)

    def n_parameters(self, k: int, d: int) -> int:
        return k + d - 1


class EVV(Constraint):
    """One volume, a shape and an orientation for each component."""

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        scatters = own_scatters(sums, shift, weights)
        volumes = volumes_of(scatters)
        return np.asarray(scatters / volumes[:, None, None] * (volumes.sum() / weights.sum()))

    def n_parameters(self, k: int, d: int) -> int:
        return 1 + k * (d * (d + 1) // 2 - 1)


class VEE(Constraint):
    """A volume for each component, one shape and orientation."""

    inherited = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        scatters = own_scatters(sums, shift, weights)
        d = scatters.shape[1]
        volumes = np.ones(len(weights)) if before is None else volumes_of(before)
        for _ in range(_ROUNDS):
            pooled = (scatters / volumes[:, None, None]).sum(axis=0)
            factor = cholesky(pooled[None])
            size = np.square(geometric_means(diagonals(factor)[0]))
            inverse = invert_lower(factor)[0]
            distances = scatters.reshape(len(weights), -1) @ (inverse.T @ inverse).ravel() * size
            last, volumes = volumes, distances / (d * weights)
            if not np.abs(volumes / last - 1).max() > _PRECISION:
                break
        return np.asarray(volumes[:, None, None] * (pooled / size))

    def n_parameters(self, k: int, d: int) -> int:
        return k + d * (d + 1) // 2 - 1


class Pooled(Constraint):
    """One covariance matrix, EEE, in a layout that has one for each component."""

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        scatters = own_scatters(sums, shift, weights)
        return np.broadcast_to(scatters.sum(axis=0) / weights.sum(), scatters.shape).copy()

    def n_parameters(self, k: int, d: int) -> int:
        return d * (d + 1) // 2


def own_scatters(sums: GaussianSums, shift: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the scatter matrix of each component about its own mean."""
    # Products in this order are symmetric to the last bit, which tells where little is left of them.
    return sums.scatter - weights[:, None, None] * (shift[:, :, None] * shift[:, None, :])


def volumes_of(matrices: FloatArray) -> FloatArray:
    """Return the geometric mean of the eigenvalues of each matrix."""
    return np.square(geometric_means(diagonals(cholesky(matrices))))


def geometric_means(spreads: FloatArray) -> FloatArray:
    """Return the geometric mean of each row of (K, d), NaN if it has a number below 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(spreads).mean(axis=-1)))


def shared_shape(
    spreads: FloatArray, weights: FloatArray, volumes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return volumes (K,) and a shape (d,) of product 1, given the sums of squares (K, d) along the axes.

    The nearer the given volumes are, the sooner it ends.
    """
    for _ in range(_ROUNDS):
        shape = (spreads / volumes[:, None]).sum(axis=0)
        shape /= geometric_means(shape)
        before, volumes = volumes, (spreads / shape).mean(axis=1) / weights
        if not np.abs(volumes / before - 1).max() > _PRECISION:
            break
    return volumes, shape
