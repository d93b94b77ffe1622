"""What kernels of Gaussians take, whatever the layout of their covariances."""

from functools import cache
from typing import Any

import numpy as np

from fastem._families.frame import Frame
from fastem._kernels._params import Sums
from fastem._typing import Array, FloatArray


def new_sums_of(slots: int, k: int, d: int, second: tuple[int, int, int], pivots: int) -> Sums:
    """Return accumulators of zeros. `second` is the shape of the sums of products."""
    return Sums(
        weights=np.zeros((slots, k)),
        first=np.zeros((slots, k, d)),
        second=np.zeros((slots, *second)),
        pivots=np.zeros((slots, pivots, pivots)),
        log2_likelihood=np.zeros(slots),
    )


def common(
    weights: FloatArray, frame: Frame, log2_determinants: FloatArray | float, dtype: np.dtype[Any]
) -> tuple[Array, Array, Array]:
    """Return the first fields of the params of all layouts: shift, inverse_scale and log2_weights."""
    log2_weights = _log2(weights) + log2_determinants
    return *frame.in_dtype(dtype), log2_weights.astype(dtype, copy=False)


@cache
def ones(k: int, dtype: np.dtype[Any]) -> Any:
    """Return ones, which no kernel changes. Kernels are compiled for params that are not read-only."""
    return np.ones(k, dtype)


def _log2(weights: FloatArray) -> FloatArray:
    """Return the logarithms of weights, which are -inf for weights of zero."""
    if np.count_nonzero(weights) == len(weights):
        return np.asarray(np.log2(weights))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(weights))
