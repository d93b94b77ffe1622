"""The report of a fit, and the warning about what the user should know at once."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from fastem._typing import IntArray


class _Advice(Enum):
    """Members whose values are sentences, which may change. So pickles hold their names."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return getattr, (type(self), self.name)


class FitStatus(_Advice):
    """Why a fit stopped. The value of each member is advice to the user."""

    CONVERGED = "Judging by its last gains, the fit has less than tol left to gain."
    DEGENERATE = (
        "Converged, but at least one component would be singular without a least variance (reg_covar for "
        "Gaussians): it has too few points, or its points are equal or collinear. Use fewer components, more "
        "restarts (n_init), or a simpler covariance_type."
    )
    MAX_ITER = (
        "max_iter was reached before convergence. Raise max_iter or tol, or continue the fit with init=model."
    )
    DECREASED = (
        "The log-likelihood fell by more than tol, and no repair explains it. The data may be at the limits "
        "of their precision: use float64, or subtract large offsets. For Gaussians, lower reg_covar."
    )
    FAILED = (
        "The arithmetic left the range of its numbers; these are the last valid parameters. Rescale the "
        "columns, use float64, or raise reg_covar."
    )
    INITIAL = "max_iter=0: these are the initial parameters."
    ONLINE = (
        "Fitted by partial_fit, one chunk after the other. Continue with more chunks, or find a maximum of "
        "the likelihood with fit(X, k, init=model)."
    )
    STOPPED = "The callback stopped the fit. Continue with init=model."


class Repair(NamedTuple):
    """A component for which plain maximum likelihood would have failed, and what was done about it."""

    iteration: int
    component: int
    what: str


