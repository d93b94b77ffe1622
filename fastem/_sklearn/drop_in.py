"""EM by fastem with the parameters, attributes and conventions of a scikit-learn GaussianMixture.

The estimator is a `fastem.sklearn.GaussianMixture`, or scikit-learn's own inside `fastem.accelerate`.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastem._api.fitting import BRIEF, fit_by
from fastem._api.gaussian import GaussianMixture
from fastem._api.interop import import_mixture, scoring_parameters
from fastem._api.options import Options, check_options
from fastem._em.loop import KEPT
from fastem._report import FitReport, without_warnings
from fastem._sources.checks import check_n_threads, check_sample_weight
from fastem._typing import Array, FloatArray

# A fit to at most this many rows, all of the same weight, has the same start as scikit-learn, to the bit, if
# scikit-learn's name of a start is asked for. At 100,000 rows k-means alone may take a third of
# scikit-learn's time.
_SAME_START_ROWS = 65536
# Our own start is brief up to this many rows, where the start "auto" would take longer than the fit.
_BRIEF_ROWS = 65536
# Our own start is near a maximum, where gains are small. So the iterations go on down to this share of tol.
_TOL_SHARE = 0.1
# In a pass of fewer multiply-adds, to wake another thread takes longer than its part of the work. On a busy
# machine it takes a hundred times as long.
_WORTH_THREADS = 1 << 22

# The value of init_params that asks for our own start.
OWN = "auto"

# This is scikit-learn's message (sklearn/mixture/_base.py), since users' warning filters match it.
_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
    "tol, or check for degenerate data."
)

_SCORED = ("covariance_type", "weights_", "means_", "precisions_cholesky_")
_mixtures: WeakKeyDictionary[Any, tuple[list[Array], GaussianMixture]] = WeakKeyDictionary()


class Start(NamedTuple):
    """Where the iterations over all rows begin."""

    init: GaussianMixture | str  # the initial model, or the name of a start of ours
    seed: int | None = None
    tol_share: float = 1.0  # the iterations continue down to this share of tol


class Ascent(NamedTuple):
    """The result of one start."""

    model: GaussianMixture
    report: FitReport
    # The mean log-likelihood before each M-step, or after it if the start was our own.
    lower_bounds: list[float]

    @property
    def lower_bound(self) -> float:
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


@_fit_context(prefer_skip_nested_validation=True)
def estimate(estimator: Any, X: Any, sample_weight: Any = None, *, n_threads: int | None = None) -> FitReport:
    """Fit an estimator and set scikit-learn's attributes.

    Warm starts, restarts, `lower_bounds_` and messages follow scikit-learn's `BaseMixture.fit_predict`.
    """
    X = validate_data(estimator, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
    if len(X) < estimator.n_components:
        raise ValueError(
            f"Expected n_samples >= n_components; got n_samples={len(X)} and "
            f"n_components={estimator.n_components}. Use fewer components."
        )
    weight = check_sample_weight(sample_weight, len(X), estimator.n_components)
    work = X.size * estimator.n_components
    if estimator.covariance_type in ("full", "tied"):
        work *= X.shape[1]
    with at_most(n_threads):
        return _estimate(estimator, X, weight, n_threads if work > _WORTH_THREADS else 1)


def _estimate(estimator: Any, X: Array, weight: Array | None, n_threads: int | None) -> FitReport:
    _check_given(estimator, X)
    warm = estimator.warm_start and hasattr(estimator, "converged_")
    if warm:
        _check_warm(estimator, X.shape[1])
    previous = estimator.lower_bound_ if warm else -np.inf
    random_state = check_random_state(estimator.random_state)
    best: Ascent | None = None
    for restart in range(1 if warm else estimator.n_init):
        estimator._print_verbose_msg_init_beg(restart)
        with without_warnings():
            if warm:
                start = Start(mixture_of(estimator))
            else:
                start = _start(estimator, X, weight, random_state, n_threads)
            ascent = _ascend(estimator, X, weight, start, previous, n_threads)
        if estimator.max_iter > 0:
            estimator._print_verbose_msg_init_end(ascent.lower_bound, ascent.report.converged)
        if best is None or ascent.lower_bound > best.lower_bound:
            best = ascent
    assert best is not None
    model, report, lower_bounds = best
    _set_parameters(estimator, model, X.dtype)
    estimator.converged_ = report.converged
    estimator.n_iter_ = report.n_iter
    estimator.lower_bound_ = best.lower_bound
    estimator.lower_bounds_ = lower_bounds
    if not report.converged and estimator.max_iter > 0:
        warnings.warn(_NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
    return report


def _set_parameters(estimator: Any, model: GaussianMixture, dtype: np.dtype[Any]) -> None:
    """Set the fitted parameters of an estimator, in `dtype`. Precisions are factorised in float64."""
    parameters = (model.weights, model.means, model.covariances, _precisions_cholesky(model))
    estimator._set_parameters(tuple(array.astype(dtype) for array in parameters))


def _precisions_cholesky(model: GaussianMixture) -> FloatArray:
    """Return the upper triangular roots of the precisions.

    For matrices, scikit-learn computes them with a triangular solve of scipy, which wakes the threads of
    BLAS. These then spin for a tenth of a second, and passes of the next fit took 5 ms instead of 1 ms.
    """
    if model.covariance_type in ("full", "tied"):
        try:
            inverse = np.linalg.inv(np.linalg.cholesky(model.covariances))
        except np.linalg.LinAlgError:
            pass  # scikit-learn's function below raises the error in its own words
        else:
            return np.triu(np.swapaxes(inverse, -1, -2))
    cholesky = import_mixture()._compute_precision_cholesky(model.covariances, model.covariance_type)
    return np.asarray(cholesky)


@cache
def _thread_pools() -> Any:
    """Return the libraries with threads of their own, which takes milliseconds.

    NumPy, SciPy and scikit-learn have loaded theirs already. That of numba may come later, but passes tell
    numba the number of threads themselves.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def at_most(n_threads: int | None) -> Iterator[None]:
    """Limit the threads of BLAS and OpenMP, which k-means uses. No limit is raised."""
    check_n_threads(n_threads)
    if n_threads is None:
        yield
        return
    pools = _thread_pools()
    excessive = [pool["filepath"] for pool in pools.info() if (pool["num_threads"] or 0) > n_threads]
    with pools.select(filepath=excessive).limit(limits=n_threads):
        yield


