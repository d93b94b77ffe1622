"""The decorators of kernels. No other module names numba's options."""

import numba

from fastem._kernels import _own_code
from fastem._kernels._jit_cache import cache_on_disk
from fastem._kernels._jit_notice import give_notice

try:
    from numba.core.cpu import CPUTargetOptions
except ImportError:
    CPUTargetOptions = None


def _known(**options):
    """Return those of the options that this numba has. It refuses options that it does not know.

    numba does not promise to keep any of them. All of them only make things faster.
    """
    return {name: value for name, value in options.items() if hasattr(CPUTargetOptions, name)}


# Not `True`: nnan and ninf would break -inf log-densities and NaN propagation.
_REASSOCIATING = {"contract", "nsz", "reassoc", "arcp"}
# For code that depends on the order of its operations, such as (x + magic) - magic.
_ORDERED = {"contract", "nsz"}
_COMMON = {"nogil": True, "error_model": "numpy"}
# The caller of a kernel keeps its arrays alive, so a kernel need not count references to them. Counting them
# took 5 to 15 % of a pass, because it is atomic. A kernel that allocates arrays must count.
_UNCOUNTED = _known(_nrt=False)
# numba copies a spliced function into its callers before it infers types. LLVM copies an inlined one.
_SPLICED, _INLINED = _known(inline="always"), _known(forceinline=True)
# Wrappers for Python would take a fifth of the compilation. Nobody calls the wrappers for C.
_NO_WRAPPERS = _known(no_cpython_wrapper=True, no_cfunc_wrapper=True)
_NO_C_WRAPPER = _known(no_cfunc_wrapper=True)
# For what only kernels call.
_PART = {**_NO_WRAPPERS, **_own_code.PART}
# These are for numba.extending.overload.
KERNEL_OPTIONS = {**_COMMON, **_UNCOUNTED, **_PART, "fastmath": _REASSOCIATING}
# For those that return arrays, which must be counted.
COUNTED_OPTIONS = {**_COMMON, **_PART, "fastmath": _REASSOCIATING}
ORDERED_OPTIONS = {**_COMMON, **_UNCOUNTED, **_INLINED, **_PART, "fastmath": _ORDERED}


def python_function(dispatcher):
    """Return the Python function of a kernel. Overloads return it, so that numba compiles it only once."""
    return getattr(dispatcher, "py_func", dispatcher)


# Under NUMBA_DISABLE_JIT=1, numba.njit returns the function itself.
INTERPRETED = numba.njit(python_function) is python_function
if not INTERPRETED:
    give_notice()


def _jit(fastmath, **options):
    def decorate(function):
        dispatcher = numba.njit(fastmath=fastmath, **_COMMON, **options)(function)
        if not INTERPRETED:
            cache_on_disk(dispatcher, function)
        return dispatcher

    return decorate


allocating_kernel = _jit(_REASSOCIATING, **_PART)
kernel = _jit(_REASSOCIATING, **_UNCOUNTED, **_PART)
ordered_kernel = _jit(_ORDERED, **_INLINED, **_UNCOUNTED, **_PART)
# For functions of vectors. A call would write its vectors to memory.
inlined_kernel = _jit(_REASSOCIATING, **_INLINED, **_UNCOUNTED, **_PART)
# For short functions, and functions with one caller. To copy them takes less time than to compile them.
spliced_kernel = _jit(_REASSOCIATING, **_SPLICED, **_UNCOUNTED, **_PART)
# For functions that Python calls.
entry_kernel = _jit(_REASSOCIATING, **_NO_C_WRAPPER, **_own_code.ENTRY)
# For those that work on a sample or are called once in a fit. They compile in two thirds of the time.
compact_kernel = _jit(_REASSOCIATING, **_UNCOUNTED, **_NO_C_WRAPPER, **_own_code.COMPACT)
# For those whose time goes to what they call. They compile in half of the time of a compact one.
plain_kernel = _jit(_REASSOCIATING, **_UNCOUNTED, **_NO_C_WRAPPER, **_own_code.PLAIN)
# The same, for one that allocates arrays.
compact_allocating_kernel = _jit(_REASSOCIATING, **_NO_C_WRAPPER, **_own_code.COMPACT)
