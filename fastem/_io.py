"""Models in files and statistics in bytes. Both are one .npz of plain arrays with a format version."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastem._report import FitReport, FitStatus, KMeansReport, Repair
from fastem._typing import Array, FloatArray

# Format 1 holds Gaussian mixtures. Format 2 holds mixtures of any distribution.
FORMAT = 2
STATISTICS_FORMAT = 2
_PREFIX = "parameters/"
STATE = "state/"  # what the family has learned beside its parameters


class StoredMixture(NamedTuple):
    """The content of a file. The model checks it."""

    weights: Array
    parameters: dict[str, Array]
    state: dict[str, Array]
    family: str
    n_features: int | None
    feature_names: Any
    report: Any  # a FitReport, a KMeansReport or None
    inertia: float | None = None  # of k-means
    missing: Any = "error"  # what becomes of NaN in rows


def write(
    path: str | os.PathLike[str],
    weights: FloatArray,
    parameters: dict[str, Array],
    state: dict[str, Array],
    options: dict[str, Any],
    report: FitReport | KMeansReport | None,
) -> None:
    """Write all members uncompressed. `header` is JSON with the format, `options` and the report."""
    header = {"format": FORMAT, "options": options, "report": _report_to_json(report)}
    arrays = named(_PREFIX, parameters) | named(STATE, state)
    with open(_path(path), "wb") as file:
        _write(file, header, {"weights": weights, **arrays})


def read(path: str | os.PathLike[str]) -> StoredMixture:
    """Return the members unchecked, as they are in the file."""
    with open(_path(path), "rb") as file:
        try:
            return _read(file)
        except Exception as error:  # a damaged or hostile file may make its readers raise anything
            reason = f"{os.fspath(path)!r} is not a readable fastem model: {error}."
            raise ValueError(reason) from None


def _path(path: Any) -> str | bytes:
    """Return the path of a file. `open` would also take the number of one that is open, as a terminal is."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            f"path must be that of a file; got {path!r}. Pass a string or a pathlib.Path. To keep a model in "
            "memory, pickle it."
        )
    return os.fspath(path)


def statistics_to_bytes(header: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    """Write `header`, which must be JSON, with the format added, and the arrays."""
    file = io.BytesIO()
    _write(file, {"statistics_format": STATISTICS_FORMAT, **header}, arrays)
    return file.getvalue()


def statistics_from_bytes(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays unchecked."""
    return _open(io.BytesIO(content), "statistics_format", STATISTICS_FORMAT)


def named(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays with this prefix before their names."""
    return {prefix + name: array for name, array in arrays.items()}


def unnamed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays whose names have this prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _write(file: BinaryIO, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)


def _read(file: BinaryIO) -> StoredMixture:
    header, arrays = _open(file, "format", FORMAT)
    options = header["options"]
    if header["format"] == 1:
        parameters = {name: arrays[name] for name in ("means", "covariances")}
    else:
        parameters = unnamed(_PREFIX, arrays)
    return StoredMixture(
        arrays["weights"],
        parameters,
        unnamed(STATE, arrays),
        options["family"] if "family" in options else options["covariance_type"],
        options.get("n_features"),
        options["feature_names"],
        _report_from_json(header["report"]),
        options.get("inertia"),
        options.get("missing", "error"),
    )


def _open(file: BinaryIO, version_name: str, newest: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays. It is an error if the format is newer than `newest`."""
    with zipfile.ZipFile(file) as archive:
        # save() never compresses, and a compressed member may be a decompression bomb.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("its members are compressed")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        header = json.loads(bytes(archive["header"]))
        version = header[version_name]
        if not isinstance(version, int) or version > newest:
            raise ValueError(
                f"it has format {version}, and this version of fastem reads up to {newest}; upgrade"
            )
        return header, {name: archive[name] for name in archive.files if name != "header"}


def _report_to_json(report: FitReport | KMeansReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {**vars(report), "status": report.status.name}


def _report_from_json(fields: dict[str, Any] | None) -> FitReport | KMeansReport | None:
    if fields is None:
        return None
    common: dict[str, Any] = {
        "status": FitStatus[fields["status"]],
        "converged": bool(fields["converged"]),
        "n_iter": int(fields["n_iter"]),
        "history": tuple(float(value) for value in fields["history"]),
        "repairs": tuple(Repair(int(i), int(k), str(what)) for i, k, what in fields["repairs"]),
        "elapsed": float(fields["elapsed"]),
    }
    if "log_likelihood" not in fields:
        return KMeansReport(**common)
    log_likelihood = float(fields["log_likelihood"])
    objective = float(fields.get("objective", log_likelihood))
    return FitReport(log_likelihood=log_likelihood, objective=objective, **common)
