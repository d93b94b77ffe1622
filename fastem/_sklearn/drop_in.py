"""EM by fastem with the parameters, attributes and conventions of a mixture of scikit-learn.

The estimator is one of `fastem.sklearn`, or scikit-learn's own inside `fastem.accelerate`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastem._api.fitting import BRIEF
from fastem._api.scores import Densities
from fastem._report import FitReport, collected_warnings
from fastem._sklearn.likelihood import MaximumLikelihood
from fastem._sklearn.variational import Variational
from fastem._sklearn.ways import Ascent, Start, Way
from fastem._sources.checks import check_n_threads, check_sample_weight
from fastem._typing import Array

# A fit to at most this many rows, all of the same weight, has the same start as scikit-learn, to the bit, if
# scikit-learn's name of a start is asked for. At 100,000 rows k-means alone may take a third of
# scikit-learn's time.
_SAME_START_ROWS = 65536
# Our own start is brief up to this many rows, where the start "auto" would take longer than the fit.
_BRIEF_ROWS = 65536
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

_likelihood, _variational = MaximumLikelihood(), Variational()
_scorers: WeakKeyDictionary[Any, tuple[list[Any], Densities]] = WeakKeyDictionary()


class _NoSeeds(ISeedSequence):
    """The seeds of a generator that is seeded anew. NumPy takes a tenth of a millisecond for its own."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Array:
        return np.ones(n_words, dtype)


def _random_state_of(estimator: Any) -> np.random.RandomState:
    """Return the same as scikit-learn's `check_random_state`."""
    if type(estimator.random_state) is not int:
        return cast(np.random.RandomState, check_random_state(estimator.random_state))
    seeds: Any = _NoSeeds()
    random_state = np.random.RandomState(np.random.MT19937(seeds))
    random_state.seed(estimator.random_state)
    return random_state


def _way_of(estimator: Any) -> Way:
    return _variational if isinstance(estimator, BayesianGaussianMixture) else _likelihood


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
    with at_most(n_threads), np.errstate(under="ignore"):  # as in fastem.fit, what underflows is 0
        return _estimate(estimator, X, weight, n_threads if work > _WORTH_THREADS else 1)


def _estimate(estimator: Any, X: Array, weight: Array | None, n_threads: int | None) -> FitReport:
    way = _way_of(estimator)
    way.check(estimator, X, weight)
    warm = estimator.warm_start and hasattr(estimator, "converged_")
    if warm:
        _check_warm(estimator, X.shape[1])
    previous = estimator.lower_bound_ if warm else -np.inf
    random_state = _random_state_of(estimator)
    best: Ascent | None = None
    for restart in range(1 if warm else estimator.n_init):
        estimator._print_verbose_msg_init_beg(restart)
        with collected_warnings():
            if warm:
                start = Start(way.fitted(estimator))
            else:
                start = _start(way, estimator, X, weight, random_state, n_threads)
            ascent = way.ascend(estimator, X, weight, start, previous, n_threads)
        if estimator.max_iter > 0:
            estimator._print_verbose_msg_init_end(ascent.lower_bound, ascent.report.converged)
        if best is None or ascent.lower_bound > best.lower_bound:
            best = ascent
    assert best is not None
    parameters, report, lower_bounds = best
    estimator._set_parameters(_in_dtype(parameters, X.dtype))
    estimator.converged_ = report.converged
    estimator.n_iter_ = report.n_iter
    estimator.lower_bound_ = best.lower_bound
    estimator.lower_bounds_ = lower_bounds
    if not report.converged and estimator.max_iter > 0:
        warnings.warn(_NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
    return report


def _in_dtype(parameters: tuple[Any, ...], dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return arrays in a dtype, also those of tuples in the tuple."""
    return tuple(
        _in_dtype(value, dtype) if isinstance(value, tuple) else value.astype(dtype) for value in parameters
    )


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


def scored(estimator: Any, X: Any) -> tuple[Array, Any]:
    """Return X as scikit-learn validates it, and what scores it by the estimator's parameters."""
    check_is_fitted(estimator)
    with np.errstate(under="ignore"):
        return validate_data(estimator, X, reset=False), _scorer_of(estimator)


def _scorer_of(estimator: Any) -> Densities:
    """Return what scores by the estimator's parameters.

    It is made only when the parameters change. With few rows, making it would take longer than scoring.
    """
    way = _way_of(estimator)
    state = [np.array(getattr(estimator, name)) for name in way.scored]
    known = _scorers.get(estimator)
    if known is not None and all(map(np.array_equal, state, known[0])):
        return known[1]
    scorer = way.scorer(estimator)
    _scorers[estimator] = state, scorer
    return scorer


def predict(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, scorer = scored(estimator, X)
    labels: Array = scorer.predict(X, n_threads=n_threads)
    return labels


def predict_proba(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, scorer = scored(estimator, X)
    return _promoted(scorer.predict_proba(X, n_threads=n_threads), estimator)


def score_samples(estimator: Any, X: Any, *, n_threads: int | None = None) -> Array:
    X, scorer = scored(estimator, X)
    return _promoted(scorer.score_samples(X, n_threads=n_threads), estimator)


def _promoted(values: Array, estimator: Any) -> Array:
    """Return float32 only if both the fit and the rows were float32, as scikit-learn does."""
    with np.errstate(under="ignore"):
        return values.astype(np.result_type(values, estimator.means_), copy=False)


def _start(
    way: Way,
    estimator: Any,
    X: Array,
    weight: Array | None,
    random_state: np.random.RandomState,
    n_threads: int | None,
) -> Start:
    """Return scikit-learn's own start if it is asked for by name and can be had, or else our own."""
    if weight is not None and not weight.all():
        X, weight = X[weight > 0], weight[weight > 0]
    given = way.given(estimator)
    complete = bool(given) and all(value is not None for value in given)
    theirs = estimator.init_params != OWN and way.starts_alike(weight) and len(X) <= _SAME_START_ROWS
    if complete or theirs:
        try:
            estimator._initialize_parameters(X, random_state)
            return Start(way.fitted(estimator))
        except ValueError:  # a singular component
            if complete or estimator.reg_covar == 0:
                raise
    own, seed = BRIEF if len(X) <= _BRIEF_ROWS else "auto", random_state.randint(2**31 - 1)
    return way.own_start(estimator, X, weight, own, seed, n_threads)


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
