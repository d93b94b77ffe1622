"""Full covariance: one lower-triangular whitener a component.

E-step  y = A x - c,  log2 p = log2_weight - |y|^2                  d (d + 1) / 2 multiply-adds
M-step  N += r,  s += r z,  S += r z x'  with z = x - mean          the same again

The scatter needs only one centred factor: sum(r z z') = sum(r z x') - s mean', and the correction
is made once a pass. So no centred copy of the tile is written for every component, and what is lost
to rounding is of the first order in |mean| / deviation, as in the data themselves.

The first 1 to 4 rows are a corner written out, so that no dimension is padded; the others come in
blocks of four. Arrays are indexed in full rather than through row views, whose reference counts
cost as much as the arithmetic at small d.
"""

from fastem._kernels._blocks import accumulate_rows, multiply_corner, multiply_rows
from fastem._kernels._jit import kernel
from fastem._kernels._tile import TILE


@kernel
def corner_size(d):
    """1 to 4 rows, so that the others are a multiple of four."""
    return (d - 1) % 4 + 1


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    K, d = params.means.shape
    corner = corner_size(d)
    for k in range(K):
        corner_log2_prob(params, k, tile, corner, log2_probs)
        for i in range(corner, d, 4):
            multiply_corner(params.whiteners[k], params.offsets[k], i, corner, tile, scratch)
            multiply_rows(params.whiteners[k], i, corner, i, tile, scratch)
            block_log2_prob(params, k, tile, i, scratch, log2_probs)


@kernel
def corner_log2_prob(params, k, tile, corner, log2_probs):
    """log2_weight - |y|^2 over the rows of the corner."""
    log2_weight = params.log2_weights[k]
    a00, c0 = params.whiteners[k, 0, 0], params.offsets[k, 0]
    if corner == 1:
        for b in range(TILE):
            y0 = a00 * tile[0, b] - c0
            log2_probs[k, b] = log2_weight - y0 * y0
        return
    a10, a11 = params.whiteners[k, 1, 0], params.whiteners[k, 1, 1]
    c1 = params.offsets[k, 1]
    if corner == 2:
        for b in range(TILE):
            x0, x1 = tile[0, b], tile[1, b]
            y0 = a00 * x0 - c0
            y1 = a10 * x0 + a11 * x1 - c1
            log2_probs[k, b] = log2_weight - (y0 * y0 + y1 * y1)
        return
    a20, a21 = params.whiteners[k, 2, 0], params.whiteners[k, 2, 1]
    a22, c2 = params.whiteners[k, 2, 2], params.offsets[k, 2]
    if corner == 3:
        for b in range(TILE):
            x0, x1, x2 = tile[0, b], tile[1, b], tile[2, b]
            y0 = a00 * x0 - c0
            y1 = a10 * x0 + a11 * x1 - c1
            y2 = a20 * x0 + a21 * x1 + a22 * x2 - c2
            log2_probs[k, b] = log2_weight - (y0 * y0 + y1 * y1 + y2 * y2)
        return
    a30, a31 = params.whiteners[k, 3, 0], params.whiteners[k, 3, 1]
    a32, a33 = params.whiteners[k, 3, 2], params.whiteners[k, 3, 3]
    c3 = params.offsets[k, 3]
    for b in range(TILE):
        x0, x1, x2, x3 = tile[0, b], tile[1, b], tile[2, b], tile[3, b]
        y0 = a00 * x0 - c0
        y1 = a10 * x0 + a11 * x1 - c1
        y2 = a20 * x0 + a21 * x1 + a22 * x2 - c2
        y3 = a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3 - c3
        log2_probs[k, b] = log2_weight - ((y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3))


@kernel
def block_log2_prob(params, k, tile, i, y, log2_probs):
    """Subtract |y|^2 over rows i to i + 3, of which y (4, STRIDE) lacks only the diagonal block."""
    a00 = params.whiteners[k, i, i]
    a10, a11 = params.whiteners[k, i + 1, i], params.whiteners[k, i + 1, i + 1]
    a20, a21 = params.whiteners[k, i + 2, i], params.whiteners[k, i + 2, i + 1]
    a30, a31 = params.whiteners[k, i + 3, i], params.whiteners[k, i + 3, i + 1]
    a22, a32 = params.whiteners[k, i + 2, i + 2], params.whiteners[k, i + 3, i + 2]
    a33 = params.whiteners[k, i + 3, i + 3]
    for b in range(TILE):
        x0, x1, x2, x3 = tile[i, b], tile[i + 1, b], tile[i + 2, b], tile[i + 3, b]
        y0 = y[0, b] + a00 * x0
        y1 = y[1, b] + a10 * x0 + a11 * x1
        y2 = y[2, b] + a20 * x0 + a21 * x1 + a22 * x2
        y3 = y[3, b] + a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
        log2_probs[k, b] -= (y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3)


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    """IN weighted responsibilities r (K, STRIDE) and their sums (K,). OUT the sums of this slot."""
    K, d = params.means.shape
    corner = corner_size(d)
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        sums.weights[slot, k] += tile_weights[k]
        accumulate_corner(params, k, tile, r, corner, sums, slot)
        for i in range(corner, d, 4):
            centre_rows(params, k, tile, r, i, scratch, sums, slot)
            accumulate_rows(scratch, 0, tile, i + 4, sums.second[slot, k], i)


