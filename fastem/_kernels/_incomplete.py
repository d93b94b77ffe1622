"""Rows with missing numbers, row by row: for patterns of missing numbers that few rows share.

`_projections` has the algebra. All is in float64 and in natural logarithms. K is the number of components, M
that of covariances, K or 1, and the width that of rows of whole vectors, which is d or more.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import entry_kernel, kernel
from fastem._kernels._projections import (
    add_variances,
    complete_row,
    factorise,
    length_of,
    new_scratch,
    project,
    whiten,
)
from fastem._kernels._simd import lanes

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
