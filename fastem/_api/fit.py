"""The public functions that estimate: fit, e_step, m_step."""

import os
import reprlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from fastem._api.interrupted import keeping
from fastem._api.mixture import GaussianMixture, model_of
from fastem._api.progress import progress_bar
from fastem._checks import (
    check_callback,
    check_count,
    check_covariance_type,
    check_enough_rows,
    check_init,
    check_k,
    check_reg_covar,
    check_rng,
    check_tol,
)
from fastem._em.loop import Run, StoppingRule, ascend, gain_below
from fastem._em.starts import initial_parameters
from fastem._families.floor import Maximised, maximise
from fastem._families.frame import Frame, frame_of
from fastem._families.gaussian import FAMILIES, Family, Parameters
from fastem._families.statistics import Statistics
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.base import Source
from fastem._sources.chunk_checks import check_spread
from fastem._sources.open import source_of
from fastem._typing import CovarianceType, FloatArray

_LEAST_REG_COVAR = float(np.finfo(np.float64).tiny)

Callback = Callable[[int, float, GaussianMixture], Any]


def fit(
    X: Any,
    k: int,
    *,
    covariance_type: CovarianceType = "full",
    sample_weight: Any = None,
    columns: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    init: Any = "k-means++",
    n_init: int = 1,
    tol: float | StoppingRule = 1e-4,
    max_iter: int = 200,
    reg_covar: float | Literal["auto"] = "auto",
    rng: Any = None,
    n_threads: int | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> GaussianMixture:
    """Fit a Gaussian mixture by Expectation-Maximization (Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    X : array of shape (n, d), table, Parquet, store, chunks, or dask array or dataframe
        Finite real numbers. float32 is computed in float32 (sums in float64), all else in float64.
        An array of numbers is never copied as a whole, and never written to. Tables of pandas, polars,
        pyarrow and whatever else narwhals knows (the extra ``tables``) are converted; the names of their
        columns become the `feature_names` of the model.

        What does not fit in memory is read anew in each pass, with the bits of the array of its rows: a
        memory-mapped array; a two-dimensional store with slices, ``shape`` and ``dtype`` (h5py, zarr); a
        Parquet file or folder as a path, or a ``pyarrow.dataset.Dataset`` (the extra ``parquet``); an
        iterable that can be read again, or a function that returns an iterator, of chunks or
        (chunk, weights).

        Of a dask array or dataframe (the extra ``dask``) each block is a task, on whatever scheduler is
        active; the result is that of the array to 1e-9 in float64, and its bits depend on the blocks alone.
    k : int
        Number of components, at most n.
    covariance_type : {"full", "tied", "diag", "spherical"}
        One matrix a component; one for all; one variance a component and feature; one a component.
    sample_weight : array of shape (n,), or str, optional
        Weights of the rows, at least 0. An integer weight counts a row that many times. The name of a
        column, if X is Parquet or a dask dataframe; if X is of dask, also a dask array or series with blocks
        as those of X.
    columns : sequence of str, optional
        Names of the columns to use, if X is Parquet or a dask dataframe; by default all but that of the
        weights.
    cache_dir : str or path, optional
        A folder for a temporary copy of the rows of X where it is Parquet, a store or chunks: it is read and
        decoded once, and the copy, memory-mapped, in every further pass. It has 8 bytes a number (4 if
        float32), and is gone when the fit ends, however it does. What is in memory or memory-mapped already
        is not copied.
    init : str, array or GaussianMixture
        How to begin.

        - ``"k-means++"``: hard assignment to k-means++ seeds, greedy in the first start; restarts take
          turns between plain and greedy, for variety.
        - ``"kmeans"``: the same after Lloyd's iterations, 20 at most.
        - ``"random_from_data"``: hard assignment to k rows drawn at random.
        - ``"random"``: random responsibilities.
        - labels ``(n,)`` from 0 to k - 1, or responsibilities ``(n, k)``: a first M-step from those.
        - a `GaussianMixture` of the same k, d and covariance_type: go on from there.

        The named ones look at a random sample of at most 32768 rows (fewer when X is wide, but at least
        32 a component).
    n_init : int
        Restarts, of which the one of highest log-likelihood is returned; one that ended on a singular
        component only if all did. A given start (labels, responsibilities, model) is run once.
    tol : float or callable
        Stop when the mean log-likelihood per row gains less than this in an iteration; 0 makes all of
        `max_iter` iterations. Another rule of convergence is a function of the mean log-likelihoods so
        far, a list with that of the initial parameters first, which returns whether to stop.
    max_iter : int
        Most M-steps; 0 returns the initial model, so that labels with ``max_iter=0`` give the
        supervised maximum-likelihood fit.
    reg_covar : float or "auto"
        Added to the diagonals of covariances in each M-step: ``"auto"`` adds a millionth of the variance
        of each feature, whatever its units; a float is absolute, as in scikit-learn.
    rng : None, int or numpy.random.Generator
        Source of randomness (SPEC 7). The same seed gives the same bits, for any number of threads.
    n_threads : int, optional
        Threads to use; None for numba's setting, and never more than ``NUMBA_NUM_THREADS``. Of tasks of
        dask each uses one.
    callback : callable, optional
        ``callback(iteration, log_likelihood, model)`` after each E-step, from iteration 0. True stops the
        fit, restarts included, and the model that it saw is returned.
    progress : bool
        Show a progress bar (needs tqdm, the extra ``progress``).

    Returns
    -------
    GaussianMixture
        With `report` telling how the fit went.

    Raises
    ------
    ValueError, TypeError
        If an argument breaks its rule, before any work starts, or X holds NaN or inf, or has other rows
        in a later pass.
    FitInterrupted
        If X can no longer be read in mid-fit. It has the last parameters.
    OSError
        If X cannot be read, or the disk of `cache_dir` gets full, before the first iteration.
    RuntimeError
        If dask cannot compute a block of X, before the first iteration.
    ImportError
        If ``progress=True`` and tqdm is missing, or X is Parquet and pyarrow is.

    Warns
    -----
    FitWarning
        With a named `cause`: `max_iter` was reached before convergence (not if ``tol=0``), a component is
        singular, the log-likelihood fell, a start failed, or X has lost its digits.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (500, 2))])
    >>> model = fastem.fit(X, 2, rng=0)
    >>> model.report.converged
    True
    """
    began = time.perf_counter()
    family = FAMILIES[check_covariance_type(covariance_type)]
    k = check_k(k)
    n_init = check_count("n_init", n_init, 1)
    endless = not callable(tol) and tol == 0
    tol, converged = (0.0, tol) if callable(tol) else (tol, gain_below(check_tol(tol)))
    max_iter = check_count("max_iter", max_iter, 0)
    absolute = check_reg_covar(reg_covar)
    check_callback(callback)
    rng = check_rng(rng)
    source = source_of(X, sample_weight, n_threads, columns=columns, cache_dir=cache_dir)
    names = source.feature_names
    check_enough_rows(k, source.n_samples, source.n_positive)
    given_model = init if isinstance(init, GaussianMixture) else None
    if given_model is None:
        init = check_init(init, source.n_samples, k)
    else:
        _check_start(given_model, k, source.n_features, covariance_type)
    restarts = n_init if isinstance(init, str) else 1

    with progress_bar(progress, restarts, max_iter) as advance:
        moments = source.moments()
        check_spread(source.chunks, source.stored_dtype, moments)
        frame = frame_of(moments, source.dtype, family.isotropic)
        amount = standard_amount(absolute, frame)
        newest: Parameters | None = None

        def reduce(parameters: Parameters) -> Statistics:
            nonlocal newest
            newest = parameters
            params = family.prepare(parameters, frame, source.dtype)
            with keeping(last):
                return source.reduce(family, params, frame)

        def last() -> GaussianMixture | None:
            return newest and model_of(newest, frame, covariance_type, None, names)

        def begin(restart: int, generator: np.random.Generator) -> Maximised:
            with keeping(last):
                return initial_parameters(source, family, frame, k, init, generator, restart, step)

        def step(statistics: Statistics, reseeds: int | None = None) -> Maximised:
            return _maximise(family, statistics, amount, reseeds)

        def watch(iteration: int, log_likelihood: float, parameters: Parameters) -> bool:
            advance(log_likelihood)
            if callback is None:
                return False
            return (
                callback(iteration, log_likelihood, model_of(parameters, frame, covariance_type, None, names))
                is True
            )

        best, failures = Run(FitStatus.FAILED), []
        for restart, generator in enumerate(rng.spawn(restarts)):
            if given_model is not None:
                start = partial(Maximised, _in_frame(given_model, family, frame), [], [])
            else:
                start = partial(begin, restart, generator)
            run = ascend(
                start, reduce, step, k=k, converged=converged, tol=tol, max_iter=max_iter, watch=watch
            )
            if run.failure is not None:
                failures.append(run.failure)
            if run.status is FitStatus.STOPPED:
                best = run
                break
            best = max(best, run, key=lambda run: run.rank)
    if not best.history:
        raise failures[0]
    report = FitReport(
        status=best.status,
        converged=best.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE),
        n_iter=best.n_iter,
        log_likelihood=best.log_likelihood,
        history=tuple(best.history),
        repairs=tuple(best.repairs),
        elapsed=time.perf_counter() - began,
    )
    model = model_of(best.parameters, frame, covariance_type, report, names)
    if failures:
        warn(WarningCause.FAILED, f"{len(failures)} of {restarts} start(s) failed: {failures[0]}")
    _warn_of_end(best, source, endless)
    return model


