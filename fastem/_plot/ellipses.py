"""The ellipses of components: lines of equal density, a given number of deviations from the centre."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._plot.canvas import MOST_IN_LEGEND, colour_of, panel, text_colour
from fastem._plot.subject import Subject, chosen_pair, name_of
from fastem._typing import FloatArray


def draw_ellipses(subject: Subject, features: Any, levels: Any, ax: Any) -> Any:
    """Draw the ellipses of all components in one panel."""
    pair = chosen_pair(features, subject.n_features, subject.feature_names)
    if not subject.has_ellipses(pair):
        raise TypeError(
            "model must have covariances or scales for ellipses; this one has none in these features. "
            "classification draws it without."
        )
    levels = checked_levels(levels)
    ax = panel(ax)
    add_ellipses(ax, subject, pair, levels)
    ax.autoscale_view()
    ax.set(xlabel=name_of(pair[0], subject.feature_names), ylabel=name_of(pair[1], subject.feature_names))
    return ax


def checked_levels(levels: Any) -> list[float]:
    try:
        numbers = np.atleast_1d(np.asarray(levels, np.float64))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.ndim != 1 or not numbers.size or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError(f"levels must be positive numbers of deviations; got {levels!r}. Pass (1, 2).")
    return sorted(numbers.tolist())


def add_ellipses(ax: Any, subject: Subject, pair: Sequence[int], levels: Sequence[float] = (1.0,)) -> None:
    """Add the ellipses of a pair of features, and a cross at each centre, with a number if they are many."""
    from matplotlib.patches import Ellipse

    assert subject.centres is not None
    assert subject.matrices is not None
    centres, matrices = subject.centres[:, pair], subject.matrices[:, pair][:, :, pair]
    for component, (centre, matrix) in enumerate(zip(centres, matrices, strict=True)):
        colour = colour_of(component)
        for level in levels:
            width, height, angle = axes_of(matrix, level)
            style = {"lw": 1.8 if level == levels[0] else 1.0, "label": f"{component}"}
            ax.add_patch(
                Ellipse(centre, width, height, angle=angle, fill=False, ec=colour, zorder=3, **style)
            )
        ax.plot(*centre, "+", c=text_colour(), ms=7, mew=1.2, zorder=3)
        if len(centres) > MOST_IN_LEGEND:
            style = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": "small", "zorder": 4}
            ax.annotate(f"{component}", centre, **style)


def axes_of(matrix: FloatArray, level: float) -> tuple[float, float, float]:
    """Return the axes of the ellipse x' matrix^-1 x = level^2, from end to end, and its angle in degrees."""
    squares, directions = np.linalg.eigh(matrix)
    short, long = 2 * level * np.sqrt(np.maximum(squares, 0.0))
    return float(long), float(short), float(np.degrees(np.arctan2(directions[1, 1], directions[0, 1])))
