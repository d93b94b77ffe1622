"""Initial parameters by name, and the start "auto": EM on a sample from many labellings. The best stays.

The likelihood decides, not k-means. Starts that fall behind are dropped early.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fastem._em.labellings import labellings
from fastem._em.loop import Limits, Run, ascend, gain_below
from fastem._em.masses import masses_of
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start, nearest_start, sample_size, sampled_start
from fastem._families.base import Maximised, P
from fastem._report import FitStatus
from fastem._sources.arrays import ArraySource
from fastem._typing import FloatArray, Rows

# Rows of the sample: so many for each component, and for each component and feature, within these bounds.
_PER_COMPONENT = 256
_PER_NUMBER = 16
_LEAST_ROWS, _MOST_ROWS = 4096, 16384
# The first heat of the race, and how long the ascent of its winner may be.
_HEAT = 5
_REFINING = Limits(gain_below(1e-6), 1e-4, 150)
# A run that ends this near to a better one, in mean log-likelihood, has found the same.
_ALIKE = 1e-5
# Where rows are few, iterations cost little, and k-means alone often misses the best optimum. There are more
# random starts the fewer numbers (rows x features x components) there are.
_MOST_EXTRA = 16
_EXTRA_NUMBERS = 1 << 17


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
    source, k = likelihood.source, likelihood.k
    wanted = k * max(_PER_COMPONENT, _PER_NUMBER * source.n_features)
    size = sample_size(likelihood, min(max(wanted, _LEAST_ROWS), _MOST_ROWS))
    rows = source.sample(size, rng)
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    extra = min(_MOST_EXTRA, _EXTRA_NUMBERS // (rows.X.size * k)) if k > 1 else 0
    found = labellings(rows, source.dtype, likelihood.frame, k, extra, rng, source.n_threads)
    best = _race(sample, rows, [partial(given_start, sample, labels) for labels in found])
    if best.failure is not None and not best.history:
        raise best.failure
    return Maximised(best.parameters, [], [], best.singular)


def _race(sample: Likelihood[P], rows: Rows, starts: list[partial[Maximised[P]]]) -> Run[P]:
    """Return the best run. After each heat the best third goes on, twice as long."""
    heat = _HEAT
    while True:
        limits = replace(_REFINING, max_iter=heat if len(starts) > 1 else _REFINING.max_iter)
        runs = [_attempt(sample, start, limits) for start in starts]
        for run in runs:
            run.masses = masses_of(sample, rows, run.parameters, run.singular) if run.singular else []
        runs.sort(key=lambda run: run.rank, reverse=True)
        if len(runs) == 1 or not runs[0].history:
            return runs[0]
        alike = _ALIKE * len(rows.X)
        leaders = [runs[0]]
        for run in runs[1 : -(-len(runs) // 3)]:
            if run.history and leaders[-1].objective - run.objective > alike:
                leaders.append(run)
        starts = [partial(Maximised, run.parameters, [], [], run.singular) for run in leaders]
        heat *= 2


def _attempt(sample: Likelihood[P], start: partial[Maximised[P]], limits: Limits) -> Run[P]:
    """Ascend. Some labellings are too narrow for a user's distribution, but others may not be."""
    try:
        return ascend(sample, start, limits, k=sample.k, watch=lambda *_: False)
    except ValueError as error:
        run: Run[P] = Run(FitStatus.FAILED)
        run.failure = error
        return run
