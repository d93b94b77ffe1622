"""The start of a whole fit (see `fastem._kernels._whole_fit`) in NumPy, from the same random numbers."""

import numpy as np

from fastem._em import clear
from fastem._em.labellings import SPOT_SHARE, WIDER, kinds_of
from fastem._em.race import ASCENT_HEATS
from fastem._families.frame import Frame
from fastem._families.registry import GAUSSIANS
from fastem._families.steps import Rule
from fastem._kernels._kmeans import labels_from_seeds
from fastem._kernels._whole_fit import ALONG, RANDOM

EPSILON = float(np.finfo(np.float64).eps)
TOL = 1e-6


def standardised(X, kind):
    """Return the means and scales of the rows, and the rows in standard coordinates."""
    means, variances = X.mean(axis=0), X.var(axis=0)
    scales = np.sqrt(np.full_like(variances, variances.mean()) if kind == "spherical" else variances)
    return means, scales, (X - means) / scales


def geometries_of(X):
    """Return what k-means sees, each (d, n) in float32."""
    gaps, (n, d) = X - X.mean(axis=0), X.shape
    scaled = gaps / X.std(axis=0)
    if d == 1:
        return [scaled.T.astype(np.float32)]
    whitened = (scaled @ np.linalg.inv(np.linalg.cholesky(scaled.T @ scaled / n)).T).astype(np.float32)
    fourth = whitened.T * np.square(whitened).sum(axis=1) @ whitened / n
    along, direction = np.zeros_like(whitened), 1 + 0.1 * np.arange(d)
    for _ in range(12):
        direction = np.linalg.solve(fourth, direction)
        direction /= np.linalg.norm(direction)
    along[:, 0] = whitened @ direction
    variances = X.var(axis=0)
    seen = [scaled, whitened, along]
    if variances.max() > 1.5 * variances.min():
        seen.append(gaps / np.sqrt(variances.mean()))
    return [np.ascontiguousarray(points.T, np.float32) for points in seen]


def spot_of(points, places):
    """Return the mask of the rows in the densest of some places."""
    n = points.shape[1]
    near = max(1, int(SPOT_SHARE * n))
    wide, best = min(WIDER * near, n), (-1.0, 0)
    for row in (int(place * n) for place in places):
        distances = np.sort(np.square(points - points[:, [row]]).sum(axis=0, dtype=np.float64))
        reach = distances[near - 1]
        best = max(best, (distances[wide - 1] / reach if reach > 0 else 0.0, -row))
    distances = np.square(points - points[:, [-best[1]]]).sum(axis=0, dtype=np.float64)
    return distances <= np.sort(distances)[near - 1]


def ascents_of(points, labels, kind, k):
    d = len(points)
    frame = Frame(np.zeros(d), np.ones(d), np.zeros(d))
    rule = Rule(frame, 1.0, EPSILON, EPSILON, None)
    return GAUSSIANS[kind].ascents(points, np.ones(points.shape[1]), labels, k, rule, 1)


def leaders(ascents, going, most):
    reached, found, least = {start: ascents.objective(start) for start in going}, [], np.inf
    sound = [start for start in going if reached[start] is not None and not ascents.singular(start)]
    for start in sorted(sound, key=lambda one: (-reached[one], one)):
        if reached[start] < least:
            if len(found) == most:
                break
            found.append(start)
            least = reached[start] - 1e-5
        else:
            found[-1] = min(found[-1], start)
    return found


def is_clear(ascents, seen, points, agreed, others, k, kind, more, uniforms):
    ascents.go_on([agreed], 5, TOL)
    if ascents.doubt(agreed) > 1:
        return False
    ascents.go_on([agreed], 15, TOL)
    reached = ascents.objective(agreed)
    if ascents.doubt(agreed) > clear._DOUBT:
        return False
    ascents.go_on(others, 20, TOL)
    if any(ascents.objective(start) > reached + 1e-5 for start in others):
        return False
    ascents.go_on([agreed], 20, TOL)
    limit, ones = ascents.objective(agreed) + 3.0 * more / points.shape[1], np.ones(points.shape[1])
    labels = labels_from_seeds(seen, np.zeros(2, np.int64), ones, uniforms, 20)
    larger = ascents_of(points, labels, kind, k + 1)
    larger.go_on([0, 1], 20, TOL)
    return not any(larger.objective(start) > limit or larger.doubt(start) < clear._LITTLE for start in (0, 1))


def start_of(X, kind, k, uniforms, which, more):
    """Return the parameters at which the best ascent ends, in standard coordinates, and if rows are clear."""
    points, ones = np.ascontiguousarray(standardised(X, kind)[2].T), np.ones(len(X))
    seen = np.array(geometries_of(X))
    seeds, few, larger, random, places = (array[0] for array in uniforms)
    labels, end = np.zeros((len(which), len(X)), np.int64), len(seen) + 1
    labels[:end] = labels_from_seeds(seen, which[:end], ones, seeds[:end], 10)
    spot = spot_of(seen[0], places)
    if k > 2:
        labels[5] = labels_from_seeds(seen, which[:1], np.where(spot, 0.0, 1.0), few[5:6], 20)[0]
    labels[5][spot] = k - 1
    labels[RANDOM:] = labels_from_seeds(seen, which[RANDOM:], ones, random[RANDOM:], 0)
    ascents = ascents_of(points, labels, kind, k)
    kinds = kinds_of(list(labels[:end]), k)
    first = [one for one in range(end) if kinds[one] == one]
    voting = [kinds[one] for one in range(end) if one != ALONG]
    agreed = next((one for one in voting if voting.count(one) > 1 and one != ALONG), None)
    if agreed is not None:
        others = [one for one in first if one not in (agreed, ALONG)]
        others += [*range(int(RANDOM), int(RANDOM) + 4)]
        if is_clear(ascents, seen[:1], points, agreed, others, k, kind, more, larger):
            ascents.go_on([agreed], 150, TOL)
            return ascents.parameters(agreed).parameters, True
        ascents = ascents_of(points, labels, kind, k)
    going = [*first, *range(5, len(which))]
    started = len(going)
    for iterations, most, share in ASCENT_HEATS:
        ascents.go_on(going, iterations, TOL)
        going = leaders(ascents, going, max(most, started // share))
    ascents.go_on(going[:1], 150, TOL)
    return ascents.parameters(going[0]).parameters, False
