"""`accelerate`: scikit-learn's own GaussianMixture, fitted and scored by fastem for a while."""

import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem._api.interop import import_mixture
from fastem._typing import Array

# First and last minor version of scikit-learn that the tests ran with.
_TESTED = (1, 6), (1, 9)

_logger = logging.getLogger("fastem")
_lock = threading.Lock()
_open_blocks = 0
# What the class itself defined, where it did not inherit.
_covered: dict[str, Any] = {}


@contextmanager
def accelerate() -> Iterator[None]:
    """While open, ``sklearn.mixture.GaussianMixture`` computes with fastem.

    The methods of the class itself are exchanged, so it does not matter who imported it, from where and
    when: libraries that fit mixtures inside are faster too. Its objects stay scikit-learn's, with
    scikit-learn's attributes only, and are pickled as such. Blocks can be nested, and closing the last
    one restores the class. The exchange is seen by all threads, but not by other processes.

    Where scikit-learn supports more than fastem, that is for subclasses and for arrays of other libraries
    under array API dispatch, scikit-learn computes, and the logger ``fastem`` tells why, once.

    Raises
    ------
    ImportError
        If scikit-learn is missing.

    Warns
    -----
    RuntimeWarning
        If the version of scikit-learn is not among those that this was tested with.

    Examples
    --------
    >>> import fastem
    >>> from sklearn.mixture import GaussianMixture
    >>> with fastem.accelerate():
    ...     GaussianMixture(2, random_state=0).fit([[0.0], [0.1], [5.0], [5.1]]).predict([[0.2]])
    array([0])
    """
    global _open_blocks
    mixture = import_mixture().GaussianMixture
    _check_version()
    with _lock:
        if _open_blocks == 0:
            _install(mixture)
        _open_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if _open_blocks == 0:
                _restore(mixture)


def _check_version() -> None:
    from sklearn import __version__

    version = tuple(int(part) for part in __version__.split(".")[:2])
    if not _TESTED[0] <= version <= _TESTED[1]:
        first, last = (".".join(map(str, bound)) for bound in _TESTED)
        warnings.warn(
            f"fastem.accelerate was tested with scikit-learn {first} to {last}; this is {__version__}. "
            "Compare a result with and without it.",
            RuntimeWarning,
            stacklevel=4,
        )


def _install(mixture: type) -> None:
    told: set[str] = set()
    for name, ours in _methods().items():
        if name in vars(mixture):
            _covered[name] = vars(mixture)[name]
        setattr(mixture, name, _guarded(mixture, ours, getattr(mixture, name), told))


def _restore(mixture: type) -> None:
    for name in _methods():
        if name in _covered:
            setattr(mixture, name, _covered.pop(name))
        else:
            delattr(mixture, name)


def _methods() -> dict[str, Callable[..., Any]]:
    """What all others of the class build on."""
    from fastem._sklearn import drop_in as _drop_in

    def fit(estimator: Any, X: Any, y: Any = None) -> Any:
        _drop_in.estimate(estimator, X)
        return estimator

    def fit_predict(estimator: Any, X: Any, y: Any = None) -> Array:
        return _drop_in.predict(fit(estimator, X), X)

    return {
        "fit": fit,
        "fit_predict": fit_predict,
        "predict": _drop_in.predict,
        "predict_proba": _drop_in.predict_proba,
        "score_samples": _drop_in.score_samples,
    }


def _guarded(
    mixture: type, ours: Callable[..., Any], theirs: Callable[..., Any], told: set[str]
) -> Callable[..., Any]:
    @functools.wraps(theirs)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        obstacle = _obstacle(mixture, self, args[0] if args else kwargs.get("X"))
        if obstacle is None:
            return ours(self, *args, **kwargs)
        if obstacle not in told:
            told.add(obstacle)
            _logger.warning("GaussianMixture is left to scikit-learn: %s", obstacle)
        return theirs(self, *args, **kwargs)

    return method


def _obstacle(mixture: type, estimator: Any, X: Any) -> str | None:
    from sklearn import get_config

    if type(estimator) is not mixture:
        return f"{type(estimator).__qualname__} is a subclass, which may override a step of EM."
    if get_config()["array_api_dispatch"] and not isinstance(X, np.ndarray):
        return f"array API dispatch is on, and X is a {type(X).__module__}.{type(X).__qualname__}."
    return None
