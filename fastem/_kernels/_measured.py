"""Gaussians seen through gaps and noise of each row: every pair of a row and a component has a matrix.

A row is x = v + e in the features that are observed, with v of the mixture and e of the known noise S. v has
the covariance V_k = C C' in component k. With zeros in place of the rows of C that belong to what is missing,
and ones on the diagonal of T = C C' + S in their places (Bovy, Hogg and Roweis 2011, section 3, whitened):

E-step  T = L D L',  y = L^-1 (x - mean),  log2 p = log2_weight - log2(e) / 2 y' D^-1 y - log2(det D) / 2
M-step  A = L^-1 C,  u = A' D^-1 y,        N += r,  sum of r u,  sum of r (u u' - A' D^-1 A)

L, A and A' D^-1 A take d^3 / 6 multiply-adds each. L is found twice: to keep it for all components
would take K d^2 numbers a row.

Given x and the component, v has the mean C u about the mean of the component, and the covariance
C (I - A' D^-1 A) C'. In these whitened coordinates nothing cancels that matters, however narrow a component
is beside the noise or the noise beside it: the sums are of the size of N.

The lanes are rows. A group is two vectors of them, whose matrices lie next to each other in a line of memory.
If covariances and noise are variances, so is T, and a pair takes O(d).
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import allocating_kernel, inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import CACHE_LINE, POINTS, first_scratch, first_share
from fastem._kernels._math import log2
from fastem._kernels._simd import lanes, load, maximum, splat, store, tile_rows
from fastem._kernels._tile import load_rows
from fastem._kernels._views import aligned_rows

_ZERO, _HALF, _ONE = np.float64(0), np.float64(0.5), np.float64(1)
_HALF_LOG2_E = 0.5 / np.log(2.0)
_TOGETHER = 4  # pivots whose product has one logarithm; each lies between 1e-75 and 1e75
_BOUND = 1e18  # the largest coordinate, and the largest deviation of noise, in standard deviations

# How the noise of the rows of a tile lies in memory.
NOTHING = np.int64(0)
VARIANCES = np.int64(1)
MATRICES = np.int64(2)


class MeasuredParams(NamedTuple):
    """What the kernels need of a mixture. All arrays are of float64."""

    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    log2_weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, d) in standard coordinates
    covariances: np.ndarray  # (K, d, d), or (K, 1, d) if they are variances
    factors: np.ndarray  # lower triangular Cholesky factors (K, d, d), or deviations (K, 1, d)
    log2_peaks: np.ndarray  # (K,) no log-density is more than this
    least: np.ndarray  # (K, d) no pivot of T is less than this, but for rounding
    gaps: np.ndarray  # (d,) what is added to log-densities for each feature that is missing


class MeasuredSums(NamedTuple):
    """The weighted sums of a pass for each of G slots. r is a responsibility times a weight."""

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, d) sum of r u
    second: np.ndarray  # (G, K, d, d) the lower triangle of the sum of r (u u' - A' D^-1 A), or (G, K, 1, d)
    log2_likelihood: np.ndarray  # (G,)


@spliced_kernel
def at(i, j):
    """Return the place of an entry of a lower triangle."""
    return i * (i + 1) // 2 + j


@allocating_kernel
def new_line(numbers, X):
    """Return a tile of one long row that begins at a cache line."""
    return aligned_rows(np.empty(numbers + CACHE_LINE // X.itemsize, X.dtype), 1, numbers)


@spliced_kernel
def entries(kind, d):
    """Return how many numbers of the noise a row has in memory."""
    if kind == NOTHING:
        return 1
    return d if kind == VARIANCES else d * (d + 1) // 2


@kernel
def load_measured(X, noise, params, start, size, space, seen, gaps):
    """Load a tile of rows and their noise. Return the kind of the noise in memory, or -1 if one is too large.

    IN  noise (n, d, d), (n, 1, d), the same for one row that stands for all, or (0, 1, d) if there is none
    OUT the points, with zeros for what is missing; gaps[0]: whether anything is missing
    OUT rows POINTS + d + j of space: 1 where feature j is observed, else 0, if anything is missing
    OUT seen: the noise in standard coordinates, with ones on the diagonal for what is missing
    OUT the first row of scratch: what gaps add to log-densities
    """
    d, step = X.shape[1], lanes(space)
    K, width = params.means.shape[0], 2 * lanes(space)
    inverse, base, bound = params.inverse_scale, first_scratch(d, K), _BOUND * _BOUND
    load_rows(X, start, size, params.shift, inverse, space, POINTS)
    missing, outside = 0, 0
    for j in range(POINTS, POINTS + d):
        for b in range(tile_rows(space)):
            missing += 1 if space[j, b] != space[j, b] else 0
            outside += 1 if abs(space[j, b]) >= _BOUND else 0
    gaps[0] = missing
    for b in range(0, tile_rows(space), step):
        store(space, base, b, splat(_ZERO))
    if missing > 0:
        for j in range(d):
            for b in range(tile_rows(space)):
                absent = space[POINTS + j, b] != space[POINTS + j, b]
                space[POINTS + d + j, b] = 0.0 if absent else 1.0
                space[POINTS + j, b] = 0.0 if absent else space[POINTS + j, b]
                space[base, b] += params.gaps[j] if absent else 0.0
    kind = NOTHING
    if noise.shape[0] > 0:
        kind = VARIANCES if noise.shape[1] < d or d == 1 else MATRICES
    elif missing > 0:
        kind = VARIANCES
    if kind == NOTHING:
        return kind if outside == 0 else -1
    one, numbers = noise.shape[0] == 1, entries(kind, d)
    for b in range(tile_rows(space)):
        top = b // width * numbers * width + b % width
        row = 0 if one else start + b
        if b >= size or noise.shape[0] == 0:
            for e in range(numbers):
                seen[0, top + e * width] = 0.0
        elif kind == VARIANCES:
            for j in range(d):
                variance = noise[row, 0, j] * inverse[j] * inverse[j]
                outside += 0 if variance < bound else 1
                seen[0, top + j * width] = variance
        else:
            for i in range(d):
                for j in range(i + 1):
                    seen[0, top + at(i, j) * width] = noise[row, i, j] * inverse[i] * inverse[j]
                outside += 0 if noise[row, i, i] * inverse[i] * inverse[i] < bound else 1
        if missing > 0:
            for i in range(d):
                if space[POINTS + d + i, b] == 0.0:
                    if kind == VARIANCES:
                        seen[0, top + i * width] = 1.0
                    else:
                        for j in range(d):
                            seen[0, top + at(max(i, j), min(i, j)) * width] = 1.0 if i == j else 0.0
    return kind if outside == 0 else -1


@inlined_kernel
def inner(line, one, other, count, start0, start1):
    """Return start - sum of line[one + m] * line[other + m] for the two vectors of a group."""
    step = lanes(line)
    s0, s1 = start0, start1
    for m in range(count):
        p, q = (one + m) * 2 * step, (other + m) * 2 * step
        s0 = s0 - load(line, 0, p) * load(line, 0, q)
        s1 = s1 - load(line, 0, p + step) * load(line, 0, q + step)
    return s0, s1


@inlined_kernel
def factorise(params, k, space, b, seen, top, kind, gaps, line):
    """Factorise T = L D L' for the rows of a group, which starts at column b.

    The noise of the group starts at seen[0, top]. If it is nearly singular and large, what is left of a
    feature given others may be rounding, and then counts as the least that it can be without noise.

    OUT line: L, row by row, with the inverse of D on its diagonal
    OUT line from the entry 3 T + d on: D (d entries), where T is the size of a triangle
    """
    V, least = params.covariances, params.least
    d, step = V.shape[1], lanes(space)
    width, triangle = 2 * step, d * (d + 1) // 2
    pivots, row, observed = 3 * triangle + d, 3 * triangle + 2 * d, POINTS + d
    zero, one = splat(_ZERO), splat(_ONE)
    for i in range(d):
        for j in range(i + 1):
            t0 = t1 = zero + V[k, i, j]
            if gaps[0] > 0:
                t0 = t0 * (load(space, observed + i, b) * load(space, observed + j, b))
                t1 = t1 * (load(space, observed + i, b + step) * load(space, observed + j, b + step))
            if kind == MATRICES:
                t0 = t0 + load(seen, 0, top + at(i, j) * width)
                t1 = t1 + load(seen, 0, top + at(i, j) * width + step)
            elif kind == VARIANCES and i == j:
                t0 = t0 + load(seen, 0, top + i * width)
                t1 = t1 + load(seen, 0, top + i * width + step)
            # The row of L times D is kept until its end, since the next entries need it.
            t0, t1 = inner(line, row, at(j, 0), j if j < i else 0, t0, t1)
            if j < i:
                store(line, 0, (row + j) * width, t0)
                store(line, 0, (row + j) * width + step, t1)
            else:
                for m in range(i):
                    place, inverse = (row + m) * width, at(m, m) * width
                    g0, g1 = load(line, 0, place), load(line, 0, place + step)
                    l0, l1 = g0 * load(line, 0, inverse), g1 * load(line, 0, inverse + step)
                    store(line, 0, at(i, m) * width, l0)
                    store(line, 0, at(i, m) * width + step, l1)
                    t0, t1 = t0 - g0 * l0, t1 - g1 * l1
                if gaps[0] > 0:  # the pivot of what is missing is 1
                    o0, o1 = load(space, observed + i, b), load(space, observed + i, b + step)
                    t0, t1 = maximum(t0, o0 * least[k, i]), maximum(t1, o1 * least[k, i])
                else:
                    t0, t1 = maximum(t0, zero + least[k, i]), maximum(t1, zero + least[k, i])
                store(line, 0, (pivots + i) * width, t0)
                store(line, 0, (pivots + i) * width + step, t1)
                store(line, 0, at(i, i) * width, one / t0)
                store(line, 0, at(i, i) * width + step, one / t1)


@inlined_kernel
def solve_points(means, k, space, b, gaps, line):
    """OUT line from the entry 3 T on: y = L^-1 (x - mean), d entries"""
    d, step = means.shape[1], lanes(space)
    width, triangle, observed = 2 * step, d * (d + 1) // 2, POINTS + d
    for i in range(d):
        m = means[k, i]
        z0, z1 = load(space, POINTS + i, b) - m, load(space, POINTS + i, b + step) - m
        if gaps[0] > 0:
            z0, z1 = z0 * load(space, observed + i, b), z1 * load(space, observed + i, b + step)
        z0, z1 = inner(line, at(i, 0), 3 * triangle, i, z0, z1)
        store(line, 0, (3 * triangle + i) * width, z0)
        store(line, 0, (3 * triangle + i) * width + step, z1)


@inlined_kernel
def finish_density(log2_weight, d, base, share, space, b, line):
    """OUT a row of shares: the log-densities of a group"""
    step = lanes(space)
    width, triangle = 2 * step, d * (d + 1) // 2
    half, pivots = splat(_HALF), 3 * triangle + d
    s0, s1 = load(space, base, b) + log2_weight, load(space, base, b + step) + log2_weight
    q0 = q1 = splat(_ZERO)
    for i in range(d):
        y, inverse = (3 * triangle + i) * width, at(i, i) * width
        y0, y1 = load(line, 0, y), load(line, 0, y + step)
        q0, q1 = q0 + y0 * y0 * load(line, 0, inverse), q1 + y1 * y1 * load(line, 0, inverse + step)
    for first in range(0, d, _TOGETHER):
        p0 = p1 = splat(_ONE)
        for i in range(first, min(first + _TOGETHER, d)):
            p0 = p0 * load(line, 0, (pivots + i) * width)
            p1 = p1 * load(line, 0, (pivots + i) * width + step)
        s0, s1 = s0 - half * log2(p0), s1 - half * log2(p1)
    store(space, share, b, s0 - q0 * _HALF_LOG2_E)
    store(space, share, b + step, s1 - q1 * _HALF_LOG2_E)


@inlined_kernel
def independent_density(params, k, base, share, space, b, seen, top, kind, gaps):
    """Do the same if covariances and noise are variances."""
    d, step = params.means.shape[1], lanes(space)
    width, observed, half, one = 2 * step, POINTS + d, splat(_HALF), splat(_ONE)
    w = params.log2_weights[k]
    s0, s1 = load(space, base, b) + w, load(space, base, b + step) + w
    q0 = q1 = splat(_ZERO)
    for first in range(0, d, _TOGETHER):
        p0 = p1 = one
        for j in range(first, min(first + _TOGETHER, d)):
            m = params.means[k, j]
            z0, z1 = load(space, POINTS + j, b) - m, load(space, POINTS + j, b + step) - m
            t0 = t1 = splat(_ZERO) + params.covariances[k, 0, j]
            if gaps[0] > 0:
                o0, o1 = load(space, observed + j, b), load(space, observed + j, b + step)
                z0, z1, t0, t1 = z0 * o0, z1 * o1, t0 * o0, t1 * o1
            if kind == VARIANCES:
                t0 = t0 + load(seen, 0, top + j * width)
                t1 = t1 + load(seen, 0, top + j * width + step)
            p0, p1 = p0 * t0, p1 * t1
            q0, q1 = q0 + z0 * z0 / t0, q1 + z1 * z1 / t1
        s0, s1 = s0 - half * log2(p0), s1 - half * log2(p1)
    store(space, share, b, s0 - q0 * _HALF_LOG2_E)
    store(space, share, b + step, s1 - q1 * _HALF_LOG2_E)


@kernel
def densities(params, space, seen, kind, gaps, line):
    """OUT the shares: log-densities of the points of a tile"""
    K, d = params.means.shape
    width = 2 * lanes(space)
    base, shares = first_scratch(d, K), first_share(d)
    numbers = entries(kind, d)
    independent = params.covariances.shape[1] < d or d == 1
    for b in range(0, tile_rows(space), width):
        for k in range(K):
            if independent:
                independent_density(params, k, base, shares + k, space, b, seen, b * numbers, kind, gaps)
            else:
                factorise(params, k, space, b, seen, b * numbers, kind, gaps, line)
                solve_points(params.means, k, space, b, gaps, line)
                finish_density(params.log2_weights[k], d, base, shares + k, space, b, line)
