"""The start "auto" where clusters are clear: a few labellings agree, and EM stays with them.

Where each row belongs to one component all but for certain, components that share a cluster would show, since
their rows would be in doubt. So there are as many clusters as components, or more, and each component has its
own. Then nothing is left to look for, and most of what the start does otherwise would be in vain.
"""

from dataclasses import replace

import numpy as np

from fastem._em.geometries import stacked
from fastem._em.labellings import random_labels
from fastem._em.masses import repeated_rows
from fastem._em.objective import Likelihood
from fastem._em.race import ascents_of, points_of
from fastem._families.base import Ascents
from fastem._families.steps import Maximised, P
from fastem._kernels._kmeans import labels_from_seeds
from fastem._sources.arrays import ArraySource
from fastem._sources.parts import part_of
from fastem._typing import Array, FloatArray, Rows

# Rows for each centre of k-means, and at least so many, from which its iterations find where centres are. The
# last is for ascents with a component more, which need more rows.
_PER_CENTRE, _QUICK_ROWS, _LEAST_ROWS = 32, 256, 512
# Rows for each parameter of a component that might be one too many. It is certain of fewer rows in any case.
_PER_PARAMETER = 4
# Where clusters are clear, k-means needs few iterations. It may make more to find one cluster too many.
_QUICK_ITERATIONS, _LLOYD_ITERATIONS = 10, 20
_SEEDS = 2  # of k-means in the first geometry
# Random starts that must not end higher, if a pass takes so few multiply-adds.
_RANDOM, _RANDOM_WORK = 4, 1 << 17
_HEAT, _REST, _TOL = 20, 150, 1e-6
# Clusters are clear where the mean entropy of responsibilities is below this part of the least weight. Two
# components that share a cluster add half of the weight of both to it, or more. An ascent that has more than
# `_HOPELESS` after `_FIRST` iterations is given up. With less than `_LITTLE` each row is all but certain.
_DOUBT, _LITTLE, _FIRST, _HOPELESS = 0.5, 0.2, 5, 1.0
# One component more gains at most so much for each of its parameters where rows are Gaussian.
_GAIN = 3.0
_ALIKE = 1e-5  # as in `race`


def clear_start(
    likelihood: Likelihood[P],
    rows: Rows,
    geometries: list[FloatArray],
    weights: FloatArray,
    seen: list[Array],
    kinds: list[int],
    rng: np.random.Generator,
) -> Maximised[P] | None:
    """Return where EM on the sample ends from labels on which k-means agrees, or None if it is not clear.

    `seen` are the labellings of `quick_labels`, the last of which has no vote, and `kinds` tells which of
    them are alike.
    """
    k, voting = likelihood.k, kinds[:-1]
    agreed = next((one for one in voting if voting.count(one) > 1), None)
    if agreed is None:
        return None
    sample = replace(likelihood, source=ArraySource(rows, 1))
    work = len(weights) * k * sample.family.multiply_adds(sample.source.n_features)
    others = [labels for labels, kind in zip(seen, voting, strict=False) if kind != agreed]
    others += random_labels(geometries, weights, k, rng, min(_RANDOM, _RANDOM_WORK // work), 1)
    ascents = ascents_of(sample, rows, [seen[agreed], *others], likelihood.source.n_threads)
    if ascents is None:
        return None
    ascents.go_on([0], _FIRST, _TOL)
    if ascents.objective(0) is None or ascents.doubt(0) > _HOPELESS:
        return None
    ascents.go_on([0], _HEAT - _FIRST, _TOL)
    reached = ascents.objective(0)
    if reached is None or ascents.doubt(0) > _DOUBT or ascents.singular(0):
        return None
    if others:
        ascents.go_on([*range(1, len(others) + 1)], _HEAT, _TOL)
        ended = (ascents.objective(start) for start in range(1, len(others) + 1))
        if any(value is not None and value > reached + _ALIKE for value in ended):
            return None
    if _more_clusters(ascents, sample, rows, geometries[0], weights, rng):
        return None
    ascents.go_on([0], _REST, _TOL)
    return ascents.parameters(0)


def _more_clusters(
    ascents: Ascents[P],
    sample: Likelihood[P],
    rows: Rows,
    points: FloatArray,
    weights: FloatArray,
    rng: np.random.Generator,
) -> bool:
    """Return whether one component more is as certain of its rows, or fits them far better.

    Then some component has two clusters, or rows that are not Gaussian, and another labelling may be better.
    """
    k, d = sample.k, sample.source.n_features
    parameters = sample.family.n_parameters(k + 1, d) - sample.family.n_parameters(k, d)
    wanted = max(max(_PER_CENTRE, _PER_PARAMETER * parameters) * k, _LEAST_ROWS)
    part = part_of(len(weights), wanted, rng)
    few, own = rows.part(part), np.ascontiguousarray(weights[part])
    which, uniforms = np.zeros(_SEEDS, np.int64), rng.random((_SEEDS, k + 1, 2 + int(np.log(k + 1))))
    cloud = np.ascontiguousarray(points[:, part])
    fewer = part_of(len(own), _rows_for(k + 1), rng)
    found = labels_from_seeds(cloud[None], which, own, uniforms, _LLOYD_ITERATIONS, fewer)
    same = ascents if len(own) == len(weights) else ascents.moved([0], points_of(sample, few), own)
    more = same.others(found, k + 1)
    if more is None:
        return True
    same.go_on([0], _HEAT, _TOL)
    more.go_on([*range(_SEEDS)], _HEAT, _TOL)
    reached = same.objective(0)
    if reached is None:
        return True
    limit = reached + _GAIN * parameters / len(own)
    ended = [(value, start) for start in range(_SEEDS) if (value := more.objective(start)) is not None]
    return any(value > limit or more.doubt(start) < _LITTLE for value, start in ended)


def _rows_for(k: int) -> int:
    """Return how many rows suffice to tell where k centres are."""
    return max(_PER_CENTRE * k, _QUICK_ROWS)


def quick_labels(
    geometries: list[FloatArray], weights: FloatArray, k: int, rng: np.random.Generator, n_threads: int | None
) -> list[Array]:
    """Return the labels of the rows by k-means in each geometry, first several of the first.

    There are none where values repeat often, since k-means does not see that.
    """
    if repeated_rows(geometries[0], weights, k - 1):
        return []
    seen = stacked(geometries)
    which = np.maximum(np.arange(1 - _SEEDS, len(seen)), 0)
    uniforms = rng.random((len(which), k, 2 + int(np.log(k))))
    part = part_of(len(weights), _rows_for(k), rng)
    return [*labels_from_seeds(seen, which, weights, uniforms, _QUICK_ITERATIONS, part, n_threads)]
