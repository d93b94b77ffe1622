"""Whether numbers of X may be missing: the option `missing`, and what errors on NaN say about it."""

from typing import Any, Literal, TypeAlias

from fastem._families.base import Family

Missing: TypeAlias = Literal["error", "marginalise"]
# What to do about NaN where a function takes none, as a part of an error.
HOW_TO_FILL = 'fill the gaps by fastem.fit(X, k, missing="marginalise").impute(X)'
_WHAT_ELSE = (
    'With "marginalise" rows with NaN stay as they are, by the likelihood of what is observed, and the '
    "method impute of the model fills them in. To drop rows, do so before."
)


def check_missing(missing: Any, family: Family[Any, Any]) -> bool:
    """Return whether numbers may be missing. Raise an error if the family does not allow that."""
    if missing not in ("error", "marginalise"):
        near = isinstance(missing, str) and missing.lower().startswith("marginal")
        words = 'Did you mean "marginalise"?' if near else _WHAT_ELSE
        raise ValueError(f'missing must be "error" or "marginalise"; got {missing!r}. {words}')
    allowed = bool(missing == "marginalise")
    if allowed:
        family.with_missing()
    return allowed


def with_missing(family: Family[Any, Any], missing: Any) -> Family[Any, Any]:
    """Return the family as this option has it."""
    return family.with_missing() if check_missing(missing, family) else family


def name_of(family: Family[Any, Any]) -> Missing:
    return "marginalise" if family.missing else "error"


def how_to_ask(family: Family[Any, Any]) -> str:
    """Return how a user allows NaN where a function has the option, as a part of an error."""
    words = 'pass missing="marginalise" for the likelihood of what is observed'
    return words if _has_missing(family) else ""


def how_to_ask_models(family: Family[Any, Any]) -> str:
    """Return the same for a function of a model, which has the option."""
    words = 'use a model that was fitted or made with missing="marginalise"'
    return words if _has_missing(family) else ""


def _has_missing(family: Family[Any, Any]) -> bool:
    """Return whether there is a family of rows with gaps, without making it, since each model asks."""
    return type(family).with_missing is not Family.with_missing


def check_complete(family: Family[Any, Any], function: str) -> None:
    """Raise an error if the family of a model takes NaN, which a function does not."""
    if family.missing:
        raise ValueError(
            f'model must have missing="error" for {function}; it has "marginalise". Make one of its '
            "parameters without that option, and drop or fill rows with NaN."
        )
