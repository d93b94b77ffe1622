"""New arrays. numba would compile `np.empty` and `np.zeros` for each set of options of their callers."""

import numpy as np

from fastem._kernels._jit import allocating_kernel


@allocating_kernel
def new_array(n, dtype):
    """Return an array (n,) of any numbers."""
    return np.empty(n, dtype)


@allocating_kernel
def new_counts(n):
    """Return n zeros."""
    counts = new_array(n, np.int64)
    for i in range(n):
        counts[i] = 0
    return counts
