"""Diagonal covariance: 2 multiply-adds a feature in the E-step, 3 operations in the M-step.

E-step  y = a x - c,  log2 p = log2_weight - |y|^2
M-step  N += r,  s += r z,  q += r z^2  with z = x - mean
"""

from fastem._kernels._jit import kernel
from fastem._kernels._tile import TILE


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    K, d = params.means.shape
    blocked = d - d % 4
    for k in range(K):
        log2_weight = params.log2_weights[k]
        for b in range(TILE):
            log2_probs[k, b] = log2_weight
        for j in range(0, blocked, 4):
            a0, a1 = params.whiteners[k, j], params.whiteners[k, j + 1]
            a2, a3 = params.whiteners[k, j + 2], params.whiteners[k, j + 3]
            c0, c1 = params.offsets[k, j], params.offsets[k, j + 1]
            c2, c3 = params.offsets[k, j + 2], params.offsets[k, j + 3]
            for b in range(TILE):
                y0, y1 = a0 * tile[j, b] - c0, a1 * tile[j + 1, b] - c1
                y2, y3 = a2 * tile[j + 2, b] - c2, a3 * tile[j + 3, b] - c3
                log2_probs[k, b] -= (y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3)
        for j in range(blocked, d):
            a0, c0 = params.whiteners[k, j], params.offsets[k, j]
            for b in range(TILE):
                y0 = a0 * tile[j, b] - c0
                log2_probs[k, b] -= y0 * y0


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    K, d = params.means.shape
    blocked = d - d % 4
    zero = tile.dtype.type(0)
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        sums.weights[slot, k] += tile_weights[k]
        for j in range(0, blocked, 4):
            m0, m1 = params.means[k, j], params.means[k, j + 1]
            m2, m3 = params.means[k, j + 2], params.means[k, j + 3]
            s0 = s1 = s2 = s3 = q0 = q1 = q2 = q3 = zero
            for b in range(TILE):
                rb = r[k, b]
                z0, z1 = tile[j, b] - m0, tile[j + 1, b] - m1
                z2, z3 = tile[j + 2, b] - m2, tile[j + 3, b] - m3
                w0, w1, w2, w3 = rb * z0, rb * z1, rb * z2, rb * z3
                s0 += w0
                s1 += w1
                s2 += w2
                s3 += w3
                q0 += w0 * z0
                q1 += w1 * z1
                q2 += w2 * z2
                q3 += w3 * z3
            sums.first[slot, k, j] += s0
            sums.first[slot, k, j + 1] += s1
            sums.first[slot, k, j + 2] += s2
            sums.first[slot, k, j + 3] += s3
            sums.second[slot, k, 0, j] += q0
            sums.second[slot, k, 0, j + 1] += q1
            sums.second[slot, k, 0, j + 2] += q2
            sums.second[slot, k, 0, j + 3] += q3
        for j in range(blocked, d):
            m0 = params.means[k, j]
            s0 = q0 = zero
            for b in range(TILE):
                z0 = tile[j, b] - m0
                w0 = r[k, b] * z0
                s0 += w0
                q0 += w0 * z0
            sums.first[slot, k, j] += s0
            sums.second[slot, k, 0, j] += q0
