"""What numba compiles for, in words."""

import llvmlite.binding
import numba

from fastem._kernels._estep import slot_statistics

_WIDTHS = (("avx512f", "512 bit (AVX-512)"), ("avx2", "256 bit (AVX2)"), ("neon", "128 bit (NEON)"))


def describe_target() -> dict[str, str]:
    """Threading layer, threads, SIMD width and cache folder."""
    numba.set_num_threads(numba.get_num_threads())  # starts the threading layer
    return {
        "threading layer": numba.threading_layer(),
        "threads": f"{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}",
        "SIMD width": next((text for flag, text in _WIDTHS if flag in _features()), "128 bit or less"),
        "cache folder": _cache_folder(),
    }


def _features() -> set[str]:
    """Instruction sets: of the host, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name others."""
    if numba.config.CPU_FEATURES is not None:
        return {flag[1:] for flag in numba.config.CPU_FEATURES.split(",") if flag.startswith("+")}
    host = llvmlite.binding.get_host_cpu_features()
    return {flag for flag, present in host.items() if present}


def _cache_folder() -> str:
    if numba.config.DISABLE_JIT:
        return "none: NUMBA_DISABLE_JIT is set"
    return slot_statistics.stats.cache_path or "none writable: kernels compile in every process"
