"""Products of many components with the points of a tile, at the speed of a library's matrix product.

A block of components and two vectors of points have their sums in registers: 8 components where there are
32 registers, 6 where there are 16. A feature then takes 10 loads for 16 multiply-adds, or 8 for 12. That
many sums also hide the latency of the multiply-adds. Components are packed: the numbers that one feature
needs of a block are next to each other, so a pass over all components reads memory from start to end. Two
vectors of up to 200 features stay in the first-level cache while all components pass by.

The loop over features is written in LLVM's language, so that one function serves blocks of both sizes.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED, kernel
from fastem._kernels._layout import BLOCK
from fastem._kernels._simd import lanes, tile_address
from fastem._kernels._vector import FAST, Vector, array_struct, broadcast, nothing

Array = np.ndarray[Any, Any]

_VECTORS = 2


def pack_components(rows: Array, dtype: np.dtype[Any]) -> Array:
    """Return rows (K, columns) as blocks (blocks, columns, BLOCK), with zeros after the last row."""
    k, columns = rows.shape
    padded = np.zeros((-(-k // BLOCK) * BLOCK, columns), dtype)
    padded[:k] = rows
    return np.ascontiguousarray(padded.reshape(-1, BLOCK, columns).transpose(0, 2, 1))


def pad_components(numbers: Array, padding: float, dtype: np.dtype[Any]) -> Array:
    """Return one number for each component (K,) as (blocks * BLOCK,), with `padding` after the last."""
    padded = np.full(-(-len(numbers) // BLOCK) * BLOCK, padding, dtype)
    padded[: len(numbers)] = numbers
    return padded


@intrinsic
def _multiply_block(typingctx, packed, offsets, block, space, top, b, out):
    vector = Vector(space.dtype)

    def codegen(context, builder, signature, arguments):
        packed_array, offset_array = (
            array_struct(context, builder, kind, value)
            for kind, value in zip((packed, offsets), arguments[:2], strict=True)
        )
        block, tile, top, b, out = arguments[2:]
        vector_type = context.get_value_type(vector)
        integer = block.type
        align = space.dtype.bitwidth // 8

        def constant(value):
            return ir.Constant(integer, value)

        def splat_each(data, offset):
            first = builder.gep(data, [offset], inbounds=True)
            for r in range(BLOCK):
                scalar = builder.load(builder.gep(first, [constant(r)], inbounds=True))
                yield broadcast(builder, scalar, vector_type)

        def addresses(row):
            for v in range(_VECTORS):
                column = builder.add(b, constant(v * vector.lanes))
                yield tile_address(context, builder, space, tile, row, column)

        columns = builder.extract_value(packed_array.shape, 1)
        width = constant(BLOCK)
        first = builder.mul(builder.mul(block, columns), width)
        begun = list(splat_each(offset_array.data, builder.mul(block, width)))
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("features", "multiplied"))
        builder.branch(loop)

        builder.position_at_end(loop)
        j = builder.phi(integer)
        sums = [[builder.phi(vector_type) for _ in range(_VECTORS)] for _ in range(BLOCK)]
        points = [builder.load(address, align=align) for address in addresses(builder.add(top, j))]
        added = [
            [
                builder.fadd(y, builder.fmul(a, x, flags=FAST), flags=FAST)
                for y, x in zip(ys, points, strict=True)
            ]
            for ys, a in zip(
                sums, splat_each(packed_array.data, builder.add(first, builder.mul(j, width))), strict=True
            )
        ]
        following = builder.add(j, constant(1))
        j.add_incoming(constant(0), before)
        j.add_incoming(following, loop)
        for ys, start, ends in zip(sums, begun, added, strict=True):
            for y, end in zip(ys, ends, strict=True):
                y.add_incoming(start, before)
                y.add_incoming(end, loop)
        builder.cbranch(builder.icmp_signed("<", following, columns), loop, after)

        builder.position_at_end(after)
        for r, ends in enumerate(added):
            for end, address in zip(ends, addresses(builder.add(out, constant(r))), strict=True):
                builder.store(end, address, align=align)
        return nothing(context)

    integers = (types.intp,) * 3
    return types.void(packed, offsets, types.intp, space, *integers), codegen


# multiply_block(packed, offsets, block, space, top, b, out): for the two vectors of points from column b on,
# set space[out : out + BLOCK] to the offsets of a block plus its rows @ space[top : top + columns].
# packed (blocks, columns, BLOCK) has at least one column; offsets (blocks * BLOCK,).
multiply_block = _interpreted.multiply_block if INTERPRETED else _multiply_block


@kernel
def multiply_tile(packed, offsets, space, top, out, stop):
    """OUT space[out : out + blocks * BLOCK]: offsets + rows @ space[top : top + columns]

    Points before `stop` are computed, and those that share their vectors. All components pass by two vectors
    of points before the next two.
    """
    for b in range(0, stop, 2 * lanes(space)):
        for block in range(packed.shape[0]):
            multiply_block(packed, offsets, block, space, top, b, out + block * BLOCK)
