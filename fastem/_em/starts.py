"""Initial parameters: an M-step from responsibilities that are given or come from a sample of the rows."""

from dataclasses import replace
from typing import Any

import numpy as np

from fastem._em.objective import Likelihood
from fastem._families.base import Family, Maximised, P
from fastem._families.frame import Frame
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Responsibilities
from fastem._typing import Array, FloatArray, Rows

INIT_NAMES = ("k-means++", "kmeans", "random", "random_from_data", "auto")

# Initialisers with a name use a sample of at most this many rows, and at most this many numbers (8 MB). But
# they use at least this many rows per component.
_SAMPLE_ROWS = 32768
_SAMPLE_NUMBERS = 1 << 20
_ROWS_PER_COMPONENT = 32
# Further iterations of Lloyd lower the distances within clusters by at most 1 % (on the ten data sets of
# docs/howto/compare_with_scikit_learn.py), and EM improves the start anyway.
_LLOYD_ITERATIONS = 20


def sample_size(likelihood: Likelihood[P], most: int) -> int:
    """Return how many rows a sample has: at most `most`, unless there are many components."""
    least = _ROWS_PER_COMPONENT * likelihood.k
    return max(min(most, _SAMPLE_NUMBERS // likelihood.source.n_features), least)


def sampled_start(
    likelihood: Likelihood[P], init: str, rng: np.random.Generator, restart: int
) -> Maximised[P]:
    """Return the initial parameters from one labelling of a random sample of the rows."""
    source, k = likelihood.source, likelihood.k
    rows = source.sample(sample_size(likelihood, _SAMPLE_ROWS), rng)
    if init == "random":
        given = _random_responsibilities(int(rng.integers(2**63)), k)
    else:
        family = likelihood.family
        points, weights = standardised(rows, source.dtype, family, likelihood.frame, family.isotropic)
        given = _one_hot(_cluster(points, weights, k, init, rng, restart), k)
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    return softened(sample, _start_from(sample, given))


def nearest_start(likelihood: Likelihood[P], centres: FloatArray, rng: np.random.Generator) -> Maximised[P]:
    """Return the initial parameters from the rows of a sample that are nearest to each centre (K, d)."""
    source, frame = likelihood.source, likelihood.frame
    rows = source.sample(sample_size(likelihood, _SAMPLE_ROWS), rng)
    points = frame.standardise(np.asarray(rows.X, dtype=source.dtype))
    deviations = points.std(axis=0)
    deviations[deviations == 0] = 1.0
    points /= deviations
    labels, nearest = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    for component, place in enumerate(frame.standardise(centres) / deviations):
        distances = np.square(points - place).sum(axis=1)
        labels[distances < nearest] = component
        np.minimum(nearest, distances, out=nearest)
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    return given_start(sample, labels)


def given_start(likelihood: Likelihood[P], init: Array) -> Maximised[P]:
    """Return the initial parameters from labels (n,) or responsibilities (n, K)."""
    if init.ndim == 2:
        return _start_from(likelihood, lambda start, stop: init[start:stop])
    return _start_from(likelihood, _one_hot(init, likelihood.k))


def softened(likelihood: Likelihood[P], start: Maximised[P]) -> Maximised[P]:
    """Return a start from which EM can reach all parameters, although a sample may lack some values."""
    return start._replace(parameters=likelihood.family.softened(start.parameters))


def _start_from(likelihood: Likelihood[P], given: Responsibilities) -> Maximised[P]:
    """Make the M-step from known responsibilities. If it is more precise, make a second pass and M-step."""
    family = likelihood.family
    origin = family.origin(likelihood.k, likelihood.source.n_features)
    rough = likelihood.m_step(likelihood.sums_given(origin, given))
    about = family.recentred(origin, rough.parameters)
    return rough if about is None else likelihood.m_step(likelihood.sums_given(about, given))


def _one_hot(labels: Array, k: int) -> Responsibilities:
    return lambda start, stop: labels[start:stop, None] == np.arange(k)


def _random_responsibilities(seed: int, k: int) -> Responsibilities:
    """Return uniform random numbers, scaled to sum to 1 in each row."""

    def rows(start: int, stop: int) -> FloatArray:
        uniforms = np.random.default_rng([seed, start]).random((stop - start, k))
        uniforms += np.finfo(np.float64).tiny
        return np.asarray(uniforms / uniforms.sum(axis=1, keepdims=True))

    return rows


def standardised(
    rows: Rows, dtype: np.dtype[np.floating], family: Family[Any, Any], frame: Frame, isotropic: bool
) -> tuple[FloatArray, FloatArray]:
    """Return rows with variance 1 in every feature (on average, if isotropic), (d, m), and weights (m,).

    The features are those that the family shows to k-means.

    The frame scales by powers of two only. That is not enough here, since the clusters that k-means finds
    must not depend on the units.
    """
    weights = rows.weights
    points = np.ascontiguousarray(family.seen(np.asarray(rows.X, dtype=dtype), frame).T)
    total = weights.sum()
    points -= (np.einsum("ji,i->j", points, weights) / total)[:, None]
    variance = np.einsum("ji,ji,i->j", points, points, weights) / total
    if isotropic:
        variance[:] = variance.mean()
    points /= np.sqrt(np.where(variance > 0, variance, 1.0))[:, None]
    return points, weights


def _cluster(
    points: FloatArray, weights: FloatArray, k: int, init: str, rng: np.random.Generator, restart: int
) -> Array:
    """Return the label of the nearest seed of each point (d, m), after Lloyd's iterations for "kmeans"."""
    if init == "random_from_data":
        seeds = rng.choice(len(weights), k, replace=False, p=weights / weights.sum())
    else:
        # Greedy seeds make the best single start, but they resemble each other. Of 200 starts on Old
        # Faithful (full, k=3), 10 % of the greedy and 14 % of the plain ones reached the best mode. On iris
        # it was 76 % and 63 %. So restarts alternate between the two.
        candidates = 2 + int(np.log(k)) if restart % 2 == 0 else 1
        seeds = kmeans_plus_plus(points, weights, rng.random((k, candidates)))
    centres = np.ascontiguousarray(points[:, seeds].T)
    return lloyd(points, weights, centres, _LLOYD_ITERATIONS if init == "kmeans" else 0)
