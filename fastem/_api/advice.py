"""What a fit tells the user about the columns of X."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from fastem._checks import row_ranges
from fastem._em.flat import Flat, flat_columns
from fastem._em.objective import Likelihood
from fastem._families.base import Family
from fastem._families.steps import P
from fastem._report import WarningCause, warn
from fastem._sources.parts import part_of
from fastem._sources.passes import Source
from fastem._typing import Array, FloatArray, Rows

_MOST_COLUMNS = 8  # in a message
_MOST_COMPONENTS = 5
_DEVIATIONS = 3  # by which noise exceeds the variance of the rows if that is no chance
_LOOKED_AT = 4096  # rows
# No column of so few categories, or of at most half as many as rows, is a reason to warn.
_MANY_CATEGORIES = 50
# Beside a reg_covar that is this many times the variance of rows, float64 keeps four digits of it or fewer.
_HIDING = 1e12


def warn_of_few_values(source: Source, family: Family[Any, Any]) -> None:
    """Warn of columns of few values that shall be Gaussian, or Student."""
    if not family.has_covariances:
        return
    found = source.few.columns()
    own = _columns_with_covariances(family) if found else None
    if own is not None:
        found = {j: values for j, values in found.items() if j in own}
    if not found:
        return
    names: tuple[str | int, ...] = source.feature_names or tuple(range(source.n_features))
    alike: dict[str, list[int]] = {}
    for j, values in found.items():
        alike.setdefault(_listed(values), []).append(j)
    groups = list(alike.items())
    told = [_have(tuple(group), source.feature_names, values) for values, group in groups[:_MOST_COLUMNS]]
    others = sum(len(group) for _, group in groups[_MOST_COLUMNS:])
    if others:
        told.append(f"and {others} other columns have as few")
    details = f"In the rows looked at, {', '.join(told)}."
    kinds = {name: _kind(found[j]) if j in found else "gaussian" for j, name in enumerate(names)}
    one = set(kinds.values())
    if own is None and (len(one) == 1 or len(names) <= _MOST_COLUMNS):
        suited = f'"{one.pop()}"' if len(one) == 1 else kinds
        details += f" Perhaps distribution={suited} suits X."
        counts = [name for j, name in enumerate(names) if j in found and _may_count(found[j])]
        if 0 < len(counts) <= _MOST_COLUMNS:
            details += f' If {_one_of(counts)} counts something, "poisson" may suit it.'
    warn(WarningCause.FEW_VALUES, details)


def warn_of_many_categories(source: Source, family: Family[Any, Any]) -> None:
    """Warn of columns in which most rows have a category of their own."""
    sizes = {j: len(values) for j, values in enumerate(family.categories or ()) if values is not None}
    many = tuple(j for j, size in sizes.items() if size > max(_MANY_CATEGORIES, source.n_samples / 2))
    if many:
        most = max(sizes[j] for j in many)
        told = _have(many, source.feature_names, f"up to {most} categories in {source.n_samples} rows")
        warn(WarningCause.MANY_CATEGORIES, f"{told[0].upper()}{told[1:]}.")


def warn_of_large_noise(source: Source) -> None:
    """Warn of columns whose noise is larger than the variance of the rows, by more than chance."""
    if not source.measured:
        return
    sums, squares, weights = source.noise_size
    variance = source.moments().variance
    with np.errstate(all="ignore"):
        mean = sums / weights
        # The variance of rows that are noise alone is a sum of squares of normal numbers.
        chance = _DEVIATIONS * np.sqrt(2 * squares) / weights
        found = np.flatnonzero(mean - variance > chance).tolist()
    if found:
        names: tuple[str | int, ...] = source.feature_names or tuple(range(source.n_features))
        told = [f"{names[j]!r} has noise of variance {mean[j]:.3g}" for j in found[:_MOST_COLUMNS]]
        own = [f", and rows of variance {variance[j]:.3g}" for j in found[:_MOST_COLUMNS]]
        details = "; ".join(f"column {one}{other}" for one, other in zip(told, own, strict=True))
        warn(WarningCause.NOISE, f"On average, {details}.")


def _columns_with_covariances(family: Family[Any, Any]) -> Array | None:
    """Return the numbers of the columns that are Gaussian, or Student, or None if all are."""
    matrices = next(name for name in family.parameter_names if name.endswith(("covariances", "scales")))
    return family.columns_of(matrices)


def warn_of_pairs(source: Source, families: Iterable[Family[Any, Any]]) -> None:
    """Warn of two columns that are never observed together, if one of the families has their covariance."""
    if not (source.missing and source.moments().gaps):
        return
    family = next((one for one in families if one.with_missing().by_pattern), None)
    if family is None:
        return
    own = _columns_with_covariances(family)
    columns = np.arange(source.n_features) if own is None else own
    if not source.lazy:  # the first rows cost little, and as a rule they have all pairs
        apart = _never_together(next(iter(source.chunks())), columns)
        columns = columns[apart.any(axis=1)]
    if not len(columns):
        return
    found = source.total(partial(_together, columns=columns))[:-1].reshape(len(columns), -1)
    pairs = np.argwhere(np.triu(found == 0))
    if not len(pairs):
        return
    names: tuple[str | int, ...] = source.feature_names or tuple(range(source.n_features))
    first, second = (repr(names[columns[j]]) for j in pairs[0])
    more = f", nor are {len(pairs) - 1} other pairs" if len(pairs) > 1 else ""
    warn(WarningCause.NEVER_TOGETHER, f"Columns {first} and {second} are never observed together{more}.")


def _together(rows: Rows, n_threads: int | None, columns: Array) -> FloatArray:
    """Return how many rows have a number in both of each two columns, and the weight of all."""
    counts = np.zeros((len(columns), len(columns)))
    for part in row_ranges(len(rows.X)):
        observed = ~np.isnan(rows.X[part][:, columns])
        if rows.weight is not None:
            observed &= rows.weight[part, None] > 0
        counts += observed.T.astype(np.float32) @ observed.astype(np.float32)
    return np.append(counts, rows.total_weight)


def _never_together(rows: Rows, columns: Array) -> Array:
    """Return which pairs of columns are never observed together in some of the rows, drawn at random."""
    some = rows.part(part_of(len(rows.X), _LOOKED_AT, np.random.default_rng(0)))
    return np.asarray(_together(some, None, columns)[:-1].reshape(len(columns), -1) == 0)


def _have(group: tuple[int, ...], names: tuple[str, ...] | None, values: str) -> str:
    return f"{_columns(group, names)} {'has' if len(group) == 1 else 'have'} {values}"


def _kind(values: FloatArray) -> str:
    return "bernoulli" if values.tolist() == [0, 1] else "categorical"


def _may_count(values: FloatArray) -> bool:
    return len(values) > 2 and values[0] == 0  # more than two are whole


def _one_of(names: list[str | int]) -> str:
    shown = [repr(name) for name in names]
    return f"column {shown[0]}" if len(shown) == 1 else f"column {', '.join(shown[:-1])} or {shown[-1]}"


def _listed(values: FloatArray) -> str:
    shown = [f"{value:g}" for value in values.tolist()]
    return f"only the values {', '.join(shown[:-1])} and {shown[-1]}"


def singular_in_words(
    likelihood: Likelihood[P], parameters: P, singular: list[int], columns_only: bool = False
) -> str:
    """Say in which columns the singular components are so, or that they have too few rows.

    With `columns_only`, say nothing of rows. It is "" if nothing can be told.
    """
    names = likelihood.source.feature_names
    told: dict[tuple[str, bool], list[int]] = {}
    try:
        hidden = "" if columns_only else _on_hidden_variances(likelihood)
        if hidden:
            return hidden
        found = flat_columns(likelihood, parameters, singular)
    except Exception:  # for example a file that has gone; what only explains must not lose a finished fit
        return ""
    for component, flat in found.items():
        if flat.is_known and not (columns_only and flat.rows is not None):
            text = _flat_in_words(flat, names, likelihood.source.moments().variance)
            told.setdefault((text, flat.shared), []).append(component)
    parts = []
    for (text, shared), components in told.items():
        parts.append(f"{_components(components, shared)}: {text}.")
    more = len(parts) - _MOST_COMPONENTS
    parts[_MOST_COMPONENTS:] = [f"And {more} like these."] if more > 0 else []
    if not columns_only and any(flat.rows is not None for flat in found.values()):
        parts.append(_on_few_rows(likelihood))
    return " ".join(filter(None, parts))


def _on_hidden_variances(likelihood: Likelihood[Any]) -> str:
    """Say that float64 cannot tell the variances of the rows from what is added to them, or return ""."""
    reg_covar, variances = likelihood.reg_covar, likelihood.source.moments().variance
    variances = variances[variances > 0]
    if reg_covar is None or not len(variances) or reg_covar <= _HIDING * variances.max():
        return ""
    return (
        f"reg_covar={reg_covar:g} is so far above the variances of the rows, {variances.max():.3g} at most, "
        "that rounding hides them, and no component can be told from a singular one. Pass less."
    )


def _on_few_rows(likelihood: Likelihood[Any]) -> str:
    """Say what to do where no number of components would do, or return ""."""
    n, d = likelihood.source.n_positive, likelihood.source.n_features
    if n > d:
        return ""
    prior = 'prior="default", ' if likelihood.family.conjugate_prior is not None else ""
    return (
        f"{n} rows cannot tell the covariance matrix of {d} columns, not even of one component. Pass "
        f'covariance_type="diag" or "spherical", {prior}or fewer columns.'
    )


def _components(numbers: list[int], shared: bool) -> str:
    if shared:
        return "In each component"
    shown = [str(number) for number in numbers[:_MOST_COLUMNS]]
    if len(numbers) > len(shown):
        shown.append("others")
    return f"In component{'s' * (len(numbers) > 1)} {', '.join(shown)}"


def _flat_in_words(flat: Flat, names: tuple[str, ...] | None, variance: FloatArray) -> str:
    """Say where a component has no width. The `variance` of each column is that of all rows."""
    parts = []
    always = tuple(j for j in flat.constant if variance[j] == 0)
    here = tuple(j for j in flat.constant if variance[j] != 0)
    for columns, how in ((always, "constant"), (here, "constant or nearly so")):
        if columns:
            parts.append(f"{_columns(columns, names)} {'is' if len(columns) == 1 else 'are'} {how}")
    parts += [f"{_columns(group, names)} are collinear" for group in flat.collinear]
    if flat.rows is not None:
        rows = f"{flat.rows:.0f} rows in all" if flat.shared else f"about {max(1, round(flat.rows))} rows"
        parts.append(f"{rows}, too few for {len(variance)} columns")
    return ", and ".join(parts)


def _columns(numbers: tuple[int, ...], names: tuple[str, ...] | None) -> str:
    shown = [str(j) if names is None else repr(names[j]) for j in numbers[:_MOST_COLUMNS]]
    more = len(numbers) - len(shown)
    if more > 0:
        shown.append(f"{more} others")
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"column{'s' * (len(numbers) > 1)} {listed}"
