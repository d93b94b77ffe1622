"""Contours of the density of two features, around given shares of the mass."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._plot.canvas import (
    COLOURS,
    area_of_points,
    grid,
    label_grid,
    panel,
    text_colour,
    titled,
)
from fastem._plot.curves import add_curves, add_histogram, with_margin
from fastem._plot.subject import Drawn, Subject, chosen_features, drawn_rows, name_of, rows_at, which_features
from fastem._sources.texts import as_numbers
from fastem._typing import Array, FloatArray

SHARES = (0.25, 0.5, 0.75, 0.95)
_MESH = 150  # points in each direction
_DRAWS = 20_000
_TAIL = 0.002  # of the draws, in each direction, that a picture without rows leaves out
_BEYOND = 0.25  # how far lines may reach beyond the rows, as a part of their range
_GREY_AREA = 0.5
_IN_GRID = 0.6


def draw_density(
    subject: Subject,
    X: Any,
    features: Any,
    shares: Any,
    max_points: Any,
    rng: Any,
    ax: Any,
    fig: Any,
) -> Any:
    if subject.log_densities is None:
        raise TypeError("model must have a density (score_samples). Pass a mixture.")
    shares = _checked_shares(shares)
    drawn = None if X is None else drawn_rows(X, subject, max_points, rng)
    names = subject.feature_names if drawn is None else drawn.names
    columns = chosen_features(features, subject.n_features, names)
    if len(columns) > 1:
        _check_no_categories(subject, columns, names)
    draws = _draws_of(subject)
    box = _box(drawn, draws)
    labels = [name_of(column, names) for column in columns]
    note = "" if drawn is None else drawn.note
    which = which_features(columns, subject.n_features)
    if len(columns) == 1:
        ax = panel(ax, fig)
        _curve(ax, subject, drawn, columns[0], box, True)
        _one_legend(ax)
        discrete = getattr(subject.over(columns), "discrete", False)
        ax.set(xlabel=labels[0], ylabel="probability" if discrete else "density")
        ax.set_title(titled("Density", which, note))
        return ax
    enclose = f"lines enclose {_percentages(shares)} of the mass"
    if len(columns) == 2:
        ax = panel(ax, fig)
        _contours(ax, subject, drawn, draws, columns, box, shares, 1.0)
        ax.set(xlabel=labels[0], ylabel=labels[1])
        ax.set_title(titled("Density: " + enclose, which, note))
        return ax
    axes = grid(ax, fig, len(columns))
    for i, row in enumerate(columns):
        for j, column in enumerate(columns[:i]):
            _contours(axes[i, j], subject, drawn, draws, [column, row], box, shares, _IN_GRID)
        _curve(axes[i, i], subject, drawn, row, box, False)
        axes[i, i].set_yticks([])
    label_grid(axes, labels)
    axes[0, 0].figure.suptitle(titled("Density: " + enclose, which, note))
    return axes


def _one_legend(ax: Any) -> None:
    if len(ax.lines) > 1:
        ax.legend(title="component", fontsize="small", title_fontsize="small")


def _percentages(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:g}" for share in shares) + " %"


def _checked_shares(shares: Any) -> list[float]:
    try:
        numbers = np.unique(np.asarray(shares, np.float64))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not numbers.size or not ((numbers > 0) & (numbers < 1)).all():
        raise ValueError(f"shares must be numbers between 0 and 1, such as (0.5, 0.95); got {shares!r}.")
    return [float(number) for number in numbers]


def _check_no_categories(subject: Subject, columns: Sequence[int], names: Sequence[str] | None) -> None:
    """Raise an error if a feature has categories, between which no line can pass."""
    for column in columns:
        values = None if subject.categories is None else subject.categories[column]
        if values is not None:
            called = column if names is None else repr(names[column])
            raise TypeError(
                f"features must be columns of numbers for lines of equal density; column {called} holds "
                f"categories, such as {values.tolist()[0]!r}. Choose others with features=[...], or this one "
                "alone, or use classification."
            )


def _draws_of(subject: Subject) -> FloatArray | None:
    """Draw rows from the model, with texts as their ranks. None if it cannot or if they are no numbers."""
    if subject.sample is None:
        return None
    try:
        draws = subject.sample(_DRAWS, 0)
        if subject.vocabulary is not None:
            draws = as_numbers(draws, "the draws of the picture", subject.vocabulary, None)
        return np.asarray(draws, np.float64)
    except (NotImplementedError, ValueError, TypeError):
        return None


def _box(drawn: Drawn | None, draws: FloatArray | None) -> FloatArray:
    """Return the least and the largest value of each feature that the picture shows, (2, d)."""
    if drawn is None and draws is None:
        raise ValueError("X must be given for this model, which draws no rows of its own.")
    wide = None if draws is None else np.quantile(draws, [_TAIL, 1 - _TAIL], axis=0)
    if drawn is None:
        return np.asarray(wide)
    low, high = drawn.X.min(axis=0).astype(np.float64), drawn.X.max(axis=0).astype(np.float64)
    if wide is None:
        return np.array([low, high])
    beyond = _BEYOND * (high - low)
    return np.array([np.clip(wide[0], low - beyond, low), np.clip(wide[1], high, high + beyond)])


def _curve(ax: Any, subject: Subject, drawn: Drawn | None, column: int, box: FloatArray, whole: bool) -> None:
    one = subject.over([column])
    if drawn is not None:
        discrete = one is not None and one.discrete
        add_histogram(ax, drawn.X[:, column], None, subject.n_components, discrete, True)
    if one is not None:
        add_curves(ax, one, float(box[0, column]), float(box[1, column]), whole)


def _contours(
    ax: Any,
    subject: Subject,
    drawn: Drawn | None,
    draws: FloatArray | None,
    pair: Sequence[int],
    box: FloatArray,
    shares: Sequence[float],
    factor: float,
) -> None:
    """Add the lines of equal density that enclose these shares of the mass."""
    two = subject.over(pair)
    if two is None or two.log_densities is None:
        raise TypeError(
            f"model must have a density of features {list(pair)} alone for this picture; this one does not "
            "know it. Leave such features out by features=, or use classification."
        )
    if drawn is not None:
        area = factor * _GREY_AREA * area_of_points(len(drawn.X))
        points = drawn.X[:, pair]
        ax.scatter(*points.T, s=area, c=[text_colour()], alpha=0.3, lw=0, zorder=1)
    x, y = (_ticks(subject.over([column]) or two, *box[:, column]) for column in pair)
    mesh = np.stack(np.meshgrid(x, y), axis=-1)
    logs = two.log_densities(rows_at(mesh.reshape(-1, 2))).reshape(mesh.shape[:2])
    sampled = drawn.X if draws is None else draws  # type: ignore[union-attr]
    levels = levels_of(two.log_densities(rows_at(sampled[:, pair])), shares)
    widths = np.linspace(0.8, 1.8, len(levels))
    finite = np.where(np.isfinite(logs), logs, min(-1e4, float(levels[0]) - 1.0))
    ax.contourf(x, y, finite, levels=[*levels, np.inf], colors=[COLOURS[0]] * len(levels),
                alpha=0.15, extend="neither", zorder=0)  # fmt: skip
    ax.contour(
        x, y, finite, levels=levels, colors=COLOURS[0], linewidths=widths, linestyles="solid", zorder=2
    )


def _ticks(one: Subject, low: float, high: float) -> FloatArray:
    if one.discrete:
        step = max(1, int((high - low) // _MESH))
        return np.arange(np.floor(low), np.ceil(high) + 1, step)
    if one.matrices is None:
        return np.linspace(low, high, _MESH)
    return np.linspace(*with_margin(low, high), _MESH)


def levels_of(log_densities: Array, shares: Sequence[float]) -> FloatArray:
    """Return the log-densities that these shares of the rows exceed, rising and all different."""
    return np.unique(np.quantile(log_densities.astype(np.float64), 1 - np.asarray(shares)))
