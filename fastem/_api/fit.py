"""`fit`: EM from the initial parameters to the report."""

import os
import reprlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._api.interrupted import FitInterrupted
from fastem._api.mixture import Mixture, in_frame
from fastem._api.models import model_of
from fastem._api.options import Callback, Options, check_init, check_options, check_parameters, check_start
from fastem._api.progress import Advance, progress_bar
from fastem._em.auto import named_start, partial_start
from fastem._em.loop import FLOORED, MASS, PassLost, Run, StoppingRule
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.saddles import climb
from fastem._em.starts import given_start, sample_size
from fastem._families.base import Maximised, P
from fastem._families.distribution import Distribution
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.checks import check_enough_rows
from fastem._sources.chunk_checks import check_spread
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import Array, CovarianceType, FloatArray

# Rows of the sample that tells whether a singular component is a mass.
_MASS_ROWS = 16384

# A checked `init`: a name, labels or responsibilities, a model, or some of its parameters by name.
Given = str | Array | Mixture | dict[str, FloatArray]


class FitOptions(TypedDict, total=False):
    """The keyword arguments of `fit` except `distribution`, which decides the type of the result."""

    covariance_type: CovarianceType
    sample_weight: Any
    columns: Sequence[str] | None
    cache_dir: str | os.PathLike[str] | None
    init: Any
    n_init: int
    tol: float | StoppingRule
    max_iter: int
    reg_covar: float | Literal["auto"]
    acceleration: Literal["auto"] | None
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
    init: Any = "auto",
    n_init: int = 1,
    tol: float | StoppingRule = 1e-4,
    max_iter: int = 200,
    reg_covar: float | Literal["auto"] = "auto",
    acceleration: Literal["auto"] | None = "auto",
    rng: Any = None,
    n_threads: int | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Mixture:
    """Fit a mixture by Expectation-Maximization (Dempster, Laird and Rubin 1977).

    Parameters
    ----------
    X : array of shape (n, d), table, Parquet, store, chunks, or dask array or dataframe
        Finite real numbers. If X is float32, fastem computes in float32 (and sums in float64), unless that
        would hide a variance: features that nearly agree need float64. Otherwise it computes in float64. It
        never copies an array of numbers as a whole, and never writes to it. Tables of pandas, polars,
        pyarrow and other libraries that narwhals supports (the extra ``tables``) are converted. The names
        of their columns become the `feature_names` of the model.

        X need not fit in memory. The following are read again in each pass, and the result has the same
        bits as that of an array with the same rows:

        - a memory-mapped array;
        - a two-dimensional store with slices, ``shape`` and ``dtype`` (h5py, zarr);
        - the path of a Parquet file or folder, or a ``pyarrow.dataset.Dataset`` (the extra ``parquet``);
        - chunks, or pairs (chunk, weights), from an iterable that can be read again or from a function that
          returns an iterator.

        Each block of a dask array or dataframe (the extra ``dask``) is one task on the active scheduler. In
        float64 the result agrees with that of the array to 1e-9. Its bits depend on the blocks alone.
    k : int
        Number of components, at most n.
    covariance_type : {"full", "tied", "diag", "spherical"}
        Covariances of Gaussian components. ``"full"``: each component has a matrix. ``"tied"``: all
        components share one matrix. ``"diag"``: each component has a variance for each feature.
        ``"spherical"``: each component has one variance.
    distribution : str or Distribution
        Distribution of the components: ``"gaussian"``, a `Distribution` of your own, or one of these, whose
        features are independent within a component:

        - ``"bernoulli"``: columns of 0 and 1, with `probabilities` (k, d) of a 1;
        - ``"poisson"``: counts, with `rates` (k, d);
        - ``"exponential"``: numbers of at least 0, with `rates` (k, d);
        - ``"gamma"``: numbers above 0, with `shapes` and `rates` (k, d);
        - ``"lognormal"``: numbers above 0, with `means` and `variances` (k, d) of their logarithms.

        ``"gamma"`` and ``"lognormal"`` compute in float64 also if X is float32.
    sample_weight : array of shape (n,), or str, optional
        Weights of the rows, at least 0. An integer weight counts a row that many times. If X is Parquet or
        a dask dataframe, this may be the name of a column. If X is a dask array or dataframe, this may be a
        dask array or series with the same blocks as X.
    columns : sequence of str, optional
        Names of the columns to use, if X is Parquet or a dask dataframe. By default all columns are used
        except the one of the weights.
    cache_dir : str or path, optional
        Folder for a temporary copy of the rows of X, if X is Parquet, a store or chunks. Then X is read and
        decoded only once, and all later passes read the memory-mapped copy. The copy takes 8 bytes per
        number (4 if X is float32). It is gone when the fit ends, even if the fit fails. If X is in memory
        or memory-mapped already, it is not copied.
    init : str, array, model or dict
        How to find the initial parameters.

        - ``"auto"``: EM on a sample of at most 16384 rows, from what k-means finds in several geometries
          after it has left its local optima, from values that repeat, from a dense spot, and from random
          seeds if X has few rows or no clear clusters. Starts that fall behind are dropped; the best goes on.
          If features are independent, it also begins from random responsibilities.
          Clusters of fewer than one row in a hundred or so may not show in the sample.
        - ``"k-means++"``: assign each row to the nearest of k seeds, which k-means++ chooses. The first
          start chooses greedily. Restarts alternate between plain and greedy choice, for variety.
        - ``"kmeans"``: the same, but with at most 20 of Lloyd's iterations after the choice of seeds.
        - ``"random_from_data"``: assign each row to the nearest of k rows drawn at random.
        - ``"random"``: draw responsibilities at random.
        - labels ``(n,)`` from 0 to k - 1, or responsibilities ``(n, k)``: begin with an M-step from these.
        - a `GaussianMixture` or `Mixture` of the same k, d and distribution: begin with its parameters.
        - a dict with some of the parameters, such as ``{"means": centres}`` or ``{"weights": w, "means": m}``
          (others: ``"rates"``, ``"probabilities"``): begin with these, in the shapes of those of a model.
          What is not given is estimated from the rows that are nearest to each centre.

        The other methods with a name use a random sample of at most 32768 rows (fewer if X is wide, but at
        least 32 per component).
    n_init : int
        Number of starts. The fit returns the result with the highest log-likelihood. It returns a result
        with a singular component only if all starts ended with one, or if the component holds a mass: at
        least 2 % of the weight, 20 rows, and 2 d + 2 rows, at one point or in one plane, and three times as
        much as the nearest others. If `init` is an array, a dict or a model, there is only one start.
    tol : float or callable
        Stop when the mean log-likelihood per row has less than this to gain: in the last iteration, and in
        all that would follow if gains went on to fall at the same rate (Aitken; Boehning et al. 1994). With n
        rows, ``0.01 / n`` is less than any test or criterion notices. With 0 the fit makes all `max_iter`
        iterations. A callable replaces this rule: it takes the list of the mean log-likelihoods per row so
        far, starting with that of the initial parameters, and returns whether to stop. (The `history` of the
        report has totals.)
    max_iter : int
        Maximum number of passes after the first. 0 returns the initial model. So labels with ``max_iter=0``
        give the supervised maximum-likelihood fit.
    reg_covar : float or "auto"
        Amount added to the diagonals of the covariances in each M-step. ``"auto"`` adds a millionth of the
        variance of each feature, whatever its units. A float is absolute, as in scikit-learn. This option
        is for Gaussians only.
    acceleration : "auto" or None
        ``"auto"``: where EM converges slowly, leap along its path (SQUAREM, Varadhan and Roland 2008). A leap
        to a lower log-likelihood is taken back. This costs a pass, which counts for `max_iter`, but is no
        iteration in the report. Fits of up to 8 iterations are those of EM. None: EM alone.
    rng : None, int or numpy.random.Generator
        Source of randomness (SPEC 7). The same seed gives the same bits, for any number of threads.
    n_threads : int, optional
        Number of threads, but never more than ``NUMBA_NUM_THREADS``. None means numba's setting. Each dask
        task uses one thread.
    callback : callable, optional
        Function that is called as ``callback(iteration, log_likelihood, model)`` after each E-step, from
        iteration 0. If it returns True, the fit makes no more iterations or restarts and returns that
        model.
    progress : bool
        Show a progress bar. This needs tqdm (the extra ``progress``).

    Returns
    -------
    GaussianMixture, or Mixture of another distribution
        The fitted model. Its `report` says how the fit went.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid (before any work starts), if X holds NaN or inf, or if the rows of X
        differ between passes.
    FitInterrupted
        If X can no longer be read during the iterations. The error holds the last parameters.
    OSError
        If X cannot be read, or the disk of `cache_dir` gets full, before the first iteration.
    RuntimeError
        If dask cannot compute a block of X, before the first iteration.
    ImportError
        If ``progress=True`` and tqdm is missing, or if X is Parquet and pyarrow is missing.

    Warns
    -----
    FitWarning
        With a named `cause`: `max_iter` was reached before convergence (unless ``tol=0``), a component is
        singular, the log-likelihood fell, a start failed, or the numbers in X have too few digits left.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (500, 2)), rng.normal(6, 1, (500, 2))])
    >>> model = fastem.fit(X, 2, rng=0)
    >>> model.report.converged
    True
    """
    options = check_options(
        k, covariance_type, distribution, init, n_init, tol, max_iter, reg_covar, acceleration, callback, rng
    )
    return fit_by(options, init, X, sample_weight, n_threads, progress, columns=columns, cache_dir=cache_dir)


