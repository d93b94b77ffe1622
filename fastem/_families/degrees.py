"""The M-step of the degrees of freedom of t distributions."""

import numpy as np

from fastem._families.special import digamma, gamma_shape, trigamma
from fastem._typing import FloatArray

# At the upper limit a t is a Gaussian to all practical purposes, and float32 still has its digits. At the lower
# one its tails say no more than that some rows are anywhere.
LEAST, MOST = 0.1, 1000.0
_STEPS = 50  # at most; as a rule it is five
_PRECISION = 1e-12


def own_degrees(s: FloatArray, d: int) -> FloatArray:
    """Return nu where each component has a scale of its own, given s = log(mean u) - mean(log u).

    With g(a) = log(a) - digamma(a) it is the root of g(nu / 2) - g((nu + d) / 2) = s. EM has the old nu in the
    second term. See docs/explanation/algorithm.md.
    """

    def excess(log_a: FloatArray) -> FloatArray:
        return np.asarray(np.log(_gap(np.exp(log_a), d / 2) / s))

    low, high = np.log([LEAST / 2, MOST / 2])
    log_a = np.full(s.shape, high)
    with np.errstate(divide="ignore"):
        inside = (excess(log_a) < 0) & (excess(np.full(s.shape, low)) > 0)
        log_a[excess(np.full(s.shape, low)) <= 0] = low
    s, x = s[inside], np.full(int(inside.sum()), 0.5 * (low + high))
    # The logarithm of the left side falls nearly linearly with log(a).
    for _ in range(_STEPS if x.size else 0):
        a = np.exp(x)
        slope = a * _gap_slope(a, d / 2) / _gap(a, d / 2)
        step = excess(x) / slope
        x = np.clip(x - step, low, high)
        if (np.abs(step) < _PRECISION).all():
            break
    log_a[inside] = x
    return np.asarray(2 * np.exp(log_a))


def _gap(a: FloatArray, more: float) -> FloatArray:
    """Return g(a) - g(a + more)."""
    return np.asarray(digamma(a + more) - digamma(a) - np.log1p(more / a))


def _gap_slope(a: FloatArray, more: float) -> FloatArray:
    return np.asarray(trigamma(a + more) - trigamma(a) + more / (a * (a + more)))


def degrees_given_scale(s: FloatArray, before: FloatArray, d: int) -> FloatArray:
    """Return nu where all components share a scale, given s = mean u - 1 - mean(log u) and the old nu.

    This is EM: g(nu / 2) = s + g((before + d) / 2).
    """
    old = (before + d) / 2
    return np.asarray(np.clip(2 * gamma_shape(s + np.log(old) - digamma(old)), LEAST, MOST))
