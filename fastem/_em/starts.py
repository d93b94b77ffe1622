"""Initial parameters: an M-step from responsibilities that are given or come from a sample of the rows."""

from dataclasses import replace
from typing import Any

import numpy as np

from fastem._em.completed import completed
from fastem._em.objective import Likelihood
from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.matrices import times
from fastem._families.steps import Maximised, P
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
# Rows are compared with all centres in blocks of so many, and an error of a distance by products is at most
# so many rounding errors for each feature.
_BLOCK, _ROUNDINGS = 1024, 4


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
    rows = complete_rows(likelihood, rows)
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    if init == "random":
        return random_start(sample, rows, int(rng.integers(2**63)))
    family = likelihood.family
    points, weights = standardised(rows, source.dtype, family, likelihood.frame, family.isotropic)
    labels = matched(_cluster(points, weights, k, init, rng, restart), rows, k)
    return softened(sample, _start_from(sample, _one_hot(labels, k)))


def random_start(sample: Likelihood[P], rows: Rows, seed: int) -> Maximised[P]:
    """Return the initial parameters from random responsibilities for the rows of a sample."""
    given = _random_responsibilities(seed, sample.k, rows.labels)
    return softened(sample, _start_from(sample, given))


def nearest_start(likelihood: Likelihood[P], centres: FloatArray, rng: np.random.Generator) -> Maximised[P]:
    """Return the initial parameters from the rows of a sample that are nearest to each centre (K, d).

    The centres are values of the parameter `location` of the family.
    """
    source, frame = likelihood.source, likelihood.frame
    rows = complete_rows(likelihood, source.sample(sample_size(likelihood, _SAMPLE_ROWS), rng))
    points = likelihood.family.seen(np.asarray(rows.X, dtype=source.dtype), frame)
    deviations = points.std(axis=0)
    deviations[deviations == 0] = 1.0
    points /= deviations
    places = likelihood.family.seen_location(centres, frame) / deviations
    with np.errstate(over="ignore", invalid="ignore"):  # a centre may be beyond all rows
        labels = np.concatenate(
            [_nearest(block, places) for block in np.split(points, range(_BLOCK, len(points), _BLOCK))]
        )
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    return given_start(sample, labels)


def _nearest(points: FloatArray, places: FloatArray) -> Array:
    """Return the first of the nearest places (K, d) of each point (m, d).

    Distances by products cost much less than by gaps, but lose digits. Where these might decide, gaps do.
    """
    everyone, d = np.arange(len(points)), points.shape[1]
    places = places.astype(points.dtype)
    lengths = np.square(places).sum(axis=1)
    scores = lengths - 2 * times(points, places.T)
    labels: Array = scores.argmin(axis=1)
    best = scores[everyone, labels]
    scores[everyone, labels] = np.inf
    errors = _ROUNDINGS * d * np.finfo(points.dtype).eps * (np.square(points).sum(axis=1) + lengths.max())
    unsure = np.flatnonzero(~(scores.min(axis=1) - best > errors))
    near, nearest = np.zeros(len(unsure), np.int64), np.full(len(unsure), np.inf)
    for component, place in enumerate(places):
        distances = np.square(points[unsure] - place).sum(axis=1)
        near[distances < nearest] = component
        np.minimum(nearest, distances, out=nearest)
    labels[unsure] = near
    return labels


def complete_rows(likelihood: Likelihood[P], rows: Rows) -> Rows:
    """Return the rows of a sample with other rows' numbers in place of those that are missing."""
    return completed(rows, likelihood.frame.mean) if likelihood.family.missing else rows


def given_start(likelihood: Likelihood[P], init: Array) -> Maximised[P]:
    """Return the initial parameters from labels (n,) or responsibilities (n, K)."""
    return _start_from(likelihood, responsibilities_of(init, likelihood.k))


