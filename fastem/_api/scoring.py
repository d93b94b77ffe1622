"""Scores of rows under known parameters. Their log-densities include the base measure."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastem._checks import row_ranges
from fastem._families.base import Family
from fastem._families.gaussian import Gaussian
from fastem._families.registry import measured_family
from fastem._families.steps import Scores
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._sources.texts import Gaps
from fastem._typing import Array, FloatArray, Rows


class Scorer:
    """The parameters of a mixture, in user units, prepared once for each dtype and use.

    `log_weights` (K,) replace the logarithms of the weights. They need not be those of weights that sum to 1,
    and may be smaller than logarithms of numbers. The family must be one of Gaussians. `remedy` is what a
    user may do about NaN, if that is an error.
    """

    def __init__(
        self,
        family: Family[Any, Any],
        user: Any,
        log_weights: FloatArray | None = None,
        remedy: str = "",
    ) -> None:
        self._family, self._user, self._log_weights = family, user, log_weights
        self._gaps = Gaps(family.missing, remedy)
        self._sweeps: dict[tuple[np.dtype[Any], bool, bool], Sweep] = {}

    def sweep(self, dtype: np.dtype[Any], weighted: bool = True, measured: bool = False) -> Sweep:
        """Return a pass over rows of this dtype. If it is not weighted, all components have the same weight.

        Its frame depends on the model alone. `measured` says that the rows have known noise.
        """
        key = dtype, weighted, measured
        if key not in self._sweeps:
            with np.errstate(under="ignore"):  # what underflows is 0, as in a fit
                self._sweeps[key] = self._made(*key)
        return self._sweeps[key]

    def _made(self, dtype: np.dtype[Any], weighted: bool, measured: bool) -> Sweep:
        k, family = len(self._user.weights), self._family
        if measured:
            family = measured_family(family)
        log_weights = self._log_weights if weighted else None
        user = self._user if weighted else self._user._replace(weights=np.full(k, 1 / k))
        frame = family.own_frame(self._user, dtype)
        if log_weights is not None:
            user = user._replace(weights=np.ones(k))
        packed = family.pack(family.from_user(user, frame), frame, dtype)
        if log_weights is not None:
            assert isinstance(family, Gaussian)
            packed = family.raised(packed, log_weights)
        return Sweep(family, k, packed, frame)

    def log_densities(self, rows: Rows, n_threads: int | None) -> Array:
        """Return log p(x), (m,), in float32 if the rows are."""
        return self.present_log_densities(rows._replace(weight=None), n_threads)

    def present_log_densities(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the same. Rows of weight 0 may have values that the distribution has not."""
        out = np.empty(len(rows.X))
        self._score(rows, n_threads, Scores(log_densities=out))
        return out.astype(_dtype_of(rows.X), copy=False)

    def labels(self, rows: Rows, n_threads: int | None) -> Array:
        out = np.empty(len(rows.X), np.int64)
        self._score(rows._replace(weight=None), n_threads, Scores(labels=out))
        return out

    def responsibilities(self, rows: Rows, n_threads: int | None) -> Array:
        return self.present_responsibilities(rows._replace(weight=None), n_threads)

    def present_responsibilities(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the same. Rows of weight 0 may have values that the distribution has not."""
        out = np.empty((len(rows.X), len(self._user.weights)), _dtype_of(rows.X))
        self._score(rows, n_threads, Scores(responsibilities=out))
        return out

    def true_values(self, rows: Rows, n_threads: int | None) -> FloatArray:
        """Return the expectations, (m, d), of what rows were measured with noise."""
        out = np.empty(rows.X.shape)
        self._score(rows._replace(weight=None), n_threads, Scores(true_values=out))
        return out

    def component_log_densities(self, rows: Rows, n_threads: int | None) -> FloatArray:
        """Return log p(x | k), (m, K), which a component of weight 0 has too."""
        return self._joint(rows._replace(weight=None), n_threads)

    def _joint(self, rows: Rows, n_threads: int | None) -> FloatArray:
        k = len(self._user.weights)
        joint = np.zeros((len(rows.X), k))
        self._score(rows, n_threads, Scores(joint=joint), weighted=False)
        return np.asarray((joint + np.log2(k)) * np.log(2))

    def totals(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the log-likelihood and the total weight."""
        out = np.empty(len(rows.X))
        self._score(rows, n_threads, Scores(log_densities=out))
        return np.array([rows.weighted_sum(out), rows.total_weight])

    def classified_totals(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the log-likelihood of each row with its likeliest component, and the total weight."""
        total = 0.0
        for chosen in row_ranges(len(rows.X)):
            part = rows.part(chosen)
            with np.errstate(divide="ignore"):
                joint = self._joint(part, n_threads) + np.log(self._user.weights)
            total += part.weighted_sum(joint.max(axis=1))
        return np.array([total, rows.total_weight])

    def lower_bound(self, chunks: Iterable[Rows], responsibilities: Array, n_threads: int | None) -> float:
        """Return Jensen's lower bound of the log-likelihood of all chunks, for responsibilities (n, K)."""
        total, start = 0.0, 0
        for chunk in chunks:
            for chosen in row_ranges(len(chunk.X)):
                rows = chunk.part(chosen)
                q = np.asarray(responsibilities[start : start + len(rows.X)], dtype=np.float64)
                total += rows.weighted_sum(self._bounds(rows, q, n_threads))
                start += len(rows.X)
        return total

    def _bounds(self, rows: Rows, q: FloatArray, n_threads: int | None) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            joint = self._joint(rows, n_threads) + np.log(self._user.weights)
            terms = np.where(q > 0, q * (joint - np.log(q)), 0.0)
        return np.asarray(terms.sum(axis=1))

    def _score(self, rows: Rows, n_threads: int | None, wanted: Scores, weighted: bool = True) -> None:
        """Fill the wanted scores. Rows whose weight is 0 may have values that the distribution has not."""
        if len(rows.X) == 0:
            return
        source = ArraySource(rows, n_threads, gaps=self._gaps)
        sweep = self.sweep(source.dtype, weighted, rows.noise is not None)
        with np.errstate(under="ignore"):
            source.score(sweep, wanted)


def _dtype_of(X: Array) -> type[np.floating[Any]]:
    return np.float32 if X.dtype == np.float32 else np.float64