def fit_by(
    options: Options[Any],
    init: Any,
    X: Any,
    sample_weight: Any,
    n_threads: int | None,
    progress: bool = False,
    **reading: Any,
) -> Mixture:
    """Fit by checked options. `reading` are the options of `source_of`."""
    began = time.perf_counter()
    source = source_of(X, sample_weight, n_threads, **reading)
    check_enough_rows(options.k, source.n_samples, source.n_positive)
    given = _check_given(init, source, options)
    options.family.n_parameters(options.k, source.n_features)  # a mistake in a user's shows here, not in bic
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


def _check_given(init: Any, source: Source, options: Options[Any]) -> Given:
    if isinstance(init, Mixture):
        check_start(init, options.family, options.k, source.n_features)
        return init
    if isinstance(init, Mapping):
        return check_parameters(init, options.family, options.k, source.n_features)
    return check_init(init, options.family, source.n_samples, options.k, source.n_features)


def _likelihood(source: Source, options: Options[P]) -> Likelihood[P]:
    """Return the log-likelihood of the rows, in standard coordinates. Bad rows raise their error here."""
    family, moments = options.family, source.moments()
    check_spread(source.chunks, source.stored_dtype, moments)
    frame = family.frame(moments, source.dtype)
    base = source.base_measure(family, frame) if family.has_base_measure else 0.0
    return Likelihood(source, family, options.k, frame, options.reg_covar, base, options.sound_first)


