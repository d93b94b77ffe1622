"""What kernels do with vectors: load, store, transpose, sum over lanes, compare."""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES, VECTOR_BYTES
from fastem._kernels._vector import FAST, I32, Vector, broadcast, shuffle


def _length(array_type, size):
    """How many of its numbers fill `size` bytes."""
    return size // (array_type.dtype.bitwidth // 8)


def _address(context, builder, signature, arguments):
    """Pointer to tile[i, b] of a call whose first arguments are those, as one to a vector.

    The stride is a constant, not the array's, so that the processor's addressing does the arithmetic.
    """
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, arguments[0])
    i, b = (
        context.cast(builder, value, kind, types.intp)
        for value, kind in zip(arguments[1:3], signature.args[1:3], strict=True)
    )
    stride = context.get_constant(types.intp, _length(array_type, STRIDE_BYTES))
    offset = builder.add(builder.mul(i, stride), b)
    scalar = builder.gep(array.data, [offset], inbounds=True)
    return builder.bitcast(scalar, context.get_value_type(Vector(array_type.dtype)).as_pointer())


@intrinsic
def _lanes(typingctx, array):
    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.intp, Vector(array.dtype).lanes)

    return types.intp(array), codegen


@intrinsic
def _tile_rows(typingctx, array):
    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.intp, _length(array, TILE_BYTES))

    return types.intp(array), codegen


@intrinsic
def _stride(typingctx, array):
    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.intp, _length(array, STRIDE_BYTES))

    return types.intp(array), codegen


@intrinsic
def _load(typingctx, array, i, b):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, i, b), codegen


@intrinsic
def _store(typingctx, array, i, b, vector):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        builder.store(arguments[3], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, i, b, vector), codegen


@intrinsic
def _load_column(typingctx, X, i, j):
    """The vector of X[i + lane, j], X in C order."""
    vector = Vector(X.dtype)

    def codegen(context, builder, signature, arguments):
        array = context.make_array(X)(context, builder, arguments[0])
        columns = cgutils.unpack_tuple(builder, array.shape)[1]
        offset = builder.add(builder.mul(arguments[1], columns), arguments[2])
        result = ir.Constant(context.get_value_type(vector), ir.Undefined)
        for lane in range(vector.lanes):
            value = builder.load(builder.gep(array.data, [offset], inbounds=True))
            result = builder.insert_element(result, value, I32(lane))
            offset = builder.add(offset, columns)
        return result

    return vector(X, types.intp, types.intp), codegen


@intrinsic
def _load_transposed(typingctx, X, i, j, shift, inverse_scale, tile, top, b):
    """tile[top + j + c, b + r] = (X[i + r, j + c] - shift[j + c]) * inverse_scale[j + c], r and c < lanes."""

    def codegen(context, builder, signature, arguments):
        i = arguments[1]
        rows = [builder.add(i, context.get_constant(types.intp, r)) for r in range(Vector(X.dtype).lanes)]
        return _copy_block(context, builder, signature, (arguments[0], rows, *arguments[2:]))

    return types.void(X, types.intp, types.intp, shift, inverse_scale, tile, types.intp, types.intp), codegen


@intrinsic
def _gather_transposed(typingctx, X, i, size, index, t, j, shift, inverse_scale, tile, top, b):
    """The same for the rows i + index[t + r] of X, of which `size` are there: those beyond are the last."""

    def codegen(context, builder, signature, arguments):
        X, i, size, positions, t = arguments[:5]
        positions = context.make_array(index)(context, builder, positions)
        last = builder.sub(size, context.get_constant(types.intp, 1))
        rows = []
        for _ in range(Vector(signature.args[0].dtype).lanes):
            row = builder.load(builder.gep(positions.data, [t], inbounds=True))
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            rows.append(builder.add(i, row))
            t = builder.add(t, context.get_constant(types.intp, 1))
        kinds = signature.args[:2] + signature.args[5:]
        return _copy_block(context, builder, types.void(*kinds), (X, rows, *arguments[5:]))

    integers = types.intp, types.intp
    return types.void(X, *integers, index, *integers, shift, inverse_scale, tile, *integers), codegen