def scored(estimator: Any, X: Any) -> tuple[Array, GaussianMixture]:
    """Return X as scikit-learn validates it, and the model with the estimator's parameters."""
    check_is_fitted(estimator)
    return validate_data(estimator, X, reset=False), mixture_of(estimator)


def mixture_of(estimator: Any) -> GaussianMixture:
    """Return the model with the estimator's parameters.

    It is made only when the parameters change. With few rows, making it would take longer than scoring.
    """
    state = [np.array(getattr(estimator, name)) for name in _SCORED]
    known = _mixtures.get(estimator)
    if known is not None and all(map(np.array_equal, state, known[0])):
        return known[1]
    mixture = GaussianMixture(*scoring_parameters(estimator))
    _mixtures[estimator] = state, mixture
    return mixture


def predict(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, mixture = scored(estimator, X)
    labels: Array = mixture.predict(X, n_threads=n_threads)
    return labels


def predict_proba(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, mixture = scored(estimator, X)
    return _promoted(mixture.predict_proba(X, n_threads=n_threads), estimator)


def score_samples(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, mixture = scored(estimator, X)
    return _promoted(mixture.score_samples(X, n_threads=n_threads), estimator)


def _promoted(values: Array, estimator: Any) -> Array:
    """Return float32 only if both the fit and the rows were float32, as scikit-learn does."""
    return values.astype(np.result_type(values, estimator.means_), copy=False)


def _ascend(
    estimator: Any,
    X: Array,
    weight: Array | None,
    start: Start,
    previous: float,
    n_threads: int | None,
) -> Ascent:
    lower_bounds: list[float] = []
    tol = estimator.tol * start.tol_share

    def converged(means: Sequence[float]) -> bool:
        """Return whether to stop, by scikit-learn's rule.

        scikit-learn stops one M-step after the change became small. Our own start is near a maximum, so the
        change of the first M-step counts. `tol` may be smaller than the user's. So in the last iteration the
        user's own tol decides whether the fit has converged.
        """
        if len(means) < 2:
            return False
        if start.tol_share < 1:
            bound, before = means[-1], means[-2]
        else:
            bound, before = means[-2], means[-3] if len(means) > 2 else previous
        lower_bounds.append(bound)
        change = bound - before
        estimator._print_verbose_msg_iter_end(len(lower_bounds), change)
        return bool(abs(change) < (tol if len(lower_bounds) < estimator.max_iter else estimator.tol))

    options = _options(estimator, converged, estimator.max_iter, start.seed)
    limits = replace(options.limits, leave_saddles=False)
    if estimator.reg_covar == 0:  # asks for no repair
        limits = replace(limits, reseeds=0)
    options = options._replace(limits=limits)
    model = cast(GaussianMixture, fit_by(options, start.init, X, weight, n_threads))
    return Ascent(model, _refuse_repairs(estimator, model), lower_bounds)


def _options(estimator: Any, tol: Any, max_iter: int, rng: int | None) -> Options[Any]:
    options = check_options(
        estimator.n_components,
        estimator.covariance_type,
        "gaussian",
        "auto",
        1,
        tol,
        max_iter,
        estimator.reg_covar,
        None,
        None,
        rng,
    )
    # The likelihood alone decides, as between scikit-learn's restarts.
    return options._replace(sound_first=False)


def _start(
    estimator: Any,
    X: Array,
    weight: Array | None,
    random_state: np.random.RandomState,
    n_threads: int | None,
) -> Start:
    """Return scikit-learn's own start if it is asked for by name and can be had, or else our own."""
    if weight is not None and not weight.all():
        X, weight = X[weight > 0], weight[weight > 0]
    given = (estimator.weights_init, estimator.means_init, estimator.precisions_init)
    complete = all(value is not None for value in given)
    uniform = weight is None or bool((weight == weight[0]).all())
    theirs = estimator.init_params != OWN and uniform and len(X) <= _SAME_START_ROWS
    if complete or theirs:
        try:
            with scikit_learns_start(estimator):
                estimator._initialize_parameters(X, random_state)
            return Start(mixture_of(estimator))
        except ValueError:  # a singular component
            if complete or estimator.reg_covar == 0:
                raise
    own, seed = BRIEF if len(X) <= _BRIEF_ROWS else "auto", random_state.randint(2**31 - 1)
    if all(value is None for value in given):
        return Start(own, seed, _TOL_SHARE)
    options = _options(estimator, estimator.tol, 0, seed)
    found = cast(GaussianMixture, fit_by(options, own, X, weight, n_threads))
    weights, means, precisions = given
    invert = np.linalg.inv if estimator.covariance_type in ("full", "tied") else np.reciprocal
    start = GaussianMixture(
        found.weights if weights is None else weights,
        found.means if means is None else means,
        found.covariances if precisions is None else invert(precisions),
        estimator.covariance_type,
    )
    return Start(start, tol_share=_TOL_SHARE)


@contextmanager
def scikit_learns_start(estimator: Any) -> Iterator[None]:
    """Let scikit-learn initialise an estimator whose start is our own, by scikit-learn's default."""
    name = estimator.init_params
    if name == OWN:
        estimator.init_params = "kmeans"
    try:
        yield
    finally:
        estimator.init_params = name


def _refuse_repairs(estimator: Any, model: GaussianMixture) -> FitReport:
    """Raise scikit-learn's error if reg_covar=0 and a component had to be repaired.

    A component without rows has no covariance of its own to be singular if the components share one.

    There is no error if components became singular only in the last of `max_iter` iterations.
    scikit-learn's tests require that such a fit ends with a warning only.
    """
    report = model.report
    assert report is not None
    shared = estimator.covariance_type == "tied"
    repairs = [repair for repair in report.repairs if not (shared and repair.what == KEPT)]
    cut_short = not report.converged and all(repair.iteration == report.n_iter for repair in repairs)
    if estimator.reg_covar == 0 and repairs and not cut_short:
        singular = np.zeros_like(model.covariances)
        import_mixture()._compute_precision_cholesky(singular, estimator.covariance_type)
    return report


def _check_warm(estimator: Any, n_features: int) -> None:
    """Raise an error if the last fit was of another kind of mixture, from which this one cannot go on."""
    k, d = estimator.means_.shape
    shapes = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
    wanted = estimator.n_components, n_features, shapes[estimator.covariance_type]
    found = k, d, estimator.covariances_.shape
    names = "n_components", "the number of features", "covariance_type"
    for name, new, old in zip(names, wanted, found, strict=True):
        if new != old:
            raise ValueError(
                f"{name} must be that of the last fit where warm_start=True, since this fit goes on from it. "
                "Set warm_start=False, or fit a clone of the estimator."
            )


def _check_given(estimator: Any, X: Array) -> None:
    """Call scikit-learn's checks of weights_init, means_init and precisions_init.

    scikit-learn 1.8 added a parameter to them.
    """
    check = estimator._check_parameters
    check(X, xp=np) if _takes_xp(check.__func__) else check(X)


@cache
def _takes_xp(function: Callable[..., Any]) -> bool:
    return "xp" in signature(function).parameters
