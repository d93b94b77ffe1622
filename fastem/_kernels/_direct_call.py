"""Calls of compiled kernels by their addresses.

If a kernel called another entry kernel by its name, numba would compile that, and all below it, again in the
caller. `_slot_loop` tells how addresses are got, and that numba does not document this. Where it gives
none, there are no such calls, and Python does what their caller would do.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from fastem._kernels._jit import INTERPRETED
from fastem._kernels._slot_loop import RENAMED


def address_of(kernel, arguments):
    """Return the address of a kernel compiled for such arguments, or None if numba does not tell it."""
    kinds = tuple(map(numba.typeof, arguments))
    try:
        kernel.compile(kinds)
        compiled = kernel.overloads[kinds]
        compiled.target_context.call_conv.get_function_type(types.none, kinds)
        return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    except RENAMED:
        return None


def codes_of(kernels_and_arguments: Any) -> Any:
    """Return what `call` calls kernels by: their addresses, or the functions where they are interpreted."""
    if INTERPRETED:
        return tuple(kernel for kernel, _ in kernels_and_arguments)
    found = [address_of(*one) for one in kernels_and_arguments]
    return None if None in found else np.array(found, np.int64)


@intrinsic
def _call(typingctx, address, arguments):
    kinds = tuple(map(types.unliteral, arguments.types))

    def codegen(context, builder, signature, values):
        address, packed = values
        numbers = [builder.extract_value(packed, i) for i in range(len(kinds))]
        kind = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        callee = builder.inttoptr(address, kind)
        context.call_conv.call_function(builder, callee, types.none, kinds, numbers)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen


def _call_function(function, arguments):
    function(*arguments)


# call(code, arguments): call a kernel that returns nothing, by what `codes_of` tells.
call = _call_function if INTERPRETED else _call
