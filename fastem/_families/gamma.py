"""Gamma distributions, for positive amounts that are independent within a component."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._families.linear import MORE_THAN_0, ExponentialSums, Linear, Measures
from fastem._families.special import gamma_shape, log_less_digamma, stirling_error, trigamma
from fastem._families.support import check_range
from fastem._kernels._linear import LOGARITHM, PLAIN
from fastem._typing import Array, FloatArray, Rows

# The spread s of a component is at least this part of that of all rows. With equal rows alone its shape would
# be infinite.
_LEAST_SPREAD = 1e-6
_EPSILON = float(np.finfo(np.float64).eps)
# The spread of numbers that differ by less than 16 rounding errors is noise.
_NOISE = (16 * _EPSILON) ** 2


class GammaParameters(NamedTuple):
    weights: FloatArray  # (K,)
    shapes: FloatArray  # (K, d)
    rates: FloatArray  # (K, d)


class Gamma(Linear[GammaParameters]):
    """log p(x | k) = sum_j a_kj log rate_kj - log Gamma(a_kj) + (a_kj - 1) log x_j - rate_kj x_j, a = shape

    Standard coordinates are v = x / (mean of the column). The statistics are v - 1 and log v, so that they
    are small if the column is narrow. Then s = log(mean of v) - mean of log v, from which the shape follows,
    keeps its digits, although it is about half of the squared coefficient of variation. So this frame does
    not scale by powers of two. Still no bit changes if the units change by one.
    """

    name = distribution = "gamma"
    parameter_names = ("shapes", "rates")
    domains = (MORE_THAN_0, MORE_THAN_0)
    record = GammaParameters
    logarithmic = True

    def to_user(self, parameters: GammaParameters, frame: Frame) -> GammaParameters:
        return parameters._replace(rates=parameters.rates / frame.scale)

    def from_user(self, parameters: GammaParameters, frame: Frame) -> GammaParameters:
        return parameters._replace(rates=parameters.rates * frame.scale)

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        mean = np.where(
            moments.mean > 0, moments.mean, 1.0
        )  # rows that are not positive raise an error later
        return Frame(np.zeros_like(mean), mean, mean)

    def own_frame(self, parameters: GammaParameters, dtype: np.dtype[Any]) -> Frame:
        mean = parameters.weights @ (parameters.shapes / parameters.rates)
        return self.frame(Moments(1.0, mean, np.square(mean)), dtype)

    def measures(self, frame: Frame) -> Measures:
        d = len(frame.scale)
        once = np.arange(d)
        return Measures(
            frame.shift,
            1 / frame.scale,
            np.concatenate([once, once]),
            np.repeat([PLAIN, LOGARITHM], d),
            np.repeat([1.0, 0.0], d),
            np.repeat([1.0, np.log(2)], d),
        )

    def natural(self, parameters: GammaParameters) -> tuple[FloatArray, FloatArray]:
        """b = a log rate - log Gamma(a) - rate, in which no terms of the size of a cancel."""
        _, shapes, rates = parameters
        gap = (rates - shapes) / shapes
        b = shapes * (np.log1p(gap) - gap) + 0.5 * np.log(shapes / (2 * np.pi)) - stirling_error(shapes)
        return np.hstack([-rates, shapes - 1]), b.sum(axis=1)

    def mean_statistics(self, parameters: GammaParameters) -> FloatArray:
        _, shapes, rates = parameters
        less_1 = (shapes - rates) / rates
        return np.hstack([less_1, np.log1p(less_1) - log_less_digamma(shapes)])

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[GammaParameters, Array]:
        spread = _spread(everywhere)
        spread = np.where(spread > _NOISE, spread, 1.0)
        # The statistics are of the size of the deviation, and known to as many rounding errors.
        least = np.maximum(_LEAST_SPREAD * spread, _EPSILON * np.sqrt(spread))
        own = _spread(means)
        shapes = gamma_shape(np.maximum(own, least))
        return GammaParameters(weights, shapes, shapes / (1 + _halves(means)[0])), own < least

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
        return np.maximum(
            drawn, np.finfo(np.float64).tiny
        )  # with tiny shapes numbers may be too small to store

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        return np.asarray(np.log(frame.standardise(X)))

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
        first, logarithms = _halves(sums.first)
        n = sums.weights[:, None]
        return {"first": (first + n) * frame.scale, "logarithms": logarithms + n * np.log(frame.scale)}


def _halves(statistics: FloatArray) -> tuple[FloatArray, FloatArray]:
    d = statistics.shape[-1] // 2
    return statistics[..., :d], statistics[..., d:]


def _spread(means: FloatArray) -> FloatArray:
    """Return log(mean of v) - mean of log v, which is 0 for equal numbers and else positive."""
    less_1, logarithms = _halves(means)
    return np.asarray(np.log1p(less_1) - logarithms)
