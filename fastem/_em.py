"""The EM loop. It knows nothing of arrays: a source reduces, a family maximises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fastem._families import Parameters
from fastem._mstep import Maximised
from fastem._report import FitStatus, Repair
from fastem._statistics import Statistics

# Re-seeding cannot make a fit endless: so many per component and no more.
_RESEEDS = 3

RESEEDED = "re-seeded: no data left; took half of the heaviest component"
FLOORED = "floored: covariance singular but for reg_covar"

# Mean log-likelihoods per row, of the initial parameters first and of the newest last -> stop?
StoppingRule = Callable[[Sequence[float]], bool]


def gain_below(tol: float) -> StoppingRule:
    """Stop when an iteration gains less than tol; never if that is 0."""
    return lambda means: tol > 0 and len(means) > 1 and means[-1] - means[-2] < tol


@dataclass
class Run:
    """One ascent: where it ended and how."""

    parameters: Parameters
    status: FitStatus
    history: list[float] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)

    @property
    def log_likelihood(self) -> float:
        return self.history[-1]

    @property
    def n_iter(self) -> int:
        return len(self.history) - 1

    @property
    def rank(self) -> tuple[bool, float]:
        """Restarts are compared by this: a singular component's unbounded likelihood does not win."""
        return self.status is not FitStatus.DEGENERATE, self.log_likelihood


def ascend(
    start: Maximised,
    reduce: Callable[[Parameters], Statistics],
    maximise: Callable[[Statistics, bool], Maximised],
    *,
    converged: StoppingRule,
    max_iter: int,
    watch: Callable[[int, float, Parameters], bool],
) -> Run:
    """Alternate E-steps and M-steps until converged, as told by the mean log-likelihoods so far.

    The returned parameters are those whose log-likelihood was computed last, so that the report and
    the model agree.

    Parameters
    ----------
    start : initial parameters
    reduce : the E-step, one pass over the data
    maximise : the M-step; its second argument is whether to re-seed components without data
    watch : told of every iteration; True stops
    """
    current = start
    reseeds = _RESEEDS * len(start.parameters.weights)
    means: list[float] = []
    run = Run(start.parameters, FitStatus.MAX_ITER if max_iter > 0 else FitStatus.INITIAL)
    while True:
        reseeded = current.dead if reseeds > 0 else []
        reseeds -= len(reseeded)
        _record(run, reseeded, current.floored)
        run.parameters = current.parameters
        statistics = reduce(run.parameters)
        run.history.append(statistics.log_likelihood)
        means.append(statistics.log_likelihood / statistics.total_weight)
        if watch(run.n_iter, run.log_likelihood, run.parameters):
            run.status = FitStatus.STOPPED
            return run
        if converged(means) and not reseeded:
            run.status = FitStatus.DEGENERATE if current.floored else FitStatus.CONVERGED
            return run
        if run.n_iter >= max_iter:
            return run
        current = maximise(statistics, reseeds > 0)


def _record(run: Run, reseeded: list[int], floored: list[int]) -> None:
    iteration = len(run.history)
    run.repairs += [Repair(iteration, component, RESEEDED) for component in reseeded]
    known = {repair.component for repair in run.repairs if repair.what == FLOORED}
    run.repairs += [Repair(iteration, c, FLOORED) for c in floored if c not in known]
