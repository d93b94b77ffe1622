"""Blocks of matrix products of arrays in C order, and transposed squares.

BLOCK_ROWS times BLOCK_VECTORS vectors of sums stay in registers. A step loads BLOCK_VECTORS vectors and
BLOCK_ROWS numbers. For these 10 loads there are 24 multiply-adds where there are 32 registers, and 12 for
8 where there are 16, so that multiply-adds decide the time. Panels as wide as a block are read from start to
end.

Where each block of sums is used at once, there are two vectors, and PAIR_ROWS rows: 16 multiply-adds for 10
loads, or 12 for 8. Rows that are packed in blocks have the numbers of one step next to each other.

Offsets count numbers from the first of an array, whatever its shape.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._layout import BLOCK_ROWS, BLOCK_VECTORS, PAIR_ROWS
from fastem._kernels._simd import transposed
from fastem._kernels._vector import FAST, Vector, array_struct, broadcast, nothing

Array = np.ndarray[Any, Any]


def pack_rows_in_blocks(rows: Array, dtype: np.dtype[Any], height: int = int(BLOCK_ROWS)) -> Array:
    """Return rows (m, T) as blocks (m' / height, T, height), with zeros after the last row."""
    m, width = rows.shape
    padded = np.zeros((-(-m // height) * height, width), dtype)
    padded[:m] = rows
    return np.ascontiguousarray(padded.reshape(-1, height, width).transpose(0, 2, 1))


def pad_to_blocks(
    numbers: Array, padding: float, dtype: np.dtype[Any], height: int = int(BLOCK_ROWS)
) -> Array:
    """Return one number for each row (..., m) as (..., m'), with `padding` after the last."""
    *others, m = numbers.shape
    padded = np.full((*others, -(-m // height) * height), padding, dtype)
    padded[..., :m] = numbers
    return padded


def _pointers(context, builder, kind, array, offset, stride, count):
    """Return pointers to `count` vectors of an array, `stride` numbers apart."""
    pointer_type = context.get_value_type(Vector(kind.dtype)).as_pointer()
    data = array_struct(context, builder, kind, array).data
    pointers = []
    for _ in range(count):
        pointers.append(builder.bitcast(builder.gep(data, [offset], inbounds=True), pointer_type))
        offset = builder.add(offset, stride)
    return pointers


def _block(context, builder, kind, array, offset, stride, height, vectors):
    """Return `height` lists of pointers to so many vectors. The rows are `stride` numbers apart."""
    step = context.get_constant(types.intp, Vector(kind.dtype).lanes)
    rows = []
    for _ in range(height):
        rows.append(_pointers(context, builder, kind, array, offset, step, vectors))
        offset = builder.add(offset, stride)
    return rows


def _numbers(context, builder, kind, array, offset, stride, height):
    """Return `height` vectors of equal numbers, which are `stride` apart."""
    vector_type = context.get_value_type(Vector(kind.dtype))
    data = array_struct(context, builder, kind, array).data
    numbers = []
    for _ in range(height):
        number = builder.load(builder.gep(data, [offset], inbounds=True))
        numbers.append(broadcast(builder, number, vector_type))
        offset = builder.add(offset, stride)
    return numbers


def _multiply(context, builder, kinds, arguments, begun, targets):
    """Write to the targets the vectors in `begun` and the product.

    The arguments are (A, a, row, step, B, b, width, count).
    """
    A, a, row, step, B, b, width, count = arguments
    align, integer = kinds[0].dtype.bitwidth // 8, a.type
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("terms", "multiplied"))
    builder.cbranch(builder.icmp_signed("<", ir.Constant(integer, 0), count), loop, after)

    builder.position_at_end(loop)
    t = builder.phi(integer)
    sums = [[builder.phi(value.type) for value in line] for line in begun]
    left, right = builder.add(a, builder.mul(t, step)), builder.add(b, builder.mul(t, width))
    one = context.get_constant(types.intp, Vector(kinds[1].dtype).lanes)
    vectors = [
        builder.load(pointer, align=align)
        for pointer in _pointers(context, builder, kinds[1], B, right, one, len(begun[0]))
    ]
    numbers = _numbers(context, builder, kinds[0], A, left, row, len(begun))
    added = [
        [
            builder.fadd(y, builder.fmul(number, x, flags=FAST), flags=FAST)
            for y, x in zip(line, vectors, strict=True)
        ]
        for line, number in zip(sums, numbers, strict=True)
    ]
    following = builder.add(t, ir.Constant(integer, 1))
    t.add_incoming(ir.Constant(integer, 0), before)
    t.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)

    builder.position_at_end(after)
    results = []
    for lines in zip(begun, sums, added, targets, strict=True):
        for start, y, end, pointer in zip(*lines, strict=True):
            result = builder.phi(start.type)
            for value in (y, result):
                value.add_incoming(start, before)
                value.add_incoming(end, loop)
            results.append((result, pointer))
    for result, pointer in results:
        builder.store(result, pointer, align=align)


@intrinsic
def _add_product(typingctx, A, a, row, step, B, b, width, count, C, c, stride):
    i = types.intp

    def codegen(context, builder, signature, arguments):
        targets = _block(context, builder, C, *arguments[8:], int(BLOCK_ROWS), int(BLOCK_VECTORS))
        align = C.dtype.bitwidth // 8
        begun = [[builder.load(pointer, align=align) for pointer in line] for line in targets]
        _multiply(context, builder, (A, B), arguments[:8], begun, targets)
        return nothing(context)

    return types.void(A, i, i, i, B, i, i, i, C, i, i), codegen


def _set_product_of(height, vectors):
    @intrinsic
    def set_product(typingctx, A, a, row, step, B, b, width, count, C, c, stride, offsets, o):
        i = types.intp

        def codegen(context, builder, signature, arguments):
            one = context.get_constant(types.intp, 1)
            numbers = _numbers(context, builder, offsets, *arguments[11:], one, height)
            begun = [[number] * vectors for number in numbers]
            targets = _block(context, builder, C, *arguments[8:11], height, vectors)
            _multiply(context, builder, (A, B), arguments[:8], begun, targets)
            return nothing(context)

        return types.void(A, i, i, i, B, i, i, i, C, i, i, offsets, i), codegen

    return set_product


@intrinsic
def _transpose(typingctx, A, a, row, B, b, width):
    i = types.intp

    def codegen(context, builder, signature, arguments):
        align, count = A.dtype.bitwidth // 8, Vector(A.dtype).lanes
        rows = _pointers(context, builder, A, *arguments[:3], count)
        values = transposed(builder, [builder.load(pointer, align=align) for pointer in rows])
        for value, pointer in zip(values, _pointers(context, builder, B, *arguments[3:], count), strict=True):
            builder.store(value, pointer, align=align)
        return nothing(context)

    return types.void(A, i, i, B, i, i), codegen


# add_product(A, a, row, step, B, b, width, count, C, c, stride): for i < BLOCK_ROWS and each number v of
# BLOCK_VECTORS vectors, C[c + i stride + v] += the sum of
# A[a + i row + t step] B[b + t width + v] over t < count.
add_product = _interpreted.add_product if INTERPRETED else _add_product
# set_product(..., offsets, o): the same, but C[c + i stride + v] becomes offsets[o + i] plus that sum.
set_product = (
    _interpreted.set_product if INTERPRETED else _set_product_of(int(BLOCK_ROWS), int(BLOCK_VECTORS))
)
# set_pair_product: the same for i < PAIR_ROWS and the numbers v of two vectors.
set_pair_product = _interpreted.set_pair_product if INTERPRETED else _set_product_of(int(PAIR_ROWS), 2)
# transpose(A, a, row, B, b, width): B[b + i width + j] = A[a + j row + i] for a square as wide as a vector.
transpose = _interpreted.transpose if INTERPRETED else _transpose
