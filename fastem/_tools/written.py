"""Files of rows that commands write, chunk by chunk: .csv, .npy and .parquet."""

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fastem._tools.files import DataFile

# Some rows, by columns.
Columns = dict[str, Any]

_GROUP_ROWS = 1 << 18  # at least so many rows of a row group, unless the file has fewer


def check_rows_output(output: Path, read: Path, keep: bool) -> None:
    """Raise an error before the work is done if rows cannot be written to this file."""
    suffix = output.suffix
    if suffix not in (".csv", ".npy", ".parquet"):
        raise ValueError(f"--output must end in .csv, .npy or .parquet; got {str(output)!r}.")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ImportError("To write .parquet needs pyarrow: pip install pyarrow.")
    allowed = {".csv": (".csv",), ".npy": ()}.get(read.suffix, (".csv", ".parquet"))
    if keep and suffix not in allowed:
        raise ValueError(
            "--keep copies columns from a .csv to a .csv, and from Parquet to .parquet or .csv; "
            f"got {str(read)!r} and {str(output)!r}."
        )


def write_rows(
    chunks: Iterator[Columns], output: Path, n: int, kept: Callable[[int], Columns] | None, numbers: str
) -> int:
    """Write all chunks, and return how many rows there are. The file appears once it is complete.

    `kept` takes the number of rows of each chunk, and returns the columns that stand before the others. A
    .npy holds the columns whose names begin with `numbers`: one as (n,), several as (n, their number).
    """
    partial = output.with_name(f"{output.name}.partial")
    written = 0
    try:
        with closing(_writer(output.suffix, partial, n, numbers)) as writer:
            for columns in chunks:
                rows = len(next(iter(columns.values())))
                before = {} if kept is None else kept(rows)
                for name in columns:
                    if name in before:
                        raise ValueError(
                            f"FILE must not have a column {name!r} with --keep, since OUT gets one of this "
                            "name. Rename it, or leave out --keep."
                        )
                writer.write(before | columns)
                written += rows
            writer.finish()
        if written == 0:
            raise ValueError("FILE must have at least one row.")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return written


def kept_columns(path: Path, data: DataFile) -> Callable[[int], Columns]:
    """Return a function that reads the next so many rows of a file, with all its columns as they are."""
    if path.suffix != ".csv":
        return _ParquetRows(path)
    return _csv_rows(path, data.names is not None)


def _csv_rows(path: Path, has_names: bool) -> Callable[[int], Columns]:
    def lines() -> Iterator[list[str]]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from filter(None, csv.reader(file))

    rows = lines()
    names = [name.strip() for name in next(rows)] if has_names else None
    start = 0

    def following(count: int) -> Columns:
        nonlocal start
        chosen = list(islice(rows, count))
        given = names or [f"column_{j}" for j in range(len(chosen[0]))]
        for row, values in enumerate(chosen, start):
            if len(values) != len(given):
                raise ValueError(
                    f"{str(path)!r} must have {len(given)} columns in every row for --keep; row {row} has "
                    f"{len(values)}."
                )
        start += count
        return dict(zip(given, zip(*chosen, strict=True), strict=True))

    return following


class _ParquetRows:
    def __init__(self, path: Path) -> None:
        import pyarrow.dataset as ds

        dataset = ds.dataset(str(path), format="parquet")
        self._batches = (batch for part in dataset.get_fragments() for batch in part.to_batches())
        self._schema = dataset.schema
        self._held: Any = None

    def __call__(self, count: int) -> Columns:
        import pyarrow as pa

        held = self._schema.empty_table() if self._held is None else self._held
        parts = [held]
        have = len(held)
        while have < count:
            batch = next(self._batches)
            parts.append(pa.Table.from_batches([batch]).cast(self._schema))
            have += len(batch)
        table = pa.concat_tables(parts)
        self._held = table.slice(count)
        return {name: table.slice(0, count)[name] for name in self._schema.names}


class _Writer(ABC):
    @abstractmethod
    def write(self, columns: Columns) -> None: ...

    @abstractmethod
    def finish(self) -> None:
        """Write what is held, after the last chunk."""

    @abstractmethod
    def close(self) -> None: ...


def _writer(suffix: str, path: Path, n: int, numbers: str) -> _Writer:
    if suffix == ".csv":
        return _CsvWriter(path)
    return _ParquetWriter(path) if suffix == ".parquet" else _NpyWriter(path, n, numbers)


class _CsvWriter(_Writer):
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._begun = False

    def write(self, columns: Columns) -> None:
        if not self._begun:
            self._writer.writerow(columns)
            self._begun = True
        self._writer.writerows(zip(*map(_texts, columns.values()), strict=True))

    def finish(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


def _texts(column: Any) -> Any:
    """Return values that `csv` writes: numbers with all their digits, 1 and 0 for true and false."""
    if not isinstance(column, np.ndarray):
        return column.to_pylist() if hasattr(column, "to_pylist") else column
    if column.dtype == np.float32:
        return [format(value, ".9g") for value in column.tolist()]
    return (column.astype(np.int64) if column.dtype == bool else column).tolist()


class _NpyWriter(_Writer):
    def __init__(self, path: Path, n: int, numbers: str) -> None:
        self._path, self._n, self._numbers = path, n, numbers
        self._out: Any = None
        self._start = 0

    def write(self, columns: Columns) -> None:
        wanted = [column for name, column in columns.items() if name.startswith(self._numbers)]
        rows = wanted[0] if len(wanted) == 1 else np.stack(wanted, axis=1)
        if self._out is None:
            shape = (self._n, *rows.shape[1:])
            self._out = np.lib.format.open_memmap(self._path, mode="w+", dtype=rows.dtype, shape=shape)
        self._out[self._start : self._start + len(rows)] = rows
        self._start += len(rows)

    def finish(self) -> None:
        if self._out is not None:
            self._out.flush()

    def close(self) -> None:
        pass


class _ParquetWriter(_Writer):
    """Small chunks become one row group."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._held: list[Any] = []

    def write(self, columns: Columns) -> None:
        import pyarrow as pa

        self._held.append(pa.table(columns))
        if sum(map(len, self._held)) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables(self._held)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._held = []

    def finish(self) -> None:
        if self._held:
            self._flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
