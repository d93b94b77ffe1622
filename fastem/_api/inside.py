"""What the functions of fastem need of a model beyond its public attributes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._api.missing import check_missing, with_missing
from fastem._api.mixture import M, Mixture, new_model, parts_of
from fastem._checks import check_feature_names
from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.registry import family_named
from fastem._report import FitReport
from fastem._sources.passes import Source, Sweep
from fastem._typing import Array


def family_of_model(model: Mixture[Any]) -> Family[Any, Any]:
    return parts_of(model)[0]


def in_frame(model: Mixture[Any], frame: Frame) -> Any:
    """Return the parameters in the coordinates of a given frame."""
    family, user, _ = parts_of(model)
    return family.from_user(user, frame)


def user_parameters(model: Mixture[Any]) -> Any:
    """Return the parameters in user units, as the family knows them."""
    return parts_of(model)[1]


def sweep_of(model: Mixture[Any], dtype: np.dtype[Any], measured: bool = False) -> Sweep:
    """Return a pass with this model, over rows that may have known noise."""
    return parts_of(model)[2].sweep(dtype, measured=measured)


def with_report(model: M, report: FitReport) -> M:
    """Return a model with the same parameters and another report."""
    family, user, _ = parts_of(model)
    return new_model(type(model), family, user, report, model.feature_names)


def totals_of(model: Mixture[Any], source: Source) -> Array:
    """Return the log-likelihood of the rows of a source, and their total weight."""
    return source.total(parts_of(model)[2].totals)


def with_feature_names(model: M, names: Sequence[str]) -> M:
    """Return a model with the same parameters and other names of its features."""
    family, user, _ = parts_of(model)
    checked = check_feature_names(tuple(names), model.n_features)
    return new_model(type(model), family, user, model.report, checked)


def allowing(model: M, missing: Any) -> M:
    """Return a model with the same parameters, and with this option `missing`."""
    family, user, _ = parts_of(model)
    if check_missing(missing, family) == family.missing:
        return model
    changed = with_missing(family_named(family.name, None, family.state()), missing)
    return new_model(type(model), changed, user, model.report, model.feature_names)


def check_model(model: Any) -> None:
    if not isinstance(model, Mixture):
        raise TypeError(f"model must be a fastem.Mixture; got {type(model).__name__}.")
