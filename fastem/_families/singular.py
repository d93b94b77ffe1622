"""Which covariances are singular up to rounding, and what is done about it."""

from typing import NamedTuple

import numpy as np

from fastem._families.layouts import Layout
from fastem._families.matrices import every
from fastem._families.rounding import DOMINATED, RELATIVE_FLOOR, noise, stored_noise
from fastem._typing import Array, FloatArray

# With the floor added, a variance is at least 1 floor, except for rounding. If it is not more than this many
# floors, the floor was not enough.
LEAST_RATIO = 0.5
# We compute eigenvalues only if the variance of a feature, given the features before it, is at most this many
# floors, or if it is not certain that they are larger than the second number.
NEAR, _CERTAIN = 1e3, 10.0


class Stored(NamedTuple):
    """How the rows were rounded before a pass that is more precise than they are."""

    precision: float  # spacing of numbers at 1 in the dtype of the rows
    zero: FloatArray  # (d,) the rows of zeros, in standard coordinates


class Spread(NamedTuple):
    """What decides which covariances are singular, (m, d) each if nothing else is said."""

    amount: FloatArray  # (d,) what was added to variances
    pivots: FloatArray
    variances: FloatArray
    unknown: FloatArray  # variances that cannot be told from rounding errors
    least: FloatArray
    ratios: FloatArray  # see `_ratios`
    clear: bool  # whether no covariance is near the floor
    factors: FloatArray | None  # see `Layout.factors`


def spread_of(
    layout: Layout,
    covariances: FloatArray,
    amount: FloatArray,
    variance: FloatArray,
    precision: float,
    resolved: float = 0.0,
    repaired: Array | None = None,
) -> Spread:
    """Return the spread of covariances to which `amount` has been added. Those `repaired` got the floor too.

    Variances below the part `resolved` of that of all rows are unknown.
    """
    factors = layout.factors(covariances)
    pivots = layout.pivots(covariances, len(variance), factors)
    # Without correlations a feature varies as much given those before it.
    variances = layout.variances(covariances, len(variance)) if layout.matrices else pivots
    unknown = noise(variances, precision, variance)
    if resolved:
        unknown = np.maximum(unknown, resolved * variance)
    least = np.maximum(amount, unknown)
    if repaired is not None:
        least[repaired] = np.maximum(least[repaired], RELATIVE_FLOOR * variance)
    ratios, clear = _ratios(layout, covariances, pivots, variances, least)
    return Spread(amount, pivots, variances, unknown, least, ratios, clear, factors)


def dominated(
    layout: Layout,
    covariances: FloatArray,
    spread: Spread,
    variance: FloatArray,
    means: FloatArray,
    weights: FloatArray,
    stored: Stored | None,
) -> Array | None:
    """Return which covariances rounding or the floor may dominate, (m,), or None if they dominate none.

    `means` and `weights` of the components are needed if the rows were `stored` with rounding errors.
    """
    floored = None
    if not (spread.clear or every(spread.ratios > DOMINATED)):
        floored = _narrow(layout, covariances, spread, variance)
    if stored is None:
        return floored
    # Arithmetic can cope with a variance as small as the rounding errors of rows. But it tells nothing.
    squares, distances = np.maximum(spread.variances, 0), np.square(means - stored.zero)
    if len(covariances) < len(distances):
        distances = weights @ distances / weights.sum()
    rounded = np.maximum(spread.unknown, stored_noise(squares + distances, stored.precision))
    lost = _some_below(_ratios(layout, covariances, spread.pivots, spread.variances, rounded)[0], DOMINATED)
    return lost if floored is None else floored | lost


def _narrow(layout: Layout, covariances: FloatArray, spread: Spread, variance: FloatArray) -> Array:
    """Return which covariances have little more than the floor, (m,), without what was added beyond it.

    However much a user adds to the variances, a component that has enough of its own is sound.
    """
    floor = RELATIVE_FLOOR * variance
    beyond = np.maximum(spread.amount - floor, 0)
    if not beyond.any():
        return _some_below(spread.ratios, DOMINATED)
    own = covariances - layout.diagonal(beyond[None])
    least = np.minimum(spread.least, np.maximum(floor, spread.unknown))
    pivots, variances = layout.pivots(own, len(floor)), layout.variances(own, len(floor))
    return _some_below(_ratios(layout, own, pivots, variances, least)[0], DOMINATED)


def repair(
    layout: Layout, covariances: FloatArray, amount: FloatArray, variance: FloatArray, precision: float
) -> Array:
    """Repair singular covariances in place, to which `amount` has been added. Tell which are floored (m,)."""
    spread = spread_of(layout, covariances, amount, variance, precision)
    floored = _narrow(layout, covariances, spread, variance)
    mend(layout, covariances, spread.ratios, variance)
    return floored


def mend(layout: Layout, covariances: FloatArray, ratios: FloatArray, variance: FloatArray) -> None:
    """Repair in place the covariances whose ratios to the least variances (m, d) are too small."""
    singular = _some_below(ratios, LEAST_RATIO)
    if singular.any():
        covariances += layout.diagonal(np.outer(singular, RELATIVE_FLOOR * variance))
        lost = ~(layout.pivots(covariances, len(variance)) > 0).all(axis=1)
        covariances[lost] = layout.diagonal(variance[None])


def _ratios(
    layout: Layout, covariances: FloatArray, pivots: FloatArray, variances: FloatArray, least: FloatArray
) -> tuple[FloatArray, bool]:
    """Return the ratios (m, d) of the variances of each covariance to `least` (m, d), and if all are large.

    Covariances near the floor get ratios of eigenvalues, one for each direction. For all others the ratios
    are of the variance of each feature given the features before it, which is cheaper.
    """
    with np.errstate(all="ignore"):  # both may be 0
        ratios = np.asarray(pivots / least)
        large = ratios.min(axis=1) > NEAR
        if layout.matrices:
            large &= _bound(pivots, variances, least) > _CERTAIN
        if every(large):
            return ratios, True
        near = ~large
        ratios[near] = layout.ratios(covariances[near], least[near])
    return ratios, False


def _bound(pivots: FloatArray, variances: FloatArray, least: FloatArray) -> FloatArray:
    """Return what no eigenvalue of a covariance, in units of `least`, is less than, (m,).

    Where all features but one follow from others, each may vary given those before it. The eigenvalues of
    correlations add up to d, so the least one is at least their determinant divided by e: the mean of the
    others is at most d / (d - 1), and they multiply to the (d - 1)th power of that at most.
    """
    return np.asarray((variances / least).min(axis=1) * (pivots / variances).prod(axis=1) / np.e)


def _some_below(ratios: FloatArray, least: float) -> Array:
    """Return which covariances have ratios (m, d) that are not above `least`, (m,)."""
    above = ratios > least
    return np.zeros(len(above), bool) if every(above) else np.asarray(~above.all(axis=1))
