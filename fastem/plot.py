"""Pictures of mixtures, of fits and of selections, by matplotlib (the extra ``plot``).

Every function draws in the Axes that ``ax`` gives, or else in a new figure, and returns what it drew in. None
calls ``show`` or changes settings of matplotlib. Of many rows they draw a random sample, and say so in the
title. X may be anything that `fastem.fit` takes.
"""

from typing import Any

from fastem._api.fit import fit
from fastem._api.inside import check_model
from fastem._api.mixture import Mixture
from fastem._api.pictured import subject_of
from fastem._api.translations import advised
from fastem._checks import check_integer, check_nonnegative
from fastem._plot.animation import Scene, chosen_scenes, film
from fastem._plot.convergence import draw_convergence
from fastem._plot.criterion import criterion
from fastem._plot.density import SHARES, draw_density
from fastem._plot.ellipses import draw_ellipses
from fastem._plot.pairs import draw_classification, draw_uncertainty
from fastem._plot.subject import check_max_points, drawn_rows

__all__ = ["animate", "classification", "convergence", "criterion", "density", "ellipses", "uncertainty"]

_MAX_POINTS = 5000


@advised()
def classification(
    model: Any,
    X: Any,
    *,
    features: Any = None,
    max_points: int = _MAX_POINTS,
    rng: Any = 0,
    ax: Any = None,
    fig: Any = None,
) -> Any:
    """Draw rows in the colour and the shape of their most likely component.

    Of two features, ellipses show where the Gaussian or t components have one deviation from their centres.
    More features make a grid of all pairs, with the density of each feature on the diagonal. Of one feature,
    curves show the density and its components over a histogram, and a mark each row.

    Parameters
    ----------
    model : Mixture, or KMeans
        Any mixture, or another model with ``predict`` and ``centers``.
    X : array of shape (n, d), table, or anything else that `fit` takes
    features : sequence of str or int, optional
        The columns to show, by name or number. By default all, but at most the first six.
    max_points : int
        Of more rows, a random sample of this size is drawn.
    rng : None, int or numpy.random.Generator
        The source of randomness for this sample.
    ax : matplotlib Axes, optional
        Where to draw one or two features.
    fig : matplotlib Figure or SubFigure, optional
        Where to make the Axes, of a grid too.

    Returns
    -------
    matplotlib Axes, or array of them
        For a grid of m features the array is (m, m), and the Axes above its diagonal are hidden.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, if X has other columns than the model, or if `ax` is given for a grid.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import old_faithful
    >>> X = old_faithful()
    >>> model = fastem.fit(X, 2, rng=0)
    >>> ax = fastem.plot.classification(model, X)
    """
    return draw_classification(subject_of(model), X, features, max_points, rng, ax, fig)


@advised()
def uncertainty(
    model: Mixture,
    X: Any,
    *,
    features: Any = None,
    max_points: int = _MAX_POINTS,
    rng: Any = 0,
    ax: Any = None,
    fig: Any = None,
) -> Any:
    """Draw rows the larger and darker the less sure it is which component they belong to.

    The uncertainty of a row is 1 - its largest responsibility. It is 0 if one component is sure, and
    1 - 1 / k if all are equally likely. The area grows with its root. Of one feature, it is drawn over that
    feature.

    The parameters, what is returned, and the errors are those of `classification`. Models without
    responsibilities, such as k-means, are an error.
    """
    return draw_uncertainty(subject_of(model), X, features, max_points, rng, ax, fig)


@advised()
def density(
    model: Mixture,
    X: Any = None,
    *,
    features: Any = None,
    shares: Any = SHARES,
    max_points: int = _MAX_POINTS,
    rng: Any = 0,
    ax: Any = None,
    fig: Any = None,
) -> Any:
    """Draw the density of a mixture: lines that enclose given shares of its mass, over the rows in grey.

    More than two features make a grid of all pairs, in which each panel has the marginal density of its pair.
    Of one feature, it is a curve.

    Parameters
    ----------
    model : Mixture
        Its distribution must allow for marginals if it has more features than are drawn in one panel. Those
        of your own do not. A feature of categories can only be drawn alone.
    X : array of shape (n, d), table, or anything else that `fit` takes, optional
        Rows to draw. They also set the range of the picture.
    shares : sequence of float
        The shares of the mass, between 0 and 1. The region within a line is the smallest that has this share
        (Hyndman 1996), as 20,000 rows that are drawn from the model tell.
    features, max_points, rng, ax, fig
        The same as in `classification`.

    Returns
    -------
    matplotlib Axes, or array of them

    Raises
    ------
    ValueError, TypeError, ImportError
        As `classification` does.
    """
    return draw_density(subject_of(model), X, features, shares, max_points, rng, ax, fig)


