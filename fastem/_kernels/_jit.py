"""The only place that names numba options."""

import hashlib
from pathlib import Path

import numba
from numba.core.caching import IndexDataCacheFile

# Not `True`: nnan and ninf would break -inf log-densities and NaN propagation.
_REASSOCIATING = {"contract", "nsz", "reassoc", "arcp"}
# For code whose rounding order is its meaning, such as (x + magic) - magic.
_ORDERED = {"contract", "nsz"}
_COMMON = {"nogil": True, "error_model": "numpy"}
KERNEL_OPTIONS = {**_COMMON, "fastmath": _REASSOCIATING}
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


def sources_digest():
    """Digest of every kernel source: the freshness of a cached kernel."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_DIGEST = sources_digest()


def _stamp(dispatcher):
    """Give each state of all kernel sources cache files of its own.

    numba stamps a cached function with its own file only, so an edit (or an upgrade) of a helper
    in another file would leave a stale caller in the cache, or one whose types no longer exist.
    """
    if not numba.config.DISABLE_JIT:
        cache = dispatcher._cache
        base = f"{cache._impl.filename_base}-{_DIGEST[:16]}"
        stamp = cache._impl.locator.get_source_stamp(), _DIGEST
        cache._cache_file = IndexDataCacheFile(cache._cache_path, base, stamp)
    return dispatcher


def python_function(dispatcher):
    """What a kernel was made from: to compile it where it is used, not once more on its own."""
    return getattr(dispatcher, "py_func", dispatcher)


def _jit(fastmath, **options):
    def decorate(function):
        settings = dict(_COMMON, fastmath=fastmath, **options)
        try:
            return _stamp(numba.njit(cache=True, **settings)(function))
        except (RuntimeError, OSError, AttributeError):
            # No writable cache folder: compile in memory, in every process.
            return numba.njit(**settings)(function)

    return decorate


# A kernel is called by other kernels only: without wrappers for Python it compiles in half the time.
_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
kernel = _jit(_REASSOCIATING, **_INNER)
ordered_kernel = _jit(_ORDERED, forceinline=True, **_INNER)
# For functions of vectors: a call would spill them to memory.
inlined_kernel = _jit(_REASSOCIATING, forceinline=True, **_INNER)
# For those that Python calls.
entry_kernel = _jit(_REASSOCIATING, no_cfunc_wrapper=True)
parallel_kernel = _jit(_REASSOCIATING, parallel=_PRANGE_ONLY, no_cfunc_wrapper=True)
