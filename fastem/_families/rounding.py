"""What rounding hides from the M-step of Gaussians, and when passes over float32 rows compute in float64.

Sums of products in float32 know the variance of a feature given the others up to some rounding errors of its
variance. So two features that nearly agree may look as if they did agree. The rows can tell much more, since
their rounding errors enter as squares.
"""

from typing import Any

import numpy as np

from fastem._typing import FloatArray

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


def noise(variances: FloatArray, precision: float, total: FloatArray | float) -> FloatArray:
    """Return which variances cannot be told from rounding errors of the sums, (m, d).

    `variances` (m, d) are those of features, and `total` those over all rows. `precision` is the spacing of
    numbers at 1 in the pass.
    """
    rounding = ROUNDING * precision
    return np.maximum(rounding * variances, rounding**2 * total)


def stored_noise(squares: FloatArray, precision: float) -> FloatArray:
    """Return the variance that rounding adds to numbers with these mean squares when they are stored.

    Rounding errors are uniform on an interval of at most `precision` times the number.
    """
    return np.asarray(precision**2 / 12 * squares)


def is_coarse(precision: float) -> bool:
    """Return whether sums with this precision can be taken again in float64."""
    return bool(precision > np.finfo(np.float64).eps)


def hides(pivots: FloatArray, least: FloatArray, variances: FloatArray, means: FloatArray | None) -> bool:
    """Return whether one of `pivots` (m, d) is near the noise `least` (m, d).

    `pivots` are the variances of each feature given the features before it. If the sums centre only one factor, `means` (m, d) tell how far the other is from zero.
    """
    return not bool((pivots > DOMINATED * least * _distance(variances, least, means)).all())


def pass_dtype(
    dtype: np.dtype[Any], variances: FloatArray, precisions: FloatArray, means: FloatArray | None
) -> np.dtype[Any]:
    """Return the dtype for a pass over rows of `dtype`.

    `variances` and `precisions` (m, d) are the diagonals of the covariances and of their inverses. The sum of
    their products is at least the inverse of the smallest eigenvalue of the correlations.
    """
    if dtype == np.float64:
        return dtype
    precision = float(np.finfo(dtype).eps)
    rounding = _NEAR * ROUNDING * precision * _distance(variances, noise(variances, precision, _TOTAL), means)
    collinear = (variances * precisions).sum(axis=1, keepdims=True) * rounding >= 1
    narrow = precisions * (_NEAR * _TOTAL * (ROUNDING * precision) ** 2) >= 1
    return np.dtype(np.float64) if collinear.any() or narrow.any() else dtype


def _distance(variances: FloatArray, least: FloatArray, means: FloatArray | None) -> FloatArray | float:
    """Return by how much the distance from zero multiplies the rounding errors, (m, 1)."""
    if means is None:
        return 1.0
    deviations = np.sqrt(np.maximum(variances, least))
    return np.asarray(np.maximum(1.0, _FAR * (np.abs(means) / deviations).max(axis=1, keepdims=True)))
