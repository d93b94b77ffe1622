"""Matrix products over the points of a tile, with blocks of sums in registers."""

from fastem._kernels._jit import inlined_kernel, kernel
from fastem._kernels._layout import REGISTERS
from fastem._kernels._simd import lanes, load, splat, store, sum4


@inlined_kernel
def multiply_add(A, k, i, columns, space, top, b, y):
    """Return y + A[k, i:i+4, :columns] @ space[top:top+columns] for two vectors of points, from column b on.

    y has four sums for the first vector, then four for the second. Eight sums in registers are enough to hide
    the latency of the multiply-adds.
    """
    step = lanes(space)
    y0, y1, y2, y3, u0, u1, u2, u3 = y
    for j in range(columns):
        xb, xu = load(space, top + j, b), load(space, top + j, b + step)
        a0, a1, a2, a3 = A[k, i, j], A[k, i + 1, j], A[k, i + 2, j], A[k, i + 3, j]
        y0, u0 = y0 + a0 * xb, u0 + a0 * xu
        y1, u1 = y1 + a1 * xb, u1 + a1 * xu
        y2, u2 = y2 + a2 * xb, u2 + a2 * xu
        y3, u3 = y3 + a3 * xb, u3 + a3 * xu
    return y0, y1, y2, y3, u0, u1, u2, u3


@kernel
def multiply(A, k, i, columns, space, top, out, stop):
    """OUT space[out:out+4]: A[k, i:i+4, :columns] @ space[top:top+columns], for the points before `stop`"""
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    for b in range(0, stop, 2 * step):
        zeros = (zero, zero, zero, zero, zero, zero, zero, zero)
        y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(A, k, i, columns, space, top, b, zeros)
        store(space, out, b, y0)
        store(space, out + 1, b, y1)
        store(space, out + 2, b, y2)
        store(space, out + 3, b, y3)
        store(space, out, b + step, u0)
        store(space, out + 1, b + step, u1)
        store(space, out + 2, b + step, u2)
        store(space, out + 3, b + step, u3)


@inlined_kernel
def accumulate_columns(space, left, right, columns, stop, out, slot, k, i):
    """out[slot, k, i:i+4, :columns] += space[left:left+4] @ space[right:right+columns].T, by columns"""
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    for j in range(columns):
        q0 = q1 = q2 = q3 = zero
        for b in range(0, stop, step):
            x = load(space, right + j, b)
            q0 = q0 + load(space, left, b) * x
            q1 = q1 + load(space, left + 1, b) * x
            q2 = q2 + load(space, left + 2, b) * x
            q3 = q3 + load(space, left + 3, b) * x
        t0, t1, t2, t3 = sum4(q0, q1, q2, q3)
        out[slot, k, i, j] += t0
        out[slot, k, i + 1, j] += t1
        out[slot, k, i + 2, j] += t2
        out[slot, k, i + 3, j] += t3


@inlined_kernel
def accumulate_by_four(space, left, right, columns, stop, out, slot, k, i):
    """out[slot, k, i:i+4, :columns] += space[left:left+4] @ space[right:right+columns].T

    The sum is over the points before `stop`. Blocks of 4 x 4 keep 16 sums and 5 operands in registers. They
    are for machines with 32 registers.
    """
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    accumulate_columns(space, left, right, columns % 4, stop, out, slot, k, i)
    for j in range(columns % 4, columns, 4):
        q00 = q01 = q02 = q03 = q10 = q11 = q12 = q13 = zero
        q20 = q21 = q22 = q23 = q30 = q31 = q32 = q33 = zero
        for b in range(0, stop, step):
            w0, w1 = load(space, left, b), load(space, left + 1, b)
            w2, w3 = load(space, left + 2, b), load(space, left + 3, b)
            x = load(space, right + j, b)
            q00, q10, q20, q30 = q00 + w0 * x, q10 + w1 * x, q20 + w2 * x, q30 + w3 * x
            x = load(space, right + j + 1, b)
            q01, q11, q21, q31 = q01 + w0 * x, q11 + w1 * x, q21 + w2 * x, q31 + w3 * x
            x = load(space, right + j + 2, b)
            q02, q12, q22, q32 = q02 + w0 * x, q12 + w1 * x, q22 + w2 * x, q32 + w3 * x
            x = load(space, right + j + 3, b)
            q03, q13, q23, q33 = q03 + w0 * x, q13 + w1 * x, q23 + w2 * x, q33 + w3 * x
        add_sums(out, slot, k, i, j, q00, q01, q02, q03)
        add_sums(out, slot, k, i + 1, j, q10, q11, q12, q13)
        add_sums(out, slot, k, i + 2, j, q20, q21, q22, q23)
        add_sums(out, slot, k, i + 3, j, q30, q31, q32, q33)


