"""One feature: the density with its components as curves, over a histogram of the rows."""

from typing import Any

import numpy as np

from fastem._plot.canvas import colour_of, text_colour
from fastem._plot.subject import Subject, rows_at
from fastem._typing import Array, FloatArray

_POINTS = 400
_MOST_BINS = 60
_MARGIN = 0.08  # beyond the outermost rows, as a part of their range
_DISCRETE_CURVE = 200  # whole numbers on an axis, at most


def add_histogram(ax: Any, x: Array, labels: Array | None, k: int, discrete: bool, density: bool) -> None:
    """Add a histogram of one feature. Without a density, each component has its part of each bar."""
    bins = bins_of(x, discrete)
    if density or labels is None:
        ax.hist(x, bins, density=True, color=text_colour(), alpha=0.15, lw=0, zorder=0)
        return
    parts = [x[labels == component] for component in range(k)]
    colours = [colour_of(component) for component in range(k)]
    ax.hist(parts, bins, color=colours, stacked=True, density=True, lw=0, alpha=0.8, zorder=0)


def bins_of(x: Array, discrete: bool) -> FloatArray:
    """Return the edges of about sqrt(n) bins, or of one for each whole number."""
    low, high = float(x.min()), float(x.max())
    if discrete and high - low < _DISCRETE_CURVE:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, min(_MOST_BINS, max(8, round(len(x) ** 0.5))) + 1)


def add_curves(ax: Any, one: Subject, low: float, high: float, whole: bool = True) -> None:
    """Add the density of a model of one feature, and each component times its weight."""
    at = points_between(one, low, high)
    total, parts = densities_at(one, at)
    style: dict[str, Any] = {"drawstyle": "steps-mid"} if one.discrete else {}
    step = "mid" if one.discrete else None
    for component, part in enumerate(parts.T):
        noise = component >= one.n_components
        colour = text_colour() if noise else colour_of(component)
        ax.fill_between(at, part, step=step, color=colour, alpha=0.2, lw=0, zorder=1)
        ax.plot(at, part, c=colour, lw=1.4, label="noise" if noise else f"{component}", **style, zorder=2)
    if whole and one.n_components > 1:
        ax.plot(at, total, c=text_colour(), lw=1.4, label="mixture", **style, zorder=3)


def densities_at(one: Subject, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the density of the mixture at points (m,), and its parts by component, (m, K)."""
    assert one.component_log_densities is not None
    assert one.weights is not None
    with np.errstate(over="ignore", under="ignore"):  # frames of a film are drawn later
        parts = np.exp(one.component_log_densities(rows_at(at[:, None]))) * one.weights
    parts[~np.isfinite(parts)] = np.nan  # at a pole of the density
    return parts.sum(axis=1), parts


def points_between(one: Subject, low: float, high: float) -> FloatArray:
    """Return where to evaluate the density of a model of one feature, for rows from low to high."""
    if one.discrete:
        step = max(1, int((high - low) // _DISCRETE_CURVE))
        return np.arange(np.floor(low), np.ceil(high) + 1, step)
    if one.matrices is None:  # other numbers than those of rows may be impossible
        return np.linspace(low, high, _POINTS)
    return np.linspace(*with_margin(low, high), _POINTS)


def with_margin(low: float, high: float) -> tuple[float, float]:
    margin = _MARGIN * (high - low) or 0.5
    return low - margin, high + margin


def add_rug(ax: Any, x: Array, labels: Array, k: int) -> None:
    """Add a mark below the axis of the density for each row, in the colour of its component."""
    low = ax.get_ylim()[1]
    for component in range(k):
        mine = x[labels == component]
        if len(mine):
            # Each component has a line of its own, so that no one hides another.
            height = -low * (0.03 + 0.02 * min(component, 8))
            ax.plot(mine, np.full(len(mine), height), "|", c=colour_of(component), ms=5, mew=0.8, alpha=0.7)
    ax.axhline(0, c=text_colour(), lw=0.6)
