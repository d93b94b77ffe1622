"""Leaving saddles: an ascent that ends with components that equal others goes on without these.

Where components are equal, EM keeps them equal, and where they nearly are, its gains are too small to see. A
component that equals another is as empty as one without rows: without it the mixture is the same. So it may
take a part of the rows of the heaviest component. If the ascent from there ends higher, it counts.
"""

from __future__ import annotations  # or each call of `climb` would evaluate those of the function in it

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic

import numpy as np

from fastem._em.acceleration import Squarem
from fastem._em.loop import FLOORED, KEPT, RESEEDED, Limits, Run, Watch, ascend, gain_below, reading
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.starts import complete_rows, sample_size, standardised
from fastem._families.matrices import gram
from fastem._families.steps import Maximised, P, Scores
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._report import FitStatus, Repair
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._typing import Array, FloatArray, Rows

PARTED = "re-seeded: equal to another component; took a part of the rows of the heaviest"

_ROWS = 4096  # of the sample on which components are compared
# Components are equal if the cosine between their responsibilities is at least this. It is 0.999 where a
# random start has not left its saddle, and 0.98 between Gaussians a sixth of a deviation apart.
_EQUAL = 0.99
# Components are compared on rows only if some are so near each other, in deviations. The cosine is 0.99 where
# they are 0.14 apart, and less where they are farther. To compare compiles a kernel of its own.
_NEAR = 1 / 4
# We try this many ways to part the rows. EM makes some iterations from each, on the sample.
_TRIES = 5
_TRYING = Limits(gain_below(1e-4), 1e-4, 10)
_BLOCK = 256  # rows of a matrix of distances that are computed at a time


def climb(
    likelihood: Likelihood[P],
    start: Callable[[], Maximised[P]],
    limits: Limits,
    rng: np.random.Generator,
    watch: Watch[P],
    accelerated: bool,
) -> Run[P]:
    """Ascend, as `ascend` does, and go on from saddles as long as components may be re-seeded."""
    ways = _Ways(likelihood, rng)

    def ascent(start: Callable[[], Maximised[P]], limits: Limits, watch: Watch[P]) -> Run[P]:
        squarem = Squarem(likelihood.family, limits.tol, likelihood.held) if accelerated else None
        found = ways.found if limits.leave_saddles and limits.reseeds > 0 else lambda _: False
        return ascend(
            likelihood, start, limits, k=likelihood.k, watch=watch, at_saddle=found, squarem=squarem
        )

    run = ascent(start, limits, watch)
    while limits.leave_saddles:
        used = sum(repair.what in (RESEEDED, PARTED) for repair in run.repairs)
        reseeds = limits.reseeds - math.ceil(used / likelihood.k)
        passes = limits.max_iter - len(run.history) - run.in_vain
        ended = run.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE)
        if not ended or passes < 1 or reseeds < 1 or not (ways.start or ways.found(run.parameters)):
            break
        rest = replace(limits, max_iter=passes, reseeds=reseeds - 1)
        began, free = ways.taken()
        try:
            other = ways.judged(ascent(began, rest, _later(watch, len(run.history))))
        except ValueError:  # a user's methods may not know what to do there
            break
        if not _is_better(other, run, limits.tol * likelihood.source.moments().weight):
            run.status = other.status if other.status is FitStatus.STOPPED else run.status
            break
        run = _joined(run, other, free)
    return run


def _is_better(other: Run[P], run: Run[P], tol: float) -> bool:
    if other.failure is not None:
        return False
    gain = other.objective - run.objective
    return gain > 0 and gain >= tol and other.rank > run.rank


def _later(watch: Watch[P], iterations: int) -> Watch[P]:
    return lambda iteration, run: watch(iterations + iteration, run)


def _joined(run: Run[P], other: Run[P], free: list[int]) -> Run[P]:
    """Return two runs as one. The second began where the components `free` were taken from the first."""
    before = len(run.history)
    known = {(repair.component, repair.what) for repair in run.repairs if repair.what in (KEPT, FLOORED)}
    parted = [Repair(before, component, PARTED) for component in free]
    later = [
        repair._replace(iteration=before + repair.iteration)
        for repair in other.repairs
        if (repair.component, repair.what) not in known
    ]
    other.history = run.history + other.history
    other.repairs = run.repairs + parted + later
    other.in_vain += run.in_vain
    return other