def _copy_block(context, builder, signature, arguments):
    """A square of X, in standard coordinates, to a tile: (X, rows, j, shift, inverse_scale, tile, top, b)."""
    kind = signature.args[0].dtype
    align = kind.bitwidth // 8
    pointer_type = context.get_value_type(Vector(kind)).as_pointer()
    x, rows, j, shift, inverse_scale, tile, top, b = (
        context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    )
    stride = context.get_constant(types.intp, _length(signature.args[0], STRIDE_BYTES))
    columns = cgutils.unpack_tuple(builder, x.shape)[1]

    def address(array, offset):
        return builder.bitcast(builder.gep(array.data, [offset], inbounds=True), pointer_type)

    m, a = (builder.load(address(array, j), align=align) for array in (shift, inverse_scale))
    values = []
    for row in rows:
        value = builder.load(address(x, builder.add(builder.mul(row, columns), j)), align=align)
        values.append(builder.fmul(builder.fsub(value, m, flags=FAST), a, flags=FAST))
    offset = builder.add(builder.mul(builder.add(top, j), stride), b)
    for column in _transpose(builder, values):
        builder.store(column, address(tile, offset), align=align)
        offset = builder.add(offset, stride)
    return context.get_dummy_value()


def _transpose(builder, rows):
    """Swap ever larger off-diagonal blocks."""
    lanes = len(rows)
    width = 1
    while width < lanes:
        low = [lane if not lane & width else lane - width + lanes for lane in range(lanes)]
        high = [lane + width if not lane & width else lane + lanes for lane in range(lanes)]
        for r in range(lanes):
            if not r & width:
                pair = rows[r], rows[r + width]
                rows[r], rows[r + width] = shuffle(builder, *pair, low), shuffle(builder, *pair, high)
        width *= 2
    return rows


@intrinsic
def _take(typingctx, table, i, j, tile, row, b):
    """The vector of table[i, j, int(x)] over the lanes of x = load(tile, row, b)."""
    vector = Vector(table.dtype)

    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature.return_type(*signature.args[3:]), arguments[3:])
        align = table.dtype.bitwidth // 8
        labels = builder.fptosi(builder.load(address, align=align), ir.VectorType(I32, vector.lanes))
        array = context.make_array(table)(context, builder, arguments[0])
        strides = [context.get_constant(types.intp, 0)] * 3
        base = cgutils.get_item_pointer(
            context, builder, table, array, [*arguments[1:3], strides[2]], wraparound=False
        )
        result = ir.Constant(context.get_value_type(vector), ir.Undefined)
        for lane in range(vector.lanes):
            position = builder.extract_element(labels, I32(lane))
            value = builder.load(builder.gep(base, [builder.sext(position, ir.IntType(64))]), align=align)
            result = builder.insert_element(result, value, I32(lane))
        return result

    return vector(table, types.intp, types.intp, tile, types.intp, types.intp), codegen


@intrinsic
def _splat(typingctx, scalar):
    def codegen(context, builder, signature, arguments):
        return broadcast(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(scalar)(scalar), codegen


@intrinsic
def _sum4(typingctx, a, b, c, d):
    def codegen(context, builder, signature, arguments):
        lanes = a.lanes

        def add_neighbours(one, other, width):
            """Sums of neighbouring groups of `width` lanes, those of `one` and `other` in turn."""
            left = [i + j for i in range(0, lanes, 2 * width) for j in range(width)]
            both = [g for i in range(0, len(left), width) for g in (left[i : i + width], left[i : i + width])]
            low = [v + (lanes if turn % 2 else 0) for turn, group in enumerate(both) for v in group]
            halves = (
                shuffle(builder, one, other, low),
                shuffle(builder, one, other, [v + width for v in low]),
            )
            return builder.fadd(*halves, flags=FAST)

        ab = add_neighbours(arguments[0], arguments[1], 1)
        cd = add_neighbours(arguments[2], arguments[3], 1)
        if lanes == 2:
            sums = shuffle(builder, ab, cd, [0, 1, 2, 3])
        else:
            sums = add_neighbours(ab, cd, 2)
            while lanes > 4:
                lanes //= 2
                low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
                halves = shuffle(builder, sums, sums, low), shuffle(builder, sums, sums, high)
                sums = builder.fadd(*halves, flags=FAST)
        scalars = [builder.extract_element(sums, I32(i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, scalars)

    return types.UniTuple(a.dtype, 4)(a, b, c, d), codegen


@intrinsic
def _maximum(typingctx, a, b):
    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, b), codegen


@intrinsic
def _minimum(typingctx, a, b):
    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return a(a, b), codegen


@intrinsic
def _choose(typingctx, a, b, x, y):
    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), *arguments[2:])

    return a(a, b, x, y), codegen


@intrinsic
def _lane_minimum(typingctx, a):
    def codegen(context, builder, signature, arguments):
        lanes = [builder.extract_element(arguments[0], I32(i)) for i in range(a.lanes)]
        while len(lanes) > 1:
            pairs = zip(lanes[::2], lanes[1::2], strict=True)
            lanes = [builder.select(builder.fcmp_ordered("<", x, y), x, y) for x, y in pairs]
        return lanes[0]

    return a.dtype(a), codegen


