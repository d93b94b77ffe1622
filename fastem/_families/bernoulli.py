"""Bernoulli distributions, for columns of 0 and 1 that are independent within a component."""

from typing import Any, NamedTuple

import numpy as np

from fastem._checks import row_ranges
from fastem._families.frame import Frame, identity_frame
from fastem._families.linear import Domain, ExponentialSums, PlainLinear
from fastem._families.support import raise_outside
from fastem._families.unscaled import Unscaled
from fastem._typing import Array, FloatArray, Rows

_FROM_0_TO_1 = Domain("from 0 to 1", lambda values: (values >= 0) & (values <= 1))


class BernoulliParameters(NamedTuple):
    weights: FloatArray  # (K,)
    probabilities: FloatArray  # (K, d) of a 1


class Bernoulli(Unscaled[BernoulliParameters, ExponentialSums], PlainLinear[BernoulliParameters]):
    """log p(x | k) = sum_j x_j log p_kj + (1 - x_j) log (1 - p_kj)

    With a probability p of exactly 1, b would be -inf. Such a component has eta = b = 0 for this column, and
    an eta of -inf for a further statistic, 1 - x. With a probability of 0, only eta is -inf.
    """

    name = distribution = "bernoulli"
    discrete = True
    parameter_names = ("probabilities",)
    domains = (_FROM_0_TO_1,)
    location = "probabilities"
    record = BernoulliParameters

    def own_frame(self, parameters: BernoulliParameters, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(parameters.weights @ parameters.probabilities)

    def natural(self, parameters: BernoulliParameters) -> tuple[FloatArray, FloatArray]:
        p = parameters.probabilities
        with np.errstate(divide="ignore"):
            log_0 = np.where(p < 1, np.log1p(-p), 0.0)
            return np.log(p) - log_0, log_0

    def excludes_0(self, parameters: BernoulliParameters) -> Array:
        return np.asarray(parameters.probabilities == 1)

    def mean_statistics(self, parameters: BernoulliParameters) -> FloatArray:
        return parameters.probabilities

    def expectations(self, parameters: BernoulliParameters) -> FloatArray:
        return parameters.probabilities

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[BernoulliParameters, Array]:
        return BernoulliParameters(weights, np.clip(means, 0, 1)), np.zeros(means.shape, bool)

    def reference(self, mean: FloatArray) -> BernoulliParameters:
        """A mean of 0 or 1, whose eta is infinite, becomes 1/2."""
        return BernoulliParameters(np.ones(1), np.where((mean > 0) & (mean < 1), mean, 0.5)[None])

    def part(self, parameters: BernoulliParameters, component: int, heaviest: int) -> None:
        p = parameters.probabilities
        widest = int(np.argmin(np.abs(p[heaviest] - 0.5)))
        middle = p[heaviest, widest]
        step = 0.5 * min(middle, 1 - middle)
        p[component] = p[heaviest]
        p[component, widest] -= step
        p[heaviest, widest] += step

    def sample(self, parameters: BernoulliParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        p = parameters.probabilities[labels]
        return (rng.random(p.shape) < p).astype(np.float64)

    # Any angle gives a probability, 0 and 1 as well.

    def places(self, parameters: BernoulliParameters) -> FloatArray:
        return 2 * self.unbounded(parameters)[0]

    def unbounded(self, parameters: BernoulliParameters) -> tuple[FloatArray, ...]:
        return (np.arcsin(np.sqrt(parameters.probabilities)),)

    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> BernoulliParameters:
        return BernoulliParameters(weights, np.square(np.sin(coordinates[0])))

    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        for chosen in row_ranges(len(rows.X)):
            if not _are_0_or_1(rows.X[chosen]).all():
                raise_outside(rows, _are_0_or_1, "0 and 1 only", self.name, "Recode the column.")
        return np.zeros(len(rows.X))


def _are_0_or_1(X: Array) -> Array:
    return np.asarray((X == 0) | (X == 1))
