"""Checks of X that comes in chunks: the same form in every chunk, the same rows in every pass."""

from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._tables import column_names
from fastem._typing import Array, Chunk, RawChunk
from fastem._validate import check_weights, check_X


class Form(NamedTuple):
    """What all chunks have in common; that of the first."""

    n_features: int
    dtype: np.dtype[Any]
    feature_names: tuple[str, ...] | None
    weights_of_chunks: bool
    weighted: bool  # by those, or by sample_weight


def form_of(
    chunks: Iterable[RawChunk],
    sample_weight: Any,
    n_features: int | None = None,
    feature_names: tuple[str, ...] | None = None,
) -> Form:
    """The form of the first chunk, which must be that of the model, if X is for one."""
    for where, rows, weight in chunks:
        array = check_X(rows, name=where, n_features=n_features, feature_names=feature_names, empty=True)
        if sample_weight is not None and weight is not None:
            raise ValueError(
                "sample_weight must be None where the chunks of X come with weights. Leave one of them out."
            )
        weighted = sample_weight is not None or weight is not None
        return Form(array.shape[1], array.dtype, column_names(rows), weight is not None, weighted)
    raise ValueError(
        "X must have at least one chunk; it has none. If it is a generator that was used up, pass a function "
        "that makes a new one."
    )


def check_chunk(where: str, rows: Any, weight: Any, form: Form) -> Chunk:
    """Rows and weights of one chunk, as they are."""
    array = check_X(rows, name=where, empty=True)
    if array.shape[1] != form.n_features:
        raise ValueError(
            f"{where} must have {form.n_features} features, as the first chunk; got {array.shape[1]}."
        )
    names = column_names(rows)
    if names != form.feature_names:
        raise ValueError(
            f"{where} must have the columns {_listed(form.feature_names)}, as the first chunk; "
            f"got {_listed(names)}."
        )
    if array.dtype != form.dtype:
        raise TypeError(
            f"{where} must have dtype {form.dtype}, as the first chunk; got {array.dtype}. "
            "Convert all chunks to one dtype."
        )
    if (weight is not None) != form.weights_of_chunks:
        has, first = ("no weights", "has") if weight is None else ("weights", "has none")
        raise ValueError(f"{where} has {has} and the first chunk {first}. Give all chunks weights, or none.")
    weights: Array | None = None
    if weight is not None:
        weights = check_weights(weight, len(array), f"the weights of {where}")
    return Chunk(where, array, weights)


def check_rows_of_pass(where: str, seen: int, n_samples: int | None, *, ended: bool) -> None:
    """`seen` rows up to and with the chunk `where`; `ended` if it was the last."""
    if ended and seen == 0 and not n_samples:
        raise ValueError("X must have at least one row; its chunks have none.")
    if n_samples is not None and (seen != n_samples if ended else seen > n_samples):
        had = f"ended after {seen} rows, with {where}" if ended else f"has {seen} rows up to {where}"
        raise ValueError(
            f"X must have the same {n_samples} rows in every pass, and as many as sample_weight if that is "
            f"given; now it {had}. An iterator can be read once: pass a function that makes a new one."
        )


def raise_one_shot(X: Any) -> NoReturn:
    raise TypeError(
        f"X must be something that can be read in every pass; a {type(X).__name__} can be read once. Pass a "
        "function that makes a new one: fit(lambda: read_chunks(path), k)."
    )


def raise_no_columns(X: Any) -> NoReturn:
    raise ValueError(
        "columns and sample_weight may be names only where X is a Parquet file, folder or dataset; X is a "
        f"{type(X).__name__}. Select columns before, and pass the weights as an array."
    )


def _listed(names: tuple[str, ...] | None) -> str:
    return "without names" if names is None else str(list(names))
