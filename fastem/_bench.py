"""``python -m fastem bench``: the time of one pass on this machine, beside its peers."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from fastem._fit import fit
from fastem._kernels._target import describe_target
from fastem._model import GaussianMixture
from fastem._peers import PEERS, Run
from fastem._typing import Array, CovarianceType

# A pass is the difference between two runs that differ by so many, so that start-up cancels.
_SHORT, _LONG = 2, 6


class Case(NamedTuple):
    """One row of the table."""

    covariance_type: CovarianceType
    d: int
    k: int
    n: int
    dtype: str = "float64"


CASES = (
    Case("full", 2, 3, 1_000_000),
    Case("full", 8, 16, 500_000),
    Case("full", 16, 16, 500_000),
    Case("full", 32, 32, 200_000),
    Case("full", 64, 16, 100_000),
    Case("full", 128, 16, 50_000),
    Case("full", 16, 16, 500_000, "float32"),
    Case("full", 32, 32, 200_000, "float32"),
    Case("diag", 16, 16, 500_000),
    Case("diag", 64, 32, 200_000),
    Case("tied", 16, 16, 500_000),
    Case("tied", 64, 16, 100_000),
    Case("spherical", 16, 16, 500_000),
)


@dataclass
class Timing:
    """Seconds of one pass, or why there are none."""

    minimum: float = float("nan")
    median: float = float("nan")
    failure: str | None = None


@dataclass
class Row:
    """A case, its timings by library, and the share of the machine's peak that fastem reached."""

    case: Case
    timings: dict[str, Timing] = field(default_factory=dict)
    peak_share: float | None = None

    def nanoseconds(self, name: str) -> float:
        """Of one point and component."""
        return 1e9 * self.timings[name].minimum / self.case.n / self.case.k


def run_bench(*, peers: bool, scale: float, repeat: int, output: Path | None) -> None:
    """Measure every case, print the table and, if asked, write it as JSON."""
    peaks = {dtype: _peak_flops(dtype) for dtype in ("float64", "float32")}
    print(f"{numba.get_num_threads()} threads; matrix product", end=" ")
    print(", ".join(f"{dtype} {peak:.0f} GFLOP/s" for dtype, peak in peaks.items()))
    print(f"one pass is an E-step and an M-step; minimum and [median] of {repeat} runs\n")
    names = ["fastem", *(PEERS if peers else ())]
    print(_line("case", "ms", "ns/pair", "peak", *(f"x {name}" for name in names[1:])))
    rows = []
    for case in CASES:
        row = measure(case, names, scale, repeat)
        if case.covariance_type == "full":
            row.peak_share = 2 * (case.d + 1) * (case.d + 2) / row.nanoseconds("fastem") / peaks[case.dtype]
        rows.append(row)
        print(_format(row), flush=True)
    if output is not None:
        output.write_text(json.dumps(_document(rows, peaks), indent=1) + "\n")
        print(f"\nwritten to {output}")


def measure(case: Case, names: list[str], scale: float, repeat: int) -> Row:
    """Time all libraries in turn, so that a machine that drifts drifts for all."""
    case = case._replace(n=max(int(case.n * scale), 10 * case.k))
    X, start = problem(case)
    row = Row(case)
    runs: dict[str, Run] = {}
    seconds: dict[str, list[float]] = {name: [] for name in names}

    def attempt(name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            runs.pop(name, None)
            row.timings[name] = Timing(failure=f"{type(error).__name__}: {str(error).splitlines()[0]}")

    def prepare(name: str) -> None:
        runs[name] = _fastem(X, start) if name == "fastem" else PEERS[name](X, start)
        runs[name](1)

    def measure_once(name: str) -> None:
        run = runs[name]
        seconds[name].append((_time(run, _LONG) - _time(run, _SHORT)) / (_LONG - _SHORT))

    for name in names:
        attempt(name, partial(prepare, name))
    for _ in range(repeat):
        for name in list(runs):
            attempt(name, partial(measure_once, name))
    for name in runs:
        row.timings[name] = Timing(float(np.min(seconds[name])), float(np.median(seconds[name])))
    row.timings = {name: row.timings[name] for name in names}
    return row


def problem(case: Case) -> tuple[Array, GaussianMixture]:
    """Points of k random clusters, and a start that every library takes: k points, one variance."""
    rng = np.random.default_rng(0)
    k, d = case.k, case.d
    centres = 4 * rng.normal(size=(k, d))
    X = centres[rng.integers(k, size=case.n)]
    X += rng.normal(size=X.shape) @ (rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d))
    variance = 16.0
    covariances: Array = {
        "full": np.tile(variance * np.eye(d), (k, 1, 1)),
        "tied": variance * np.eye(d),
        "diag": np.full((k, d), variance),
        "spherical": np.full(k, variance),
    }[case.covariance_type]
    start = GaussianMixture(np.full(k, 1 / k), X[:k], covariances, case.covariance_type)
    return X.astype(case.dtype), start


def _fastem(X: Array, start: GaussianMixture) -> Run:
    options: dict[str, Any] = {"covariance_type": start.covariance_type, "init": start, "reg_covar": 1e-6}
    return lambda passes: fit(X, start.n_components, tol=0, max_iter=passes, **options)


def _time(action: Callable[[int], Any], passes: int) -> float:
    began = time.perf_counter()
    action(passes)
    return time.perf_counter() - began


def _peak_flops(dtype: str) -> float:
    """GFLOP/s of a matrix product: what this machine's multiply-add units reach in practice."""
    size = 2048
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    best = min(_time(lambda _: a @ a, 1) for _ in range(6))
    return 2e-9 * size**3 / best


def _format(row: Row) -> str:
    case, own = row.case, row.timings["fastem"]
    name = f"{case.covariance_type} d={case.d} k={case.k} n={case.n:.0e} {case.dtype}"
    if own.failure:
        return f"{name}: {own.failure}"
    share = f"{100 * row.peak_share:.0f} %" if row.peak_share else ""
    ratios = []
    for peer, timing in row.timings.items():
        if peer != "fastem":
            ratios.append("-" if timing.failure else f"{timing.minimum / own.minimum:.1f}")
    milliseconds = f"{1e3 * own.minimum:.2f} [{1e3 * own.median:.2f}]"
    failures = [f"\n    {peer}: {t.failure}" for peer, t in row.timings.items() if t.failure]
    return _line(name, milliseconds, f"{row.nanoseconds('fastem'):.2f}", share, *ratios) + "".join(failures)


def _line(case: str, *cells: str) -> str:
    return f"{case:<42}" + "".join(f"{cell:>16}" for cell in cells)


def _document(rows: list[Row], peaks: dict[str, float]) -> dict[str, Any]:
    return {
        "machine": {"system": platform.platform(), "numpy": np.__version__, **describe_target()},
        "peak_gflops": peaks,
        "rows": [
            {
                **row.case._asdict(),
                "peak_share": row.peak_share,
                "seconds_per_pass": {name: asdict(timing) for name, timing in row.timings.items()},
            }
            for row in rows
        ],
    }
