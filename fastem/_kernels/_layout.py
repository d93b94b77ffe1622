"""The shape of vectors on this machine, and of tiles in memory."""

import llvmlite.binding
import numba
import numpy as np

from fastem._kernels._jit import spliced_kernel

_WIDTHS = (("avx512f", 64), ("avx2", 32))


def target_features():
    """Instruction sets: of the host, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES name others."""
    # A wrong guess costs speed only: LLVM splits vectors that are too wide for its target.
    features, name = (getattr(numba.config, key, None) for key in ("CPU_FEATURES", "CPU_NAME"))
    if features is not None:
        return {flag[1:] for flag in features.split(",") if flag.startswith("+")}
    if name is not None and name != llvmlite.binding.get_host_cpu_name():
        return set()
    return {flag for flag, present in llvmlite.binding.get_host_cpu_features().items() if present}


# AVX2 and SSE have 16 vector registers; AVX-512 and NEON have 32.
REGISTERS = 32 if {"avx512f", "neon"} & target_features() else 16
VECTOR_BYTES = next((width for flag, width in _WIDTHS if flag in target_features()), 16)

# Of a feature of a tile, and from one to the next: a power of two would map all features of a point to
# the same cache set. In bytes, so that a tile of float32 fills the same cache with twice the points.
TILE_BYTES = 2048
STRIDE_BYTES = 2112
WORD = 32  # points whose marks fit an integer

# A slot computes in one array `space` of rows of STRIDE_BYTES. One array, because every array that is handed
# to a function costs more than a whole row of small d. These rows hold one number a point; they are
# np.int64 because numba compiles a function anew for every literal that it is handed:
WEIGHTS = np.int64(0)  # its weight
PEAKS = np.int64(1)  # its largest log-density
LEASTS = np.int64(2)  # the exponent below which a density relative to that peak counts as zero
TOTALS = np.int64(3)  # the sum over components relative to that peak
ZEROS = np.int64(4)
POINTS = np.int64(5)  # d rows: the points; behind them d rows for some of the points, packed
START = np.int64(0)  # of a list of points
QUEUES = np.int64(512)  # at most: with their lists of points 2 to 3 MB, of which about half is in use


@spliced_kernel
def first_share(d):
    """First of the K rows of log-densities, then responsibilities; behind them one for packed ones."""
    return POINTS + 2 * d


@spliced_kernel
def first_scratch(d, K):
    """First of the d + 8 rows of scratch."""
    return POINTS + 2 * d + K + 1


@spliced_kernel
def first_queue(d, K):
    """First of the rows of the queues: the responsibilities of points that wait."""
    return POINTS + 3 * d + K + 9


@spliced_kernel
def count_queues(K):
    """One for each component while they are few, else one for all."""
    return K if K <= QUEUES else 1
