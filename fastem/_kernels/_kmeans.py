"""k-means++ seeding and Lloyd's iterations, on a sample of standardised points.

Points are (d, m): features are rows, so that the lanes of a vector are points. Serial: the sample is
small, and the kernels release the GIL. Random numbers come from the caller.
"""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel


@kernel
def squared_distances(points, centre, out):
    """out[i] = |points[:, i] - centre|^2."""
    d, m = points.shape
    for i in range(m):
        out[i] = 0.0
    for j in range(d):
        c = centre[j]
        for i in range(m):
            z = points[j, i] - c
            out[i] += z * z


@kernel
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


@entry_kernel
def kmeans_plus_plus(points, weights, uniforms):
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): indices of K seeds.

    Each seed is the best of T candidates drawn with probability proportional to weight times squared
    distance to the nearest seed so far; with no distance left (fewer distinct points than seeds), to
    weight alone.

    IN  points (d, m), weights (m,), uniforms (K, T) in [0, 1)
    """
    d, m = points.shape
    K, T = uniforms.shape
    seeds = np.empty(K, np.int64)
    closest = np.ones(m)
    cumulative = np.empty(m)
    distances = np.empty(m)
    best_distances = np.empty(m)
    centre = np.empty(d)
    for k in range(K):
        accumulate_weights(weights, closest, cumulative)
        exhausted = not cumulative[-1] > 0
        if exhausted:
            for i in range(m):
                closest[i] = 1.0
            accumulate_weights(weights, closest, cumulative)
        best_potential = np.inf
        for t in range(1 if k == 0 or exhausted else T):
            candidate = draw_index(cumulative, uniforms[k, t])
            for j in range(d):
                centre[j] = points[j, candidate]
            squared_distances(points, centre, distances)
            potential = 0.0
            for i in range(m):
                value = distances[i] if k == 0 else min(distances[i], closest[i])
                distances[i] = value
                potential += weights[i] * value
            if potential < best_potential or t == 0:
                best_potential = potential
                seeds[k] = candidate
                distances, best_distances = best_distances, distances
        closest, best_distances = best_distances, closest
    return seeds


@kernel
def assign(points, centres, distances, labels):
    """Nearest centre of every point; returns how many labels changed.

    OUT distances (m,) squared; IN/OUT labels (m,)
    """
    m = points.shape[1]
    candidate = np.empty(m)
    nearest = np.zeros(m, np.int64)
    for k in range(centres.shape[0]):
        squared_distances(points, centres[k], candidate)
        for i in range(m):
            if k == 0 or candidate[i] < distances[i]:
                distances[i] = candidate[i]
                nearest[i] = k
    changed = 0
    for i in range(m):
        changed += 1 if nearest[i] != labels[i] else 0
        labels[i] = nearest[i]
    return changed


@kernel
def move(points, weights, labels, distances, centres):
    """Each centre to the mean of its points; one without weight to the point farthest from its own."""
    d, m = points.shape
    K = centres.shape[0]
    sums = np.zeros((K, d))
    totals = np.zeros(K)
    for i in range(m):
        totals[labels[i]] += weights[i]
    for j in range(d):
        for i in range(m):
            sums[labels[i], j] += weights[i] * points[j, i]
    for k in range(K):
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


@entry_kernel
def lloyd(points, weights, centres, max_iter):
    """Lloyd's iterations until no label changes. IN/OUT centres (K, d); returns labels (m,)."""
    m = points.shape[1]
    labels = np.zeros(m, np.int64)
    distances = np.empty(m)
    assign(points, centres, distances, labels)
    for _ in range(max_iter):
        move(points, weights, labels, distances, centres)
        if assign(points, centres, distances, labels) == 0:
            break
    return labels
