"""Initial parameters by name, and the start "auto": EM on a sample from many labellings. The best stays.

The likelihood decides, not k-means. Starts that fall behind are dropped early.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fastem._em.labellings import geometries_of, labellings, random_labels
from fastem._em.loop import Limits, Run, ascend, gain_below
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start, nearest_start, sample_size, sampled_start
from fastem._families.base import Ascents, Maximised, P, Rule
from fastem._report import FitStatus
from fastem._sources.arrays import ArraySource
from fastem._typing import Array, FloatArray, Rows

# Rows of the sample: so many for each component, and for each free parameter, within these bounds. There are
# up to twice as many if that is a small part of all rows.
_PER_COMPONENT = 128
_PER_PARAMETER = 4
_LEAST_ROWS, _MOST_ROWS = 2048, 16384
_SMALL_PART = 64
# If X has few rows, iterations cost little, and k-means alone often misses the best optimum. There are more
# random starts the fewer multiply-adds a pass takes.
_MOST_EXTRA = 16
_EXTRA_WORK = 1 << 19
# If X has more rows, and no clear clusters, the first heat of the race may cost so many passes over all of
# them. What Python adds to an iteration on the sample costs about as much as these multiply-adds. It may be
# more passes, if these are short. Each start has this many iterations at least and at most.
_PASSES, _SHORT_PASSES = 8, 160
_OVERHEAD = 1 << 24
_HEAT, _LONGEST_HEAT = 5, 20
# The ascent of the winner. Plateaus of small gains are common.
_REFINING = Limits(gain_below(1e-6), 1e-4, 150)
# A run that ends this near to a better one, in mean log-likelihood, has found the same.
_ALIKE = 1e-5
# A pass of fewer multiply-adds ends before another thread wakes up, if the machine is busy.
_WORTH_THREADS = 1 << 22
# Ascents by one kernel: the iterations of each heat, and how many go on. With 8 or 12 iterations in the first
# heat, the start that would have been best is often dropped.
_ASCENT_HEATS = ((20, 4), (60, 2), (150, 1))
_ASCENT_TOL = 1e-6


def named_start(likelihood: Likelihood[P], init: str, rng: np.random.Generator, restart: int) -> Maximised[P]:
    """Return the initial parameters that users call `init`."""
    if init == "auto":
        return _best_of_many(likelihood, rng)
    return sampled_start(likelihood, init, rng, restart)


def partial_start(
    likelihood: Likelihood[P], given: Mapping[str, FloatArray], rng: np.random.Generator
) -> Maximised[P]:
    """Return some parameters as they are given, by name in user units, and estimate the others.

    Rows belong to the nearest centre if centres are given, and else to the nearest seed of k-means++.
    """
    family, frame = likelihood.family, likelihood.frame
    if family.location is not None and family.location in given:
        estimated = nearest_start(likelihood, given[family.location], rng)
    else:
        estimated = sampled_start(likelihood, "k-means++", rng, 0)
    user = family.to_user(estimated.parameters, frame)
    values = {name: given.get(name, value) for name, value in family.values(user).items()}
    weights = given.get("weights", user.weights)
    user = family.check(weights, values, likelihood.source.n_features)
    return Maximised(family.from_user(user, frame), [], [], estimated.floored)


def _best_of_many(likelihood: Likelihood[P], rng: np.random.Generator) -> Maximised[P]:
    source, frame, k, n_threads = (
        likelihood.source,
        likelihood.frame,
        likelihood.k,
        likelihood.source.n_threads,
    )
    rows = source.sample(_sample_rows(likelihood), rng)
    geometries, weights = geometries_of(rows, source.dtype, frame)
    found, clear = labellings(geometries, weights, k, rng, n_threads)
    work = k * likelihood.family.multiply_adds(source.n_features)
    few = source.n_positive <= _MOST_ROWS
    if few:
        extra, heat = min(_MOST_EXTRA, _EXTRA_WORK // (len(rows.X) * work)), _HEAT
    elif clear:
        extra, heat = 0, _HEAT
    else:
        n = source.n_positive
        iterations = min(_PASSES * n // len(rows.X), _SHORT_PASSES * n * work // _OVERHEAD)
        heat = min(max(_HEAT, iterations // (len(found) + _MOST_EXTRA)), _LONGEST_HEAT)
        extra = min(max(0, iterations // heat - len(found)), _MOST_EXTRA)
    if k > 1:
        found += [random_labels(geometries[0], weights, k, rng) for _ in range(extra)]
    threads = n_threads if len(rows.X) * work > _WORTH_THREADS else 1
    sample = replace(likelihood, source=ArraySource(rows, threads))
    ascended = _best_ascent(sample, rows, found, n_threads) if few and extra else None
    if ascended is not None:
        return ascended
    best = _race(sample, rows, [partial(given_start, sample, labels) for labels in found], heat)
    if best.failure is not None and not best.history:
        raise best.failure
    return Maximised(best.parameters, [], [], best.singular)


def _sample_rows(likelihood: Likelihood[P]) -> int:
    n, k = likelihood.source.n_positive, likelihood.k
    n_parameters = likelihood.family.n_parameters(k, likelihood.source.n_features)
    wanted = max(k * _PER_COMPONENT, _PER_PARAMETER * n_parameters, _LEAST_ROWS)
    rows = max(wanted, min(n // _SMALL_PART, 2 * wanted)) if wanted < n / 2 else n
    return sample_size(likelihood, min(rows, _MOST_ROWS))


def _best_ascent(
    sample: Likelihood[P], rows: Rows, found: list[Array], n_threads: int | None
) -> Maximised[P] | None:
    """Return the best of the ascents that the kernel of the family makes, or None if there is none.

    A pass costs Python fifty times what it costs the kernel of a small sample, so one kernel makes it all.
    Fits to more rows do not use it, since it takes two seconds to compile.
    """
    source, frame = sample.source, sample.frame
    points = np.ascontiguousarray(frame.standardise(np.asarray(rows.X, dtype=source.dtype)).T)
    weights = np.ones(len(rows.X)) if rows.weight is None else rows.weight.astype(np.float64)
    finest, stored = (float(np.finfo(dtype).eps) for dtype in (np.float64, source.dtype))
    rule: Rule[P] = Rule(frame, float(weights.mean()), finest, stored, sample.reg_covar)
    ascents = sample.family.ascents(points, weights, np.stack(found), sample.k, rule, n_threads)
    if ascents is None:
        return None
    chosen = list(range(len(found)))
    for iterations, most in _ASCENT_HEATS:
        ascents.go_on(chosen, iterations, _ASCENT_TOL)
        chosen = _leaders(ascents, sample, rows, chosen, most)
        if not chosen:
            return None
    return ascents.parameters(chosen[0])


def _leaders(
    ascents: Ascents[P], sample: Likelihood[P], rows: Rows, chosen: list[int], most: int
) -> list[int]:
    """Return the best of the chosen starts, which must have ended apart. Singular ones come last.

    Those on a mass are not meant by that.
    """
    reached = {start: value for start in chosen if (value := ascents.objective(start)) is not None}
    order = sorted(reached, key=lambda start: -reached[start])
    sound: list[int] = []
    unsound: list[int] = []
    last = np.inf
    for start in order:
        if last - reached[start] <= _ALIKE:
            continue
        last = reached[start]
        ended = ascents.parameters(start)
        singular = ended.floored
        if set(singular) <= set(masses_of(sample, rows, ended.parameters, singular) if singular else []):
            sound.append(start)
            if len(sound) == most:
                return sound
        else:
            unsound.append(start)
    return [*sound, *unsound][:most]


def _race(sample: Likelihood[P], rows: Rows, starts: list[partial[Maximised[P]]], heat: int) -> Run[P]:
    """Return the best run. After each heat the best third goes on, twice as long.

    A winner may lose its rank in the end, because a component becomes singular. Then the best of the runs
    that were dropped goes on, if it ranks higher.
    """
    limits, dropped = replace(_REFINING, max_iter=heat), list[Run[P]]()
    while len(starts) > 1:
        runs = sorted((_attempt(sample, rows, start, limits) for start in starts), key=_rank, reverse=True)
        if not runs[0].history:
            return runs[0]
        leaders = [runs[0]]
        for run in runs[1 : -(-len(runs) // 3)]:
            if run.history and leaders[-1].objective - run.objective > _ALIKE * len(rows.X):
                leaders.append(run)
        dropped += [run for run in runs if run not in leaders]
        starts = [_going_on(run) for run in leaders]
        limits = replace(limits, max_iter=2 * limits.max_iter)
    best = _attempt(sample, rows, starts[0], _REFINING)
    while dropped and max(map(_rank, dropped)) > best.rank:
        following = max(dropped, key=_rank)
        dropped.remove(following)
        best = max(best, _attempt(sample, rows, _going_on(following), _REFINING), key=_rank)
    return best


def _rank(run: Run[P]) -> tuple[bool, bool, bool, float]:
    return run.rank


def _going_on(run: Run[P]) -> partial[Maximised[P]]:
    return partial(Maximised, run.parameters, [], [], run.singular)


def _attempt(sample: Likelihood[P], rows: Rows, start: partial[Maximised[P]], limits: Limits) -> Run[P]:
    """Ascend. Some labellings are too narrow for a user's distribution, but others may not be."""
    try:
        run = ascend(sample, start, limits, k=sample.k, watch=lambda *_: False)
    except ValueError as error:
        run = Run(FitStatus.FAILED)
        run.failure = error
    if run.singular:
        run.masses = masses_of(sample, rows, run.parameters, run.singular)
    return run
