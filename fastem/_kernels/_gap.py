"""How far single rows are from centres, in float64 whatever the dtype of the rows."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._vector import FAST, I32, Vector, array_struct, broadcast, shuffle

_DOUBLE = ir.DoubleType()


@intrinsic
def _squared_gap(typingctx, X, i, places, k, scale):
    def codegen(context, builder, signature, arguments):
        return _gap(context, builder, signature, arguments)

    return types.float64(X, types.intp, places, types.intp, types.float64), codegen


@intrinsic
def _add_gap(typingctx, X, i, places, k, scale, weight, first, slot):
    def codegen(context, builder, signature, arguments):
        return _gap(context, builder, signature, arguments)

    kinds = X, types.intp, places, types.intp, types.float64, types.float64, first, types.intp
    return types.float64(*kinds), codegen


def _gap(context, builder, signature, arguments):
    """Go through the features, first by vectors and then one by one. Return the sum of their squares."""
    kinds = signature.args
    X, places = (array_struct(context, builder, kinds[a], arguments[a]) for a in (0, 2))
    d = builder.extract_value(X.shape, 1)
    row = builder.gep(X.data, [builder.mul(arguments[1], d)], inbounds=True)
    place = builder.gep(places.data, [builder.mul(arguments[3], d)], inbounds=True)
    adding = len(arguments) > 5
    if adding:
        first = array_struct(context, builder, kinds[6], arguments[6])
        k = builder.add(builder.mul(arguments[7], builder.extract_value(first.shape, 1)), arguments[3])
        total = builder.gep(first.data, [builder.mul(k, d)], inbounds=True)

    vector_type = context.get_value_type(Vector(types.float64))
    lanes = vector_type.count
    stored = context.get_data_type(kinds[0].dtype)

    def step(j, wide):
        """Return the squares of one feature or of a vector of them, after adding them to the sums."""

        def address(start, kind):
            scalar = builder.gep(start, [j], inbounds=True)
            return builder.bitcast(scalar, ir.VectorType(kind, lanes).as_pointer()) if wide else scalar

        def spread(number):
            return broadcast(builder, number, vector_type) if wide else number

        x = builder.load(address(row, stored), align=kinds[0].dtype.bitwidth // 8)
        if stored != _DOUBLE:
            x = builder.fpext(x, vector_type if wide else _DOUBLE)
        z = builder.fsub(x, builder.load(address(place, _DOUBLE), align=8), flags=FAST)
        z = builder.fmul(z, spread(arguments[4]), flags=FAST)
        if adding:
            target = address(total, _DOUBLE)
            more = builder.fmul(z, spread(arguments[5]), flags=FAST)
            builder.store(builder.fadd(builder.load(target, align=8), more, flags=FAST), target, align=8)
        return builder.fmul(z, z, flags=FAST)

    none = ir.Constant(d.type, 0)
    whole = builder.sub(d, builder.srem(d, ir.Constant(d.type, lanes)))
    squares = _loop(builder, none, whole, lanes, ir.Constant(vector_type, [0.0] * lanes), step)
    rest = _loop(builder, whole, d, 1, ir.Constant(_DOUBLE, 0.0), step)
    return builder.fadd(_sum_of_lanes(builder, squares, lanes), rest)


def _loop(builder, start, stop, width, zero, step):
    """Return the sum of the steps from start to stop."""
    before = builder.block
    test, body, after = (builder.append_basic_block(name) for name in ("test", "features", "gap"))
    builder.branch(test)
    builder.position_at_end(test)
    j, q = builder.phi(start.type), builder.phi(zero.type)
    builder.cbranch(builder.icmp_signed("<", j, stop), body, after)
    builder.position_at_end(body)
    end = builder.fadd(q, step(j, width > 1), flags=FAST)
    following = builder.add(j, ir.Constant(j.type, width))
    for value, first_value, last_value in ((j, start, following), (q, zero, end)):
        value.add_incoming(first_value, before)
        value.add_incoming(last_value, body)
    builder.branch(test)
    builder.position_at_end(after)
    return q


def _sum_of_lanes(builder, vector, lanes):
    """Add halves to halves. Not FAST: LLVM would make one chain of additions of these."""
    while lanes > 1:
        lanes //= 2
        halves = (list(range(start, start + lanes)) for start in (0, lanes))
        vector = builder.fadd(*(shuffle(builder, vector, vector, half) for half in halves))
    return builder.extract_element(vector, I32(0))


# squared_gap(X, i, places, k, scale): |(X[i] - places[k]) * scale|^2. places (K, d) and scale are float64.
squared_gap = _interpreted.squared_gap if INTERPRETED else _squared_gap
# add_gap(X, i, places, k, scale, weight, first, slot): the same, after first[slot, k] += weight * (...).
add_gap = _interpreted.add_gap if INTERPRETED else _add_gap
