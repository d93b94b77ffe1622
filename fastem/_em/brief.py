"""The brief form of the start "auto": better than one k-means, in less time than k-means takes on all rows.

The drop-in for scikit-learn uses it where even the start "auto" would take longer than the fit. There are
fewer rows in the sample, fewer geometries and fewer starts. If k-means finds the same clusters in each
geometry, a single ascent is left.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from fastem._em.auto import draw
from fastem._em.labellings import breathe, distinct, random_labels
from fastem._em.objective import Likelihood
from fastem._em.race import Heats, best_run, labelled_start, polished, raced, rule_of_sample
from fastem._em.starts import given_start, sample_size, softened
from fastem._families.steps import Maximised, P
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._sources.arrays import ArraySource
from fastem._typing import Array, FloatArray, Rows

# Rows of the sample: so many for each component, and for each free parameter, and at least and at most these.
_PER_COMPONENT = 128
_PER_PARAMETER = 2
_LEAST_ROWS, _MOST_ROWS = 1024, 8192
# Random starts find what k-means cannot see. The first heat of all starts may cost so many passes over all
# rows by the kernel, if k-means does not find the same clusters in each geometry. If the sample holds all
# rows, and a pass over it takes few multiply-adds, there are some in any case.
_PASSES, _MOST_EXTRA = 10, 12
_EXTRA, _EXTRA_WORK = 4, 1 << 17
# The kernel that makes whole ascents is faster than single passes, which cost Python, below this number of
# multiply-adds.
_WORTH_ASCENTS = 1 << 20
_HEAT = 3  # iterations of the first heat otherwise
_HEATS = ((12, 1, 1000),)  # of ascents, as in `race`
_WHOLE_HEATS = ((12, 2, 4), (30, 1, 1000))  # the same where the sample holds all rows
# It goes on with all rows, if these are few, until an iteration gains less than this.
_POLISH_TOL = 5e-5
_LLOYD_ITERATIONS = 20


def brief_start(likelihood: Likelihood[P], rng: np.random.Generator) -> Maximised[P]:
    """Return where EM on a sample ends from the best of a few labellings."""
    family, k, d = likelihood.family, likelihood.k, likelihood.source.n_features
    wanted = max(_LEAST_ROWS, k * _PER_COMPONENT, _PER_PARAMETER * family.n_parameters(k, d))
    rows, geometries, weights, _ = draw(likelihood, sample_size(likelihood, min(wanted, _MOST_ROWS)), rng)
    work = len(rows.X) * k * family.multiply_adds(d)
    if k == 1:
        sample = replace(likelihood, source=ArraySource(rows, 1))
        return softened(likelihood, given_start(sample, np.zeros(len(rows.X), np.int64)))
    whole = len(rows.X) == likelihood.source.n_positive
    found = list(breathe(geometries[:1], weights, k, rng, 1))
    others = geometries[1:-1] if whole else geometries[1:-1][:1]
    found += [_lloyd_labels(points, weights, k, rng) for points in others]
    found = distinct(found, k)
    affordable = _PASSES * likelihood.source.n_samples // (_HEATS[0][0] * len(rows.X)) - len(found)
    clear = len(found) == 1 and len(geometries) > 2
    in_any_case = min(_EXTRA, _EXTRA_WORK // work) if whole else 0
    extra = max(0 if clear else min(affordable, _MOST_EXTRA), in_any_case)
    found += random_labels(geometries, weights, k, rng, extra, likelihood.source.n_threads)
    heats = _WHOLE_HEATS if whole else _HEATS
    return softened(likelihood, _best(likelihood, rows, found, work, heats))


def _lloyd_labels(points: FloatArray, weights: FloatArray, k: int, rng: np.random.Generator) -> Array:
    """Return what k-means finds from one greedy choice of seeds, of points (d, m)."""
    seeds = kmeans_plus_plus(points, weights, rng.random((k, 2 + int(np.log(k)))))
    return lloyd(points, weights, np.ascontiguousarray(points[:, seeds].T), _LLOYD_ITERATIONS)


def _best(
    likelihood: Likelihood[P],
    rows: Rows,
    found: list[Array],
    work: int,
    heats: Heats,
) -> Maximised[P]:
    n_threads = likelihood.source.n_threads
    sample = replace(likelihood, source=ArraySource(rows, 1))
    ended = raced(sample, rows, found, n_threads, heats) if work <= _WORTH_ASCENTS else None
    best = None if ended is None else polished(likelihood, *ended, len(rows.X), _POLISH_TOL, 0)
    if best is not None:
        return best
    starts = [partial(labelled_start, sample, labels) for labels in found]
    return best_run(sample, rows, starts, _HEAT, rule_of_sample(likelihood, len(rows.X)), refined=0)