def e_step(
    X: Any, model: GaussianMixture, sample_weight: Any = None, *, n_threads: int | None = None
) -> Statistics:
    """Expected sufficient statistics of the latent labels, in one pass over X.

    For responsibilities r[i, k] = p(z_i = k | x_i) (Bishop 2006, eq. 9.23) and z = x_i - mean_k, the sums
    over i of r, r z and r z z', and the log-likelihood. Statistics of chunks add up to those of the whole.

    Parameters
    ----------
    X : array of shape (n, d), or whatever else `fit` takes
        Chunks that do not tell how many rows they have are counted in a pass of their own.
    model : GaussianMixture
    sample_weight : array of shape (n,), or str, optional
        Multiplies the responsibilities. The name of a column, if X is Parquet or a dask dataframe.
    n_threads : int, optional

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError, TypeError
        If X does not fit the model, or holds NaN or inf.
    """
    check_model(model)
    source = source_of(
        X,
        sample_weight,
        n_threads,
        n_features=model.n_features,
        feature_names=model.feature_names,
    )
    params, frame = model._prepare(source.dtype)
    statistics = source.reduce(FAMILIES[model.covariance_type], params, frame)
    return replace(statistics, _feature_names=model.feature_names)


def m_step(statistics: Statistics, *, reg_covar: float | Literal["auto"] = "auto") -> GaussianMixture:
    """The mixture of maximum likelihood given expected statistics (Bishop 2006, eq. 9.24 to 9.26).

    Parameters
    ----------
    statistics : Statistics
        From `e_step`, or a sum of such.
    reg_covar : float or "auto"
        As in `fit`.

    Returns
    -------
    GaussianMixture
        Its `report` is None. A component without data takes half of the heaviest one.

    Raises
    ------
    ValueError, TypeError
        If an argument breaks its rule.
    """
    if not isinstance(statistics, Statistics):
        raise TypeError(f"statistics must be made by fastem.e_step; got {type(statistics).__name__}.")
    frame = statistics._frame
    amount = standard_amount(check_reg_covar(reg_covar), frame)
    maximised = _maximise(FAMILIES[statistics.covariance_type], statistics, amount)
    names = statistics._feature_names
    return model_of(maximised.parameters, frame, statistics.covariance_type, None, names)


