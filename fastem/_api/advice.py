"""What a fit tells the user about the columns of X."""

from typing import Any

from fastem._families.base import Family
from fastem._report import WarningCause, warn
from fastem._sources.passes import Source
from fastem._typing import FloatArray

_MOST_COLUMNS = 8  # in a message


def warn_of_few_values(source: Source, family: Family[Any, Any]) -> None:
    """Warn of columns of few values that shall be Gaussian, or Student."""
    if not family.has_covariances:
        return
    matrices = next(name for name in family.parameter_names if name.endswith(("covariances", "scales")))
    own = family.columns_of(matrices)
    found = source.few.columns()
    if own is not None:
        found = {j: values for j, values in found.items() if j in own}
    if not found:
        return
    names: tuple[str | int, ...] = source.feature_names or tuple(range(source.n_features))
    told = [f"{names[j]!r} has {_listed(values)}" for j, values in found.items()]
    details = f"Column {', column '.join(told[:_MOST_COLUMNS])}"
    if len(told) > _MOST_COLUMNS:
        details += f", and {len(told) - _MOST_COLUMNS} other columns have as few"
    details += " in the rows looked at."
    if own is None and len(names) <= _MOST_COLUMNS:
        kinds = {name: _kind(found[j]) if j in found else "gaussian" for j, name in enumerate(names)}
        details += f" Perhaps distribution={kinds} suits X."
    warn(WarningCause.FEW_VALUES, details)


def _kind(values: FloatArray) -> str:
    return "bernoulli" if values.tolist() == [0, 1] else "categorical"


def _listed(values: FloatArray) -> str:
    shown = [f"{value:g}" for value in values.tolist()]
    return f"only the values {', '.join(shown[:-1])} and {shown[-1]}"
