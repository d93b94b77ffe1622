"""Squares of a tile: as many points as components, with components in the lanes of vectors.

A table has a row for each category of each column, with a number for each component. Its rows are padded to
whole vectors. A point takes one row of each column. The tile tells where that row starts, as an integer.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._simd import tile_address, transposed
from fastem._kernels._vector import FAST, I32, Vector, array_struct, broadcast, nothing, shuffle

I64 = ir.IntType(64)


@intrinsic
def _store_offsets(typingctx, space, row, b, codes, first, width):
    """Set space[row, b : b + lanes] to the integers (codes + first) * width."""

    def codegen(context, builder, signature, arguments):
        bits, lanes = space.dtype.bitwidth, codes.lanes
        kind = ir.VectorType(ir.IntType(bits), lanes)
        first, width = (
            broadcast(builder, builder.trunc(value, kind.element) if bits < 64 else value, kind)
            for value in arguments[4:]
        )
        offsets = builder.mul(builder.add(builder.fptosi(arguments[3], kind), first), width)
        address = tile_address(context, builder, space, *arguments[:3])
        builder.store(offsets, builder.bitcast(address, kind.as_pointer()), align=bits // 8)
        return nothing(context)

    return types.void(space, types.intp, types.intp, codes, types.intp, types.intp), codegen


@intrinsic
def _look_up(typingctx, table, k, space, offsets, d, shares, K, b):
    """Sum the rows of the points b, b + 1, ... over the d columns, for the components k, k + 1, ..."""

    def codegen(context, builder, signature, arguments):
        table, k, space, offsets, d, shares, K, b = arguments
        vector = Vector(signature.args[0].dtype)
        base = builder.gep(array_struct(context, builder, signature.args[0], table).data, [k])
        zero = ir.Constant(context.get_value_type(vector), [0.0] * vector.lanes)

        def add(j, sums):
            row = builder.add(offsets, j)
            rows = _rows_of_table(context, builder, signature.args[2], space, row, b, base, vector)
            align = vector.dtype.bitwidth // 8
            return [builder.fadd(s, builder.load(row, align=align), flags=FAST) for s, row in zip(sums, rows)]

        sums = _loop(builder, d, add, [zero] * vector.lanes)
        # Lanes beyond the last component write to its row before it does.
        places = _rows_of_shares(context, builder, signature.args[2], space, shares, k, K, b)
        for place, column in reversed(list(zip(places, transposed(builder, sums)))):
            builder.store(column, place, align=vector.dtype.bitwidth // 8)
        return nothing(context)

    integers = (types.intp,) * 5
    return types.void(table, types.intp, space, *integers), codegen


@intrinsic
def _add_up(typingctx, sums, slot, k, space, offsets, d, shares, K, b):
    """Add the shares of the points b, b + 1, ... to their rows, for the components k, k + 1, ..."""

    def codegen(context, builder, signature, arguments):
        sums, slot, k, space, offsets, d, shares, K, b = arguments
        kind, total = Vector(signature.args[3].dtype), Vector(signature.args[0].dtype)
        array = array_struct(context, builder, signature.args[0], sums)
        size = builder.mul(*(builder.extract_value(array.shape, axis) for axis in (1, 2)))
        places = _rows_of_shares(context, builder, signature.args[3], space, shares, k, K, b)
        points = transposed(builder, [builder.load(at, align=kind.dtype.bitwidth // 8) for at in places])
        for half in range(0, kind.lanes, total.lanes):  # float32 fills two vectors of float64
            first = builder.add(builder.add(builder.mul(slot, size), k), I64(half))
            base = builder.gep(array.data, [first])
            lanes = list(range(half, half + total.lanes))
            added = points
            if kind.lanes > total.lanes:
                wide = context.get_value_type(total)
                added = [builder.fpext(shuffle(builder, point, point, lanes), wide) for point in points]

            # A half without components still adds one column, so that the loop needs no other form.
            some = builder.icmp_signed("<", builder.add(k, I64(half)), K)
            count = builder.select(some, d, I64(1))
            # Columns are the inner loop, since points that follow each other often add to the same row.
            for lane, share in enumerate(added):

                def add(j, _, base=base, lane=lane, share=share):
                    at = builder.add(b, I64(lane))
                    arguments = signature.args[3], space, builder.add(offsets, j), at, base, total, 1
                    (row,) = _rows_of_table(context, builder, *arguments)
                    builder.store(builder.fadd(builder.load(row, align=8), share, flags=FAST), row, align=8)
                    return []

                _loop(builder, count, add, [])
        return nothing(context)

    integers = (types.intp,) * 5
    return types.void(sums, types.intp, types.intp, space, *integers), codegen


def _rows_of_table(context, builder, kind, space, row, b, base, vector, points=None):
    """Yield pointers to the vectors of the points b, b + 1, ...: base plus the integers in space[row, b:]."""
    bits = kind.dtype.bitwidth
    integer = ir.IntType(bits)
    address = builder.bitcast(tile_address(context, builder, kind, space, row, b), integer.as_pointer())
    target = ir.VectorType(base.type.pointee, vector.lanes).as_pointer()
    for lane in range(points or vector.lanes):
        offset = builder.load(builder.gep(address, [I32(lane)]), align=bits // 8)
        if bits < 64:
            offset = builder.sext(offset, I64)
        yield builder.bitcast(builder.gep(base, [offset]), target)


def _rows_of_shares(context, builder, kind, space, shares, k, K, b):
    """Return pointers to the vectors of shares of the components k, k + 1, ..., at most the last."""
    last = builder.sub(K, I64(1))
    places = []
    for lane in range(Vector(kind.dtype).lanes):
        component = builder.add(k, I64(lane))
        component = builder.select(builder.icmp_signed("<", component, last), component, last)
        places.append(tile_address(context, builder, kind, space, builder.add(shares, component), b))
    return places


def _loop(builder, count, body, values):
    """Return what body(i, values) makes of the values, for i from 0 to count - 1. count must be positive."""
    before, around, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(around)
    builder.position_at_end(around)
    i = builder.phi(I64)
    kept = [builder.phi(value.type) for value in values]
    i.add_incoming(I64(0), before)
    for phi, value in zip(kept, values):
        phi.add_incoming(value, before)
    made = body(i, kept)
    following = builder.add(i, I64(1))
    i.add_incoming(following, builder.block)
    for phi, value in zip(kept, made):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), around, after)
    builder.position_at_end(after)
    return made


# store_offsets(space, row, b, codes, first, width): write the integers (codes + first) * width to
# space[row, b : b + lanes]. The codes are a vector of whole numbers.
store_offsets = _interpreted.store_offsets if INTERPRETED else _store_offsets
# look_up(table, k, space, offsets, d, shares, K, b): for the points b, ... and components k, ..., as many as
# there are lanes, write to space[shares + k, b] the sum of table[space[offsets + j, b] + k] over d columns j.
# The places in the table (rows, width) count numbers, not rows. Components from K on are left out.
look_up = _interpreted.look_up if INTERPRETED else _look_up
# add_up(sums, slot, k, space, offsets, d, shares, K, b): for the same points and components, add
# space[shares + k, b] to sums[slot] at space[offsets + j, b] + k for all j. sums (G, rows, width) is float64.
# Components from K on get numbers without meaning.
add_up = _interpreted.add_up if INTERPRETED else _add_up
