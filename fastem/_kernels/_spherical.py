"""Spherical covariance: one variance a component.

E-step  log2 p = log2_weight - precision |x - mean|^2
M-step  N += r,  s += r z,  q += r |z|^2  with z = x - mean
"""

from fastem._kernels._jit import kernel
from fastem._kernels._tile import TILE


@kernel
def subtract_distance(params, k, tile, precision, log2_probs):
    """log2_probs[k, b] -= precision * |tile[:, b] - mean|^2; shared with tied."""
    d = params.means.shape[1]
    blocked = d - d % 4
    for j in range(0, blocked, 4):
        m0, m1 = params.means[k, j], params.means[k, j + 1]
        m2, m3 = params.means[k, j + 2], params.means[k, j + 3]
        for b in range(TILE):
            z0, z1 = tile[j, b] - m0, tile[j + 1, b] - m1
            z2, z3 = tile[j + 2, b] - m2, tile[j + 3, b] - m3
            log2_probs[k, b] -= precision * ((z0 * z0 + z1 * z1) + (z2 * z2 + z3 * z3))
    for j in range(blocked, d):
        m0 = params.means[k, j]
        for b in range(TILE):
            z0 = tile[j, b] - m0
            log2_probs[k, b] -= precision * (z0 * z0)


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    for k in range(params.means.shape[0]):
        log2_weight = params.log2_weights[k]
        for b in range(TILE):
            log2_probs[k, b] = log2_weight
        subtract_distance(params, k, tile, params.precisions[k], log2_probs)


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    K, d = params.means.shape
    blocked = d - d % 4
    zero = tile.dtype.type(0)
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        sums.weights[slot, k] += tile_weights[k]
        q = zero
        for j in range(0, blocked, 4):
            m0, m1 = params.means[k, j], params.means[k, j + 1]
            m2, m3 = params.means[k, j + 2], params.means[k, j + 3]
            s0 = s1 = s2 = s3 = zero
            for b in range(TILE):
                rb = r[k, b]
                z0, z1 = tile[j, b] - m0, tile[j + 1, b] - m1
                z2, z3 = tile[j + 2, b] - m2, tile[j + 3, b] - m3
                w0, w1, w2, w3 = rb * z0, rb * z1, rb * z2, rb * z3
                s0 += w0
                s1 += w1
                s2 += w2
                s3 += w3
                q += (w0 * z0 + w1 * z1) + (w2 * z2 + w3 * z3)
            sums.first[slot, k, j] += s0
            sums.first[slot, k, j + 1] += s1
            sums.first[slot, k, j + 2] += s2
            sums.first[slot, k, j + 3] += s3
        for j in range(blocked, d):
            m0 = params.means[k, j]
            s0 = zero
            for b in range(TILE):
                z0 = tile[j, b] - m0
                w0 = r[k, b] * z0
                s0 += w0
                q += w0 * z0
            sums.first[slot, k, j] += s0
        sums.second[slot, k, 0, 0] += q
