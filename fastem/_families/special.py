"""Special functions of arrays, which NumPy does not have."""

import numpy as np

from fastem._typing import FloatArray

# The series for large x, whose first missing term is below a rounding error from here on. Smaller x are
# shifted there by the recurrence, and so are all others, since it is fastest to treat all alike.
_SHIFTS = np.arange(10.0)
_LARGE = 10.0
# Newton's steps double the digits, from a start that has two.
_STEPS = 5


def digamma(x: FloatArray) -> FloatArray:
    """Return the derivative of log Gamma(x) for x > 0 (Abramowitz and Stegun 1964, 6.3.5 and 6.3.18)."""
    x = np.asarray(x, dtype=np.float64)
    below = (1 / (x[..., None] + _SHIFTS)).sum(axis=-1)
    x = x + _LARGE
    y = 1 / (x * x)
    tail = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132 - y * (691 / 32760))))))
    return np.asarray(np.log(x) - 0.5 / x - tail - below)


def trigamma(x: FloatArray) -> FloatArray:
    """Return the derivative of `digamma` for x > 0 (Abramowitz and Stegun 1964, 6.4.6 and 6.4.12)."""
    x = np.asarray(x, dtype=np.float64)
    below = (1 / np.square(x[..., None] + _SHIFTS)).sum(axis=-1)
    x = x + _LARGE
    y = 1 / (x * x)
    tail = y * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * (5 / 66 - y * (691 / 2730))))))
    return np.asarray(1 / x + 0.5 * y + tail / x + below)


def gamma_shape(s: FloatArray) -> FloatArray:
    """Return the shape a with log(a) - digamma(a) = s > 0 (Minka 2002).

    It is that of the gamma distribution of maximum likelihood, if s is the logarithm of the mean less the
    mean of the logarithm.
    """
    a = rough_gamma_shape(s)
    for _ in range(_STEPS):
        a = 1 / (1 / a + (np.log(a) - digamma(a) - s) / (a - np.square(a) * trigamma(a)))
    return np.asarray(a)


def rough_gamma_shape(s: FloatArray) -> FloatArray:
    """Return it to two digits."""
    return np.asarray((3 - s + np.sqrt(np.square(s - 3) + 24 * s)) / (12 * s))
