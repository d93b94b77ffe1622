"""The fits of a selection, which share one source, one sample of its rows, and what each finds there.

Clusters that k-means finds with k centres serve all covariance types. Each fit is also a start for the fits
beside it: with one component more, with one fewer, and of other types.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from fastem._api.fitting import likelihood_of, report_of
from fastem._api.mixture import Mixture
from fastem._api.models import model_of
from fastem._api.options import Options
from fastem._api.progress import Progress
from fastem._api.restarts import Restarts
from fastem._api.selection import Candidate
from fastem._criteria import aic_of, bic_of
from fastem._em.auto import Drawn, best_start, draw, named_start, rows_to_draw
from fastem._em.labellings import labellings
from fastem._em.loop import Run, reading
from fastem._em.neighbours import divided, joint_of, without_one
from fastem._em.objective import Likelihood
from fastem._families.steps import Maximised
from fastem._report import Breakdown, FitReport, FitStatus, collected_warnings
from fastem._sources.passes import Source
from fastem._typing import Array, FloatArray

# There are so many times as many random starts as in `fit`, where they cost little.
_THOROUGH = 3

# Where a pass takes more multiply-adds, there is one fit a cell, unless that cannot be the best.
_LONG = 1 << 26

Kind = str | None  # a covariance type
Cell = tuple[int, Kind]


@dataclass
class Fit:
    """One fit, in standard coordinates."""

    likelihood: Likelihood[Any]
    run: Run[Any]
    elapsed: float
    joint: FloatArray | None  # joint log2-densities of the sample; None if the fit failed
    classified: float  # the log-likelihood of each row with its likeliest component

    @property
    def degenerate(self) -> bool:
        return not self.run.history or bool(self.run.singular) or self.run.failure is not None

    def model(self, names: tuple[str, ...] | None) -> Mixture[FitReport] | None:
        if not self.run.history:
            return None
        likelihood = self.likelihood
        report = report_of(self.run, self.elapsed)
        about = likelihood.frame, report, names, None, likelihood.source.missing
        return model_of(likelihood.family, self.run.parameters, *about)

    def candidate(self, kind: Kind, held_out: float | None) -> Candidate:
        likelihood, run = self.likelihood, self.run
        k, d = likelihood.k, likelihood.source.n_features
        n_parameters = likelihood.family.n_parameters(k, d) + k - 1
        if not run.history:
            lost = float("inf")
            return Candidate(
                k, kind, lost, lost, lost, held_out, -lost, n_parameters, 0, FitStatus.FAILED, True
            )
        n = likelihood.source.moments().weight
        return Candidate(
            k,
            kind,
            bic_of(run.log_likelihood, n, n_parameters),
            bic_of(self.classified, n, n_parameters),
            aic_of(run.log_likelihood, n_parameters),
            held_out,
            run.log_likelihood,
            n_parameters,
            run.n_iter,
            run.status,
            self.degenerate,
        )


@dataclass
class Search:
    """All fits to the rows of one source. `fits` grows as they are made."""

    source: Source
    kinds: dict[Kind, Options[Any]]
    ks: list[int]
    init: str
    rng: np.random.Generator
    fits: dict[Cell, Fit] = field(default_factory=dict)

    def run(self) -> Iterator[Cell]:
        """Make the fits. Yield the cell of each when it is finished, also of one that is fitted again.

        With "auto" there are two rounds, so that the second can begin from fits with more components too.
        In each there are two fits: from the clusters that k-means sees, and from the fits beside it.
        """
        likelihoods = {}
        for kind, options in self.kinds.items():
            likelihoods[kind] = likelihood_of(self.source, options, self.init)
        if self.init != "auto":
            for k in self.ks:
                for kind, likelihood in likelihoods.items():
                    here = replace(likelihood, k=k)
                    yield self._fit(kind, here, None, partial(_named, here, self.init))
            return
        for ks in (self.ks, self.ks[::-1]):
            drawn = self._drawn(likelihoods)
            for k in ks:
                if k == 1 and ks is not self.ks:  # whose fits have one optimum
                    yield from ((k, kind) for kind in likelihoods)
                    continue
                found, clear = labellings(drawn.geometries, drawn.weights, k, self.rng, self.source.n_threads)
                found = found[:1] if k == 1 else found
                for kind, likelihood in likelihoods.items():
                    here = replace(likelihood, k=k)
                    others = self._from_others(k, kind, drawn)
                    if not self._is_long(here):
                        self._fit_from(found, _THOROUGH, clear, kind, here, drawn)
                        self._fit_from(others, 0, clear, kind, here, drawn)
                    elif self._is_wanting(k, kind):
                        self._fit_from([*found, *others], 1, clear, kind, here, drawn)
                    yield k, kind

    def _drawn(self, likelihoods: dict[Kind, Likelihood[Any]]) -> Drawn:
        """Return a sample for all fits, and keep what is known of its rows."""
        most = [replace(likelihood, k=self.ks[-1]) for likelihood in likelihoods.values()]
        size = max(map(rows_to_draw, most))
        with reading(None):
            drawn = draw(most[0], size, self.rng)
        for fit in self.fits.values():
            fit.joint = joint_of(fit.likelihood, drawn.rows, fit.run.parameters) if fit.run.history else None
        return drawn

    def _fit(self, kind: Kind, likelihood: Likelihood[Any], drawn: Drawn | None, begin: Any) -> Cell:
        """Fit, and keep the result unless there is a better one."""
        began = time.perf_counter()
        cell = likelihood.k, kind
        options = self.kinds[kind]._replace(k=likelihood.k, rng=self.rng.spawn(1)[0])
        if cell in self.fits:
            options = options._replace(restarts=1)
        names = self.source.feature_names
        with collected_warnings():
            run, _ = Restarts(likelihood, options, begin, names, Progress()).best()
        if cell in self.fits and run.rank <= self.fits[cell].run.rank:
            return cell
        joint = None
        if drawn is not None and run.history:
            joint = joint_of(likelihood, drawn.rows, run.parameters)
        classified = _classified(likelihood, run.parameters) if run.history else -np.inf
        self.fits[cell] = Fit(likelihood, run, time.perf_counter() - began, joint, classified)
        return cell

    def _from_others(self, k: int, kind: Kind, drawn: Drawn) -> list[Array]:
        """Return labels by the fits beside this one: of one component fewer or more, and of other types."""
        found: list[Array] = []
        if k == 1:
            return found
        for (own_k, own_kind), fit in self.fits.items():
            if fit.joint is None:
                continue
            if own_k == k and own_kind != kind:
                found.append(fit.joint.argmax(axis=1))
            elif own_k == k - 1 and own_kind == kind:
                labels = fit.joint.argmax(axis=1)
                found += divided(labels, drawn.geometries[0], drawn.weights, own_k)
            elif own_k == k + 1 and own_kind == kind:
                found += without_one(fit.joint, drawn.weights)
            elif own_k == k and k > 2:
                fewer = without_one(fit.joint, drawn.weights)[0]
                found += divided(fewer, drawn.geometries[0], drawn.weights, k - 1)
        return found

    def _fit_from(
        self,
        labels: list[Array],
        thorough: int,
        clear: bool,
        kind: Kind,
        likelihood: Likelihood[Any],
        drawn: Drawn,
    ) -> None:
        """Fit from the best of some labels, unless the sample has all rows and promises no more."""
        if not labels:
            return
        current = self.fits.get((likelihood.k, kind))
        try:
            start = best_start(likelihood, drawn, labels, clear, self.rng, thorough)
        except Breakdown:
            if current is None:
                self.fits[likelihood.k, kind] = Fit(likelihood, Run(FitStatus.FAILED), 0.0, None, -np.inf)
            return
        is_whole = len(drawn.rows.X) == self.source.n_positive
        if is_whole and current is not None and current.joint is not None:
            promised = joint_of(likelihood, drawn.rows, start.parameters)
            gain = float(drawn.weights @ (_log_sum(promised) - _log_sum(current.joint)))
            gain += likelihood.log_prior(start.parameters) - likelihood.log_prior(current.run.parameters)
            if gain <= self.kinds[kind].limits.tol * drawn.weights.sum():
                return
        self._fit(kind, likelihood, drawn, partial(_first, start, likelihood))

    def _is_long(self, likelihood: Likelihood[Any]) -> bool:
        """Return whether passes over all rows take more time than the search for a better start is worth."""
        work = likelihood.k * likelihood.family.multiply_adds(self.source.n_features)
        return self.source.n_positive * work > _LONG

    def _is_wanting(self, k: int, kind: Kind) -> bool:
        """Return whether there is no fit yet, or one that a component less beats, which is no optimum."""
        fit, fewer = self.fits.get((k, kind)), self.fits.get((k - 1, kind))
        return fit is None or (fewer is not None and fewer.run.rank > fit.run.rank)


def _first(
    start: Maximised[Any], likelihood: Likelihood[Any], restart: int, rng: np.random.Generator
) -> Maximised[Any]:
    """Return the start of the first restart, and one of its own for each other."""
    return start if restart == 0 else named_start(likelihood, "auto", rng, restart)


def _classified(likelihood: Likelihood[Any], parameters: Any) -> float:
    hard = replace(likelihood, hard=True)
    with reading(parameters):
        return hard.log_likelihood(hard.e_step(parameters))


def _named(likelihood: Likelihood[Any], init: str, restart: int, rng: np.random.Generator) -> Maximised[Any]:
    return named_start(likelihood, init, rng, restart)


def _log_sum(joint: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp2.reduce(joint, axis=1) * np.log(2))
