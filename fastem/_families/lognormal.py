"""Lognormal distributions: the logarithms are Gaussian, and independent within a component."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame, Moments, power_of_two
from fastem._families.linear import FINITE, MORE_THAN_0, ExponentialSums, Linear, Measures
from fastem._families.support import check_range
from fastem._kernels._linear import LOGARITHM, SQUARE
from fastem._typing import Array, FloatArray, Rows

# The variance of a component is at least this part of that of all rows. With equal rows alone it would be 0.
_LEAST_VARIANCE = 1e-6
_ROUNDING = 16 * float(np.finfo(np.float64).eps)
_LN2 = float(np.log(2))


class LognormalParameters(NamedTuple):
    weights: FloatArray  # (K,)
    means: FloatArray  # (K, d) of the logarithms
    variances: FloatArray  # (K, d) of the logarithms


class Lognormal(Linear[LognormalParameters]):
    """log p(x | k) = sum_j -(log x_j - mean_kj)^2 / (2 variance_kj) - log(2 pi variance_kj) / 2 - log x_j

    The frame holds the shift and the scale of the logarithms. The statistics are the standard coordinates z
    of log x, and z^2.
    """

    name = distribution = "lognormal"
    parameter_names = ("means", "variances")
    domains = (FINITE, MORE_THAN_0)
    location = "means"
    record = LognormalParameters
    logarithmic = True
    neutral = 1.0

    def to_user(self, parameters: LognormalParameters, frame: Frame) -> LognormalParameters:
        weights, means, variances = parameters
        return LognormalParameters(weights, frame.restore(means), variances * np.square(frame.scale))

    def from_user(self, parameters: LognormalParameters, frame: Frame) -> LognormalParameters:
        weights, means, variances = parameters
        return LognormalParameters(weights, frame.standardise(means), variances / np.square(frame.scale))

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        """By the method of moments, which needs no pass over the logarithms."""
        # Rows that are not positive raise an error later.
        mean = np.where(moments.mean > 0, moments.mean, 1.0)
        variance = np.log1p(moments.variance / mean / mean)
        return _frame(np.log(mean) - variance / 2, variance)

    def own_frame(self, parameters: LognormalParameters, dtype: np.dtype[Any]) -> Frame:
        weights, means, variances = parameters
        mean = weights @ means
        return _frame(mean, weights @ (variances + np.square(means - mean)))

    def measures(self, frame: Frame) -> Measures:
        d = len(frame.scale)
        once = np.arange(d)
        # The logarithm of a number near 1 has the smallest rounding error.
        exponents = np.clip(np.rint(frame.shift / _LN2), -1021, 1021)
        return Measures(
            np.zeros(d),
            np.ldexp(1.0, -exponents.astype(np.int64)),
            np.concatenate([once, once]),
            np.repeat([LOGARITHM, SQUARE], d),
            np.concatenate([frame.shift / _LN2 - exponents, np.zeros(d)]),
            np.concatenate([_LN2 / frame.scale, np.ones(d)]),
        )

    def natural(self, parameters: LognormalParameters) -> tuple[FloatArray, FloatArray]:
        _, means, variances = parameters
        b = -0.5 * (np.square(means) / variances + np.log(2 * np.pi * variances))
        return np.hstack([means / variances, -0.5 / variances]), b

    def mean_statistics(self, parameters: LognormalParameters) -> FloatArray:
        return np.hstack([parameters.means, parameters.variances + np.square(parameters.means)])

    def expectations(self, parameters: LognormalParameters) -> FloatArray:
        return np.exp(parameters.means + parameters.variances / 2)

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[LognormalParameters, Array]:
        d = len(everywhere) // 2
        squares = everywhere[d:]
        total = squares - np.square(everywhere[:d])
        # A column that is constant up to rounding has no variance to compare with.
        total = np.where(total > _ROUNDING * (squares + _ROUNDING), total, 1.0)
        least = _LEAST_VARIANCE * total
        first = means[:, :d].copy()
        variances = means[:, d:] - np.square(first)
        at_bound = np.asarray(variances < least)
        return LognormalParameters(weights, first, np.maximum(variances, least)), at_bound

    def reference(self, mean: FloatArray) -> None:
        """The terms of a component cancel whatever a reference takes away."""

    def part(self, parameters: LognormalParameters, component: int, heaviest: int) -> None:
        _, means, variances = parameters
        widest = int(np.argmax(variances[heaviest]))
        step = 0.5 * np.sqrt(variances[heaviest, widest])
        means[component], variances[component] = means[heaviest], variances[heaviest]
        means[component, widest] -= step
        means[heaviest, widest] += step

    def sample(self, parameters: LognormalParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        return rng.lognormal(parameters.means[labels], np.sqrt(parameters.variances[labels]))

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        return frame.standardise(np.log(X, dtype=np.float64))

    def seen_location(self, location: FloatArray, frame: Frame) -> FloatArray:
        return frame.standardise(location)

    def places(self, parameters: LognormalParameters) -> FloatArray:
        weights, means, variances = parameters
        return np.asarray(means / np.sqrt(weights @ variances))

    def unbounded(self, parameters: LognormalParameters) -> tuple[FloatArray, ...]:
        return parameters.means, np.log(parameters.variances)

    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> LognormalParameters:
        return LognormalParameters(weights, coordinates[0], np.exp(coordinates[1]))

    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        check_range(rows, self.name, zero=False)
        log_h = np.zeros(len(rows.X))
        for j in range(rows.X.shape[1]):  # the bits of the sum of a row shall not depend on where it is
            log_h -= np.log(rows.X[:, j], dtype=np.float64)
        return log_h

    def named_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, FloatArray]:
        d, n = len(frame.scale), sums.counts
        first, squares = sums.first[:, :d] * frame.scale, sums.first[:, d:] * np.square(frame.scale)
        shifted = 2 * frame.shift * first + n * np.square(frame.shift)
        return {"logarithms": first + n * frame.shift, "squares": squares + shifted}


def _frame(mean: FloatArray, variance: FloatArray) -> Frame:
    """Return the frame of logarithms with this mean and variance."""
    deviation = np.sqrt(variance)
    constant = deviation <= np.finfo(np.float64).eps
    return Frame(mean, power_of_two(np.where(constant, 1.0, deviation), np.dtype(np.float64)), mean)
