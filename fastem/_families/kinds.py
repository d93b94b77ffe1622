"""The kinds of columns as a user gives them, by name or number, matched with the columns of rows."""

from collections.abc import Mapping

from fastem._families.base import Facts


def kinds_of_columns(distribution: Mapping[str | int, str], facts: Facts) -> list[str]:
    """Return the kind of each column. Raise an error if one is missing, unknown, twice there, or text."""
    d = len(facts.texts)
    kinds: list[str | None] = [None] * d
    for key, kind in distribution.items():
        j = _number(key, d, facts.names)
        if kinds[j] is not None:
            raise ValueError(
                f"distribution must have each column once; column {j} is there twice, as {key!r} too."
            )
        kinds[j] = kind
        if facts.texts[j] is not None and kind != "categorical":
            raise TypeError(
                f'X must hold numbers in column {key!r} for "{kind}"; it holds text. '
                'Use "categorical", or convert it.'
            )
    names = facts.names or range(d)
    missing = [name for name, kind in zip(names, kinds, strict=True) if kind is None]
    if missing:
        raise ValueError(
            f"distribution must have all columns of X; it lacks {missing}. Add them, or leave them out of "
            "X, by columns=[...] if X is a table."
        )
    return [str(kind) for kind in kinds]


def _number(key: str | int, d: int, names: tuple[str, ...] | None) -> int:
    if isinstance(key, str):
        if names is None or key not in names:
            have = "columns without names" if names is None else f"the columns {list(names)}"
            also = "" if names else " Tables have names with narwhals: pip install narwhals."
            raise ValueError(f"distribution must name columns of X, which has {have}; got {key!r}.{also}")
        return names.index(key)
    if not 0 <= key < d:
        raise ValueError(f"distribution must number columns of X from 0 to {d - 1}; got {key}.")
    return int(key)
