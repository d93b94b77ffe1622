"""Sums over rows with gaps and known noise, and scores of them. `_measured` describes the arithmetic."""

import numpy as np

from fastem._kernels._assignment import keep_best, keep_known
from fastem._kernels._jit import entry_kernel, inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import PEAKS, POINTS, TOTALS, WEIGHTS, first_share
from fastem._kernels._measured import (
    VARIANCES,
    at,
    densities,
    entries,
    factorise,
    load_measured,
    new_line,
    solve_points,
)
from fastem._kernels._simd import lanes, load, splat, store, sum4, tile_rows
from fastem._kernels._tile import (
    exponentiate,
    find_labels,
    find_peaks,
    finish_totals,
    load_weights,
    new_space,
    normalise,
    slot_range,
)

_ZERO, _ONE = np.float64(0), np.float64(1)


@inlined_kernel
def whitened_means(C, k, space, b, gaps, line):
    """OUT line from the entry T on: A = L^-1 C; from 2 T on: D^-1 A; from 3 T + d on: u = A' D^-1 y"""
    d, step = C.shape[1], lanes(space)
    width, triangle, observed = 2 * step, d * (d + 1) // 2, POINTS + d
    zero = splat(_ZERO)
    for i in range(d):
        d0, d1 = load(line, 0, at(i, i) * width), load(line, 0, at(i, i) * width + step)
        for j in range(i + 1):
            a0 = a1 = zero + C[k, i, j]
            if gaps[0] > 0:
                a0, a1 = a0 * load(space, observed + i, b), a1 * load(space, observed + i, b + step)
            for m in range(j, i):
                p, q = at(i, m) * width, (triangle + at(m, j)) * width
                a0 = a0 - load(line, 0, p) * load(line, 0, q)
                a1 = a1 - load(line, 0, p + step) * load(line, 0, q + step)
            place = (triangle + at(i, j)) * width
            store(line, 0, place, a0)
            store(line, 0, place + step, a1)
            place = (2 * triangle + at(i, j)) * width
            store(line, 0, place, a0 * d0)
            store(line, 0, place + step, a1 * d1)
    for j in range(d):
        u0 = u1 = zero
        for m in range(j, d):
            p, q = (2 * triangle + at(m, j)) * width, (3 * triangle + m) * width
            u0 = u0 + load(line, 0, p) * load(line, 0, q)
            u1 = u1 + load(line, 0, p + step) * load(line, 0, q + step)
        store(line, 0, (3 * triangle + d + j) * width, u0)
        store(line, 0, (3 * triangle + d + j) * width + step, u1)


@inlined_kernel
def add_group(d, share, space, b, line):
    """Add a group to the sums of one component.

    OUT line from the entry 3 T + 3 d on: sums of r u (d vectors), then of r (u u' - A' D^-1 A) (T vectors)
    """
    step = lanes(space)
    width, triangle = 2 * step, d * (d + 1) // 2
    u, first = (3 * triangle + d) * width, (3 * triangle + 3 * d) * width
    second = first + d * step
    r0, r1 = load(space, share, b), load(space, share, b + step)
    for i in range(d):
        u0, u1 = load(line, 0, u + i * width), load(line, 0, u + i * width + step)
        total = load(line, 0, first + i * step)
        store(line, 0, first + i * step, total + (r0 * u0 + r1 * u1))
        for j in range(i + 1):
            q0 = u0 * load(line, 0, u + j * width)
            q1 = u1 * load(line, 0, u + j * width + step)
            for m in range(i, d):
                p, q = (triangle + at(m, i)) * width, (2 * triangle + at(m, j)) * width
                q0 = q0 - load(line, 0, p) * load(line, 0, q)
                q1 = q1 - load(line, 0, p + step) * load(line, 0, q + step)
            place = second + at(i, j) * step
            store(line, 0, place, load(line, 0, place) + (r0 * q0 + r1 * q1))


