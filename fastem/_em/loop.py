"""The EM loop. It does not know about arrays: an objective makes the E-step and the M-step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from numpy.linalg import LinAlgError

from fastem._em.acceleration import Leaps
from fastem._em.objective import Objective
from fastem._families.statistics import Statistics
from fastem._families.steps import Maximised, P
from fastem._report import Breakdown, FitStatus, Repair

# The error of the mean log-likelihood is at most this many rounding errors of a log-density.
_ROUNDINGS = 64.0
# Where a component is singular, a floor may cost some mean log-likelihood. If a last step costs more than
# this, arithmetic was too coarse for it, and it is taken back.
_SENSELESS = 1.0
# The last gain of a start counts if it is less than this part of `tol`. Steps before it may have been longer
# than those of EM, so that the rate at which gains fell tells less of those to come.
_LITTLE = 0.02
_ROUGH = 1e-8  # the error of the mean that a start tells (see `_kernels._math.rough_exp2`)

RESEEDED = "re-seeded: no data left; took half of the heaviest component"
KEPT = "kept: no data left to estimate its parameters from"
# Families without covariances have bounds of their own instead of reg_covar.
FLOORED = "floored: singular without a least variance (reg_covar for Gaussians)"
MASS = "floored: a real share of the rows lies at one point or in one plane"

# Takes the objective per row after each E-step so far, and returns whether to stop.
StoppingRule = Callable[[Sequence[float]], bool]


def gain_below(tol: float) -> StoppingRule:
    """Return a rule that stops when an iteration gains less than `tol`. With 0 it never stops."""
    return lambda means: tol > 0 and len(means) > 1 and means[-1] - means[-2] < tol


def gain_to_come_below(tol: float) -> StoppingRule:
    """Return a rule that stops when no more than `tol` is left to gain. With 0 it never stops.

    Near its end EM gains by a geometric series: each gain g is a times the one before. So g a / (1 - a) is
    still to come (Aitken; Boehning et al. 1994). While gains grow, it is not known how much. Early in a fit
    the rate still changes, so the last gain must be less than `tol` too.
    """

    def converged(means: Sequence[float]) -> bool:
        if tol == 0 or len(means) < 3:
            return False
        before, gain = means[-2] - means[-3], means[-1] - means[-2]
        return gain <= 0 or (gain < tol and gain * gain < tol * (before - gain))

    return converged


class PassLost(Exception):
    """A pass could not read all rows. `reason` is the error; `parameters` are the last ones, or None."""

    def __init__(self, reason: Exception, parameters: Any) -> None:
        super().__init__(reason, parameters)
        self.reason, self.parameters = reason, parameters


@dataclass(frozen=True)
class Limits:
    """When a run stops, and how often it re-seeds."""

    converged: StoppingRule
    tol: float  # a fall of the mean log-likelihood by less than this is not reported
    max_iter: int
    # There are at most this many re-seedings per component, so that re-seeding cannot make a fit endless.
    reseeds: int = 3
    leave_saddles: bool = True  # whether components that equal others are re-seeded (see `saddles`)


@dataclass(eq=False)
class Run(Generic[P]):
    """One run of EM: where it ended and how. If `history` is empty, the start failed with `failure`."""

    status: FitStatus
    parameters: P = field(init=False)
    singular: list[int] = field(default_factory=list)  # components that would be singular without the floor
    masses: list[int] = field(default_factory=list)  # those of them that hold a real share of the rows
    history: list[float] = field(default_factory=list)  # the objective after each E-step but those in vain
    in_vain: int = 0  # E-steps after leaps that were taken back
    log_likelihood: float = 0.0
    repairs: list[Repair] = field(default_factory=list)
    failure: ValueError | None = None

    @property
    def n_iter(self) -> int:
        return len(self.history) - 1

    @property
    def objective(self) -> float:
        return self.history[-1]

    @property
    def rank(self) -> tuple[bool, bool, bool, float]:
        """Key to compare restarts by. The unbounded likelihood of a singular component does not win.

        But that of a mass does.
        """
        began, sound = bool(self.history), set(self.singular) <= set(self.masses)
        return began, sound, self.failure is None, self.objective if began else 0.0


# Takes the number of the iteration and the run so far, and returns whether to stop.
Watch = Callable[[int, Run[P]], bool]


def ascend(
    objective: Objective[P],
    start: Callable[[], Maximised[P]],
    limits: Limits,
    *,
    k: int,
    watch: Watch[P],
    at_saddle: Callable[[P], bool] = lambda _: False,
    squarem: Leaps[P] | None = None,
) -> Run[P]:
    """Alternate E-steps and M-steps until converged.

    The objective may fall by no more than `tol`, the floor of the covariances and rounding explain. If it
    falls by more although no component was repaired, the status is DECREASED. The returned parameters are
    those of the last E-step, so that the report and the model agree.

    Parameters
    ----------
    objective : what to maximise
    start : finds the initial parameters
    limits : when to stop
    watch : is called as watch(iteration, run) after each E-step; True stops
    at_saddle : is asked about the parameters when a gain is less than `tol` for the first time, since gains
        near a saddle are small too, and may grow for long; True stops
    squarem : accelerates the ascent; a run does not end with a leap, except if `watch` stops it

    Raises
    ------
    PassLost
        If the rows can no longer be read.
    """
    run: Run[P] = Run(FitStatus.MAX_ITER if limits.max_iter > 0 else FitStatus.INITIAL)
    reseeds = limits.reseeds * k
    means: list[float] = []
    earlier: list[float] = []  # that before the start, if it tells how little EM has left to gain
    slow = False  # whether a gain was less than `tol`
    m_step: Callable[[], Maximised[P]] = partial(_begin, start)
    while True:
        try:
            current = m_step()
            leapt = _leap(objective, current, run, means, limits, squarem) if squarem else None
            if leapt is None:
                with reading(current.parameters):
                    statistics = objective.e_step(current.parameters)
            else:
                current, statistics = leapt
        except (Breakdown, LinAlgError) as error:
            run.status, run.failure = FitStatus.FAILED, error
            return run
        reseeds -= len(current.reseeded)
        before: Any = run.parameters if run.history else None, run.singular, run.log_likelihood
        _record(run, current)
        run.parameters, run.singular = current.parameters, current.floored
        run.history.append(objective.value(statistics, current.parameters))
        run.log_likelihood = objective.log_likelihood(statistics)
        means.append(run.objective / statistics.total_weight)
        iteration = run.n_iter
        if watch(iteration, run):
            run.status = FitStatus.STOPPED
            return run
        rounding = _rounding(statistics, means[-1])
        if iteration == 0 and limits.tol > 0:
            before_start = objective.mean_before(current)
            earlier = [mean for mean in before_start if means[0] - mean + _ROUGH < _LITTLE * limits.tol]
        stop = limits.converged(earlier + means) and leapt is None
        if iteration > 0 and not current.reseeded:
            fall = means[-2] - means[-1]
            if limits.tol > 0:
                stop = stop and (squarem is None or squarem.settled(means, limits.tol))
                stop = (stop or -fall <= rounding) and leapt is None
                if not (stop or slow or leapt) and -fall < limits.tol:
                    slow, stop = True, at_saddle(run.parameters)
            rounding *= _ROUNDINGS
            slack = current.slack() if fall > min(rounding, _SENSELESS) else 0.0
            if not run.singular and fall > limits.tol + slack + rounding:
                run.status = FitStatus.DECREASED
            elif stop:
                run.status = FitStatus.DEGENERATE if run.singular else FitStatus.CONVERGED
            senseless = fall > _SENSELESS + slack
            if run.singular and stop and senseless and set(before[1]) <= set(run.singular):
                run.history.pop()
                run.parameters, run.singular, run.log_likelihood = before
                run.status = FitStatus.DEGENERATE if run.singular else FitStatus.CONVERGED
            if stop:
                return run
        if run.n_iter + run.in_vain >= limits.max_iter:
            return run
        m_step = partial(_improve, objective, statistics, reseeds, current.parameters)


def _leap(
    objective: Objective[P],
    current: Maximised[P],
    run: Run[P],
    means: Sequence[float],
    limits: Limits,
    squarem: Leaps[P],
) -> tuple[Maximised[P], Statistics[Any]] | None:
    """Return parameters farther on the path than `current`, and their E-step, unless the objective falls."""
    leap = squarem.leap(current, means)
    if leap is None or len(run.history) + run.in_vain >= limits.max_iter:
        return None
    try:
        with reading(current.parameters):
            statistics = objective.e_step(leap.parameters)
    except (ValueError, LinAlgError):  # parameters out of range; wrong rows raise their error again
        pass
    else:
        if objective.value(statistics, leap.parameters) >= run.objective:
            squarem.accept()
            return leap, statistics
    squarem.reject(current)
    run.in_vain += 1
    return None


def _begin(start: Callable[[], Maximised[P]]) -> Maximised[P]:
    with reading(None):
        return start()


def _improve(
    objective: Objective[P], statistics: Statistics[Any], reseeds: int, parameters: P
) -> Maximised[P]:
    if statistics.again is None:
        return objective.m_step(statistics, reseeds)
    with reading(parameters):
        return objective.m_step(statistics, reseeds)


class reading:
    """Wrap a pass. Errors that say what is wrong with the rows go through; any other becomes `PassLost`."""

    def __init__(self, parameters: object) -> None:
        self._parameters = parameters

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        told = ValueError, TypeError, MemoryError, PassLost
        if isinstance(error, Exception) and not isinstance(error, told):
            raise PassLost(error, self._parameters) from error


def _rounding(statistics: Statistics[Any], mean: float) -> float:
    """Return the rounding error of a log-density. It has none if it is -inf."""
    return float(statistics.precision * (statistics.n_features + abs(mean))) if math.isfinite(mean) else 0.0


def _record(run: Run[P], current: Maximised[P]) -> None:
    if not (current.reseeded or current.kept or current.floored):
        return
    iteration = len(run.history)
    run.repairs += [Repair(iteration, component, RESEEDED) for component in current.reseeded]
    for what, components in ((KEPT, current.kept), (FLOORED, current.floored)):
        if not components:
            continue
        known = {repair.component for repair in run.repairs if repair.what == what}
        run.repairs += [Repair(iteration, c, what) for c in components if c not in known]
