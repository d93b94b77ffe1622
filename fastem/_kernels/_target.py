"""A description of what numba compiles for."""

import numba

from fastem._kernels._estep import slot_statistics
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._layout import VECTOR_BYTES
from fastem._kernels._threads import threads_allowed


def describe_target() -> dict[str, str]:
    """Return the number of threads, the SIMD width and the cache folder."""
    return {
        "threads": f"{threads_allowed()} of {numba.config.NUMBA_NUM_THREADS}",
        "SIMD width": f"{8 * VECTOR_BYTES} bit",
        "cache folder": _cache_folder(),
    }


def _cache_folder() -> str:
    if INTERPRETED:
        return "none: NUMBA_DISABLE_JIT is set"
    try:
        folder = slot_statistics.stats.cache_path
    except AttributeError:  # numba does not document this attribute
        return "unknown"
    return folder or "none: kernels compile in every process"