class _Ascents(NamedTuple, Generic[P]):
    """The restarts of one fit."""

    likelihood: Likelihood[P]
    options: Options[P]
    given: Given
    feature_names: tuple[str, ...] | None
    advance: Advance

    def best(self) -> tuple[Run[P], list[ValueError]]:
        """Return the best run, and the errors of the starts that failed."""
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
            accelerated = self.options.accelerated
            run = climb(self.likelihood, start, self.options.limits, rng, self._watch, accelerated)
            if run.singular:
                rows = self.likelihood.source.sample(sample_size(self.likelihood, _MASS_ROWS), rng)
                run.masses = masses_of(self.likelihood, rows, run.parameters, run.singular)
            return run
        except PassLost as lost:
            parameters = best.parameters if lost.parameters is None and best.history else lost.parameters
            if parameters is None:
                raise lost.reason from None
            raise FitInterrupted(_in_words(lost.reason), self._model(parameters)) from lost.reason

    def _start(self, restart: int, rng: np.random.Generator) -> Maximised[P]:
        given = self.given
        if isinstance(given, Mixture):
            return Maximised(in_frame(given, self.likelihood.frame), [], [], [])
        if isinstance(given, str):
            return named_start(self.likelihood, given, rng, restart)
        if isinstance(given, dict):
            return partial_start(self.likelihood, given, rng)
        return given_start(self.likelihood, given)

    def _watch(self, iteration: int, log_likelihood: float, parameters: P) -> bool:
        self.advance(log_likelihood)
        callback = self.options.callback
        stop = callback and callback(iteration, log_likelihood, self._model(parameters))
        return isinstance(stop, (bool, np.bool_)) and bool(stop)

    def _model(self, parameters: P) -> Mixture:
        likelihood = self.likelihood
        return model_of(likelihood.family, parameters, likelihood.frame, None, self.feature_names)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _report(best: Run[Any], elapsed: float) -> FitReport:
    return FitReport(
        status=best.status,
        converged=best.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE),
        n_iter=best.n_iter,
        log_likelihood=best.log_likelihood,
        history=tuple(best.history),
        repairs=tuple(
            repair._replace(what=MASS)
            if repair.what == FLOORED and repair.component in best.masses
            else repair
            for repair in best.repairs
        ),
        elapsed=elapsed,
        objective=best.objective,
    )


def _warn_of_end(best: Run[Any], source: Source, options: Options[Any]) -> None:
    """Warn if the fit ended in a way that the user should know about at once and did not ask for."""
    if best.status is FitStatus.DECREASED:
        warn(WarningCause.DECREASED, options.family.advice_on_fall)
    if best.status is FitStatus.MAX_ITER and not options.endless:
        warn(WarningCause.MAX_ITER)
    if best.singular and best.status is not FitStatus.STOPPED:
        spurious = set(best.singular) - set(best.masses)
        warn(
            WarningCause.DEGENERATE if spurious else WarningCause.MASS,
            f"Components {reprlib.repr(best.singular)} of {options.k}, in "
            f"{source.n_positive} rows of {source.n_features} features.",
        )
