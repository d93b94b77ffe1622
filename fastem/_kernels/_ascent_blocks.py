"""The matrix products of ascents, one block of components at a time.

The sums of a block stay in registers: those of its components times four vectors of points in the E-step,
times four features in the M-step. The code for each size of a block is given as instructions, since numba
would take longer to compile it from Python.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED, spliced_kernel
from fastem._kernels._layout import REGISTERS
from fastem._kernels._simd import lane_sums, tile_address
from fastem._kernels._vector import FAST, Vector, array_struct, broadcast, nothing

# Sixteen sums, with four vectors and numbers to multiply, or twelve of 16 registers.
MOST = np.int64(4 if REGISTERS == 32 else 3)
_WIDTH = 4


@spliced_kernel
def block_size(rest):
    """Return how many components the next block has, where so many remain. None is left alone."""
    return (rest + 1) // 2 if rest == MOST + 1 else rest if rest < MOST else MOST


def _sums(builder, begun, first, stop, step, terms):
    """Return lists of sums, of `begun` and the products of what `terms` loads at each place of a range.

    `terms` returns a list of factors for the lists, and a list for the sums in each. At least one place is
    in the range.
    """
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    place = builder.phi(first.type)
    sums = [[builder.phi(value.type) for value in line] for line in begun]
    left, right = terms(place)
    added = [
        [
            builder.fadd(y, builder.fmul(a, x, flags=FAST), flags=FAST)
            for y, x in zip(line, right, strict=True)
        ]
        for line, a in zip(sums, left, strict=True)
    ]
    following = builder.add(place, step)
    place.add_incoming(first, before)
    place.add_incoming(following, loop)
    for lines in zip(sums, begun, added, strict=True):
        for y, start, end in zip(*lines, strict=True):
            y.add_incoming(start, before)
            y.add_incoming(end, loop)
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)
    builder.position_at_end(after)
    return added


def _for_each_size(builder, size, emit):
    """Emit code for blocks of each size, and a jump to that for `size`."""
    end, default = builder.append_basic_block(), builder.append_basic_block()
    switch = builder.switch(size, default)
    for rows in range(1, int(MOST) + 1):
        case = builder.append_basic_block()
        switch.add_case(ir.Constant(size.type, rows), case)
        builder.position_at_end(case)
        emit(rows)
        builder.branch(end)
    builder.position_at_end(default)
    builder.unreachable()
    builder.position_at_end(end)


def _rows_of(builder, first, count):
    return [builder.add(first, ir.Constant(first.type, i)) for i in range(count)]


def _number(context, builder, kind, array, row, column):
    """Return a pointer to a number of an array (K, F) in C order."""
    fields = array_struct(context, builder, kind, array)
    offset = builder.add(builder.mul(row, builder.extract_value(fields.shape, 1)), column)
    return builder.gep(fields.data, [offset], inbounds=True)


@intrinsic
def _set_densities(typingctx, size, coefficients, k, used, tile, b, shares):
    vector = Vector(tile.dtype)

    def codegen(context, builder, signature, arguments):
        size, coefficients_, k, used, tile_, b, shares_ = arguments
        vector_type, align = context.get_value_type(vector), tile.dtype.bitwidth // 8
        zero, one = (ir.Constant(k.type, n) for n in (0, 1))
        places = [builder.add(b, ir.Constant(b.type, i * vector.lanes)) for i in range(_WIDTH)]

        def emit(rows):
            components = _rows_of(builder, k, rows)

            def numbers(f):
                pointers = [_number(context, builder, coefficients, coefficients_, c, f) for c in components]
                return [broadcast(builder, builder.load(pointer), vector_type) for pointer in pointers]

            def terms(f):
                row = builder.add(f, one)
                addresses = [tile_address(context, builder, tile, tile_, row, place) for place in places]
                return numbers(f), [builder.load(address, align=align) for address in addresses]

            begun = [[number] * _WIDTH for number in numbers(zero)]
            for component, line in zip(components, _sums(builder, begun, one, used, one, terms), strict=True):
                for place, value in zip(places, line, strict=True):
                    address = tile_address(context, builder, shares, shares_, component, place)
                    builder.store(value, address, align=align)

        _for_each_size(builder, size, emit)
        return nothing(context)

    i = types.intp
    return types.void(i, coefficients, i, i, tile, i, shares), codegen


@intrinsic
def _add_features(typingctx, size, shares, k, tile, f, rows, moments):
    vector = Vector(tile.dtype)

    def codegen(context, builder, signature, arguments):
        size, shares_, k, tile_, f, points, moments_ = arguments
        vector_type, align = context.get_value_type(vector), tile.dtype.bitwidth // 8
        four = ir.VectorType(vector_type.element, _WIDTH).as_pointer()
        features = _rows_of(builder, builder.add(f, ir.Constant(f.type, 1)), _WIDTH)

        def emit(rows):
            components = _rows_of(builder, k, rows)

            def row(kind, array, i, b):
                return builder.load(tile_address(context, builder, kind, array, i, b), align=align)

            def terms(b):
                left = [row(shares, shares_, component, b) for component in components]
                return left, [row(tile, tile_, feature, b) for feature in features]

            begun = [[ir.Constant(vector_type, [0.0] * vector.lanes)] * _WIDTH] * rows
            zero, step = (ir.Constant(k.type, n) for n in (0, vector.lanes))
            for component, line in zip(
                components, _sums(builder, begun, zero, points, step, terms), strict=True
            ):
                place = builder.bitcast(_number(context, builder, moments, moments_, component, f), four)
                total = builder.fadd(builder.load(place, align=align), lane_sums(builder, *line), flags=FAST)
                builder.store(total, place, align=align)

        _for_each_size(builder, size, emit)
        return nothing(context)

    i = types.intp
    return types.void(i, shares, i, tile, i, i, moments), codegen


# set_densities(size, coefficients, k, used, tile, b, shares): for the `size` components from k on and the
# points of four vectors from b on, shares are coefficients[:, 0] plus the sum of those of the features from 1
# to used - 1, times these, which are the rows of the tile from 2 on. There must be one at least.
set_densities = _interpreted.set_densities if INTERPRETED else _set_densities
# add_features(size, shares, k, tile, f, rows, moments): add the sums of shares times features to moments, of
# the `size` components from k on and the four features from f on.
add_features = _interpreted.add_features if INTERPRETED else _add_features
