"""The restarts of one fit, the best of which counts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Generic, NamedTuple

import numpy as np

from fastem._api.interrupted import FitInterrupted
from fastem._api.mixture import Mixture
from fastem._api.models import model_of
from fastem._api.options import Options
from fastem._api.progress import Advance
from fastem._em.loop import Limits, PassLost, Run, reading
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.saddles import climb
from fastem._em.starts import sample_size
from fastem._families.base import Maximised, P
from fastem._report import FitStatus

# Rows of the sample that tells whether a singular component is a mass.
_MASS_ROWS = 16384

# Takes the number of the restart and its random numbers, and returns the initial parameters.
Begin = Callable[[int, np.random.Generator], Maximised[P]]


class Restarts(NamedTuple, Generic[P]):
    """The restarts of one fit."""

    likelihood: Likelihood[P]
    options: Options[P]
    begin: Begin[P]
    feature_names: tuple[str, ...] | None
    advance: Advance

    def best(self) -> tuple[Run[P], list[ValueError]]:
        """Return the best run, and the errors of the starts that failed."""
        best: Run[P] = Run(FitStatus.FAILED)
        failures: list[ValueError] = []
        for restart, rng in enumerate(self.options.rng.spawn(self.options.restarts)):
            run = self._run(restart, rng, best)
            if run.failure is not None:
                failures.append(run.failure)
            if run.status is FitStatus.STOPPED:
                return run, failures
            best = max(best, run, key=lambda run: run.rank)
        return best, failures

    def _run(self, restart: int, rng: np.random.Generator, best: Run[P]) -> Run[P]:
        start = partial(self.begin, restart, rng)
        try:
            accelerated = self.options.accelerated
            run = climb(self.likelihood, start, self._limits, rng, self._watch, accelerated)
            if self.options.hard and run.history:
                with reading(run.parameters):
                    run.log_likelihood = self._log_likelihood(run.parameters)
            if run.singular:
                rows = self.likelihood.source.sample(sample_size(self.likelihood, _MASS_ROWS), rng)
                run.masses = masses_of(self.likelihood, rows, run.parameters, run.singular)
            return run
        except PassLost as lost:
            parameters = best.parameters if lost.parameters is None and best.history else lost.parameters
            if parameters is None:
                raise lost.reason from None
            raise FitInterrupted(_in_words(lost.reason), self._model(parameters)) from lost.reason

    @property
    def _limits(self) -> Limits:
        """A row of hard assignment has one component, so equal components say nothing about saddles."""
        limits = self.options.limits
        return replace(limits, leave_saddles=False) if self.options.hard else limits

    def _log_likelihood(self, parameters: P) -> float:
        """Return the log-likelihood of the rows alone, without the components that they belong to."""
        soft = replace(self.likelihood, hard=False)
        return soft.log_likelihood(soft.e_step(parameters))

    def _watch(self, iteration: int, log_likelihood: float, parameters: P) -> bool:
        self.advance(log_likelihood)
        callback = self.options.callback
        stop = callback and callback(iteration, log_likelihood, self._model(parameters))
        return isinstance(stop, (bool, np.bool_)) and bool(stop)

    def _model(self, parameters: P) -> Mixture:
        likelihood = self.likelihood
        return model_of(likelihood.family, parameters, likelihood.frame, None, self.feature_names)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
