"""The M-step of Gaussians and its repair rule: maximum likelihood where it exists, a valid mixture always."""

from functools import partial
from typing import Literal

import numpy as np

from fastem._families.base import Maximised
from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.reseed import alive_components, reseed
from fastem._typing import Array, FloatArray

RELATIVE_FLOOR = 1e-6
# A variance of which the floor is a third or more, in some direction, is the floor's doing, not the data's.
_DOMINATED = 3.0
# Adding the floor makes it 1 at least, but for rounding; else it did not do.
_LEAST_RATIO = 0.5
# Directions are worth looking at where a feature, given those before it, is so near the floor.
_NEAR = 1e3
# Below so many rounding errors, a conditional variance or a deviation is noise.
_ROUNDING = 16.0


def maximise_gaussian(
    layout: Layout,
    constraint: Constraint,
    sums: GaussianSums,
    mean_row_weight: float,
    precision: float,
    reg_covar: FloatArray | Literal["auto"] = "auto",
    reseeds: int | None = None,
) -> Maximised[GaussianParameters]:
    """Parameters of maximum likelihood given the sums of an E-step (Bishop 2006, eq. 9.24 to 9.26).

    A covariance that is not positive definite gets the relative floor, and if that does not mend it,
    the diagonal of the total variance. A component without data takes half of the heaviest one;
    with `reseeds` given the first so many do, and the others keep their means.

    Parameters
    ----------
    sums : in standard coordinates
    mean_row_weight : average weight of a row
    precision : spacing of numbers at 1 in the dtype that the sums were computed in
    reg_covar : (d,) amount added to the diagonals, or "auto": a millionth of each feature's variance
    """
    k, d = sums.means.shape
    m = layout.shape(k, d)[0]
    variance = _total_variance(layout, sums, _ROUNDING * precision)
    floor = RELATIVE_FLOOR * variance
    amount = floor if isinstance(reg_covar, str) else reg_covar
    alive = alive_components(sums.weights, mean_row_weight)
    weights = np.where(alive, sums.weights, 1.0)
    shift = np.where(alive[:, None], sums.first / weights[:, None], 0.0)

    def fallback(where: Array) -> None:
        if where.any():
            covariances[where] = layout.diagonal(variance[None])

    covariances = constraint.estimate(sums, shift, weights)
    if m == k:
        fallback(~alive)
    covariances += layout.diagonal(amount[None])
    rounding = _ROUNDING * precision
    noise = np.maximum(rounding * layout.variances(covariances, d), rounding**2 * variance)
    least = np.maximum(amount, noise)
    ratios = _ratios(layout, covariances, least)
    floored = ~(ratios > _DOMINATED).all(axis=1)
    singular = ~(ratios > _LEAST_RATIO).all(axis=1)
    if singular.any():
        covariances += layout.diagonal(np.outer(singular, floor))
        fallback(np.asarray(~(layout.pivots(covariances, d) > 0).all(axis=1)))

    parameters = GaussianParameters(sums.weights / sums.weights.sum(), sums.means + shift, covariances)
    split = partial(_split, layout, parameters)
    reseeded, kept = reseed(parameters.weights, ~alive, reseeds, split)
    # Adding D to S loses a quarter of the trace of (D inv(S + D))^2 in the log-density of an average row,
    # to second order in D. Rows are known to a rounding error, the larger the narrower the components are.
    ratios[floored] = np.inf
    slack = float(parameters.weights @ np.broadcast_to(np.square(1 / ratios).sum(axis=1), k))
    slack += float(rounding * d / np.sqrt((ratios * least).min()))
    on_the_floor = [int(component) for component in np.flatnonzero(floored)]
    return Maximised(parameters, reseeded, kept, on_the_floor, slack)


def _ratios(layout: Layout, covariances: FloatArray, least: FloatArray) -> FloatArray:
    """How many times `least` (m, d) each covariance is, (m, d): direction by direction, where that is near.

    Those sound by far are spared the eigenvalues: the variance of each feature given those before it will do.
    """
    ratios = np.asarray(layout.pivots(covariances, least.shape[1]) / least)
    near = ~(ratios > _NEAR).all(axis=1)
    ratios[near] = layout.ratios(covariances[near], least[near])
    return ratios


def _total_variance(layout: Layout, sums: GaussianSums, rounding: float) -> FloatArray:
    """Variance of each feature over all rows; 1 for a feature that is constant up to rounding, as its
    frame's scale is all that is known of its size."""
    total = sums.weights.sum()
    gap = sums.means - (sums.weights @ sums.means + sums.first.sum(axis=0)) / total
    within = layout.diagonal_scatter(sums) / total
    between = (gap * (2 * sums.first + sums.weights[:, None] * gap)).sum(axis=0) / total
    variance = within + between
    if layout.isotropic:
        variance = np.full_like(variance, variance.mean())
    known = variance > rounding * (within + rounding)
    return np.where(known, variance, 1.0)


def _split(layout: Layout, parameters: GaussianParameters, component: int, heaviest: int) -> None:
    """Part the heaviest component in two, a deviation apart along its widest feature, in place."""
    _, means, covariances = parameters
    k, d = means.shape
    index = heaviest if len(covariances) == k else 0
    widest = np.eye(d)[np.argmax(layout.variances(covariances, d)[index])]
    step = 0.5 * layout.colour(covariances[index], widest)
    means[component] = means[heaviest] - step
    means[heaviest] += step
    if len(covariances) == k:
        covariances[component] = covariances[heaviest]
