"""Centers from which k-means starts. Features are compared as they are, for the inertia is in their units."""

from collections.abc import Sequence

import numpy as np

from fastem._em.labellings import breathe, breathing_rows
from fastem._em.loop import StoppingRule
from fastem._em.objective import Likelihood
from fastem._families.centres import Centres
from fastem._families.steps import Maximised
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd, single
from fastem._typing import FloatArray

INIT_NAMES = ("auto", "k-means++", "random_from_data")

# Rows of the sample: so many for each center, within these bounds, and at most so many numbers (8 MB).
_PER_CENTER = 512
_LEAST_ROWS, _MOST_ROWS, _MOST_NUMBERS = 4096, 32768, 1 << 20
# The runs cost at most so many multiply-adds, or as many as this number of passes over all rows. An iteration
# on the sample takes about three times what its part of a pass takes.
_BREATHING_WORK, _BREATHING_PASSES = 1 << 33, 16
_SAMPLED_RUNS = 2
_DEAR = 3
_LEAST_ITERATIONS, _MOST_ITERATIONS = 20, 200
# Where all rows are in the sample, more breathing runs cost next to nothing: as many as take this many
# multiply-adds, if one run takes _USUAL_ITERATIONS. All of them then settle.
_RUNS_WORK, _MOST_RUNS, _USUAL_ITERATIONS = 1 << 30, 64, 50
_SETTLING = 300
# Rounding may lower the inertia by this part of it, although no row changes its cluster.
_ROUNDING = 8 * float(np.finfo(np.float64).eps)


def relative_gain_below(tol: float, window: int = 1) -> StoppingRule:
    """Return a rule that stops when the inertia has no more to fall than the part `tol` of it.

    What is still to come is foretold as in `loop.gain_to_come_below`, from the gains of the last iterations
    and of as many before them, at most `window`. With 0 it stops when no row changes its cluster, up to
    rounding. The means are minus the mean squared distances.
    """

    def converged(means: Sequence[float]) -> bool:
        if len(means) < 2:
            return False
        whole = abs(means[-1])
        if means[-1] - means[-2] <= _ROUNDING * whole:
            return True
        if tol == 0 or len(means) < 3:
            return False
        width = min(window, (len(means) - 1) // 2)
        gain = means[-1] - means[-1 - width]
        before = means[-1 - width] - means[-1 - 2 * width]
        return gain < tol * whole and gain * gain < tol * whole * (before - gain)

    return converged


def first_centers(
    likelihood: Likelihood[Centres], init: str, rng: np.random.Generator, restart: int
) -> Maximised[Centres]:
    """Return the initial centers that users call `init`, in user units."""
    source, k, frame = likelihood.source, likelihood.k, likelihood.frame
    n, d = source.n_positive, source.n_features
    wanted = min(max(_PER_CENTER * k, _LEAST_ROWS), max(_MOST_ROWS, k))
    rows = source.sample(max(min(wanted, _MOST_NUMBERS // d), min(8 * k, n), 1), rng)
    weights = rows.weights
    # Standard coordinates have one scale for all features.
    points = np.ascontiguousarray(frame.standardise(np.asarray(rows.X, dtype=source.dtype)).T)
    if init == "random_from_data":
        chosen = rng.choice(len(weights), k, replace=False, p=weights / weights.sum())
        found = points[:, chosen].T
    elif init == "k-means++":
        candidates = 2 + int(np.log(k)) if restart % 2 == 0 else 1
        found = points[:, kmeans_plus_plus(points, weights, rng.random((k, candidates)))].T
    else:
        found = _breathed(points, weights, n, k, rng, source.n_threads)
    return Maximised(Centres(np.ones(k), frame.restore(found)), [], [], [])


def _breathed(
    points: FloatArray, weights: FloatArray, n: int, k: int, rng: np.random.Generator, n_threads: int | None
) -> FloatArray:
    """Return the best centers (k, d) that k-means finds in points (d, m), which are a sample of n rows."""
    d, m = points.shape
    if k == 1:
        return np.asarray(points @ weights / weights.sum())[None]
    work = _DEAR * min(m, breathing_rows(k)) * k * d
    if m < n:
        budget = max(_BREATHING_WORK, _BREATHING_PASSES * n * k * d)
        affordable = budget // work
        runs = min(max(affordable // _USUAL_ITERATIONS, 1), _SAMPLED_RUNS)
        iterations = min(max(affordable // runs, _LEAST_ITERATIONS), _MOST_ITERATIONS)
        settling = 0
    else:
        runs = min(max(_RUNS_WORK // (work * _USUAL_ITERATIONS), 1), _MOST_RUNS)
        iterations, settling = _MOST_ITERATIONS, _SETTLING
    best, least = points[:, :k].T, np.inf
    for labels in breathe([single(points)] * runs, weights, k, rng, n_threads, iterations):
        own = np.bincount(labels, weights, k)
        sums = np.stack([np.bincount(labels, weights * column, k) for column in points], axis=1)
        centers = np.ascontiguousarray(sums / np.where(own > 0, own, 1.0)[:, None])
        labels = lloyd(points, weights, centers, settling) if settling else labels
        error = float(np.square(points - centers[labels].T).sum(axis=0) @ weights)
        if error < least:
            best, least = centers, error
    return best
