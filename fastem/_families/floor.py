"""The M-step of Gaussians. It repairs components for which maximum likelihood gives no valid covariance."""

from functools import partial
from typing import Literal

import numpy as np

from fastem._families.base import Maximised
from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.reseed import alive_components, reseed
from fastem._typing import Array, FloatArray

RELATIVE_FLOOR = 1e-6
# A component is floored if, in some direction, its variance is at most this many times the floor. Then the
# floor is a third or more of the variance.
DOMINATED = 3.0
# With the floor added, a variance is at least 1 floor, except for rounding. If it is not more than this many
# floors, the floor was not enough.
_LEAST_RATIO = 0.5
# We compute eigenvalues only if the variance of a feature, given the features before it, is at most this many
# floors.
NEAR = 1e3
# A conditional variance or a deviation below this many rounding errors is noise.
ROUNDING = 16.0


def maximise_gaussian(
    layout: Layout,
    constraint: Constraint,
    sums: GaussianSums,
    mean_row_weight: float,
    precision: float,
    reg_covar: FloatArray | Literal["auto"] = "auto",
    reseeds: int | None = None,
) -> Maximised[GaussianParameters]:
    """Return the maximum-likelihood parameters given the sums of an E-step (Bishop 2006, eq. 9.24 to 9.26).

    A covariance that is not positive definite gets the relative floor. If that is not enough, it becomes the
    diagonal of the total variance. A component without data takes half of the heaviest component. If
    `reseeds` is given, only the first `reseeds` of them do so, and the others keep their means.

    Parameters
    ----------
    sums : in standard coordinates
    mean_row_weight : average weight of a row
    precision : spacing of numbers at 1 in the dtype that the sums were computed in
    reg_covar : (d,) amount added to the diagonals, or "auto": a millionth of each feature's variance
    """
    k, d = sums.means.shape
    m = layout.shape(k, d)[0]
    variance = _total_variance(layout, sums, ROUNDING * precision)
    floor = RELATIVE_FLOOR * variance
    amount = floor if isinstance(reg_covar, str) else reg_covar
    alive = alive_components(sums.weights, mean_row_weight)
    weights = np.where(alive, sums.weights, 1.0)
    shift = np.where(alive[:, None], sums.first / weights[:, None], 0.0)

    covariances = constraint.estimate(sums, shift, weights)
    if m == k:
        covariances[~alive] = layout.diagonal(variance[None])
    covariances += layout.diagonal(amount[None])
    rounding = ROUNDING * precision
    ratios, least, floored = repair(layout, covariances, amount, variance, rounding)

    parameters = GaussianParameters(sums.weights / sums.weights.sum(), sums.means + shift, covariances)
    split = partial(_split, layout, parameters)
    reseeded, kept = reseed(parameters.weights, ~alive, reseeds, split)
    # If D is added to the covariance S, the log-density of an average row loses a quarter of the trace of
    # (D inv(S + D))^2, to second order in D. In addition, rows have rounding errors, which weigh more the
    # narrower the components are.
    ratios[floored] = np.inf
    slack = float(parameters.weights @ np.broadcast_to(np.square(1 / ratios).sum(axis=1), k))
    slack += float(rounding * d / np.sqrt((ratios * least).min()))
    on_the_floor = [int(component) for component in np.flatnonzero(floored)]
    return Maximised(parameters, reseeded, kept, on_the_floor, slack)


def repair(
    layout: Layout, covariances: FloatArray, amount: FloatArray, variance: FloatArray, rounding: float
) -> tuple[FloatArray, FloatArray, Array]:
    """Repair singular covariances in place.

    Return the ratios (m, d) of the covariances before that to the least variances (m, d), and which are
    floored (m,).
    """
    d = len(variance)
    noise = np.maximum(rounding * layout.variances(covariances, d), rounding**2 * variance)
    least = np.maximum(amount, noise)
    ratios = _ratios(layout, covariances, least)
    singular = ~(ratios > _LEAST_RATIO).all(axis=1)
    if singular.any():
        covariances += layout.diagonal(np.outer(singular, RELATIVE_FLOOR * variance))
        lost = ~(layout.pivots(covariances, d) > 0).all(axis=1)
        covariances[lost] = layout.diagonal(variance[None])
    return ratios, least, np.asarray(~(ratios > DOMINATED).all(axis=1))


def _ratios(layout: Layout, covariances: FloatArray, least: FloatArray) -> FloatArray:
    """Return the ratios (m, d) of the variances of each covariance to `least` (m, d).

    Covariances near the floor get ratios of eigenvalues, one for each direction. For all others the ratios
    are of the variance of each feature given the features before it, which is cheaper.
    """
    ratios = np.asarray(layout.pivots(covariances, least.shape[1]) / least)
    near = ~(ratios > NEAR).all(axis=1)
    ratios[near] = layout.ratios(covariances[near], least[near])
    return ratios


def _total_variance(layout: Layout, sums: GaussianSums, rounding: float) -> FloatArray:
    """Return the variance of each feature over all rows.

    For a feature that is constant up to rounding it is 1, since its size is known only from its scale.
    """
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
    """Split the heaviest component in two, in place, one deviation apart along its widest feature."""
    _, means, covariances = parameters
    k, d = means.shape
    index = heaviest if len(covariances) == k else 0
    widest = np.eye(d)[np.argmax(layout.variances(covariances, d)[index])]
    step = 0.5 * layout.colour(covariances[index], widest)
    means[component] = means[heaviest] - step
    means[heaviest] += step
    if len(covariances) == k:
        covariances[component] = covariances[heaviest]
