"""A description of what numba compiles for."""

import numba

from fastem._kernels._estep import slot_statistics
from fastem._kernels._jit import INTERPRETED
from fastem._kernels._layout import VECTOR_BYTES


def describe_target() -> dict[str, str]:
    """Return the threading layer, the number of threads, the SIMD width and the cache folder."""
    numba.set_num_threads(numba.get_num_threads())  # starts the threading layer
    return {
        "threading layer": numba.threading_layer(),
        "threads": f"{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}",
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
