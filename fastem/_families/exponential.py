"""Exponential distributions, for times and amounts of at least 0 that are independent within a component."""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame, Moments, power_of_two
from fastem._families.linear import MORE_THAN_0, PlainLinear
from fastem._families.support import check_range
from fastem._typing import Array, FloatArray, Rows

# The mean of a component is at least this part of the mean of all rows. With rows of 0 alone its rate would
# be infinite.
_LEAST_MEAN = 1e-6


class ExponentialParameters(NamedTuple):
    weights: FloatArray  # (K,)
    rates: FloatArray  # (K, d)


class Exponential(PlainLinear[ExponentialParameters]):
    """log p(x | k) = sum_j log rate_kj - rate_kj x_j

    Standard coordinates are x in units of a power of two near its mean.
    """

    name = distribution = "exponential"
    parameter_names = ("rates",)
    domains = (MORE_THAN_0,)
    location = "rates"
    record = ExponentialParameters

    def to_user(self, parameters: ExponentialParameters, frame: Frame) -> ExponentialParameters:
        return parameters._replace(rates=parameters.rates / frame.scale)

    def from_user(self, parameters: ExponentialParameters, frame: Frame) -> ExponentialParameters:
        return parameters._replace(rates=parameters.rates * frame.scale)

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        mean = moments.mean
        return Frame(np.zeros_like(mean), power_of_two(np.where(mean > 0, mean, 1.0), dtype), mean)

    def own_frame(self, parameters: ExponentialParameters, dtype: np.dtype[Any]) -> Frame:
        mean = parameters.weights @ (1 / parameters.rates)
        return self.frame(Moments(1.0, mean, np.square(mean)), dtype)

    def natural(self, parameters: ExponentialParameters) -> tuple[FloatArray, FloatArray]:
        return -parameters.rates, np.log(parameters.rates)

    def mean_statistics(self, parameters: ExponentialParameters) -> FloatArray:
        return 1 / parameters.rates

    def expectations(self, parameters: ExponentialParameters) -> FloatArray:
        return 1 / parameters.rates

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[ExponentialParameters, Array]:
        least = _LEAST_MEAN * np.where(everywhere > 0, everywhere, 1.0)
        return ExponentialParameters(weights, 1 / np.maximum(means, least)), means < least

    def reference(self, mean: FloatArray) -> None:
        """All terms are of the size of the log-density."""

    def part(self, parameters: ExponentialParameters, component: int, heaviest: int) -> None:
        rates = parameters.rates
        slowest = int(np.argmin(rates[heaviest]))
        rates[component] = rates[heaviest]
        rates[component, slowest] *= 2
        rates[heaviest, slowest] /= 1.5  # the means are a half and 3/2 of the one before

    def sample(
        self, parameters: ExponentialParameters, labels: Array, rng: np.random.Generator
    ) -> FloatArray:
        return rng.exponential(1 / parameters.rates[labels])

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        return np.sqrt(np.sqrt(frame.standardise(X)))

    def seen_location(self, location: FloatArray, frame: Frame) -> FloatArray:
        return self.seen(1 / location, frame)

    def places(self, parameters: ExponentialParameters) -> FloatArray:
        return np.log(parameters.rates)  # the deviation of log x is 1.3

    def unbounded(self, parameters: ExponentialParameters) -> tuple[FloatArray, ...]:
        return (np.log(parameters.rates),)

    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> ExponentialParameters:
        return ExponentialParameters(weights, np.exp(coordinates[0]))

    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        check_range(rows, self.name, zero=True)
        return np.zeros(len(rows.X))
