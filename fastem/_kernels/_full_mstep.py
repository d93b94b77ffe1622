"""Full covariances, M-step.

N += r,  s += r z,  S += r z x'  with z = x - mean                  d (d + 1) / 2 multiply-adds

Only one factor of the scatter must be centred, because sum(r z z') = sum(r z x') - s mean'. The correction
is made once per pass. So we need not write a centred copy of the tile for each component. The rounding error
grows with the first power of |mean| / deviation only, as that of the data does.
"""

from fastem._kernels._blocks import accumulate_rows, add_first_sums, add_sums
from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import POINTS, START, first_scratch, first_share
from fastem._kernels._packing import SMALL, close_queue, queue_share
from fastem._kernels._simd import lanes, load, splat, store, sum4, tile_rows


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments.

    If a component has many points in the tile, we process the whole tile for it. Then we process its queue if
    that is full. These are two turns of one loop, because LLVM would compile the code of two calls twice.
    """
    means, weights, first, second = params.means, sums.weights, sums.first, sums.second
    K, d = means.shape
    corner, shares, scratch = d % 4, first_share(d), first_scratch(d, K)
    turns = 2 if d >= SMALL else 1
    for k in range(K):
        weights[slot, k] += tile_weights[k]
        top, row, stop = POINTS, shares + k, tile_rows(space)
        if d >= SMALL and (tile_weights[k] == 0 or queue_share(space, start, d, shares, k, K, lists)):
            stop = START
        for turn in range(turns):
            if turn == 1:
                top = POINTS + d
                row, stop = close_queue(params, X, space, d, k, K, last, lists)
            if stop == 0:
                continue
            accumulate_corner(means, k, corner, space, top, row, stop, first, second, slot)
            for i in range(corner, d, 4):
                accumulate_diagonal(means, k, i, space, top, row, stop, scratch, first, second, slot)
                accumulate_rows(space, scratch, top, i, stop, second, slot, k, i)


@inlined_kernel
def accumulate_diagonal(means, k, i, space, top, row, stop, scratch, first, second, slot):
    """Add the first moments of the features i to i + 3, and the second moments between them.

    OUT four rows of scratch: r z
    """
    step = lanes(space)
    m0, m1, m2, m3 = means[k, i], means[k, i + 1], means[k, i + 2], means[k, i + 3]
    zero = splat(space.dtype.type(0))
    s0 = s1 = s2 = s3 = q00 = q10 = q11 = q20 = q21 = q22 = q30 = q31 = q32 = q33 = zero
    j = top + i
    for b in range(0, stop, step):
        rb = load(space, row, b)
        x0, x1, x2, x3 = (
            load(space, j, b),
            load(space, j + 1, b),
            load(space, j + 2, b),
            load(space, j + 3, b),
        )
        w0, w1, w2, w3 = rb * (x0 - m0), rb * (x1 - m1), rb * (x2 - m2), rb * (x3 - m3)
        store(space, scratch, b, w0)
        store(space, scratch + 1, b, w1)
        store(space, scratch + 2, b, w2)
        store(space, scratch + 3, b, w3)
        s0, s1, s2, s3 = s0 + w0, s1 + w1, s2 + w2, s3 + w3
        q00, q10, q20, q30 = q00 + w0 * x0, q10 + w1 * x0, q20 + w2 * x0, q30 + w3 * x0
        q11, q21, q31 = q11 + w1 * x1, q21 + w2 * x1, q31 + w3 * x1
        q22, q32, q33 = q22 + w2 * x2, q32 + w3 * x2, q33 + w3 * x3
    add_first_sums(first, slot, k, i, s0, s1, s2, s3)
    add_sums(second, slot, k, i + 3, i, q30, q31, q32, q33)
    t0, t1, t2, t3 = sum4(q20, q21, q22, q11)
    second[slot, k, i + 2, i] += t0
    second[slot, k, i + 2, i + 1] += t1
    second[slot, k, i + 2, i + 2] += t2
    second[slot, k, i + 1, i + 1] += t3
    t0, t1, _, _ = sum4(q10, q00, zero, zero)
    second[slot, k, i + 1, i] += t0
    second[slot, k, i, i] += t1


@inlined_kernel
def accumulate_corner(means, k, corner, space, top, row, stop, first, second, slot):
    """Add the moments of the first `corner` (0 to 3) features in one loop over the points."""
    zero = splat(space.dtype.type(0))
    if corner == 1:
        s0 = q00 = zero
        m0 = means[k, 0]
        for b in range(0, stop, lanes(space)):
            x0 = load(space, top, b)
            w0 = load(space, row, b) * (x0 - m0)
            s0, q00 = s0 + w0, q00 + w0 * x0
        t0, t1, _, _ = sum4(s0, q00, zero, zero)
        first[slot, k, 0] += t0
        second[slot, k, 0, 0] += t1
    elif corner == 2:
        s0 = s1 = q00 = q10 = q11 = zero
        m0, m1 = means[k, 0], means[k, 1]
        for b in range(0, stop, lanes(space)):
            x0, x1, rb = load(space, top, b), load(space, top + 1, b), load(space, row, b)
            w0, w1 = rb * (x0 - m0), rb * (x1 - m1)
            s0, s1 = s0 + w0, s1 + w1
            q00, q10, q11 = q00 + w0 * x0, q10 + w1 * x0, q11 + w1 * x1
        t0, t1, t2, t3 = sum4(s0, s1, q10, q11)
        first[slot, k, 0] += t0
        first[slot, k, 1] += t1
        second[slot, k, 1, 0] += t2
        second[slot, k, 1, 1] += t3
        second[slot, k, 0, 0] += sum4(q00, zero, zero, zero)[0]
    elif corner == 3:
        s0 = s1 = s2 = q00 = q10 = q11 = q20 = q21 = q22 = zero
        m0, m1, m2 = means[k, 0], means[k, 1], means[k, 2]
        for b in range(0, stop, lanes(space)):
            rb = load(space, row, b)
            x0, x1, x2 = load(space, top, b), load(space, top + 1, b), load(space, top + 2, b)
            w0, w1, w2 = rb * (x0 - m0), rb * (x1 - m1), rb * (x2 - m2)
            s0, s1, s2 = s0 + w0, s1 + w1, s2 + w2
            q00, q10, q11 = q00 + w0 * x0, q10 + w1 * x0, q11 + w1 * x1
            q20, q21, q22 = q20 + w2 * x0, q21 + w2 * x1, q22 + w2 * x2
        t0, t1, t2, t3 = sum4(s0, s1, s2, q00)
        first[slot, k, 0] += t0
        first[slot, k, 1] += t1
        first[slot, k, 2] += t2
        second[slot, k, 0, 0] += t3
        t0, t1, t2, t3 = sum4(q10, q11, q20, q21)
        second[slot, k, 1, 0] += t0
        second[slot, k, 1, 1] += t1
        second[slot, k, 2, 0] += t2
        second[slot, k, 2, 1] += t3
        second[slot, k, 2, 2] += sum4(q22, zero, zero, zero)[0]
