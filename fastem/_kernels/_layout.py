"""The width of vectors on this machine, and the layout of a slot's memory.

A slot works through its rows of X in tiles. It keeps all numbers of the current tile in one array, `space`.
A row of `space` has one number for each point of the tile, or for each packed point:

    WEIGHTS, PEAKS, LEASTS, TOTALS, ZEROS    one number a point, explained below
    POINTS              d rows: the points
    POINTS + d          d rows: some of the points, packed next to each other
    first_share(d)      K rows, the shares: what ties a point to each component. These are log-densities
                        after the E-step, and responsibilities times weights after normalisation.
    first_share(d) + K  the log-densities of packed points
    first_scratch(d, K) d + 8 rows of scratch
    first_queue(d, K)   the shares of points that wait for the M-step, one row for each queue
    first_more(d, K)    what only some kernels need (see `_dispatch.more_rows`)

Docstrings of kernels name their inputs with IN and what they write with OUT. K is the number of components
and d the number of features.
"""

import llvmlite.binding
import numba
import numpy as np

from fastem._kernels._jit import spliced_kernel

_WIDTHS = (("avx512f", 64), ("avx2", 32))


def target_features():
    """Return the instruction sets of the host, or those that NUMBA_CPU_NAME or NUMBA_CPU_FEATURES select."""
    # A wrong guess makes kernels slower, not wrong: LLVM splits vectors that are too wide for its target.
    features, name = (getattr(numba.config, key, None) for key in ("CPU_FEATURES", "CPU_NAME"))
    if features is not None:
        return {flag[1:] for flag in features.split(",") if flag.startswith("+")}
    if name is not None and name != llvmlite.binding.get_host_cpu_name():
        return set()
    return {flag for flag, present in llvmlite.binding.get_host_cpu_features().items() if present}


# AVX2 and SSE have 16 vector registers; AVX-512 and NEON have 32.
REGISTERS = 32 if {"avx512f", "neon"} & target_features() else 16
# Products of whole matrices (see `_panels`) have blocks of so many rows, and of so many vectors in each row.
BLOCK_ROWS = np.int64(6)
BLOCK_VECTORS = np.int64(4 if REGISTERS == 32 else 2)
# Blocks of two vectors leave registers for more rows.
PAIR_ROWS = np.int64(8 if REGISTERS == 32 else 6)
VECTOR_BYTES = next((width for flag, width in _WIDTHS if flag in target_features()), 16)

CACHE_LINE = 64
# The bytes of one row of a tile, and the distance to the next row. With a power of two as the distance, all
# features of a point would fall into the same cache set. A tile of float32 has as many bytes as one of
# float64, so it has twice as many points.
TILE_BYTES = 2048
STRIDE_BYTES = 2112
WORD = 32  # one integer holds a bit for each of this many points

# We use one array, because for small d it takes longer to pass another array to a function than to compute a
# row. The numbers of rows are np.int64, because numba compiles a function again for each literal integer.
WEIGHTS = np.int64(0)  # the weight of the point
PEAKS = np.int64(1)  # its largest log-density over all components
LEASTS = np.int64(2)  # if a log-density minus the peak is below this, its responsibility is zero
TOTALS = np.int64(3)  # the sum of its densities over all components, divided by the largest density
ZEROS = np.int64(4)  # zeros
POINTS = np.int64(5)
START = np.int64(0)  # where a list of points starts
QUEUES = np.int64(512)  # most queues of a slot. With their lists of points they take 2 to 3 MB.


@spliced_kernel
def first_share(d):
    """Return the first of the K rows of shares."""
    return POINTS + 2 * d


@spliced_kernel
def first_scratch(d, K):
    """Return the first of the d + 8 rows of scratch."""
    return POINTS + 2 * d + K + 1


@spliced_kernel
def first_queue(d, K):
    """Return the row of the first queue."""
    return POINTS + 3 * d + K + 9


@spliced_kernel
def count_queues(K):
    """Return the number of queues: one for each component, or one for all if K is large."""
    return K if K <= QUEUES else 1


@spliced_kernel
def first_more(d, K):
    """Return the first of the rows that only some kernels need."""
    return first_queue(d, K) + count_queues(K)
