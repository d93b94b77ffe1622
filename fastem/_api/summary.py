"""A mixture as a table that people can read: a column for each component, a row for each number."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem._families.base import Family
from fastem._report import FitReport
from fastem._typing import Array

_COLUMNS = 8  # components side by side
_MOST_NAMES = 40  # characters of a name

Line = tuple[str, Array | None]  # a name, and the numbers of all components, or None for a heading


def summary(
    title: str,
    family: Family[Any, Any],
    user: Any,
    n_parameters: int,
    names: tuple[str, ...] | None,
    report: FitReport | None,
) -> str:
    """Return the table as lines of text. `user` has the parameters in user units."""
    both, d = len(user.weights), family.n_features(user)
    k = both - family.extra
    lines = [
        f"{title} of {k} component{'s' * (k > 1)}, {family.label}",
        f"{d} feature{'s' * (d > 1)}, {n_parameters} free parameters",
    ]
    if family.missing:
        lines[-1] += "; missing numbers are marginalised"
    if report is not None:
        lines.append(
            f"fit: {report.status.name} after {report.n_iter} iteration{'s' * (report.n_iter != 1)}, "
            f"log-likelihood {report.log_likelihood:.6g}"
        )
    lines.append("")
    features = [str(j) for j in range(d)] if names is None else list(names)
    rows: list[Line] = [("weights", user.weights)]
    for name, values in family.shown(user).items():
        columns = family.columns_of(name)
        own = features if columns is None else [features[j] for j in columns]
        categories = None
        if family.categories is not None:
            categories = family.categories if columns is None else [family.categories[j] for j in columns]
        rows += _lines_of(name, np.asarray(values), both, own, categories)
    wide = max(len(name) for name, _ in rows)
    heads = [*map(str, range(k)), *["noise"] * family.extra]
    for start in range(0, both, _COLUMNS):
        shown = range(start, min(start + _COLUMNS, both))
        lines.append(" " * wide + "".join(f"{heads[component]:>11}" for component in shown))
        for name, numbers in rows:
            cells = "" if numbers is None else "".join(_cell(numbers[c]) for c in shown)
            lines.append(f"{name:<{wide}}{cells}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def _cell(number: float) -> str:
    """Return a number in its column, which is empty for what noise does not have."""
    return " " * 11 if np.isnan(number) else f"{number:>11.4g}"


def _lines_of(name: str, values: Array, k: int, features: list[str], categories: Any) -> Iterator[Line]:
    """Yield a line for each number of a component, after a heading if there are several."""
    if values.shape == (k,):
        yield name, values
        return
    yield name, None
    for index in np.ndindex(values.shape[1:]):
        label = ", ".join(map(str, index))
        if values.shape[1] == len(features):
            j, *rest = index
            label = ", ".join([features[j], *map(str, rest)])
            if rest and categories is not None:
                if rest[0] >= len(categories[j]):
                    continue
                label = f"{features[j]} = {_in_words(categories[j][rest[0]])}"
        yield f"  {label[:_MOST_NAMES]}", values[(slice(None), *index)]


def _in_words(category: Any) -> str:
    """A category on one line. Whole numbers have all of their digits."""
    if isinstance(category, str):
        return " ".join(category.split())
    return str(int(category)) if category == int(category) else str(category)
