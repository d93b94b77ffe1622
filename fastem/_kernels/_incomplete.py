"""Rows with missing numbers, row by row: for patterns of missing numbers that few rows share.

With the whitener A of a component and the parts z_o, z_m of z = x - mean that are observed and missing, the
density of z_o is that of z with the z_m that makes |A_o z_o + A_m z_m| least, but for a determinant. This
z_m is expected, too, and (A_m' A_m)^-1 is its covariance. So with Q T = A_m, Q'Q = 1 and T upper triangular

    y = A_o z_o,  c = Q'y,  q = |y - Q c|^2,  z_m = -T^-1 c,  B = T^-1 T^-T

cost d (d + 1) / 2 multiply-adds for each row and component as complete rows do, 2 d for each missing number,
and for each pattern and component d for each pair of missing numbers. To factorise the covariance of what is
observed would cost d^3 / 6, and loses digits where features nearly agree only if A does too.

All is in float64 and in natural logarithms. K is the number of components, M that of covariances, K or 1.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem._kernels._jit import allocating_kernel, entry_kernel, kernel
from fastem._kernels._simd import lanes, load_flat, splat, store_flat, sum4

_FINITE = np.float64(1e150)  # of which squares are numbers
_BOUND = np.float64(1e18)  # the largest coordinate that can be scored, as for complete rows
_LEAST = np.float64(-1e37)  # log-densities of less than this are as good as this
_LOST = np.float64(-70.0)  # sums do not notice shares of exp of this


class IncompleteParams(NamedTuple):
    """The parameters of Gaussians or, if `degrees` is not empty, of t distributions."""

    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    means: np.ndarray  # (K, d)
    columns: np.ndarray  # (M, d, width) the columns of each whitener as rows, with zeros beyond d
    constants: np.ndarray  # (d + 1, K) of the log-densities, by how many features are observed
    log_scales: np.ndarray  # (d,) what each observed feature subtracts from log-densities
    degrees: np.ndarray  # (K,) degrees of freedom of t distributions, or (0,)
    corrections: np.ndarray  # (d + 1, K) what is added to log u, by how many features are observed; or (0, 0)


class IncompleteSums(NamedTuple):
    """The weighted sums of a pass for each of G slots, with z = x - mean. Gaussians have u = 1."""

    weights: np.ndarray  # (G, K) sum of r
    logarithms: np.ndarray  # (G, K) sum of r log u
    scaled_weights: np.ndarray  # (G, K) sum of r u
    first: np.ndarray  # (G, K, d) sum of r u z
    second: np.ndarray  # (G, M, d, width) the lower triangle of the sum of r u z z' + r B
    log_likelihood: np.ndarray  # (G,)
    failures: np.ndarray  # (G,) 1 if a number is not finite


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
def score_row(params, X, i, bound, scratch):
    """Return the log-scale, or NaN if a number is not finite or beyond the bound, in standard coordinates.

    OUT shares: log-densities; squares: q; parts: c
    """
    shift, inverse_scale, means, columns = params.shift, params.inverse_scale, params.means, params.columns
    constants, degrees, log_scales = params.constants, params.degrees, params.log_scales
    observed, bases, log_determinants = scratch.observed, scratch.bases, scratch.log_determinants
    missing, parts, squares, shares = scratch.missing, scratch.parts, scratch.squares, scratch.shares
    y, z, gaps = scratch.y, scratch.z, scratch.gaps
    o, m = scratch.counts[0], scratch.counts[1]
    K, M = means.shape[0], columns.shape[0]
    scale, largest = 0.0, 0.0
    for t in range(o):
        j = observed[t]
        scale += log_scales[j]
        z[j] = (X[i, j] - shift[j]) * inverse_scale[j]
        largest = largest if abs(z[j]) <= largest else abs(z[j])
    for k in range(K):
        c = k if M == K else 0
        for t in range(o):
            gaps[t] = z[observed[t]] - means[k, observed[t]]
        whiten(columns, c, observed, gaps, o, y)
        if m > 0:
            project(bases, c, m, missing[0] // lanes(y) * lanes(y), y, 0, 0, parts, k)
        square = length_of(y, 0, 0, 0)
        squares[k] = square
        density = constants[o, k] - log_determinants[c]
        if degrees.shape[0] > 0:
            nu = degrees[k]
            density -= 0.5 * (nu + o) * math.log(1 + square / nu)
        else:
            density -= 0.5 * square
        shares[k] = density
    return scale if largest < bound else np.nan


@kernel
def normalise_row(shares, label, hard):
    """Replace log-densities by responsibilities. Return the log-density of the row."""
    K = shares.shape[0]
    if label >= 0:
        for k in range(K):
            if k != label:
                shares[k] = -np.inf
    peak, best = shares[0], 0
    for k in range(1, K):
        if shares[k] > peak:
            peak, best = shares[k], k
    if hard:
        for k in range(K):
            if k != best:
                shares[k] = -np.inf
    if not peak > _LEAST:
        peak = _LEAST
        for k in range(K):
            shares[k] = _LEAST
    total = 0.0
    for k in range(K):
        gap = shares[k] - peak
        shares[k] = math.exp(gap) if gap > _LOST else 0.0
        total += shares[k]
    for k in range(K):
        shares[k] /= total
    return peak + math.log(total)


@kernel
def complete_row(triangles, c, parts, k, missing, m, y):
    """OUT y: z_m, which solves T z_m = -c"""
    for a in range(m - 1, -1, -1):
        total = parts[k, 0, a]
        for b in range(a + 1, m):
            total += triangles[c, b, a] * y[0, 0, missing[b]]
        y[0, 0, missing[a]] = -total / triangles[c, a, a]


@kernel
def add_row(params, scratch, sums, slot):
    """Add a row with its responsibilities, times its weight."""
    means, degrees, corrections = params.means, params.degrees, params.corrections
    weights, logarithms, scaled = sums.weights, sums.logarithms, sums.scaled_weights
    first, second = sums.first, sums.second
    observed, missing, triangles = scratch.observed, scratch.missing, scratch.triangles
    parts, squares, shares, z, y = scratch.parts, scratch.squares, scratch.shares, scratch.z, scratch.y
    own = scratch.own
    o, m = scratch.counts[0], scratch.counts[1]
    K, d = means.shape
    M, width, step = own.shape[0], second.shape[3], lanes(y)
    for e in range(d, width):
        y[0, 0, e] = 0.0
    for k in range(K):
        r = shares[k]
        if r == 0:
            continue
        c = k if own.shape[0] == K else 0
        own[c] += r
        weights[slot, k] += r
        if degrees.shape[0] > 0:
            u = (degrees[k] + o) / (degrees[k] + squares[k])
            logarithms[slot, k] += r * (math.log(u) + corrections[o, k])
            r *= u
        scaled[slot, k] += r
        for t in range(o):
            y[0, 0, observed[t]] = z[observed[t]] - means[k, observed[t]]
        complete_row(triangles, c, parts, k, missing, m, y)
        for i in range(d):
            part, row = r * y[0, 0, i], ((slot * M + c) * d + i) * width
            first[slot, k, i] += part
            for e in range(0, i + 1, step):
                store_flat(second, row + e, load_flat(second, row + e) + load_flat(y, e) * part)


@entry_kernel
def slot_incomplete(X, order, begins, sample_weight, labels, given, params, hard, sums, slot):
    """Add the rows of one slot to its sums.

    IN order (t,): numbers of rows, sorted by pattern; begins (P + 1,): where those of each pattern begin
    IN sample_weight (t,), labels (t,) or (0,), given (t, K) or (0, K): as for `slot_statistics`, so sorted
    OUT sums[slot]
    """
    K, d = params.means.shape
    G, total = sums.log_likelihood.shape[0], order.shape[0]
    scratch = new_scratch(K, params.columns.shape[0], d, params.columns.shape[2])
    shares, own = scratch.shares, scratch.own
    first, stop = total * slot // G, total * (slot + 1) // G
    p, known = 0, False
    for t in range(first, stop):
        while t >= begins[p + 1]:
            p += 1
            if known:
                add_variances(sums.second, slot, scratch)
            known = False
        if not known:
            factorise(X, order[t], params.columns, scratch)
            own[:] = 0
            known = True
        log_scale = score_row(params, X, order[t], _FINITE, scratch)
        if log_scale != log_scale:
            sums.failures[slot] = 1
            return
        if given.shape[0] > 0:
            for k in range(K):
                shares[k] = given[t, k]
        else:
            label = labels[t] if labels.shape[0] > 0 else -1
            log_density = normalise_row(shares, label, hard[0]) - log_scale
            sums.log_likelihood[slot] += sample_weight[t] * log_density
        for k in range(K):
            shares[k] *= sample_weight[t]
        add_row(params, scratch, sums, slot)
    if known:
        add_variances(sums.second, slot, scratch)


@entry_kernel
def slot_incomplete_scores(X, order, begins, params, log_densities, responsibilities, joint, failures, slot):
    """Score the rows of one slot, given as for `slot_incomplete`.

    OUT log_densities (t,), responsibilities (t, K), joint (t, K): the log-density of each component, with its
    weight; failures (G,): 1 if a number is not finite, or too large for arithmetic
    """
    K, d = params.means.shape
    G, total = failures.shape[0], order.shape[0]
    scratch = new_scratch(K, params.columns.shape[0], d, params.columns.shape[2])
    shares = scratch.shares
    first, stop = total * slot // G, total * (slot + 1) // G
    p, known = 0, False
    for t in range(first, stop):
        while t >= begins[p + 1]:
            p += 1
            known = False
        if not known:
            factorise(X, order[t], params.columns, scratch)
            known = True
        log_scale = score_row(params, X, order[t], _BOUND, scratch)
        if log_scale != log_scale:
            failures[slot] = 1
            return
        for k in range(K):
            joint[t, k] = shares[k] - log_scale
        log_densities[t] = normalise_row(shares, -1, False) - log_scale
        for k in range(K):
            responsibilities[t, k] = shares[k]


@entry_kernel
def slot_imputed(X, order, begins, params, responsibilities, noise, sizes, out, slots, slot):
    """Fill the rows of one slot, given as for `slot_incomplete`, with expectations or draws.

    IN responsibilities (t, K), of 0 and 1 for draws
    IN noise (t, d): normal numbers for draws, or (0, d) for expectations
    IN sizes (t,): for t distributions, chi-squared numbers with as many degrees of freedom as nu and the
    observed features together; or (0,)
    OUT out (m, d): the numbers that are missing in X
    """
    means, shift, inverse_scale = params.means, params.shift, params.inverse_scale
    K, d = means.shape
    M, total = params.columns.shape[0], order.shape[0]
    scratch = new_scratch(K, M, d, params.columns.shape[2])
    missing, triangles, parts, y = scratch.missing, scratch.triangles, scratch.parts, scratch.y
    first, stop = total * slot // slots[0], total * (slot + 1) // slots[0]
    p, known = 0, False
    for t in range(first, stop):
        while t >= begins[p + 1]:
            p += 1
            known = False
        i = order[t]
        if not known:
            factorise(X, i, params.columns, scratch)
            known = True
        m = scratch.counts[1]
        score_row(params, X, i, _FINITE, scratch)
        for a in range(m):
            out[i, missing[a]] = 0.0
        for k in range(K):
            r, c = responsibilities[t, k], k if M == K else 0
            if r == 0:
                continue
            if noise.shape[0] > 0:
                size = 1.0
                if sizes.shape[0] > 0:
                    size = math.sqrt((params.degrees[k] + scratch.squares[k]) / sizes[t])
                for a in range(m):
                    parts[k, 0, a] -= size * noise[t, a]
            complete_row(triangles, c, parts, k, missing, m, y)
            for a in range(m):
                out[i, missing[a]] += r * (means[k, missing[a]] + y[0, 0, missing[a]])
        for a in range(m):
            j = missing[a]
            out[i, j] = out[i, j] / inverse_scale[j] + shift[j]
