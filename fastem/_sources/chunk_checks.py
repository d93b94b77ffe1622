"""Checks that chunks are finite, of one form, and the same in every pass. An array is one chunk."""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import row_ranges
from fastem._report import Breakdown
from fastem._sources.checks import check_labels, check_weights, check_X, columns_of_model
from fastem._sources.measurements import (
    check_noise,
    noise_of_rows,
    of_rows,
    shape_of_noise,
    without_gaps,
)
from fastem._sources.tables import column_keys, strings_in
from fastem._sources.texts import NO_GAPS, Gaps, Vocabulary, vocabulary_of
from fastem._typing import Array, RawChunk, Rows

_MOST_NAMED = 8  # columns in a message


class Form(NamedTuple):
    """What all chunks must have in common. It is taken from the first chunk."""

    n_features: int
    dtype: np.dtype[Any]
    feature_names: tuple[str, ...] | None
    weights_of_chunks: bool  # whether chunks come with weights
    weighted: bool  # whether rows have weights, from the chunks or from sample_weight
    labels_of_chunks: bool = False  # whether chunks come with labels
    labelled: bool = False  # whether rows have labels, from the chunks or from `labels`
    k: int = 1  # the number of components
    vocabulary: Vocabulary | None = None  # the strings in columns of text; None if there must be no text
    wanted: tuple[str, ...] | None = None  # the columns to take of chunks that are tables; None takes all
    columns: tuple[Any, ...] = ()  # the names or numbers of the columns
    gaps: Gaps = NO_GAPS  # whether entries may be missing
    noise_shape: tuple[int, ...] = ()  # of the known noise of a row, or () if rows have none
    noise_of_chunks: bool = False  # whether chunks come with noise


def form_of(
    chunks: Iterable[RawChunk],
    sample_weight: Any,
    n_features: int | None = None,
    feature_names: tuple[str, ...] | None = None,
    labels: Any = None,
    k: int = 1,
    vocabulary: Vocabulary | None = None,
    gaps: Gaps = NO_GAPS,
    noise: Any = None,
) -> Form:
    """Return the form of the first chunk. If X is for a model, the form must be that of the model.

    Of tables, the columns `feature_names` are taken, if there are any.
    """
    for where, given, weight, own, own_noise in chunks:
        rows = columns_of_model(given, feature_names, where)
        array = check_X(
            rows,
            name=where,
            n_features=n_features,
            empty=True,
            vocabulary=vocabulary,
            weight=np.zeros(len(rows)) if vocabulary else None,  # no text is wrong yet
            gaps=gaps,
        )
        if sample_weight is not None and weight is not None:
            raise ValueError(
                "sample_weight must be None where the chunks of X come with weights. Leave one of them out."
            )
        if labels is not None and own is not None:
            raise ValueError(
                "labels must be None where the chunks of X come with labels. Leave one of them out."
            )
        if noise is not None and own_noise is not None:
            raise ValueError(
                "noise must be None where the chunks of X come with noise. Leave one of them out."
            )
        known = noise if own_noise is None else own_noise
        noise_shape: tuple[int, ...] = ()
        if known is not None:
            known = known if own_noise is None else of_rows(own_noise)
            called = "noise" if own_noise is None else f"the noise of {where}"
            noise_shape = shape_of_noise(known, array.shape[1], called)
        weighted, labelled = sample_weight is not None or weight is not None, labels is not None
        if vocabulary == ():
            vocabulary = vocabulary_of(rows, where, None, gaps)
        columns = column_keys(rows, array.shape[1])
        return Form(
            array.shape[1],
            array.dtype,
            strings_in(columns),
            weight is not None,
            weighted,
            own is not None,
            labelled or own is not None,
            k,
            vocabulary,
            feature_names,
            columns,
            gaps,
            noise_shape,
            own_noise is not None,
        )
    raise ValueError(
        "X must have at least one chunk; it has none. If it is a generator that was used up, pass a function "
        "that makes a new one."
    )


