"""Errors for those who know scikit-learn: the name that something has here, in place of the one there."""

import inspect
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")

_SEED = "The source of randomness is rng: pass rng=0, or a numpy.random.Generator."
_PROGRESS = "progress=True shows a bar, and callback= gets each iteration."
_IN_INIT = 'Parameters to start from are a dict: init={"weights": ..., "means": ..., "covariances": ...}'
# For each argument of scikit-learn, those that a function must have for this advice to hold, and the advice.
_ARGUMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "random_state": (("rng",), _SEED),
    "seed": (("rng",), _SEED),
    "n_components": (("k",), "The number of components is k, the second argument."),
    "n_clusters": (("k",), "The number of clusters is k, the second argument."),
    "n_jobs": (("n_threads",), "The number of threads is n_threads=."),
    "weights_init": (("init", "fixed"), f"{_IN_INIT}, or some of these."),
    "means_init": (("init", "fixed"), f"{_IN_INIT}, or some of these."),
    "precisions_init": (("init", "fixed"), f"{_IN_INIT}; covariances are the inverses of precisions."),
    "init_params": (("init",), 'The start is init=, such as init="auto" or init="k-means++".'),
    "warm_start": (("init", "fixed"), "To go on from a model, pass init=model."),
    "verbose": (("progress",), _PROGRESS),
    "verbose_interval": (("progress",), _PROGRESS),
    "n_samples": (("n",), "The number of rows is n, the first argument."),
    "copy_x": ((), "X is never written to, so no copy is needed: leave it out."),
    "algorithm": ((), "There is one algorithm, which is exact: leave it out."),
    "metric": ((), "Distances are Euclidean: leave it out."),
    "y": (("labels",), "Known labels of rows are labels=."),
    **dict.fromkeys(
        ("errors", "yerr", "xerr", "xcovar", "noise_variance", "noise_covariance", "covariance_of_noise"),
        (("noise",), "Known errors of the rows are noise=: variances, which are squares of standard errors."),
    ),
    "missing": ((), 'Rows must be complete here; fastem.fit(X, k, missing="marginalise") takes gaps.'),
}
_DROP_IN = " fastem.sklearn.GaussianMixture takes the arguments of scikit-learn."

HOLDS_PARAMETERS = (
    "It holds parameters that are known. To fit a mixture of 3 components to X, call fastem.fit(X, 3). "
    "fastem.sklearn.GaussianMixture(3) is fitted as in scikit-learn."
)
HOLDS_CENTERS = "It holds centers that are known. To find 3 clusters in X, call fastem.kmeans(X, 3)."

_REFIT = "Models do not change. fastem.fit(X, k) returns one, and init=model goes on from it."
_NO_DENSITY = 'k-means has no density. Use fastem.fit(X, k, covariance_type="EII"), or transform(X).'
_GAUSSIANS_ALONE = "That is for Gaussian mixtures alone (fastem.GaussianMixture), without noise."
# What models have in place of the attributes of scikit-learn.
MIXTURE_NAMES: Mapping[str, str] = {
    "fit": _REFIT,
    "fit_predict": "Use fastem.fit(X, k).predict(X).",
    "partial_fit": "Use fastem.partial_fit(model, chunk), which returns the next model.",
    "get_params": "fastem.sklearn.GaussianMixture is an estimator.",
    "set_params": "fastem.sklearn.GaussianMixture is an estimator.",
    "weights_": "Use weights.",
    "precisions_": "They are the inverses of covariances.",
    "precisions_cholesky_": "to_sklearn() has them.",
    "labels_": "Use predict(X).",
    "n_iter_": "Use report.n_iter.",
    "converged_": "Use report.converged.",
    "lower_bound_": "Use score(X), or report.log_likelihood, which is a total.",
    "lower_bounds_": "Use report.history, which has totals.",
    "n_features_in_": "Use n_features.",
    "feature_names_in_": "Use feature_names.",
    "k": "Use n_components.",
    **dict.fromkeys(("regress", "condition", "marginal", "merge", "to_sklearn"), _GAUSSIANS_ALONE),
}
KMEANS_NAMES: Mapping[str, str] = {
    "fit": "Models do not change. fastem.kmeans(X, k) returns one, and init=model goes on from it.",
    "fit_predict": "Use fastem.kmeans(X, k).labels.",
    "fit_transform": "Use fastem.kmeans(X, k).transform(X).",
    "cluster_centers_": "Use centers.",
    "labels_": "Use labels, or predict(X).",
    "inertia_": "Use inertia.",
    "n_iter_": "Use report.n_iter.",
    "n_clusters": "Use k.",
    "n_features_in_": "Use n_features.",
    "feature_names_in_": "Use feature_names.",
    "predict_proba": _NO_DENSITY,
    "score_samples": _NO_DENSITY,
    "score": _NO_DENSITY,
    "bic": _NO_DENSITY,
    "aic": _NO_DENSITY,
}


def unknown_argument(name: str, known: Collection[str]) -> str:
    """Return what to do about an argument that a function with these arguments does not know."""
    if name in _ARGUMENTS:
        needed, words = _ARGUMENTS[name]
        if set(needed) <= set(known):
            return words + _DROP_IN * ("reg_covar" in known)
    close = [] if name in _ARGUMENTS else get_close_matches(name, known, 1)
    return f"Did you mean {close[0]}=?" if close else f"The arguments are {', '.join(known)}."


def advised(
    missing: Mapping[str, str] | None = None, about: str = "", also: Collection[str] = ()
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function answer wrong arguments with the right ones, and take what underflows for 0.

    `missing` has advice for arguments that are left out. `about` ends all of these errors, in place of a list
    of the arguments. `also` are arguments that the function takes beyond those of its signature.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        known = [*(name for name in signature.parameters if name != "self"), *also]

        def advice(given: Mapping[str, object], error: TypeError) -> str:
            unknown = [name for name in given if name not in known]
            if unknown:
                words = unknown_argument(unknown[0], known)
                return f"got an unexpected argument {unknown[0]!r}. {_either(words, about)}"
            for name, words in (missing or {}).items():
                if str(error).endswith(repr(name)):
                    return f"needs {name}. {words}"
            return f"cannot be called so: {error}. {about or 'Pass options by name.'}"

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                # What underflows is 0, also for users who let NumPy raise errors.
                with np.errstate(under="ignore"):
                    return function(*args, **kwargs)
            except TypeError:
                # To bind them first would take longer than anything else that is asked of the arguments.
                error = _binding_error(signature, args, kwargs)
                if error is None:
                    raise
                owner = type(args[0]) if "self" in signature.parameters and args else None
                name = function.__name__ if owner is None else f"{owner.__name__}.{function.__name__}"
                name = name.removesuffix(".__init__")
                raise TypeError(f"{name}() {advice(kwargs, error)}") from None

        return call

    return decorate


def _binding_error(signature: inspect.Signature, args: Any, kwargs: Any) -> TypeError | None:
    """Return the error of arguments that the signature does not take."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return error
    return None


def _either(words: str, about: str) -> str:
    return about if about and words.startswith("The arguments are") else f"{words} {about}".rstrip()
