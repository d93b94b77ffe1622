"""A fit as a film: a frame for each iteration."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastem._plot.canvas import (
    area_of_points,
    colour_of,
    panel,
    rgb_of_components,
    text_colour,
    titled,
)
from fastem._plot.curves import add_histogram, densities_at, points_between
from fastem._plot.ellipses import axes_of
from fastem._plot.subject import Drawn, Subject, chosen_features, name_of
from fastem._typing import Array, FloatArray

_PAUSE = 2000  # milliseconds before the film begins again
_LEVELS = (1.0, 2.0)
_MARGIN = 0.12  # for ellipses that reach beyond the rows


class Scene(NamedTuple):
    """The parameters of one iteration."""

    iteration: int
    log_likelihood: float
    subject: Subject


def chosen_scenes(count: int, most: int) -> list[int]:
    """Return the numbers of the scenes to show: all, or fewer of the later ones, which change less."""
    if count <= most:
        return list(range(count))
    return sorted({round(place) for place in np.geomspace(1, count, most) - 1})


def film(scenes: Sequence[Scene], drawn: Drawn, features: Any, interval: float, ax: Any, fig: Any) -> Any:
    """Return the animation of these scenes. Nothing is drawn again but what changes."""
    from matplotlib.animation import FuncAnimation

    first = scenes[0].subject
    default = None if first.n_features > 1 else (0,)
    columns = chosen_features(default if features is None else features, first.n_features, drawn.names)[:2]
    ax = panel(ax, fig)
    ax.set_xlabel(name_of(columns[0], drawn.names))
    if len(columns) == 1:
        show = _curves(ax, scenes, drawn, columns[0])
    else:
        ax.set_ylabel(name_of(columns[1], drawn.names))
        show = _points(ax, first, drawn, columns)

    def update(number: int) -> Sequence[Any]:
        iteration, log_likelihood, subject = scenes[number]
        changed = show(subject)
        head = "start" if iteration == 0 else f"iteration {iteration}"
        ax.set_title(titled(f"{head}: log-likelihood {log_likelihood:,.2f}", drawn.note))
        return changed

    update(0)
    return FuncAnimation(
        ax.figure.figure,  # of a subfigure, the whole figure
        update,
        frames=len(scenes),
        interval=interval,
        repeat_delay=_PAUSE,
        blit=False,
        init_func=lambda: update(0),
    )


def colours_of(responsibilities: Array) -> FloatArray:
    """Return the colours of the components, mixed as rows belong to them, (m, 3)."""
    mixed = responsibilities @ rgb_of_components(responsibilities.shape[1])
    return np.asarray(np.clip(mixed, 0.0, 1.0), np.float64)


def _points(ax: Any, first: Subject, drawn: Drawn, pair: Sequence[int]) -> Callable[[Subject], list[Any]]:
    """Draw rows and ellipses. Return a function that shows another model in their places."""
    from matplotlib.patches import Ellipse

    X = drawn.X[:, pair]
    points = ax.scatter(*X.T, s=1.3 * area_of_points(len(X)), c=[colour_of(0)] * len(X), lw=0, alpha=0.8)
    ax.margins(_MARGIN)
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # the ellipses shall not change them
    ellipses: list[list[Any]] = []
    centres: list[Any] = []
    for component in range(first.n_components if first.has_ellipses(pair) else 0):
        styles = ({"fill": True, "alpha": 0.25, "lw": 0}, {"fill": False, "lw": 1.8})
        own = [Ellipse((0, 0), 1, 1, color=colour_of(component), **style, zorder=3) for style in styles]
        ellipses.append([ax.add_patch(ellipse) for ellipse in own])
        centres += ax.plot([], [], "o", c=colour_of(component), mec=text_colour(), ms=7, zorder=4)

    def show(subject: Subject) -> list[Any]:
        assert subject.responsibilities is not None
        points.set_facecolor(colours_of(subject.responsibilities(drawn.rows)))
        if ellipses:
            assert subject.centres is not None
            assert subject.matrices is not None
            means, matrices = subject.centres[:, pair], subject.matrices[:, pair][:, :, pair]
            for mean, matrix, own, centre in zip(means, matrices, ellipses, centres, strict=True):
                for ellipse, level in zip(own, _LEVELS, strict=True):
                    width, height, angle = axes_of(matrix, level)
                    ellipse.set(center=mean, width=width, height=height, angle=angle)
                centre.set_data(mean[:1], mean[1:])
        return [points, *(ellipse for own in ellipses for ellipse in own), *centres]

    return show


def _curves(ax: Any, scenes: Sequence[Scene], drawn: Drawn, column: int) -> Callable[[Subject], list[Any]]:
    """Draw a histogram and the curves of the density of one feature, in the same way."""
    x = drawn.X[:, column]
    first = scenes[0].subject.over([column])
    if first is None:
        raise TypeError("The model must know the density of this feature alone. Pass features=, two columns.")
    at = points_between(first, float(x.min()), float(x.max()))
    style: dict[str, Any] = {"drawstyle": "steps-mid"} if first.discrete else {}
    add_histogram(ax, x, None, first.n_components, first.discrete, True)
    lines = [ax.plot([], [], c=colour_of(c), lw=1.6, **style)[0] for c in range(first.n_components)]
    total = ax.plot([], [], c=text_colour(), lw=1.6, **style)[0]
    ones = [one for scene in scenes if (one := scene.subject.over([column])) is not None]
    top = max(float(np.nanmax(densities_at(one, at)[0])) for one in ones)
    ax.set(xlim=(at[0], at[-1]), ylim=(0, 1.05 * top), ylabel="density")

    def show(subject: Subject) -> list[Any]:
        one = subject.over([column])
        assert one is not None
        whole, parts = densities_at(one, at)
        total.set_data(at, whole)
        for line, part in zip(lines, parts.T, strict=True):
            line.set_data(at, part)
        return [*lines, total]

    return show
