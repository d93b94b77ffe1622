"""The criterion of each candidate of a selection, over the number of components."""

from typing import Any

import numpy as np

from fastem._criteria import CRITERIA
from fastem._plot.canvas import colour_of, marker_of, panel, text_colour

_TIMES_THE_MEDIAN, _MARGIN = 2.0, 0.15


def criterion(selection: Any, *, ax: Any = None) -> Any:
    """Draw the criterion of each candidate of a selection over k, a line for each covariance type.

    The chosen candidate has a ring and is named in the title. Degenerate candidates, which are never chosen,
    are hollow. Lines leave the picture where they are far worse than half of the candidates.

    Parameters
    ----------
    selection : Selection
        What `fastem.select` returns.
    ax : matplotlib Axes, optional
        Where to draw. By default, in a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        If `selection` is no selection, or if none of its candidates has the criterion.
    ImportError
        If matplotlib is missing (the extra ``plot``).
    """
    if not all(hasattr(selection, name) for name in ("criterion", "table")):
        raise TypeError(
            f"selection must be a Selection, as fastem.select returns; got {type(selection).__name__}."
        )
    field, name, _ = about = CRITERIA[selection.criterion]
    table = [row for row in selection.table if _finite(getattr(row, field))]
    if not table:
        raise ValueError(f"selection must have a candidate with the criterion {selection.criterion!r}.")
    ax = panel(ax)
    kinds = list(dict.fromkeys(row.covariance_type for row in table))
    for number, kind in enumerate(kinds):
        rows = sorted((row for row in table if row.covariance_type == kind), key=lambda row: row.k)
        colour, marker = colour_of(number), marker_of(number)
        label = kind if kind is not None else name
        ks, values = [row.k for row in rows], [getattr(row, field) for row in rows]
        ax.plot(ks, values, c=colour, marker=marker, ms=6, lw=1.4, mec=colour, label=label, zorder=2)
        hollow = [i for i, row in enumerate(rows) if row.degenerate]
        if hollow:
            style = {"mfc": ax.get_facecolor(), "mec": colour, "ms": 6, "zorder": 3}
            ax.plot([ks[i] for i in hollow], [values[i] for i in hollow], marker, **style)
    if any(row.degenerate for row in table):
        style = {"mfc": "none", "mec": text_colour(), "ms": 6}
        ax.plot([], [], "o", **style, label="degenerate, never chosen")
    chosen = _chosen(selection)
    if chosen is not None and _finite(getattr(chosen, field)):
        style = {"mfc": "none", "mec": text_colour(), "mew": 1.6, "ms": 12, "zorder": 4}
        ax.plot([chosen.k], [getattr(chosen, field)], "o", **style, label="chosen")
        kind = "" if chosen.covariance_type is None else f", {chosen.covariance_type}"
        ax.set_title(f"Chosen: k = {chosen.k}{kind}")
        _show_the_best(
            ax, getattr(chosen, field), [getattr(row, field) for row in table if not row.degenerate]
        )
    ax.set(xlabel="number of components k", ylabel=f"{name} ({about.better} is better)")
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.legend(fontsize="small")
    return ax


def _chosen(selection: Any) -> Any:
    """Return the candidate that is chosen, or None if none can be."""
    try:
        return selection.chosen
    except ValueError:
        return None


def _show_the_best(ax: Any, best: float, values: list[float]) -> None:
    """Let lines leave the picture where they are far worse than half of the candidates."""
    far = _TIMES_THE_MEDIAN * (float(np.median(values)) - best)
    if far == 0 or abs(far) >= max(abs(value - best) for value in values):
        return
    ends = sorted((best - _MARGIN * far, best + far))
    ax.set_ylim(*ends)


def _finite(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))