def check_chunk(chunk: RawChunk, form: Form, weight_of_rows: Array | None = None) -> Rows:
    """Check one chunk, and return its rows, weights and labels, the first two in their dtypes.

    If weights do not come with the chunk, `weight_of_rows` are those of its rows, and more, if there are any.
    """
    where, given, weight, labels, noise = chunk
    rows = columns_of_model(given, form.wanted, where)
    own = weight_of_rows if weight is None else np.asarray(weight)
    array = check_X(rows, name=where, empty=True, vocabulary=form.vocabulary, weight=own, gaps=form.gaps)
    if array.shape[1] != form.n_features:
        raise ValueError(
            f"{where} must have {form.n_features} features, as the first chunk; got {array.shape[1]}."
        )
    columns = column_keys(rows, form.n_features)
    if columns != form.columns:
        raise ValueError(
            f"{where} must have the columns {_listed(form.columns)}, as the first chunk; got "
            f"{_listed(columns)}. Choose them in one order in all chunks."
        )
    if _computed(array.dtype) != _computed(form.dtype):
        raise TypeError(
            f"{where} must have dtype {form.dtype}, as the first chunk; got {array.dtype}. "
            "Convert all chunks to one dtype."
        )
    _check_given("weights", where, weight, form.weights_of_chunks)
    _check_given("labels", where, labels, form.labels_of_chunks)
    _check_given("noise", where, noise, form.noise_of_chunks)
    weights: Array | None = None
    if weight is not None:
        weights = check_weights(weight, len(array), f"the weights of {where}")
    known: Array | None = None
    if labels is not None:
        known = check_labels(labels, len(array), form.k, f"the labels of {where}")
    checked = Rows(where, 0, array, weights, known, names=form.feature_names)
    if noise is not None:
        name, about = f"the noise of {where}", of_rows(noise)
        rows_of_noise = checked if form.gaps.allowed else None
        own_noise = check_noise(about, len(array), form.n_features, name, 1, rows_of_noise)
        if own_noise.shape[1:] != form.noise_shape:
            raise ValueError(
                f"{name} must have the shape {form.noise_shape} for a row, as that of the first chunk; it "
                f"has {own_noise.shape[1:]}. Give variances in all chunks, or covariances in all."
            )
        if form.gaps.allowed:
            own_noise = without_gaps(own_noise)
        checked = checked._replace(noise=noise_of_rows(own_noise, 0, len(array)))
    return checked


