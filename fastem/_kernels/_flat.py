"""Vectors anywhere in an array: load, store, and find what is NaN."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._vector import Vector, array_struct, nothing


def _flat_address(context, builder, kind, array, offset):
    """Return a pointer to the vector that starts at a number of an array in C order, of any shape."""
    scalar = builder.gep(array_struct(context, builder, kind, array).data, [offset], inbounds=True)
    return builder.bitcast(scalar, context.get_value_type(Vector(kind.dtype)).as_pointer())


@intrinsic
def _load_flat(typingctx, array, offset):
    def codegen(context, builder, signature, arguments):
        return builder.load(
            _flat_address(context, builder, array, *arguments), align=array.dtype.bitwidth // 8
        )

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic
def _store_flat(typingctx, array, offset, vector):
    def codegen(context, builder, signature, arguments):
        address = _flat_address(context, builder, array, *arguments[:2])
        builder.store(arguments[2], address, align=array.dtype.bitwidth // 8)
        return nothing(context)

    return types.void(array, types.intp, vector), codegen


@intrinsic
def _absent(typingctx, X, i, j):
    """Return a bit for each lane of the vector at X[i, j], set where it is NaN. X must be in C order."""
    vector = Vector(X.dtype)

    def codegen(context, builder, signature, arguments):
        array = array_struct(context, builder, X, arguments[0])
        columns = builder.extract_value(array.shape, 1)
        offset = builder.add(builder.mul(arguments[1], columns), arguments[2])
        pointer_type = context.get_value_type(vector).as_pointer()
        address = builder.bitcast(builder.gep(array.data, [offset], inbounds=True), pointer_type)
        numbers = builder.load(address, align=X.dtype.bitwidth // 8)
        flags = builder.fcmp_unordered("uno", numbers, numbers)
        return builder.zext(builder.bitcast(flags, ir.IntType(vector.lanes)), ir.IntType(64))

    return types.int64(X, types.intp, types.intp), codegen


# load_flat(array, offset): the vector that starts at array.flat[offset]. The array must be in C order.
# store_flat(array, offset, vector) writes it.
load_flat = _interpreted.load_flat if INTERPRETED else _load_flat
store_flat = _interpreted.store_flat if INTERPRETED else _store_flat
# absent(X, i, j): a bit for each lane of the vector that starts at X[i, j], set where it is NaN.
# The vector may go on in the next row.
absent = _interpreted.absent if INTERPRETED else _absent