@kernel
def centre_rows(params, k, tile, r, i, w, sums, slot):
    """OUT w (4, STRIDE): r z of features i to i + 3; their first moments."""
    zero = tile.dtype.type(0)
    m0, m1 = params.means[k, i], params.means[k, i + 1]
    m2, m3 = params.means[k, i + 2], params.means[k, i + 3]
    s0 = s1 = s2 = s3 = zero
    for b in range(TILE):
        rb = r[k, b]
        w0, w1 = rb * (tile[i, b] - m0), rb * (tile[i + 1, b] - m1)
        w2, w3 = rb * (tile[i + 2, b] - m2), rb * (tile[i + 3, b] - m3)
        w[0, b] = w0
        w[1, b] = w1
        w[2, b] = w2
        w[3, b] = w3
        s0 += w0
        s1 += w1
        s2 += w2
        s3 += w3
    sums.first[slot, k, i] += s0
    sums.first[slot, k, i + 1] += s1
    sums.first[slot, k, i + 2] += s2
    sums.first[slot, k, i + 3] += s3


@kernel
def accumulate_corner(params, k, tile, r, corner, sums, slot):
    """Moments of the corner's features, in one loop."""
    s0 = s1 = s2 = s3 = q00 = q10 = q11 = q20 = q21 = q22 = tile.dtype.type(0)
    q30 = q31 = q32 = q33 = tile.dtype.type(0)
    m0 = params.means[k, 0]
    if corner == 1:
        for b in range(TILE):
            x0 = tile[0, b]
            w0 = r[k, b] * (x0 - m0)
            s0 += w0
            q00 += w0 * x0
        sums.first[slot, k, 0] += s0
        sums.second[slot, k, 0, 0] += q00
        return
    m1 = params.means[k, 1]
    if corner == 2:
        for b in range(TILE):
            x0, x1 = tile[0, b], tile[1, b]
            w0, w1 = r[k, b] * (x0 - m0), r[k, b] * (x1 - m1)
            s0 += w0
            s1 += w1
            q00 += w0 * x0
            q10 += w1 * x0
            q11 += w1 * x1
    elif corner == 3:
        m2 = params.means[k, 2]
        for b in range(TILE):
            x0, x1, x2 = tile[0, b], tile[1, b], tile[2, b]
            w0, w1, w2 = r[k, b] * (x0 - m0), r[k, b] * (x1 - m1), r[k, b] * (x2 - m2)
            s0 += w0
            s1 += w1
            s2 += w2
            q00 += w0 * x0
            q10 += w1 * x0
            q11 += w1 * x1
            q20 += w2 * x0
            q21 += w2 * x1
            q22 += w2 * x2
    else:
        m2, m3 = params.means[k, 2], params.means[k, 3]
        for b in range(TILE):
            x0, x1, x2, x3 = tile[0, b], tile[1, b], tile[2, b], tile[3, b]
            rb = r[k, b]
            w0, w1, w2, w3 = rb * (x0 - m0), rb * (x1 - m1), rb * (x2 - m2), rb * (x3 - m3)
            s0 += w0
            s1 += w1
            s2 += w2
            s3 += w3
            q00 += w0 * x0
            q10 += w1 * x0
            q11 += w1 * x1
            q20 += w2 * x0
            q21 += w2 * x1
            q22 += w2 * x2
            q30 += w3 * x0
            q31 += w3 * x1
            q32 += w3 * x2
            q33 += w3 * x3
    sums.first[slot, k, 0] += s0
    sums.first[slot, k, 1] += s1
    sums.second[slot, k, 0, 0] += q00
    sums.second[slot, k, 1, 0] += q10
    sums.second[slot, k, 1, 1] += q11
    if corner > 2:
        sums.first[slot, k, 2] += s2
        sums.second[slot, k, 2, 0] += q20
        sums.second[slot, k, 2, 1] += q21
        sums.second[slot, k, 2, 2] += q22
    if corner > 3:
        sums.first[slot, k, 3] += s3
        sums.second[slot, k, 3, 0] += q30
        sums.second[slot, k, 3, 1] += q31
        sums.second[slot, k, 3, 2] += q32
        sums.second[slot, k, 3, 3] += q33