@dataclass
class _Ways(Generic[P]):
    """Looks for a way on from a saddle."""

    likelihood: Likelihood[P]
    rng: np.random.Generator
    rows: Rows | None = None  # a sample
    start: Maximised[P] | None = None  # parameters without equal components
    free: list[int] = field(default_factory=list)  # the components that were equal to others

    def found(self, saddle: P) -> bool:
        """Return whether components are equal, and there is a start without equal ones."""
        likelihood, source = self.likelihood, self.likelihood.source
        places = likelihood.family.places(saddle)
        if likelihood.k == 1 or (places is not None and not _any_near(places)):
            return False
        if self.rows is None:
            with reading(saddle):
                self.rows = source.sample(sample_size(likelihood, _ROWS), self.rng)
        rows = self.rows
        sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
        weights = rows.weights
        held = likelihood.held_components
        r, self.free = _merged(_responsibilities(sample, saddle), weights, held)
        if not self.free:
            return False
        runs = []
        for _ in range(_TRIES):
            parted = _parted(r, self.free, weights, rows, sample, self.rng)
            start = partial(_m_step, sample, saddle, parted)
            runs.append(self.judged(_tried(sample, start)))
        best = max(runs, key=lambda run: run.rank)
        self.start = Maximised(best.parameters, [], [], best.singular) if best.history else None
        return self.start is not None

    def judged(self, run: Run[P]) -> Run[P]:
        """Return the run with its masses, which do not make it lose."""
        if run.singular and self.rows is not None:
            run.masses = masses_of(self.likelihood, self.rows, run.parameters, run.singular)
        return run

    def taken(self) -> tuple[Callable[[], Maximised[P]], list[int]]:
        """Return the start that was found, and the components that were equal to others, once."""
        start, self.start = self.start, None
        assert start is not None
        return lambda: start, self.free


def _tried(sample: Likelihood[P], start: Callable[[], Maximised[P]]) -> Run[P]:
    try:
        return ascend(sample, start, _TRYING, k=sample.k, watch=lambda *_: False)
    except ValueError as error:  # a user's methods may not know what to do here
        run: Run[P] = Run(FitStatus.FAILED)
        run.failure = error
        return run


def _m_step(sample: Likelihood[P], saddle: P, r: FloatArray) -> Maximised[P]:
    """Make the M-step from these responsibilities, with sums about the parameters of the saddle."""

    def maximised(about: P) -> Maximised[P]:
        return sample.m_step(sample.sums_given(about, lambda start, stop: r[start:stop]))

    rough = maximised(saddle)
    about = sample.family.recentred(saddle, rough.parameters)
    return rough if about is None else maximised(about)


def _responsibilities(sample: Likelihood[P], parameters: P) -> FloatArray:
    source = sample.source
    assert isinstance(source, ArraySource)
    r = np.empty((source.n_samples, sample.k), source.dtype)
    packed = sample.family.pack(parameters, sample.frame, source.dtype)
    sweep = Sweep(sample.family, sample.k, packed, sample.frame)
    source.score(sweep, Scores(responsibilities=r))
    return r.astype(np.float64)


def _any_near(places: FloatArray) -> bool:
    """Return whether two of the points (K, d) are near each other."""
    squares = np.square(places).sum(axis=1)
    for start in range(0, len(places), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = squares[block, None] + squares - 2 * (places[block] @ places.T)
        near = np.count_nonzero(distances <= _NEAR**2)
        if near > len(distances):  # each point is near itself
            return True
    return False


def _merged(r: FloatArray, weights: FloatArray, held: Sequence[int] = ()) -> tuple[FloatArray, list[int]]:
    """Return responsibilities (m, K) in which equal components are one, and the components without any.

    Components are equal where their responsibilities, two columns, are proportional. Those that are held
    stay.
    """
    rooted = r * np.sqrt(weights)[:, None]
    norms = np.sqrt(np.einsum("ik,ik->k", rooted, rooted))
    cosines = gram(rooted.T, rooted.T.copy()) / np.maximum(np.outer(norms, norms), np.finfo(np.float64).tiny)
    whole: list[int] = []
    free: list[int] = []
    for component in sorted(range(len(cosines)), key=lambda one: one not in held):
        equals = [other for other in whole if cosines[component, other] >= _EQUAL]
        if not equals or component in held:
            whole.append(component)
            continue
        r[:, equals[0]] += r[:, component]
        r[:, component] = 0.0
        free.append(component)
    return r, free


def _parted(
    r: FloatArray,
    free: list[int],
    weights: FloatArray,
    rows: Rows,
    sample: Likelihood[P],
    rng: np.random.Generator,
) -> FloatArray:
    """Return responsibilities in which each of the `free` components has a part of the heaviest one."""
    r, shares = r.copy(), weights @ r
    parts = {component: [component] for component in range(sample.k) if component not in free}
    for component in free:
        heaviest = max(parts, key=lambda one: shares[one] / len(parts[one]))
        parts[heaviest].append(component)
    for whole, members in parts.items():
        if len(members) > 1:
            own = r[:, whole].copy()
            labels = _clusters(rows._replace(weight=weights * own), len(members), sample, rng)
            for label, component in enumerate(members):
                r[:, component] = own * (labels == label)
    return r


def _clusters(rows: Rows, k: int, sample: Likelihood[P], rng: np.random.Generator) -> Array:
    """Return the nearest of k seeds of each row. Lloyd's iterations would part features without clusters."""
    family = sample.family
    points, weights = standardised(
        complete_rows(sample, rows), sample.source.dtype, family, sample.frame, family.isotropic
    )
    seeds = kmeans_plus_plus(points, weights, rng.random((k, 2 + int(np.log(k)))))
    return lloyd(points, weights, np.ascontiguousarray(points[:, seeds].T), 0)
