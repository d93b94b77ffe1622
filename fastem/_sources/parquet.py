"""Parquet files, folders and datasets, read with pyarrow, which is an optional extra."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem._checks import in_words
from fastem._sources.about import About
from fastem._sources.checks import check_names_of_model
from fastem._sources.chunk_checks import check_named_columns
from fastem._sources.readers import Reader
from fastem._sources.tables import check_unique
from fastem._sources.texts import Columns
from fastem._typing import Array, RawChunk

# The size of a batch. It should stay in the cache of a core while its columns become rows.
_BATCH_BYTES = 1 << 20
# How much of a column chunk is read at a time. The whole column chunk may be a hundred times as large.
_BUFFER_BYTES = 1 << 18
# What reads other files into memory, or maps them, by the end of their names.
_OTHER_READERS = {
    ".npy": 'numpy.load(path, mmap_mode="r")',
    ".csv.gz": "pandas.read_csv(path)",
    ".tsv": r'pandas.read_csv(path, sep="\t")',
    ".txt": "numpy.loadtxt(path)",
    ".xlsx": "pandas.read_excel(path)",
    ".feather": "pandas.read_feather(path)",
}


def is_parquet(X: Any) -> bool:
    if isinstance(X, (str, os.PathLike)):
        return True
    dataset = sys.modules.get("pyarrow.dataset")
    return dataset is not None and isinstance(X, dataset.Dataset)


class ParquetReader(Reader):
    """Chunks of rows of the Parquet files of a dataset, in the order of the files.

    Neither the files nor their row groups need to fit in memory, since pages are decoded only when needed.
    """

    def __init__(
        self,
        X: Any,
        columns: Sequence[str] | None,
        about: About,
        texts: bool,
        feature_names: tuple[str, ...] | None = None,
    ) -> None:
        """If there are `feature_names` of a model, these are the columns."""
        dataset = _open(X)
        try:
            self._fragments = list(dataset.get_fragments())
        except ValueError as error:
            raise ValueError(
                f"X must be a dataset without a filter; {in_words(error)}. Write X to a file."
            ) from None
        if not self._fragments:
            raise ValueError(f"X must have at least one Parquet file; {X!r} has none.")
        _check_files(self._fragments)
        names = tuple(dataset.schema.names)
        if feature_names is not None:
            check_names_of_model(feature_names, names, "X")
        columns = feature_names or columns or [name for name in names if name not in about.names]
        if not columns:
            raise ValueError(
                f"X must have a column beside those of weights, labels and noise; it has only {list(names)}."
            )
        self.feature_names = tuple(columns)
        self._about = about
        wanted = [*columns, *about.names]
        check_named_columns(wanted, names)
        for name in wanted:
            _check_type(name, dataset.schema.field(name).type, texts and name in columns)
        self._types = {name: dataset.schema.field(name).type for name in wanted}
        for fragment in self._fragments:
            self._check_schema(fragment)
        self.n_samples = sum(group.num_rows for fragment in self._fragments for group in fragment.row_groups)
        # The first pass looks at how large they are.
        self._integers = [name for name in columns if str(self._types[name]) in ("int64", "uint64")]
        self._has_text = any(_is_text(self._types[name]) for name in columns)
        single = all(str(self._types[name]) == "float" for name in columns)
        self._dtype = np.dtype(np.float32 if single else np.float64)

    def chunks(self) -> Iterator[RawChunk]:
        import pyarrow.parquet as pq

        wanted, columns = list(self._types), self.feature_names or ()
        d = len(columns)
        size = max(1, _BATCH_BYTES // (d * self._dtype.itemsize))
        for fragment in self._fragments:
            start = 0
            with fragment.open() as opened:
                # With pre_buffer, pyarrow would hold whole row groups.
                file = pq.ParquetFile(opened, pre_buffer=False, buffer_size=_BUFFER_BYTES)
                groups = [group.id for group in fragment.row_groups]  # a dataset may use only some of them
                batches = file.iter_batches(size, row_groups=groups, columns=wanted, use_threads=False)
                for batch in batches:
                    yield self._chunk(f"the chunk of {fragment.path} at row {start}", batch)
                    start += len(batch)
        self._integers = []
        if self.n_samples == 0:
            import pyarrow as pa

            yield self._chunk("X", pa.RecordBatch.from_pylist([], pa.schema(list(self._types.items()))))

    def _chunk(self, where: str, batch: Any) -> RawChunk:
        found = self._about.with_columns(_numbers(batch.column(name)) for name in self._about.names)
        given = zip(self._about.named, found, strict=True)
        return RawChunk(where, self._rows(batch), *(array if names else None for names, array in given))

    def _rows(self, batch: Any) -> Array | Columns:
        names = self.feature_names or ()
        for name in self._integers:
            self.largest_integer = max(self.largest_integer, _largest(batch.column(name)))
        if not self._has_text:
            return np.array([_numbers(batch.column(name)) for name in names], self._dtype).T
        are_text = tuple(_is_text(self._types[name]) for name in names)
        arrays = (
            (_strings if text else _numbers)(batch.column(name))
            for name, text in zip(names, are_text, strict=True)
        )
        return Columns(tuple(arrays), are_text, names)

    def _check_schema(self, fragment: Any) -> None:
        schema = fragment.physical_schema
        for name, kind in self._types.items():
            index = schema.get_field_index(name)
            found = None if index < 0 else schema.field(index).type
            if found != kind:
                has = "does not have it" if found is None else f"has it as {found}"
                raise ValueError(
                    f"X must have the same columns in every file; {name!r} is {kind} in the first, and "
                    f"{fragment.path} {has}. Write the files with one schema, or choose other columns."
                )


def _open(X: Any) -> Any:
    path = os.fspath(X) if isinstance(X, (str, os.PathLike)) else "://"
    if "://" not in path and not os.path.exists(path):
        raise FileNotFoundError(f"X as a path must be that of a file or folder; there is no {path!r}.")
    try:
        import pyarrow.dataset as ds
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow.") from None
    if isinstance(X, ds.Dataset):
        dataset = X
    else:
        try:
            dataset = ds.dataset(path, format="parquet")
        except (pyarrow.ArrowInvalid, OSError) as error:
            if "duplicate field names" in str(error) and os.path.isfile(path):
                names = pyarrow.parquet.read_schema(path).names
                check_unique("X", names, names)
            if os.path.isdir(path):  # without a schema to find, no file is read
                _check_files(ds.dataset(path, pyarrow.schema([]), "parquet").get_fragments())
            raise ValueError(
                f"X as a path must be a .csv or Parquet file, or a folder of Parquet files; {path!r} is "
                f"none: {in_words(error)}. Read other files yourself{_how(path)}, and pass the rows."
            ) from None
    if not isinstance(getattr(dataset, "format", None), ds.ParquetFileFormat):
        raise ValueError("X must be a dataset of Parquet files. Pass a function that yields chunks instead.")
    return dataset


def _check_files(fragments: Iterable[Any]) -> None:
    """Raise an error that names the first file that is not a Parquet file."""
    for fragment in fragments:
        try:
            fragment.physical_schema  # noqa: B018
        except (ValueError, OSError) as error:
            raise ValueError(
                "X as a folder or dataset must have Parquet files alone, beside files whose names begin with "
                f". or _, which are left out; {fragment.path!r} cannot be read: {in_words(error)}. Move it "
                "elsewhere."
            ) from None


def _how(path: str) -> str:
    """Say what reads a file that is neither .csv nor Parquet, by the end of its name."""
    reader = next((how for ending, how in _OTHER_READERS.items() if path.lower().endswith(ending)), None)
    return "" if reader is None else f", by {reader}"


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _check_type(name: str, kind: Any, texts: bool) -> None:
    from pyarrow import types

    if texts and _is_text(kind):
        return
    numbers = types.is_floating, types.is_integer, types.is_boolean, types.is_decimal
    if not any(holds(kind) for holds in numbers):
        raise TypeError(
            f"X must hold real numbers; column {name!r} has type {kind}. Choose others with columns=[...]."
        )


def _largest(column: Any) -> int:
    """Return the size of the largest integer of a column, or 0 if it has none."""
    import pyarrow.compute as pc

    least, most = pc.min_max(column).as_py().values()
    return 0 if least is None else max(abs(least), abs(most))


def _strings(column: Any) -> Array:
    """Return the strings of a column, with None for missing values."""
    return np.asarray(column.cast("string").to_numpy(zero_copy_only=False), dtype=object)


def _numbers(column: Any) -> Array:
    """Return the numbers of a column, with NaN for missing values."""
    if str(column.type).startswith("decimal"):
        column = column.cast("string")  # since pyarrow rounds decimals to neighbours of the nearest double
    if str(column.type) not in ("float", "double", "halffloat"):
        column = column.cast("double", safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))
