"""New arrays. numba would compile `np.empty` and `np.zeros` for each set of options of their callers.

A new array is some instructions in place of the four functions that `np.empty` is made of. numba does not
document the names by which it allocates. If one is missing, there is one kernel that calls `np.empty`.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastem._kernels._jit import INTERPRETED, allocating_kernel
from fastem._kernels._layout import CACHE_LINE
from fastem._kernels._vector import array_of

try:
    from numba.core.imputils import impl_ret_new_ref
    from numba.core.runtime.context import NRTContext

    _KNOWN = all(hasattr(NRTContext, name) for name in ("meminfo_alloc_aligned", "meminfo_data"))
except ImportError:
    _KNOWN = False


@intrinsic
def _new_array(typingctx, n, dtype):
    kind = types.Array(dtype.dtype, 1, "C")

    def codegen(context, builder, signature, arguments):
        n = arguments[0]
        size = builder.mul(n, n.type(kind.dtype.bitwidth // 8))
        owner = context.nrt.meminfo_alloc_aligned(builder, size, CACHE_LINE)
        pointer = context.get_data_type(kind.dtype).as_pointer()
        data = builder.bitcast(context.nrt.meminfo_data(builder, owner), pointer)
        return impl_ret_new_ref(context, builder, kind, array_of(context, builder, kind, owner, data, [n]))

    return kind(types.intp, dtype), codegen


@allocating_kernel
def _by_numpy(n, dtype):
    return np.empty(n, dtype)


# new_array(n, dtype): an array (n,) of any numbers. In interpreted kernels NumPy would warn of some of them.
new_array = np.zeros if INTERPRETED else _new_array if _KNOWN else _by_numpy


@allocating_kernel
def new_counts(n):
    """Return n zeros."""
    counts = new_array(n, np.int64)
    for i in range(n):
        counts[i] = 0
    return counts