class _Report:
    """What reports look like: on a few lines, and without the history."""

    status: FitStatus
    n_iter: int
    repairs: tuple[Repair, ...]
    elapsed: float

    def __repr__(self) -> str:
        parts = [f"{name}={_in_short(value)}" for name, value in vars(self).items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __str__(self) -> str:
        lines = [
            f"{self.status.name} after {_counted(self.n_iter, 'iteration')}, in {self.elapsed:.3g} s",
            self._reached() + (f", {_counted(len(self.repairs), 'repair')}" if self.repairs else ""),
            self.status.value,
        ]
        return "\n".join(lines)

    def _reached(self) -> str:
        raise NotImplementedError


def _in_short(value: object) -> str:
    if not isinstance(value, tuple) or len(value) < 2:
        return repr(value)
    last = f"{value[-1]:.10g}" if isinstance(value[-1], float) else repr(value[-1])
    return f"(..., {last}: {len(value)} values)"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


@dataclass(frozen=True, repr=False)
class FitReport(_Report):
    """How a fit went. ``print(report)`` shows it on a few lines, without the history.

    Attributes
    ----------
    status : FitStatus
        Why the fit stopped. ``status.value`` is advice in words.
    converged : bool
        Whether the fit stopped because less than `tol` is still to gain in mean log-likelihood.
    n_iter : int
        Number of iterations, each of which is an M-step or a leap of the acceleration. Leaps that were taken
        back are not among them, although each took a pass and counts for `max_iter`.
    log_likelihood : float
        Total log-likelihood of the returned parameters, without any penalty. If labels of rows are known, it
        is that of the rows and these labels.
    history : tuple of float
        What the fit maximises, the total log-likelihood (with hard assignment, the classification
        log-likelihood, which takes each row with its likeliest component; with a prior, the log-likelihood
        plus the log-density of the prior, up to a constant, and with variational inference the lower bound of
        the log-evidence): first for the initial parameters,
        then after each iteration. These are n_iter + 1 values. They fall only by rounding, by a floor of the
        covariances, or where a component was re-seeded. Leaps that were taken back left no value.
    repairs : tuple of Repair
        (iteration, component, what) for each component that was re-seeded since it had no rows or equalled
        another one, that lost its rows and kept its parameters, or whose covariance would be singular without
        `reg_covar` (other distributions: whose spread would be 0 without a bound).
    elapsed : float
        Time of the fit in seconds, including initialisation and all restarts.
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

    def _reached(self) -> str:
        differs = self.objective != self.log_likelihood
        objective = f", objective {self.objective:.10g}" if differs else ""
        return f"log-likelihood {self.log_likelihood:.10g}{objective}"


@dataclass(frozen=True, repr=False)
class KMeansReport(_Report):
    """How k-means went. ``print(report)`` shows it on a few lines, without the history.

    Attributes
    ----------
    status : FitStatus
        Why it stopped. ``status.value`` is advice in words.
    converged : bool
        Whether it stopped because the inertia has less than the part `tol` left to fall.
    n_iter : int
        Number of iterations: how often the centers moved.
    history : tuple of float
        The inertia of the first centers, then after each iteration: n_iter + 1 values, which do not rise.
    repairs : tuple of Repair
        (iteration, cluster, what) for each cluster that lost all of its rows.
    elapsed : float
        Time in seconds, including initialisation and all restarts.
    """

    status: FitStatus
    converged: bool
    n_iter: int
    history: tuple[float, ...]
    repairs: tuple[Repair, ...]
    elapsed: float

    def _reached(self) -> str:
        return f"inertia {self.history[-1]:.10g}" if self.history else "no inertia"


if TYPE_CHECKING:
    # Models are generic in the type of their report, which is None unless they were fitted. A type variable
    # with a default is in `typing` from Python 3.13 on, and any type checker knows this module.
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=FitReport | None, default=FitReport | None, covariant=True)
    KR = TypeVar("KR", bound=KMeansReport | None, default=KMeansReport | None, covariant=True)
    L = TypeVar("L", bound=IntArray | None, default=IntArray | None, covariant=True)  # labels of k-means
else:
    from typing import TypeVar

    R, KR, L = (TypeVar(name, covariant=True) for name in ("R", "KR", "L"))


class WarningCause(_Advice):
    """Why a `FitWarning` was given. The value of each member is advice to the user."""

    MAX_ITER = FitStatus.MAX_ITER.value
    DEGENERATE = (
        "At least one component would be singular without a least variance (reg_covar for Gaussians): it has "
        "too few points, or its points are equal or collinear. Use fewer components, more restarts (n_init), "
        "or a simpler covariance_type."
    )
    MASS = (
        "Many rows lie at one point or in one plane, and few others are near. A component holds them, which "
        "would be singular without a least variance. That is a finding if the data are like that. If a "
        "column is constant, leave it out."
    )
    EMPTY = (
        "Clusters of k-means have no rows. As a rule X has fewer distinct rows than clusters. Use fewer "
        "clusters."
    )
    DECREASED = FitStatus.DECREASED.value
    PRECISION = (
        "Numbers so far from 0 have few digits left for the differences between rows. Subtract an offset "
        "from the column first."
    )
    FEW_VALUES = (
        "Gaussian and Student components describe measurements. On columns of few values they tend to shrink "
        'onto single values. Fit such columns as "bernoulli" (0 and 1), "categorical" (codes) or "poisson" '
        "(counts); a dict tells the distribution of each column (see distribution). Or leave them out."
    )
    MANY_CATEGORIES = (
        "A component tells rows apart by categories that they share, and hardly any of these rows share one. "
        "Leave out names and numbers that stand for one row each, and fit measurements as "
        '"gaussian", or put them into a few classes first.'
    )
    NOISE = (
        "The rows have their true variance and that of the noise, so they cannot vary less than the noise "
        "alone. Give noise in the squares of the units of X, as variances and covariances: standard errors "
        "are squared once."
    )
    NEVER_TOGETHER = (
        "No row has a number in both columns, so the likelihood does not know their covariance: it stays "
        "near what the start made it. Do not read it, nor what is imputed by it alone. Use covariance_type="
        '"diag", a prior, or rows that have both.'
    )
    FAILED = (
        "The arithmetic of a start left the range of its numbers; the best valid mixture is returned. "
        "Rescale the columns, use float64, or raise reg_covar."
    )


class FitWarning(UserWarning):
    """The fit returned a valid mixture, but there is something that you should know at once.

    Attributes
    ----------
    cause : WarningCause
        Why the warning was given. ``cause.value`` is advice in words.
    """

    def __init__(self, cause: WarningCause, details: str = "") -> None:
        super().__init__(cause, details)
        self.cause = cause
        self.details = details

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.cause.name}:", self.details, self.cause.value)))


class Breakdown(ValueError):
    """Arithmetic left the range of its numbers."""


# Where warnings go in place of the user, if anywhere.
_collected: ContextVar[list[FitWarning] | None] = ContextVar("collected", default=None)


@contextmanager
def collected_warnings() -> Iterator[list[FitWarning]]:
    """Collect each `FitWarning` in a list, for callers that tell of them in their own way.

    It is safe in threads.
    """
    found: list[FitWarning] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def warn(cause: WarningCause, details: str = "") -> None:
    """Give a `FitWarning` that points to the user's line that called fastem."""
    collected = _collected.get()
    if collected is not None:
        collected.append(FitWarning(cause, details))
        return
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(FitWarning(cause, details), stacklevel=level)
