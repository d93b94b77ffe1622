"""``python -m fastem bench``: the time of a pass and of scoring, compared with other libraries."""

import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastem._api.fit import fit
from fastem._api.gaussian import GaussianMixture
from fastem._kernels._target import describe_target
from fastem._kernels._threads import threads_allowed
from fastem._report import collected_warnings
from fastem._tools.cases import CASES, Case, problem
from fastem._tools.peers import PEERS, Peer, Run
from fastem._typing import Array

# How many times a short and a long run do the work. A time is the difference between the two runs, so that
# the time of start-up cancels.
_SHORT, _LONG = 2, 6
# Threads of BLAS spin for a tenth of a second after their work. We wait, so as not to slow the next library.
_SETTLE_SECONDS = 0.2


@dataclass
class Timing:
    """The time of one operation in seconds, or the reason why there is none."""

    minimum: float = float("nan")
    median: float = float("nan")
    failure: str | None = None

    def known(self) -> dict[str, Any]:
        """Return the fields that have values, since JSON has no NaN."""
        return {"failure": self.failure} if self.failure else {"minimum": self.minimum, "median": self.median}


@dataclass
class Row:
    """A case, its timings by library, and the share of the machine's peak that fastem reached."""

    case: Case
    timings: dict[str, Timing] = field(default_factory=dict)
    peak_share: float | None = None

    def nanoseconds(self, name: str) -> float:
        """Time per point and component."""
        return 1e9 * self.timings[name].minimum / self.case.n / self.case.k


def run_bench(*, peers: bool, scale: float, repeat: int, output: Path | None) -> None:
    """Measure every case, print a table in Markdown and, if asked, write it as JSON."""
    libraries = {"fastem": Peer(_fastem_em, lambda model: model), **(PEERS if peers else {})}
    peaks = {dtype: _peak_flops(dtype) for dtype in ("float64", "float32")}
    print(f"{threads_allowed()} threads; matrix product", end=" ")
    print(", ".join(f"{dtype} {peak:.0f} GFLOP/s" for dtype, peak in peaks.items()))
    print("One pass (an E-step and an M-step) over float64 rows of separate clusters unless said otherwise;")
    print(f"minimum and [median] of {repeat} runs, ns a point and component, share of the matrix product,")
    print("and how many times longer each peer takes.\n")
    print(_line("case", "ms", "ns/pair", "peak", *list(libraries)[1:]))
    print(_line(*["---"] * (3 + len(libraries))))
    rows = []
    for case in CASES:
        row = measure(case, libraries, scale, repeat)
        if case.covariance_type == "full" and case.operation == "pass":
            row.peak_share = 2 * (case.d + 1) * (case.d + 2) / row.nanoseconds("fastem") / peaks[case.dtype]
        rows.append(row)
        print(_line(*_cells(row)), flush=True)
    print("".join(f"\n{note}" for note in _notes(rows)))
    if output is not None:
        output.write_text(json.dumps(_document(rows, peaks), indent=1) + "\n")
        print(f"\nwritten to {output}")


def measure(case: Case, libraries: dict[str, Peer], scale: float, repeat: int) -> Row:
    """Time all libraries in turn, so that a change in the speed of the machine affects all."""
    case = case._replace(n=max(int(case.n * scale), 10 * case.k))
    X, start = problem(case)
    row = Row(case)
    runs: dict[str, Run] = {}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in libraries}

    def attempt(name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            runs.pop(name, None)
            row.timings[name] = Timing(failure=f"{type(error).__name__}: {str(error).splitlines()[0]}")

    def prepare(name: str) -> None:
        runs[name] = _run(libraries[name], case, X, start)
        runs[name](1)

    def measure_once(name: str) -> None:
        if len(libraries) > 1:
            time.sleep(_SETTLE_SECONDS)
        seconds[name].append((_time(runs[name], _SHORT), _time(runs[name], _LONG)))

    for name in libraries:
        attempt(name, partial(prepare, name))
    for _ in range(repeat):
        for name in list(runs):
            attempt(name, partial(measure_once, name))
    for name in runs:
        row.timings[name] = _timing(seconds[name])
    row.timings = {name: row.timings[name] for name in libraries}
    return row


def _timing(seconds: list[tuple[float, float]]) -> Timing:
    """Compute the time of one operation from pairs (short, long) of runs.

    It is the difference of the minima. The minimum of the differences would be too small if a short run was
    disturbed.
    """

    def per_operation(short: float, long: float) -> float:
        return float(long - short) / (_LONG - _SHORT)

    return Timing(per_operation(*np.min(seconds, axis=0)), per_operation(*np.median(seconds, axis=0)))


def _run(library: Peer, case: Case, X: Array, start: GaussianMixture) -> Run:
    if case.operation == "pass":
        return library.em(X, start)
    if library.scorer is None:
        raise NotImplementedError(f"has no {case.operation}")
    score = getattr(library.scorer(start), case.operation)

    def run(times: int) -> None:
        for _ in range(times):
            score(X)

    return run


def _fastem_em(X: Array, start: GaussianMixture) -> Run:
    options: dict[str, Any] = {"covariance_type": start.covariance_type, "init": start, "reg_covar": 1e-6}

    def run(passes: int) -> None:
        with collected_warnings():
            fit(X, start.n_components, tol=0, max_iter=passes, acceleration=None, **options)

    return run


def _time(action: Callable[[int], Any], times: int) -> float:
    began = time.perf_counter()
    action(times)
    return time.perf_counter() - began


def _peak_flops(dtype: str) -> float:
    """Measure the GFLOP/s of a matrix product, which this machine reaches in practice."""
    size = 2048
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    best = min(_time(lambda _: a @ a, 1) for _ in range(6))
    return 2e-9 * size**3 / best


def _cells(row: Row) -> Iterator[str]:
    own = row.timings["fastem"]
    yield row.case.name
    yield f"{1e3 * own.minimum:.2f} [{1e3 * own.median:.2f}]"
    yield f"{row.nanoseconds('fastem'):.2f}"
    yield f"{100 * row.peak_share:.0f} %" if row.peak_share else ""
    for name, timing in row.timings.items():
        if name != "fastem":
            yield "none" if timing.failure else f"{timing.minimum / own.minimum:.1f} x"


def _line(case: str, *cells: str) -> str:
    return f"| {case:<46} |" + "".join(f" {cell:>16} |" for cell in cells)


def _notes(rows: list[Row]) -> Iterator[str]:
    """Yield each reason why a cell has no number, once."""
    reasons = Counter(f"{name}: {t.failure}" for row in rows for name, t in row.timings.items() if t.failure)
    return (f"{reason} ({count} of {len(rows)} cases)" for reason, count in reasons.items())


def _document(rows: list[Row], peaks: dict[str, float]) -> dict[str, Any]:
    return {
        "machine": {"system": platform.platform(), "numpy": np.__version__, **describe_target()},
        "peak_gflops": peaks,
        "rows": [
            {
                **row.case._asdict(),
                "peak_share": row.peak_share,
                "seconds": {name: timing.known() for name, timing in row.timings.items()},
            }
            for row in rows
        ],
    }