def responsibilities_of(init: Array, k: int) -> Responsibilities:
    """Return the responsibilities that labels (n,) or responsibilities (n, K) are."""
    return _one_hot(init, k) if init.ndim == 1 else lambda start, stop: init[start:stop]


def softened(likelihood: Likelihood[P], start: Maximised[P]) -> Maximised[P]:
    """Return a start from which EM can reach all parameters, although a sample may lack some values."""
    return start._replace(parameters=likelihood.family.softened(start.parameters))


def _start_from(likelihood: Likelihood[P], given: Responsibilities) -> Maximised[P]:
    """Make the M-step from known responsibilities, and again about what it found where that tells more."""
    family = likelihood.family
    about = family.origin(likelihood.k, likelihood.source.n_features)
    found = likelihood.m_step(likelihood.sums_given(about, given))
    for _ in range(family.refinements):
        about = family.recentred(about, found.parameters)
        if about is None:
            break
        found = likelihood.m_step(likelihood.sums_given(about, given))
    return found


def _one_hot(labels: Array, k: int) -> Responsibilities:
    return lambda start, stop: labels[start:stop, None] == np.arange(k)


def _random_responsibilities(seed: int, k: int, known: Array | None) -> Responsibilities:
    """Return uniform random numbers, scaled to sum to 1 in each row, where the component is not known."""

    def rows(start: int, stop: int) -> FloatArray:
        uniforms = np.random.default_rng([seed, start]).random((stop - start, k))
        uniforms += np.finfo(np.float64).tiny
        if known is not None:
            here = known[start:stop]
            uniforms[here >= 0] = here[here >= 0, None] == np.arange(k)
        return np.asarray(uniforms / uniforms.sum(axis=1, keepdims=True))

    return rows


def matched(labels: Array, rows: Rows, k: int) -> Array:
    """Return the labels of clusters, renamed so that they agree best with the known labels, if any.

    The cluster that shares most weight with a known label gets its name first. The label k, for rows in none,
    stays.
    """
    if rows.labels is None:
        return labels
    known = rows.labels >= 0
    pairs = labels[known] * k + rows.labels[known]
    shared = np.bincount(pairs, rows.weights[known], (k + 1) * k).reshape(k + 1, k)[:k]
    names = np.append(np.full(k, -1), k)
    for _ in range(k):
        cluster, name = np.unravel_index(np.argmax(shared), shared.shape)
        names[cluster] = name
        shared[cluster] = shared[:, name] = -1.0
    return np.where(known, rows.labels, names[labels])


def standardised(
    rows: Rows, dtype: np.dtype[np.floating], family: Family[Any, Any], frame: Frame, isotropic: bool
) -> tuple[FloatArray, FloatArray]:
    """Return rows with variance 1 in every feature (on average, if isotropic), (d, m), and weights (m,).

    The frame scales by powers of two only. That is not enough here, since the clusters that k-means finds
    must not depend on the units.
    """
    points, variances, weights = centred(rows, dtype, family, frame)
    if isotropic:
        variances[:] = variances.mean()
    return scaled_by(points, variances), weights


def centred(
    rows: Rows, dtype: np.dtype[np.floating], family: Family[Any, Any], frame: Frame
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return rows with mean 0 in every feature, (d, m), their variances (d,), and weights (m,).

    The features are those that the family shows to k-means.
    """
    weights = rows.weights
    # NumPy takes half as long where the numbers of a column are side by side.
    X = np.asarray(rows.X, dtype=dtype, order="F")
    points = np.ascontiguousarray(family.seen(X, frame).T)
    total = weights.sum()
    points -= (np.einsum("ji,i->j", points, weights) / total)[:, None]
    return points, np.einsum("ji,ji,i->j", points, points, weights) / total, weights


def scaled_by(points: FloatArray, variances: FloatArray) -> FloatArray:
    """Return points (d, m) over the roots of variances, (d,) or one for all, of those that are not 0."""
    return np.asarray(points / np.sqrt(np.where(variances > 0, variances, 1.0))[..., None])


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