def _maximise(
    family: Family,
    statistics: Statistics,
    amount: FloatArray | Literal["auto"],
    reseeds: int | None = None,
) -> Maximised:
    mean_row_weight = statistics.total_weight / statistics.n_samples
    return maximise(family, statistics._collected, mean_row_weight, statistics.precision, amount, reseeds)


def standard_amount(reg_covar: float | None, frame: Frame) -> FloatArray | Literal["auto"]:
    """reg_covar in standard coordinates, but at least what keeps variances normal numbers in user units."""
    if reg_covar is None:
        return "auto"
    return np.asarray(max(reg_covar, _LEAST_REG_COVAR) / frame.scale / frame.scale)


def _warn_of_end(best: Run, source: Source, endless: bool) -> None:
    """What a user should know at once of how a fit ended, as far as it is not what they asked for."""
    if best.status is FitStatus.DECREASED:
        warn(WarningCause.DECREASED)
    if best.status is FitStatus.MAX_ITER and not endless:
        warn(WarningCause.MAX_ITER)
    if best.singular and best.status is not FitStatus.STOPPED:
        warn(
            WarningCause.DEGENERATE,
            f"Components {reprlib.repr(best.singular)} of {len(best.parameters.weights)}, in "
            f"{source.n_positive} rows of {source.n_features} features.",
        )


def _in_frame(model: GaussianMixture, family: Family, frame: Frame) -> Parameters:
    covariances = model.covariances.reshape(family.shape(*model.means.shape))
    scaled = family.rescale(covariances, 1 / frame.scale)
    return Parameters(model.weights, frame.standardise(model.means), scaled)


def check_model(model: Any) -> None:
    if not isinstance(model, GaussianMixture):
        raise TypeError(f"model must be a fastem.GaussianMixture; got {type(model).__name__}.")


def _check_start(model: GaussianMixture, k: int, d: int, covariance_type: str) -> None:
    wanted = {"n_components": k, "n_features": d, "covariance_type": covariance_type}
    for name, value in wanted.items():
        if getattr(model, name) != value:
            raise ValueError(
                f"init as a GaussianMixture must have {name}={value!r}, as this fit; "
                f"it has {getattr(model, name)!r}."
            )
