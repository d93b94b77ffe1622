"""Whole fits of small data by one kernel each, which Python would otherwise put together from many calls.

The start is that of `_em.auto` for few rows: labels by k-means in several geometries, whose ascents are
looked at alone where clusters are clear (see `_em.clear`), and race with those from random labels and from a
dense spot otherwise (see `_em.race`). What is not plain is left to Python, from the beginning.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._ascent import FAILED, MEAN
from fastem._kernels._direct_call import call
from fastem._kernels._jit import kernel, plain_kernel
from fastem._kernels._views import front, section
from fastem._kernels._whole_em import converge
from fastem._kernels._whole_race import Ascents, begin, doubt, go_on, race, singular
from fastem._kernels._whole_rows import MEANS, SCALES, find_spot, see, standardise

# Where the labels of each start are: those of k-means, the last two of which are along the direction of least
# kurtosis, which has no vote, and with one scale for all features; those of a spot; then random ones.
ALONG, SPOT, RANDOM = np.int64(3), np.int64(5), np.int64(6)
# The numbers of `_em.clear` and `_em.labellings`, which tests compare.
_QUICK_ITERATIONS, _LLOYD_ITERATIONS = np.int64(10), np.int64(20)
_SEEDS, _MOST_RANDOM = np.int64(2), np.int64(4)
_HEAT, _FIRST, _REST, _TOL = np.int64(20), np.int64(5), np.int64(150), 1e-6
_DOUBT, _LITTLE, _HOPELESS = np.float64(0.5), np.float64(0.2), np.float64(1.0)
_GAIN, _ALIKE = np.float64(3.0), np.float64(1e-5)
_SAME = np.float64(0.95)
_ZERO, _ONE = np.int64(0), np.int64(1)


class Uniforms(NamedTuple):
    """Random numbers for each data set, or for all (U = 1)."""

    seeds: np.ndarray  # (U, SPOT + 1, K, T)
    few: np.ndarray  # (U, SPOT + 1, K - 1, T)
    more: np.ndarray  # (U, 2, K + 1, T)
    random: np.ndarray  # (U, S, K, 1)
    places: np.ndarray  # (U, P)


class Setup(NamedTuple):
    """What all data sets share."""

    codes: np.ndarray  # what calls `label_starts`, `lay_out` and `ascend_slots`
    # (6,): tol, parameters of a component, 1 if features share a variance, rows of a spot, and around it,
    # products in a tile
    numbers: np.ndarray
    heats: np.ndarray  # (H, 3), see `race`
    which: np.ndarray  # (S,): the geometry of each start


class Cloud(NamedTuple):
    """One data set."""

    points: np.ndarray  # (d, n)
    seen: np.ndarray  # (4, d, n)
    weights: np.ndarray  # (2, n): ones; ones outside of a spot
    scratch: np.ndarray  # (n,)
    order: np.ndarray  # (n,): rows of the same label side by side
    about: np.ndarray  # (5, d), see `_whole_rows`
    matrices: np.ndarray  # (2, d, d) scratch


class Clusters(NamedTuple):
    """Labels of S starts and of two with a component more, and scratch of `label_starts` for these."""

    labels: np.ndarray  # (S, n)
    more: np.ndarray  # (2, n)
    own: np.ndarray
    nearest: np.ndarray
    rows: np.ndarray
    cumulative: np.ndarray
    seeds: np.ndarray
    centres: np.ndarray
    totals: np.ndarray
    sums: np.ndarray


class Lists(NamedTuple):
    starts: np.ndarray  # (3, S), see `lead`
    counts: np.ndarray  # (K + 1, K + 1)
    shares: np.ndarray  # (K + 1, K), see `tell_mean`


class Found(NamedTuple):
    """What is found of each data set, in user units."""

    # (B,): 0 if the fit is left to Python, and -1 if its labels may lead it to a mass
    passes: np.ndarray
    labels: np.ndarray  # (B, n), if there are such
    weights: np.ndarray  # (B, K)
    means: np.ndarray  # (B, K, d)
    covariances: np.ndarray  # (B, M, d, C), both triangles
    before: np.ndarray  # (B,): the mean log-likelihood of the E-step before the start
    # (B, H): those of the E-steps from the start on. With H = 0 the start is what is found.
    history: np.ndarray


@kernel
def cluster(code, rows, weights, which, uniforms, iterations, clusters, labels, begin, end):
    """Label the rows by k-means from so many seeds as there are uniforms. OUT labels[begin:end]"""
    k = uniforms.shape[1]
    call(
        code,
        (
            rows.seen, rows.seen, weights, which, uniforms, iterations, labels,
            clusters.own, clusters.nearest, clusters.rows, clusters.cumulative,
            front(clusters.seeds, k), front(clusters.centres, k), front(clusters.totals, k),
            front(clusters.sums, k), begin, end,
        ),
    )  # fmt: skip


@kernel
def take_labels(labels, order, begin, end, ordered):
    """OUT ordered[begin:end]: the labels in the order of the tiles"""
    for s in range(begin, end):
        for i in range(order.shape[0]):
            ordered[s, i] = labels[s, order[i]]


@kernel
def lay(code, products, rows, k, labels, tiles, second):
    """OUT tiles, and second, of ascents; rows.order: by the first of the labels"""
    place, points = 0, rows.points
    for label in range(k):
        for i in range(points.shape[1]):
            if labels[0, i] == label:
                rows.order[place] = i
                place += 1
    for t in range(tiles.shape[0]):
        for f in range(tiles.shape[1]):
            for b in range(tiles.shape[2]):
                tiles[t, f, b] = 0.0
    call(code, (points, section(rows.weights, _ZERO), rows.order, products, tiles))
    for i in range(second.shape[0]):
        for j in range(second.shape[1]):
            total = 0.0
            for b in range(points.shape[1]):
                total += points[i, b] * points[j, b]
            second[i, j] = total


@kernel
def alike(labels, one, other, k, counts):
    """Return whether two labellings have nearly the same clusters."""
    for i in range(k + 1):
        for j in range(k + 1):
            counts[i, j] = 0
    for i in range(labels.shape[1]):
        a, b = labels[one, i], labels[other, i]
        counts[a, b] += 1
        counts[a, k] += 1
        counts[k, b] += 1
    same = 0
    for i in range(k):
        for j in range(k):
            most = counts[i, k] if counts[i, k] > counts[k, j] else counts[k, j]
            same += 1 if counts[i, j] > 0 and counts[i, j] >= _SAME * most else 0
    return same == k


@kernel
def is_clear(setup, rows, uniforms, clusters, ascents, more, agreed, others, lists):
    """Return whether no other labelling, nor one component more, is better than labels that agree.

    IN others: how many labellings, those in lists[0], must not be better
    """
    code, outcomes, states = setup.codes[2], ascents.outcomes, ascents.states
    go_on(code, ascents, agreed, _FIRST, _TOL)
    if outcomes[agreed, FAILED] > 0 or doubt(states, outcomes, agreed) > _HOPELESS:
        return False
    go_on(code, ascents, agreed, _HEAT - _FIRST, _TOL)
    failed, reached = outcomes[agreed, FAILED] > 0, outcomes[agreed, MEAN]
    if failed or doubt(states, outcomes, agreed) > _DOUBT or singular(ascents, agreed) > 0:
        return False
    for i in range(others):
        start = lists[0, i]
        go_on(code, ascents, start, _HEAT, _TOL)
        if outcomes[start, FAILED] == 0 and outcomes[start, MEAN] > reached + _ALIKE:
            return False
    go_on(code, ascents, agreed, _HEAT, _TOL)
    if outcomes[agreed, FAILED] > 0:
        return False
    limit = outcomes[agreed, MEAN] + _GAIN * setup.numbers[1] / rows.points.shape[1]
    begin(more.outcomes)
    ones, labels = section(rows.weights, _ZERO), clusters.more
    cluster(
        setup.codes[0], rows, ones, setup.which, uniforms, _LLOYD_ITERATIONS, clusters, labels, _ZERO, _SEEDS
    )
    take_labels(labels, rows.order, _ZERO, _SEEDS, more.labels)
    for start in range(_SEEDS):
        go_on(code, more, start, _HEAT, _TOL)
        value = more.outcomes[start, MEAN]
        better = value > limit or doubt(more.states, more.outcomes, start) < _LITTLE
        if more.outcomes[start, FAILED] == 0 and better:
            return False
    return True


@kernel
def put_spot(setup, rows, uniforms, places, k, clusters):
    """OUT labels of the start SPOT: those of k-means, but the last one for the rows of a dense spot"""
    n, labels = rows.points.shape[1], clusters.labels
    near, wide = np.int64(setup.numbers[3]), np.int64(setup.numbers[4])
    inside, outside = rows.scratch, section(rows.weights, _ONE)
    find_spot(section(rows.seen, _ZERO), places, near, wide, outside, inside)
    for i in range(n):
        outside[i] = 1.0 - inside[i]
        labels[SPOT, i] = 0
    if k > 2:
        codes, which = setup.codes, setup.which
        cluster(codes[0], rows, outside, which, uniforms, _LLOYD_ITERATIONS, clusters, labels, SPOT, RANDOM)
    for i in range(n):
        if inside[i] > 0:
            labels[SPOT, i] = k - 1


@kernel
def find_start(setup, rows, uniforms, u, clusters, ascents, more, lists):
    """Return the best ascent, which has gone on to its end, or what `race` returns where there is none."""
    codes, which, labels, starts = setup.codes, setup.which, clusters.labels, lists.starts
    k, ones, random = ascents.states.means.shape[1], section(rows.weights, _ZERO), section(uniforms.random, u)
    matrix, inverse = section(rows.matrices, _ZERO), section(rows.matrices, _ONE)
    geometries = see(rows.points, rows.about, rows.seen, rows.scratch, matrix, inverse)
    if geometries == 0:
        return np.int64(-1)
    end, few, most = geometries + 1, section(uniforms.seeds, u), labels.shape[0]
    cluster(codes[0], rows, ones, which, few, _QUICK_ITERATIONS, clusters, labels, _ZERO, end)
    products, given = np.int64(setup.numbers[5]), ascents.given
    lay(codes[1], products, rows, k, labels, given.tiles, given.second)
    take_labels(labels, rows.order, _ZERO, end, ascents.labels)
    begin(ascents.outcomes)
    # Labellings that differ from all before are to race. The first that another one agrees with may be clear.
    agreed, count = -1, 0
    for one in range(end):
        kind = one
        for other in range(one):
            if kind == one and alike(labels, one, other, k, lists.counts):
                kind = other
        if kind == one:
            starts[1, count] = one
            count += 1
        elif agreed < 0 and one != ALONG and kind != ALONG:
            agreed = kind
    if agreed >= 0:
        differ, last = 0, RANDOM + _MOST_RANDOM if RANDOM + _MOST_RANDOM < most else most
        for i in range(count):
            if starts[1, i] != agreed and starts[1, i] != ALONG:
                starts[0, differ] = starts[1, i]
                differ += 1
        cluster(codes[0], rows, ones, which, random, _ZERO, clusters, labels, RANDOM, last)
        take_labels(labels, rows.order, RANDOM, last, ascents.labels)
        for start in range(RANDOM, last):
            starts[0, differ] = start
            differ += 1
        if is_clear(setup, rows, section(uniforms.more, u), clusters, ascents, more, agreed, differ, starts):
            go_on(codes[2], ascents, agreed, _REST, _TOL)
            return agreed
        begin(ascents.outcomes)
    put_spot(setup, rows, section(uniforms.few, u), section(uniforms.places, u), k, clusters)
    cluster(codes[0], rows, ones, which, random, _ZERO, clusters, labels, RANDOM, most)
    take_labels(labels, rows.order, SPOT, most, ascents.labels)
    for i in range(count):
        starts[0, i] = starts[1, i]
    for start in range(SPOT, most):
        starts[0, count] = start
        count += 1
    best = race(codes[2], ascents, count, setup.heats, _TOL, starts)
    if best >= 0:
        go_on(codes[2], ascents, best, _REST, _TOL)
    return best


@kernel
def tell(s, about, states, best, found):
    """OUT found: the parameters of data set s"""
    (_, K, d), (_, M, _, C) = states.means.shape, states.covariances.shape
    for k in range(K):
        found.weights[s, k] = states.weights[best, k]
        for i in range(d):
            found.means[s, k, i] = about[MEANS, i] + about[SCALES, i] * states.means[best, k, i]
    for g in range(M):
        for i in range(d):
            for j in range(i if C == 1 else 0, i + 1):
                low = i if C == 1 else 0
                value = states.covariances[best, g, i, j - low] * about[SCALES, i] * about[SCALES, j]
                found.covariances[s, g, i, j - low] = value
                if C > 1:
                    found.covariances[s, g, j, i] = value


@plain_kernel
def fit_slots(X, uniforms, setup, rows, clusters, ascents, others, lists, found):
    """Serial: the fits of the data sets X (B, n, d). OUT found

    others: labels, states, outcomes and scratches of ascents with a component more; the rest is scratch
    """
    B, n, d = X.shape
    more = Ascents(ascents.given, ascents.chosen, others[0], others[1], others[2], others[3], ascents.matrix)
    for i in range(n):
        rows.weights[0, i] = 1.0
    for s in range(B):
        found.passes[s] = 0
        if not standardise(section(X, s), setup.numbers[2] > 0, rows.about, rows.points):
            continue
        u = s if uniforms.places.shape[0] > 1 else 0
        best = find_start(setup, rows, uniforms, u, clusters, ascents, more, lists)
        if best < -1:
            found.passes[s] = -1
            for i in range(n):
                found.labels[s, i] = clusters.labels[-2 - best, i]
        if best < 0 or ascents.outcomes[best, FAILED] > 0 or singular(ascents, best) > 0:
            continue
        constant = -0.5 * d * np.log(2 * np.pi)
        for i in range(d):
            constant -= np.log(rows.about[SCALES, i])
        before, history, passes = ascents.outcomes[best, MEAN] + constant, section(found.history, s), 1
        if history.shape[0] > 0:
            code, tol = setup.codes[2], setup.numbers[0]
            passes = converge(code, rows.points, ascents, best, tol, constant, before, lists.shares, history)
        if passes > 0:
            tell(s, rows.about, ascents.states, best, found)
            found.before[s], found.passes[s] = before, passes
