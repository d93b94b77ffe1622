"""The EM loop. It knows nothing of arrays: an objective makes the E-step and the M-step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

from numpy.linalg import LinAlgError

from fastem._em.objective import Objective
from fastem._families.base import Maximised, P
from fastem._families.statistics import Statistics
from fastem._report import Breakdown, FitStatus, Repair

# Each component is re-seeded so many times at most, so that re-seeding cannot make a fit endless.
_RESEEDS = 3
# The mean log-likelihood is known to so many rounding errors of a log-density.
_ROUNDING = 64.0

RESEEDED = "re-seeded: no data left; took half of the heaviest component"
KEPT = "kept: no data left to estimate its parameters from"
FLOORED = "floored: covariance singular but for reg_covar"

# Means per row of what is raised, for the initial parameters first and the newest last -> stop?
StoppingRule = Callable[[Sequence[float]], bool]


def gain_below(tol: float) -> StoppingRule:
    """Stop when an iteration gains less than tol; never if that is 0."""
    return lambda means: tol > 0 and len(means) > 1 and means[-1] - means[-2] < tol


class PassLost(Exception):
    """The rows could not be read to their end, for this reason; `parameters` are the last ones, if any."""

    def __init__(self, reason: Exception, parameters: Any) -> None:
        super().__init__(reason, parameters)
        self.reason, self.parameters = reason, parameters


@dataclass(frozen=True)
class Limits:
    """When a run stops."""

    converged: StoppingRule
    tol: float  # a fall of the mean that is not worth a word
    max_iter: int


@dataclass
class Run(Generic[P]):
    """One ascent: where it ended and how. Without a history it never began, for the reason `failure`."""

    status: FitStatus
    parameters: P = field(init=False)
    singular: list[int] = field(default_factory=list)  # components that are so but for the floor
    history: list[float] = field(default_factory=list)  # what was raised
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
        """Restarts are compared by this: a singular component's unbounded likelihood does not win."""
        began = bool(self.history)
        return began, not self.singular, self.failure is None, self.objective if began else 0.0


def ascend(
    objective: Objective[P],
    start: Callable[[], Maximised[P]],
    limits: Limits,
    *,
    k: int,
    watch: Callable[[int, float, P], bool],
) -> Run[P]:
    """Alternate E-steps and M-steps until converged.

    A value that falls although no component was repaired, by more than tol, the floor of the covariances and
    rounding account for, is a status of its own. The returned parameters are those of the last E-step, so
    that the report and the model agree.

    Parameters
    ----------
    objective : what to raise
    start : finds initial parameters
    limits : when to stop
    watch : told of every iteration, with the log-likelihood; True stops

    Raises
    ------
    PassLost
        If the rows can no longer be read.
    """
    run: Run[P] = Run(FitStatus.MAX_ITER if limits.max_iter > 0 else FitStatus.INITIAL)
    reseeds = _RESEEDS * k
    means: list[float] = []
    m_step: Callable[[], Maximised[P]] = partial(_begin, start)
    while True:
        try:
            current = m_step()
            with _reading(current.parameters):
                statistics = objective.e_step(current.parameters)
        except (Breakdown, LinAlgError) as error:
            run.status, run.failure = FitStatus.FAILED, error
            return run
        reseeds -= len(current.reseeded)
        _record(run, current)
        run.parameters, run.singular = current.parameters, current.floored
        run.history.append(objective.value(statistics))
        run.log_likelihood = objective.log_likelihood(statistics)
        means.append(run.objective / statistics.total_weight)
        if watch(run.n_iter, run.log_likelihood, run.parameters):
            run.status = FitStatus.STOPPED
            return run
        stop = limits.converged(means)
        if run.n_iter > 0 and not current.reseeded:
            fall = means[-2] - means[-1]
            if not run.singular and fall > limits.tol + current.slack + _rounding(statistics, means[-1]):
                run.status = FitStatus.DECREASED
            elif stop:
                run.status = FitStatus.DEGENERATE if run.singular else FitStatus.CONVERGED
            if stop:
                return run
        if run.n_iter >= limits.max_iter:
            return run
        m_step = partial(objective.m_step, statistics, reseeds)


def _begin(start: Callable[[], Maximised[P]]) -> Maximised[P]:
    with _reading(None):
        return start()


@contextmanager
def _reading(parameters: object) -> Iterator[None]:
    """For passes: what the rows are blamed for is their error, and all else means that they are lost."""
    try:
        yield
    except (ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise PassLost(error, parameters) from error


def _rounding(statistics: Statistics[Any], mean: float) -> float:
    """How far the mean log-likelihood is known."""
    return float(_ROUNDING * statistics.precision * (statistics.n_features + abs(mean)))


def _record(run: Run[P], current: Maximised[P]) -> None:
    iteration = len(run.history)
    run.repairs += [Repair(iteration, component, RESEEDED) for component in current.reseeded]
    for what, components in ((KEPT, current.kept), (FLOORED, current.floored)):
        known = {repair.component for repair in run.repairs if repair.what == what}
        run.repairs += [Repair(iteration, c, what) for c in components if c not in known]
