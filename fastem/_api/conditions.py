"""A Gaussian mixture of some features, alone or where others are known, and one of merged components."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np

from fastem._api.missing import with_missing
from fastem._api.mixture import M, Mixture, new_model, parts_of
from fastem._checks import as_float, check_feature, check_features, check_integer, is_iterable, is_real
from fastem._families.algebra import Conditional, merged
from fastem._families.gaussian import Gaussian
from fastem._families.registry import family_of
from fastem._report import Breakdown
from fastem._typing import Rows


def marginal_of(model: M, features: Any) -> M:
    return of_columns(model, check_features("features", features, model.n_features, model.feature_names))


def of_columns(model: M, columns: list[int]) -> M:
    """Return the mixture of some features alone."""
    family, user, _ = parts_of(model)
    return new_model(
        type(model), *_gaussian(family).marginal(user, np.array(columns)), None, names_of(model, columns)
    )


def conditional_of(model: Mixture[Any], given: list[int], targets: list[int]) -> Conditional:
    family, user, _ = parts_of(model)
    return _gaussian(family).conditional(user, np.array(given), np.array(targets))


def _gaussian(family: Any) -> Gaussian:
    return cast(Gaussian, family)


def condition_of(model: M, values: Any) -> M:
    known = _known_values(values, model.n_features, model.feature_names)
    given = list(known)
    left = other_columns(given, model.n_features, "values")
    row = Rows("values", 0, np.array([list(known.values())]))
    try:
        weights = parts_of(of_columns(model, given))[2].responsibilities(row, 1)[0]
    except Breakdown:
        raise ValueError(
            "values must not be so far from the model that their densities are beyond float64; got "
            f"{dict(values)}. Check their units."
        ) from None
    conditional = conditional_of(model, given, left)
    means, slopes = conditional.parameters.means, conditional.each_slope()
    if slopes is not None:
        means = means + np.einsum("ktg,kg->kt", slopes, row.X - conditional.known)
    parameters = conditional.parameters._replace(weights=weights, means=means)
    return new_model(type(model), conditional.family, parameters, None, names_of(model, left))


def other_columns(columns: list[int], d: int, parameter: str) -> list[int]:
    """Return the other features, at least one, in their order."""
    left = [j for j in range(d) if j not in columns]
    if not left:
        raise ValueError(f"{parameter} must leave at least one feature out; got all {d}.")
    return left


def names_of(model: Mixture[Any], columns: list[int]) -> tuple[str, ...] | None:
    names = model.feature_names
    return None if names is None else tuple(names[j] for j in columns)


def _known_values(values: Any, d: int, names: Sequence[str] | None) -> dict[int, float]:
    """Return the value of each known feature, by its number."""
    rule = "values must be a dict of numbers by the name or the number of a column"
    if not isinstance(values, Mapping):
        raise TypeError(f"{rule}, such as {{0: 1.5}}; got {values!r}.")
    if not values:
        raise ValueError(f"{rule}, of at least one; got none.")
    known: dict[int, float] = {}
    for feature, value in values.items():
        column = check_feature("values", feature, d, names)
        if column in known:
            raise ValueError(f"values must name each column once; got column {column} by name and by number.")
        if not is_real(value):
            raise TypeError(f"{rule}; got {value!r} for {feature!r}. For many rows, use regress.")
        known[column] = as_float(value)
        if not np.isfinite(known[column]):
            raise ValueError(
                f"values must be finite; got {known[column]} for {feature!r}. Leave out what is unknown."
            )
    return known


def merged_model(model: M, groups: Any) -> M:
    family, user, _ = parts_of(model)
    checked = _check_groups(groups, model.n_components)
    ellipsoids = family.ellipsoids(user)
    assert ellipsoids is not None
    parameters = merged(user, ellipsoids[1], checked)
    full = with_missing(family_of("gaussian", "full"), model.missing)
    return new_model(type(model), full, parameters, None, model.feature_names)


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str) and is_iterable(value)


def _check_groups(groups: Any, k: int) -> list[list[int]]:
    rule = f"groups must be sequences of numbers of components that have each of 0 to {k - 1} once"
    example = "Pass [[0, 1], [2]] to merge the first two of three."
    if not (_is_list(groups) and all(map(_is_list, groups))):
        raise TypeError(f"{rule}; got {groups!r}. {example}")
    checked = [[check_integer("groups", one, 0, example) for one in group] for group in groups]
    if sorted(chain.from_iterable(checked)) != list(range(k)) or not all(checked):
        raise ValueError(f"{rule}, and none that is empty; got {checked}. {example}")
    return checked
