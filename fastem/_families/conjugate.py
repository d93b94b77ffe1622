"""The conjugate prior of Gaussians in the M-step (Fraley and Raftery 2007).

Its density, as a function of means and covariances, is that of rows that were seen before. So a posterior is
maximised by the formulas of maximum likelihood, with what these rows add to the sums. docs/explanation/
algorithm.md derives the numbers of rows.
"""

import numpy as np

from fastem._families.given import Belief, Conjugate
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._typing import FloatArray


def conjugate(layout: Layout, belief: Belief, k: int, shared: bool) -> Conjugate:
    """Return what a prior adds to the sums. `shared` says whether the components have one covariance."""
    d = len(belief.mean)
    rows = belief.degrees_of_freedom + (d + 1 if layout.matrices else 2)
    scatter = belief.scale * (float(k) ** (-2 / d) if belief.divided else 1.0)
    if layout.isotropic:
        rows /= d  # each row has the squares of all features
    if shared:
        # One prior for all, of which each component adds its part.
        rows /= k
        scatter = scatter / k
    return Conjugate(belief.concentration, belief.precision, belief.mean, 1 + rows, scatter)


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


def log_prior(layout: Layout, parameters: GaussianParameters, prior: Conjugate, log_scale: float) -> float:
    """Return the log-density of the prior in user units, but for a constant.

    The constant, which would make its integral 1, depends on the prior, K and d alone.
    """
    weights, means, covariances = parameters
    (k, d), m = means.shape, len(covariances)
    logarithms = np.log(layout.pivots(covariances, d)).sum() * k / m
    scatter = _scatter(layout, means, prior)
    if layout.matrices:
        trace = np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2).sum()
    else:
        trace = (scatter / covariances).sum()
    value = -0.5 * (prior.rows * (logarithms + 2 * k * log_scale) + trace)
    if prior.concentration != 1:
        value += (prior.concentration - 1) * np.log(weights).sum()
    return float(value)


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
