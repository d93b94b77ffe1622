"""`kmeans`, the hard special case of EM."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Unpack, overload

import numpy as np

from fastem._api.clusters import KMeans
from fastem._api.interrupted import Kept
from fastem._api.missing import HOW_TO_FILL
from fastem._api.progress import Progress, progress_bar
from fastem._api.signatures import CentersInit, KMeansOptions
from fastem._api.translations import advised
from fastem._checks import (
    check_finite,
    check_integer,
    check_nonnegative,
    check_one_of,
    check_rng,
)
from fastem._em.loop import KEPT, RESEEDED, Limits, Run, ascend
from fastem._em.momentum import Momentum
from fastem._em.objective import Likelihood
from fastem._em.seeds import INIT_NAMES, first_centers, relative_gain_below
from fastem._families.centres import KMEANS, Centres
from fastem._families.steps import Maximised, Scores
from fastem._report import FitStatus, KMeansReport, Repair, WarningCause, warn
from fastem._sources.arrays import ArraySource
from fastem._sources.checks import check_enough_rows
from fastem._sources.open import source_of
from fastem._sources.passes import Sweep
from fastem._sources.spread import check_spread
from fastem._typing import (
    Chunked,
    DaskCollection,
    DataLike,
    FloatArray,
    InMemory,
    IntArray,
    PathLike,
    RngLike,
    RowsLike,
)

_WINDOW = 5  # of iterations with momentum, whose gains tell what is left to gain
MOVED = "moved: no rows left; took the row farthest from its center"
LEFT = "kept: no rows left, and no other row is away from its center"


@overload
def kmeans(X: InMemory, k: int, **options: Unpack[KMeansOptions]) -> KMeans[KMeansReport, IntArray]: ...


@overload
def kmeans(X: PathLike, k: int, **options: Unpack[KMeansOptions]) -> KMeans[KMeansReport]: ...


@overload
def kmeans(
    X: Chunked | DaskCollection, k: int, **options: Unpack[KMeansOptions]
) -> KMeans[KMeansReport, None]: ...


@advised(
    missing={
        "k": "It is the number of clusters: fastem.kmeans(X, 3). fastem.silhouette_score compares several."
    }
)
def kmeans(
    X: DataLike,
    k: int,
    *,
    sample_weight: RowsLike = None,
    columns: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    init: CentersInit = "auto",
    n_init: int = 1,
    tol: float = 1e-4,
    max_iter: int = 300,
    rng: RngLike = None,
    n_threads: int | None = None,
    callback: Callable[[int, float, KMeans], Any] | None = None,
    progress: bool = False,
) -> KMeans[KMeansReport, Any]:
    """Divide rows into k clusters around centers that are as near to the rows as possible (Lloyd 1982).

    It minimises the inertia, the sum over all rows of the squared distance to the nearest center. In turn
    each row joins the nearest center, and each center moves to the mean of its rows. This is EM with hard
    assignment for components that share one variance and one weight. Distances compare features as they are.
    So scale features first if their units differ.

    Parameters
    ----------
    X : array of shape (n, d), table, .csv, Parquet, store, chunks, or dask array or dataframe
        Finite real numbers, as in `fit`. X need not fit in memory. float32 stays float32: it decides which
        center is nearest wherever its rounding errors leave no doubt. All else is in float64.
    k : int
        Number of clusters, at most n. If X has fewer than k distinct rows, the last clusters have no rows:
        their `sizes` are 0, the report says so, and so does a warning.
    sample_weight, columns, cache_dir
        Weights of the rows, names of the columns to use, and a folder for a temporary copy of X, as in `fit`.
    init : str, array of shape (k, d), or KMeans
        How to find the first centers.

        - ``"auto"``: breathing k-means (Fritzke 2020) on a sample of the rows. It adds and removes centers
          until that no longer helps, and so leaves poor optima. Of small X all rows are in the sample, and
          the best of several such runs begins. Iterations on all rows then have momentum (Nesterov 1983)
          where Lloyd's steps are slow, and never raise the inertia.
        - ``"k-means++"``: seeds in a sample of the rows, drawn greedily (Arthur and Vassilvitskii 2007).
          Restarts alternate between plain and greedy choice.
        - ``"random_from_data"``: k rows drawn at random.
        - centers, an array of shape (k, d), or a `KMeans` of the same k and d to continue from.
    n_init : int
        Number of starts. The result of the lowest inertia is returned. Given centers are one start.
    tol : float
        Stop when the inertia has less than this part of it left to fall: in the last iteration (with
        momentum, in the last five), and in all that would follow if the falls went on to shrink at the same
        rate. 0: stop when no row changes its cluster.
    max_iter : int
        Maximum number of iterations. 0 returns the first centers.
    rng : None, int or numpy.random.Generator
        Source of randomness (SPEC 7). The same seed gives the same bits, for any number of threads.
    n_threads : int, optional
        Number of threads, as in `fit`.
    callback : callable, optional
        Function that is called as ``callback(iteration, inertia, model)`` after each pass, from iteration 0.
        If it returns True, the fit ends with that model.
    progress : bool
        Show a progress bar. This needs tqdm (the extra ``progress``).

    Returns
    -------
    KMeans
        Its `labels` are those of ``predict(X)``, and its `inertia` is that of its `centers`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid (before any work starts), if X holds NaN or inf, or if the rows of X
        differ between passes.
    FitInterrupted
        If the user interrupts (Ctrl-C), or X can no longer be read, during the iterations. The error holds
        the centers so far.
    OSError, RuntimeError, ImportError
        As in `fit`.

    Warns
    -----
    FitWarning
        With a named `cause`: `max_iter` was reached before convergence, clusters have no rows, or the numbers
        in X have too few digits left.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (500, 2))])
    >>> model = fastem.kmeans(X, 2, rng=0)
    >>> sorted(model.sizes.tolist())
    [500.0, 500.0]
    """
    began = time.perf_counter()
    k = check_integer("k", k, 1, "Pass the number of clusters.")
    given = _check_init(init, k)
    n_init = check_integer("n_init", n_init, 1)
    tol = check_nonnegative("tol", tol, "It is the part of the inertia that may be left to gain.")
    # The loop knows `tol` as a loss of mean log-likelihood, of which k-means has none.
    # Each re-seeding lowers the inertia, so that there may be any number of them.
    max_iter = check_integer("max_iter", max_iter, 0)
    # Momentum makes gains rise and fall. From centers that the user gives, and seeds, steps are plain.
    accelerated = isinstance(given, str) and given == "auto"
    stopping = relative_gain_below(tol, _WINDOW if accelerated else 1)
    limits = Limits(stopping, 0.0, max_iter, reseeds=max_iter)
    if callback is not None and not callable(callback):
        raise TypeError(
            f"callback must be callable as callback(iteration, inertia, model); got {callback!r}."
        )
    rng = check_rng(rng)
    source = source_of(
        X,
        sample_weight,
        n_threads,
        columns=columns,
        cache_dir=cache_dir,
        feature_names=init.feature_names if isinstance(init, KMeans) else None,
        remedy=HOW_TO_FILL,
    )
    check_enough_rows(k, source.n_samples, source.n_positive)
    if not isinstance(given, str) and given.shape[1] != source.n_features:
        raise ValueError(
            f"init centers must have shape (k, d) = {(k, source.n_features)}, one row a center; "
            f"got {given.shape}."
        )
    moments = source.moments()
    known = source.feature_names, source.largest_integer
    check_spread(source.chunks, source.stored_dtype, moments, *known)
    likelihood = Likelihood(source, KMEANS, k, KMEANS.frame(moments, source.dtype), None, hard=True)
    restarts = n_init if isinstance(given, str) else 1
    with progress_bar(progress, restarts, limits.max_iter, "k-means", "inertia") as shown:
        descents = _Descents(likelihood, given, limits, callback, source.feature_names, shown, accelerated)
        with descents.kept.in_error(descents.model):
            best = descents.best(rng, restarts)
            return _model(likelihood, best, source.feature_names, began)


def _check_init(init: Any, k: int) -> str | FloatArray:
    """Return a name, or centers (k, any number of columns)."""
    if isinstance(init, str):
        return check_one_of("init", init, INIT_NAMES, ", centers (k, d) or a fastem.KMeans")
    centers = init.centers if isinstance(init, KMeans) else check_finite("init centers", init)
    if centers.ndim != 2 or len(centers) != k:
        raise ValueError(
            f"init must be a name, centers of shape (k, d) with k={k}, or a fastem.KMeans of as many; "
            f"got shape {centers.shape}."
        )
    return centers


@dataclass
class _Descents:
    """The restarts of one fit."""

    likelihood: Likelihood[Centres]
    given: str | FloatArray
    limits: Limits
    callback: Callable[[int, float, KMeans], Any] | None
    feature_names: tuple[str, ...] | None
    progress: Progress
    accelerated: bool
    kept: Kept[Centres] = field(default_factory=Kept)

    def best(self, rng: np.random.Generator, restarts: int) -> Run[Centres]:
        best = self._best(rng, restarts)
        self.progress.finish(best.status, _inertia(self.likelihood, best.objective))
        return best

    def _best(self, rng: np.random.Generator, restarts: int) -> Run[Centres]:
        for restart, own in enumerate(rng.spawn(restarts)):
            start = partial(self._start, restart, own)
            leaps = Momentum(self.limits.converged) if self.accelerated else None
            run = ascend(
                self.likelihood, start, self.limits, k=self.likelihood.k, watch=self._watch, squarem=leaps
            )
            if run.failure is not None and not self.kept.best.history and not run.history:
                raise run.failure
            if run.status is FitStatus.STOPPED:
                return run
            self.kept.end(run)
            self.progress.start_ended()
        return self.kept.best

    def _start(self, restart: int, rng: np.random.Generator) -> Maximised[Centres]:
        if isinstance(self.given, str):
            return first_centers(self.likelihood, self.given, rng, restart)
        return Maximised(Centres(np.ones(len(self.given)), self.given), [], [], [])

    def _watch(self, iteration: int, run: Run[Centres]) -> bool:
        self.kept.note(run)
        inertia = _inertia(self.likelihood, run.log_likelihood)
        self.progress.advance(inertia)
        if self.callback is None:
            return False
        stop = self.callback(iteration, inertia, self.model(run.parameters, inertia))
        return isinstance(stop, (bool, np.bool_)) and bool(stop)

    def model(self, parameters: Centres, inertia: float | None = None) -> KMeans:
        return KMeans(parameters.centers, inertia=inertia, feature_names=self.feature_names)


def _inertia(likelihood: Likelihood[Centres], value: float) -> float:
    """Return the inertia in user units."""
    scale = float(likelihood.frame.scale[0])
    return abs(value) * scale * scale


def _model(
    likelihood: Likelihood[Centres], best: Run[Centres], names: tuple[str, ...] | None, began: float
) -> KMeans[KMeansReport, Any]:
    """Return the model of a run. One more pass finds the labels or, if they are not held, the sizes."""
    source, k = likelihood.source, likelihood.k
    labels: Any = None
    if isinstance(source, ArraySource):
        labels = np.empty(source.n_samples, np.int64)
        packed = KMEANS.pack(best.parameters, likelihood.frame, source.dtype)
        source.score(Sweep(KMEANS, k, packed, likelihood.frame), Scores(labels=labels))
        (rows,) = source.chunks()
        sizes = np.bincount(labels, rows.weight, k).astype(np.float64)
    else:
        sizes = likelihood.e_step(best.parameters).weights
    history = tuple(_inertia(likelihood, value) for value in best.history)
    in_words = {RESEEDED: MOVED, KEPT: LEFT}
    report = KMeansReport(
        best.status,
        best.status is FitStatus.CONVERGED,
        best.n_iter,
        history,
        tuple(Repair(i, c, in_words[what]) for i, c, what in best.repairs),
        time.perf_counter() - began,
    )
    if best.status is FitStatus.MAX_ITER:
        warn(WarningCause.MAX_ITER)
    if report.converged and (sizes == 0).any():
        warn(WarningCause.EMPTY, f"{(sizes == 0).sum()} of {k} clusters, in {source.n_positive} rows.")
    return KMeans(
        best.parameters.centers,
        labels=labels,
        sizes=sizes,
        inertia=history[-1],
        report=report,
        feature_names=names,
    )
