"""`accelerate`: scikit-learn's own mixtures, fitted and scored by fastem inside a block."""

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastem._api.interop import mixture_classes
from fastem._typing import Array

# The first and the last minor version of scikit-learn that the tests ran with.
_TESTED = (1, 6), (1, 9)

# The method by which an estimator is pickled, and the module of joblib that sends pickles to new processes.
_PICKLE, _WORKERS = "__getstate__", "joblib.externals.loky"
_SENT = (
    "joblib sends it to worker processes, which are not accelerated. Open fastem.accelerate() in the "
    'function that they run, or use the class of fastem.sklearn, or joblib.parallel_config("threading").'
)

_lock = threading.Lock()
_open_blocks = 0
# The methods that each class itself defines and does not inherit.
_replaced: dict[tuple[type, str], Any] = {}


@contextmanager
def accelerate() -> Iterator[None]:
    """Let the mixtures of scikit-learn compute with fastem while the block is open.

    These are ``sklearn.mixture.GaussianMixture`` and ``sklearn.mixture.BayesianGaussianMixture``. The block
    replaces methods of the classes themselves, so it does not matter who imported them, or when.
    Other libraries that use them are faster too. The estimators stay objects of scikit-learn: they have
    scikit-learn's attributes only, and are pickled as usual. Blocks can be nested, and closing the outermost
    block restores the classes. The change applies to all threads, but not to other processes. If
    joblib sends an estimator to worker processes, the logger ``fastem`` says so, once.

    fastem does not support subclasses, objects with a step of EM of their own, or arrays of other libraries
    under array API dispatch. For these scikit-learn computes, and the logger ``fastem`` says why, once.

    Raises
    ------
    ImportError
        If scikit-learn is missing.

    Warns
    -----
    RuntimeWarning
        If fastem was not tested with the version of scikit-learn.

    Examples
    --------
    >>> import fastem
    >>> from sklearn.mixture import GaussianMixture
    >>> with fastem.accelerate():
    ...     GaussianMixture(2, random_state=0).fit([[0.0], [0.1], [5.0], [5.1]]).converged_
    True
    """
    global _open_blocks
    mixtures = mixture_classes()
    _check_version()
    with _lock:
        if _open_blocks == 0:
            for mixture in mixtures:
                _install(mixture)
        _open_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if _open_blocks == 0:
                for mixture in mixtures:
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
    methods: dict[str, Any] = {
        name: _guarded(mixture, ours, getattr(mixture, name), told) for name, ours in _methods().items()
    }
    methods[_PICKLE] = _watched(getattr(mixture, _PICKLE), told)
    for name, method in methods.items():
        if name in vars(mixture):
            _replaced[mixture, name] = vars(mixture)[name]
        setattr(mixture, name, method)


def _restore(mixture: type) -> None:
    for name in (*_methods(), _PICKLE):
        if (mixture, name) in _replaced:
            setattr(mixture, name, _replaced.pop((mixture, name)))
        else:
            delattr(mixture, name)


def _methods() -> dict[str, Callable[..., Any]]:
    """Return the methods to replace. All other methods of the class build on these."""
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
    from fastem._sklearn.overrides import tell_once

    @functools.wraps(theirs)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        obstacle = _obstacle(mixture, self, args[0] if args else kwargs.get("X"))
        if obstacle is None:
            return ours(self, *args, **kwargs)
        tell_once(obstacle, told)
        return theirs(self, *args, **kwargs)

    return method


def _watched(theirs: Callable[[Any], Any], told: set[str]) -> Callable[[Any], Any]:
    """Say that worker processes are not accelerated when joblib pickles an estimator for them.

    Its processes are new ones. Those that are forked inside a block are accelerated.
    """
    from fastem._sklearn.overrides import tell_once

    @functools.wraps(theirs)
    def getstate(self: Any) -> Any:
        if _SENT not in told and any(name.startswith(_WORKERS) for name in _callers()):
            tell_once(_SENT, told)
        return theirs(self)

    return getstate


def _callers() -> Iterator[str]:
    """Yield the names of the modules that are calling."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back


def _obstacle(mixture: type, estimator: Any, X: Any) -> str | None:
    from sklearn import get_config

    from fastem._sklearn.overrides import overridden

    if type(estimator) is not mixture:
        return f"{type(estimator).__qualname__} is a subclass, which may override a step of EM."
    step = overridden(estimator, mixture)
    if step is not None:
        return f"{step} of this object or of its class was replaced."
    if get_config()["array_api_dispatch"] and not isinstance(X, np.ndarray):
        return f"array API dispatch is on, and X is a {type(X).__module__}.{type(X).__qualname__}."
    return None
