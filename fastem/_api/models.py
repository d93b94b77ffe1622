"""Construction of models of the right class, from the parameters of a family and from files."""

import os
from collections.abc import Sequence
from typing import Any

from fastem import _io
from fastem._api.clusters import read_clusters
from fastem._api.gaussian import GaussianMixture
from fastem._api.missing import with_missing
from fastem._api.mixture import Mixture, fitted_model, new_model, read_model
from fastem._families.base import Family
from fastem._families.centres import KMEANS
from fastem._families.distribution import Distribution
from fastem._families.frame import Frame
from fastem._families.gaussian import Gaussian
from fastem._families.given import Held
from fastem._families.registry import family_named, family_of
from fastem._report import FitReport

_CLASSES: dict[type, type[Mixture[Any]]] = {Gaussian: GaussianMixture}


def model_of(
    family: Family[Any, Any],
    parameters: Any,
    frame: Frame,
    report: FitReport | None = None,
    feature_names: Sequence[str] | None = None,
    fixed: Held | None = None,
    missing: bool = False,
) -> Mixture[Any]:
    """Make a model in user units from parameters in standard coordinates. Fixed ones are as given.

    With `missing` it takes rows with NaN, also if the family is that of complete rows.
    """
    family = (family.with_missing() if missing else family).plain
    user = family.to_user(parameters, frame)
    if fixed is not None:
        user = fixed.kept(user, fixed.user)
    return fitted_model(_class_of(family), family, user, report, feature_names)


def model_in_user_units(
    family: Family[Any, Any],
    user: Any,
    report: FitReport | None = None,
    feature_names: Sequence[str] | None = None,
) -> Mixture[Any]:
    """Make a model from parameters in user units, and check it."""
    return new_model(_class_of(family), family, user, report, feature_names)


def _class_of(family: Family[Any, Any]) -> type[Mixture[Any]]:
    return _CLASSES.get(type(family), Mixture)


def load(path: str | os.PathLike[str], *, distribution: Distribution | None = None) -> Any:
    """Read a model that `save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or path
    distribution : Distribution, optional
        Your own distribution, if the model has one. It must be given, since a file does not hold code.

    Returns
    -------
    GaussianMixture, Mixture or KMeans

    Raises
    ------
    ValueError
        If the file is not a fastem model, is damaged, has a newer format, or has another distribution.
    OSError
        If the file cannot be opened.
    """
    own = None if distribution is None else family_of(distribution)
    stored = _io.read(path)
    try:
        if stored.family == KMEANS.name:
            return read_clusters(stored)
        family = with_missing(family_named(stored.family, own, stored.state), stored.missing)
        return read_model(_class_of(family), family, stored)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} does not hold a valid model: {error}") from None
