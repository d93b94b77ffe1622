"""k-means++ seeding and Lloyd's iterations, on a sample of standardised points.

Points are (d, m): features are rows, so that the lanes of a vector are points. Serial: the sample is
small, and the kernels release the GIL. Random numbers come from the caller.
"""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel, spliced_kernel


@kernel
def squared_distances(points, centres, k, out):
    """out[i] = |points[:, i] - centres[k]|^2."""
    d, m = points.shape
    for i in range(m):
        out[i] = 0.0
    for j in range(d):
        c = centres[k, j]
        for i in range(m):
            z = points[j, i] - c
            out[i] += z * z


@spliced_kernel
def draw_index(cumulative, uniform):
    """The index that inverts a cumulative weight: the first whose sum exceeds its share."""
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
    """cumulative = cumsum(weights * factors)."""
    total = 0.0
    for i in range(weights.shape[0]):
        total += weights[i] * factors[i]
        cumulative[i] = total


def kmeans_plus_plus(points: np.ndarray, weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): indices of K seeds.

    Each seed is the best of T candidates drawn with probability proportional to weight times squared
    distance to the nearest seed so far; with no distance left (fewer distinct points than seeds), to
    weight alone.

    IN  points (d, m), weights (m,), uniforms (K, T) in [0, 1)
    """
    (d, m), K = points.shape, len(uniforms)
    seeds, centres = np.empty(K, np.int64), np.empty((K, d))
    choose_seeds(points, weights, uniforms, centres, seeds, *np.ones((4, m)))
    return seeds


@entry_kernel
def choose_seeds(points, weights, uniforms, centres, seeds, closest, best_distances, distances, cumulative):
    """OUT seeds (K,). Scratch: centres (K, d), and four of (m,), the first of them ones."""
    d, m = points.shape
    K, T = uniforms.shape
    for k in range(K):
        accumulate_weights(weights, closest, cumulative)
        exhausted = not cumulative[m - 1] > 0
        if exhausted:
            closest[:] = 1.0
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
    """Lloyd's iterations until no label changes. IN/OUT centres (K, d); returns labels (m,)."""
    m, K = points.shape[1], len(centres)
    labels, nearest = np.full((2, m), -1)
    scratch = *np.empty((2, m)), np.empty(K), np.empty_like(centres)
    iterate(points, weights, centres, max_iter, labels, nearest, *scratch)
    return labels


@entry_kernel
def iterate(points, weights, centres, max_iter, labels, nearest, distances, candidate, totals, sums):
    """IN/OUT centres. OUT labels, -1 at first. Scratch: three of (m,), totals (K,), sums (K, d)."""
    for i in range(max_iter + 1):
        if assign(points, centres, labels, nearest, distances, candidate) == 0 or i == max_iter:
            return
        move(points, weights, labels, distances, totals, sums, centres)


@spliced_kernel
def assign(points, centres, labels, nearest, distances, candidate):
    """Nearest centre of every point; returns how many labels changed.

    IN/OUT labels (m,); OUT distances (m,) squared
    """
    m = points.shape[1]
    for k in range(centres.shape[0]):
        squared_distances(points, centres, k, candidate)
        for i in range(m):
            if k == 0 or candidate[i] < distances[i]:
                distances[i] = candidate[i]
                nearest[i] = k
    changed = 0
    for i in range(m):
        changed += 1 if nearest[i] != labels[i] else 0
        labels[i] = nearest[i]
    return changed


@spliced_kernel
def move(points, weights, labels, distances, totals, sums, centres):
    """Each centre to the mean of its points; one without weight to the point farthest from its own."""
    d, m = points.shape
    totals[:] = 0.0
    for i in range(m):
        totals[labels[i]] += weights[i]
    sums[:] = 0.0
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
