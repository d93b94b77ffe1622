"""k-means++ seeds and Lloyd's iterations, on a sample of standardised points.

The points are an array (d, m), so that the lanes of a vector are points. They are float32, which tells
centres well enough, and sums over points are float64. The kernels are serial, because the sample is small.
The caller provides the random numbers.
"""

import numpy as np

from fastem._kernels._jit import compact_kernel, kernel
from fastem._kernels._parallel import run_in_threads
from fastem._kernels._views import section

# Threads take longer to wake up than fewer numbers (points x features x centres x starts x iterations) take.
_WORTH_THREADS = 1 << 19
_FIRST = _NO_MOVE = np.int64(0)
_FAR = 1e15  # points are within this, so that squared distances are in the range of float32


def single(points: np.ndarray) -> np.ndarray:
    """Return standardised points in float32. Only points of hardly any weight are too far for it."""
    if points.dtype == np.float32:
        return points
    near: np.ndarray = np.minimum(np.maximum(points, -_FAR), _FAR).astype(np.float32, order="C")
    return near


@kernel
def squared_distances(points, centres, k, out):
    """OUT out[i]: |points[:, i] - centres[k]|^2"""
    d, m = points.shape
    for i in range(m):
        z = points[0, i] - centres[k, 0]
        out[i] = z * z
    for j in range(1, d):
        c = centres[k, j]
        for i in range(m):
            z = points[j, i] - c
            out[i] += z * z


@kernel
def draw_index(cumulative, uniform):
    """Return the first index whose cumulative weight is more than `uniform` times the total."""
    low, high = 0, cumulative.shape[0] - 1
    target = uniform * cumulative[high]
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > target:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def accumulate_weights(weights, factors, cumulative):
    """OUT cumulative: cumsum(weights * factors)"""
    total = 0.0
    for i in range(weights.shape[0]):
        total += weights[i] * factors[i]
        cumulative[i] = total


