"""A fit by checked options, from the initial parameters to the report."""

import reprlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Generic, NamedTuple

import numpy as np

from fastem._api.inside import in_frame
from fastem._api.interrupted import FitInterrupted
from fastem._api.mixture import Mixture
from fastem._api.models import model_of
from fastem._api.options import Options, check_init, check_parameters, check_start
from fastem._api.progress import Advance, progress_bar
from fastem._em.auto import named_start, partial_start
from fastem._em.loop import FLOORED, MASS, Limits, PassLost, Run, reading
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.saddles import climb
from fastem._em.starts import given_start, sample_size
from fastem._families.base import Maximised, P
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.checks import check_enough_rows
from fastem._sources.chunk_checks import check_spread
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._typing import Array, FloatArray

# Rows of the sample that tells whether a singular component is a mass.
_MASS_ROWS = 16384

# A checked `init`: a name, labels or responsibilities, a model, or some of its parameters by name.
Given = str | Array | Mixture | dict[str, FloatArray]


def fit_by(
    options: Options[Any],
    init: Any,
    X: Any,
    sample_weight: Any,
    n_threads: int | None,
    progress: bool = False,
    **reading: Any,
) -> Mixture:
    """Fit by checked options. `reading` are the options of `source_of`."""
    began = time.perf_counter()
    source = source_of(
        X, sample_weight, n_threads, k=options.k, vocabulary=options.family.vocabulary, **reading
    )
    check_enough_rows(options.k, source.n_samples, source.n_positive)
    options = options._replace(family=options.family.adapted(source.facts()))
    given = _check_given(init, source, options)
    options.family.n_parameters(options.k, source.n_features)  # a mistake in a user's shows here, not in bic
    likelihood = _likelihood(source, options, given)
    names = source.feature_names
    with progress_bar(progress, options.restarts, options.limits.max_iter) as advance:
        best, failures = _Ascents(likelihood, options, given, names, advance).best()
    if not best.history:
        raise failures[0]
    report = _report(best, time.perf_counter() - began)
    model = model_of(options.family, best.parameters, likelihood.frame, report, names)
    if failures:
        warn(WarningCause.FAILED, f"{len(failures)} of {options.restarts} start(s) failed: {failures[0]}")
    _warn_of_end(best, source, options)
    return model


def _check_given(init: Any, source: Source, options: Options[Any]) -> Given:
    if isinstance(init, Mixture):
        check_start(init, options.family, options.k, source.n_features)
        return init
    if isinstance(init, Mapping):
        return check_parameters(init, options.family, options.k, source.n_features)
    return check_init(init, options.family, source.n_samples, options.k, source.n_features)


def _likelihood(source: Source, options: Options[P], given: Given) -> Likelihood[P]:
    """Return the log-likelihood of the rows, in standard coordinates. Bad rows raise their error here."""
    family, moments = options.family, source.moments()
    check_spread(source.chunks, source.stored_dtype, moments)
    frame = family.frame(moments, source.dtype)
    base = source.base_measure(family, frame) if family.has_base_measure else 0.0
    fixed = {name: np.array(_values(given)[name]) for name in options.fixed}
    if "weights" in fixed and (fixed["weights"][source.known.labels] == 0).any():
        raise ValueError(
            "weights that are fixed must be above 0 for components with known rows in labels; "
            f"got {fixed['weights']}. Raise them, or leave these labels out."
        )
    return Likelihood(
        source, family, options.k, frame, options.reg_covar, base, options.sound_first, options.hard, fixed
    )


def _values(given: Given) -> Mapping[str, FloatArray]:
    """Return the parameters that `init` gives, by name. Those that may be fixed have no units."""
    if isinstance(given, Mixture):
        return {"weights": given.weights, **given.parameters}
    return given if isinstance(given, dict) else {}


class _Ascents(NamedTuple, Generic[P]):
    """The restarts of one fit."""

    likelihood: Likelihood[P]
    options: Options[P]
    given: Given
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
        start = partial(self._start, restart, rng)
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

    def _start(self, restart: int, rng: np.random.Generator) -> Maximised[P]:
        given = self.given
        if isinstance(given, Mixture):
            return Maximised(in_frame(given, self.likelihood.frame), [], [], [])
        if isinstance(given, str):
            return named_start(self.likelihood, given, rng, restart)
        if isinstance(given, dict):
            return partial_start(self.likelihood, given, rng)
        return given_start(self.likelihood, given)

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


def _report(best: Run[Any], elapsed: float) -> FitReport:
    return FitReport(
        status=best.status,
        converged=best.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE),
        n_iter=best.n_iter,
        log_likelihood=best.log_likelihood,
        history=tuple(best.history),
        repairs=tuple(
            repair._replace(what=MASS)
            if repair.what == FLOORED and repair.component in best.masses
            else repair
            for repair in best.repairs
        ),
        elapsed=elapsed,
        objective=best.objective,
    )


def _warn_of_end(best: Run[Any], source: Source, options: Options[Any]) -> None:
    """Warn if the fit ended in a way that the user should know about at once and did not ask for."""
    if best.status is FitStatus.DECREASED:
        warn(WarningCause.DECREASED, options.family.advice_on_fall)
    if best.status is FitStatus.MAX_ITER and not options.endless:
        warn(WarningCause.MAX_ITER)
    if best.singular and best.status is not FitStatus.STOPPED:
        spurious = set(best.singular) - set(best.masses)
        warn(
            WarningCause.DEGENERATE if spurious else WarningCause.MASS,
            f"Components {reprlib.repr(best.singular)} of {options.k}, in "
            f"{source.n_positive} rows of {source.n_features} features.",
        )
