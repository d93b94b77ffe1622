"""EM by fastem with the parameters, attributes and conventions of a scikit-learn GaussianMixture.

The estimator is any such object: one of `fastem.sklearn`, or scikit-learn's own while accelerated.
"""

import warnings
from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastem._fit import fit
from fastem._interop import import_mixture, scoring_parameters, set_parameters
from fastem._model import GaussianMixture
from fastem._report import FitReport, without_warnings
from fastem._typing import Array
from fastem._validate import check_n_threads, check_sample_weight

# A fit to no more rows than this, all of one weight, begins where scikit-learn's would, to the bit.
_SAME_START_ROWS = 65536
# One to more begins with fits to samples of so many rows (more if k d is large): at 100,000 rows k-means
# alone may take a third of scikit-learn's time. Their winner goes on, on all rows, to this share of tol.
_SAMPLE_ROWS = 8192
_ROWS_PER_PARAMETER = 4
_POLISH = 0.1

# scikit-learn's words (sklearn/mixture/_base.py): filters of warnings match them.
_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, "
    "tol, or check for degenerate data."
)

_SCORED = ("covariance_type", "weights_", "means_", "precisions_cholesky_")
_mixtures: WeakKeyDictionary[Any, tuple[list[Array], GaussianMixture]] = WeakKeyDictionary()


class Ascent(NamedTuple):
    """Where one start led."""

    model: GaussianMixture
    report: FitReport
    lower_bounds: list[float]  # mean log-likelihood before each M-step

    @property
    def lower_bound(self) -> float:
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


