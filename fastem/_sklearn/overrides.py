"""Which methods a subclass overrides by which scikit-learn computes a mixture."""

import logging
import re
from inspect import isfunction
from typing import Any

from fastem._api.interop import mixture_classes

_logger = logging.getLogger("fastem")


def _steps(mixture: type) -> dict[str, Any]:
    """Return scikit-learn's own steps of EM by name: the private methods of its mixture classes."""
    classes = [cls for cls in mixture.__mro__ if cls.__module__.startswith("sklearn.mixture.")]
    members = [member for cls in classes for member in vars(cls).items()]
    names = [name for name, value in members if isfunction(value) and re.match("_[a-z]", name)]
    return {name: getattr(mixture, name) for name in names}


# They are noted when this module is imported, so that a step that is replaced in scikit-learn's class later
# counts as overridden too.
_STEPS = {mixture: _steps(mixture) for mixture in mixture_classes()}


def overridden(estimator: Any, mixture: type, called: tuple[str, ...] = ()) -> str | None:
    """Return the name of a step that fastem would not call, because the estimator has its own, or None.

    The class of the estimator may override a step, and so may the object itself. scikit-learn's `fit` calls
    `fit_predict`, which therefore counts as a step. `called` are more public methods that count. `mixture`
    is the class whose own methods these are.
    """
    theirs = next(base for base in type(estimator).__mro__ if base in _STEPS)
    ours = {} if mixture is theirs else vars(mixture)
    for name, own in _STEPS[theirs].items():
        if getattr(theirs, name) is not own or _function(estimator, name) not in (own, ours.get(name)):
            return name
    for name in ("fit_predict", *called):
        if _function(estimator, name) is not getattr(mixture, name):
            return name
    return None


def _function(estimator: Any, name: str) -> Any:
    method = getattr(estimator, name)
    return getattr(method, "__func__", method)


def tell_once(obstacle: str, told: set[str]) -> None:
    """Log why scikit-learn computes, unless this was `told` before."""
    if obstacle not in told:
        told.add(obstacle)
        _logger.warning("scikit-learn computes this mixture: %s", obstacle)