@inlined_kernel
def accumulate_by_two(space, left, right, columns, stop, out, slot, k, i):
    """Do the same in blocks of 4 x 2. These keep 8 sums and 3 operands, for machines with 16 registers."""
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    accumulate_columns(space, left, right, columns % 2, stop, out, slot, k, i)
    for j in range(columns % 2, columns, 2):
        q00 = q01 = q10 = q11 = q20 = q21 = q30 = q31 = zero
        for b in range(0, stop, step):
            x0, x1 = load(space, right + j, b), load(space, right + j + 1, b)
            w = load(space, left, b)
            q00, q01 = q00 + w * x0, q01 + w * x1
            w = load(space, left + 1, b)
            q10, q11 = q10 + w * x0, q11 + w * x1
            w = load(space, left + 2, b)
            q20, q21 = q20 + w * x0, q21 + w * x1
            w = load(space, left + 3, b)
            q30, q31 = q30 + w * x0, q31 + w * x1
        t0, t1, t2, t3 = sum4(q00, q01, q10, q11)
        out[slot, k, i, j] += t0
        out[slot, k, i, j + 1] += t1
        out[slot, k, i + 1, j] += t2
        out[slot, k, i + 1, j + 1] += t3
        t0, t1, t2, t3 = sum4(q20, q21, q30, q31)
        out[slot, k, i + 2, j] += t0
        out[slot, k, i + 2, j + 1] += t1
        out[slot, k, i + 3, j] += t2
        out[slot, k, i + 3, j + 1] += t3


accumulate_rows = accumulate_by_four if REGISTERS == 32 else accumulate_by_two


@inlined_kernel
def add_sums(out, slot, k, i, j, q0, q1, q2, q3):
    """out[slot, k, i, j:j+4] += the sums over the lanes of four vectors"""
    t0, t1, t2, t3 = sum4(q0, q1, q2, q3)
    out[slot, k, i, j] += t0
    out[slot, k, i, j + 1] += t1
    out[slot, k, i, j + 2] += t2
    out[slot, k, i, j + 3] += t3


@inlined_kernel
def add_first_sums(out, slot, k, j, q0, q1, q2, q3):
    """out[slot, k, j:j+4] += the sums over the lanes of four vectors"""
    t0, t1, t2, t3 = sum4(q0, q1, q2, q3)
    out[slot, k, j] += t0
    out[slot, k, j + 1] += t1
    out[slot, k, j + 2] += t2
    out[slot, k, j + 3] += t3


@kernel
def accumulate_product(space, left, rows, right, columns, stop, out, slot, k):
    """out[slot, k, :rows, :columns] += space[left:left+rows] @ space[right:right+columns].T

    The sum is over the points before `stop`.
    """
    corner = rows % 4
    accumulate_corner(space, left, corner, right, columns, stop, out, slot, k)
    for i in range(corner, rows, 4):
        accumulate_rows(space, left + i, right, columns, stop, out, slot, k, i)


@kernel
def accumulate_triangle(space, left, right, rows, stop, out, slot, k):
    """Add the lower triangle of a square product. The numbers above the diagonal are not complete."""
    corner = rows % 4
    accumulate_corner(space, left, corner, right, corner, stop, out, slot, k)
    for i in range(corner, rows, 4):
        accumulate_rows(space, left + i, right, i + 4, stop, out, slot, k, i)


@inlined_kernel
def accumulate_corner(space, left, corner, right, columns, stop, out, slot, k):
    """Add the first `corner` rows of a product."""
    for i in range(corner):
        for j in range(columns):
            q = space.dtype.type(0)
            for b in range(stop):
                q += space[left + i, b] * space[right + j, b]
            out[slot, k, i, j] += q
