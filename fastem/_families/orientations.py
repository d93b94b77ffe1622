"""Constraints that tell the orientation of a covariance, its eigenvectors, from its volume and shape.

Celeux and Govaert (1995) give the M-steps for orientations of their own. For one orientation of all
components there is no formula. The likelihood rises in each turn of two axes into each other, whose best
angle is known as long as the variances along the axes stay; then these follow. This is Jacobi's method for
many matrices (Flury and Gautschi 1986). Browne and McNicholas (2014) named the two models, EVE and VVE.
"""

from abc import abstractmethod

import numpy as np

from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianSums
from fastem._families.volumes import geometric_means, own_scatters, shared_shape
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
        variances = self._variances(spreads, weights)
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
        volumes, shape = shared_shape(spreads, weights)
        return np.outer(volumes, shape)

    def n_parameters(self, k: int, d: int) -> int:
        return k + d - 1 + k * (d * (d - 1) // 2)


class _Aligned(Constraint):
    """All components share their axes. Abstract."""

    isotropic = True
    straight = False

    def estimate(
        self, sums: GaussianSums, shift: FloatArray, weights: FloatArray, before: FloatArray | None
    ) -> FloatArray:
        scatters = own_scatters(sums, shift, weights)
        shared = (scatters / weights[:, None, None] if before is None else before).sum(axis=0)
        _, axes = np.linalg.eigh(shared)
        axes, spreads = self._turned(axes.T @ scatters @ axes, axes, weights)
        return np.asarray((axes * self._variances(spreads, weights)[:, None, :]) @ axes.T)

    def _turned(
        self, scatters: FloatArray, axes: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the best axes that turns of two at a time lead to, and the sums of squares along them.

        IN the scatters in the coordinates of the axes
        """
        d = len(axes)
        for _ in range(_SWEEPS):
            largest = 0.0
            for i in range(d - 1):
                for j in range(i + 1, d):
                    precisions = 1 / self._variances(np.einsum("kii->ki", scatters), weights)
                    gap = precisions[:, i] - precisions[:, j]
                    cosine = gap @ (scatters[:, j, j] - scatters[:, i, i]) / 2
                    sine = -gap @ scatters[:, i, j]
                    angle = np.arctan2(sine, cosine) / 2
                    largest = max(largest, abs(float(angle)))
                    c, s = np.cos(angle), np.sin(angle)
                    turn = np.array([[c, -s], [s, c]])
                    axes[:, [i, j]] = axes[:, [i, j]] @ turn
                    scatters[:, :, [i, j]] = scatters[:, :, [i, j]] @ turn
                    scatters[:, [i, j], :] = turn.T @ scatters[:, [i, j], :]
            if not largest > _ANGLE:
                break
        return axes, np.einsum("kii->ki", scatters)

    @abstractmethod
    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the variances (K, d) along the axes, given the sums of squares along them."""


class EVE(_Aligned):
    """One volume and orientation, a shape for each component."""

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        volumes = geometric_means(spreads)
        return np.asarray(spreads / volumes[:, None] * (volumes.sum() / weights.sum()))

    def n_parameters(self, k: int, d: int) -> int:
        return 1 + k * (d - 1) + d * (d - 1) // 2


class VVE(_Aligned):
    """A volume and a shape for each component, one orientation."""

    def _variances(self, spreads: FloatArray, weights: FloatArray) -> FloatArray:
        return np.asarray(spreads / weights[:, None])

    def n_parameters(self, k: int, d: int) -> int:
        return k * d + d * (d - 1) // 2