@kernel
def accumulate_independent(params, k, share, space, seen, kind, gaps, sums, slot):
    """Add the points of a tile to the sums of one component, if covariances and noise are variances."""
    d, step = params.means.shape[1], lanes(space)
    width, observed, zero = 2 * step, POINTS + d, splat(_ZERO)
    numbers = entries(kind, d)
    for j in range(d):
        m, v, c = params.means[k, j], params.covariances[k, 0, j], params.factors[k, 0, j]
        f0 = f1 = g0 = g1 = zero
        for b in range(0, tile_rows(space), width):
            z0, z1 = load(space, POINTS + j, b) - m, load(space, POINTS + j, b + step) - m
            v0 = v1 = zero + v
            if gaps[0] > 0:
                o0, o1 = load(space, observed + j, b), load(space, observed + j, b + step)
                z0, z1, v0, v1 = z0 * o0, z1 * o1, v0 * o0, v1 * o1
            t0, t1 = v0, v1
            if kind == VARIANCES:
                t0 = t0 + load(seen, 0, b * numbers + j * width)
                t1 = t1 + load(seen, 0, b * numbers + j * width + step)
            r0, r1 = load(space, share, b), load(space, share, b + step)
            i0, i1 = splat(_ONE) / t0, splat(_ONE) / t1
            u0, u1 = z0 * i0 * c, z1 * i1 * c
            f0, f1 = f0 + r0 * u0, f1 + r1 * u1
            g0, g1 = g0 + r0 * (u0 * u0 - v0 * i0), g1 + r1 * (u1 * u1 - v1 * i1)
        s0, s1, s2, s3 = sum4(f0, f1, g0, g1)
        sums.first[slot, k, j] += s0 + s1
        sums.second[slot, k, 0, j] += s2 + s3


@kernel
def accumulate_measured(params, space, tile_weights, seen, kind, gaps, line, sums, slot):
    """Add the points of a tile to the sums. Groups without a part in a component are left out.

    IN the shares: responsibilities times weights; tile_weights (K,): their sums over the tile
    """
    K, d = params.means.shape
    step, shares, zero = lanes(space), first_share(d), splat(_ZERO)
    width, triangle = 2 * step, d * (d + 1) // 2
    first = (3 * triangle + 3 * d) * width
    second, numbers = first + d * step, entries(kind, d)
    independent = params.covariances.shape[1] < d or d == 1
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        sums.weights[slot, k] += tile_weights[k]
        if independent:
            accumulate_independent(params, k, shares + k, space, seen, kind, gaps, sums, slot)
            continue
        for e in range(d + triangle):
            store(line, 0, first + e * step, zero)
        for b in range(0, tile_rows(space), width):
            mine = load(space, shares + k, b) + load(space, shares + k, b + step)
            if sum4(mine, zero, zero, zero)[0] > 0:
                factorise(params, k, space, b, seen, b * numbers, kind, gaps, line)
                solve_points(params.means, k, space, b, gaps, line)
                whitened_means(params.factors, k, space, b, gaps, line)
                add_group(d, shares + k, space, b, line)
        for i in range(d):
            sums.first[slot, k, i] += sum4(load(line, 0, first + i * step), zero, zero, zero)[0]
            for j in range(i + 1):
                total = load(line, 0, second + at(i, j) * step)
                sums.second[slot, k, i, j] += sum4(total, zero, zero, zero)[0]


@spliced_kernel
def numbers_of_line(d, X):
    """Return how many numbers `line` has: matrices of a group, and sums."""
    triangle = d * (d + 1) // 2
    return (3 * triangle + 3 * d) * 2 * lanes(X) + (triangle + d) * lanes(X)