def _computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Integers and booleans become float64, so a column may begin with integers and have gaps later."""
    return np.dtype(np.float64) if dtype.kind in "iub" else dtype


def _check_given(what: str, where: str, array: Any, of_chunks: bool) -> None:
    if (array is not None) != of_chunks:
        has, first = (f"no {what}", "has") if array is None else (what, "has none")
        raise ValueError(f"{where} has {has} and the first chunk {first}. Give all chunks {what}, or none.")


def check_rows_of_pass(where: str, seen: int, n_samples: int | None, *, ended: bool) -> None:
    """Check the number of rows, `seen`, up to and including the chunk `where`. `ended` if it is the last."""
    if ended and seen == 0 and not n_samples:
        raise ValueError("X must have at least one row; its chunks have none.")
    if n_samples is not None and (seen != n_samples if ended else seen > n_samples):
        had = f"ended after {seen} rows, with {where}" if ended else f"has {seen} rows up to {where}"
        raise ValueError(
            f"X must have the same {n_samples} rows in every pass, and as many as sample_weight if that is "
            f"given; now it {had}. An iterator can be read once: pass a function that makes a new one."
        )


def raise_not_finite(chunks: Iterable[Rows], missing: bool = False, remedy: str = "") -> NoReturn:
    """Raise an error that names the first NaN or inf, and says how many there are in each column.

    If there is none, the values are too large. If numbers may be `missing`, only inf is wrong. Else `remedy`
    is what a user may also do about NaN.
    """
    first, seen = "", 0
    absent: Any = 0  # (d,) the number of NaN in each column
    infinite: Any = 0
    last: Rows | None = None
    try:
        for last in chunks:
            for rows in row_ranges(len(last.X)):
                with np.errstate(over="ignore"):  # a longdouble may be too large for float64
                    X = np.asarray(last.X[rows], dtype=np.float64)
                bad, nan = np.isinf(X) if missing else ~np.isfinite(X), np.isnan(X)
                if bad.any() and not first:
                    row, column = np.argwhere(bad)[0].tolist()
                    first = (
                        f"{last.where} must be finite; row {rows.start + row}, "
                        f"column {last.column(column)} is {last.X[rows.start + row, column]}. "
                    )
                seen += len(X)
                absent, infinite = absent + (bad & nan).sum(axis=0), infinite + (bad & ~nan).sum(axis=0)
    except Exception:
        if not first:
            raise
    if not first:
        raise Breakdown(
            f"X has values too large, or too far from the model, for {last.X.dtype if last else 'this'} "
            "arithmetic. Rescale the columns."
        )
    assert last is not None
    also = f" Or {remedy}." if remedy and absent.any() else ""
    raise ValueError(
        f"{first}Drop or impute such rows, or leave such columns out: {_counted(last, absent, infinite)}, "
        f"in {seen} rows.{also}"
    )


def _counted(rows: Rows, absent: Array, infinite: Array) -> str:
    """Say which columns have how many numbers that are not finite."""
    found = []
    for j in np.flatnonzero(absent + infinite).tolist():
        kinds = (f"{count} {kind}" for count, kind in ((absent[j], "NaN"), (infinite[j], "inf")) if count)
        found.append(f"column {rows.column(j)} has {' and '.join(kinds)}")
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f", and {more} other columns have some" if more > 0 else "")


def raise_one_shot(X: Any) -> NoReturn:
    raise TypeError(
        f"X must be readable in every pass; a {type(X).__name__} can be read only once. Pass a "
        "function that makes a new one: fit(lambda: read_chunks(path), k)."
    )


def check_chunks(made: Any) -> Iterable[Any]:
    """Return the chunks that a function has made."""
    if not isinstance(made, Iterable):
        raise TypeError(
            f"X as a function must return an iterable of chunks of rows; got {type(made).__name__}. Let it "
            "return a list or an iterator, or yield each chunk."
        )
    return made


def raise_mapping(X: Mapping[Any, Any]) -> NoReturn:
    remedy = "Make a table of its columns: pandas.DataFrame(X), or polars.DataFrame(X)."
    if "X" in X:
        remedy = "If it is a chunk, put it into a list: [X]."
    raise TypeError(f"X must be rows, or an iterable of chunks of rows; got a dict with {list(X)}. {remedy}")


def raise_no_columns(X: Any) -> NoReturn:
    raise ValueError(
        "columns, sample_weight, labels and noise may be names only where X is a table, a .csv or Parquet "
        f"file, a folder or dataset of Parquet, or a dask dataframe; X is a {type(X).__name__}, whose "
        "columns have no names. Select columns yourself, and pass arrays. "
        "Tables need narwhals: pip install narwhals."
    )


def raise_no_cache() -> NoReturn:
    raise ValueError(
        "cache_dir is for X that this process reads; X is a dask collection, whose workers hold its blocks. "
        "Leave it out. Use X.persist() if the workers have enough memory."
    )


def raise_no_rows(X: Any) -> NoReturn:
    raise TypeError(
        f"X as a dask collection must be an array or a dataframe; got {type(X).__name__}. Convert it, "
        "for example with dask.array.from_delayed."
    )


def check_named_columns(wanted: Sequence[str], names: Sequence[Any]) -> None:
    for name in wanted:
        if name not in names:
            near = {str(own).lower(): own for own in reversed(names)}
            close = get_close_matches(name.lower(), near, 1)
            raise ValueError(
                f"columns, sample_weight, labels and noise must name columns of X, {list(names)}; "
                f"got {name!r}." + (f" Did you mean {near[close[0]]!r}?" if close else "")
            )


def check_whole_rows(X: Any, name: str = "X") -> None:
    """Check that each block of a dask array has all columns."""
    if X.ndim > 1 and (set(X.numblocks[1:]) != {1} or math.isnan(X.shape[1])):
        raise ValueError(
            f"{name} as a dask array must have all of its columns in each block; its chunks are {X.chunks}. "
            f'Use {name}.rechunk({{0: "auto", 1: -1}}).'
        )


def check_blocks(X: Any, given: Any, name: str) -> None:
    """Check that X and what is given about its rows have the same number of blocks."""
    if given.npartitions != X.npartitions:
        raise ValueError(
            f"{name} as a dask collection must have as many blocks as X, {X.npartitions}; it has "
            f"{given.npartitions}. Rechunk or repartition it like X."
        )


def check_rows_of_block(chunk: Rows, n_samples: int) -> None:
    if len(chunk.X) != n_samples:
        raise ValueError(
            f"{chunk.where} must have the same {n_samples} rows in every pass; now it has {len(chunk.X)}. "
            "Compute X from data that do not change, or persist it."
        )


def _listed(columns: tuple[Any, ...]) -> str:
    return "without names" if columns == tuple(range(len(columns))) else str(list(columns))
