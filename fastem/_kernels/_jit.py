"""The only place that names numba options."""

import hashlib
from pathlib import Path

import numba

# Not `True`: nnan and ninf would break -inf log-densities and NaN propagation.
_REASSOCIATING = {"contract", "nsz", "reassoc", "arcp"}
# For code whose rounding order is its meaning, such as (x + magic) - magic.
_ORDERED = {"contract", "nsz"}
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
    """Make the disk cache depend on all kernel sources.

    numba stamps a cached function with its own file only, so an edit (or an upgrade) of a helper
    in another file would leave a stale caller in the cache.
    """
    if not numba.config.DISABLE_JIT:
        dispatcher._cache._cache_file._source_stamp = _DIGEST
    return dispatcher


def _jit(fastmath, **options):
    def decorate(function):
        settings = dict(nogil=True, fastmath=fastmath, error_model="numpy", **options)
        try:
            return _stamp(numba.njit(cache=True, **settings)(function))
        except (RuntimeError, OSError, AttributeError):
            # No writable cache folder: compile in memory, in every process.
            return numba.njit(**settings)(function)

    return decorate


kernel = _jit(_REASSOCIATING)
ordered_kernel = _jit(_ORDERED, forceinline=True)
# For functions of vectors: a call would spill them to memory.
inlined_kernel = _jit(_REASSOCIATING, forceinline=True)
parallel_kernel = _jit(_REASSOCIATING, parallel=_PRANGE_ONLY)
