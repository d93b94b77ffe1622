"""How a fit went, and the warning where the user should know at once."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class FitStatus(Enum):
    """Why a fit stopped; the value is the advice to the user."""

    CONVERGED = "The gain in mean log-likelihood fell below tol."
    DEGENERATE = (
        "Converged, but the covariance of at least one component is singular but for reg_covar: it sits on "
        "too few or on collinear points. Use fewer components, more restarts (n_init), or a simpler "
        "covariance_type."
    )
    MAX_ITER = (
        "max_iter was reached before convergence. Raise max_iter or tol, or go on from here with init=model."
    )
    DECREASED = (
        "The log-likelihood fell by more than tol, though no component was repaired: the data are at the "
        "limits of their precision, or reg_covar is large for them. Use float64, subtract large offsets, or "
        "lower reg_covar."
    )
    FAILED = (
        "The arithmetic broke down; these are the last valid parameters. Rescale the columns, use float64, "
        "or raise reg_covar."
    )
    INITIAL = "max_iter=0: these are the initial parameters."
    ONLINE = (
        "Fitted by partial_fit, one chunk after the other. Go on with more chunks, or to a maximum of the "
        "likelihood with fit(X, k, init=model)."
    )
    STOPPED = "The callback stopped the fit. Go on from here with init=model."


class Repair(NamedTuple):
    """A component that maximum likelihood would have lost, and what was done."""

    iteration: int
    component: int
    what: str


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Attributes
    ----------
    status : FitStatus
        Why it stopped; ``status.value`` is advice in words.
    converged : bool
        Whether the gain in mean log-likelihood fell below `tol`.
    n_iter : int
        M-steps made.
    log_likelihood : float
        Total log-likelihood of the returned parameters, without any penalty.
    history : tuple of float
        What the fit raised, the total log-likelihood, for the initial parameters and after each iteration:
        n_iter + 1 values.
    repairs : tuple of Repair
        (iteration, component, what) of components that were re-seeded, lost their rows or rest on the floor.
    elapsed : float
        Seconds, initialisation and all restarts included.
    objective : float
        The last value of `history`.
    """

    status: FitStatus
    converged: bool
    n_iter: int
    log_likelihood: float
    history: tuple[float, ...]
    repairs: tuple[Repair, ...]
    elapsed: float
    objective: float


class WarningCause(Enum):
    """Why a `FitWarning` was given; the value is the advice to the user."""

    MAX_ITER = FitStatus.MAX_ITER.value
    DEGENERATE = (
        "The covariance of at least one component is singular but for reg_covar: it sits on too few or on "
        "collinear points. Use fewer components, more restarts (n_init), or a simpler covariance_type."
    )
    DECREASED = FitStatus.DECREASED.value
    PRECISION = (
        "Numbers so far from 0 leave few digits to what differs between rows. Subtract an offset first."
    )
    FAILED = (
        "The arithmetic of a start broke down; the best valid mixture is returned. Rescale the columns, use "
        "float64, or raise reg_covar."
    )


class FitWarning(UserWarning):
    """A fit gave a valid mixture, and there is something that its user should know at once.

    Attributes
    ----------
    cause : WarningCause
        What it is; ``cause.value`` is advice in words.
    """

    def __init__(self, cause: WarningCause, details: str = "") -> None:
        super().__init__(cause, details)
        self.cause = cause
        self.details = details

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.cause.name}:", self.details, self.cause.value)))


class Breakdown(ValueError):
    """Arithmetic left the range of its numbers."""


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def without_warnings() -> Iterator[None]:
    """For fits inside of something that gives warnings of its own; safe in threads."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def warn(cause: WarningCause, details: str = "") -> None:
    """Give a `FitWarning` at the line of the user's that called fastem."""
    if _quiet.get():
        return
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(FitWarning(cause, details), stacklevel=level)