@spliced_kernel
def numbers_of_noise(noise, d, X):
    """Return how many numbers `seen` has."""
    return tile_rows(X) * (d * (d + 1) // 2 if noise.shape[0] > 0 and noise.shape[1] > 1 else d)


@entry_kernel
def slot_measured(X, noise, sample_weight, labels, params, hard, sums, failures, slot):
    """Add the rows of one slot to its sums, as `_estep.slot_statistics` does for rows without noise or gaps.

    IN X (n, d), where NaN is missing; noise as in `load_measured`; all others as in `slot_statistics`
    OUT sums[slot]; failures (G,): 1 if rows or their noise are too large
    """
    K, d = params.means.shape
    start, stop = slot_range(X, slot, sums.weights.shape[0])
    space, shares = new_space(K, d, 0, X), first_share(d)
    seen, line = new_line(numbers_of_noise(noise, d, X), X), new_line(numbers_of_line(d, X), X)
    tile_weights, gaps = np.zeros(K), np.zeros(1, np.int64)
    for first in range(start, stop, tile_rows(X)):
        size = min(tile_rows(X), stop - first)
        kind = load_measured(X, noise, params, first, size, space, seen, gaps)
        if kind < 0:
            failures[slot] = 1
            return
        load_weights(sample_weight, first, size, space)
        densities(params, space, seen, kind, gaps, line)
        if labels.shape[0] > 0:
            keep_known(labels, first, size, space, shares, K)
        if hard[0]:
            keep_best(space, shares, K)
        sums.log2_likelihood[slot] += normalise(params.log2_peaks, space, shares, tile_weights)
        accumulate_measured(params, space, tile_weights, seen, kind, gaps, line, sums, slot)


@kernel
def add_posterior_means(params, k, space, seen, kind, gaps, line, means, first, size):
    """Add to the expectation of each point what one component has of it.

    IN the shares: responsibilities; OUT means (n, d) in standard coordinates
    """
    d = params.means.shape[1]
    step, share, observed = lanes(space), first_share(d) + k, POINTS + d
    width, triangle = 2 * step, d * (d + 1) // 2
    numbers = entries(kind, d)
    independent = params.covariances.shape[1] < d or d == 1
    for b in range(0, tile_rows(space), width):
        mine = load(space, share, b) + load(space, share, b + step)
        if not sum4(mine, splat(_ZERO), splat(_ZERO), splat(_ZERO))[0] > 0:
            continue
        if not independent:
            factorise(params, k, space, b, seen, b * numbers, kind, gaps, line)
            solve_points(params.means, k, space, b, gaps, line)
            whitened_means(params.factors, k, space, b, gaps, line)
        for lane in range(min(width, size - b)):
            r = space[share, b + lane]
            for i in range(d):
                v = params.means[k, i]
                if independent:
                    variance, total = params.covariances[k, 0, i], 0.0
                    if kind == VARIANCES:
                        total = seen[0, b * numbers + i * width + lane]
                    z = space[POINTS + i, b + lane] - v
                    if gaps[0] > 0 and space[observed + i, b + lane] == 0.0:
                        z = 0.0
                    v += variance * z / (variance + total)
                else:
                    for j in range(i + 1):
                        v += params.factors[k, i, j] * line[0, (3 * triangle + d + j) * width + lane]
                means[first + b + lane, i] += r * v


@entry_kernel
def slot_measured_scores(
    X, noise, params, log2_densities, labels, responsibilities, joint, means, about, failures, slot
):
    """Score the rows of one slot, as `_estep.slot_scores` does for rows without noise or gaps.

    OUT means (n, d): to zeros, the expectations of the true values are added, in standard coordinates
    """
    K, d = params.means.shape
    start, stop = slot_range(X, slot, failures.shape[0])
    space, shares = new_space(K, d, 0, X), first_share(d)
    seen, line = new_line(numbers_of_noise(noise, d, X), X), new_line(numbers_of_line(d, X), X)
    gaps = np.zeros(1, np.int64)
    one = splat(_ONE)
    for first in range(start, stop, tile_rows(X)):
        size = min(tile_rows(X), stop - first)
        for b in range(0, tile_rows(space), lanes(space)):
            store(space, WEIGHTS, b, one)
        kind = load_measured(X, noise, params, first, size, space, seen, gaps)
        if kind < 0:
            failures[slot] = 1
            return
        densities(params, space, seen, kind, gaps, line)
        if joint.shape[0] > 0:
            for b in range(size):
                for k in range(K):
                    share = space[shares + k, b]
                    joint[first + b, k] += share + about[0] if share >= about[1] else -np.inf
        if labels.shape[0] > 0:
            find_labels(space, shares, K, PEAKS, TOTALS)
            for b in range(size):
                labels[first + b] = int(space[TOTALS, b])
        if log2_densities.shape[0] + responsibilities.shape[0] + means.shape[0] > 0:
            find_peaks(space, shares, K)
            exponentiate(space, shares, K)
            finish_totals(space)
        if log2_densities.shape[0] > 0:
            for b in range(size):
                log2_densities[first + b] = space[PEAKS, b]
        if responsibilities.shape[0] + means.shape[0] > 0:
            for k in range(shares, shares + K):
                for b in range(0, tile_rows(space), lanes(space)):
                    store(space, k, b, load(space, k, b) * load(space, TOTALS, b))
        if responsibilities.shape[0] > 0:
            for k in range(K):
                for b in range(size):
                    responsibilities[first + b, k] = space[shares + k, b]
        if means.shape[0] > 0:
            for k in range(K):
                add_posterior_means(params, k, space, seen, kind, gaps, line, means, first, size)
