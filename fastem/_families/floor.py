"""The M-step of Gaussians. It repairs components for which maximum likelihood gives no valid covariance."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from fastem._families.conjugate import expected_shift, moved, with_prior
from fastem._families.constraints import OF_THEIR_OWN, Constraint
from fastem._families.frame import Frame, Moments
from fastem._families.given import Conjugate
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.matrices import every
from fastem._families.reseed import alive_components, reseed
from fastem._families.rounding import RELATIVE_FLOOR, ROUNDING, hides, noise
from fastem._families.singular import LEAST_RATIO, Spread, Stored, dominated, mend, spread_of
from fastem._families.steps import Maximised, Rule
from fastem._typing import Array, FloatArray

_LEAST_WEIGHT = 1e-200  # of which quotients are exact
# A variance in user units must stay a normal number.
_LEAST_REG_COVAR = float(np.finfo(np.float64).tiny)
# Sums of this precision cannot be taken again more precisely.
_FINEST = float(np.finfo(np.float64).eps)
# Sums for one covariance of all components were whitened and coloured again, which rounds more. A single row
# left a variance of up to 11 times what the others leave.
_WHITENED = 64.0
# In standard coordinates, rounding cannot leave so much variance of a feature that has none.
_CLEAR = 0.25


class Fixed(NamedTuple):
    """Parameters that stay as they are."""

    parameters: GaussianParameters
    means: Array  # (K,) of bool, the components with a fixed mean
    covariances: Array  # (m,) of bool

    @property
    def components(self) -> Array:
        return np.asarray(self.means | self.covariances)


class Total(NamedTuple):
    """The variance of all rows, and what follows from it. No iteration changes it."""

    variance: FloatArray  # (d,)
    floor: FloatArray  # (d,)
    added: FloatArray  # the floor, in the shape of covariances


def stored_in(rule: Rule[GaussianParameters]) -> Stored | None:
    if rule.stored <= rule.precision:
        return None
    return Stored(rule.stored, -rule.frame.shift / rule.frame.scale)


def fixed_in(rule: Rule[GaussianParameters], names: Sequence[str]) -> Fixed | None:
    """Return the means and the covariances that stay fixed, which have these names."""
    if rule.held is None:
        return None
    means, covariances = (rule.held.of(name) for name in names)
    parameters: GaussianParameters = rule.held.parameters
    return Fixed(parameters, means, covariances[: len(parameters.covariances)])


def added_by(rule: Rule[GaussianParameters], layout: Layout) -> FloatArray | Literal["auto"]:
    """Return what the M-step adds to variances, in standard coordinates."""
    if rule.reg_covar is not None:
        scale = rule.frame.scale
        return rule.share * np.asarray(max(rule.reg_covar, _LEAST_REG_COVAR) / scale / scale)
    if rule.before is None:
        return "auto"
    weights, means, covariances = rule.before
    variances = layout.variances(covariances, means.shape[1])
    total = np.asarray(weights @ (variances + np.square(means - weights @ means)))
    return np.asarray(rule.share * (RELATIVE_FLOOR * total))


def clear_total(moments: Moments, frame: Frame, layout: Layout) -> Total | None:
    """Return the variance of all rows, or None if a feature may be constant up to rounding.

    In the frame of the rows no other feature has less than half. That of other rows may hide some.
    """
    variance = moments.variance / frame.scale / frame.scale
    if layout.isotropic:
        variance = np.full_like(variance, variance.mean())
    return _with_floor(layout, variance) if every(variance > _CLEAR) else None


def _with_floor(layout: Layout, variance: FloatArray) -> Total:
    floor = RELATIVE_FLOOR * variance
    return Total(variance, floor, layout.diagonal(floor[None]))


def maximise_gaussian(
    layout: Layout,
    constraint: Constraint,
    sums: GaussianSums,
    mean_row_weight: float,
    precision: float,
    stored: Stored | None = None,
    reg_covar: FloatArray | Literal["auto"] = "auto",
    reseeds: int | None = None,
    before: FloatArray | None = None,
    fixed: Fixed | None = None,
    prior: Conjugate | None = None,
    constant: Array | None = None,
    resolved: float = 0.0,
    total: Total | None = None,
) -> Maximised[GaussianParameters]:
    """Return the maximum-likelihood parameters given the sums of an E-step (Bishop 2006, eq. 9.24 to 9.26).

    A covariance that is not positive definite gets the relative floor. If that is not enough, it becomes the
    diagonal of the total variance. A component without data takes half of the heaviest component. If
    `reseeds` is given, only the first `reseeds` of them do so, and the others keep their means. With a prior
    the parameters maximise the posterior.

    Parameters
    ----------
    sums : in standard coordinates
    mean_row_weight : average weight of a row
    precision : spacing of numbers at 1 in the dtype that the sums were computed in
    stored : how the rows were rounded, if not as in the pass
    reg_covar : (d,) amount added to the diagonals, or "auto": a millionth of each feature's variance
    before : covariances to improve on, which may be those of `sums.means`
    fixed : parameters that are neither estimated nor repaired, given which the others are
    constant : (d,) the features that are known to be constant, though expected sums may not show it
    resolved : the part of the variance of all rows below which a covariance is singular in any case
    total : the variance of all rows, if it is known without the sums
    """
    row_weight = sums.weights.sum()
    if total is None:
        variance = _total_variance(layout, sums, row_weight, ROUNDING * precision)
        if constant is not None and not (layout.isotropic and not constant.all()):
            variance = np.where(constant, 1.0, variance)
        total = _with_floor(layout, variance)
    variance, amount, added = total
    if not isinstance(reg_covar, str):
        amount, added = reg_covar, layout.diagonal(reg_covar[None])
    alive = alive_components(sums.weights, mean_row_weight)
    shares, first = _shares(sums.weights, row_weight, prior), sums.first
    sums, shift, known = _given(layout, sums, alive, fixed, prior)
    weights = _or_one(sums.weights, known)
    covariances, repaired = _estimated(
        layout, constraint, sums, shift, weights, known, amount, added, variance, precision, before, fixed
    )
    spread = spread_of(layout, covariances, amount, variance, precision, resolved, repaired)
    if fixed is not None:
        spread.ratios[fixed.covariances] = np.inf
    means = sums.means + shift
    floored = dominated(layout, covariances, spread, variance, means, weights, stored)
    if fixed is not None and floored is not None:
        floored &= ~fixed.covariances
    on_the_floor: list[int] = [] if floored is None else floored.nonzero()[0].tolist()
    imprecise = precision > _FINEST and (
        bool(on_the_floor and (spread.unknown > amount)[floored].any())
        or hides(spread.pivots, spread.unknown, spread.variances, None if layout.centred else sums.means)
    )
    if on_the_floor:
        mend(layout, covariances, spread.ratios, variance)
    parameters = GaussianParameters(shares, means, covariances)
    reseeded, kept = _reseeded(layout, parameters, first, alive, reseeds, fixed)
    if on_the_floor:
        spread.ratios[floored] = np.inf
    elif not reseeded and spread.factors is not None:
        parameters.remember(spread.factors)

    def slack() -> float:
        if resolved and on_the_floor:
            return np.inf  # it was narrower than the floor, by any factor
        found = _slack(spread, parameters, precision)
        if prior is not None:
            found += _slack_of_prior(layout, covariances, sums.means, prior.rows / row_weight)
        return found

    return Maximised(parameters, reseeded, kept, on_the_floor, slack, imprecise)


def _estimated(
    layout: Layout,
    constraint: Constraint,
    sums: GaussianSums,
    shift: FloatArray,
    weights: FloatArray,
    known: Array,
    amount: FloatArray,
    added: FloatArray,
    variance: FloatArray,
    precision: float,
    before: FloatArray | None,
    fixed: Fixed | None,
) -> tuple[FloatArray, Array | None]:
    """Return the covariances, and which of them got the floor before, (m,), if any could."""
    if fixed is not None and fixed.covariances.all():
        return fixed.parameters.covariances.copy(), None
    repaired: Array | None = None
    if not constraint.direct:
        floor = RELATIVE_FLOOR * variance
        sums, repaired = _regularised(layout, sums, shift, known, amount, floor, precision)
        covariances = np.empty_like(sums.scatter)
        if known.any():  # or all rows may be noise
            last = None if before is None else before[known]
            # A singular scatter may have no volume or shape, and is mended later.
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                covariances[known] = constraint.estimate(
                    _of(sums, known), shift[known], sums.weights[known], last
                )
    else:
        covariances = constraint.estimate(sums, shift, weights, before)
        covariances += added
    if len(covariances) == len(known) and not every(known):
        covariances[~known] = layout.diagonal((variance + amount)[None])
    if fixed is not None:
        covariances[fixed.covariances] = fixed.parameters.covariances[fixed.covariances]
    return covariances, repaired


def _slack(spread: Spread, parameters: GaussianParameters, precision: float) -> float:
    """Return how much of the mean log-likelihood the floor and rounding may cost.

    If D is added to the covariance S, the log-density of an average row loses a quarter of the trace of
    (D inv(S + D))^2, to second order in D. In addition, rows have rounding errors, which weigh more the
    narrower the components are.
    """
    (m, d), shares = spread.ratios.shape, parameters.weights
    losses = np.square(1 / spread.ratios).sum(axis=1)
    slack = float(shares @ losses if m == len(shares) else losses[0])
    return slack + float(ROUNDING * precision * d * (spread.ratios * spread.least).min() ** -0.5)


def _slack_of_prior(layout: Layout, covariances: FloatArray, means: FloatArray, share: float) -> float:
    """The density of the prior has inverse covariances, whose errors go with their smallest eigenvalues."""
    k, d = means.shape
    narrowest = layout.ratios(covariances, np.ones((len(covariances), d))).min()
    return float(ROUNDING * _FINEST * d * k * share / narrowest)


def _shares(weights: FloatArray, total: float, prior: Conjugate | None) -> FloatArray:
    if prior is None:
        return weights / total
    counts = weights + (prior.concentration - 1)
    return np.asarray(counts / counts.sum())


def _or_one(weights: FloatArray, known: Array) -> FloatArray:
    """Return the weights (K,), with 1 in place of those that are not known to be more than 0."""
    return weights if every(known) else np.where(known, weights, 1.0)


def _given(
    layout: Layout, sums: GaussianSums, alive: Array, fixed: Fixed | None, prior: Conjugate | None
) -> tuple[GaussianSums, FloatArray, Array]:
    """Return the sums with what the prior adds, how far means move, and what has enough of either, (K,).

    Where a prior or fixed means put the means, the sums returned are about the new ones.
    """
    shift = sums.first / _or_one(sums.weights, alive)[:, None]
    if not every(alive):
        shift[~alive] = 0.0
    if prior is None and (fixed is None or not fixed.means.any()):
        return sums, shift, alive
    if prior is not None:
        shift, alive = expected_shift(sums, prior), np.ones_like(alive)
    if fixed is not None:
        shift[fixed.means] = (fixed.parameters.means - sums.means)[fixed.means]
        # No part of a row is too little to tell a covariance about a mean that is known.
        alive = alive | (fixed.means & (sums.weights > _LEAST_WEIGHT))
    sums = moved(layout, sums, shift)
    if prior is not None:
        sums = with_prior(layout, sums, prior)
    return sums, np.zeros_like(shift), alive


def _reseeded(
    layout: Layout,
    parameters: GaussianParameters,
    first: FloatArray,
    alive: Array,
    reseeds: int | None,
    fixed: Fixed | None,
) -> tuple[list[int], list[int]]:
    """Re-seed components without rows, in place. Fixed ones are not, and give half of theirs unmoved."""
    if every(alive):
        return [], []
    stays = np.zeros(len(alive), bool) if fixed is None else fixed.components
    split = partial(_split, layout, parameters, first, stays)
    return reseed(parameters.weights, ~(alive | stays), reseeds, split)


def _regularised(
    layout: Layout,
    sums: GaussianSums,
    shift: FloatArray,
    alive: Array,
    amount: FloatArray,
    floor: FloatArray,
    precision: float,
) -> tuple[GaussianSums, Array]:
    """Return sums whose covariances have `amount` on their diagonals, so that the constraint holds with it.

    A singular scatter, from which no volume or shape can be told, also gets the floor. Tell which (K,).
    """
    k, d = shift.shape
    weights = _or_one(sums.weights, alive)
    about = GaussianParameters(weights, shift, layout.diagonal(np.tile(amount, (k, 1))))
    scatter = sums.scatter + layout.scatter(about, weights)
    own = OF_THEIR_OWN[type(layout)].estimate(sums._replace(scatter=scatter), shift, weights, None)
    variances = layout.variances(own, d)
    least = np.maximum(amount, noise(variances, precision, floor / RELATIVE_FLOOR))
    singular = alive & ~(layout.pivots(own, d) > LEAST_RATIO * least).all(axis=1)
    about = about._replace(covariances=layout.diagonal(np.outer(singular, floor)))
    return sums._replace(scatter=scatter + layout.scatter(about, weights)), singular


def _of(sums: GaussianSums, chosen: Array) -> GaussianSums:
    """Return the sums of some components."""
    return GaussianSums(*(array[chosen] for array in sums))


def _total_variance(layout: Layout, sums: GaussianSums, total: float, rounding: float) -> FloatArray:
    """Return the variance of each feature over all rows.

    For a feature that is constant up to rounding it is 1, since its size is known only from its scale.
    """
    gap = sums.means - (sums.weights @ sums.means + sums.first.sum(axis=0)) / total
    weighted = sums.weights[:, None] * gap
    within = layout.diagonal_scatter(sums) / total
    variance = within + (gap * (2 * sums.first + weighted)).sum(axis=0) / total
    if layout.isotropic:
        variance = np.full_like(variance, variance.mean())
    # The mean of all rows rounds with the means, and gaps between rows and means with the rows.
    sizes = np.abs(sums.means)
    sizes += sums.weights @ sizes / total
    errors = within + (sizes * (np.abs(sums.first) + np.abs(weighted))).sum(axis=0) / total
    if layout.isotropic:
        errors = np.full_like(errors, errors.mean())
    if layout.shape(*sums.means.shape)[0] < len(sums.means):
        errors = errors * _WHITENED
    known = variance > rounding * (errors + rounding)
    return variance if every(known) else np.where(known, variance, 1.0)


def _split(
    layout: Layout,
    parameters: GaussianParameters,
    first: FloatArray,
    stays: Array,
    component: int,
    heaviest: int,
) -> None:
    """Split the heaviest component in two, in place, one deviation apart along its widest feature.

    The other features follow as they depend on it. One that is fixed stays, and the other is as far from it,
    on the side of most of its rows, whose sums about its last mean are `first` (K, d).
    """
    _, means, covariances = parameters
    k, d = means.shape
    index = heaviest if len(covariances) == k else 0
    variances = layout.variances(covariances, d)[index]
    widest = int(np.argmax(variances))
    along = covariances[index][widest] if layout.matrices else np.eye(d)[widest] * variances[widest]
    step = 0.5 * along / np.sqrt(variances[widest])
    if stays[heaviest]:
        means[component] = means[heaviest] + (2 if first[heaviest] @ step > 0 else -2) * step
    else:
        means[component] = means[heaviest] - step
        means[heaviest] += step
    if len(covariances) == k:
        covariances[component] = covariances[heaviest]
