"""Small dense products over a tile, 4 x 4 coefficients at a time; shared by full and tied.

Rows and columns come in blocks of four after a corner of `size % 4`, so no dimension is padded. The
innermost loop is over the points of the tile and holds 16 coefficients or 16 sums in registers,
which LLVM turns into vector code near the peak of the FMA units.
"""

from fastem._kernels._jit import kernel
from fastem._kernels._tile import TILE


@kernel
def multiply_corner(A, c, i, corner, x, y):
    """y[0:4] = A[i:i+4, :corner] @ x[:corner] - c[i:i+4], with corner = 1, 2, 3 or 4."""
    a00, a10, a20, a30 = A[i, 0], A[i + 1, 0], A[i + 2, 0], A[i + 3, 0]
    c0, c1, c2, c3 = c[i], c[i + 1], c[i + 2], c[i + 3]
    if corner == 4:
        a01, a02, a03 = A[i, 1], A[i, 2], A[i, 3]
        a11, a12, a13 = A[i + 1, 1], A[i + 1, 2], A[i + 1, 3]
        a21, a22, a23 = A[i + 2, 1], A[i + 2, 2], A[i + 2, 3]
        a31, a32, a33 = A[i + 3, 1], A[i + 3, 2], A[i + 3, 3]
        for b in range(TILE):
            x0, x1, x2, x3 = x[0, b], x[1, b], x[2, b], x[3, b]
            y[0, b] = a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3 - c0
            y[1, b] = a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3 - c1
            y[2, b] = a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3 - c2
            y[3, b] = a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3 - c3
        return
    for b in range(TILE):
        x0 = x[0, b]
        y[0, b] = a00 * x0 - c0
        y[1, b] = a10 * x0 - c1
        y[2, b] = a20 * x0 - c2
        y[3, b] = a30 * x0 - c3
    multiply_columns(A, i, 1, corner, x, y)


@kernel
def multiply_columns(A, i, start, stop, x, y):
    """y[0:4] += A[i:i+4, start:stop] @ x[start:stop], one column at a time."""
    for j in range(start, stop):
        a0, a1, a2, a3 = A[i, j], A[i + 1, j], A[i + 2, j], A[i + 3, j]
        for b in range(TILE):
            xb = x[j, b]
            y[0, b] += a0 * xb
            y[1, b] += a1 * xb
            y[2, b] += a2 * xb
            y[3, b] += a3 * xb


@kernel
def multiply_rows(A, i, start, stop, x, y):
    """y[0:4] += A[i:i+4, start:stop] @ x[start:stop], a multiple of four columns."""
    for j in range(start, stop, 4):
        a00, a01, a02, a03 = A[i, j], A[i, j + 1], A[i, j + 2], A[i, j + 3]
        a10, a11, a12, a13 = A[i + 1, j], A[i + 1, j + 1], A[i + 1, j + 2], A[i + 1, j + 3]
        a20, a21, a22, a23 = A[i + 2, j], A[i + 2, j + 1], A[i + 2, j + 2], A[i + 2, j + 3]
        a30, a31, a32, a33 = A[i + 3, j], A[i + 3, j + 1], A[i + 3, j + 2], A[i + 3, j + 3]
        for b in range(TILE):
            x0, x1, x2, x3 = x[j, b], x[j + 1, b], x[j + 2, b], x[j + 3, b]
            y[0, b] += a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
            y[1, b] += a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
            y[2, b] += a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
            y[3, b] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3


@kernel
def accumulate_rows(left, top, right, columns, out, i):
    """out[i:i+4, :columns] += left[top:top+4] @ right[:columns].T, summed over the tile."""
    zero = left.dtype.type(0)
    corner = columns % 4
    for j in range(corner):
        q0 = q1 = q2 = q3 = zero
        for b in range(TILE):
            x = right[j, b]
            q0 += left[top, b] * x
            q1 += left[top + 1, b] * x
            q2 += left[top + 2, b] * x
            q3 += left[top + 3, b] * x
        out[i, j] += q0
        out[i + 1, j] += q1
        out[i + 2, j] += q2
        out[i + 3, j] += q3
    for j in range(corner, columns, 4):
        q00 = q01 = q02 = q03 = q10 = q11 = q12 = q13 = zero
        q20 = q21 = q22 = q23 = q30 = q31 = q32 = q33 = zero
        for b in range(TILE):
            w0, w1, w2, w3 = left[top, b], left[top + 1, b], left[top + 2, b], left[top + 3, b]
            x0, x1, x2, x3 = right[j, b], right[j + 1, b], right[j + 2, b], right[j + 3, b]
            q00 += w0 * x0
            q01 += w0 * x1
            q02 += w0 * x2
            q03 += w0 * x3
            q10 += w1 * x0
            q11 += w1 * x1
            q12 += w1 * x2
            q13 += w1 * x3
            q20 += w2 * x0
            q21 += w2 * x1
            q22 += w2 * x2
            q23 += w2 * x3
            q30 += w3 * x0
            q31 += w3 * x1
            q32 += w3 * x2
            q33 += w3 * x3
        out[i, j] += q00
        out[i, j + 1] += q01
        out[i, j + 2] += q02
        out[i, j + 3] += q03
        out[i + 1, j] += q10
        out[i + 1, j + 1] += q11
        out[i + 1, j + 2] += q12
        out[i + 1, j + 3] += q13
        out[i + 2, j] += q20
        out[i + 2, j + 1] += q21
        out[i + 2, j + 2] += q22
        out[i + 2, j + 3] += q23
        out[i + 3, j] += q30
        out[i + 3, j + 1] += q31
        out[i + 3, j + 2] += q32
        out[i + 3, j + 3] += q33


@kernel
def accumulate_product(left, rows, right, columns, out):
    """out[:rows, :columns] += left[:rows] @ right[:columns].T, summed over the tile."""
    zero = left.dtype.type(0)
    for i in range(rows % 4):
        for j in range(columns):
            q = zero
            for b in range(TILE):
                q += left[i, b] * right[j, b]
            out[i, j] += q
    for i in range(rows % 4, rows, 4):
        accumulate_rows(left, i, right, columns, out, i)