def kmeans_plus_plus(points: np.ndarray, weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Return the indices of K seeds by greedy k-means++ (Arthur and Vassilvitskii 2007).

    Each seed is the best of T candidates. The probability of a candidate is proportional to its weight times
    its squared distance to the nearest seed. If all these distances are zero, because there are fewer
    distinct points than seeds, it is proportional to its weight.

    IN points (d, m), weights (m,), uniforms (K, T) in [0, 1)
    """
    centres, seeds = np.empty((len(uniforms), len(points)), np.float32), np.empty(len(uniforms), np.int64)
    _one_start(points, weights, uniforms, 0, centres, seeds)
    return seeds


@kernel
def draw_seeds(points, weights, uniforms, centres, seeds, closest, best_distances, distances, cumulative):
    """OUT seeds (K,)

    centres (K, d) and the last four arguments (m,) are scratch. `closest` must contain ones. Of these only
    `cumulative` is float64.
    """
    d, m = points.shape
    K, T = uniforms.shape
    for k in range(K):
        accumulate_weights(weights, closest, cumulative)
        exhausted = not cumulative[m - 1] > 0
        if exhausted:
            for i in range(m):
                closest[i] = 1.0
            accumulate_weights(weights, closest, cumulative)
        best_potential = np.inf
        for t in range(1 if k == 0 or exhausted else T):
            candidate = draw_index(cumulative, uniforms[k, t])
            for j in range(d):
                centres[k, j] = points[j, candidate]
            squared_distances(points, centres, k, distances)
            potential = 0.0
            for i in range(m):
                value = closest[i] if k > 0 and closest[i] < distances[i] else distances[i]
                distances[i] = value
                potential += weights[i] * value
            if potential < best_potential or t == 0:
                best_potential = potential
                seeds[k] = candidate
                distances, best_distances = best_distances, distances
        closest, best_distances = best_distances, closest


def lloyd(points: np.ndarray, weights: np.ndarray, centres: np.ndarray, max_iter: int) -> np.ndarray:
    """Run Lloyd's iterations until no label changes. Return the labels (m,), and update centres (K, d)."""
    own, K = single(centres), len(centres)
    labels = _one_start(points, weights, np.empty((K, 0)), max_iter, own, np.empty(K, np.int64))
    centres[:] = own
    return labels


def _one_start(
    points: np.ndarray,
    weights: np.ndarray,
    uniforms: np.ndarray,
    max_iter: int,
    centres: np.ndarray,
    seeds: np.ndarray,
) -> np.ndarray:
    """Return the labels (m,) of one start, see `label_starts`, which is compiled for many."""
    (d, m), K = points.shape, len(uniforms)
    few, others, which = single(points)[None], np.empty((1, d, 0), np.float32), np.zeros(1, np.int64)
    own, scratch = np.empty(m, np.int64), (np.empty(m, np.int32), np.empty((3, m), np.float32), np.empty(m))
    sums = np.empty(K), np.empty((K, d))
    label_starts(
        *(others, few, weights, which, uniforms[None], max_iter, np.empty((1, 0), np.int64)),
        *(own, *scratch, seeds, centres, *sums, 0, 1),
    )
    return own


def labels_from_seeds(
    geometries: np.ndarray,
    which: np.ndarray,
    weights: np.ndarray,
    uniforms: np.ndarray,
    max_iter: int = 0,
    part: slice | np.ndarray = slice(None),
    n_threads: int | None = 1,
) -> np.ndarray:
    """Return the labels (S, m) of S starts: seeds by greedy k-means++, and then Lloyd's iterations.

    Start s takes the points geometries[which[s]], (d, m), and the uniforms (K, T) of its own. A part of the
    points tells where the centres are. Starts run side by side in up to `n_threads` threads.
    """
    (_, d, m), (S, K, _) = geometries.shape, uniforms.shape
    geometries, labels = single(geometries), np.empty((S, m), np.int64)
    few, own = np.ascontiguousarray(geometries[:, :, part]), np.ascontiguousarray(weights[part])
    f = len(own)

    def some_starts(begin: int, end: int) -> None:
        nearest, rows = np.empty(m, np.int32), np.empty((3, m), np.float32)
        scratch = np.empty(f, np.int64), nearest, rows, np.empty(f), np.empty(K, np.int64)
        centres = np.empty((K, d), np.float32), np.empty(K), np.empty((K, d))
        label_starts(geometries, few, own, which, uniforms, max_iter, labels, *scratch, *centres, begin, end)

    numbers = S * K * d * f * (1 + max_iter)
    run_in_threads(some_starts, (), S, n_threads if numbers > _WORTH_THREADS else 1)
    return labels


@compact_kernel
def label_starts(
    geometries,
    few,
    weights,
    which,
    uniforms,
    max_iter,
    labels,
    own,
    nearest,
    rows,
    cumulative,
    seeds,
    centres,
    totals,
    sums,
    begin,
    end,
):
    """OUT labels (S, m) of the starts from `begin` to `end`

    few (G, d, f) and weights (f,) are a part of the points and their weights. If there are no uniforms, with
    T = 0, centres are given. The scratch tells about the last start: centres (K, d), which are seeds (K,) of
    `few` at first, and the labels own (f,) of `few`. nearest and rows (3,) are as long as labels, or f.
    cumulative (f,), totals (K,) and sums (K, d) are scratch too.
    """
    given = uniforms.shape[2] == 0
    for s in range(begin, end):
        points, one, other = section(few, which[s]), section(rows, 0), section(rows, 1)
        for i in range(points.shape[1]):
            one[i], own[i] = 1.0, -1
        if not given:
            own_uniforms, third = section(uniforms, s), section(rows, 2)
            draw_seeds(points, weights, own_uniforms, centres, seeds, one, other, third, cumulative)
            for k in range(seeds.shape[0]):
                for j in range(points.shape[0]):
                    centres[k, j] = points[j, seeds[k]]
        if given or max_iter > 0:
            settle(points, weights, centres, max_iter, own, nearest, one, other, totals, sums)
        whole, found = section(geometries, which[s]), section(labels, s)
        settle(whole, weights, centres, _NO_MOVE, found, nearest, one, other, totals, sums)


@kernel
def settle(points, weights, centres, max_iter, labels, nearest, distances, candidate, totals, sums):
    """OUT centres, and labels, which must be -1 before

    nearest, distances and candidate (m,), totals (K,) and sums (K, d) are scratch.
    """
    for i in range(max_iter + 1):
        if assign(points, centres, labels, nearest, distances, candidate) == 0 or i == max_iter:
            return
        move(points, weights, labels, distances, totals, sums, centres)


@kernel
def assign(points, centres, labels, nearest, distances, candidate):
    """Find the nearest centre of each point. Return how many labels changed.

    OUT labels (m,); distances (m,): squared distances. nearest (m,) of int32 is scratch
    """
    m = points.shape[1]
    squared_distances(points, centres, _FIRST, distances)
    for i in range(m):
        nearest[i] = 0
    for k in range(1, centres.shape[0]):
        squared_distances(points, centres, k, candidate)
        own = np.int32(k)
        for i in range(m):  # without branches, which nobody could predict
            new, old, label = candidate[i], distances[i], nearest[i]
            nearest[i] = own if new < old else label
            distances[i] = new if new < old else old
    changed = 0
    for i in range(m):
        changed += 1 if nearest[i] != labels[i] else 0
        labels[i] = nearest[i]
    return changed


@kernel
def move(points, weights, labels, distances, totals, sums, centres):
    """Move each centre to the mean of its points.

    A centre without weight moves to the point that is farthest from its own centre.
    """
    d, m = points.shape
    for k in range(totals.shape[0]):
        totals[k] = 0.0
        for j in range(d):
            sums[k, j] = 0.0
    for i in range(m):
        totals[labels[i]] += weights[i]
    for j in range(d):
        for i in range(m):
            sums[labels[i], j] += weights[i] * points[j, i]
    for k in range(totals.shape[0]):
        if totals[k] > 0:
            for j in range(d):
                centres[k, j] = sums[k, j] / totals[k]
        else:
            farthest = 0
            for i in range(m):
                if weights[i] > 0 and distances[i] > distances[farthest]:
                    farthest = i
            for j in range(d):
                centres[k, j] = points[j, farthest]
            distances[farthest] = 0.0
