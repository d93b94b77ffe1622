"""Rows by component: one panel for two features, a grid of pairs for more, curves for one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastem._plot.canvas import (
    MOST_IN_LEGEND,
    area_of_points,
    colour_of,
    grid,
    handles_of,
    label_grid,
    label_texts,
    marker_of,
    opacity_of_points,
    panel,
    text_colour,
    titled,
)
from fastem._plot.curves import add_curves, add_histogram, add_rug, points_between
from fastem._plot.ellipses import add_ellipses
from fastem._plot.subject import (
    Drawn,
    Subject,
    chosen_features,
    drawn_rows,
    name_of,
    plain,
    rows_at,
    which_features,
)
from fastem._typing import Array, FloatArray

_SURE_AREA, _UNSURE_AREA = 7.0, 80.0  # of a row, in square points
_SURE_OPACITY, _UNSURE_OPACITY = 0.3, 0.95
_IN_GRID = 0.6  # how much smaller points are in a grid

# (axes, first column, second column, factor of the area of points)
DrawPair = Callable[[Any, int, int, float], None]


def draw_classification(
    subject: Subject, X: Any, features: Any, max_points: Any, rng: Any, ax: Any, fig: Any
) -> Any:
    """Draw rows in the colour of their component, with the ellipses of the components if there are any."""
    drawn = drawn_rows(X, subject, max_points, rng)
    columns = chosen_features(features, subject.n_features, drawn.names)
    labels = subject.labels(drawn.rows)

    def pair(ax: Any, i: int, j: int, factor: float) -> None:
        area = factor * area_of_points(len(labels))
        for component in range(subject.n_components):
            mine = drawn.X[labels == component]
            style = {"marker": marker_of(component), "c": colour_of(component), "lw": 0}
            opacity = opacity_of_points(len(labels))
            ax.scatter(mine[:, i], mine[:, j], s=area, alpha=opacity, label=f"{component}", **style)
        noise = drawn.X[labels < 0]
        if len(noise):
            ax.scatter(noise[:, i], noise[:, j], s=area, marker="x", c=text_colour(), lw=0.8, label="noise")
        if subject.has_ellipses([i, j]):
            add_ellipses(ax, subject, [i, j])
        elif subject.centres is not None:
            add_centres(ax, subject.centres[:, [i, j]])

    if len(columns) == 1:
        return _one(subject, drawn, columns[0], labels, "Classification", ax, fig)
    return _pairs(subject, drawn, columns, labels, "Classification", pair, ax, fig)


def draw_uncertainty(
    subject: Subject, X: Any, features: Any, max_points: Any, rng: Any, ax: Any, fig: Any
) -> Any:
    """Draw rows the larger and darker the less sure it is which component they belong to."""
    if subject.responsibilities is None:
        raise TypeError("model must have responsibilities (predict_proba) for uncertainty. Pass a mixture.")
    drawn = drawn_rows(X, subject, max_points, rng)
    columns = chosen_features(features, subject.n_features, drawn.names)
    responsibilities = subject.responsibilities(drawn.rows)
    labels, unsure = responsibilities.argmax(axis=1), uncertainty_of(responsibilities)
    title = "Uncertainty: 1 - largest responsibility"
    if len(columns) == 1:
        return _one_unsure(subject, drawn, columns[0], labels, unsure, title, ax, fig)
    share = shares_of(unsure, subject.n_components)
    order = np.argsort(unsure, kind="stable")  # the least sure on top

    def pair(ax: Any, i: int, j: int, factor: float) -> None:
        for component in range(subject.n_components):
            mine = order[labels[order] == component]
            if not len(mine):  # matplotlib takes no array of opacities that is empty
                continue
            style = {"marker": marker_of(component), "c": colour_of(component), "lw": 0}
            area = factor * (_SURE_AREA + (_UNSURE_AREA - _SURE_AREA) * share[mine])
            opacity = _SURE_OPACITY + (_UNSURE_OPACITY - _SURE_OPACITY) * share[mine]
            X = drawn.X[mine]
            ax.scatter(X[:, i], X[:, j], s=area, alpha=opacity, label=f"{component}", **style)
        if subject.has_ellipses([i, j]):
            add_ellipses(ax, subject, [i, j])

    return _pairs(subject, drawn, columns, labels, title, pair, ax, fig)


def uncertainty_of(responsibilities: Array) -> FloatArray:
    """Return 1 - the largest responsibility of each row, (m,)."""
    return np.asarray(np.maximum(0.0, 1.0 - responsibilities.max(axis=1).astype(np.float64)))


def shares_of(unsure: FloatArray, k: int) -> FloatArray:
    """Return how unsure rows are, from 0 to 1, where all components are equally likely.

    It is a root, so that the few rows that are a little unsure can be told from those that are sure.
    """
    return np.asarray(np.sqrt(unsure / (1 - 1 / k)) if k > 1 else unsure)


def texts_of(subject: Subject, column: int) -> list[str] | None:
    """Return the texts that the numbers of a column stand for, or None if it has numbers."""
    words = None if not subject.vocabulary else subject.vocabulary[column]
    return None if words is None else [plain(str(word)) for word in words]


def add_centres(ax: Any, centres: FloatArray) -> None:
    for component, centre in enumerate(centres):
        if np.isfinite(centre).all():
            style = {"mec": text_colour(), "mfc": colour_of(component), "mew": 1.2, "ms": 9, "zorder": 4}
            ax.plot(*centre, marker_of(component), **style)


def _pairs(
    subject: Subject,
    drawn: Drawn,
    columns: Sequence[int],
    labels: Array,
    title: str,
    pair: DrawPair,
    ax: Any,
    fig: Any,
) -> Any:
    """Draw one panel for two features, and a grid with a density of each feature for more."""
    names = [name_of(column, drawn.names) for column in columns]
    which = which_features(columns, subject.n_features)
    if len(columns) == 2:
        ax = panel(ax, fig)
        pair(ax, columns[0], columns[1], 1.0)
        ax.set(xlabel=names[0], ylabel=names[1])
        label_texts(ax, [texts_of(subject, column) for column in columns])
        ax.set_title(titled(title, which, drawn.note))
        add_legend(ax, subject)
        return ax
    axes = grid(ax, fig, len(columns))
    for i, row in enumerate(columns):
        for j, column in enumerate(columns[:i]):
            pair(axes[i, j], column, row, _IN_GRID)
        _diagonal(axes[i, i], subject, drawn.X[:, row], labels, row)
    label_grid(axes, names)
    for i, column in enumerate(columns):
        texts = texts_of(subject, column)
        label_texts(axes[-1, i], [texts, None])
        label_texts(axes[i, 0], [None, texts if i else None])
    figure = axes[0, 0].figure
    figure.suptitle(titled(title, which, drawn.note))
    add_legend(figure, subject)
    return axes


def _diagonal(ax: Any, subject: Subject, x: Array, labels: Array, column: int) -> None:
    one = subject.over([column])
    known = one is not None and one.component_log_densities is not None
    discrete = one is not None and one.discrete
    add_histogram(ax, x, labels, subject.n_components, discrete, known)
    if one is not None and known:
        add_curves(ax, one, float(x.min()), float(x.max()), whole=False)
    ax.set_yticks([])


def add_legend(where: Any, subject: Subject) -> None:
    """Add a legend of the components to an axes or a figure, if they are few enough for one."""
    if 1 < subject.n_components <= MOST_IN_LEGEND:
        place = {} if hasattr(where, "plot") else {"loc": "upper right"}
        small = {"fontsize": "small", "title_fontsize": "small"}
        where.legend(handles=handles_of(subject.n_components), title="component", **small, **place)


def _one(subject: Subject, drawn: Drawn, column: int, labels: Array, title: str, ax: Any, fig: Any) -> Any:
    """Draw the density of one feature, with its components, and a mark for each row."""
    ax = panel(ax, fig)
    x = drawn.X[:, column]
    one = subject.over([column])
    known = one is not None and one.component_log_densities is not None
    discrete = one is not None and one.discrete
    add_histogram(ax, x, labels, subject.n_components, discrete, known)
    if one is not None and known:
        add_curves(ax, one, float(x.min()), float(x.max()))
        ax.legend(title="component", fontsize="small", title_fontsize="small")
    add_rug(ax, x, labels, subject.n_components)
    ax.set(xlabel=name_of(column, drawn.names), ylabel="probability" if discrete else "density")
    ax.set_title(titled(title, which_features([column], subject.n_features), drawn.note))
    return ax


def _one_unsure(
    subject: Subject,
    drawn: Drawn,
    column: int,
    labels: Array,
    unsure: FloatArray,
    title: str,
    ax: Any,
    fig: Any,
) -> Any:
    """Draw the uncertainty of each row over one feature."""
    ax = panel(ax, fig)
    x = drawn.X[:, column]
    one = subject.over([column])
    if one is not None and subject.n_features == 1:
        at = points_between(one, float(x.min()), float(x.max()))
        assert one.responsibilities is not None
        curve = uncertainty_of(one.responsibilities(rows_at(at[:, None])))
        ax.plot(at, curve, c=text_colour(), lw=1.0, alpha=0.6, zorder=1)
    area = area_of_points(len(x))
    for component in range(subject.n_components):
        mine = labels == component
        style = {"marker": marker_of(component), "c": colour_of(component), "lw": 0, "alpha": 0.7}
        ax.scatter(x[mine], unsure[mine], s=area, label=f"{component}", **style)
    ax.set(xlabel=name_of(column, drawn.names), ylabel="uncertainty")
    ax.set_title(titled(title, which_features([column], subject.n_features), drawn.note))
    add_legend(ax, subject)
    return ax
