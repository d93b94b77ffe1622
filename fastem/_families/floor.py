"""The M-step and its repair rule: maximum likelihood where it exists, a valid mixture always."""

from typing import Literal, NamedTuple

import numpy as np

from fastem._families.gaussian import Collected, Family, Parameters
from fastem._typing import Array, FloatArray

RELATIVE_FLOOR = 1e-6
# A component lighter than this share of an average row has no data of its own.
_DEAD = 1e-3
# A variance of which the floor is a third or more, in some direction, is the floor's doing, not the data's.
_DOMINATED = 3.0
# Adding the floor makes it 1 at least, but for rounding; else it did not do.
_LEAST_RATIO = 0.5
# Directions are worth looking at where a feature, given those before it, is so near the floor.
_NEAR = 1e3
# Below so many rounding errors, a conditional variance or a deviation is noise.
_ROUNDING = 16.0


class Maximised(NamedTuple):
    """New parameters, and which components are not plain maximum likelihood."""

    parameters: Parameters
    dead: list[int]  # without data
    floored: list[int]  # singular but for the floor
    slack: float = 0.0  # mean log-likelihood that reg_covar and the rounding of rows may have cost


def maximise(
    family: Family,
    collected: Collected,
    mean_row_weight: float,
    precision: float,
    reg_covar: FloatArray | Literal["auto"] = "auto",
    reseeds: int | None = None,
) -> Maximised:
    """Parameters of maximum likelihood given the sums of an E-step (Bishop 2006, eq. 9.24 to 9.26).

    A covariance that is not positive definite gets the relative floor, and if that does not mend it,
    the diagonal of the total variance. A component without data takes half of the heaviest one;
    with `reseeds` given the first so many do, and the others keep their means.

    Parameters
    ----------
    collected : sums in standard coordinates
    mean_row_weight : average weight of a row
    precision : spacing of numbers at 1 in the dtype that the sums were computed in
    reg_covar : (d,) amount added to the diagonals, or "auto": a millionth of each feature's variance
    """
    k, d = collected.means.shape
    m = family.shape(k, d)[0]
    variance = _total_variance(family, collected, _ROUNDING * precision)
    floor = RELATIVE_FLOOR * variance
    amount = floor if isinstance(reg_covar, str) else reg_covar
    alive = collected.weights > _DEAD * mean_row_weight
    weights = np.where(alive, collected.weights, 1.0)
    shift = np.where(alive[:, None], collected.first / weights[:, None], 0.0)

    def fallback(where: Array) -> None:
        if where.any():
            covariances[where] = family.diagonal(variance[None])

    covariances = family.estimate(collected, shift, weights)
    if m == k:
        fallback(~alive)
    covariances += family.diagonal(amount[None])
    rounding = _ROUNDING * precision
    noise = np.maximum(rounding * family.variances(covariances, d), rounding**2 * variance)
    least = np.maximum(amount, noise)
    ratios = _ratios(family, covariances, least)
    floored = ~(ratios > _DOMINATED).all(axis=1)
    singular = ~(ratios > _LEAST_RATIO).all(axis=1)
    if singular.any():
        covariances += family.diagonal(np.outer(singular, floor))
        fallback(np.asarray(~(family.pivots(covariances, d) > 0).all(axis=1)))

    parameters = Parameters(collected.weights / collected.weights.sum(), collected.means + shift, covariances)
    dead = [int(component) for component in np.flatnonzero(~alive)]
    for component in dead[:reseeds]:
        _take_half_of_heaviest(family, parameters, component)
    # Adding D to S loses a quarter of the trace of (D inv(S + D))^2 in the log-density of an average row,
    # to second order in D. Rows are known to a rounding error, the larger the narrower the components are.
    ratios[floored] = np.inf
    slack = float(parameters.weights @ np.broadcast_to(np.square(1 / ratios).sum(axis=1), k))
    slack += float(rounding * d / np.sqrt((ratios * least).min()))
    return Maximised(parameters, dead, [int(component) for component in np.flatnonzero(floored)], slack)


def _ratios(family: Family, covariances: FloatArray, least: FloatArray) -> FloatArray:
    """How many times `least` (m, d) each covariance is, (m, d): direction by direction, where that is near.

    Those sound by far are spared the eigenvalues: the variance of each feature given those before it will do.
    """
    ratios = np.asarray(family.pivots(covariances, least.shape[1]) / least)
    near = ~(ratios > _NEAR).all(axis=1)
    ratios[near] = family.ratios(covariances[near], least[near])
    return ratios


def _total_variance(family: Family, collected: Collected, rounding: float) -> FloatArray:
    """Variance of each feature over all rows; 1 for a feature that is constant up to rounding, as its
    frame's scale is all that is known of its size."""
    total = collected.weights.sum()
    gap = collected.means - (collected.weights @ collected.means + collected.first.sum(axis=0)) / total
    within = family.diagonal_scatter(collected) / total
    between = (gap * (2 * collected.first + collected.weights[:, None] * gap)).sum(axis=0) / total
    variance = within + between
    if family.isotropic:
        variance = np.full_like(variance, variance.mean())
    known = variance > rounding * (within + rounding)
    return np.where(known, variance, 1.0)


def _take_half_of_heaviest(family: Family, parameters: Parameters, component: int) -> None:
    """Split the heaviest component in two, a deviation apart along its widest feature, in place."""
    weights, means, covariances = parameters
    k, d = means.shape
    heaviest = int(np.argmax(weights))
    index = heaviest if len(covariances) == k else 0
    widest = np.eye(d)[np.argmax(family.variances(covariances, d)[index])]
    step = 0.5 * family.colour(covariances[index], widest)
    means[component] = means[heaviest] - step
    means[heaviest] += step
    weights[component] = weights[heaviest] = (weights[heaviest] + weights[component]) / 2
    if len(covariances) == k:
        covariances[component] = covariances[heaviest]
