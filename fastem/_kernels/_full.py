"""Full covariance: one lower-triangular whitener a component.

E-step  y = A x - c,  log2 p = log2_weight - |y|^2                  d (d + 1) / 2 multiply-adds
M-step  N += r,  s += r z,  S += r z x'  with z = x - mean          the same again

The scatter needs only one centred factor: sum(r z z') = sum(r z x') - s mean', and the correction
is made once a pass. So no centred copy of the tile is written for every component, and what is lost
to rounding is of the first order in |mean| / deviation, as in the data themselves.

The first d % 4 features are a corner written out, so that no dimension is padded; the others come in
blocks of four. Arrays are taken from their NamedTuples once a tile and indexed in full: an attribute
or a row view costs two atomic reference counts, at small d as much as the arithmetic.
"""

from fastem._kernels._blocks import accumulate_rows, multiply_add
from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._simd import VECTOR_BYTES, load, splat, store, sum4
from fastem._kernels._tile import TILE


@kernel
def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    A, c, log2_weights = params.whiteners, params.offsets, params.log2_weights
    K, d = c.shape
    step = VECTOR_BYTES // tile.itemsize
    corner = d % 4
    for k in range(K):
        for b in range(0, TILE, 2 * step):
            q = corner_squares(A, c, k, corner, tile, b)
            u = corner_squares(A, c, k, corner, tile, b + step)
            for i in range(corner, d, 4):
                q, u = block_squares(A, c, k, i, tile, b, q, u)
            store(log2_probs, k, b, log2_weights[k] - q)
            store(log2_probs, k, b + step, log2_weights[k] - u)


@inlined_kernel
def corner_squares(A, c, k, corner, tile, b):
    """|y|^2 over the first `corner` = 0, 1, 2 or 3 rows, at one vector of points from b."""
    if corner == 0:
        return splat(tile.dtype.type(0))
    x0 = load(tile, 0, b)
    y0 = A[k, 0, 0] * x0 - c[k, 0]
    if corner == 1:
        return y0 * y0
    x1 = load(tile, 1, b)
    y1 = A[k, 1, 0] * x0 + (A[k, 1, 1] * x1 - c[k, 1])
    if corner == 2:
        return y0 * y0 + y1 * y1
    y2 = A[k, 2, 2] * load(tile, 2, b) - c[k, 2]
    y2 = A[k, 2, 0] * x0 + (A[k, 2, 1] * x1 + y2)
    return y0 * y0 + y1 * y1 + y2 * y2


@inlined_kernel
def block_squares(A, c, k, i, tile, b, q, u):
    """q, u + |y|^2 over rows i to i + 3, at two vectors of points from b."""
    step = VECTOR_BYTES // tile.itemsize
    y0, y1, y2, y3 = splat(-c[k, i]), splat(-c[k, i + 1]), splat(-c[k, i + 2]), splat(-c[k, i + 3])
    y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(A, k, i, 0, i, tile, b, (y0, y1, y2, y3, y0, y1, y2, y3))
    xb, xu = load(tile, i, b), load(tile, i, b + step)
    a0, a1, a2, a3 = A[k, i, i], A[k, i + 1, i], A[k, i + 2, i], A[k, i + 3, i]
    y0, y1, y2, y3 = y0 + a0 * xb, y1 + a1 * xb, y2 + a2 * xb, y3 + a3 * xb
    u0, u1, u2, u3 = u0 + a0 * xu, u1 + a1 * xu, u2 + a2 * xu, u3 + a3 * xu
    xb, xu = load(tile, i + 1, b), load(tile, i + 1, b + step)
    a1, a2, a3 = A[k, i + 1, i + 1], A[k, i + 2, i + 1], A[k, i + 3, i + 1]
    y1, y2, y3 = y1 + a1 * xb, y2 + a2 * xb, y3 + a3 * xb
    u1, u2, u3 = u1 + a1 * xu, u2 + a2 * xu, u3 + a3 * xu
    xb, xu = load(tile, i + 2, b), load(tile, i + 2, b + step)
    a2, a3 = A[k, i + 2, i + 2], A[k, i + 3, i + 2]
    y2, y3 = y2 + a2 * xb, y3 + a3 * xb
    u2, u3 = u2 + a2 * xu, u3 + a3 * xu
    a3 = A[k, i + 3, i + 3]
    y3, u3 = y3 + a3 * load(tile, i + 3, b), u3 + a3 * load(tile, i + 3, b + step)
    q = q + ((y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3))
    u = u + ((u0 * u0 + u1 * u1) + (u2 * u2 + u3 * u3))
    return q, u


