"""`fit`: EM from start to report."""

import os
import reprlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._api.interrupted import FitInterrupted
from fastem._api.mixture import Mixture, in_frame
from fastem._api.models import model_of
from fastem._api.options import Callback, Options, check_init, check_options, check_start
from fastem._api.progress import Advance, progress_bar
from fastem._em.loop import PassLost, Run, StoppingRule, ascend
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start, named_start
from fastem._families.base import Maximised, P
from fastem._families.distribution import Distribution
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.checks import check_enough_rows
from fastem._sources.chunk_checks import check_spread
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import Array, CovarianceType


class FitOptions(TypedDict, total=False):
    """What `fit` takes by name, but for `distribution`, which decides what it returns."""

    covariance_type: CovarianceType
    sample_weight: Any
    columns: Sequence[str] | None
    cache_dir: str | os.PathLike[str] | None
    init: Any
    n_init: int
    tol: float | StoppingRule
    max_iter: int
    reg_covar: float | Literal["auto"]
    rng: Any
    n_threads: int | None
    callback: Callback | None
    progress: bool


@overload
def fit(
    X: Any, k: int, *, distribution: Literal["gaussian"] = "gaussian", **options: Unpack[FitOptions]
) -> GaussianMixture: ...


@overload
def fit(X: Any, k: int, *, distribution: str | Distribution, **options: Unpack[FitOptions]) -> Mixture: ...


def fit(
    X: Any,
    k: int,
    *,
    covariance_type: CovarianceType = "full",
    distribution: str | Distribution = "gaussian",
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
) -> Mixture:
    """Fit a mixture by Expectation-Maximization (Dempster, Laird and Rubin 1977).

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
        Of Gaussians: one matrix a component; one for all; one variance a component and feature; one a
        component.
    distribution : "gaussian", "poisson" or Distribution
        That of the components: Gaussians; counts that are independent within a component; or one of your own.
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
    init : str, array or model
        How to begin.

        - ``"k-means++"``: hard assignment to k-means++ seeds, greedy in the first start; restarts take
          turns between plain and greedy, for variety.
        - ``"kmeans"``: the same after Lloyd's iterations, 20 at most.
        - ``"random_from_data"``: hard assignment to k rows drawn at random.
        - ``"random"``: random responsibilities.
        - labels ``(n,)`` from 0 to k - 1, or responsibilities ``(n, k)``: a first M-step from those.
        - a `GaussianMixture` or `Mixture` of the same k, d and distribution: go on from there.

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
        of each feature, whatever its units; a float is absolute, as in scikit-learn. For Gaussians only.
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
    GaussianMixture, or Mixture of another distribution
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
    options = check_options(
        k, covariance_type, distribution, init, n_init, tol, max_iter, reg_covar, callback, rng
    )
    source = source_of(X, sample_weight, n_threads, columns=columns, cache_dir=cache_dir)
    check_enough_rows(options.k, source.n_samples, source.n_positive)
    given = _check_given(init, source, options)
    likelihood = _likelihood(source, options)
    names = source.feature_names
    with progress_bar(progress, options.restarts, options.limits.max_iter) as advance:
        best, failures = _Ascents(likelihood, options, given, names, advance).best()
    if not best.history:
        raise failures[0]
    report = _report(best, time.perf_counter() - began)
    model = model_of(options.family, best.parameters, likelihood.frame, report, names)
    if failures:
        warn(WarningCause.FAILED, f"{len(failures)} of {options.restarts} start(s) failed: {failures[0]}")
    _warn_of_end(best, source, options)
    return model


def _check_given(init: Any, source: Source, options: Options[Any]) -> str | Array | Mixture:
    if isinstance(init, Mixture):
        check_start(init, options.family, options.k, source.n_features)
        return init
    return check_init(init, source.n_samples, options.k)


def _likelihood(source: Source, options: Options[P]) -> Likelihood[P]:
    """The log-likelihood of the rows, in coordinates that suit them. Bad rows are found here."""
    family, moments = options.family, source.moments()
    check_spread(source.chunks, source.stored_dtype, moments)
    frame = family.frame(moments, source.dtype)
    base = source.base_measure(family, frame) if family.has_base_measure else 0.0
    return Likelihood(source, family, options.k, frame, options.reg_covar, base)


class _Ascents(NamedTuple, Generic[P]):
    """The restarts of one fit."""

    likelihood: Likelihood[P]
    options: Options[P]
    given: str | Array | Mixture
    feature_names: tuple[str, ...] | None
    advance: Advance

    def best(self) -> tuple[Run[P], list[ValueError]]:
        """The best run, and what made others fail."""
        best: Run[P] = Run(FitStatus.FAILED)
        failures: list[ValueError] = []
        for restart, rng in enumerate(self.options.rng.spawn(self.options.restarts)):
            run = self._run(restart, rng, best)
            if run.failure is not None:
                failures.append(run.failure)
            if run.status is FitStatus.STOPPED:
                return run, failures
            best = max(best, run, key=lambda run: run.rank)
        return best, failures

    def _run(self, restart: int, rng: np.random.Generator, best: Run[P]) -> Run[P]:
        start = partial(self._start, restart, rng)
        try:
            return ascend(self.likelihood, start, self.options.limits, k=self.options.k, watch=self._watch)
        except PassLost as lost:
            parameters = best.parameters if lost.parameters is None and best.history else lost.parameters
            if parameters is None:
                raise lost.reason from None
            raise FitInterrupted(_told(lost.reason), self._model(parameters)) from lost.reason

    def _start(self, restart: int, rng: np.random.Generator) -> Maximised[P]:
        given = self.given
        if isinstance(given, Mixture):
            return Maximised(in_frame(given, self.likelihood.frame), [], [], [])
        if isinstance(given, str):
            return named_start(self.likelihood, given, rng, restart)
        return given_start(self.likelihood, given)

    def _watch(self, iteration: int, log_likelihood: float, parameters: P) -> bool:
        self.advance(log_likelihood)
        callback = self.options.callback
        return callback is not None and callback(iteration, log_likelihood, self._model(parameters)) is True

    def _model(self, parameters: P) -> Mixture:
        likelihood = self.likelihood
        return model_of(likelihood.family, parameters, likelihood.frame, None, self.feature_names)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _report(best: Run[Any], elapsed: float) -> FitReport:
    return FitReport(
        status=best.status,
        converged=best.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE),
        n_iter=best.n_iter,
        log_likelihood=best.log_likelihood,
        history=tuple(best.history),
        repairs=tuple(best.repairs),
        elapsed=elapsed,
        objective=best.objective,
    )


def _warn_of_end(best: Run[Any], source: Source, options: Options[Any]) -> None:
    """What a user should know at once of how a fit ended, as far as it is not what they asked for."""
    if best.status is FitStatus.DECREASED:
        warn(WarningCause.DECREASED, options.family.advice("falls"))
    if best.status is FitStatus.MAX_ITER and not options.endless:
        warn(WarningCause.MAX_ITER)
    if best.singular and best.status is not FitStatus.STOPPED:
        warn(
            WarningCause.DEGENERATE,
            f"Components {reprlib.repr(best.singular)} of {options.k}, in "
            f"{source.n_positive} rows of {source.n_features} features.",
        )