@advised()
def ellipses(model: Mixture, *, features: Any = (0, 1), levels: Any = (1, 2), ax: Any = None) -> Any:
    """Draw the ellipses of Gaussian or t components: lines of equal density of a pair of features.

    Parameters
    ----------
    model : Mixture
        With covariances, or with scales, whose roots are the deviations here.
    features : two of str or int
        The columns to show, by name or number.
    levels : sequence of float
        How many deviations the lines are from the centres. Within 1 and 2 deviations a Gaussian component has
        39 % and 86 % of its mass.
    ax : matplotlib Axes, optional
        Where to draw. By default, in a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or if the components have no ellipses.
    ImportError
        If matplotlib is missing.
    """
    return draw_ellipses(subject_of(model), features, levels, ax)


@advised()
def convergence(model: Mixture, *, ax: Any = None) -> Any:
    """Draw how the objective of a fit rose, iteration by iteration.

    Where the last gains fall, a dashed line shows the limit that they foretell (Aitken; Boehning et al.
    1994). The inset has the gain of each iteration on a log scale. Iterations that repaired a component are
    marked.

    Parameters
    ----------
    model : Mixture
        A model that `fit` returned. Its report has the history.
    ax : matplotlib Axes, optional
        Where to draw. By default, in a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        If `model` is no mixture or was not fitted.
    ImportError
        If matplotlib is missing.
    """
    check_model(model)
    if model.report is None or not model.report.history:
        raise ValueError("model must have a report, as fit returns it; this one was not fitted.")
    return draw_convergence(model.report, ax)


@advised()
def animate(
    X: Any,
    k: int,
    *,
    features: Any = None,
    interval: float = 250,
    max_frames: int = 60,
    max_points: int = _MAX_POINTS,
    rng: Any = 0,
    ax: Any = None,
    fig: Any = None,
    init: Any = "random_from_data",
    acceleration: Any = None,
    **options: Any,
) -> Any:
    """Fit a mixture, and return a film of EM at work: a frame for each iteration.

    The colour of each row is mixed from those of the components by its responsibilities. The ellipses are one
    and two deviations from the centres. Of data with one feature, curves of the density move.

    Parameters
    ----------
    X, k
        The same as in `fit`.
    features : sequence of str or int, optional
        Two columns to show, by name or number, or one. By default the first two.
    interval : float
        Milliseconds between frames.
    max_frames : int
        The film leaves out iterations if there are more, mostly late ones, which change little.
    max_points, rng, ax, fig
        The same as in `classification`. `rng` is also that of the fit.
    init, acceleration
        Options of `fit`. By default the start is a poor one and EM takes every step, so that there is
        something to see. Pass ``init="auto", acceleration="auto"`` to see what `fit` does.
    **options
        Other options of `fit`, such as `covariance_type`. With several starts, the film shows the best.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        Keep it in a variable, or matplotlib stops it. Save it with ``.save("em.gif", writer="pillow")``, or
        show it in a notebook with ``.to_jshtml()``.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `fit` and `classification` do.

    Examples
    --------
    >>> import fastem
    >>> from fastem.datasets import old_faithful
    >>> film = fastem.plot.animate(old_faithful(), 2)
    """
    if check_nonnegative("interval", interval, "Pass milliseconds.") == 0:
        raise ValueError("interval must be a finite number above 0; got 0. Pass milliseconds.")
    interval = float(interval)
    max_frames = check_integer("max_frames", max_frames, 2)
    max_points = check_max_points(max_points)
    runs: list[list[tuple[int, float, Mixture]]] = []
    callback = options.pop("callback", None)

    def keep(iteration: int, log_likelihood: float, model: Mixture) -> Any:
        if iteration == 0 or not runs:
            runs.append([])
        runs[-1].append((iteration, log_likelihood, model))
        return None if callback is None else callback(iteration, log_likelihood, model)

    fit(X, k, init=init, acceleration=acceleration, rng=rng, callback=keep, **options)
    best = max(runs, key=lambda run: run[-1][1])
    scenes = [
        Scene(best[i][0], best[i][1], subject_of(best[i][2])) for i in chosen_scenes(len(best), max_frames)
    ]
    of_rows = {name: options.get(name) for name in ("sample_weight", "labels", "columns")}
    drawn = drawn_rows(X, scenes[0].subject, max_points, rng, **of_rows)
    return film(scenes, drawn, features, interval, ax, fig)
