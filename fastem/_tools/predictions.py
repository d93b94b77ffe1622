"""``python -m fastem predict``: the components of rows, written chunk by chunk."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastem._api.mixture import Mixture
from fastem._checks import row_ranges
from fastem._tools.files import DataFile
from fastem._typing import Array


def check_predictions(output: Path) -> None:
    if output.suffix not in (".csv", ".npy"):
        raise ValueError(f"--output must end in .csv or .npy; got {str(output)!r}.")


def write_predictions(model: Mixture, data: DataFile, output: Path, *, proba: bool) -> int:
    """Write the labels of all rows, or their responsibilities, and return how many rows there are.

    A .csv has the label and, with `proba`, all responsibilities of each row. A .npy has the labels (n,), or
    the responsibilities (n, k). The file appears once it is complete.
    """
    partial = output.with_name(f"{output.name}.partial")
    write = _write_csv if output.suffix == ".csv" else _write_npy
    try:
        n = write(model, data, partial, proba)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return n


def _write_csv(model: Mixture, data: DataFile, path: Path, proba: bool) -> int:
    header = ["label", *(f"component_{k}" for k in range(model.n_components if proba else 0))]
    n = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(header) + "\n")
        for scores in _chunks(model, data, proba):
            n += len(scores)
            for row in scores.tolist() if proba else ():
                largest = max(range(len(row)), key=row.__getitem__)
                file.write(f"{largest},{','.join(format(share, '.9g') for share in row)}\n")
            file.writelines(f"{label}\n" for label in (() if proba else scores.tolist()))
    return n


def _write_npy(model: Mixture, data: DataFile, path: Path, proba: bool) -> int:
    n = data.n_samples
    shape = (n, model.n_components) if proba else (n,)
    out, start = None, 0
    for scores in _chunks(model, data, proba):
        if out is None:
            out = np.lib.format.open_memmap(path, mode="w+", dtype=scores.dtype, shape=shape)
        out[start : start + len(scores)] = scores
        start += len(scores)
    if out is None:
        raise ValueError("FILE must have at least one row.")
    out.flush()
    return n


def _chunks(model: Mixture, data: DataFile, proba: bool) -> Iterator[Array]:
    score = model.predict_proba if proba else model.predict
    if isinstance(data.X, np.ndarray):
        for rows in row_ranges(len(data.X)):
            yield score(data.X[rows])
    else:
        yield from score(data.X)
