"""Poisson distributions, for counts that are independent within a component."""

from collections.abc import Mapping
from functools import cache
from math import lgamma
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import check_finite, row_ranges
from fastem._families.base import weights_of
from fastem._families.linear import Linear
from fastem._kernels._counts import slot_log_factorials
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, FloatArray, Rows, read_only

_TABLE = 1024  # the log-factorials of counts below this come from a table
_ROWS_PER_SLOT = 4096
_MAX_SLOTS = 64


class PoissonParameters(NamedTuple):
    weights: FloatArray  # (K,)
    rates: FloatArray  # (K, d)


class Poisson(Linear[PoissonParameters]):
    """log p(x | k) = sum_j x_j log rate_kj - rate_kj - log x_j!"""

    name = distribution = "poisson"
    parameter_names = ("rates",)
    location = "rates"

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> PoissonParameters:
        rates = check_finite("rates", parameters["rates"])
        if rates.ndim != 2 or len(rates) != len(weights) or rates.shape[1] == 0:
            raise ValueError(
                f"rates must have shape (k, d) with k = {len(weights)} as in weights; "
                f"got shape {rates.shape}."
            )
        if (rates < 0).any():
            raise ValueError(f"rates must be at least 0; got {rates.min()}.")
        return PoissonParameters(weights, rates)

    def n_parameters(self, k: int, d: int) -> int:
        return k * d

    def natural(self, means: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(divide="ignore"):  # with a rate of 0 the only possible count is 0
            return np.log(means), -means.sum(axis=-1)

    def mean_statistics(self, parameters: PoissonParameters) -> FloatArray:
        return parameters.rates

    def from_means(self, weights: FloatArray, means: FloatArray) -> PoissonParameters:
        return PoissonParameters(weights, means)

    def part(self, means: FloatArray, component: int, heaviest: int) -> None:
        widest = int(np.argmax(means[heaviest]))
        rate = means[heaviest, widest]
        step = 0.5 * min(np.sqrt(rate), rate)
        means[component] = means[heaviest]
        means[component, widest] -= step
        means[heaviest, widest] += step

    def sample(self, parameters: PoissonParameters, labels: Array, rng: np.random.Generator) -> FloatArray:
        return rng.poisson(parameters.rates[labels]).astype(np.float64)

    # Roots of rates are points without bounds, also those of rates of 0, and the deviation of the root of a
    # count is about 1/2.

    def places(self, parameters: PoissonParameters) -> FloatArray:
        return 2 * np.sqrt(parameters.rates)

    def to_vector(self, parameters: PoissonParameters) -> FloatArray:
        return np.concatenate([np.sqrt(parameters.weights), np.sqrt(parameters.rates).ravel()])

    def from_vector(self, vector: FloatArray, like: PoissonParameters) -> PoissonParameters | None:
        roots, rate_roots = np.split(vector, [len(like.weights)])
        with np.errstate(all="ignore"):
            parameters = PoissonParameters(weights_of(roots), np.square(rate_roots).reshape(like.rates.shape))
        return parameters if all(np.isfinite(array).all() for array in parameters) else None

    def log_h(self, rows: Rows, n_threads: int | None) -> FloatArray:
        n = len(rows.X)
        slots = max(1, min(_MAX_SLOTS, n // _ROWS_PER_SLOT))
        out, failures = np.empty(n), np.zeros(slots, np.int64)
        run_slots(slot_log_factorials, (rows.X, _log_factorials(), out, failures), slots, n_threads)
        if failures.any():
            _raise_no_counts(rows)
        return out


@cache
def _log_factorials() -> Array:
    return read_only(np.array([lgamma(x + 1) for x in range(_TABLE)]))


def _raise_no_counts(rows: Rows) -> NoReturn:
    for chosen in row_ranges(len(rows.X)):
        X = rows.X[chosen]
        bad = ~((X >= 0) & (X == np.floor(X)) & (X < np.inf))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f'{rows.where} must hold counts, whole numbers of at least 0, for distribution="poisson"; '
                f"row {rows.start + chosen.start + row}, column {column} is {X[row, column]}. "
                "Drop or round it."
            )
    raise AssertionError("the kernel found a number that is not a count")
