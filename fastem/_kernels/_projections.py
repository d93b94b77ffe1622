"""What is missing of a row, by projections of what is observed.

With the whitener A of a component and the parts z_o, z_m of z = x - mean that are observed and missing, the
density of z_o is that of z with the z_m that makes |A_o z_o + A_m z_m| least, but for a determinant. This
z_m is expected, too, and (A_m' A_m)^-1 is its covariance. So with Q T = A_m, Q'Q = 1 and T upper triangular

    y = A_o z_o,  c = Q'y,  q = |y - Q c|^2,  z_m = -T^-1 c,  B = T^-1 T^-T

y takes d (d + 1) / 2 multiply-adds for each row and component, as for complete rows, and its projection 2 d
for each missing number. Q takes 2 d for each pair of missing numbers, once for each component and pattern.
To factorise the covariance of what is observed would take d^3 / 6. Digits are lost only if A loses them.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import allocating_kernel, kernel
from fastem._kernels._simd import lanes, splat, sum4


class Scratch(NamedTuple):
    """What a slot computes in. Rows of `width` numbers are whole vectors, with zeros beyond d."""

    counts: np.ndarray  # (2,) how many features are observed and missing
    observed: np.ndarray  # (d,) their numbers
    missing: np.ndarray  # (d,)
    bases: np.ndarray  # (M, d + 4, width) the columns of Q as rows, then zeros
    triangles: np.ndarray  # (M, d, d + 4) T', which is lower triangular
    log_determinants: np.ndarray  # (M,) of T
    parts: np.ndarray  # (K, 1, d + 4) c
    squares: np.ndarray  # (K,) q
    shares: np.ndarray  # (K,) log-densities, then responsibilities
    gaps: np.ndarray  # (d,) z_o of one component
    z: np.ndarray  # (d,) the row in standard coordinates
    y: np.ndarray  # (1, 1, width)
    own: np.ndarray  # (M,) sum of r over the rows of a pattern


@allocating_kernel
def new_scratch(K, M, d, width):
    lists = np.zeros((2, d), np.int64)
    return Scratch(
        np.zeros(2, np.int64),
        lists[0],
        lists[1],
        np.zeros((M, d + 4, width)),
        np.zeros((M, d, d + 4)),
        np.zeros(M),
        np.zeros((K, 1, d + 4)),
        np.zeros(K),
        np.zeros(K),
        np.zeros(d),
        np.zeros(d),
        np.zeros((1, 1, width)),
        np.zeros(M),
    )


@kernel
def project(bases, k, count, first, points, p, i, out, o):
    """Subtract from points[p, i] its parts along the rows bases[k, :count], which are 0 before `first`.

    Four parts at a time are found at once, which loses few digits as the rows are orthogonal.

    OUT out[o, i, :count]: the parts; then zeros
    """
    width, step = bases.shape[2], lanes(bases)
    zero = splat(bases.dtype.type(0))
    row = (p * points.shape[1] + i) * width
    for a in range(0, count, 4):
        base = (k * bases.shape[1] + a) * width
        s0 = s1 = s2 = s3 = zero
        for e in range(first, width, step):
            v = load_flat(points, row + e)
            s0 = s0 + load_flat(bases, base + e) * v
            s1 = s1 + load_flat(bases, base + width + e) * v
            s2 = s2 + load_flat(bases, base + 2 * width + e) * v
            s3 = s3 + load_flat(bases, base + 3 * width + e) * v
        t0, t1, t2, t3 = sum4(s0, s1, s2, s3)
        # Rows from `count` on may be left from another pattern, or be the point itself.
        t1 = t1 if a + 1 < count else 0.0
        t2 = t2 if a + 2 < count else 0.0
        t3 = t3 if a + 3 < count else 0.0
        out[o, i, a], out[o, i, a + 1], out[o, i, a + 2], out[o, i, a + 3] = t0, t1, t2, t3
        for e in range(first, width, step):
            v0 = load_flat(bases, base + e) * t0 + load_flat(bases, base + width + e) * t1
            v1 = load_flat(bases, base + 2 * width + e) * t2 + load_flat(bases, base + 3 * width + e) * t3
            store_flat(points, row + e, load_flat(points, row + e) - (v0 + v1))


@kernel
def length_of(points, p, i, first):
    """Return the squared length of points[p, i], which is 0 before `first`."""
    width, step = points.shape[2], lanes(points)
    row = (p * points.shape[1] + i) * width
    zero = splat(points.dtype.type(0))
    total = zero
    for e in range(first, width, step):
        v = load_flat(points, row + e)
        total = total + v * v
    return sum4(total, zero, zero, zero)[0]


@kernel
def factorise(X, i, columns, scratch):
    """Find the pattern of row i, and Q and T for each covariance."""
    counts, observed, missing = scratch.counts, scratch.observed, scratch.missing
    bases, triangles, log_determinants = scratch.bases, scratch.triangles, scratch.log_determinants
    M, d, width = columns.shape
    step = lanes(columns)
    o = m = 0
    for j in range(d):
        if X[i, j] == X[i, j]:
            observed[o] = j
            o += 1
        else:
            missing[m] = j
            m += 1
    counts[0], counts[1] = o, m
    # Columns of a lower triangular matrix are 0 above the first missing feature.
    first = missing[0] // step * step if m > 0 else width
    for k in range(M):
        total = 0.0
        for a in range(m):
            source, target = (k * d + missing[a]) * width, (k * bases.shape[1] + a) * width
            for e in range(0, width, step):
                store_flat(bases, target + e, load_flat(columns, source + e))
            project(bases, k, a, first, bases, k, a, triangles, k)
            length = math.sqrt(length_of(bases, k, a, first))
            triangles[k, a, a] = length
            inverse = 1 / length
            for e in range(first, width, step):
                store_flat(bases, target + e, load_flat(bases, target + e) * inverse)
            total += math.log(length)
        log_determinants[k] = total


@kernel
def add_variances(second, slot, scratch):
    """Add the covariances of what is missing, B, times the shares `own`. Inverts the triangles in place."""
    missing, triangles, own, m = scratch.missing, scratch.triangles, scratch.own, scratch.counts[1]
    for k in range(triangles.shape[0]):
        share = own[k]
        if share == 0:
            continue
        for b in range(m):
            inverse = 1 / triangles[k, b, b]
            triangles[k, b, b] = inverse
            for a in range(b):
                total = 0.0
                for e in range(a, b):
                    total += triangles[k, e, a] * triangles[k, b, e]
                triangles[k, b, a] = -total * inverse
        for a in range(m):
            for b in range(a + 1):
                total = 0.0
                for e in range(a, m):
                    total += triangles[k, e, a] * triangles[k, e, b]
                second[slot, k, missing[a], missing[b]] += share * total


@kernel
def whiten(columns, c, observed, gaps, o, y):
    """OUT y: A_o z_o. Two vectors of it and two columns at a time hide the latency of the multiply-adds."""
    d, width = columns.shape[1:]
    step = lanes(columns)
    zero = splat(columns.dtype.type(0))
    for e in range(0, width, 2 * step):
        further = min(e + step, width - step)  # the same vector twice if there is no other
        y0 = y1 = u0 = u1 = zero
        t, stop = 0, further + step
        while t + 1 < o and observed[t + 1] < stop:
            one, other = (c * d + observed[t]) * width, (c * d + observed[t + 1]) * width
            g, h = gaps[t], gaps[t + 1]
            y0 = y0 + load_flat(columns, one + e) * g
            y1 = y1 + load_flat(columns, one + further) * g
            u0 = u0 + load_flat(columns, other + e) * h
            u1 = u1 + load_flat(columns, other + further) * h
            t += 2
        if t < o and observed[t] < stop:
            one, g = (c * d + observed[t]) * width, gaps[t]
            y0 = y0 + load_flat(columns, one + e) * g
            y1 = y1 + load_flat(columns, one + further) * g
        store_flat(y, e, y0 + u0)
        store_flat(y, further, y1 + u1)


@kernel
def complete_row(triangles, c, parts, k, missing, m, y):
    """OUT y: z_m, which solves T z_m = -c"""
    for a in range(m - 1, -1, -1):
        total = parts[k, 0, a]
        for b in range(a + 1, m):
            total += triangles[c, b, a] * y[0, 0, missing[b]]
        y[0, 0, missing[a]] = -total / triangles[c, a, a]
