"""Models on disk: one .npz of plain arrays, with a format version."""

import json
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from fastem._report import FitReport, FitStatus, Repair
from fastem._typing import Array, CovarianceType, FloatArray

FORMAT = 1
_ARRAYS = ("weights", "means", "covariances")


def write(
    path: str | os.PathLike[str],
    weights: FloatArray,
    means: FloatArray,
    covariances: FloatArray,
    covariance_type: CovarianceType,
    report: FitReport | None,
) -> None:
    """All members are stored uncompressed; `header` is JSON."""
    header = {"format": FORMAT, "covariance_type": covariance_type, "report": _report_to_json(report)}
    with open(path, "wb") as file:
        np.savez(
            file,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            weights=weights,
            means=means,
            covariances=covariances,
        )


def read(path: str | os.PathLike[str]) -> tuple[Array, Array, Array, Any, FitReport | None]:
    """The members as they are in the file, for the model to check."""
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            # save() never compresses: a compressed member may be a bomb.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its members are compressed")
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(bytes(archive["header"]))
            version = header["format"]
            if isinstance(version, int) and version > FORMAT:
                raise ValueError(
                    f"it has format {version}, and this version of fastem reads up to {FORMAT}; upgrade"
                )
            arrays = [archive[member] for member in _ARRAYS]
            return *arrays, header["covariance_type"], _report_from_json(header["report"])
    except FileNotFoundError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        OSError,
        MemoryError,
        NotImplementedError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{name!r} is not a readable fastem model: {error}.") from None


def _report_to_json(report: FitReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {**vars(report), "status": report.status.name}


def _report_from_json(fields: dict[str, Any] | None) -> FitReport | None:
    if fields is None:
        return None
    return FitReport(
        status=FitStatus[fields["status"]],
        converged=bool(fields["converged"]),
        n_iter=int(fields["n_iter"]),
        log_likelihood=float(fields["log_likelihood"]),
        history=tuple(float(value) for value in fields["history"]),
        repairs=tuple(Repair(int(i), int(k), str(what)) for i, k, what in fields["repairs"]),
        elapsed=float(fields["elapsed"]),
    )
