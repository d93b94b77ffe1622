"""Checks of the parameters of Gaussians as users give them."""

from collections.abc import Mapping
from typing import Any

from fastem._checks import check_finite, check_symmetric
from fastem._families.layouts import GaussianParameters, Layout
from fastem._typing import FloatArray


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
    if layout.matrices:
        check_symmetric(called, covariances)
    return GaussianParameters(weights, means, covariances)
