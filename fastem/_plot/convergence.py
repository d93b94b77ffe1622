"""How the objective of a fit rose, and what is still to gain."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._plot.canvas import COLOURS, panel, text_colour
from fastem._report import FitReport
from fastem._typing import Array, FloatArray


def draw_convergence(report: FitReport, ax: Any) -> Any:
    """Draw the history of a report, the limit that the last gains foretell, and all gains in an inset."""
    ax = panel(ax)
    history = np.array(report.history)
    steps = np.arange(len(history))
    ax.plot(steps, history, c=COLOURS[0], lw=1.6, marker="o", ms=3.5, label="after each iteration")
    limit = limit_of(report.history)
    if limit is not None:
        style = {"c": COLOURS[6], "lw": 1.2, "ls": "--"}
        ax.axhline(limit, **style, label=f"foretold limit: {_number(limit - history[-1])} to gain")
    repaired = sorted({repair.iteration for repair in report.repairs if repair.iteration < len(history)})
    if repaired:
        style = {"c": COLOURS[2], "lw": 0, "marker": "X", "ms": 8, "label": "a component was repaired"}
        ax.plot(repaired, history[repaired], **style)
    same = np.isclose(report.objective, report.log_likelihood, rtol=1e-9)
    ax.set(xlabel="iteration", ylabel="log-likelihood" if same else "objective")
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    steps_taken = f"{report.n_iter} iteration{'s' * (report.n_iter != 1)}"
    ax.set_title(f"{report.status.name} after {steps_taken}: {report.log_likelihood:,.2f}")
    ax.legend(loc="lower right", fontsize="small")
    gains = np.diff(history)
    if (gains > 0).sum() >= 3:
        _add_gains(ax, steps[1:], gains)
    return ax


def _number(gain: float) -> str:
    return f"{gain:.2g}"


def _add_gains(ax: Any, steps: Array, gains: FloatArray) -> None:
    """Add the gain of each iteration in an inset. On a log scale, EM near its end is a straight line."""
    inset = ax.inset_axes([0.42, 0.34, 0.55, 0.4])
    up = gains > 0
    inset.plot(steps[up], gains[up], c=COLOURS[0], lw=1.0, marker=".", ms=4)
    inset.set_yscale("log")
    inset.set_title("gain of each iteration", fontsize="small", color=text_colour())
    inset.tick_params(labelsize="small")
    inset.xaxis.get_major_locator().set_params(integer=True)


def limit_of(history: Sequence[float]) -> float | None:
    """Return the limit that the last gains foretell, or None if they do not allow it.

    Near its end EM gains by a geometric series: each gain g is a times the one before. So g a / (1 - a) is
    still to come (Aitken; Boehning et al. 1994). That needs gains above 0 that fall.
    """
    if len(history) < 3:
        return None
    before, gain = history[-2] - history[-3], history[-1] - history[-2]
    if not 0 < gain < before:
        return None
    return history[-1] + gain * gain / (before - gain)
