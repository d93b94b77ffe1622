"""Compiled kernels: the ground floor. Imports numpy, numba and math, nothing above."""
