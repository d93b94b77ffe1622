"""The EM loop. It knows nothing of arrays: a source reduces, a family maximises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from numpy.linalg import LinAlgError

from fastem._families.floor import Maximised
from fastem._families.gaussian import Parameters
from fastem._families.statistics import Statistics
from fastem._report import Breakdown, FitStatus, Repair

# Re-seeding cannot make a fit endless: so many per component and no more.
_RESEEDS = 3
# The mean log-likelihood is right to so many rounding errors of a log-density.
_ROUNDING = 64.0

RESEEDED = "re-seeded: no data left; took half of the heaviest component"
FLOORED = "floored: covariance singular but for reg_covar"

# Mean log-likelihoods per row, of the initial parameters first and of the newest last -> stop?
StoppingRule = Callable[[Sequence[float]], bool]


def gain_below(tol: float) -> StoppingRule:
    """Stop when an iteration gains less than tol; never if that is 0."""
    return lambda means: tol > 0 and len(means) > 1 and means[-1] - means[-2] < tol


@dataclass
class Run:
    """One ascent: where it ended and how. Without a history it never began, for the reason `failure`."""

    status: FitStatus
    parameters: Parameters = field(init=False)
    singular: list[int] = field(default_factory=list)  # components that are so but for the floor
    history: list[float] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    failure: ValueError | None = None

    @property
    def log_likelihood(self) -> float:
        return self.history[-1]

    @property
    def n_iter(self) -> int:
        return len(self.history) - 1

    @property
    def rank(self) -> tuple[bool, bool, bool, float]:
        """Restarts are compared by this: a singular component's unbounded likelihood does not win."""
        began = bool(self.history)
        return began, not self.singular, self.failure is None, self.log_likelihood if began else 0.0


def ascend(
    start: Callable[[], Maximised],
    reduce: Callable[[Parameters], Statistics],
    maximise: Callable[[Statistics, int], Maximised],
    *,
    k: int,
    converged: StoppingRule,
    tol: float,
    max_iter: int,
    watch: Callable[[int, float, Parameters], bool],
) -> Run:
    """Alternate E-steps and M-steps until converged, as told by the mean log-likelihoods so far.

    A log-likelihood that falls although no component was repaired, by more than tol, the floor of the
    covariances and rounding account for, is a status of its own.

    The returned parameters are those whose log-likelihood was computed last, so that the report and
    the model agree.

    Parameters
    ----------
    start : finds initial parameters
    reduce : the E-step, one pass over the data
    maximise : the M-step; its second argument is how many components without data to re-seed at most
    converged : told of every iteration
    tol : a fall in mean log-likelihood that is not worth a word
    watch : told of every iteration; True stops
    """
    run = Run(FitStatus.MAX_ITER if max_iter > 0 else FitStatus.INITIAL)
    reseeds = _RESEEDS * k
    means: list[float] = []
    m_step = start
    while True:
        try:
            current = m_step()
            statistics = reduce(current.parameters)
        except (Breakdown, LinAlgError) as error:
            run.status, run.failure = FitStatus.FAILED, error
            return run
        reseeded = current.dead[:reseeds]
        reseeds -= len(reseeded)
        _record(run, reseeded, current.floored)
        run.parameters, run.singular = current.parameters, current.floored
        run.history.append(statistics.log_likelihood)
        means.append(statistics.log_likelihood / statistics.total_weight)
        if watch(run.n_iter, run.log_likelihood, run.parameters):
            run.status = FitStatus.STOPPED
            return run
        stop = converged(means)
        if run.n_iter > 0 and not reseeded:
            fall = means[-2] - means[-1]
            if not run.singular and fall > tol + current.slack + _rounding(statistics):
                run.status = FitStatus.DECREASED
            elif stop:
                run.status = FitStatus.DEGENERATE if run.singular else FitStatus.CONVERGED
            if stop:
                return run
        if run.n_iter >= max_iter:
            return run
        m_step = partial(maximise, statistics, reseeds)


def _rounding(statistics: Statistics) -> float:
    """How far the mean log-likelihood is known."""
    size = statistics.first.shape[1] + abs(statistics.log_likelihood) / statistics.total_weight
    return float(_ROUNDING * statistics.precision * size)


def _record(run: Run, reseeded: list[int], floored: list[int]) -> None:
    iteration = len(run.history)
    run.repairs += [Repair(iteration, component, RESEEDED) for component in reseeded]
    known = {repair.component for repair in run.repairs if repair.what == FLOORED}
    run.repairs += [Repair(iteration, c, FLOORED) for c in floored if c not in known]
