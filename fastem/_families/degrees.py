"""The M-step of the degrees of freedom of t distributions."""

import numpy as np

from fastem._families.special import digamma, gamma_shape, log_less_digamma, rough_gamma_shape, trigamma
from fastem._typing import Array, FloatArray

# At the upper limit a t is a Gaussian to all practical purposes, and float32 still has its digits. At the
# lower one its tails say no more than that some rows are anywhere.
LEAST, MOST = 0.1, 1000.0
# If all u are equal, rounding may make s negative.
_ROUNDING = float(np.finfo(np.float64).eps)
_STEPS = 20  # at most; as a rule it is four
# Where nu is large, rounding moves it more than that. But there it hardly matters.
_PRECISION = 1e-9


def own_degrees(s: FloatArray, d: int) -> FloatArray:
    """Return nu where each component has a scale of its own, given s = log(mean u) - mean(log u).

    With g(a) = log(a) - digamma(a) it is the root of g(nu / 2) - g((nu + d) / 2) = s. EM has the old nu in
    the second term. See docs/explanation/algorithm.md. The logarithm of the left side falls nearly linearly
    with log(nu), so these are Newton's steps between the two logarithms.
    """
    s, more = np.maximum(s, _ROUNDING), d / 2
    large = (np.sqrt(more * more + 2 * more / s) - more) / 2  # since g(a) is about 1 / (2 a)
    a = np.clip(rough_gamma_shape(s + 0.5 / (large + more)), LEAST / 2, MOST / 2)
    for _ in range(_STEPS):
        both = np.stack([a, a + more])
        psi, slope = digamma(both), trigamma(both)
        gap = psi[1] - psi[0] - np.log1p(more / a)
        fall = slope[0] - slope[1] - more / (a * (a + more))
        before, a = a, np.clip(a * np.exp(gap / (a * fall) * np.log(gap / s)), LEAST / 2, MOST / 2)
        if (np.abs(a - before) < _PRECISION * a).all():
            break
    return np.asarray(2 * a)


def degrees_given_scale(s: FloatArray, before: FloatArray, d: int) -> FloatArray:
    """Return nu where all components share a scale, given s = mean u - 1 - mean(log u) and the old nu.

    This is EM: g(nu / 2) = s + g((before + d) / 2).
    """
    old = (before + d) / 2
    return np.asarray(
        np.clip(2 * gamma_shape(np.maximum(s, _ROUNDING) + np.log(old) - digamma(old)), LEAST, MOST)
    )


def corrections(nu: FloatArray, observed: Array, d: int) -> FloatArray:
    """Return what makes log u of rows with fewer features observed tell as much of nu as that of whole rows.

    E[log tau] is log u - g((nu + o) / 2) with g(a) = log(a) - digamma(a), and the M-step of nu has d for o.
    """
    return log_less_digamma((nu + d) / 2) - log_less_digamma((nu + observed) / 2)
