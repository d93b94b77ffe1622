"""The compiled kernels. They import numpy, numba and math, and no other module of fastem."""
