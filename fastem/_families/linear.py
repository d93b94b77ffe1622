"""Exponential families with independent features: log p(x | k) = <eta_k, t(x)> + b_k + log h(x).

A distribution is defined by its natural parameters eta, its b and the means of t (Wainwright and Jordan 2008,
section 3.2). One kernel, a matrix product over a tile, computes all of them. The M-step of maximum likelihood
sets the mean of t in each component to its weighted average over the rows (Bishop 2006, eq. 2.226).

We subtract from eta and b those of one reference distribution, which has the mean of all rows. The kernels
get the differences. These are small, so that large counts keep their digits in float32. The reference stays
the same in all of a fit. Its log-density is a part of the base measure, which is summed once, in float64.
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastem._families.base import Maximised, Rule, Weighted, check_sums
from fastem._families.compiled import CompiledFamily
from fastem._families.frame import Frame, Moments, identity_frame
from fastem._families.reseed import alive_components, reseed
from fastem._kernels._params import LinearParams, LinearSums
from fastem._typing import Array, FloatArray, Rows

P = TypeVar("P", bound=Weighted)

_LOG2_E = 1 / np.log(2)
# Each of two passes knows the mean log-likelihood to about one rounding error of what its kernels add up.
_ROUNDING = 2.0
# This replaces an eta of -inf. Times a statistic of 0 it is 0. Times any other it gives a density of 0.
_IMPOSSIBLE = -1e30


class ExponentialSums(NamedTuple):
    """Weighted sums of one pass."""

    weights: FloatArray  # (K,) sum of r
    first: FloatArray  # (K, d) sum of r t(x)


class Linear(CompiledFamily[P, ExponentialSums]):
    """An exponential family with independent features, whose statistic t(x) is x itself."""

    # No row that is possible comes near, and few that are not make even the mean of all rows fall below.
    impossible = -1e21
    has_base_measure = True

    @abstractmethod
    def natural(self, means: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return eta (..., d) and b (...) of the distributions whose t has these means (..., d)."""

    @abstractmethod
    def log_h(self, rows: Rows, n_threads: int | None) -> FloatArray:
        """Return log h(x) of each row, (m,). Raise an error for rows that the distribution does not have."""

    @abstractmethod
    def mean_statistics(self, parameters: P) -> FloatArray:
        """Return the mean of t in each component, (K, d)."""

    @abstractmethod
    def from_means(self, weights: FloatArray, means: FloatArray) -> P:
        """Return the parameters for which t has these means (K, d)."""

    @abstractmethod
    def part(self, means: FloatArray, component: int, heaviest: int) -> None:
        """Split the means of the heaviest component in two, in place, about one deviation apart."""

    def n_features(self, parameters: P) -> int:
        return int(self.mean_statistics(parameters).shape[1])

    def to_user(self, parameters: P, frame: Frame) -> P:
        return parameters

    def from_user(self, parameters: P, frame: Frame) -> P:
        return parameters

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(moments.mean)

    def own_frame(self, parameters: P, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(parameters.weights @ self.mean_statistics(parameters))

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        log_density = self.log_h(rows, n_threads)
        eta, b = self._reference(frame)
        log_density += b
        for j in range(rows.X.shape[1]):  # the bits of a matrix product would depend on where the row is
            log_density += rows.X[:, j] * eta[j]
        return log_density

    def _reference(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Return (eta, b) of the reference distribution. A mean of 0, whose eta is infinite, becomes 1."""
        return self.natural(np.where(frame.mean > 0, frame.mean, 1.0))

    # --- passes

    def new_sums(self, slots: int, k: int, d: int) -> LinearSums:
        return LinearSums(np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros(slots))

    def multiply_adds(self, d: int) -> int:
        return 2 * d

    def pack(self, parameters: P | None, frame: Frame, dtype: np.dtype[Any]) -> LinearParams:
        assert parameters is not None
        etas, offsets = self.natural(self.mean_statistics(parameters))
        reference, offset = self._reference(frame)
        etas = (etas - reference) * _LOG2_E
        with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
            log2_weights = np.log2(parameters.weights) + (offsets - offset) * _LOG2_E
        return LinearParams(
            shift=frame.shift.astype(dtype),
            inverse_scale=(1 / frame.scale).astype(dtype),
            log2_weights=log2_weights.astype(dtype),
            etas=np.maximum(etas, _IMPOSSIBLE).astype(dtype)[None],
        )

    def collect(self, packed: LinearParams, merged: LinearSums) -> ExponentialSums:
        return ExponentialSums(merged.weights, merged.first)

    # --- sums and M-step

    def add(self, one: ExponentialSums, other: ExponentialSums) -> ExponentialSums:
        return ExponentialSums(one.weights + other.weights, one.first + other.first)

    def blend(self, before: P, weights: FloatArray, sums: ExponentialSums, gain: float) -> ExponentialSums:
        first = weights[:, None] * self.mean_statistics(before)
        return ExponentialSums(weights + gain * sums.weights, first + gain * sums.first)

    def origin(self, k: int, d: int) -> P:
        return self.from_means(np.full(k, 1 / k), np.ones((k, d)))

    def maximise(self, sums: ExponentialSums, rule: Rule[P]) -> Maximised[P]:
        total = sums.weights.sum()
        alive = alive_components(sums.weights, rule.mean_row_weight)
        everywhere = sums.first.sum(axis=0) / total
        weights = np.where(alive, sums.weights, 1.0)
        means = np.where(alive[:, None], sums.first / weights[:, None], everywhere)
        weights = sums.weights / total
        reseeded, kept = reseed(weights, ~alive, rule.reseeds, partial(self.part, means))
        # Kernels see parameters less those of the reference; both are known to rounding errors of their own.
        slack = rule.precision * self._size(weights, means, self._reference(rule.frame))
        slack += np.finfo(np.float64).eps * self._size(weights, means, (0.0, 0.0))
        return Maximised(self.from_means(weights, means), reseeded, kept, [], _ROUNDING * slack)

    def _size(self, weights: FloatArray, means: FloatArray, less: tuple[Any, Any]) -> float:
        """How large the terms of the log-density of a mean row are, with this (eta, b) taken away."""
        etas, offsets = self.natural(means)
        with np.errstate(invalid="ignore"):
            products = np.where(means > 0, np.abs(means * (etas - less[0])), 0.0)
        return float(weights @ (products.sum(axis=1) + np.abs(offsets - less[1])))

    # --- files

    def to_arrays(self, sums: ExponentialSums) -> dict[str, Array]:
        return sums._asdict()

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> ExponentialSums:
        k = len(arrays["weights"])
        return ExponentialSums(
            check_sums("weights", arrays["weights"], (k,)), check_sums("first", arrays["first"], (k, d))
        )

    def user_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, Any]:
        return {"weights": sums.weights.copy(), "first": sums.first.copy()}
