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
from fastem._em.loop import Run, gain_to_come_below, reading
from fastem._em.neighbours import divided, joint_of, nested, without_one
from fastem._em.objective import Likelihood
from fastem._families.steps import Maximised
from fastem._report import Breakdown, FitReport, FitStatus, collected_warnings
from fastem._sources.passes import Source
from fastem._typing import Array, FloatArray

# Where passes are short, each fit is tried so many times. The first two times there are new random starts,
# later only clusters of those fits beside it that are new since the last time.
_ROUNDS, _RANDOM_ROUNDS = 5, 2

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
        if number == 0 or (k > 1 and number < _RANDOM_ROUNDS):
            found, clear = labellings(drawn.geometries, drawn.weights, k, self.rng, self.source.n_threads)
        for kind, likelihood in likelihoods.items():
            cell = k, kind
            before, self.tried[cell] = self.tried.get(cell, -1), self.news
            if number == 0 and k == 1:
                self._fit_from(found[:1], 0, clear, kind, likelihood, drawn)
            elif kind in short:
                others = self._from_others(k, kind, drawn, before)
                if number < _RANDOM_ROUNDS:
                    self._fit_from([*found, *others], 1, clear, kind, likelihood, drawn)
                else:
                    self._fit_from(others, 0, clear, kind, likelihood, drawn)
                if number == _ROUNDS - 1:
                    self._finish(kind, likelihood, drawn)
            elif k > 1 and number < _RANDOM_ROUNDS and self._is_wanting(k, kind):
                others = self._from_others(k, kind, drawn, None)
                self._fit_from([*found, *others], 1, clear, kind, likelihood, drawn)
            if number in (0, _ROUNDS - 1 if kind in short else 1):
                yield cell

    def _drawn(self, likelihoods: dict[Kind, Likelihood[Any]]) -> Drawn:
        """Return a sample for all fits, and keep what is known of its rows."""
        most = [replace(likelihood, k=self.ks[-1]) for likelihood in likelihoods.values()]
        size = max(map(rows_to_draw, most))
        with reading(None):
            drawn = draw(most[0], size, self.rng)
        for fit in self.fits.values():
            fit.joint = joint_of(fit.likelihood, drawn.rows, fit.run.parameters) if fit.run.history else None
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
        joint = None
        if drawn is not None and run.history:
            joint = joint_of(likelihood, drawn.rows, run.parameters)
        classified = _classified(likelihood, run.parameters) if run.history else -np.inf
        self.fits[cell] = Fit(likelihood, run, time.perf_counter() - began, joint, classified)
        return cell

    def _finish(self, kind: Kind, likelihood: Likelihood[Any], drawn: Drawn) -> None:
        """Go on where a fit ended that began from a part of the rows.

        The best of separate fits is often the one that comes nearest to an optimum that all of them find.
        """
        run = self.fits[likelihood.k, kind].run
        is_whole = len(drawn.rows.X) == self.source.n_positive
        if run.status is FitStatus.CONVERGED and self.kinds[kind].limits.tol > 0 and not is_whole:
            start: Maximised[Any] = Maximised(run.parameters, [], [], run.singular)
            self._fit(kind, likelihood, drawn, partial(_first, start, likelihood), _WORTH)

    def _from_others(self, k: int, kind: Kind, drawn: Drawn, since: int | None) -> list[Array]:
        """Return labels by the fits beside this one: of one component fewer or more, and of other types.

        These are the fits that are new since then. With None these are all, and there are fewer labels.
        """
        points, weights = drawn.geometries[0], drawn.weights
        found: list[Array] = []
        for (own_k, own_kind), fit in self.fits.items():
            joint = fit.joint
            if joint is None or (since is not None and self.improved[own_k, own_kind] <= since):
                continue
            if own_k == k and own_kind != kind:
                found.append(joint.argmax(axis=1))
            elif own_k == k - 1 and own_kind == kind:
                found += _with_another(joint.argmax(axis=1), joint, points, weights, since is not None)
            elif own_k == k + 1 and own_kind == kind:
                found += without_one(joint, weights)
            elif own_k == k and k > 2:
                for labels in without_one(joint, weights)[: None if since is not None else 1]:
                    found += _with_another(labels, joint, points, weights, since is not None, k - 1)
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
        """Fit from the best of some labels, unless the sample promises no more.

        It promises more than there is, since the start is the best for just these rows. A singular fit, whose
        likelihood has no bound, promises nothing.
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
        if (
            current is not None
            and current.joint is not None
            and not (current.degenerate > bool(start.floored))
        ):
            promised = joint_of(likelihood, drawn.rows, start.parameters)
            gain = float(drawn.weights @ (_log_sum(promised) - _log_sum(current.joint)))
            gain += likelihood.log_prior(start.parameters) - likelihood.log_prior(current.run.parameters)
            if gain <= _WORTH * self.kinds[kind].limits.tol * drawn.weights.sum():
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


def _with_another(
    labels: Array,
    joint: FloatArray,
    points: FloatArray,
    weights: FloatArray,
    inside: bool,
    k: int | None = None,
) -> list[Array]:
    """Return labels with a cluster more than the k there are, also of those inside others if wanted."""
    k = joint.shape[1] if k is None else k
    found = divided(labels, points, weights, k)
    return found + nested(labels, np.logaddexp2.reduce(joint, axis=1), weights, k) if inside else found


def _classified(likelihood: Likelihood[Any], parameters: Any) -> float:
    hard = replace(likelihood, hard=True)
    with reading(parameters):
        return hard.log_likelihood(hard.e_step(parameters))


def _named(likelihood: Likelihood[Any], init: str, restart: int, rng: np.random.Generator) -> Maximised[Any]:
    return named_start(likelihood, init, rng, restart)


def _log_sum(joint: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp2.reduce(joint, axis=1) * np.log(2))
