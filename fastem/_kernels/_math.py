"""Powers of two and logarithms to base 2 for vectors.

LLVM would compile `math.exp` and `math.log` to scalar calls, of 4 to 6 ns each. Here we use polynomials that
interpolate at Chebyshev nodes. Their relative error is below 1e-17 in float64 and 6e-9 in float32, so results
are exact to two units in the last place. Operations on bits are integer additions and shifts of the width of
the float, because AVX2 and NEON have no others for vectors.
"""

import numpy as np
from numba import types
from numba.extending import overload

from fastem._kernels._float_bits import round_split, scale_by_power, split_exponent
from fastem._kernels._jit import ORDERED_OPTIONS, ordered_kernel, python_function
from fastem._kernels._simd import choose, maximum, splat

# 1.5 * 2**52: adding this rounds a number to an integer, which is then in the low bits of the sum.
_ROUND_64 = np.float64(6755399441055744.0)
_ROUND_32 = np.float32(12582912.0)  # 1.5 * 2**23
_HALF_ROOT_64 = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
_HALF_ROOT_32 = np.int32(0x3F3504F3)
_TINY_64 = np.float64(2.2250738585072014e-308)  # the smallest normal numbers
_TINY_32 = np.float32(1.1754944e-38)
_DEEP = np.float64(-500.0)  # products with such powers of two are still normal numbers
_INF_64, _INF_32 = np.float64(np.inf), np.float32(np.inf)


@ordered_kernel
def _exp2_64(x, least):
    shifted, r = round_split(maximum(x, least), _ROUND_64)
    p = splat(np.float64(4.4549605981865186e-10))
    p = p * r + 7.072585949269223e-09
    p = p * r + 1.0178062445845774e-07
    p = p * r + 1.321544258792169e-06
    p = p * r + 1.525273382983612e-05
    p = p * r + 0.0001540353044173605
    p = p * r + 0.0013333558146416936
    p = p * r + 0.009618129107606888
    p = p * r + 0.0555041086648216
    p = p * r + 0.24022650695910097
    p = p * r + 0.6931471805599453
    p = p * r + 1.0
    return scale_by_power(p, shifted, x, least)


@ordered_kernel
def _short_exp2_series(r):
    """Return 2 ** r for abs(r) <= 1/2, in arithmetic of either width."""
    p = r * 0.0001545316294512069 + 0.0013390863364671234
    p = p * r + 0.009618082557277852
    p = p * r + 0.05550357114219078
    p = p * r + 0.24022650760568126
    p = p * r + 0.6931471882262288
    return p * r + 1.0


@ordered_kernel
def _exp2_32(x, least):
    shifted, r = round_split(maximum(x, least), _ROUND_32)
    return scale_by_power(_short_exp2_series(r), shifted, x, least)


@ordered_kernel
def rough_exp2(x):
    """Return 2 ** x for a vector x <= 0 of float64, but for 5e-9 of it. x counts as -500 if it is less."""
    least = splat(_DEEP)
    shifted, r = round_split(maximum(x, least), _ROUND_64)
    return scale_by_power(_short_exp2_series(r), shifted, least, least)  # nothing is set to 0


@ordered_kernel
def _log2_series_64(q):
    """Return log2((1 + f) / (1 - f)) / f, where q = f * f."""
    p = splat(np.float64(0.2136589569431927))
    p = p * q + 0.2209130842311768
    p = p * q + 0.262334352504183
    p = p * q + 0.32059853491395984
    p = p * q + 0.4121985858409005
    p = p * q + 0.5770780163455203
    p = p * q + 0.9617966939259898
    return p * q + 2.8853900817779268


@ordered_kernel
def _short_log2_series(q):
    p = q * 0.43171769745887384 + 0.5767151860190234
    p = p * q + 0.96179883880211
    return p * q + 2.8853900798033365


@ordered_kernel
def _parts_of_log2(x, half_root, one):
    """Return (e, f, 1 / x), where the logarithm is e + log2((1 + f) / (1 - f))."""
    exponent, m = split_exponent(x, half_root)
    z = one / (x * (m + one))
    return exponent, (m - one) * (x * z), z * (m + one)


@ordered_kernel
def _log2_reciprocal_64(x):
    exponent, f, reciprocal = _parts_of_log2(x, _HALF_ROOT_64, np.float64(1))
    return exponent + f * _log2_series_64(f * f), reciprocal


@ordered_kernel
def _log2_reciprocal_32(x):
    exponent, f, reciprocal = _parts_of_log2(x, _HALF_ROOT_32, np.float32(1))
    return exponent + f * _short_log2_series(f * f), reciprocal


@ordered_kernel
def rough_log2_reciprocal(x):
    """Return the same as `log2_reciprocal` for float64, but for 1e-9 of the logarithm."""
    exponent, f, reciprocal = _parts_of_log2(x, _HALF_ROOT_64, np.float64(1))
    return exponent + f * _short_log2_series(f * f), reciprocal


@ordered_kernel
def _log2_64(x):
    exponent, m = split_exponent(maximum(x, splat(_TINY_64)), _HALF_ROOT_64)
    f = (m - 1.0) / (m + 1.0)
    return choose(splat(_INF_64), x, exponent + f * _log2_series_64(f * f), x)


@ordered_kernel
def _log2_32(x):
    exponent, m = split_exponent(maximum(x, splat(_TINY_32)), _HALF_ROOT_32)
    f = (m - np.float32(1.0)) / (m + np.float32(1.0))
    return choose(splat(_INF_32), x, exponent + f * _short_log2_series(f * f), x)


def exp2(x, least):
    """Return 2 ** x for a vector x <= 0, and exactly 0 where x < least.

    `least` must not be less than `_tile.least_exponent` of the dtype.
    """
    return _exp2_32(x, least) if x.dtype == np.float32 else _exp2_64(x, least)


def log2_reciprocal(x):
    """Return the base-2 logarithm and the reciprocal of a vector of numbers, by one division.

    They must lie in [1, 1e37], or in [1, 1e300] in float64.
    """
    return _log2_reciprocal_32(x) if x.dtype == np.float32 else _log2_reciprocal_64(x)


def log2(x):
    """Return the base-2 logarithm of a vector. Where x is inf or NaN, it is x.

    Numbers below the smallest normal number, also those below 0, count as that. The choice between x and the
    logarithm also keeps LLVM from moving a later difference into the exponent, which is (e + magic) - magic.
    """
    return _log2_32(x) if x.dtype == np.float32 else _log2_64(x)


@overload(exp2, jit_options=ORDERED_OPTIONS)
def _exp2(x, least):
    return python_function(_exp2_32 if x.dtype == types.float32 else _exp2_64)


@overload(log2_reciprocal, jit_options=ORDERED_OPTIONS)
def _log2_reciprocal(x):
    return python_function(_log2_reciprocal_32 if x.dtype == types.float32 else _log2_reciprocal_64)


@overload(log2, jit_options=ORDERED_OPTIONS)
def _log2(x):
    return python_function(_log2_32 if x.dtype == types.float32 else _log2_64)
