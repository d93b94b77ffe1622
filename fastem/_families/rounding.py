"""What rounding hides from the M-step of Gaussians, and when passes over float32 rows compute in float64.

Sums of products in float32 know the variance of a feature given the others up to some rounding errors of its
variance. So two features that nearly agree may look as if they did agree. The rows can tell much more, since
their rounding errors enter as squares.
"""

import math
from typing import Any

import numpy as np

from fastem._typing import FloatArray

RELATIVE_FLOOR = 1e-6  # of the variance of a feature: what is added to variances by default
# A conditional variance or a deviation below this many rounding errors is noise.
ROUNDING = 16.0
# If a variance is at most this many times the noise, the noise may be a third or more of it.
DOMINATED = 3.0
# Passes about parameters this near to the noise compute in float64. It is more than `DOMINATED`, so that
# float32 passes seldom turn out to be not enough.
_NEAR = 4.0
# Standard coordinates have at most this variance in each feature.
_TOTAL = 2.0
# Sums of r z x' have rounding errors in proportion to |x|. We measured up to two rounding errors of the
# variance for each deviation from zero to x.
_FAR = 0.5
# A bound from this many numbers or fewer saves more time than it takes. For more, BLAS would start threads.
_FEW = 1024
_EPSILON = float(np.finfo(np.float32).eps)


def noise(variances: FloatArray, precision: float, total: FloatArray | float) -> FloatArray:
    """Return which variances cannot be told from rounding errors of the sums, (m, d).

    `variances` (m, d) are those of features, and `total` those over all rows. `precision` is the spacing of
    numbers at 1 in the pass.
    """
    rounding = ROUNDING * precision
    return np.maximum(rounding * variances, rounding**2 * total)


def stored_noise(squares: FloatArray, precision: float) -> FloatArray:
    """Return the variance that rounding adds to numbers with these mean squares when they are stored.

    Rounding errors are uniform on an interval as long as the spacing of numbers of this size. Since scales
    are powers of two, this can be told in standard coordinates.
    """
    with np.errstate(divide="ignore"):
        spacing = precision * np.exp2(np.floor(np.log2(squares) / 2))
    return np.asarray(spacing**2 / 12)


def hides(pivots: FloatArray, least: FloatArray, variances: FloatArray, means: FloatArray | None) -> bool:
    """Return whether one of `pivots` (m, d) is near the noise `least` (m, d).

    `pivots` are the variances of each feature given the features before it, and `variances` those of each
    feature. If the sums centre only one factor, `means` (m, d) tell how far the other is from zero.
    """
    smallest = float(pivots.min())
    reach = _reach(means, smallest) if smallest > 0 else np.inf
    if smallest > DOMINATED * float(least.max()) * reach:
        return False  # this is cheaper, and as a rule enough
    return not bool((pivots > DOMINATED * least * _distance(np.maximum(variances, least), means)).all())


def pass_dtype(
    dtype: np.dtype[Any], covariances: FloatArray, whiteners: FloatArray, means: FloatArray | None
) -> np.dtype[Any]:
    """Return the dtype for a pass over rows of `dtype`, given covariances and whiteners (m, d, d).

    The sum of the products of the diagonals of a covariance and of its inverse is at least the inverse of the
    smallest eigenvalue of the correlations.
    """
    if dtype == np.float64:
        return dtype
    limit = _EPSILON * ROUNDING * _NEAR
    if whiteners.size <= _FEW:
        size = float(np.vdot(whiteners, whiteners))  # at least any inverse variance, given others or not
        largest = max(1.0, math.sqrt(float(np.vdot(covariances, covariances))))
        if size * largest * _reach(means, 1 / size) * limit < 1:
            return dtype
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    precisions = np.einsum("kij,kij->kj", whiteners, whiteners)
    relative = (variances * precisions).sum(axis=1, keepdims=True)
    collinear = bool((relative * _distance(variances, means) * limit >= 1).any())
    return np.dtype(np.float64) if collinear or _are_narrow(1 / precisions) else dtype


def pass_dtype_of_diagonals(dtype: np.dtype[Any], variances: FloatArray) -> np.dtype[Any]:
    """Return the dtype for a pass over rows of `dtype`, given variances of any shape."""
    if dtype == np.float64:
        return dtype
    return np.dtype(np.float64) if _are_narrow(variances) else dtype


def _are_narrow(variances: FloatArray) -> bool:
    return float(variances.min()) <= _NEAR * _TOTAL * (ROUNDING * _EPSILON) ** 2


def _distance(variances: FloatArray, means: FloatArray | None) -> FloatArray | float:
    """Return by how much the distance from zero multiplies the rounding errors, (m, 1)."""
    if means is None:
        return 1.0
    far = (np.abs(means) / np.sqrt(variances)).max(axis=1, keepdims=True)
    return np.asarray(np.maximum(1.0, _FAR * far))


def _reach(means: FloatArray | None, smallest: float) -> float:
    """Return a bound of `_distance` for variances that are not less than `smallest`."""
    if means is None:
        return 1.0
    largest = math.sqrt(float(np.vdot(means, means))) if means.size <= _FEW else float(np.abs(means).max())
    return max(1.0, _FAR * largest / math.sqrt(smallest))
