"""Standard coordinates: where kernels and M-steps work, whatever the user's units are."""

from typing import NamedTuple

import numpy as np

from fastem._typing import Array, FloatArray

# A millionth of the square of it is a normal number.
_LEAST_MAGNITUDE = 1e-148


class Moments(NamedTuple):
    """Weighted moments of all rows: total weight, and mean and variance of each feature."""

    weight: float
    mean: FloatArray  # (d,)
    variance: FloatArray  # (d,)

    def merge(self, other: "Moments") -> "Moments":
        """Those of the rows of both (Chan, Golub and LeVeque 1983); both have weight."""
        weight = self.weight + other.weight
        share = other.weight / weight
        with np.errstate(all="ignore"):
            gap = other.mean - self.mean
            spread = (1 - share) * (self.variance + share * (gap * gap))
            return Moments(weight, self.mean + share * gap, spread + share * other.variance)


class Frame(NamedTuple):
    """x -> (x - shift) / scale, with each scale an exact power of two.

    Powers of two make the map free of rounding but for the shift, so that a change of units by a
    power of two changes no bit of the result, offsets cost no precision, and no unit is too small or
    too large.
    """

    shift: FloatArray  # (d,)
    scale: FloatArray  # (d,)
    mean: FloatArray  # (d,) of the rows or of the mixture, in user units

    @property
    def log_scale(self) -> float:
        """Logarithm of the Jacobian: a density in standard units is that much too large."""
        return float(np.log(self.scale).sum())

    def standardise(self, points: Array) -> FloatArray:
        return np.asarray((points - self.shift) / self.scale, dtype=np.float64)

    def restore(self, points: Array) -> FloatArray:
        return np.asarray(points * self.scale + self.shift, dtype=np.float64)


def identity_frame(mean: FloatArray) -> Frame:
    """The units of the user as they are, for counts and categories."""
    return Frame(np.zeros_like(mean), np.ones_like(mean), mean)


def frame_of(moments: Moments, dtype: np.dtype, isotropic: bool) -> Frame:
    """The frame of data or of a mixture with these moments, exact in `dtype`.

    `isotropic` gives all features one scale, for a model that compares features with each other.
    A feature that does not vary beyond rounding is scaled by its magnitude, or by 1 if that is next to 0.
    """
    info = np.finfo(dtype)
    mean = moments.mean.astype(dtype).astype(np.float64)
    deviation = np.sqrt(moments.variance)
    constant = deviation <= np.finfo(np.float64).eps * np.abs(moments.mean)
    if isotropic:
        largest = deviation.max()
        common = largest * np.sqrt(np.mean(np.square(deviation / largest))) if largest > 0 else 0.0
        deviation = np.full_like(deviation, common)
        constant = np.full_like(constant, common == 0 or bool(constant.all()))
    magnitude = np.abs(moments.mean).max() if isotropic else np.abs(moments.mean)
    spread = np.where(constant, np.where(magnitude > _LEAST_MAGNITUDE, magnitude, 1.0), deviation)
    # One less than the extremes: the inverse must be a normal number too.
    exponent = np.clip(np.rint(np.log2(spread)), info.minexp + 1, info.maxexp - 2)
    return Frame(mean, np.ldexp(1.0, exponent.astype(np.int64)), mean)
