"""Gamma distributions, for positive amounts that are independent within a component."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._families.linear import MORE_THAN_0, ExponentialSums, Linear, Measures
from fastem._families.special import gamma_shape, log_less_digamma, stirling_error, trigamma
from fastem._families.support import check_range
from fastem._kernels._linear import EXCESS, PLAIN
from fastem._typing import Array, FloatArray, Rows

# The spread s of a component is at least this part of that of all rows. With equal rows alone its shape would
# be infinite.
_LEAST_SPREAD = 1e-6
# The rates of a constant column, whose shape is 5e5, are numbers if its mean is not less than this.
_LEAST_MEAN = 1e-300
_EPSILON, _TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
# The spread of numbers that differ by less than 16 rounding errors is noise.
_NOISE = (16 * _EPSILON) ** 2


class GammaParameters(NamedTuple):
    weights: FloatArray  # (K,)
    shapes: FloatArray  # (K, d)
    rates: FloatArray  # (K, d)


class Gamma(Linear[GammaParameters]):
    """log p(x | k) = sum_j a_kj log rate_kj - log Gamma(a_kj) + (a_kj - 1) log x_j - rate_kj x_j, a = shape

    Standard coordinates are v = x / (mean of the column). The statistics are v and its excess e(v), where
    e(y) = y - 1 - log y is about (y - 1)^2 / 2 near 1. The shape follows from s = log(mean of v) - mean of
    log v, which is the mean of e(v) minus e(mean of v). So s keeps its digits if the column is narrow, when s
    is half of the squared coefficient of variation, and also if components differ by many orders of
    magnitude. This frame does not scale by powers of two. Still no bit changes if the units change by one.
    """

    name = distribution = "gamma"
    parameter_names = ("shapes", "rates")
    domains = (MORE_THAN_0, MORE_THAN_0)
    record = GammaParameters
    logarithmic = True
    neutral = 1.0

    def to_user(self, parameters: GammaParameters, frame: Frame) -> GammaParameters:
        return parameters._replace(rates=parameters.rates / frame.scale)

    def from_user(self, parameters: GammaParameters, frame: Frame) -> GammaParameters:
        return parameters._replace(rates=parameters.rates * frame.scale)

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        frame = _frame(moments.mean)
        least = frame.mean.min()
        if least < _LEAST_MEAN:
            raise ValueError(
                f'X must have columns of means of {_LEAST_MEAN} at least, for distribution="{self.name}", '
                f"whose rates are inverse to means; got a column of mean {least:.3g}. Rescale the column."
            )
        return frame

    def own_frame(self, parameters: GammaParameters, dtype: np.dtype[Any]) -> Frame:
        return _frame(parameters.weights @ (parameters.shapes / parameters.rates))

    def measures(self, frame: Frame) -> Measures:
        d = len(frame.scale)
        once = np.arange(d)
        return Measures(
            frame.shift,
            1 / frame.scale,
            np.concatenate([once, once]),
            np.repeat([PLAIN, EXCESS], d),
            np.repeat([0.0, 1.0], d),
            np.repeat([1.0, np.log(2)], d),
        )

    def natural(self, parameters: GammaParameters) -> tuple[FloatArray, FloatArray]:
        """With log v = v - 1 - e(v), b is a log rate - log Gamma(a) - (a - 1). No such large terms cancel."""
        _, shapes, rates = parameters
        gap = rates - shapes
        b = shapes * _log(gap / shapes, rates / shapes) + 1
        b += 0.5 * np.log(shapes / (2 * np.pi)) - stirling_error(shapes)
        return np.hstack([-1 - gap, 1 - shapes]), b

    def mean_statistics(self, parameters: GammaParameters) -> FloatArray:
        _, shapes, rates = parameters
        means = shapes / rates
        return np.hstack([means, _excess(means) + log_less_digamma(shapes)])

    def expectations(self, parameters: GammaParameters) -> FloatArray:
        return parameters.shapes / parameters.rates

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[GammaParameters, Array]:
        spread = _spread(everywhere)
        spread = np.where(spread > _NOISE, spread, 1.0)
        # Sums of e(v) are known to as many rounding errors of the deviation.
        least = np.maximum(_LEAST_SPREAD * spread, _EPSILON * np.sqrt(spread))
        own = _spread(means)
        shapes = gamma_shape(np.maximum(own, least))
        return GammaParameters(weights, shapes, shapes / _halves(means)[0]), np.asarray(own < least)

    def reference(self, mean: FloatArray) -> None:
        """The terms of a component cancel whatever a reference takes away."""

    def part(self, parameters: GammaParameters, component: int, heaviest: int) -> None:
        _, shapes, rates = parameters
        widest = int(np.argmin(shapes[heaviest]))
        step = np.exp(0.5 * min(1.0, 1 / np.sqrt(shapes[heaviest, widest])))
        shapes[component], rates[component] = shapes[heaviest], rates[heaviest]
        rates[component, widest] *= step
        rates[heaviest, widest] /= step

    def sample(self, parameters: GammaParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        drawn = rng.standard_gamma(parameters.shapes[labels]) / parameters.rates[labels]
        # With tiny shapes, numbers may be too small to store.
        return np.maximum(drawn, _TINY)

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        return np.asarray(np.log(np.maximum(frame.standardise(X), _TINY)))

    def places(self, parameters: GammaParameters) -> FloatArray:
        weights, shapes, rates = parameters
        return np.asarray(np.log(shapes / rates) / np.sqrt(weights @ trigamma(shapes)))

    def unbounded(self, parameters: GammaParameters) -> tuple[FloatArray, ...]:
        return np.log(parameters.shapes), np.log(parameters.shapes / parameters.rates)

    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> GammaParameters:
        shapes = np.exp(coordinates[0])
        return GammaParameters(weights, shapes, shapes / np.exp(coordinates[1]))

    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        check_range(rows, self.name, zero=False)
        return np.zeros(len(rows.X))

    def named_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, FloatArray]:
        first, excesses = _halves(sums.first)
        n = sums.counts
        return {"first": first * frame.scale, "logarithms": first - excesses + n * (np.log(frame.scale) - 1)}


def _frame(mean: FloatArray) -> Frame:
    mean = np.where(mean > 0, mean, 1.0)  # rows that are not positive raise an error later
    return Frame(np.zeros_like(mean), mean, mean)


def _halves(statistics: FloatArray) -> tuple[FloatArray, FloatArray]:
    d = statistics.shape[-1] // 2
    return statistics[..., :d], statistics[..., d:]


def _excess(values: FloatArray) -> FloatArray:
    return np.asarray((values - 1) - _log(values - 1, values))


def _log(less_1: FloatArray, values: FloatArray) -> FloatArray:
    """Return the logarithm of numbers, by the digits of their differences from 1 if these are small."""
    near = np.abs(less_1) < 0.5
    return np.where(near, np.log1p(np.where(near, less_1, 0.0)), np.log(values))


def _spread(means: FloatArray) -> FloatArray:
    """Return log(mean of v) - mean of log v, which is 0 for equal numbers and else positive."""
    first, excesses = _halves(means)
    return np.asarray(excesses - _excess(first))
