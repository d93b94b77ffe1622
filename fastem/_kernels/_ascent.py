"""Ascents of EM for small samples and Gaussians, each of which is compiled as a whole.

On a few hundred rows what Python does between two passes takes fifty times as long as the pass. The start
"auto" makes many ascents on such a sample, and each is one slot of this kernel. Where they end need not be
exact, because the fit goes on from the best.

A log-density of a Gaussian is linear in the coordinates of a point and their products. So these are computed
once for all ascents, and both steps of EM are products of small matrices: the E-step of coefficients and
features, the M-step of responsibilities and features. Components that share a covariance need no products in
either: these cancel in the responsibilities, and the sum over all components does not change.

Ascents are over-relaxed (Salakhutdinov and Roweis 2003): an M-step takes moments farther on the way from
those of the M-step before to those of the E-step, each time by more, until the likelihood falls, or gains end
soon anyway. Moments may be extrapolated, unlike covariances, and their total weight does not change.

Tiles (T, 1 + F, stride) hold the weight and the features of the points: a one, the d coordinates, and G
products: those of each two coordinates, the squares, their sum, or none. Zeros fill F up to a multiple of 4.
Covariances are (M, d, C), M = K or one for all, and C = d or only the diagonals. The entry (i, j), j <= i, is
at [i, j - first(i)].
"""

import math

import numpy as np

from fastem._kernels._ascent_blocks import add_features, block_size, set_densities
from fastem._kernels._ascent_mstep import Scratch, State, first, maximise
from fastem._kernels._jit import compact_kernel, inlined_kernel, kernel, ordered_kernel
from fastem._kernels._layout import CACHE_LINE, STRIDE_BYTES, TILE_BYTES
from fastem._kernels._math import rough_exp2, rough_log2_reciprocal
from fastem._kernels._simd import (
    above,
    choose,
    lanes,
    load,
    load4,
    maximum,
    minimum,
    splat,
    store,
    store4,
    sum4,
    tile_rows,
)

# Columns of the outcomes.
ITERATIONS = np.int64(0)
MEAN = np.int64(1)  # the mean of the log-densities at the last E-step, without the constant of Gaussians
SETTLED = np.int64(2)  # 1 once an iteration has gained less than is asked for
FAILED = np.int64(3)  # 1 if a component has lost its rows, or has no covariance. Then the ascent ends.

_LN2 = np.log(2.0)
_HALF_LOG2_E = 0.5 / np.log(2.0)
_LOWEST = np.float64(-1e300)
# The exponent of a responsibility that changes no sum. Neighbouring points are of one cluster (see
# `GaussianAscents`), so that most components have less of all points of a vector, and need no exponentials.
_NEGLIGIBLE = np.float64(-60.0)
# How much longer each stretch is than the one before. It begins anew where a gain is less than this part of
# the one before. Beyond the way of EM itself, no ratio (see `whiten`) may be less than the third number.
_GROWTH, _SLOW, _LEAST_RATIO = np.float64(1.3), np.float64(0.1), np.float64(10.0)
_BLOCK = 4  # features that the M-step sums side by side


