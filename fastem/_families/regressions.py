"""What is missing, expected by regression on what is observed.

Letters: K components, d features, o of them observed, M matrices, K or 1. All in standard coordinates.
"""

from typing import NamedTuple

import numpy as np

from fastem._families.frame import Frame
from fastem._families.layouts import GaussianParameters, GaussianSums
from fastem._families.matrices import identity, invert_lower, symmetric
from fastem._kernels._incomplete import IncompleteParams
from fastem._kernels._layout import VECTOR_BYTES
from fastem._typing import Array, FloatArray

_LANES = VECTOR_BYTES // 8
_NUMBERS = 1 << 19  # in each array that is computed at a time


def row_params(
    parameters: GaussianParameters,
    frame: Frame,
    constants: FloatArray,
    degrees: FloatArray,
    corrections: FloatArray,
) -> IncompleteParams:
    """Return what the kernel for rare patterns needs.

    `constants` (d + 1, K) leave out weights and whiteners.
    """
    d = parameters.means.shape[1]
    whiteners = invert_lower(np.linalg.cholesky(parameters.covariances))
    with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
        log_weights = np.log(parameters.weights)
    determinants = np.log(np.diagonal(whiteners, axis1=1, axis2=2)).sum(axis=1)
    return IncompleteParams(
        frame.shift,
        1 / frame.scale,
        parameters.means,
        np.ascontiguousarray(np.pad(whiteners.transpose(0, 2, 1), ((0, 0), (0, 0), (0, -d % _LANES)))),
        constants + log_weights + determinants,
        np.log(frame.scale),
        degrees,
        corrections,
    )


def expanded(
    parameters: GaussianParameters, observed: Array, sums: list[GaussianSums], weights: FloatArray
) -> GaussianSums:
    """Return the sum over patterns of the expected sums over all features.

    IN observed (patterns, o), weights (patterns, K): how much of each pattern each component has
    """
    means, V = parameters.means, parameters.covariances
    k, d = means.shape
    total = GaussianSums(means, np.zeros(k), np.zeros((k, d)), np.zeros_like(V))
    step = max(1, _NUMBERS // V.size)
    for start in range(0, len(observed), step):
        chosen = observed[start : start + step]
        about = regressions(V, chosen)
        some = sums[start : start + step]
        first, scatter = np.array([one.first for one in some]), np.array([one.scatter for one in some])
        shares = weights[start : start + step]
        if len(V) == 1:
            shares = shares.sum(axis=1, keepdims=True)
        R = about.R.transpose(0, 1, 3, 2)
        total = GaussianSums(
            means,
            total.weights + sum(one.weights for one in some),
            total.first + (first[:, :, None] @ R)[:, :, 0].sum(axis=0),
            total.scatter + (about.R @ scatter @ R + shares[:, :, None, None] * about.B).sum(axis=0),
        )
    scatter = total.scatter
    return total._replace(scatter=(scatter + scatter.transpose(0, 2, 1)) / 2)


class Regressions(NamedTuple):
    R: FloatArray  # (patterns, M, d, o) what each feature is expected to be, for each one observed
    B: FloatArray  # (patterns, M, d, d) the covariances given these


def regressions(V: FloatArray, observed: Array) -> Regressions:
    """Return the regression of all features on those observed, (patterns, o)."""
    (patterns, count), m = observed.shape, len(V)
    rows = np.arange(patterns)[:, None]
    part = V[:, observed].transpose(1, 0, 2, 3)  # (patterns, M, o, d)
    own = np.take_along_axis(part, observed[:, None, None, :], axis=3)
    inverses = invert_lower(np.linalg.cholesky(own).reshape(-1, count, count)).reshape(own.shape)
    half = inverses @ part  # (patterns, M, o, d)
    R = half.transpose(0, 1, 3, 2) @ inverses
    B = V - half.transpose(0, 1, 3, 2) @ half
    # What is observed is itself, without rounding.
    R[rows, :, observed] = np.broadcast_to(identity(count)[None, :, None], (patterns, count, m, count))
    B[rows, :, observed] = 0.0
    B.transpose(0, 1, 3, 2)[rows, :, observed] = 0.0
    return Regressions(R, B)


def full_triangle(matrices: FloatArray) -> FloatArray:
    """Return symmetric matrices (m, d, d) from their lower triangles, (m, d, d or more)."""
    return symmetric(matrices[:, :, : matrices.shape[1]])
