"""What kernels do with vectors: load, store, transpose, sum over lanes, compare."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES
from fastem._kernels._vector import (
    FAST,
    I32,
    Vector,
    array_struct,
    broadcast,
    nothing,
    pack,
    shuffle,
)


def _length(array_type, size):
    """Return how many numbers of an array fill `size` bytes."""
    return size // (array_type.dtype.bitwidth // 8)


def tile_address(context, builder, kind, array, i, b):
    """Return a pointer to the vector that starts at array[i, b].

    The stride is a constant, so that LLVM can make the arithmetic part of the addressing mode. The stride of
    the array is ignored.
    """
    stride = context.get_constant(types.intp, _length(kind, STRIDE_BYTES))
    offset = builder.add(builder.mul(i, stride), b)
    scalar = builder.gep(array_struct(context, builder, kind, array).data, [offset], inbounds=True)
    return builder.bitcast(scalar, context.get_value_type(Vector(kind.dtype)).as_pointer())


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
        address = tile_address(context, builder, array, *arguments)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp, types.intp), codegen


@intrinsic
def _store(typingctx, array, i, b, vector):
    def codegen(context, builder, signature, arguments):
        address = tile_address(context, builder, array, *arguments[:3])
        builder.store(arguments[3], address, align=array.dtype.bitwidth // 8)
        return nothing(context)

    return types.void(array, types.intp, types.intp, vector), codegen


@intrinsic
def _load4(typingctx, array, i, b):
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, arguments):
        address = tile_address(context, builder, array, *arguments)
        addresses = [builder.gep(address, [I32(v)], inbounds=True) for v in range(4)]
        loads = [builder.load(address, align=array.dtype.bitwidth // 8) for address in addresses]
        return pack(context, builder, signature.return_type, loads)

    return types.UniTuple(vector, 4)(array, types.intp, types.intp), codegen


@intrinsic
def _store4(typingctx, array, i, b, p, q, r, s):
    def codegen(context, builder, signature, arguments):
        address = tile_address(context, builder, array, *arguments[:3])
        for v, value in enumerate(arguments[3:]):
            place = builder.gep(address, [I32(v)], inbounds=True)
            builder.store(value, place, align=array.dtype.bitwidth // 8)
        return nothing(context)

    return types.void(array, types.intp, types.intp, p, q, r, s), codegen


@intrinsic
def _load_column(typingctx, X, i, j):
    """Return the vector of X[i + lane, j]. X must be in C order."""
    vector = Vector(X.dtype)

    def codegen(context, builder, signature, arguments):
        array = array_struct(context, builder, X, arguments[0])
        columns = builder.extract_value(array.shape, 1)
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
    """Set tile[top + j + c, b + r] to (X[i + r, j + c] - shift[j + c]) * inverse_scale[j + c].

    r and c go from 0 to the number of lanes.
    """

    def codegen(context, builder, signature, arguments):
        i = arguments[1]
        rows = [builder.add(i, context.get_constant(types.intp, r)) for r in range(Vector(X.dtype).lanes)]
        return _copy_block(context, builder, signature, (arguments[0], rows, *arguments[2:]))

    return types.void(X, types.intp, types.intp, shift, inverse_scale, tile, types.intp, types.intp), codegen


@intrinsic
def _gather_transposed(typingctx, X, i, size, index, t, j, shift, inverse_scale, tile, top, b):
    """Do the same for the rows i + min(index[t + r], size - 1) of X."""

    def codegen(context, builder, signature, arguments):
        X, i, size, positions, t = arguments[:5]
        positions = array_struct(context, builder, index, positions)
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
    """Copy a square of X in standard coordinates to a tile.

    The arguments are (X, rows, j, shift, inverse_scale, tile, top, b).
    """
    kind = signature.args[0].dtype
    align = kind.bitwidth // 8
    pointer_type = context.get_value_type(Vector(kind)).as_pointer()
    x, rows, j, shift, inverse_scale, tile, top, b = (
        array_struct(context, builder, kind, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, arguments, strict=True)
    )
    stride = context.get_constant(types.intp, _length(signature.args[0], STRIDE_BYTES))
    columns = builder.extract_value(x.shape, 1)

    def address(array, offset):
        return builder.bitcast(builder.gep(array.data, [offset], inbounds=True), pointer_type)

    m, a = (builder.load(address(array, j), align=align) for array in (shift, inverse_scale))
    values = []
    for row in rows:
        value = builder.load(address(x, builder.add(builder.mul(row, columns), j)), align=align)
        values.append(builder.fmul(builder.fsub(value, m, flags=FAST), a, flags=FAST))
    offset = builder.add(builder.mul(builder.add(top, j), stride), b)
    for column in transposed(builder, values):
        builder.store(column, address(tile, offset), align=align)
        offset = builder.add(offset, stride)
    return nothing(context)


def transposed(builder, rows):
    """Transpose a square of vectors by swapping larger and larger off-diagonal blocks."""
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
    """Return the vector of table[i, j, int(x)] for the lanes of x = load(tile, row, b)."""
    vector = Vector(table.dtype)

    def codegen(context, builder, signature, arguments):
        address = tile_address(context, builder, tile, *arguments[3:])
        align = table.dtype.bitwidth // 8
        labels = builder.fptosi(builder.load(address, align=align), ir.VectorType(I32, vector.lanes))
        array = array_struct(context, builder, table, arguments[0])
        rows, columns = (builder.extract_value(array.shape, axis) for axis in (1, 2))
        row = builder.add(builder.mul(arguments[1], rows), arguments[2])
        base = builder.gep(array.data, [builder.mul(row, columns)])
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


def lane_sums(builder, a, b, c, d):
    """Return the four sums over lanes as a vector of four."""
    lanes = a.type.count

    def add_neighbours(one, other, width):
        """Add neighbouring groups of `width` lanes. The result alternates between `one` and `other`."""
        left = [i + j for i in range(0, lanes, 2 * width) for j in range(width)]
        both = [g for i in range(0, len(left), width) for g in (left[i : i + width], left[i : i + width])]
        low = [v + (lanes if turn % 2 else 0) for turn, group in enumerate(both) for v in group]
        halves = shuffle(builder, one, other, low), shuffle(builder, one, other, [v + width for v in low])
        return builder.fadd(*halves, flags=FAST)

    ab, cd = add_neighbours(a, b, 1), add_neighbours(c, d, 1)
    if lanes == 2:
        return shuffle(builder, ab, cd, [0, 1, 2, 3])
    sums = add_neighbours(ab, cd, 2)
    while lanes > 4:
        lanes //= 2
        low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
        halves = shuffle(builder, sums, sums, low), shuffle(builder, sums, sums, high)
        sums = builder.fadd(*halves, flags=FAST)
    return sums


@intrinsic
def _sum4(typingctx, a, b, c, d):
    def codegen(context, builder, signature, arguments):
        sums = lane_sums(builder, *arguments)
        scalars = [builder.extract_element(sums, I32(i)) for i in range(4)]
        return pack(context, builder, signature.return_type, scalars)

    return types.UniTuple(a.dtype, 4)(a, b, c, d), codegen


@intrinsic
def _square_root(typingctx, a):
    def codegen(context, builder, signature, arguments):
        vector_type = context.get_value_type(signature.return_type)
        name = f"llvm.sqrt.v{a.lanes}f{a.dtype.bitwidth}"
        kind = ir.FunctionType(vector_type, [vector_type])
        root = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(root, arguments)

    return a(a), codegen


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


# lanes(array): how many numbers of the array a vector holds. The compiler knows it as a constant.
lanes = _interpreted.lanes if INTERPRETED else _lanes
# tile_rows(array): how many points a tile has. stride(array): how many numbers a row of `space` has.
tile_rows = _interpreted.tile_rows if INTERPRETED else _tile_rows
stride = _interpreted.stride if INTERPRETED else _stride
# load(array, i, b): the vector array[i, b : b + lanes]. store(array, i, b, vector) writes it.
load = _interpreted.load if INTERPRETED else _load
store = _interpreted.store if INTERPRETED else _store
# load4(array, i, b): the four vectors from array[i, b] on. store4(array, i, b, p, q, r, s) writes them.
load4 = _interpreted.load4 if INTERPRETED else _load4
store4 = _interpreted.store4 if INTERPRETED else _store4
# load_column(X, i, j): the vector X[i : i + lanes, j].
load_column = _interpreted.load_column if INTERPRETED else _load_column
# load_transposed(X, i, j, shift, inverse_scale, tile, top, b): copy the square of X that starts at X[i, j]
# to the square that starts at tile[top + j, b], transposed and in standard coordinates.
load_transposed = _interpreted.load_transposed if INTERPRETED else _load_transposed
# gather_transposed(X, i, size, index, t, j, ...): the same for the rows i + index[t : t + lanes]. An index of
# `size` or more means the last row, size - 1.
gather_transposed = _interpreted.gather_transposed if INTERPRETED else _gather_transposed
# take(table, i, j, tile, row, b): table[i, j, labels], with the labels in tile[row, b : b + lanes] as floats.
take = _interpreted.take if INTERPRETED else _take
# splat(scalar): a vector of equal numbers.
splat = _interpreted.splat if INTERPRETED else _splat
# sum4(a, b, c, d): the four sums over lanes. Four single sums would take three times as many shuffles.
sum4 = _interpreted.sum4 if INTERPRETED else _sum4
# square_root(a): lane by lane.
square_root = _interpreted.square_root if INTERPRETED else _square_root
# maximum(a, b), minimum(a, b): lane by lane, and b where a is NaN. lane_minimum(a): the least lane, a scalar.
maximum = _interpreted.maximum if INTERPRETED else _maximum
minimum = _interpreted.minimum if INTERPRETED else _minimum
lane_minimum = _interpreted.lane_minimum if INTERPRETED else _lane_minimum
# choose(a, b, x, y): x in the lanes where a > b, else y.
choose = _interpreted.choose if INTERPRETED else _choose
# above(a, b): an integer with a bit for each lane, set where a > b.
# count_bits(word): how many bits are set. lowest_bit(word): the position of the lowest set bit.
above = _interpreted.above if INTERPRETED else _above
count_bits = _interpreted.count_bits if INTERPRETED else _count_bits
lowest_bit = _interpreted.lowest_bit if INTERPRETED else _lowest_bit
