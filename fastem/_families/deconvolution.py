"""What the kernels of rows with gaps and known noise (`_kernels/_measured`) need of Gaussians; their sums."""

import numpy as np

from fastem._families.frame import Frame
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.matrices import diagonals, identity, invert_lower, symmetric
from fastem._kernels._measured import MeasuredParams, MeasuredSums
from fastem._typing import FloatArray

_SAFE = 0.5  # what bounds the pivots is found by another way, with other rounding errors
_HALF_LOG2_2PI = 0.5 * float(np.log2(2 * np.pi))


def measured_params(layout: Layout, parameters: GaussianParameters, frame: Frame) -> MeasuredParams:
    """Return the parameters, with matrices if the layout has them, else with variances."""
    k, d = parameters.means.shape
    variances = np.broadcast_to(layout.variances(parameters.covariances, d), (k, d))
    if layout.matrices:
        covariances = np.broadcast_to(parameters.covariances, (k, d, d))
        factors = np.broadcast_to(np.linalg.cholesky(parameters.covariances), (k, d, d))
    else:
        covariances, factors = variances[:, None], np.sqrt(variances)[:, None]
    return _params(parameters, covariances, factors, frame)


def with_matrices(params: MeasuredParams) -> MeasuredParams:
    """Return the same for rows whose noise is not independent between features."""
    d = params.means.shape[1]
    if params.covariances.shape[1] == d:
        return params
    unit = identity(d)
    return params._replace(covariances=params.covariances * unit, factors=params.factors * unit)


def _params(
    parameters: GaussianParameters, covariances: FloatArray, factors: FloatArray, frame: Frame
) -> MeasuredParams:
    d = parameters.means.shape[1]
    # What is left of the variance of a feature, given others that a row may have, is at least the inverse of
    # the diagonal of the precision. A feature that is missing counts as in `gaps`.
    if factors.shape[1] == d:
        inverses = invert_lower(factors)
        precisions = np.einsum("kij,kij->kj", inverses, inverses)
    else:
        precisions = 1 / covariances[:, 0]
    gaps = _HALF_LOG2_2PI + np.log2(frame.scale)
    with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
        log2_weights = np.log2(parameters.weights)
    return MeasuredParams(
        shift=frame.shift.astype(np.float64),
        inverse_scale=1 / frame.scale,
        log2_weights=log2_weights,
        means=np.ascontiguousarray(parameters.means),
        covariances=np.ascontiguousarray(covariances),
        factors=np.ascontiguousarray(factors),
        log2_peaks=log2_weights + np.maximum(0.5 * np.log2(precisions), gaps).sum(axis=1),
        least=_SAFE / precisions,
        gaps=gaps,
    )


def new_sums(params: MeasuredParams, slots: int) -> MeasuredSums:
    """Return accumulators of zeros."""
    k, d = params.means.shape
    return MeasuredSums(
        weights=np.zeros((slots, k)),
        first=np.zeros((slots, k, d)),
        second=np.zeros((slots, *params.covariances.shape)),
        log2_likelihood=np.zeros(slots),
    )


def measured_sums(layout: Layout, params: MeasuredParams, merged: MeasuredSums) -> GaussianSums:
    """Return the expected sums from those of the kernel, added over all slots, which are whitened."""
    k, d = params.means.shape
    weights, factors = merged.weights, params.factors
    if factors.shape[1] != d:
        first = factors[:, 0] * merged.first
        scatter = np.square(factors[:, 0]) * (weights[:, None] + merged.second[:, 0])
    else:
        first = np.einsum("kij,kj->ki", factors, merged.first)
        whitened = symmetric(merged.second) + weights[:, None, None] * identity(d)
        scatter = factors @ whitened @ factors.transpose(0, 2, 1)
        scatter = (scatter + scatter.transpose(0, 2, 1)) / 2  # the product rounds the triangles differently
    return GaussianSums(params.means, weights, first, _of_layout(layout, scatter, k, d))


def _of_layout(layout: Layout, scatter: FloatArray, k: int, d: int) -> FloatArray:
    """Return scatter matrices (K, d, d), or their diagonals (K, d), as the layout has them."""
    shape = layout.shape(k, d)
    if layout.matrices:
        return scatter if shape[0] == k else scatter.sum(axis=0, keepdims=True)
    variances = scatter if scatter.ndim == 2 else diagonals(scatter)
    return np.array(variances if len(shape) == 2 else variances.sum(axis=1))
