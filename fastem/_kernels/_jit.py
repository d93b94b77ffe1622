"""The only place that names numba's options."""

import numba

from fastem._kernels import _own_code
from fastem._kernels._jit_cache import cache_on_disk

try:
    from numba.core.cpu import CPUTargetOptions
except ImportError:
    CPUTargetOptions = None


def _known(**options):
    """Those of the options that this numba has, as it refuses what it does not know.

    None of them is promised to stay. All of them are for speed alone.
    """
    return {name: value for name, value in options.items() if hasattr(CPUTargetOptions, name)}


# Not `True`: nnan and ninf would break -inf log-densities and NaN propagation.
_REASSOCIATING = {"contract", "nsz", "reassoc", "arcp"}
# For code whose rounding order is its meaning, such as (x + magic) - magic.
_ORDERED = {"contract", "nsz"}
_COMMON = {"nogil": True, "error_model": "numpy"}
# Who calls a kernel holds its arrays. Counting references to them anyway, by atomic operations wherever one
# is handed on, took 5 to 15 % of a pass. A kernel that allocates has to count.
_UNCOUNTED = _known(_nrt=False)
# Copied where it is called: by numba before it infers types, or by LLVM.
_SPLICED, _INLINED = _known(inline="always"), _known(forceinline=True)
# Wrappers for Python would cost a fifth of the compilation; those for C nobody calls.
_NO_WRAPPERS = _known(no_cpython_wrapper=True, no_cfunc_wrapper=True)
_NO_C_WRAPPER = _known(no_cfunc_wrapper=True)
# Only prange is wanted of the parallel passes; the others cost compile time.
_PRANGE_ONLY = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}
# For numba.extending.overload.
KERNEL_OPTIONS = {**_COMMON, **_UNCOUNTED, "fastmath": _REASSOCIATING}
ORDERED_OPTIONS = {**_COMMON, **_UNCOUNTED, **_INLINED, "fastmath": _ORDERED}


def python_function(dispatcher):
    """What a kernel was made from: to compile it where it is used, not once more on its own."""
    return getattr(dispatcher, "py_func", dispatcher)


# numba.njit does nothing under NUMBA_DISABLE_JIT=1.
INTERPRETED = numba.njit(python_function) is python_function


def _jit(fastmath, **options):
    def decorate(function):
        dispatcher = numba.njit(fastmath=fastmath, **_COMMON, **options)(function)
        if not INTERPRETED:
            cache_on_disk(dispatcher, function)
        return dispatcher

    return decorate


allocating_kernel = _jit(_REASSOCIATING, **_NO_WRAPPERS)
kernel = _jit(_REASSOCIATING, **_UNCOUNTED, **_NO_WRAPPERS)
ordered_kernel = _jit(_ORDERED, **_INLINED, **_UNCOUNTED, **_NO_WRAPPERS)
# For functions of vectors: a call would spill them to memory.
inlined_kernel = _jit(_REASSOCIATING, **_INLINED, **_UNCOUNTED, **_NO_WRAPPERS)
# For what is called from one place, or so short that its own compilation would cost more than copies.
spliced_kernel = _jit(_REASSOCIATING, **_SPLICED, **_UNCOUNTED, **_NO_WRAPPERS)
# For those that Python calls.
entry_kernel = _jit(_REASSOCIATING, **_NO_C_WRAPPER, **_own_code.OPTION)
parallel_kernel = _jit(_REASSOCIATING, parallel=_PRANGE_ONLY, **_NO_C_WRAPPER)
