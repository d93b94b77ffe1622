"""The conjugate prior of Gaussians in the M-step (Fraley and Raftery 2007).

Its density, as a function of means and covariances, is that of rows that were seen before. So a posterior is
maximised by the formulas of maximum likelihood, with what these rows add to the sums. docs/explanation/
algorithm.md derives the numbers of rows.
"""

import numpy as np

from fastem._families.constraints import OF_THEIR_OWN
from fastem._families.frame import Frame
from fastem._families.given import Belief, Conjugate, ConjugatePrior
from fastem._families.layouts import Full, GaussianParameters, GaussianSums, Layout
from fastem._families.rounding import RELATIVE_FLOOR
from fastem._typing import FloatArray

# A smaller variance in standard coordinates is what rounding leaves of a constant column.
_CONSTANT = 1e-24


class NormalInverseWishart(ConjugatePrior):
    """The prior of Gaussians with these covariances. For variances, Wishart means gamma."""

    def __init__(self, layout: Layout, shared: bool) -> None:
        """`shared` says whether all components have one covariance, and so one prior of it."""
        self.storage = type(layout).__name__.lower()
        self._layout, self._shared = layout, shared

    def scale_of(self, sums: GaussianSums, frame: Frame) -> FloatArray:
        """Return the covariance, or for variances the mean of those of all features, in user units.

        A millionth of each variance makes a matrix positive definite where columns are collinear.
        """
        d = len(frame.scale)
        own = OF_THEIR_OWN.get(type(self._layout), OF_THEIR_OWN[Full])
        covariance = own.estimate(sums, sums.first / sums.weights[:, None], sums.weights, None)
        variances = self._layout.variances(covariance, d)
        known = np.where(variances > _CONSTANT, variances, 1.0)
        if self._layout.matrices:
            return covariance + self._layout.diagonal(RELATIVE_FLOOR * known)
        user = self._layout.rescale(covariance, frame.scale)
        mean = np.full_like(user, user.mean())
        floor = self._layout.diagonal(RELATIVE_FLOOR * np.ones((1, d)))
        return np.maximum(self._layout.rescale(mean, 1 / frame.scale), floor)

    def scale_from_user(self, scale: FloatArray, frame: Frame) -> FloatArray:
        return self._layout.rescale(scale[None], 1 / frame.scale)

    def of(self, belief: Belief, k: int) -> Conjugate:
        d = len(belief.mean)
        rows = belief.degrees_of_freedom + (d + 1 if self._layout.matrices else 2)
        scatter = belief.scale * (float(k) ** (-2 / d) if belief.divided else 1.0)
        if self._layout.isotropic:
            rows /= d  # each row has the squares of all features
        if self._shared:
            # One prior for all, of which each component adds its part.
            rows, scatter = rows / k, scatter / k
        return Conjugate(belief.concentration, belief.precision, belief.mean, 1 + rows, scatter)

    def log_density(self, parameters: GaussianParameters, prior: Conjugate, frame: Frame) -> float:
        weights, means, covariances = parameters
        (k, d), m = means.shape, len(covariances)
        logarithms = np.log(self._layout.pivots(covariances, d)).sum() * k / m
        scatter = _scatter(self._layout, means, prior)
        if self._layout.matrices:
            trace = np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2).sum()
        else:
            trace = (scatter / covariances).sum()
        value = -0.5 * (prior.rows * (logarithms + 2 * k * frame.log_scale) + trace)
        if prior.concentration != 1:
            value += (prior.concentration - 1) * np.log(weights).sum()
        return float(value)


def expected_shift(sums: GaussianSums, prior: Conjugate) -> FloatArray:
    """Return what to add to the means of the pass for those that maximise the posterior, (K, d)."""
    pull = prior.precision * (prior.mean - sums.means)
    return np.asarray((sums.first + pull) / (sums.weights + prior.precision)[:, None])


def moved(layout: Layout, sums: GaussianSums, shift: FloatArray) -> GaussianSums:
    """Return the sums about means + shift, for the covariances given these means, whatever they are."""
    half = sums.first - sums.weights[:, None] * (shift / 2)
    scatter = sums.scatter - 2 * products(layout, half, shift)
    return GaussianSums(sums.means + shift, sums.weights, np.zeros_like(shift), scatter)


def with_prior(layout: Layout, sums: GaussianSums, prior: Conjugate) -> GaussianSums:
    """Return sums about the new means with what the prior adds to them."""
    scatter = sums.scatter + _scatter(layout, sums.means, prior)
    return sums._replace(weights=sums.weights + prior.rows, scatter=scatter)


def _scatter(layout: Layout, means: FloatArray, prior: Conjugate) -> FloatArray:
    gaps = means - prior.mean
    between = prior.precision * products(layout, gaps, gaps)
    return np.asarray(between + prior.scatter * (len(means) / len(between)))


def products(layout: Layout, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the symmetric products of rows (K, d) as the layout stores scatter."""
    if not layout.matrices:
        squares = left * right
        return squares.sum(axis=1) if layout.isotropic else squares
    each = left[:, :, None] * right[:, None, :]
    each = (each + each.transpose(0, 2, 1)) / 2
    return each if len(each) == layout.shape(*left.shape)[0] else each.sum(axis=0, keepdims=True)
