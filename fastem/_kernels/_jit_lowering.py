"""Short code for loops over ranges and for numbers of arrays, which is most of what kernels are made of.

numba writes 108 instructions for a loop and 51 for `a[i, j]`. LLVM removes most of them, but each takes time
to make, to print, to parse and to remove. Here they are 32 and 23: without copies of arrays and ranges in
memory, the error of a step of 0, and products with 1. Whatever is not here, numba writes.

numba also looks for the signature of an operator when it writes it, after it has found it for its types.

numba does not document most of the names that are used here. If one is missing, numba does all of its work.
"""

import operator

from fastem._kernels._jit_passes import remembering

try:
    from llvmlite import ir
    from llvmlite.ir.instructions import InsertValue
    from numba import types
except ImportError:
    types = None
_RENAMED = AttributeError, KeyError, TypeError
# The fields of numba's structures.
_ARRAY = "meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides"
_DATA, _SHAPE = 4, 5
_RANGE, _ITERATOR, _PAIR = ("start", "stop", "step"), ("iter", "stop", "step", "count"), ("first", "second")
_sizes: dict[str, int] = {}  # of types, in bytes. numba asks LLVM each time.


def lean(context):
    """Return numba's context of one kernel, after teaching it to write less."""
    try:
        integer, number = types.int64, types.float64
        pair = types.Pair(integer, types.boolean)
        kinds = types.Array(number, 1, "C"), types.range_state64_type, types.range_iter64_type, pair
        if [context.data_model_manager[kind]._fields for kind in kinds] == [_ARRAY, _RANGE, _ITERATOR, _PAIR]:
            context.typing_context = remembering(context.typing_context, lowering=True)
            context.get_abi_sizeof = _remembered_size(context.get_abi_sizeof)
            context.get_function = _shortest(context, context.get_function)
            context.pair_first = lambda builder, pair, _: builder.extract_value(pair, 0)
            context.pair_second = lambda builder, pair, _: builder.extract_value(pair, 1)
    except _RENAMED:
        pass
    return context


def _remembered_size(size_of):
    def remembered(kind):
        name = str(kind)
        if name not in _sizes:
            _sizes[name] = size_of(kind)
        return _sizes[name]

    return remembered


def _shortest(context, numbas):
    """Return a function that returns what writes a function for some types: what is here, or else numba's."""

    found = {}

    def chosen(function, signature, *arguments, **options):
        try:
            short = _short(context, function, signature.args)
        except _RENAMED:
            short = None
        if short is not None:
            return lambda builder, values, location=None: short(context, builder, signature, *values)
        key = function, signature
        if key not in found:
            found[key] = numbas(function, signature, *arguments, **options)
        return found[key]

    return chosen


def _short(context, function, kinds):
    if function == "getiter":
        return _begin if isinstance(kinds[0], types.RangeType) else None
    if function == "iternext":
        return _go_on if isinstance(kinds[0], types.RangeIteratorType) else None
    key = getattr(function, "typing_key", None)
    if key is range:
        return _range
    if key in (operator.getitem, operator.setitem) and _is_number(context, *kinds[:2]):
        return _get if key is operator.getitem else _set
    return None


def _structure(context, builder, kind, values):
    """Write a structure with these values, by place."""
    result = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for place, value in values.items():
        result = builder.insert_value(result, value, place)
    return result


def _range(context, builder, signature, *numbers):
    kind = signature.return_type
    integer = context.get_value_type(kind.dtype)
    start, stop = (integer(0), *numbers) if len(numbers) == 1 else numbers[:2]
    step = numbers[2] if len(numbers) == 3 else integer(1)
    return _structure(context, builder, kind, {0: start, 1: stop, 2: step})


def _begin(context, builder, signature, state):
    """Write an iterator: pointers to the next number and to how many are left, and the step."""
    start, stop, step = (builder.extract_value(state, place) for place in range(3))
    zero, one = start.type(0), start.type(1)
    gap = builder.sub(stop, start)
    forward = builder.icmp_signed(">", gap, zero)
    if _steps_by_one(state):
        count = builder.select(forward, gap, zero)
    else:
        away = builder.xor(forward, builder.icmp_signed(">", step, zero))
        rest = builder.srem(gap, step)
        rest = builder.select(forward, rest, builder.neg(rest))
        more = builder.select(builder.icmp_signed(">", rest, zero), one, zero)
        count = builder.select(away, zero, builder.add(builder.sdiv(gap, step), more))
    with builder.goto_entry_block():
        following, left = builder.alloca(start.type), builder.alloca(start.type)
    builder.store(start, following)
    builder.store(count, left)
    return _structure(context, builder, signature.return_type, {0: following, 2: step, 3: left})


def _steps_by_one(state):
    """Return whether `_range` has just written this range, and its step is 1."""
    return isinstance(state, InsertValue) and getattr(state.operands[1], "constant", None) == 1


def _go_on(context, builder, signature, iterator):
    """Write the next number of a range, and whether there is one."""
    following, step, left = (builder.extract_value(iterator, place) for place in (0, 2, 3))
    number, count = builder.load(following), builder.load(left)
    builder.store(builder.add(number, step), following)
    builder.store(builder.sub(count, count.type(1)), left)
    more = builder.icmp_signed(">", count, count.type(0))
    return _structure(context, builder, signature.return_type, {0: number, 1: more})


def _indices(index):
    return index.types if isinstance(index, types.BaseTuple) else (index,)


def _is_number(context, array, index):
    """Return whether this is one number of an array in C order."""
    return (
        isinstance(array, types.Array)
        and (array.layout, array.aligned) == ("C", True)
        and isinstance(array.dtype, (types.Integer, types.Float))
        and len(_indices(index)) == array.ndim
        and all(isinstance(kind, types.Integer) for kind in _indices(index))
        and not context.enable_boundscheck
    )


def _address(context, builder, kind, index, array, values):
    """Write a pointer to a number of an array. Indices below 0 count from the end, as in Python."""
    kinds = _indices(index)
    if isinstance(index, types.BaseTuple):
        values = [builder.extract_value(values, axis) for axis in range(kind.ndim)]
    else:
        values = [values]
    shape = builder.extract_value(array, _SHAPE)
    sizes = [builder.extract_value(shape, axis) for axis in range(kind.ndim)]
    offset = None
    for axis, (own, size) in enumerate(zip(kinds, sizes, strict=True)):
        value = context.cast(builder, values[axis], own, types.intp if own.signed else types.uintp)
        if own.signed:
            below = builder.icmp_signed("<", value, value.type(0))
            value = builder.select(below, builder.add(value, size), value)
        for inner in sizes[axis + 1 :]:
            value = builder.mul(value, inner)
        offset = value if offset is None else builder.add(offset, value)
    return builder.gep(builder.extract_value(array, _DATA), [offset])


def _get(context, builder, signature, array, index):
    kind, of_index = signature.args
    return context.unpack_value(builder, kind.dtype, _address(context, builder, kind, of_index, array, index))


def _set(context, builder, signature, array, index, value):
    kind, of_index, own = signature.args
    address = _address(context, builder, kind, of_index, array, index)
    context.pack_value(builder, kind.dtype, context.cast(builder, value, own, kind.dtype), address)
