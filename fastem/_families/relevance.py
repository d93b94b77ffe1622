"""Gaussians between those of a background model and those of the rows: MAP adaptation by a relevance factor.

Each component of the background counts as so many rows as the relevance factor tells (Reynolds, Quatieri and
Dunn 2000, section 3.3).
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from fastem._families.constraints import Constraint
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.rounding import ROUNDING, noise
from fastem._typing import Array, FloatArray

ADAPTABLE = ("weights", "means", "covariances")  # what may be adapted

# A component of this weight adds nothing to what components share, yet tells what is its own.
_HARDLY_ANY = 1e-100


class Adapted(NamedTuple):
    """Adapted parameters in standard coordinates."""

    weights: FloatArray  # (K,)
    moves: FloatArray  # (K, d) from the means of the background, exactly 0 for a component without rows
    covariances: FloatArray


def adapted(
    layout: Layout,
    constraint: Constraint,
    background: GaussianParameters,
    sums: GaussianSums,
    relevance: float,
    names: Collection[str],
    precision: float,
) -> Adapted:
    """Return what Reynolds, Quatieri and Dunn (2000) call the adapted parameters (eq. 11 to 14).

    Second moments are taken about the new means, whether these have moved or not.

    Parameters
    ----------
    background : in standard coordinates
    sums : of an E-step, which need not be about the parameters of the background
    relevance : how many rows each component of the background stands for
    names : of the parameters to adapt
    precision : spacing of numbers at 1 in the pass
    """
    n = sums.weights
    present = n > 0
    rows = np.where(present, n, 1.0)
    own = np.where(present[:, None], sums.first / rows[:, None], 0.0)  # means of the rows, less sums.means
    shares = np.where(present, n / (rows + relevance), 0.0)
    weights, covariances = background.weights, background.covariances
    moves = np.zeros_like(background.means)
    if "weights" in names:
        weights = shares * (n / n.sum()) + (1 - shares) * weights
        weights = weights / weights.sum()
    if "means" in names:
        moves = shares[:, None] * (sums.means + own - background.means)
    if "covariances" in names:
        # In units in which the weights are at most 1, whatever the relevance factor.
        unit = n.max() + relevance
        counts = n / unit
        prior = np.where(counts + relevance / unit > 0, relevance / unit, _HARDLY_ANY)
        off = background.means + moves - sums.means - own  # from the mean of the rows to the new mean
        about_own = (sums.scatter - _outer(layout, own, n)) / unit
        scatter = about_own + _outer(layout, off, counts)
        scatter += layout.scatter(background, prior) + _outer(layout, moves, prior)
        centred = GaussianSums(background.means + moves, counts + prior, np.zeros_like(moves), scatter)
        covariances = _estimated(layout, constraint, centred, covariances)
        # The scatter about the means of the pass is known up to its rounding errors, and no better elsewhere.
        errors = _per_covariance(layout, n[:, None] * np.square(own), n + relevance)
        kept = ~present if constraint.direct else np.zeros_like(present)
        _check_definite(layout, covariances, background, kept, errors, precision)
    return Adapted(weights, moves, covariances)


def _outer(layout: Layout, points: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the scatter of one point (d,) of each component, with `weights` (K,), as the layout has it."""
    weighted = weights[:, None] * points
    if layout.shape(*points.shape)[0] < len(points):
        return (weighted.T @ points)[None]
    if layout.matrices:
        return np.asarray(weighted[:, :, None] * points[:, None, :])
    squares = weighted * points
    return np.asarray(squares.sum(axis=1) if layout.isotropic else squares)


def _estimated(layout: Layout, constraint: Constraint, sums: GaussianSums, before: FloatArray) -> FloatArray:
    """Return covariances of sums about their means, of which the rounding has the two triangles agree.

    Where they are singular there may be NaN.
    """
    if layout.matrices:
        sums = sums._replace(scatter=_symmetric(sums.scatter))
    with np.errstate(divide="ignore", invalid="ignore"):
        covariances = constraint.estimate(sums, sums.first, sums.weights, before)
    return _symmetric(covariances) if layout.matrices else covariances


def _symmetric(matrices: FloatArray) -> FloatArray:
    return np.asarray((matrices + matrices.transpose(0, 2, 1)) / 2)


def _per_covariance(layout: Layout, squares: FloatArray, counts: FloatArray) -> FloatArray:
    """Return what squares (K, d) add to the variances of covariances of `counts` (K,) rows, (m, d)."""
    if layout.isotropic:
        squares = np.repeat(squares.mean(axis=1, keepdims=True), squares.shape[1], axis=1)
    if layout.shape(*squares.shape)[0] < len(squares):
        return np.asarray(squares.sum(axis=0, keepdims=True) / counts.sum())
    return squares / np.where(counts > 0, counts, 1.0)[:, None]


def _check_definite(
    layout: Layout,
    covariances: FloatArray,
    background: GaussianParameters,
    kept: Array,
    errors: FloatArray,
    precision: float,
) -> None:
    """Raise an error unless all variances are above rounding. `errors` (m, d) are what the sums round."""
    k, d = background.means.shape
    variances = layout.variances(covariances, d)
    least = noise(variances, precision, layout.variances(background.covariances, d))
    least = np.maximum(least, ROUNDING * precision * errors)
    sound = (layout.pivots(covariances, d) > least).all(axis=1) | (len(covariances) == k) & kept
    if not sound.all():
        which = f"that of component {np.argmin(sound)}" if len(covariances) == k else "it"
        raise ValueError(
            f"covariances must be positive definite; {which} would be singular, since the rows lie at one "
            "point or in one plane. Raise relevance, or leave the covariances out of parameters."
        )


def completed(
    layout: Layout, constraint: Constraint, weights: FloatArray, covariances: FloatArray, kept: list[int]
) -> FloatArray:
    """Return covariances that obey a constraint, if those of all components but `kept` do.

    What the components share is that of the others. What is their own, such as a volume, stays.
    """
    before = covariances.copy()
    before[kept] = covariances[np.argmax(weights)]
    weights = weights.copy()
    weights[kept] = _HARDLY_ANY
    none = np.zeros((len(weights), covariances.shape[-1] if covariances.ndim > 1 else 1))
    about = GaussianParameters(weights, none, covariances)
    sums = GaussianSums(none, weights, none, layout.scatter(about, weights))
    found = covariances.copy()
    found[kept] = _estimated(layout, constraint, sums, before)[kept]
    return found
