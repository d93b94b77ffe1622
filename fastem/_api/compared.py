"""What `select` compares: numbers of components, covariance types, and rows. Checked arguments."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from fastem._api.options import Options
from fastem._api.posterior import check_prior
from fastem._api.selecting import Kind
from fastem._checks import check_integer, is_iterable
from fastem._families.registry import ELLIPTICAL, MCLUST
from fastem._sources.checks import check_enough_rows
from fastem._sources.passes import Source

_SUCH_AS = "Pass numbers of components, such as range(1, 10)."
_MOST_KS = 10_000
_TYPES = ("full", "tied", "diag", "spherical")


def check_ks(k: Any) -> list[int]:
    if isinstance(k, str) or not is_iterable(k):
        return [check_integer("k", k, 1, _SUCH_AS)]
    given = list(islice(k, _MOST_KS + 1))
    if len(given) > _MOST_KS:
        raise ValueError(f"k must have at most {_MOST_KS} numbers of components; got more. {_SUCH_AS}")
    ks = sorted({check_integer("k", one, 1, _SUCH_AS) for one in given})
    if not ks:
        raise ValueError(f"k must have at least one number of components; got none. {_SUCH_AS}")
    return ks


def check_types(given: Any, distribution: Any) -> list[Kind]:
    if given is None:
        return list(_TYPES) if isinstance(distribution, str) and distribution in ELLIPTICAL else [None]
    if isinstance(given, str) or not is_iterable(given):
        given = [given]
    types: list[Kind] = []
    for kind in given:
        names = MCLUST if isinstance(kind, str) and kind == "mclust" else (kind,)
        known = [MCLUST.get(name, name) if isinstance(name, str) else name for name in names]
        types += [name for name in known if name not in types]
    if not types:
        raise ValueError("covariance_type must name at least one type; got none. Leave it out for four.")
    return types


def check_held_out(held_out: Any) -> float:
    """Return the number of folds, or the share of the rows that is held out, which is less than 1."""
    if isinstance(held_out, (float, np.floating)):
        if not 0 < held_out < 1:
            raise ValueError(
                f"held_out must be a number of folds, or a share of the rows between 0 and 1; got {held_out}."
            )
        return float(held_out)
    return check_integer("held_out", held_out, 2, "Pass the number of folds, or a share such as 0.2.")


def check_split(held_out: float, rows: int, others: int, k: int) -> None:
    if rows == 0 or others < k:
        raise ValueError(
            f"held_out must leave rows of positive weight on both sides, and at least k={k} for the fits; "
            f"held_out={held_out} holds out {rows} and leaves {others}. Pass fewer components, or another "
            "number of folds."
        )


def check_rows(
    source: Source, kinds: Iterable[Options[Any]], ks: list[int], criterion: str, splits: float
) -> None:
    """Raise an error if the rows cannot serve one of the fits, or cannot be held out."""
    largest = int(source.known.labels.max(initial=-1))
    if largest >= ks[0]:
        raise ValueError(
            f"k must be more than the largest known label, {largest}, in all fits; got k={ks[0]}. "
            f"Begin with k={largest + 1}."
        )
    for one in kinds:
        check_prior(one, source.n_features)
    check_enough_rows(ks[-1], source.n_samples, source.n_positive)
    if splits > source.n_positive:
        raise ValueError(
            f"held_out must be at most the number of rows of positive weight, {source.n_positive}; "
            f"got {splits}."
        )
    if criterion != "held-out":
        _check_total_weight(source)


def _check_total_weight(source: Source) -> None:
    total = source.moments().weight
    if total < source.n_positive / 10:
        raise ValueError(
            "sample_weight must count rows where BIC, ICL or AIC chooses, since they take the sum of the "
            f"weights as the number of rows; got a sum of {total:.6g} for {source.n_positive} rows. "
            "Multiply the weights by a constant, so that they sum to the number of rows that they stand for."
        )


def different(kinds: dict[Kind, Options[Any]]) -> dict[Kind, Options[Any]]:
    """Return the types that differ with one feature: one with equal volumes, and one whose volumes vary."""
    volumes: dict[Kind, str] = {kind: name[0] for name, kind in MCLUST.items()}
    first: dict[Any, Kind] = {}
    for kind in kinds:
        first.setdefault(volumes.get(kind, kind), kind)
    return {kind: kinds[kind] for kind in first.values()}
