"""SIMD registers as values: the numba type of a vector and its arithmetic.

A vector holds as many consecutive numbers of a row as fit a register: 8 of float64 with AVX-512, 4 with
AVX2, 2 with NEON. In compiled code it is an LLVM vector. Under NUMBA_DISABLE_JIT=1 it is a short NumPy array.
Vectors support + - * / with each other and with scalars. They are never changed in place.

LLVM can vectorise loops by itself, but only innermost loops. It cannot keep sums over features in registers
while the lanes are points. On many AVX-512 machines it also uses only 256 bits.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, models, register_model, type_callable

from fastem._kernels._layout import VECTOR_BYTES

FAST = ("contract", "nsz", "reassoc", "arcp")
I32 = ir.IntType(32)


class Vector(types.Type):
    """The numba type of a vector."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        scalar = ir.DoubleType() if fe_type.dtype == types.float64 else ir.FloatType()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.lanes))


def shuffle(builder, one, other, lanes):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def broadcast(builder, scalar, vector_type):
    first = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, I32(0))
    return shuffle(builder, first, first, [0] * vector_type.count)


def array_struct(context, builder, kind, array):
    """Return the fields of an array, such as `data` and `shape`."""
    return _Fields(context.data_model_manager[kind], builder, array)


class _Fields:
    """numba would copy an array to memory to get a field of it."""

    def __init__(self, model, builder, array):
        self._model, self._builder, self._array = model, builder, array

    def __getattr__(self, name):
        return self._builder.extract_value(self._array, self._model.get_field_position(name))


def array_of(context, builder, kind, owner, data, shape):
    """Return an array in C order, of numbers that `owner` keeps in memory."""
    model, integer = context.data_model_manager[kind], context.get_value_type(types.intp)
    count, strides = integer(1), []
    for size in reversed(shape):
        strides.insert(0, builder.mul(count, integer(kind.dtype.bitwidth // 8)))
        count = builder.mul(count, size)
    result = ir.Constant(context.get_value_type(kind), None)
    values = {"meminfo": [owner], "nitems": [count], "itemsize": strides[-1:], "data": [data]}
    for name, parts in {**values, "shape": shape, "strides": strides}.items():
        place = model.get_field_position(name)
        for axis, part in enumerate(parts):
            where = (place, axis) if name in ("shape", "strides") else place
            result = builder.insert_value(result, part, where)
    return result


def pack(context, builder, kind, values):
    """Return a tuple of numbers or vectors."""
    result = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for i, value in enumerate(values):
        result = builder.insert_value(result, value, i)
    return result


def nothing(context):
    """Return None."""
    return ir.Constant(context.get_value_type(types.none), None)


def _define(operation, instruction):
    """Define +, -, * or / if at least one operand is a vector. A scalar is first copied to all lanes."""

    @type_callable(operation)
    def resolve(typing_context):
        def signature(left, right):
            vectors = [kind for kind in (left, right) if isinstance(kind, Vector)]
            if not vectors:
                return None
            sides = [kind if isinstance(kind, Vector) else vectors[0].dtype for kind in (left, right)]
            return vectors[0](*sides)

        return signature

    def lower(context, builder, sig, arguments):
        vector_type = context.get_value_type(sig.return_type)
        sides = [
            value if isinstance(kind, Vector) else broadcast(builder, value, vector_type)
            for value, kind in zip(arguments, sig.args, strict=True)
        ]
        return getattr(builder, instruction)(*sides, flags=FAST)

    for sides in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(operation, *sides)(lower)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")
