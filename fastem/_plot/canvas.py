"""Figures, axes, colours and titles. matplotlib is an optional extra, which is imported here when needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._typing import Array

# The ten colours of Petroff (2021, arXiv:2107.02270), which people with any colour vision can tell apart.
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
# Seven shapes, so that 70 components differ in colour or shape, and the first seven in shape alone.
MARKERS = "o^sDv*X"  # Agg draws nothing for a small "P"
MOST_IN_LEGEND = 12
_POINT_AREA = 4000.0  # of all points together, in square points
_LEAST_AREA, _MOST_AREA = 4.0, 22.0
_PANEL_INCHES, _SMALL_PANEL_INCHES = 2.0, 1.5


def colour_of(component: int) -> str:
    return COLOURS[component % len(COLOURS)]


def marker_of(component: int) -> str:
    return MARKERS[component % len(MARKERS)]


def rgb_of_components(k: int) -> Array:
    """Return the colours of k components as red, green and blue, (k, 3)."""
    numbers = [[int(colour_of(c)[i : i + 2], 16) for i in (1, 3, 5)] for c in range(k)]
    return np.array(numbers) / 255


def area_of_points(n: int) -> float:
    return float(np.clip(_POINT_AREA / max(n, 1), _LEAST_AREA, _MOST_AREA))


def opacity_of_points(n: int) -> float:
    return 0.8 if n <= 1000 else 0.5


def matplotlib_pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("fastem.plot needs matplotlib: pip install matplotlib.") from None
    return plt


def picture_formats() -> set[str]:
    """Return the endings of the files that matplotlib can write, without dots."""
    from matplotlib.backend_bases import FigureCanvasBase

    return set(FigureCanvasBase.get_supported_filetypes())


def text_colour() -> Any:
    """The colour of text, which is readable on a light and on a dark background."""
    return matplotlib_pyplot().rcParams["text.color"]


def panel(ax: Any, fig: Any = None, size: tuple[float, float] = (6.4, 4.4)) -> Any:
    """Return the Axes to draw in: the user's, one in the user's figure, or one in a new figure."""
    if ax is not None and fig is not None:
        raise ValueError("Pass ax or fig, not both.")
    matplotlib_pyplot()
    if ax is None:
        return _figure(fig, size).subplots()
    if not hasattr(ax, "scatter"):
        raise TypeError(f"ax must be a matplotlib Axes; got {type(ax).__name__}.")
    return ax


def grid(ax: Any, fig: Any, size: int) -> Any:
    """Return size x size Axes, of which those above the diagonal are hidden."""
    if ax is not None:
        raise ValueError(
            f"ax must be None for {size} features, which take a grid of panels. Pass fig=, a figure or a "
            "subfigure, or two features, such as features=(0, 1)."
        )
    inches = size * (_PANEL_INCHES if size < 5 else _SMALL_PANEL_INCHES)
    axes = _figure(fig, (inches, inches)).subplots(size, size, squeeze=False)
    for i, j in np.ndindex(size, size):
        if j > i:
            axes[i, j].set_visible(False)
        elif i > 0 and j < i and j > 0:
            axes[i, j].sharey(axes[i, 0])
        if j <= i < size - 1:
            axes[i, j].sharex(axes[size - 1, j])
    return axes


def _figure(fig: Any, size: tuple[float, float]) -> Any:
    """Return the user's figure, or a new one."""
    plt = matplotlib_pyplot()
    if fig is None:
        return plt.figure(figsize=size, layout="constrained")
    if not hasattr(fig, "subplots"):
        raise TypeError(f"fig must be a matplotlib Figure or SubFigure; got {type(fig).__name__}.")
    return fig


def label_grid(axes: Any, names: Sequence[str]) -> None:
    size = len(names)
    for i, j in np.ndindex(size, size):
        if j > i:
            continue
        ax = axes[i, j]
        if i == size - 1:
            ax.set_xlabel(names[j])
        else:
            ax.tick_params(labelbottom=False)
        if j == 0 and i > 0:
            ax.set_ylabel(names[i])
        elif i != j:
            ax.tick_params(labelleft=False)


def label_texts(ax: Any, texts: Sequence[Any]) -> None:
    """Write texts at the numbers from 0 of the first and of the second axis, where there are any."""
    for axis, words in zip((ax.xaxis, ax.yaxis), texts, strict=True):
        if words is not None:
            axis.set_ticks(np.arange(len(words)), [str(word) for word in words])


def handles_of(k: int) -> list[Any]:
    """Return what a legend of k components shows."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], c=colour_of(c), marker=marker_of(c), ls="", ms=6, mew=0, label=f"{c}")
        for c in range(k)
    ]


def titled(*parts: str) -> str:
    """Join what a title says, on lines that fit."""
    return "\n".join(filter(None, parts))
