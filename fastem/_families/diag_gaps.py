"""Passes over rows with missing numbers, for Gaussians and t distributions without correlations.

Given the component, what is missing has its mean and its variance. So the sums are those over what is
observed, and each missing number adds the variance that its feature had in the pass. They mean what the sums
of complete rows mean, so that constraints, priors and repairs need no change.
"""

from math import lgamma
from typing import Any

import numpy as np

from fastem._families.frame import Frame
from fastem._families.gaps import expected
from fastem._families.layouts import ROOT, GaussianParameters, GaussianSums, Layout
from fastem._families.packed import common
from fastem._families.rounding import pass_dtype_of_diagonals
from fastem._families.special import digamma
from fastem._kernels._params import (
    DiagGapsParams,
    DiagGapsSums,
    StudentGapsParams,
    StudentGapsSums,
    StudentParams,
)
from fastem._typing import FloatArray

_LN2 = float(np.log(2))


class WithGaps:
    """What passes need of a layout of variances. Spherical covariances are packed as diagonal ones."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def new_sums(self, slots: int, k: int, d: int) -> DiagGapsSums:
        return DiagGapsSums(
            weights=np.zeros((slots, k)),
            first=np.zeros((slots, k, d)),
            second=np.zeros((slots, k, 1, d)),
            observed=np.zeros((slots, k, d)),
            log2_likelihood=np.zeros(slots),
        )

    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> DiagGapsParams:
        variances = self._layout.variances(parameters.covariances, parameters.means.shape[1])
        dtype = pass_dtype_of_diagonals(dtype, variances)
        inverse, means = 1 / np.sqrt(variances), parameters.means.astype(dtype)
        return DiagGapsParams(
            *common(parameters.weights, frame, 0.0, dtype),
            means=means,
            whiteners=(ROOT * inverse).astype(dtype),
            offsets=(ROOT * inverse * means).astype(dtype),
            logs=np.log2(inverse).astype(dtype),
            variances=variances,
        )

    def collect(self, params: DiagGapsParams, sums: DiagGapsSums) -> GaussianSums:
        return expected_sums(self._layout, params, sums.weights, sums.weights, sums)


def expected_sums(
    layout: Layout,
    params: DiagGapsParams,
    weights: FloatArray,
    scaled: FloatArray,
    sums: DiagGapsSums | StudentGapsSums,
) -> GaussianSums:
    """Return the expected sums. weights (K,) are those of rows, and `scaled` (K,) those of the moments."""
    # Where nothing is missing, the two sums of r may differ by rounding errors.
    missing = np.maximum(weights[:, None] - sums.observed, 0.0)
    scatter = sums.second[:, 0] + missing * params.variances
    if layout.isotropic:
        scatter = scatter.sum(axis=1)
    return GaussianSums(params.means.astype(np.float64), scaled, sums.first, scatter)


def student_sums(slots: int, k: int, d: int) -> StudentGapsSums:
    numbers, moments = np.zeros((2, slots, k)), np.zeros((3, slots, k, d))
    return StudentGapsSums(
        weights=numbers[0],
        logarithms=numbers[1],
        scaled_weights=np.zeros((slots, k)),
        first=moments[0],
        second=moments[1][:, :, None],
        pivots=np.zeros((slots, 0, 0)),
        observed=moments[2],
        log2_likelihood=np.zeros(slots),
    )


def student_params(gaussian: DiagGapsParams, nu: FloatArray) -> StudentGapsParams:
    """Return what a pass needs for degrees of freedom nu (K,) and these means and scales."""
    dtype, (k, d) = gaussian.shift.dtype, gaussian.means.shape
    halves, logs = nu[:, None] / 2, -0.5 * np.log2(gaussian.variances)
    of_rows = (
        np.arange(d, -1, -1) / 2
    )  # half of the number of features that a row has, by that which it lacks
    gammas = np.array([[lgamma(half + more) - lgamma(half) for more in of_rows] for half in halves[:, 0]])
    constants = (gammas - of_rows * np.log(nu)[:, None]) / _LN2
    digammas = digamma(halves + of_rows) / _LN2
    log2_weights = gaussian.log2_weights + constants[:, 0] + logs.sum(axis=1)
    student = StudentParams(
        shift=gaussian.shift,
        inverse_scale=gaussian.inverse_scale,
        log2_weights=log2_weights.astype(dtype),
        slopes=(2 * _LN2 / nu).astype(dtype),
        shapes=((nu + d) / 2).astype(dtype),
        factors=((nu + d) / nu).astype(dtype),
        gaussian=gaussian._replace(log2_weights=np.zeros(k, dtype), logs=np.zeros((k, d), dtype)),
    )
    return StudentGapsParams(
        shift=student.shift,
        inverse_scale=student.inverse_scale,
        log2_weights=student.log2_weights,
        student=student,
        changes=-logs.astype(dtype)[None],
        constants=(constants - constants[:, :1]).astype(dtype)[None],
        logarithms=(digammas - digammas[:, :1]).astype(dtype)[None],
        slopes=(1 / nu).astype(dtype),
    )


def independently_imputed(
    layout: Layout,
    gaussian: GaussianParameters,
    nu: FloatArray | None,
    X: FloatArray,
    responsibilities: FloatArray,
    rng: np.random.Generator | None,
) -> FloatArray:
    """Return rows with expectations, or with draws, in place of NaN, in user units.

    Features are independent given the component. For t distributions, with degrees of freedom nu (K,), they
    are so given the size of the row too, of which what is observed tells.
    """
    means = gaussian.means
    if rng is None:
        return expected(X, responsibilities, means)
    labels = responsibilities.argmax(axis=1)
    variances = layout.variances(gaussian.covariances, means.shape[1])[labels]
    missing, z = np.isnan(X), X - means[labels]
    if nu is not None:
        distances = np.where(missing, 0.0, np.square(z) / variances).sum(axis=1)
        there = np.count_nonzero(~missing, axis=1)
        sizes = rng.chisquare(nu[labels] + there) / (nu[labels] + distances)
        variances = variances / np.maximum(sizes, np.finfo(np.float64).tiny)[:, None]
    noise = rng.standard_normal(X.shape) * np.sqrt(variances)
    return np.where(missing, means[labels] + noise, X)
