"""Opening anything that `fit` takes as X, as a source."""

from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np

from fastem._sources.about import About
from fastem._sources.arrays import ArraySource
from fastem._sources.checks import (
    check_agreement,
    check_cache_dir,
    check_columns,
    check_labels,
    check_n_threads,
    check_sample_weight,
    check_X,
    columns_of_model,
)
from fastem._sources.chunk_checks import check_named_columns, form_of, raise_no_cache, raise_no_columns
from fastem._sources.chunks import ChunkSource
from fastem._sources.csv_files import is_csv, read_csv
from fastem._sources.dask import DaskSource, is_dask
from fastem._sources.measurements import check_noise, noise_of_rows
from fastem._sources.parquet import ParquetReader, is_parquet
from fastem._sources.passes import Source
from fastem._sources.readers import Reader, reader_of
from fastem._sources.tables import column_names, largest_integer, parted
from fastem._sources.texts import Gaps, Vocabulary, has_text, merged_vocabulary, vocabulary_of
from fastem._typing import RawChunk, Rows


def source_of(
    X: Any,
    sample_weight: Any,
    n_threads: int | None,
    *,
    columns: Sequence[str] | None = None,
    cache_dir: Any = None,
    n_features: int | None = None,
    feature_names: tuple[str, ...] | None = None,
    vocabulary: Vocabulary | None = None,
    empty: bool = False,
    labels: Any = None,
    k: int = 1,
    missing: bool = False,
    remedy: str = "",
    noise: Any = None,
) -> Source:
    """Open X, its weights and the known labels of its k components.

    If X is for a model, `n_features` and `feature_names` are the model's. X that has names may have more
    columns than these. `vocabulary` has the text that columns may have. If it is (), X shall tell. If it is
    None, there is none. If numbers may be `missing`, they become NaN. Else `remedy` is what a user may do
    about them, beside what is said in any case. `noise` is that of each row, or of all, or names of columns.
    """
    gaps = Gaps(missing, remedy)
    n_threads = check_n_threads(n_threads)
    cache_dir = check_cache_dir(cache_dir)
    columns = check_columns(columns)
    check_agreement(columns, feature_names)
    if is_dask(X):
        if cache_dir is not None:
            raise_no_cache()
        return DaskSource(
            X,
            sample_weight,
            n_threads,
            columns,
            n_features,
            feature_names,
            labels,
            k,
            vocabulary,
            gaps,
            noise,
        )
    names: tuple[str, ...] | None = None
    about, largest = About(sample_weight, labels, noise), 0
    if is_csv(X):
        X, names, about, largest = _of_csv(X, about, columns, feature_names, vocabulary, gaps)
        columns = None
    else:
        X, about, columns = _of_table(X, about, columns)
    reader = _reader_of(X, columns, about, feature_names, vocabulary is not None)
    sample_weight, labels, noise = about.arrays
    if reader is not None:
        begun = reader.chunks()
        first = list(islice(begun, 1))
        if columns is not None and reader.feature_names is None and not _is_named(first):
            raise_no_columns(X)
        wanted = feature_names or columns
        form = form_of(first, sample_weight, n_features, wanted, labels, k, vocabulary, gaps, noise)
        if vocabulary == () and has_text(form.vocabulary):
            form = form._replace(vocabulary=_learned(reader, sample_weight, wanted, gaps))
            first, begun = [], reader.chunks()
        begun = chain(first, begun)
        return ChunkSource(reader, form, sample_weight, n_threads, begun, cache_dir, labels, noise)
    X = columns_of_model(X, feature_names, "X")
    check = partial(check_X, X, n_features=n_features, empty=empty, gaps=gaps)
    array = check(vocabulary=vocabulary)
    weights = check_sample_weight(sample_weight, len(array))
    if vocabulary == ():
        vocabulary = vocabulary_of(X, "X", weights, gaps)
        if weights is not None and has_text(vocabulary):
            array = check(vocabulary=vocabulary, weight=weights)
    known = None if labels is None else check_labels(labels, len(array), k)
    names = names or column_names(X)
    rows = Rows("X", 0, array, weights, known, names=names)
    if noise is not None:
        own = check_noise(noise, len(array), array.shape[1], rows=rows if missing else None)
        rows = rows._replace(noise=noise_of_rows(own, 0, len(array)))
    return ArraySource(rows, n_threads, names, vocabulary, gaps, largest or largest_integer(X))


def _of_csv(
    path: Any,
    about: About,
    columns: tuple[str, ...] | None,
    feature_names: tuple[str, ...] | None,
    vocabulary: Vocabulary | None,
    gaps: Gaps,
) -> tuple[Any, tuple[str, ...] | None, About, int]:
    """Return the rows of a file, the names of their columns, columns in place of their names, and integers.

    The last is the size of the largest of these, if float64 may not hold it.
    """
    found = read_csv(path, columns, about.names, feature_names, vocabulary, gaps, about.named[1])
    return found.X, found.names, about.with_columns(found.others), found.largest_integer


def _of_table(
    X: Any, about: About, columns: tuple[str, ...] | None
) -> tuple[Any, About, tuple[str, ...] | None]:
    """Return these with columns of a table in memory in place of their names."""
    parts = parted(X, columns, about.names) if about.names or columns is not None else None
    if parts is None:
        return X, about, columns
    rows, arrays, names = parts
    check_named_columns([*(columns or ()), *about.names], names)
    return rows, about.with_columns(arrays), None


def _learned(reader: Reader, sample_weight: Any, wanted: tuple[str, ...] | None, gaps: Gaps) -> Vocabulary:
    """Return the text in all chunks, in one pass."""
    found: Vocabulary = ()
    start = 0
    for where, rows, weight, _, _ in reader.chunks():
        if weight is None and sample_weight is not None:
            weight = np.asarray(sample_weight)[start : start + len(rows)]
        start += len(rows)
        found = merged_vocabulary(
            found,
            vocabulary_of(
                columns_of_model(rows, wanted, where),
                where,
                None if weight is None else np.asarray(weight),
                gaps,
            ),
        )
    return found


def _reader_of(
    X: Any,
    columns: tuple[str, ...] | None,
    about: About,
    feature_names: tuple[str, ...] | None,
    texts: bool,
) -> Reader | None:
    """Return a reader of X in chunks, or None if X is in memory."""
    if is_parquet(X):
        return ParquetReader(X, columns, about, texts, feature_names)
    reader = reader_of(X)
    if about.names or (columns is not None and reader is None):
        raise_no_columns(X)
    return reader


def _is_named(chunks: Sequence[RawChunk]) -> bool:
    return all(column_names(chunk.rows) is not None for chunk in chunks)
