"""Poisson distributions, for counts that are independent within a component."""

from functools import cache
from math import lgamma
from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame, identity_frame
from fastem._families.linear import Domain, ExponentialSums, PlainLinear
from fastem._families.support import raise_outside
from fastem._families.unscaled import Unscaled
from fastem._kernels._counts import slot_log_factorials
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, FloatArray, Rows, read_only

_TABLE = 1024  # the log-factorials of counts below this come from a table
_ROWS_PER_SLOT = 4096
_MAX_SLOTS = 64
# A mixture with a larger mean has no reference: it would cost components of far smaller rates their digits.
_LARGEST_REFERENCE = 2.0**24
_RATES = Domain(
    "at least 0 and at most 9e18, as counts have 64 bits (gamma and lognormal take larger amounts)",
    lambda values: (values >= 0) & (values <= 9e18),
)


class PoissonParameters(NamedTuple):
    weights: FloatArray  # (K,)
    rates: FloatArray  # (K, d)


class Poisson(Unscaled[PoissonParameters, ExponentialSums], PlainLinear[PoissonParameters]):
    """log p(x | k) = sum_j x_j log rate_kj - rate_kj - log x_j!"""

    name = distribution = "poisson"
    discrete = True
    parameter_names = ("rates",)
    domains = (_RATES,)
    location = "rates"
    record = PoissonParameters

    def own_frame(self, parameters: PoissonParameters, dtype: np.dtype[Any]) -> Frame:
        mean = parameters.weights @ parameters.rates
        return identity_frame(np.where(mean <= _LARGEST_REFERENCE, mean, 1.0))

    def natural(self, parameters: PoissonParameters) -> tuple[FloatArray, FloatArray]:
        with np.errstate(divide="ignore"):  # with a rate of 0 the only possible count is 0
            return np.log(parameters.rates), -parameters.rates

    def mean_statistics(self, parameters: PoissonParameters) -> FloatArray:
        return parameters.rates

    def expectations(self, parameters: PoissonParameters) -> FloatArray:
        return parameters.rates

    def estimate(
        self, weights: FloatArray, means: FloatArray, everywhere: FloatArray
    ) -> tuple[PoissonParameters, Array]:
        return PoissonParameters(weights, means), np.zeros(means.shape, bool)

    def reference(self, mean: FloatArray) -> PoissonParameters:
        """A mean of 0, whose eta is infinite, becomes 1."""
        return PoissonParameters(np.ones(1), np.where(mean > 0, mean, 1.0)[None])

    def part(self, parameters: PoissonParameters, component: int, heaviest: int) -> None:
        rates = parameters.rates
        widest = int(np.argmax(rates[heaviest]))
        rate = rates[heaviest, widest]
        step = 0.5 * min(np.sqrt(rate), rate)
        rates[component] = rates[heaviest]
        rates[component, widest] -= step
        rates[heaviest, widest] += step

    def sample(self, parameters: PoissonParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        return rng.poisson(parameters.rates[labels]).astype(np.float64)

    # Roots of rates are points without bounds, also those of rates of 0, and the deviation of the root of a
    # count is about 1/2.

    def places(self, parameters: PoissonParameters) -> FloatArray:
        return 2 * np.sqrt(parameters.rates)

    def unbounded(self, parameters: PoissonParameters) -> tuple[FloatArray, ...]:
        return (np.sqrt(parameters.rates),)

    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> PoissonParameters:
        return PoissonParameters(weights, np.square(coordinates[0]))

    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        n = len(rows.X)
        slots = max(1, min(_MAX_SLOTS, n // _ROWS_PER_SLOT))
        out, failures = np.empty(n), np.zeros(slots, np.int64)
        run_slots(slot_log_factorials, (rows.X, _log_factorials(), out, failures), slots, n_threads)
        if failures.any():
            raise_outside(
                rows, _are_counts, "counts, whole numbers of at least 0", self.name, "Drop or round it."
            )
        return out


@cache
def _log_factorials() -> Array:
    return read_only(np.array([lgamma(x + 1) for x in range(_TABLE)]))


def _are_counts(X: Array) -> Array:
    return np.asarray((X >= 0) & (X == np.floor(X)) & (X < np.inf))
