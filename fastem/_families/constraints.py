"""Constraints on Gaussian covariances: how the M-step computes covariances from the scatter.

The names are those of Banfield and Raftery (1993) and Celeux and Govaert (1995). Their letters stand for the
volume, the shape and the orientation of the components. Each is equal for all (E), varies (V), or is that of
the coordinate axes (I).
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from fastem._families.layouts import Diag, Full, GaussianSums, Layout, Spherical
from fastem._families.matrices import gram
from fastem._typing import FloatArray


class Constraint(ABC):
    """One of the models of mclust. Subclasses are final."""

    # Whether each covariance is the scatter over the weight, entry by entry, as the layout stores it.
    direct: ClassVar[bool] = False
    # Whether all components have the same covariance.
    shared: ClassVar[bool] = False
    # Whether axes other than those of the features are compared, so that all must have the same scale.
    isotropic: ClassVar[bool] = False
    # Whether a line through the logarithms of two covariances, as the layout takes them, keeps to it.
    straight: ClassVar[bool] = True
    # Whether the covariances of some of the features, alone or given others, keep to it.
    inherited: ClassVar[bool] = False

    @abstractmethod
    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        """Return maximum-likelihood covariances about means + shift. `weights` (K,) contain no zeros.

        Where several are maxima, the likelihood is no less than that of the covariances `before`, if given.
        """

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Return the number of free parameters of the covariances."""


class VVV(Constraint):
    """A covariance matrix for each component."""

    direct = True
    inherited = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        return sums.scatter / weights[:, None, None] - shift[:, :, None] * shift[:, None, :]

    def n_parameters(self, k: int, d: int) -> int:
        return k * d * (d + 1) // 2


class EEE(Constraint):
    """One covariance matrix for all components."""

    direct = True
    inherited = True
    shared = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        between = gram((shift * sums.weights[:, None]).T, shift.T)
        return np.asarray((sums.scatter - between) / sums.weights.sum())

    def n_parameters(self, k: int, d: int) -> int:
        return d * (d + 1) // 2


class VVI(Constraint):
    """A variance for each component and feature."""

    direct = True
    inherited = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        return sums.scatter / weights[:, None] - shift * shift

    def n_parameters(self, k: int, d: int) -> int:
        return k * d


class EEI(Constraint):
    """A variance for each feature, which all components share."""

    inherited = True
    shared = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        between = weights[:, None] * shift * shift
        return np.broadcast_to((sums.scatter - between).sum(axis=0) / weights.sum(), shift.shape).copy()

    def n_parameters(self, k: int, d: int) -> int:
        return d


class VII(Constraint):
    """A variance for each component."""

    direct = True
    inherited = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        return np.asarray((sums.scatter / weights - (shift * shift).sum(axis=1)) / shift.shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return k


class EII(Constraint):
    """One variance for all components."""

    inherited = True
    shared = True

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        between = sums.weights * (shift * shift).sum(axis=1)
        return np.full(len(weights), (sums.scatter - between).sum() / (sums.weights.sum() * shift.shape[1]))

    def n_parameters(self, k: int, d: int) -> int:
        return 1


# The constraint of each layout with which each component has covariances of its own.
OF_THEIR_OWN: dict[type[Layout], Constraint] = {Full: VVV(), Diag: VVI(), Spherical: VII()}
