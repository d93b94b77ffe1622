"""Checks of the parameters of a mixture that do not depend on the distribution."""

from collections.abc import Mapping
from typing import Any

from fastem._checks import check_finite
from fastem._families.base import Family
from fastem._typing import FloatArray


def check_mixing_weights(weights: Any) -> FloatArray:
    w = check_finite("weights", weights)
    if w.ndim != 1 or len(w) == 0:
        raise ValueError(f"weights must have shape (k,) with k of at least 1; got shape {w.shape}.")
    if (w < 0).any() or abs(w.sum() - 1) > 1e-6:
        raise ValueError(
            f"weights must be at least 0 and sum to 1; got {w} with sum {w.sum()}. Divide them by their sum."
        )
    return w


def check_names(family: Family[Any, Any], parameters: Any) -> None:
    names = family.parameter_names
    if not isinstance(parameters, Mapping) or not all(isinstance(name, str) for name in parameters):
        raise TypeError(f"parameters must be a dict of arrays by name; got {parameters!r}.")
    if not parameters:
        raise ValueError("parameters must have at least one name; got none.")
    if names and set(parameters) != set(names):
        raise ValueError(f"parameters must have the names {list(names)}; got {sorted(parameters)}.")
