"""Special functions in NumPy give what SciPy gives."""

import numpy as np
import pytest
from scipy import special as scipy_special

from fastem._families import special

SHAPES = np.concatenate([np.geomspace(1e-6, 1e12, 2001), [1, 2, 0.5, np.nextafter(10, 0), 10]])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (special.log_gamma, scipy_special.gammaln),
        (special.digamma, scipy_special.digamma),
        (special.trigamma, lambda a: scipy_special.polygamma(1, a)),
    ],
)
def test_functions_are_those_of_scipy(function, expected):
    values = expected(SHAPES)
    np.testing.assert_allclose(function(SHAPES), values, rtol=3e-14, atol=1e-14)


@pytest.mark.parametrize("n", [0.0, 1e-3, 1.0, 250.0, 1e6])
def test_gains_of_log_gamma_do_not_cancel(n):
    a = np.geomspace(1e-6, 1e6, 400)
    expected = scipy_special.gammaln(a + n) - scipy_special.gammaln(a)
    size = np.abs(scipy_special.gammaln(a + n)) + np.abs(scipy_special.gammaln(a))
    gains = special.log_gamma_gain(a, np.full_like(a, n))
    assert (np.abs(gains - expected) <= 1e-13 * (1 + size)).all()
    a = np.geomspace(1e8, 1e14, 50)  # the product of a, a + 1 ... a + 9
    product = np.log(a[:, None] + np.arange(10.0)).sum(axis=1)
    np.testing.assert_allclose(special.log_gamma_gain(a, np.full_like(a, 10.0)), product, rtol=1e-14)


def test_differences_do_not_cancel():
    """Against SciPy where its differences keep digits, and against the first terms of the series beyond."""
    a = np.geomspace(1e-6, 1e3, 500)
    np.testing.assert_allclose(special.log_less_digamma(a), np.log(a) - scipy_special.digamma(a), rtol=1e-11)
    slope = scipy_special.polygamma(1, a) - 1 / a
    np.testing.assert_allclose(special.trigamma_less_reciprocal(a), slope, rtol=1e-9)
    main = (a - 0.5) * np.log(a) - a + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(special.stirling_error(a), scipy_special.gammaln(a) - main, atol=1e-11)
    a = np.geomspace(1e5, 1e12, 100)
    np.testing.assert_allclose(special.log_less_digamma(a), 1 / (2 * a) + 1 / (12 * a * a), rtol=1e-14)
    series = 1 / (2 * a**2) + 1 / (6 * a**3)
    np.testing.assert_allclose(special.trigamma_less_reciprocal(a), series, rtol=1e-14)
    np.testing.assert_allclose(special.stirling_error(a), 1 / (12 * a) - 1 / (360 * a**3), rtol=1e-14)


def test_the_shape_of_a_gamma_distribution():
    a = SHAPES.reshape(2, -1)
    s = special.log_less_digamma(a)
    np.testing.assert_allclose(special.gamma_shape(s), a, rtol=1e-12)
    s = np.geomspace(1e-15, 1e5, 3001)
    np.testing.assert_allclose(special.log_less_digamma(special.gamma_shape(s)), s, rtol=1e-12)