@intrinsic
def _above(typingctx, a, b):
    def codegen(context, builder, signature, arguments):
        flags = builder.fcmp_ordered(">", *arguments)
        return builder.zext(builder.bitcast(flags, ir.IntType(a.lanes)), ir.IntType(64))

    return types.int64(a, b), codegen


@intrinsic
def _count_bits(typingctx, word):
    def codegen(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), codegen


@intrinsic
def _lowest_bit(typingctx, word):
    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


def _python_lanes(array):
    return VECTOR_BYTES // array.itemsize


def _python_tile_rows(array):
    return TILE_BYTES // array.itemsize


def _python_stride(array):
    return STRIDE_BYTES // array.itemsize


def _python_load(array, i, b):
    return array[i, b : b + VECTOR_BYTES // array.itemsize].copy()


def _python_store(array, i, b, vector):
    array[i, b : b + len(vector)] = vector


def _python_load_column(X, i, j):
    return X[i : i + lanes(X), j].copy()


def _python_load_transposed(X, i, j, shift, inverse_scale, tile, top, b):
    c, r = slice(j, j + lanes(X)), slice(b, b + lanes(X))
    tile[top + j : top + j + lanes(X), r] = ((X[i : i + lanes(X), c] - shift[c]) * inverse_scale[c]).T


def _python_gather_transposed(X, i, size, index, t, j, shift, inverse_scale, tile, top, b):
    rows = i + np.minimum(index[t : t + lanes(X)], size - 1)
    c, r = slice(j, j + lanes(X)), slice(b, b + lanes(X))
    tile[top + j : top + j + lanes(X), r] = ((X[rows, c] - shift[c]) * inverse_scale[c]).T


def _python_take(table, i, j, tile, row, b):
    return table[i, j, load(tile, row, b).astype(np.int64)]


def _python_splat(scalar):
    return np.full(VECTOR_BYTES // scalar.itemsize, scalar)


def _python_sum4(a, b, c, d):
    return a.sum(), b.sum(), c.sum(), d.sum()


def _python_above(a, b):
    return sum(1 << lane for lane in range(len(a)) if a[lane] > b[lane])


def _python_choose(a, b, x, y):
    return np.where(a > b, x, y)


def _python_lowest_bit(word):
    return int(word & -word).bit_length() - 1


_INTERPRETED = bool(numba.config.DISABLE_JIT)
# lanes(array): how many of its numbers a vector holds, known to the compiler.
lanes = _python_lanes if _INTERPRETED else _lanes
# tile_rows(array): how many points a tile has; stride(array): how long the rows of `space` are.
tile_rows = _python_tile_rows if _INTERPRETED else _tile_rows
stride = _python_stride if _INTERPRETED else _stride
# load(array, i, b): the vector array[i, b : b + lanes]; store(array, i, b, vector) writes one there.
load = _python_load if _INTERPRETED else _load
store = _python_store if _INTERPRETED else _store
# load_column(X, i, j): the vector of X[i:, j].
load_column = _python_load_column if _INTERPRETED else _load_column
# load_transposed(X, i, j, shift, inverse_scale, tile, top, b): a square block X[i:, j:] of rows, in standard
# coordinates, to tile[top + j:, b:].
load_transposed = _python_load_transposed if _INTERPRETED else _load_transposed
# gather_transposed(X, i, size, index, t, j, ...): the same of rows i + index[t:], of which `size` are there.
gather_transposed = _python_gather_transposed if _INTERPRETED else _gather_transposed
# take(table, i, j, tile, row, b): table[i, j, labels] of the labels that tile[row, b:] holds as floats.
take = _python_take if _INTERPRETED else _take
# splat(scalar): the vector of equal numbers.
splat = _python_splat if _INTERPRETED else _splat
# sum4(a, b, c, d): the four sums over lanes, in a third of the shuffles of four single ones.
sum4 = _python_sum4 if _INTERPRETED else _sum4
# maximum(a, b), minimum(a, b): lane by lane; where a is NaN, b. lane_minimum(a): a scalar.
maximum = np.fmax if _INTERPRETED else _maximum
minimum = np.fmin if _INTERPRETED else _minimum
lane_minimum = np.min if _INTERPRETED else _lane_minimum
# choose(a, b, x, y): lane by lane, x where a > b, else y.
choose = _python_choose if _INTERPRETED else _choose
# above(a, b): an integer whose bits are the lanes where a > b. count_bits, lowest_bit: of an integer.
above = _python_above if _INTERPRETED else _above
count_bits = int.bit_count if _INTERPRETED else _count_bits
lowest_bit = _python_lowest_bit if _INTERPRETED else _lowest_bit
