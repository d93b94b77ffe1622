"""The restarts of one fit, the best of which counts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic

import numpy as np

from fastem._api.interrupted import Kept
from fastem._api.mixture import Mixture
from fastem._api.models import model_of
from fastem._api.options import Options
from fastem._api.progress import Progress
from fastem._em.bound import VariationalBound
from fastem._em.loop import Limits, Run, ascend, reading
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.saddles import climb
from fastem._em.starts import sample_size
from fastem._families.steps import Maximised, P
from fastem._families.variational import expected_mixture
from fastem._report import FitStatus

# Rows of the sample that tells whether a singular component is a mass.
_MASS_ROWS = 16384

# Takes the number of the restart and its random numbers, and returns the initial parameters.
Begin = Callable[[int, np.random.Generator], Maximised[P]]


@dataclass
class Restarts(Generic[P]):
    """The restarts of one fit."""

    likelihood: Likelihood[P]
    options: Options[P]
    begin: Begin[P]
    feature_names: tuple[str, ...] | None
    progress: Progress
    kept: Kept[P] = field(default_factory=Kept)
    bound: VariationalBound | None = None  # what is raised in place of the likelihood, and then P is its own

    def best(self) -> tuple[Run[P], list[ValueError]]:
        """Return the best run, and the errors of the starts that failed."""
        failures: list[ValueError] = []
        with self.kept.in_error(self._model):
            best = self._best(failures)
        if best.history:
            self.progress.finish(best.status, self._mean(best.objective))
        return best, failures

    def _best(self, failures: list[ValueError]) -> Run[P]:
        seeds: list[Any] = [*self.options.rng.spawn(self.options.restarts)]
        for restart, seed in enumerate(seeds):
            run = self._run(restart, np.random.default_rng(seed))
            if run.failure is not None:
                failures.append(run.failure)
            if run.status is FitStatus.STOPPED:
                return run
            self.kept.end(run)
            self.progress.start_ended()
        return self.kept.best

    def _run(self, restart: int, rng: np.random.Generator) -> Run[P]:
        start = partial(self.begin, restart, rng)
        if self.bound is not None:
            return self._run_of_bound(self.bound, start)
        run = climb(self.likelihood, start, self._limits, rng, self._watch, self.options.accelerated)
        if self.options.hard and run.history:
            with reading(run.parameters):
                run.log_likelihood = self._log_likelihood(run.parameters)
        if run.singular:
            rows = self.likelihood.source.sample(sample_size(self.likelihood, _MASS_ROWS), rng)
            run.masses = masses_of(self.likelihood, rows, run.parameters, run.singular)
        return run

    def _run_of_bound(self, bound: VariationalBound, start: Any) -> Run[Any]:
        run: Run[Any] = ascend(bound, start, self.options.limits, k=self.likelihood.k, watch=self._watch)
        if run.history:
            with reading(run.parameters):
                run.log_likelihood = bound.plug_in_log_likelihood(run.parameters)
        return run

    @property
    def _limits(self) -> Limits:
        """A row of hard assignment has one component, so equal components say nothing about saddles."""
        limits = self.options.limits
        return replace(limits, leave_saddles=False) if self.options.hard else limits

    def _log_likelihood(self, parameters: P) -> float:
        """Return the log-likelihood of the rows alone, without the components that they belong to."""
        soft = replace(self.likelihood, hard=False)
        return soft.log_likelihood(soft.e_step(parameters))

    def _watch(self, iteration: int, run: Run[P]) -> bool:
        self.kept.note(run)
        self.progress.advance(self._mean(run.objective))
        callback, unwanted = self.options.callback, self.options.unwanted
        if unwanted is not None and unwanted():
            return True
        stop = callback and callback(iteration, run.log_likelihood, self._model(run.parameters))
        return isinstance(stop, (bool, np.bool_)) and bool(stop)

    def _mean(self, objective: float) -> float:
        return objective / self.likelihood.source.moments().weight

    def _model(self, parameters: Any) -> Mixture:
        likelihood = self.likelihood
        if self.bound is not None:
            parameters = expected_mixture(parameters)
        names, fixed = self.feature_names, likelihood.fixed
        missing = likelihood.source.missing
        return model_of(likelihood.family, parameters, likelihood.frame, None, names, fixed, missing)
