"""Special functions of positive arrays, in NumPy, and the shape of a gamma distribution.

An argument below 10 goes up by 10, by the recurrence of the gamma function. Then an asymptotic series follows
(Abramowitz and Stegun 1964, 6.1.40, 6.3.18 and 6.4.11). Errors are some rounding errors.
"""

import numpy as np

from fastem._typing import FloatArray

_FAR = 10.0  # from here on the first neglected term of each series is below a rounding error
_STEPS = np.arange(_FAR)
_NEWTON_STEPS = 4  # 3 were enough for all s from 1e-15 to 1e4


def log_gamma(a: FloatArray) -> FloatArray:
    y, before = _raised(a)
    logs = np.log(before).sum(axis=-1)
    return np.asarray((y - 0.5) * np.log(y) - y + 0.5 * np.log(2 * np.pi) + _stirling(y) - logs)


def log_gamma_gain(a: FloatArray, n: FloatArray) -> FloatArray:
    """Return log_gamma(a + n) - log_gamma(a) for n >= 0, without cancellation for large a."""
    total = np.asarray(a + n, dtype=np.float64)
    far = np.maximum(a, _FAR)
    gain = (far - 0.5) * np.log1p(n / far) + n * np.log(far + n) - n + _stirling(far + n) - _stirling(far)
    return np.where(a < _FAR, log_gamma(total) - log_gamma(a), gain)


def stirling_error(a: FloatArray) -> FloatArray:
    """Return log_gamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2), without cancellation for large a."""
    near = np.minimum(a, _FAR)
    exact = log_gamma(near) - ((near - 0.5) * np.log(near) - near + 0.5 * np.log(2 * np.pi))
    return np.where(a < _FAR, exact, _stirling(np.maximum(a, _FAR)))


def digamma(a: FloatArray) -> FloatArray:
    return np.asarray(np.log(a) - log_less_digamma(a))


def log_less_digamma(a: FloatArray) -> FloatArray:
    """Return log(a) - digamma(a), without cancellation for large a. It is about 1 / (2 a)."""
    y, before = _raised(a)
    total = np.where(a < _FAR, (1 / before).sum(axis=-1), 0.0)
    return np.asarray(np.log(a / y) + 0.5 / y + _digamma_tail(1 / (y * y)) + total)


def log_gamma_and_digamma(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return both, in less time than one after the other."""
    y, before = _raised(a)
    logs, q = np.log(y), 1 / (y * y)
    log_gammas = (y - 0.5) * logs - y + 0.5 * np.log(2 * np.pi) + _stirling(y) - np.log(before.prod(axis=-1))
    steps = np.where(y > a, (1 / before).sum(axis=-1), 0.0)
    return log_gammas, logs - 0.5 / y - _digamma_tail(q) - steps


def trigamma(a: FloatArray) -> FloatArray:
    return np.asarray(1 / a + trigamma_less_reciprocal(a))


def trigamma_less_reciprocal(a: FloatArray) -> FloatArray:
    """Return trigamma(a) - 1 / a, without cancellation for large a. It is about 1 / (2 a^2)."""
    y, before = _raised(a)
    steps = 1 / (before * before * (before + 1))  # 1 / y^2 + 1 / (y + 1) - 1 / y
    total = np.where(a < _FAR, steps.sum(axis=-1), 0.0)
    q = 1 / (y * y)
    tail = q / y * (1 / 6 - q * (1 / 30 - q * (1 / 42 - q * (1 / 30 - q * (5 / 66 - q * 691 / 2730)))))
    return np.asarray(0.5 * q + tail + total)


def gamma_shape(s: FloatArray) -> FloatArray:
    """Return the shape a with log(a) - digamma(a) = s > 0, which is the maximum-likelihood estimate.

    For a gamma distribution s is log(mean of x) - mean of log x. The iteration is the generalised Newton
    method of Minka (2002, "Estimating a gamma distribution"), which goes in steps of 1 / a.
    """
    s = np.asarray(s, dtype=np.float64)
    a = rough_gamma_shape(s)
    for _ in range(_NEWTON_STEPS):
        slope = a * a * trigamma_less_reciprocal(a)
        a = 1 / (1 / a - (log_less_digamma(a) - s) / slope)
    return np.asarray(a)


def rough_gamma_shape(s: FloatArray) -> FloatArray:
    """Return `gamma_shape` to two digits."""
    root = np.sqrt(np.square(s - 3) + 24 * s)
    return np.where(s > 1, 2 / np.maximum(root + s - 3, 1), (3 - s + root) / (12 * s))


def _raised(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return an argument of at least 10, and the ten before it, (..., 10), or ones if `a` is that large."""
    a = np.asarray(a, dtype=np.float64)
    near = a < _FAR
    return np.where(near, a + _FAR, a), np.where(near[..., None], a[..., None] + _STEPS, 1.0)


def _digamma_tail(q: FloatArray) -> FloatArray:
    """Return the end of the series of log(y) - digamma(y), for q = 1 / y^2."""
    return q * (1 / 12 - q * (1 / 120 - q * (1 / 252 - q * (1 / 240 - q * (1 / 132 - q * 691 / 32760)))))


def _stirling(y: FloatArray) -> FloatArray:
    q = 1 / (y * y)
    series = 1 / 12 - q * (1 / 360 - q * (1 / 1260 - q * (1 / 1680 - q * (1 / 1188 - q * 691 / 360360))))
    return np.asarray(series / y)