@_fit_context(prefer_skip_nested_validation=True)
def estimate(estimator: Any, X: Any, sample_weight: Any = None, *, n_threads: int | None = None) -> FitReport:
    """Fit, and set scikit-learn's attributes.

    Warm starts, restarts, `lower_bounds_` and messages are as in `BaseMixture.fit_predict` there.
    """
    X = validate_data(estimator, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
    if len(X) < estimator.n_components:
        raise ValueError(
            f"Expected n_samples >= n_components; got n_samples={len(X)} and "
            f"n_components={estimator.n_components}. Use fewer components."
        )
    weight = check_sample_weight(sample_weight, len(X), estimator.n_components)
    check_n_threads(n_threads)
    _check_given(estimator, X)
    warm = estimator.warm_start and hasattr(estimator, "converged_")
    previous = estimator.lower_bound_ if warm else -np.inf
    random_state = check_random_state(estimator.random_state)
    best: Ascent | None = None
    for restart in range(1 if warm else estimator.n_init):
        estimator._print_verbose_msg_init_beg(restart)
        with without_warnings():
            start = mixture_of(estimator) if warm else _start(estimator, X, weight, random_state, n_threads)
            ascent = _ascend(estimator, X, weight, start, previous, n_threads)
        if estimator.max_iter > 0:
            estimator._print_verbose_msg_init_end(ascent.lower_bound, ascent.report.converged)
        if best is None or ascent.lower_bound > best.lower_bound:
            best = ascent
    assert best is not None
    model, report, lower_bounds = best
    set_parameters(estimator, model.weights, model.means, model.covariances, X.dtype)
    estimator.converged_ = report.converged
    estimator.n_iter_ = report.n_iter
    estimator.lower_bound_ = best.lower_bound
    estimator.lower_bounds_ = lower_bounds
    if not report.converged and estimator.max_iter > 0:
        warnings.warn(_NOT_CONVERGED, ConvergenceWarning, stacklevel=2)
    return report


def scored(estimator: Any, X: Any) -> tuple[Array, GaussianMixture]:
    """X as scikit-learn validates it, and the model that the estimator's attributes make."""
    check_is_fitted(estimator)
    return validate_data(estimator, X, reset=False), mixture_of(estimator)


def mixture_of(estimator: Any) -> GaussianMixture:
    """Made once for each state of the attributes: for few rows, to make it would take the longest."""
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
    """scikit-learn answers in float32 only if both the fit and the rows were float32."""
    return values.astype(np.result_type(values, estimator.means_), copy=False)


def _ascend(
    estimator: Any,
    X: Array,
    weight: Array | None,
    start: GaussianMixture,
    previous: float,
    n_threads: int | None,
) -> Ascent:
    lower_bounds: list[float] = []

    def converged(means: Sequence[float]) -> bool:
        """scikit-learn looks back: an M-step after the change became small, it stops."""
        if len(means) < 2:
            return False
        lower_bounds.append(means[-2])
        change = means[-2] - (means[-3] if len(means) > 2 else previous)
        estimator._print_verbose_msg_iter_end(len(lower_bounds), change)
        return bool(abs(change) < estimator.tol)

    model = fit(
        X,
        estimator.n_components,
        covariance_type=estimator.covariance_type,
        sample_weight=weight,
        init=start,
        tol=converged,
        max_iter=estimator.max_iter,
        reg_covar=estimator.reg_covar,
        n_threads=n_threads,
    )
    return Ascent(model, _refuse_repairs(estimator, model), lower_bounds)


def _start(
    estimator: Any,
    X: Array,
    weight: Array | None,
    random_state: np.random.RandomState,
    n_threads: int | None,
) -> GaussianMixture:
    """Where to begin: with scikit-learn's own start, or with the best of some fits to samples."""
    if weight is not None and not weight.all():
        X, weight = X[weight > 0], weight[weight > 0]
    given = (estimator.weights_init, estimator.means_init, estimator.precisions_init)
    complete = all(value is not None for value in given)
    uniform = weight is None or bool((weight == weight[0]).all())
    if complete or (uniform and len(X) <= _SAME_START_ROWS):
        try:
            estimator._initialize_parameters(X, random_state)
            return mixture_of(estimator)
        except ValueError:  # a singular component
            if complete or estimator.reg_covar == 0:
                raise
    sampled = _fit_to_samples(estimator, X, weight, random_state.randint(2**31 - 1), n_threads)
    weights, means, precisions = given
    invert = np.linalg.inv if estimator.covariance_type in ("full", "tied") else np.reciprocal
    return GaussianMixture(
        sampled.weights if weights is None else weights,
        sampled.means if means is None else means,
        sampled.covariances if precisions is None else invert(precisions),
        estimator.covariance_type,
    )


def _fit_to_samples(
    estimator: Any, X: Array, weight: Array | None, seed: int, n_threads: int | None
) -> GaussianMixture:
    """The best of some fits, each to a sample of its own, as a larger sample judges; then EM on all rows.

    One thread will do for samples: a pass over so few rows is over before another thread wakes up.
    """
    k = estimator.n_components
    size = max(_SAMPLE_ROWS, _ROWS_PER_PARAMETER * k * X.shape[1])
    options = {
        "covariance_type": estimator.covariance_type,
        "reg_covar": estimator.reg_covar,
        "max_iter": max(1, estimator.max_iter),
    }

    def sample(rng: np.random.Generator, size: int) -> tuple[Array, Array | None]:
        if size >= len(X):
            return X, weight
        rows = np.sort(rng.choice(len(X), size, replace=False, shuffle=False))
        return X[rows], None if weight is None else weight[rows]

    rng = np.random.default_rng(seed)
    jury = sample(rng, max(size, _SAME_START_ROWS))
    best, highest = None, -np.inf
    for child in rng.spawn(4 + k // 2):
        rows, weights = sample(child, size)
        model = fit(
            rows,
            k,
            sample_weight=weights,
            init=estimator.init_params,
            tol=estimator.tol,
            rng=child,
            n_threads=1,
            **options,
        )
        score = model.score(*jury, n_threads=1)
        if best is None or score > highest:
            best, highest = model, score
    tol = _POLISH * estimator.tol
    return fit(X, k, sample_weight=weight, init=best, tol=tol, n_threads=n_threads, **options)


def _refuse_repairs(estimator: Any, model: GaussianMixture) -> FitReport:
    """With reg_covar=0, scikit-learn's error for a component that had to be repaired.

    But for one that became singular in the very last of `max_iter` iterations: scikit-learn's tests
    want such a fit to end with a warning only.
    """
    report = model.report
    assert report is not None
    cut_short = not report.converged and all(repair.iteration == report.n_iter for repair in report.repairs)
    if estimator.reg_covar == 0 and report.repairs and not cut_short:
        singular = np.zeros_like(model.covariances)
        import_mixture()._compute_precision_cholesky(singular, estimator.covariance_type)
    return report


def _check_given(estimator: Any, X: Array) -> None:
    """scikit-learn's checks of weights_init, means_init and precisions_init; 1.8 added a parameter."""
    check = estimator._check_parameters
    check(X, xp=np) if "xp" in signature(check).parameters else check(X)
