"""Diagonal covariances.

E-step  y = a x - c,  log2 p = log2_weight - |y|^2                  2 multiply-adds per feature
M-step  N += r,  s += r z,  q += r z^2  with z = x - mean           4 operations
"""

from fastem._kernels._blocks import add_first_sums, add_sums
from fastem._kernels._jit import kernel
from fastem._kernels._layout import POINTS, first_share
from fastem._kernels._packing import list_vectors
from fastem._kernels._simd import lanes, load, splat, store, sum4, tile_rows


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities

    The loop over components is inside the loop over points, as in `_spherical.distance_tile`.
    """
    a, c, log2_weights = params.whiteners, params.offsets, params.log2_weights
    K, d = c.shape
    step, shares = lanes(space), first_share(d)
    zero = splat(space.dtype.type(0))
    for b in range(0, tile_rows(space), 4 * step):
        for k in range(K):
            q0 = q1 = q2 = q3 = zero
            for j in range(d):
                s, m, x = a[k, j], c[k, j], POINTS + j
                y0, y1 = s * load(space, x, b) - m, s * load(space, x, b + step) - m
                y2, y3 = s * load(space, x, b + 2 * step) - m, s * load(space, x, b + 3 * step) - m
                q0, q1, q2, q3 = q0 + y0 * y0, q1 + y1 * y1, q2 + y2 * y2, q3 + y3 * y3
            w = log2_weights[k]
            store(space, shares + k, b, w - q0)
            store(space, shares + k, b + step, w - q1)
            store(space, shares + k, b + 2 * step, w - q2)
            store(space, shares + k, b + 3 * step, w - q3)


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
        for j in range(d % 4):
            s0 = q0 = zero
            for t in range(vectors):
                b = points[t]
                z0 = load(space, POINTS + j, b) - means[k, j]
                w0 = load(space, row, b) * z0
                s0, q0 = s0 + w0, q0 + w0 * z0
            t0, t1, _, _ = sum4(s0, q0, zero, zero)
            first[slot, k, j] += t0
            second[slot, k, 0, j] += t1
        for j in range(d % 4, d, 4):
            m0, m1, m2, m3 = means[k, j], means[k, j + 1], means[k, j + 2], means[k, j + 3]
            s0 = s1 = s2 = s3 = q0 = q1 = q2 = q3 = zero
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
            add_sums(second, slot, k, 0, j, q0, q1, q2, q3)
