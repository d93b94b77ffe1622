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

_FINITE = np.float64(1e150)  # of which squares are numbers
_BOUND = np.float64(1e18)  # the largest coordinate that can be scored, as for complete rows
_LEAST = np.float64(-1e37)  # log-densities of less than this are as good as this
_LOST = np.float64(-70.0)  # sums do not notice shares of exp of this


class IncompleteParams(NamedTuple):
    """The parameters of Gaussians or, if `degrees` is not empty, of t distributions."""

    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    means: np.ndarray  # (K, d)
    columns: np.ndarray  # (M, d, d) the columns of each whitener as rows, upper triangular
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
    second: np.ndarray  # (G, M, d, d) the lower triangle of the sum of r u z z' + r B
    log_likelihood: np.ndarray  # (G,)
    failures: np.ndarray  # (G,) 1 if a number is not finite


class Scratch(NamedTuple):
    """What a slot computes in."""

    counts: np.ndarray  # (2,) how many features are observed and missing
    observed: np.ndarray  # (d,) their numbers
    missing: np.ndarray  # (d,)
    bases: np.ndarray  # (M, d, d) the columns of Q as rows
    triangles: np.ndarray  # (M, d, d) T
    log_determinants: np.ndarray  # (M,) of T
    parts: np.ndarray  # (K, d) c
    squares: np.ndarray  # (K,) q
    shares: np.ndarray  # (K,) log-densities, then responsibilities
    z: np.ndarray  # (d,)
    y: np.ndarray  # (d,)
    own: np.ndarray  # (M,) sum of r over the rows of a pattern


@allocating_kernel
def new_scratch(K, M, d):
    whole, squares = np.zeros((2, M, d, d)), np.zeros((K, d))
    lists, numbers = np.zeros((2, d), np.int64), np.zeros((2, d))
    return Scratch(
        np.zeros(2, np.int64),
        lists[0],
        lists[1],
        whole[0],
        whole[1],
        np.zeros(M),
        squares,
        np.zeros(K),
        np.zeros(K),
        numbers[0],
        numbers[1],
        np.zeros(M),
    )


@kernel
def factorise(X, i, columns, scratch):
    """Find the pattern of row i, and Q and T for each covariance."""
    counts, observed, missing = scratch.counts, scratch.observed, scratch.missing
    bases, triangles, log_determinants = scratch.bases, scratch.triangles, scratch.log_determinants
    M, d = columns.shape[:2]
    o = m = 0
    for j in range(d):
        if X[i, j] == X[i, j]:
            observed[o] = j
            o += 1
        else:
            missing[m] = j
            m += 1
    counts[0], counts[1] = o, m
    for k in range(M):
        log_determinants[k] = 0
        for a in range(m):
            # Columns of a lower triangular matrix are 0 above the first missing feature.
            first = missing[0]
            for e in range(first, d):
                bases[k, a, e] = columns[k, missing[a], e]
            for b in range(a):
                dot = 0.0
                for e in range(first, d):
                    dot += bases[k, b, e] * bases[k, a, e]
                triangles[k, b, a] = dot
                for e in range(first, d):
                    bases[k, a, e] -= dot * bases[k, b, e]
            square = 0.0
            for e in range(first, d):
                square += bases[k, a, e] * bases[k, a, e]
            length = math.sqrt(square)
            triangles[k, a, a] = length
            inverse = 1 / length
            for e in range(first, d):
                bases[k, a, e] *= inverse
            log_determinants[k] += math.log(length)


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
                    total += triangles[k, a, e] * triangles[k, e, b]
                triangles[k, a, b] = -total * inverse
        for a in range(m):
            for b in range(a + 1):
                total = 0.0
                for e in range(a, m):
                    total += triangles[k, a, e] * triangles[k, b, e]
                second[slot, k, missing[a], missing[b]] += share * total


@kernel
def score_row(params, X, i, bound, scratch):
    """Return the log-scale, or NaN if a number is not finite or beyond the bound, in standard coordinates.

    OUT shares: log-densities; squares: q; parts: c
    """
    shift, inverse_scale, means, columns = params.shift, params.inverse_scale, params.means, params.columns
    constants, degrees, log_scales = params.constants, params.degrees, params.log_scales
    observed, bases, log_determinants = scratch.observed, scratch.bases, scratch.log_determinants
    missing, parts, squares, shares = scratch.missing, scratch.parts, scratch.squares, scratch.shares
    y, z = scratch.y, scratch.z
    o, m = scratch.counts[0], scratch.counts[1]
    K, d = means.shape
    M = columns.shape[0]
    scale, largest = 0.0, 0.0
    for t in range(o):
        j = observed[t]
        scale += log_scales[j]
        z[j] = (X[i, j] - shift[j]) * inverse_scale[j]
        largest = largest if abs(z[j]) <= largest else abs(z[j])
    for k in range(K):
        c = k if M == K else 0
        for e in range(d):
            y[e] = 0.0
        for t in range(o):
            j = observed[t]
            gap = z[j] - means[k, j]
            for e in range(j, d):
                y[e] += gap * columns[c, j, e]
        first = missing[0] if m > 0 else d
        for a in range(m):
            dot = 0.0
            for e in range(first, d):
                dot += bases[c, a, e] * y[e]
            parts[k, a] = dot
            for e in range(first, d):
                y[e] -= dot * bases[c, a, e]
        square = 0.0
        for e in range(d):
            square += y[e] * y[e]
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
        total = parts[k, a]
        for b in range(a + 1, m):
            total += triangles[c, a, b] * y[missing[b]]
        y[missing[a]] = -total / triangles[c, a, a]


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
            y[observed[t]] = z[observed[t]] - means[k, observed[t]]
        complete_row(triangles, c, parts, k, missing, m, y)
        for i in range(d):
            part = r * y[i]
            first[slot, k, i] += part
            for j in range(i + 1):
                second[slot, c, i, j] += part * y[j]


@entry_kernel
def slot_incomplete(X, order, begins, sample_weight, labels, given, params, hard, sums, slot):
    """Add the rows of one slot to its sums.

    IN order (t,): numbers of rows, sorted by pattern; begins (P + 1,): where those of each pattern begin
    IN sample_weight (t,), labels (t,) or (0,), given (t, K) or (0, K): as for `slot_statistics`, so sorted
    OUT sums[slot]
    """
    K, d = params.means.shape
    G, total = sums.log_likelihood.shape[0], order.shape[0]
    scratch = new_scratch(K, params.columns.shape[0], d)
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
    scratch = new_scratch(K, params.columns.shape[0], d)
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
    scratch = new_scratch(K, M, d)
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
                    parts[k, a] -= size * noise[t, a]
            complete_row(triangles, c, parts, k, missing, m, y)
            for a in range(m):
                out[i, missing[a]] += r * (means[k, missing[a]] + y[missing[a]])
        for a in range(m):
            j = missing[a]
            out[i, j] = out[i, j] / inverse_scale[j] + shift[j]
