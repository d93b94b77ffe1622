"""Diagonal covariance.

E-step  y = a x - c,  log2 p = log2_weight - |y|^2                  2 multiply-adds a feature
M-step  N += r,  s += r z,  q += r z^2  with z = x - mean           4 operations
"""

from fastem._kernels._jit import kernel
from fastem._kernels._simd import VECTOR_BYTES, load, splat, store, sum4
from fastem._kernels._tile import TILE


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    a, c, log2_weights = params.whiteners, params.offsets, params.log2_weights
    K, d = c.shape
    step = VECTOR_BYTES // tile.itemsize
    zero = splat(tile.dtype.type(0))
    for k in range(K):
        for b in range(0, TILE, 4 * step):
            q0 = q1 = q2 = q3 = zero
            for j in range(d):
                y0, y1 = a[k, j] * load(tile, j, b) - c[k, j], a[k, j] * load(tile, j, b + step) - c[k, j]
                q0, q1 = q0 + y0 * y0, q1 + y1 * y1
                y2 = a[k, j] * load(tile, j, b + 2 * step) - c[k, j]
                y3 = a[k, j] * load(tile, j, b + 3 * step) - c[k, j]
                q2, q3 = q2 + y2 * y2, q3 + y3 * y3
            store(log2_probs, k, b, log2_weights[k] - q0)
            store(log2_probs, k, b + step, log2_weights[k] - q1)
            store(log2_probs, k, b + 2 * step, log2_weights[k] - q2)
            store(log2_probs, k, b + 3 * step, log2_weights[k] - q3)


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    """IN weighted responsibilities r (K, STRIDE) and their sums (K,). OUT the sums of this slot."""
    means, weights, first, second = params.means, sums.weights, sums.first, sums.second
    K, d = means.shape
    step = VECTOR_BYTES // tile.itemsize
    zero = splat(tile.dtype.type(0))
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        weights[slot, k] += tile_weights[k]
        for j in range(0, d - 1, 2):
            s0 = s1 = q0 = q1 = zero
            for b in range(0, TILE, step):
                rb = load(r, k, b)
                z0, z1 = load(tile, j, b) - means[k, j], load(tile, j + 1, b) - means[k, j + 1]
                w0, w1 = rb * z0, rb * z1
                s0, s1 = s0 + w0, s1 + w1
                q0, q1 = q0 + w0 * z0, q1 + w1 * z1
            t0, t1, t2, t3 = sum4(s0, s1, q0, q1)
            first[slot, k, j] += t0
            first[slot, k, j + 1] += t1
            second[slot, k, 0, j] += t2
            second[slot, k, 0, j + 1] += t3
        if d % 2 == 1:
            s0 = q0 = zero
            for b in range(0, TILE, step):
                z0 = load(tile, d - 1, b) - means[k, d - 1]
                w0 = load(r, k, b) * z0
                s0, q0 = s0 + w0, q0 + w0 * z0
            t0, t1, _, _ = sum4(s0, q0, zero, zero)
            first[slot, k, d - 1] += t0
            second[slot, k, 0, d - 1] += t1
