"""Spherical covariances: one variance per component.

E-step  log2 p = log2_weight - precision |x - mean|^2               2 operations per feature
M-step  N += r,  s += r z,  q += r |z|^2  with z = x - mean         4 operations
"""

from fastem._kernels._blocks import add_first_sums
from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import POINTS, first_share
from fastem._kernels._packing import list_vectors
from fastem._kernels._simd import lanes, load, splat, store, sum4, tile_rows


@inlined_kernel
def distance_tile(means, log2_weights, precisions, space):
    """OUT the shares: log2_weight - precision |x - mean|^2

    The loop over components is inside the loop over points, so that the points of one iteration stay in the
    first-level cache. Tied covariances use this kernel too.
    """
    K, d = means.shape
    step, shares = lanes(space), first_share(d)
    zero = splat(space.dtype.type(0))
    for b in range(0, tile_rows(space), 4 * step):
        for k in range(K):
            q0 = q1 = q2 = q3 = zero
            for j in range(d):
                m, x = means[k, j], POINTS + j
                z0, z1 = load(space, x, b) - m, load(space, x, b + step) - m
                z2, z3 = load(space, x, b + 2 * step) - m, load(space, x, b + 3 * step) - m
                q0, q1, q2, q3 = q0 + z0 * z0, q1 + z1 * z1, q2 + z2 * z2, q3 + z3 * z3
            w, p = log2_weights[k], precisions[k]
            store(space, shares + k, b, w - p * q0)
            store(space, shares + k, b + step, w - p * q1)
            store(space, shares + k, b + 2 * step, w - p * q2)
            store(space, shares + k, b + 3 * step, w - p * q3)


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    distance_tile(params.means, params.log2_weights, params.precisions, space)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments."""
    means, weights, first, second = params.means, sums.weights, sums.first, sums.second
    points, (K, d) = lists.points, means.shape
    shares = first_share(d)
    zero = splat(space.dtype.type(0))
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        weights[slot, k] += tile_weights[k]
        row, vectors = shares + k, list_vectors(space, shares + k, lists)
        q0 = q1 = q2 = q3 = zero
        for j in range(d % 4):
            s0 = zero
            for t in range(vectors):
                b = points[t]
                z0 = load(space, POINTS + j, b) - means[k, j]
                w0 = load(space, row, b) * z0
                s0, q0 = s0 + w0, q0 + w0 * z0
            first[slot, k, j] += sum4(s0, zero, zero, zero)[0]
        for j in range(d % 4, d, 4):
            m0, m1, m2, m3 = means[k, j], means[k, j + 1], means[k, j + 2], means[k, j + 3]
            s0 = s1 = s2 = s3 = zero
            x = POINTS + j
            for t in range(vectors):
                b = points[t]
                rb = load(space, row, b)
                z0, z1 = load(space, x, b) - m0, load(space, x + 1, b) - m1
                z2, z3 = load(space, x + 2, b) - m2, load(space, x + 3, b) - m3
                w0, w1, w2, w3 = rb * z0, rb * z1, rb * z2, rb * z3
                s0, s1, s2, s3 = s0 + w0, s1 + w1, s2 + w2, s3 + w3
                q0, q1, q2, q3 = q0 + w0 * z0, q1 + w1 * z1, q2 + w2 * z2, q3 + w3 * z3
            add_first_sums(first, slot, k, j, s0, s1, s2, s3)
        t0, t1, t2, t3 = sum4(q0, q1, q2, q3)
        second[slot, k, 0, 0] += (t0 + t1) + (t2 + t3)
