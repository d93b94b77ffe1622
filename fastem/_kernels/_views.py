"""Parts of arrays as arrays. Slices and `reshape` would take ten times as long to compile."""

from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from fastem._kernels import _interpreted
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._layout import CACHE_LINE
from fastem._kernels._vector import array_of, array_struct


@intrinsic
def _aligned_rows(typingctx, buffer, rows, columns):
    kind = types.Array(buffer.dtype, 2, "C")

    def codegen(context, builder, signature, arguments):
        whole = array_struct(context, builder, buffer, arguments[0])
        integer, itemsize = context.get_value_type(types.intp), buffer.dtype.bitwidth // 8
        before = builder.and_(builder.neg(builder.ptrtoint(whole.data, integer)), integer(CACHE_LINE - 1))
        data = builder.gep(whole.data, [builder.udiv(before, integer(itemsize))])
        view = array_of(context, builder, kind, whole.meminfo, data, arguments[1:])
        return impl_ret_borrowed(context, builder, kind, view)

    return kind(buffer, types.intp, types.intp), codegen


@intrinsic
def _section(typingctx, array, i):
    kind = array.copy(ndim=array.ndim - 1)

    def codegen(context, builder, signature, arguments):
        whole, offset = array_struct(context, builder, array, arguments[0]), arguments[1]
        shape = [builder.extract_value(whole.shape, axis) for axis in range(1, array.ndim)]
        for size in shape:
            offset = builder.mul(offset, size)
        data = builder.gep(whole.data, [offset])
        view = array_of(context, builder, kind, whole.meminfo, data, shape)
        return impl_ret_borrowed(context, builder, kind, view)

    return kind(array, types.intp), codegen


@intrinsic
def _front(typingctx, array, count):
    def codegen(context, builder, signature, arguments):
        whole, count = array_struct(context, builder, array, arguments[0]), arguments[1]
        shape = [count, *(builder.extract_value(whole.shape, axis) for axis in range(1, array.ndim))]
        view = array_of(context, builder, array, whole.meminfo, whole.data, shape)
        return impl_ret_borrowed(context, builder, array, view)

    return array(array, types.intp), codegen


# aligned_rows(buffer, rows, columns): a view of this shape, from the first cache line of a buffer on.
aligned_rows = _interpreted.aligned_rows if INTERPRETED else _aligned_rows
# section(array, i): array[i], of an array in C order, in a third of the instructions.
section = _interpreted.section if INTERPRETED else _section
# front(array, count): array[:count], of an array in C order.
front = _interpreted.front if INTERPRETED else _front
