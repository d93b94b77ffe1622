"""Spherical covariance: one variance a component.

E-step  log2 p = log2_weight - precision |x - mean|^2               2 operations a feature
M-step  N += r,  s += r z,  q += r |z|^2  with z = x - mean         4 operations
"""

from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._simd import VECTOR_BYTES, load, splat, store, sum4
from fastem._kernels._tile import TILE


@inlined_kernel
def store_log2_prob(means, k, tile, log2_weight, precision, log2_probs):
    """log2_probs[k] = log2_weight - precision |tile - mean k|^2; shared with tied."""
    step = VECTOR_BYTES // tile.itemsize
    zero = splat(tile.dtype.type(0))
    for b in range(0, TILE, 4 * step):
        q0 = q1 = q2 = q3 = zero
        for j in range(means.shape[1]):
            m = means[k, j]
            z0, z1 = load(tile, j, b) - m, load(tile, j, b + step) - m
            z2, z3 = load(tile, j, b + 2 * step) - m, load(tile, j, b + 3 * step) - m
            q0, q1, q2, q3 = q0 + z0 * z0, q1 + z1 * z1, q2 + z2 * z2, q3 + z3 * z3
        store(log2_probs, k, b, log2_weight - precision * q0)
        store(log2_probs, k, b + step, log2_weight - precision * q1)
        store(log2_probs, k, b + 2 * step, log2_weight - precision * q2)
        store(log2_probs, k, b + 3 * step, log2_weight - precision * q3)


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    means, log2_weights, precisions = params.means, params.log2_weights, params.precisions
    for k in range(means.shape[0]):
        store_log2_prob(means, k, tile, log2_weights[k], precisions[k], log2_probs)


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
        q0 = q1 = zero
        for j in range(0, d - 1, 2):
            s0 = s1 = zero
            for b in range(0, TILE, step):
                rb = load(r, k, b)
                z0, z1 = load(tile, j, b) - means[k, j], load(tile, j + 1, b) - means[k, j + 1]
                w0, w1 = rb * z0, rb * z1
                s0, s1 = s0 + w0, s1 + w1
                q0, q1 = q0 + w0 * z0, q1 + w1 * z1
            t0, t1, _, _ = sum4(s0, s1, zero, zero)
            first[slot, k, j] += t0
            first[slot, k, j + 1] += t1
        if d % 2 == 1:
            s0 = zero
            for b in range(0, TILE, step):
                z0 = load(tile, d - 1, b) - means[k, d - 1]
                w0 = load(r, k, b) * z0
                s0, q0 = s0 + w0, q0 + w0 * z0
            first[slot, k, d - 1] += sum4(s0, zero, zero, zero)[0]
        t0, t1, _, _ = sum4(q0, q1, zero, zero)
        second[slot, k, 0, 0] += t0 + t1
