"""Standard coordinates, in which kernels and M-steps compute whatever the user's units are."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.once import computed_once
from fastem._typing import Array, FloatArray

# A millionth of the square of this is still a normal number.
_LEAST_MAGNITUDE = 1e-148
_SPACING = np.finfo(np.float64).eps


class Moments(NamedTuple):
    """Weighted moments of all rows: total weight, and mean and variance of what each feature has."""

    weight: float
    mean: FloatArray  # (d,)
    variance: FloatArray  # (d,)
    observed: FloatArray | None = None  # (d,) the weight of the numbers of each feature; None if all have all
    gaps: int = 0  # how many numbers are missing, also in rows of weight 0

    @property
    def in_range(self) -> bool:
        """Whether float64 holds the variances, and the squares of means, by which constants are scaled."""
        with np.errstate(all="ignore"):
            return bool(np.isfinite(np.square(self.mean)).all() and np.isfinite(self.variance).all())

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both (Chan, Golub and LeVeque 1983). Both must have weight."""
        weight = self.weight + other.weight
        share: Any = other.weight / weight
        observed = None
        if self.observed is not None and other.observed is not None:
            observed = self.observed + other.observed
            share = other.observed / np.where(observed > 0, observed, 1.0)
        with np.errstate(all="ignore"):
            gap = other.mean - self.mean
            spread = (1 - share) * (self.variance + share * (gap * gap))
            mean, variance = self.mean + share * gap, spread + share * other.variance
            return Moments(weight, mean, variance, observed, self.gaps + other.gaps)


class _Axes(NamedTuple):
    shift: FloatArray  # (d,)
    scale: FloatArray  # (d,)
    mean: FloatArray  # (d,) of the rows or of the mixture, in user units


class Frame(_Axes):
    """The map x -> (x - shift) / scale, where each scale is an exact power of two (but see `gamma`).

    Because of the powers of two only the shift rounds. So a change of units by a power of two changes no bit
    of the result, offsets cost no precision, and no unit is too small or too large.
    """

    # There is no `__slots__`, so that a frame remembers what each pass asks for.

    @computed_once
    def log_scale(self) -> float:
        """Logarithm of the Jacobian, to subtract from log-densities in standard coordinates."""
        return float(np.log(self.scale).sum())

    def in_dtype(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the shift and the inverse scale for passes in this dtype."""
        known: dict[np.dtype[Any], tuple[Array, Array]] = vars(self).setdefault("_in_dtype", {})
        if dtype not in known:
            known[dtype] = self.shift.astype(dtype), (1 / self.scale).astype(dtype)
        return known[dtype]

    def standardise(self, points: Array) -> FloatArray:
        return np.asarray((points - self.shift) / self.scale, dtype=np.float64)

    def restore(self, points: Array) -> FloatArray:
        return np.asarray(points * self.scale + self.shift, dtype=np.float64)


def identity_frame(mean: FloatArray) -> Frame:
    """Return the frame that keeps the user's units, for counts and categories."""
    return Frame(np.zeros_like(mean), np.ones_like(mean), mean)


def frame_of(moments: Moments, dtype: np.dtype, isotropic: bool) -> Frame:
    """Return the frame of data or of a mixture with these moments. It is exact in `dtype`.

    `isotropic` gives all features one scale, for a model that compares features with each other.
    A feature that is constant up to rounding is scaled by its magnitude, or by 1 if that is almost 0.
    """
    mean = moments.mean.astype(dtype).astype(np.float64)
    deviation, magnitude = np.sqrt(moments.variance), np.abs(moments.mean)
    constant = deviation <= _SPACING * magnitude
    if isotropic:
        largest = deviation.max()
        common = largest * np.sqrt(np.mean(np.square(deviation / largest))) if largest > 0 else 0.0
        deviation[:] = common
        constant[:] = common == 0 or constant.all()
        magnitude = magnitude.max()
    if constant.any():
        deviation = np.where(constant, np.where(magnitude > _LEAST_MAGNITUDE, magnitude, 1.0), deviation)
    return Frame(mean, power_of_two(deviation, dtype), mean)


def power_of_two(size: FloatArray, dtype: np.dtype) -> FloatArray:
    """Return the powers of two nearest to positive numbers, exact in `dtype`, as their inverses are."""
    info = np.finfo(dtype)
    # Stay one below the extreme exponents, since the inverse must be a normal number too.
    exponent = np.minimum(np.maximum(np.rint(np.log2(size)), info.minexp + 1), info.maxexp - 2)
    return np.ldexp(1.0, exponent.astype(np.int64))