@kernel
def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    """IN weighted responsibilities r (K, STRIDE) and their sums (K,). OUT the sums of this slot."""
    means, weights, first, second = params.means, sums.weights, sums.first, sums.second
    K, d = means.shape
    corner = d % 4
    for k in range(K):
        if tile_weights[k] == 0:
            continue
        weights[slot, k] += tile_weights[k]
        accumulate_corner(means, k, corner, tile, r, first, second, slot)
        for i in range(corner, d, 4):
            centre_rows(means, k, tile, r, i, scratch, first, slot)
            accumulate_rows(scratch, 0, tile, i + 4, second, slot, k, i)


@inlined_kernel
def centre_rows(means, k, tile, r, i, w, first, slot):
    """OUT w (4, STRIDE): r z of features i to i + 3; their first moments."""
    step = VECTOR_BYTES // tile.itemsize
    m0, m1 = means[k, i], means[k, i + 1]
    m2, m3 = means[k, i + 2], means[k, i + 3]
    s0 = s1 = s2 = s3 = splat(tile.dtype.type(0))
    for b in range(0, TILE, step):
        rb = load(r, k, b)
        w0, w1 = rb * (load(tile, i, b) - m0), rb * (load(tile, i + 1, b) - m1)
        w2, w3 = rb * (load(tile, i + 2, b) - m2), rb * (load(tile, i + 3, b) - m3)
        store(w, 0, b, w0)
        store(w, 1, b, w1)
        store(w, 2, b, w2)
        store(w, 3, b, w3)
        s0, s1, s2, s3 = s0 + w0, s1 + w1, s2 + w2, s3 + w3
    t0, t1, t2, t3 = sum4(s0, s1, s2, s3)
    first[slot, k, i] += t0
    first[slot, k, i + 1] += t1
    first[slot, k, i + 2] += t2
    first[slot, k, i + 3] += t3


@inlined_kernel
def accumulate_corner(means, k, corner, tile, r, first, second, slot):
    """Moments of the first `corner` = 0, 1, 2 or 3 features, in one loop over the points."""
    if corner == 0:
        return
    step = VECTOR_BYTES // tile.itemsize
    zero = splat(tile.dtype.type(0))
    s0 = s1 = s2 = q00 = q10 = q11 = q20 = q21 = q22 = zero
    m0 = means[k, 0]
    if corner == 1:
        for b in range(0, TILE, step):
            x0 = load(tile, 0, b)
            w0 = load(r, k, b) * (x0 - m0)
            s0, q00 = s0 + w0, q00 + w0 * x0
    elif corner == 2:
        m1 = means[k, 1]
        for b in range(0, TILE, step):
            x0, x1, rb = load(tile, 0, b), load(tile, 1, b), load(r, k, b)
            w0, w1 = rb * (x0 - m0), rb * (x1 - m1)
            s0, s1 = s0 + w0, s1 + w1
            q00, q10, q11 = q00 + w0 * x0, q10 + w1 * x0, q11 + w1 * x1
    else:
        m1, m2 = means[k, 1], means[k, 2]
        for b in range(0, TILE, step):
            x0, x1, x2, rb = load(tile, 0, b), load(tile, 1, b), load(tile, 2, b), load(r, k, b)
            w0, w1, w2 = rb * (x0 - m0), rb * (x1 - m1), rb * (x2 - m2)
            s0, s1, s2 = s0 + w0, s1 + w1, s2 + w2
            q00, q10, q11 = q00 + w0 * x0, q10 + w1 * x0, q11 + w1 * x1
            q20, q21, q22 = q20 + w2 * x0, q21 + w2 * x1, q22 + w2 * x2
    t0, t1, t2, t3 = sum4(s0, q00, s1, q10)
    first[slot, k, 0] += t0
    second[slot, k, 0, 0] += t1
    if corner > 1:
        first[slot, k, 1] += t2
        second[slot, k, 1, 0] += t3
        t0, t1, t2, t3 = sum4(q11, s2, q20, q21)
        second[slot, k, 1, 1] += t0
    if corner > 2:
        first[slot, k, 2] += t1
        second[slot, k, 2, 0] += t2
        second[slot, k, 2, 1] += t3
        second[slot, k, 2, 2] += sum4(q22, zero, zero, zero)[0]
