"""Checks of the parameters of Gaussians, as users give them and as fits find them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastem._checks import check_finite, check_symmetric
from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianParameters, Layout
from fastem._families.matrices import every
from fastem._typing import Array, FloatArray

# Covariances of features whose variances are within these bounds are normal numbers, or next to 0.
_SMALLEST, _LARGEST = 1e-270, 1e270


def checked(
    layout: Layout, label: str, called: str, weights: FloatArray, parameters: Mapping[str, Any]
) -> GaussianParameters:
    """Return finite parameters of the right shapes. The covariances are `called` so."""
    means, covariances = (check_finite(name, parameters[name]) for name in ("means", called))
    if means.ndim != 2 or len(means) != len(weights) or means.shape[1] == 0:
        raise ValueError(
            f"means must have shape (k, d) with k = {len(weights)} as in weights; got shape {means.shape}."
        )
    shape = layout.public_shape(*means.shape)
    if covariances.shape != shape:
        raise ValueError(
            f"{called} must have shape {shape} for {label}, k={len(weights)} and d={means.shape[1]}; "
            f"got shape {covariances.shape}."
        )
    _check_together(weights, means)
    if layout.matrices:
        check_symmetric(called, covariances)
    return GaussianParameters(weights, means, covariances)


def _check_together(weights: FloatArray, means: FloatArray) -> None:
    """Raise an error if the variance of the means, which is part of that of the mixture, overflows."""
    with np.errstate(all="ignore"):
        fine = np.isfinite(np.square(means - weights @ means))
    if not every(fine):
        j = int(np.argmin(fine.all(axis=0)))
        component = int(np.argmax(np.abs(means[:, j])))
        raise ValueError(
            "means must be so near to each other that the squares of their differences are below the largest "
            f"number of float64, {np.finfo(np.float64).max:.3g}; that of component {component} is "
            f"{means[component, j]:.3g} in feature {j}. Rescale the columns of X."
        )


def check_proper(called: str, proper: Array, k: int) -> None:
    """Raise an error unless each covariance, of which there are k or one for all, is positive definite."""
    if not proper.all():
        which = f" of component {np.argmin(proper)}" if len(proper) == k else ""
        raise ValueError(
            f"{called} must be positive definite; that{which} is not. Add a small variance to its diagonal."
        )


def copied(
    layout: Layout, parameters: GaussianParameters, covariances: FloatArray
) -> GaussianParameters | None:
    """Return copies of what a fit has found in user units, whose covariances are stacked along a first axis.

    In standard coordinates, an M-step and an E-step have seen that these are valid. The change of units
    rounds nothing, unless variances come near the ends of float64. Then this returns None.
    """
    means = parameters.means
    variances = layout.variances(covariances, means.shape[1])
    if not (variances.min() > _SMALLEST and variances.max() < _LARGEST and every(np.isfinite(means))):
        return None
    return GaussianParameters(*(np.array(array, np.float64, order="C") for array in parameters))


def check_fixed(constraint: Constraint, label: str, called: str, masks: Mapping[str, Array]) -> None:
    """Raise an error if the covariances of some components are fixed, and others share a part of them."""
    mask = masks.get(called)
    own = constraint.direct and not constraint.shared
    if mask is not None and not mask.all() and not own:
        raise ValueError(
            f"fixed {called} must be those of all components for {label}, whose components share some of "
            f"them; got a mask with {np.count_nonzero(mask)} of {len(mask)}. Fix all of them or none, or fit "
            '"full", "diag" or "spherical".'
        )
