"""Kernels that tests call. An edit of this file has all kernels compiled anew for the tests."""

import numpy as np

from fastem._kernels._jit import entry_kernel


@entry_kernel
def allocate_slot(sizes, sums, slot):
    """OUT sums (G,): the sum of as many ones as `sizes` says for the slot."""
    sums[slot] = np.ones(sizes[slot]).sum()
