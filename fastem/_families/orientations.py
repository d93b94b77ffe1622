"""Constraints that tell the orientation of a covariance, its eigenvectors, from its volume and shape.

Celeux and Govaert (1995) give the M-steps for orientations of their own. For one orientation of all
components there is no formula. The likelihood rises in each turn of two axes into each other, whose best
angle is known as long as the variances along the axes stay; then these follow. This is Jacobi's method for
many matrices (Flury and Gautschi 1986). Browne and McNicholas (2014) named the two models, EVE and VVE.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianSums
from fastem._families.matrices import diagonals
from fastem._families.volumes import geometric_means, own_scatters, shared_shape
from fastem._kernels._turns import turn_axes
from fastem._typing import FloatArray

_SWEEPS = 50
_ANGLE = 1e-7  # the likelihood is flat to the square of this


class _Turned(Constraint):
    """Each component has an orientation, which is that of its scatter. Abstract."""

    isotropic = True
    straight = False

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        spreads, axes = np.linalg.eigh(own_scatters(sums, shift, weights))
        variances = self._variances(_above_rounding(spreads), weights)
        return np.asarray((axes * variances[:, None, :]) @ axes.transpose(0, 2, 1))

    @abstractmethod
    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the variances (K, d) along the axes, given the sums of squares along them."""


class EEV(_Turned):
    """One volume and shape, an orientation for each component."""

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        return np.broadcast_to(spreads.sum(axis=0) / weights.sum(), spreads.shape)

    def n_parameters(self, k: int, d: int) -> int:
        return d + k * (d * (d - 1) // 2)


class VEV(_Turned):
    """A volume and an orientation for each component, one shape."""

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        volumes, shape = shared_shape(spreads, weights, geometric_means(spreads) / weights)
        return np.outer(volumes, shape)

    def n_parameters(self, k: int, d: int) -> int:
        return k + d - 1 + k * (d * (d - 1) // 2)


class _Aligned(Constraint):
    """All components share their axes. Abstract."""

    isotropic = True
    straight = False
    one_volume: ClassVar[bool]

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        scatters = own_scatters(sums, shift, weights)
        shared = (scatters / weights[:, None, None] if before is None else before).sum(axis=0)
        axes = np.ascontiguousarray(np.linalg.eigh(shared)[1])
        turned = np.ascontiguousarray(axes.T @ scatters @ axes)
        turn_axes(turned, axes, weights, self.one_volume, _SWEEPS, _ANGLE)
        variances = self._variances(_above_rounding(diagonals(turned)), weights)
        return np.asarray((axes * variances[:, None, :]) @ axes.T)

    @abstractmethod
    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the variances (K, d) along the axes, given the sums of squares along them."""


class EVE(_Aligned):
    """One volume and orientation, a shape for each component."""

    one_volume = True

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        volumes = geometric_means(spreads)
        return np.asarray(spreads / volumes[:, None] * (volumes.sum() / weights.sum()))

    def n_parameters(self, k: int, d: int) -> int:
        return 1 + k * (d - 1) + d * (d - 1) // 2


class VVE(_Aligned):
    """A volume and a shape for each component, one orientation."""

    one_volume = False

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        return np.asarray(spreads / weights[:, None])

    def n_parameters(self, k: int, d: int) -> int:
        return k * d + d * (d - 1) // 2


def _above_rounding(spreads: FloatArray) -> FloatArray:
    """Return sums of squares (K, d) along axes that are no less than their rounding errors.

    Axes are found in arithmetic that rounds by a part of the largest sum. So one that is much smaller may
    come out below zero, which has no logarithm.
    """
    rounding = spreads.shape[1] * np.finfo(np.float64).eps
    return np.asarray(np.maximum(spreads, rounding * spreads.max(axis=1, keepdims=True)))