def new_rows(*shape: int) -> np.ndarray:
    """Return zeros (*shape, stride), the first of which begins a cache line: no vector lies in two."""
    count, size = math.prod(shape) * STRIDE_BYTES, 8
    numbers = np.zeros((count + CACHE_LINE) // size)
    first = -numbers.__array_interface__["data"][0] % CACHE_LINE // size
    return numbers[first : first + count // size].reshape(*shape, STRIDE_BYTES // size)


def empty_tiles(m: int, d: int, products: int) -> np.ndarray:
    """Tiles (T, 1 + F, stride) for m points of d coordinates and so many products."""
    features = -(-(1 + d + products) // _BLOCK) * _BLOCK
    return new_rows(-(-m // (TILE_BYTES // 8)), 1 + features)


def products_of(d: int, columns: int, shared: bool, isotropic: bool) -> int:
    """How many products a tile holds, if the covariances have so many columns C."""
    return 0 if shared else 1 if isotropic else d * (columns + 1) // 2


def tiles_of(
    points: np.ndarray, weights: np.ndarray, order: np.ndarray, columns: int, shared: bool, isotropic: bool
) -> np.ndarray:
    """Tiles (T, 1 + F, stride) of points (d, m) and weights (m,), in this order.

    The covariances have so many columns C. The last tile is padded with points of weight 0.
    """
    d, m = points.shape
    products = products_of(d, columns, shared, isotropic)
    tiles = empty_tiles(m, d, products)
    lay_out(points, weights, order, products, tiles)
    return tiles


@compact_kernel
def lay_out(points, weights, order, products, tiles):
    """OUT tiles"""
    (d, m), size = points.shape, tile_rows(tiles)
    for t in range(tiles.shape[0]):
        tile, begin, top = tiles[t], t * size, 2 + d
        own = size if size < m - begin else m - begin
        for b in range(own):
            tile[0, b], tile[1, b] = weights[order[begin + b]], 1.0
        for i in range(d):
            for b in range(own):
                tile[2 + i, b] = points[i, order[begin + b]]
        for i in range(d if products > 0 else 0):
            for j in range(0 if products > d or d == 1 else i, i + 1):
                for b in range(own):
                    tile[top, b] += tile[2 + i, b] * tile[2 + j, b]
                top += 0 if products == 1 else 1


@ordered_kernel
def weigh_features(means, whiteners, constants, isotropic, coefficients):
    """OUT coefficients (K, F): by which features are multiplied to give log2-densities.

    Products are left out if components share a covariance.
    """
    (K, d), (M, _, C) = means.shape, whiteners.shape
    for k in range(K):
        g, place, constant = k if M == K else 0, 1 + d, constants[k]
        for i in range(d):
            mean, linear = means[k, i], 0.0
            for j in range(i if C > 1 else 0):
                factor, other = 0.0, means[k, j]
                for t in range(i, d):
                    factor += whiteners[g, t, i] * whiteners[g, t, j]
                factor *= 2 * _HALF_LOG2_E
                constant -= factor * mean * other
                linear += factor * other
                coefficients[k, 1 + j] += factor * mean
                if M == K:
                    coefficients[k, place] = -factor
                    place += 1
            factor = 0.0
            for t in range(i, d if C > 1 else i + 1):
                scale = whiteners[g, t, i if C > 1 else 0]
                factor += scale * scale
            factor *= _HALF_LOG2_E
            constant -= factor * mean * mean
            coefficients[k, 1 + i] = linear + 2 * factor * mean
            if M == K:
                coefficients[k, place] = -factor
                place += 0 if isotropic else 1  # the sum of all squares is one product
        coefficients[k, 0] = constant


@kernel
def share_points(tile, rows, coefficients, used, shares):
    """Return the weighted sum of log2-densities.

    IN coefficients (K, F), of which the first `used` count
    OUT shares (K, stride): responsibilities times weights
    """
    K, zero, negligible = coefficients.shape[0], splat(np.float64(0)), splat(_NEGLIGIBLE)
    likelihood = zero
    for b in range(0, rows, 4 * lanes(tile)):
        k = 0
        while k < K:
            size = block_size(K - k)
            set_densities(size, coefficients, k, used, tile, b, shares)
            k += size
        p0 = p1 = p2 = p3 = splat(_LOWEST)
        for k in range(K):
            s0, s1, s2, s3 = load4(shares, k, b)
            p0, p1, p2, p3 = maximum(s0, p0), maximum(s1, p1), maximum(s2, p2), maximum(s3, p3)
        t0 = t1 = t2 = t3 = zero
        for k in range(K):
            s0, s1, s2, s3 = load4(shares, k, b)
            s0, s1, s2, s3 = s0 - p0, s1 - p1, s2 - p2, s3 - p3
            if above(maximum(maximum(s0, s1), maximum(s2, s3)), negligible) != 0:
                s0, s1, s2, s3 = rough_exp2(s0), rough_exp2(s1), rough_exp2(s2), rough_exp2(s3)
                t0, t1, t2, t3 = t0 + s0, t1 + s1, t2 + s2, t3 + s3
            else:
                s0 = s1 = s2 = s3 = zero
            store4(shares, k, b, s0, s1, s2, s3)
        l0, r0 = rough_log2_reciprocal(t0)
        l1, r1 = rough_log2_reciprocal(t1)
        l2, r2 = rough_log2_reciprocal(t2)
        l3, r3 = rough_log2_reciprocal(t3)
        w0, w1, w2, w3 = load4(tile, 0, b)
        likelihood = likelihood + w0 * (l0 + p0) + w1 * (l1 + p1) + w2 * (l2 + p2) + w3 * (l3 + p3)
        w0, w1, w2, w3 = w0 * r0, w1 * r1, w2 * r2, w3 * r3
        for k in range(K):
            s0, s1, s2, s3 = load4(shares, k, b)
            store4(shares, k, b, s0 * w0, s1 * w1, s2 * w2, s3 * w3)
    return sum4(likelihood, zero, zero, zero)[0]


@kernel
def share_pairs(tile, rows, coefficients, used, shares):
    """The same as `share_points` for two components. It takes one exponential for both."""
    likelihood = zero = splat(np.float64(0))
    for b in range(0, rows, 4 * lanes(tile)):
        set_densities(2, coefficients, 0, used, tile, b, shares)
    for b in range(0, rows, lanes(tile)):
        x, y, weight = load(shares, 0, b), load(shares, 1, b), load(tile, 0, b)
        peak = maximum(x, y)
        ratio = rough_exp2(minimum(x, y) - peak)
        logarithm, reciprocal = rough_log2_reciprocal(ratio + 1.0)
        likelihood = likelihood + weight * (logarithm + peak)
        more = weight * reciprocal
        less = more * ratio
        store(shares, 0, b, choose(x, y, more, less))
        store(shares, 1, b, choose(x, y, less, more))
    return sum4(likelihood, zero, zero, zero)[0]


@kernel
def add_moments(tile, rows, shares, moments):
    """Add the sums of responsibilities times features. OUT moments (K, F)"""
    K, F = moments.shape
    for f in range(0, F, _BLOCK):
        k = 0
        while k < K:
            size = block_size(K - k)
            add_features(size, shares, k, tile, f, rows, moments)
            k += size


@ordered_kernel
def stretch_moments(path, moments, stretch):
    """IN/OUT path (K, F): what is so many times as far from it as `moments`, in the same direction"""
    for k in range(moments.shape[0]):
        for f in range(moments.shape[1]):
            path[k, f] = moments[k, f] + (stretch - 1) * (moments[k, f] - path[k, f])


@inlined_kernel
def sum_responsibilities(given, labels, state, scratch, from_labels):
    """Make the E-step. Return the mean of the log-densities, which is 0 for the responsibilities of labels.

    OUT moments, which are sums of responsibilities times features. Arguments are those of one ascent.
    """
    tiles, second, isotropic = given.tiles, given.second, given.limits[4] > 0
    means, whiteners, shares, moments = state.means, state.whiteners, scratch.shares, scratch.moments
    coefficients, (K, d), (M, _, C) = scratch.coefficients, means.shape, whiteners.shape
    m, step, size, used = labels.shape[0], lanes(tiles), tile_rows(tiles), 1 + d
    likelihood, weight = 0.0, 0.0
    if M == K:
        used += 1 if isotropic else d if C == 1 else d * (d + 1) // 2
    for k in range(K):
        for f in range(moments.shape[1]):
            moments[k, f] = 0.0
    weigh_features(means, whiteners, state.constants, isotropic, coefficients)
    for t in range(tiles.shape[0]):
        tile, begin = tiles[t], t * size
        own = size if size < m - begin else m - begin
        rows = -(-own // step) * step
        if from_labels:
            for k in range(K):
                for b in range(own):
                    shares[k, b] = tile[0, b] if labels[begin + b] == k else 0.0
                for b in range(own, rows):
                    shares[k, b] = 0.0
        elif K == 2:
            likelihood += share_pairs(tile, rows, coefficients, used, shares)
        else:
            likelihood += share_points(tile, rows, coefficients, used, shares)
        add_moments(tile, rows, shares, moments)
    for k in range(K):
        weight += moments[k, 0]
    if M < K:  # what products would have added
        for i in range(d):
            for j in range(first(i, C), i + 1):
                low, precision = first(i, C), 0.0
                for t in range(i, d if C > 1 else i + 1):
                    after = first(t, C)
                    precision += whiteners[0, t, i - after] * whiteners[0, t, j - after]
                likelihood -= _HALF_LOG2_E * precision * second[i, j - low] * (1.0 if i == j else 2.0)
    return likelihood * _LN2 / weight


@kernel
def slot_ascend(given, chosen, all_labels, states, all_outcomes, scratches, slot):
    """One ascent, that of the start chosen[slot]. S starts of m points.

    IN     given: see `Given`; chosen (G,); all_labels (S, m)
    IN/OUT states: see `State`, each array with S in front; all_outcomes (S, 4) with zeros at first. An ascent
           can go on later.
    Scratch: see `Scratch`, each array with G in front
    """
    start, limits = chosen[slot], given.limits
    labels, outcome = all_labels[start], all_outcomes[start]
    weights, means, covariances, whiteners, constants, ratios = states
    state = State(
        weights[start], means[start], covariances[start], whiteners[start], constants[start], ratios[start]
    )
    shares, moments, path, coefficients, rows = scratches
    scratch = Scratch(shares[slot], moments[slot], path[slot], coefficients[slot], rows[slot])
    stretch, before, turn = 1.0, 0.0, 0
    while turn < limits[0]:
        if outcome[SETTLED] + outcome[FAILED] > 0:
            return
        likelihood = sum_responsibilities(given, labels, state, scratch, outcome[ITERATIONS] == 0)
        early = outcome[ITERATIONS] < 2  # labels have no likelihood
        gain = 0.0 if early else likelihood - outcome[MEAN]
        if not early and gain < limits[1]:
            outcome[SETTLED] = 1 if stretch == 1 or gain >= 0 else 0
            stretch = 1.0
        elif early or (gain > 0 and gain > _SLOW * before):
            stretch *= _GROWTH
            stretch = stretch if stretch < limits[5] else limits[5]
        else:
            stretch = 1.0
        before = gain
        outcome[MEAN] = likelihood
        outcome[ITERATIONS] += 1
        turn += 1
        # The last step of all is one of EM, which lowers no likelihood.
        if turn == 1 or turn == limits[0] or outcome[SETTLED] > 0:
            stretch = 1.0
        # One call each, so that LLVM copies them here.
        while True:
            stretch_moments(scratch.path, scratch.moments, stretch)
            if maximise(given, scratch, _LEAST_RATIO if stretch > 1 else 0.0, state):
                break
            if stretch == 1:
                outcome[FAILED] = 1
                return
            stretch = 1.0


@compact_kernel
def ascend_slots(given, chosen, labels, states, outcomes, scratches, begin, end):
    """Serial: the ascents of the slots from `begin` to `end`, see `slot_ascend`."""
    for slot in range(begin, end):
        slot_ascend(given, chosen, labels, states, outcomes, scratches, slot)
