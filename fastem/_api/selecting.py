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
from fastem._em.labellings import are_clear, distinct, labellings
from fastem._em.loop import Run, gain_to_come_below, reading
from fastem._em.neighbours import Neighbours, joint_of
from fastem._em.objective import Likelihood
from fastem._em.race import is_polished
from fastem._families.steps import Maximised
from fastem._report import Breakdown, FitReport, FitStatus, collected_warnings
from fastem._sources.passes import Source
from fastem._typing import Array

# Where passes are short, each fit is tried so many times. The first time there are k-means and random starts,
# later only clusters of those fits beside it that are new since the last time, which are better starts.
_ROUNDS = 4

# If the sample holds all rows, there are so many times as many random starts as for a fit.
_THOROUGH = 4

# The sample has at least so many rows, unless that is more than this part of all. It may be smaller than that
# of a fit, since all rows choose among the best of its starts.
_LEAST_ROWS, _PART = 1536, 2 / 3

# Where a pass takes more multiply-adds, there is one fit a cell, unless that cannot be the best.
_LONG = 1 << 26

# A fit is made if the sample promises this part of `tol`. In the end it goes on until no more is to come.
_WORTH = 0.1

Kind = str | None  # a covariance type
Cell = tuple[int, Kind]


@dataclass
class Fit:
    """One fit, in standard coordinates."""

    likelihood: Likelihood[Any]
    run: Run[Any]
    elapsed: float
    beside: Neighbours | None  # what it says of the rows of the sample; None if the fit failed
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
    # How many fits were better than those before, in all, and when each cell was: then, and when last tried.
    news: int = 0
    improved: dict[Cell, int] = field(default_factory=dict)
    tried: dict[Cell, int] = field(default_factory=dict)

    def run(self) -> Iterator[Cell]:
        """Make the fits. Yield the cell of each when it is finished, also of one that is fitted again.

        With "auto" there are several rounds, up from the fewest components and down again, so that each fit
        can begin from those with more components too.
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
        drawn = self._drawn(likelihoods)
        for number in range(_ROUNDS):
            if number == 1:
                drawn = self._drawn(likelihoods)
            for k in self.ks[:: -1 if number % 2 else 1]:
                of_k = {kind: replace(likelihood, k=k) for kind, likelihood in likelihoods.items()}
                yield from self._round(number, k, of_k, drawn)

    def _round(
        self, number: int, k: int, likelihoods: dict[Kind, Likelihood[Any]], drawn: Drawn
    ) -> Iterator[Cell]:
        """Try the fits with k components. Yield those that are tried for the first and for the last time."""
        found, clear = list[Array](), False
        short = {kind for kind, likelihood in likelihoods.items() if k > 1 and not self._is_long(likelihood)}
        wanting = {kind for kind in likelihoods if k > 1 and kind not in short and self._is_wanting(k, kind)}
        if number == 0 or (number == 1 and wanting):
            found = labellings(drawn.geometries, drawn.weights, k, self.rng, self.source.n_threads)
            clear, found = are_clear(found[: len(drawn.geometries) - 1], k), distinct(found, k)
        thorough = _THOROUGH if len(drawn.rows.X) == self.source.n_positive else 1
        for kind, likelihood in likelihoods.items():
            cell = k, kind
            before, self.tried[cell] = self.tried.get(cell, -1), self.news
            if number == 0 and k == 1:
                self._fit_from(found[:1], 0, clear, kind, likelihood, drawn)
            elif kind in short:
                others = self._from_others(k, kind, before)
                if number == 0:
                    self._fit_from([*found, *others], thorough, clear, kind, likelihood, drawn)
                else:
                    self._fit_from(others, 0, clear, kind, likelihood, drawn)
                if number == _ROUNDS - 1:
                    self._finish(kind, likelihood, drawn)
            elif kind in wanting and number < 2:
                others = self._from_others(k, kind, None)
                self._fit_from([*found, *others], thorough, clear, kind, likelihood, drawn)
            if number in (0, _ROUNDS - 1 if kind in short else 1):
                yield cell

    def _drawn(self, likelihoods: dict[Kind, Likelihood[Any]]) -> Drawn:
        """Return a sample for all fits, and keep what is known of its rows."""
        most = [replace(likelihood, k=self.ks[-1]) for likelihood in likelihoods.values()]
        size = max(map(_rows_to_draw, most))
        with reading(None):
            drawn = draw(most[0], size, self.rng)
        for fit in self.fits.values():
            fit.beside = _beside(fit.likelihood, drawn, fit.run)
        return drawn

    def _fit(
        self, kind: Kind, likelihood: Likelihood[Any], drawn: Drawn | None, begin: Any, part: float = 1.0
    ) -> Cell:
        """Fit, until this part of `tol` is to come, and keep the result unless there is a better one."""
        began = time.perf_counter()
        cell = likelihood.k, kind
        options = self.kinds[kind]._replace(k=likelihood.k, rng=self.rng.spawn(1)[0])
        if cell in self.fits:
            options = options._replace(restarts=1)
        if part < 1:
            limits = replace(options.limits, converged=gain_to_come_below(part * options.limits.tol))
            options = options._replace(limits=limits)
        names = self.source.feature_names
        with collected_warnings():
            run, _ = Restarts(likelihood, options, begin, names, Progress()).best()
        old = self.fits.get(cell)
        if old is not None and run.rank <= old.run.rank:
            return cell
        least = self.kinds[kind].limits.tol * self.source.moments().weight
        if old is None or run.rank[:3] > old.run.rank[:3] or run.objective > old.run.objective + least:
            self.news += 1
            self.improved[cell] = self.news
        beside = _beside(likelihood, drawn, run)
        classified = _classified(likelihood, run.parameters) if run.history else -np.inf
        self.fits[cell] = Fit(likelihood, run, time.perf_counter() - began, beside, classified)
        return cell

    def _finish(self, kind: Kind, likelihood: Likelihood[Any], drawn: Drawn) -> None:
        """Go on where a fit ended that began from a part of the rows, and no kernel went on with all of them.

        The best of separate fits is often the one that comes nearest to an optimum that all of them find.
        """
        run = self.fits[likelihood.k, kind].run
        m, has_tol = len(drawn.rows.X), self.kinds[kind].limits.tol > 0
        by_kernel = likelihood.family.has_ascents and is_polished(likelihood, m)
        ended = m == self.source.n_positive or by_kernel
        if run.status is FitStatus.CONVERGED and has_tol and not ended:
            start: Maximised[Any] = Maximised(run.parameters, [], [], run.singular)
            self._fit(kind, likelihood, drawn, partial(_first, start, likelihood), _WORTH)

    def _from_others(self, k: int, kind: Kind, since: int | None) -> list[Array]:
        """Return labels by the fits beside this one: of one component fewer or more, and of other types.

        These are the fits that are new since then. With None these are all, and there are fewer labels.
        """
        found, thorough = list[Array](), since is not None
        for (own_k, own_kind), fit in self.fits.items():
            beside = fit.beside
            if beside is None or (since is not None and self.improved[own_k, own_kind] <= since):
                continue
            if own_k == k and own_kind != kind:
                found.append(beside.labels)
            elif own_k == k - 1 and own_kind == kind:
                found += beside.more(thorough)
            elif own_k == k + 1 and own_kind == kind:
                found += beside.less(thorough)
            elif own_k == k and k > 2:
                found += beside.exchanged(thorough)
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
        """Fit from the best of some labels, unless it promises no more.

        A sample promises more than there is, since the start is the best for just these rows. A singular fit,
        whose likelihood has no bound, promises nothing.
        """
        if not labels:
            return
        current = self.fits.get((likelihood.k, kind))
        try:
            compiled = not self._is_long(likelihood)
            start = best_start(likelihood, drawn, labels, clear, self.rng, thorough, compiled=compiled)
        except Breakdown:
            if current is None:
                self.fits[likelihood.k, kind] = Fit(likelihood, Run(FitStatus.FAILED), 0.0, None, -np.inf)
                self.improved[likelihood.k, kind] = -1
            return
        comparable = current is not None and not (current.degenerate > bool(start.floored))
        if current is not None and current.beside is not None and comparable:
            gain = self._gain(current, current.beside, likelihood, start, drawn)
            if gain <= _WORTH * self.kinds[kind].limits.tol:
                return
        self._fit(kind, likelihood, drawn, partial(_first, start, likelihood))

    def _gain(
        self,
        current: Fit,
        beside: Neighbours,
        likelihood: Likelihood[Any],
        start: Maximised[Any],
        drawn: Drawn,
    ) -> float:
        """Return what a start gains on a fit, per row: on all rows if they are known, or on the sample."""
        reached = likelihood.mean_before(start)
        if reached:
            return float(reached[0] - current.run.objective / self.source.moments().weight)
        joint = joint_of(likelihood, drawn.rows, start.parameters)
        promised = Neighbours(joint, beside.points, drawn.weights).density
        gain = float(np.log(2) * (drawn.weights @ (promised - beside.density)))
        gain += likelihood.log_prior(start.parameters) - likelihood.log_prior(current.run.parameters)
        return gain / float(drawn.weights.sum())

    def _is_long(self, likelihood: Likelihood[Any]) -> bool:
        """Return whether passes over all rows take more time than the search for a better start is worth."""
        work = likelihood.k * likelihood.family.multiply_adds(self.source.n_features)
        return self.source.n_positive * work > _LONG

    def _is_wanting(self, k: int, kind: Kind) -> bool:
        """Return whether there is no fit yet, or one that a component less beats, which is no optimum."""
        fit, fewer = self.fits.get((k, kind)), self.fits.get((k - 1, kind))
        return fit is None or (fewer is not None and fewer.run.rank > fit.run.rank)


def _rows_to_draw(likelihood: Likelihood[Any]) -> int:
    if likelihood.family.has_ascents:
        return rows_to_draw(likelihood, _LEAST_ROWS, _PART)
    return rows_to_draw(likelihood)


def _first(
    start: Maximised[Any], likelihood: Likelihood[Any], restart: int, rng: np.random.Generator
) -> Maximised[Any]:
    """Return the start of the first restart, and one of its own for each other."""
    return start if restart == 0 else named_start(likelihood, "auto", rng, restart)


def _beside(likelihood: Likelihood[Any], drawn: Drawn | None, run: Run[Any]) -> Neighbours | None:
    if drawn is None or not run.history:
        return None
    joint = joint_of(likelihood, drawn.rows, run.parameters)
    return Neighbours(joint, drawn.geometries[0], drawn.weights)


def _classified(likelihood: Likelihood[Any], parameters: Any) -> float:
    hard = replace(likelihood, hard=True)
    with reading(parameters):
        return hard.log_likelihood(hard.e_step(parameters))


def _named(likelihood: Likelihood[Any], init: str, restart: int, rng: np.random.Generator) -> Maximised[Any]:
    return named_start(likelihood, init, rng, restart)
