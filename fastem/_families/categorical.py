"""Categories that are independent within a component: latent class analysis (Lazarsfeld and Henry 1968).

The categories of a column are the distinct values seen in the fit, in their order, so a family that has none
yet is only a name. `adapted` returns one that has them.

Where values may be missing, a column has one more code, whose log-probability is zero in all components. The
M-step leaves its counts out.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastem._checks import check_finite
from fastem._families.base import Facts, check_sums, weights_of
from fastem._families.categories import (
    Groups,
    arrays_of,
    categories_from,
    checked_categories,
    checked_list,
    code_tables,
    drawn_codes,
    groups_of,
    part,
    raise_unseen,
    ranks_of_text,
)
from fastem._families.compiled import CompiledFamily
from fastem._families.frame import Frame, identity_frame
from fastem._families.reseed import alive_components, reseed
from fastem._families.steps import Maximised, Rule
from fastem._families.unscaled import Unscaled
from fastem._kernels._categorical import slot_unseen
from fastem._kernels._layout import VECTOR_BYTES
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import CategoricalParams, CategoricalSums
from fastem._typing import Array, FloatArray, Rows, read_only

# The logarithm of a probability of zero in the kernels.
_IMPOSSIBLE = -1e30
# Each of two passes knows the mean log-likelihood to about one rounding error of what its kernels add up.
_ROUNDING = 2.0
# A vector of float32 has so many lanes. float64 needs fewer, but the same rows serve both.
_LANES = VECTOR_BYTES // 4
_CACHE_LINE = 64
_MOST_PLACES = 1 << 31
# k-means compares at most so many categories.
_MOST_SEEN = 256
# A start takes this part of its probabilities from those of all rows, which count as at least the second.
_SOFT, _RAREST = 0.2, 1e-4
_ROWS_PER_SLOT, _MAX_SLOTS = 4096, 64


class CategoricalParameters(NamedTuple):
    weights: FloatArray  # (K,)
    probabilities: FloatArray  # (K, d, C), where C is the largest number of categories of a column


class CategoricalCounts(NamedTuple):
    """Weighted sums of one pass."""

    weights: FloatArray  # (K,) sum of r
    counts: FloatArray  # (K, d, C) sum of r over the rows in each category


class Categorical(
    Unscaled[CategoricalParameters, CategoricalCounts],
    CompiledFamily[CategoricalParameters, CategoricalCounts],
):
    """log p(x | k) = sum_j log p_kj(x_j)"""

    name = distribution = "categorical"
    parameter_names = ("probabilities",)
    impossible = -1e21
    shows_clusters = False
    has_base_measure = True  # it is zero, and finds values that are no categories

    def __init__(self, categories: Sequence[Array] = (), *, missing: bool = False) -> None:
        """The categories of each column are different and sorted. They are float64, or text."""
        self.missing = missing
        self.categories = tuple(map(read_only, categories)) or None
        self.vocabulary = tuple(values if values.dtype.kind == "U" else None for values in categories)
        self._counts = np.array([len(values) for values in categories], np.int64)
        self._codes = self._counts + int(missing)  # how many codes each column has in a pass
        self._starts, self._code_starts = (
            np.concatenate([[0], np.cumsum(sizes)]) for sizes in (self._counts, self._codes)
        )
        # What is computed once for each dtype and number of components.
        self._known_tables: dict[tuple[np.dtype[Any], bool], tuple[Array, ...]] = {}
        self._known_groups: dict[int, Groups] = {}
        # (d, C) of bool: which places of the parameters belong to a category. The others are always zero.
        self._own = np.arange(self._counts.max(initial=0)) < self._counts[:, None]

    # --- categories

    def adapted(self, facts: Facts) -> "Categorical":
        found = facts.distinct(np.arange(len(facts.texts)))
        return self._of([v if v.dtype.kind == "U" else v[~np.isnan(v)] for v in found])

    def with_missing(self) -> "Categorical":
        return Categorical(self.categories or (), missing=True)

    def _of(self, categories: Sequence[Array]) -> "Categorical":
        return Categorical(categories, missing=self.missing)

    def with_categories(self, categories: Any, parameters: Mapping[str, Any]) -> "Categorical":
        shape = np.shape(parameters["probabilities"])
        if categories is not None:
            given = checked_list(categories, shape[1] if len(shape) == 3 else 0)
            return self._of([checked_categories(values, j) for j, values in enumerate(given)])
        return self._of([np.arange(float(shape[2]))] * shape[1] if len(shape) == 3 else [])

    def state(self) -> dict[str, Array]:
        return arrays_of(self.categories or ())

    def with_state(self, arrays: Mapping[str, Array]) -> "Categorical":
        return self._of(categories_from(arrays))

    # --- parameters

    def check(
        self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None
    ) -> CategoricalParameters:
        probabilities = check_finite("probabilities", parameters["probabilities"])
        shape = probabilities.shape
        if len(shape) != 3 or shape[0] != len(weights) or 0 in shape or shape[1:] != self._own.shape:
            d, most = self._own.shape if self.categories else ("d", "C")
            raise ValueError(
                f"probabilities must have shape (k, d, C) = {(len(weights), d, most)}, with k as in weights "
                f"and C the largest number of categories of a column; got shape {shape}."
            )
        sums = probabilities.sum(axis=2)
        if (probabilities < 0).any() or (np.abs(sums - 1) > 1e-6).any():
            raise ValueError(
                "probabilities must be at least 0 and sum to 1 over the categories of a column; got sums "
                f"from {sums.min()} to {sums.max()} and a least probability of {probabilities.min()}."
            )
        if (probabilities[:, ~self._own] > 0).any():
            raise ValueError(
                "probabilities must be 0 beyond the categories of a column, whose numbers are "
                f"{self._counts.tolist()}."
            )
        return CategoricalParameters(weights, probabilities)

    def n_features(self, parameters: CategoricalParameters) -> int:
        return int(parameters.probabilities.shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return k * int((self._counts - 1).sum())

    def own_frame(self, parameters: CategoricalParameters, dtype: np.dtype[Any]) -> Frame:
        return identity_frame(np.zeros(self.n_features(parameters)))

    def sample(self, parameters: CategoricalParameters, labels: Array, rng: np.random.Generator) -> Array:
        d = self.n_features(parameters)
        text = any(values.dtype.kind == "U" for values in self.categories or ())
        rows = np.empty((len(labels), d), object if text else np.float64)
        for j, values in enumerate(self.categories or ()):
            rows[:, j] = values[drawn_codes(parameters.probabilities[:, j, : len(values)], labels, rng)]
        return rows

    def imputed(
        self,
        parameters: CategoricalParameters,
        X: FloatArray,
        responsibilities: FloatArray,
        rng: np.random.Generator | None,
    ) -> FloatArray:
        """Return the likeliest category in place of NaN, or one that is drawn. Text is its rank, as in X."""
        found, missing = X.astype(np.float64), np.isnan(X)
        for j, values in enumerate(ranks_of_text(self.categories or (), np.dtype(np.float64))):
            here = missing[:, j]
            r, probabilities = responsibilities[here], parameters.probabilities[:, j, : len(values)]
            if rng is None:
                codes = (r @ probabilities).argmax(axis=1)
            else:
                codes = drawn_codes(probabilities, r.argmax(axis=1), rng)
            found[here, j] = values[codes]
        return found

    # --- rows

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        """Return a column of zeros and ones for each category, of the commonest if there are many."""
        codes = [
            np.minimum(np.searchsorted(v, X[:, j]), len(v) - 1)
            for j, v in enumerate(ranks_of_text(self.categories or (), X.dtype))
        ]
        counts = np.concatenate(
            [np.bincount(c, minlength=n) for c, n in zip(codes, self._counts, strict=True)]
        )
        commonest = np.sort(np.argsort(-counts, kind="stable")[:_MOST_SEEN])
        columns = np.searchsorted(self._starts, commonest, side="right") - 1
        chosen = zip(columns, commonest - self._starts[columns], strict=True)
        return np.stack([codes[j] == code for j, code in chosen], axis=1).astype(np.float64)

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        n = len(rows.X)
        slots = max(1, min(_MAX_SLOTS, n // _ROWS_PER_SLOT))
        failures, dtype = np.zeros(slots, np.int64), rows.X.dtype
        weight = np.empty(0, dtype) if rows.weight is None else rows.weight
        shift, values, consecutive, *_ = self._tables(dtype, False)
        starts, missing = read_only(self._starts), np.array([self.missing], np.int64)
        arguments = (rows.X, read_only(weight), shift, values, starts, consecutive, missing, failures)
        run_slots(slot_unseen, arguments, slots, n_threads)
        if failures.any():
            raise_unseen(rows, self.categories or (), self.missing)
        return np.zeros(n)

    def _tables(self, dtype: np.dtype[Any], missing: bool) -> tuple[Array, ...]:
        """Return what turns values into codes. It takes as long as a short pass."""
        key = dtype, missing
        if key not in self._known_tables:
            self._known_tables[key] = code_tables(self.categories or (), dtype, missing)
        return self._known_tables[key]

    # --- passes

    def pack(
        self, parameters: CategoricalParameters | None, frame: Frame, dtype: np.dtype[Any]
    ) -> CategoricalParams:
        assert parameters is not None
        with np.errstate(divide="ignore"):  # the logarithm of zero
            log2_weights = np.log2(parameters.weights)
            logs = np.maximum(np.log2(parameters.probabilities[:, self._own]), _IMPOSSIBLE)
        if self.missing:
            logs = np.insert(logs, self._starts[1:], 0.0, axis=1)
        logs[:, : self._codes[0]] += log2_weights[:, None]
        k = len(log2_weights)
        columns, rows = self._groups(k)
        joint = [self._joint(logs, first, stop) for first, stop in pairwise(columns)]
        table = _aligned((rows[-1], _width(k)), dtype)
        if table.size > _MOST_PLACES:
            raise ValueError(
                f"X must have fewer categories; it has {logs.shape[1]} in {len(self._counts)} columns."
            )
        table[:, :k] = np.concatenate(joint, axis=1).T
        shift, values, consecutive, ranks, rank_starts = self._tables(dtype, self.missing)
        return CategoricalParams(
            shift=shift,
            inverse_scale=np.ones_like(shift),
            log2_weights=log2_weights.astype(dtype),
            table=table,
            groups=np.array(columns, np.int64),
            rows=np.array(rows[:-1], np.int64),
            sizes=self._codes.astype(dtype),
            values=values,
            starts=self._code_starts,
            consecutive=consecutive,
            ranks=ranks,
            rank_starts=rank_starts,
        )

    def _groups(self, k: int) -> Groups:
        if k not in self._known_groups:
            self._known_groups[k] = groups_of(self._codes.tolist(), 8 * k)
        return self._known_groups[k]

    def _joint(self, logs: FloatArray, first: int, stop: int) -> FloatArray:
        """Return the log-probabilities (K, ...) of the joint categories of some columns."""
        joint = np.zeros((len(logs), 1))
        for start, end in pairwise(self._code_starts[first : stop + 1]):
            joint = (joint[:, :, None] + logs[:, None, start:end]).reshape(len(logs), -1)
        return joint

    def new_sums(self, slots: int, k: int, d: int) -> CategoricalSums:
        counts = _aligned((slots, self._groups(k).rows[-1], _width(k)), np.dtype(np.float64))
        return CategoricalSums(np.zeros((slots, k)), counts, np.zeros(slots))

    def bytes_per_slot(self, k: int, d: int) -> int:
        return 8 * (k + 1 + self._groups(k).rows[-1] * _width(k))

    def multiply_adds(self, d: int) -> int:
        return 2 * d

    def collect(self, packed: CategoricalParams, merged: CategoricalSums) -> CategoricalCounts:
        k = len(merged.weights)
        counts = np.zeros((k, *self._own.shape))
        columns, rows = self._groups(k)
        for (first, stop), (start, end) in zip(pairwise(columns), pairwise(rows), strict=True):
            joint = merged.counts[start:end, :k].T.reshape(k, *self._codes[first:stop])
            for axis, j in enumerate(range(first, stop), start=1):
                others = tuple(a for a in range(1, joint.ndim) if a != axis)
                counts[:, j, : self._counts[j]] = joint.sum(axis=others)[:, : self._counts[j]]
        return CategoricalCounts(merged.weights, counts)

    # --- sums and M-step

    def add(self, one: CategoricalCounts, other: CategoricalCounts) -> CategoricalCounts:
        return CategoricalCounts(one.weights + other.weights, one.counts + other.counts)

    def blend(
        self, before: CategoricalParameters, weights: FloatArray, sums: CategoricalCounts, gain: float
    ) -> CategoricalCounts:
        counts = weights[:, None, None] * before.probabilities
        return CategoricalCounts(weights + gain * sums.weights, counts + gain * sums.counts)

    def origin(self, k: int, d: int) -> CategoricalParameters:
        uniform = self._own / self._counts[:, None]
        return CategoricalParameters(np.full(k, 1 / k), np.repeat(uniform[None], k, axis=0))

    def maximise(
        self, sums: CategoricalCounts, rule: Rule[CategoricalParameters]
    ) -> Maximised[CategoricalParameters]:
        dead = ~alive_components(sums.weights, rule.mean_row_weight)
        known = ~dead[:, None]
        counts, everywhere = sums.counts, sums.counts.sum(axis=0)
        if self.missing:  # a column may have no value, in a component or in a sample
            everywhere = np.where(everywhere.sum(axis=1, keepdims=True) > 0, everywhere, self._own)
            known = known & (counts.sum(axis=2) > 0)
        counts = np.where(known[:, :, None], counts, everywhere)
        # Each column has the weight of its component, but to rounding errors of its own.
        probabilities = counts / counts.sum(axis=2, keepdims=True)
        weights = sums.weights / sums.weights.sum()
        reseeded, kept = reseed(weights, dead, rule.reseeds, partial(part, probabilities))
        parameters = CategoricalParameters(weights, probabilities)
        rounding = _ROUNDING * (rule.precision + float(np.finfo(np.float64).eps))
        return Maximised(parameters, reseeded, kept, [], lambda: rounding * _size(parameters))

    # Roots of probabilities are points on a sphere. In half of these units a single row knows about one.

    def places(self, parameters: CategoricalParameters) -> FloatArray:
        return 2 * np.sqrt(parameters.probabilities[:, self._own])

    def to_vector(self, parameters: CategoricalParameters) -> FloatArray:
        roots = np.sqrt(parameters.probabilities[:, self._own])
        return np.concatenate([np.sqrt(parameters.weights), roots.ravel()])

    def from_vector(self, vector: FloatArray, like: CategoricalParameters) -> CategoricalParameters | None:
        k = len(like.weights)
        probabilities = np.zeros_like(like.probabilities)
        with np.errstate(all="ignore"):
            probabilities[:, self._own] = np.square(vector[k:].reshape(k, -1))
            probabilities /= probabilities.sum(axis=2, keepdims=True)
            parameters = CategoricalParameters(weights_of(vector[:k]), probabilities)
        return parameters if all(np.isfinite(array).all() for array in parameters) else None

    def softened(self, parameters: CategoricalParameters) -> CategoricalParameters:
        """Return probabilities a little nearer to those of all rows. EM would never change one of zero."""
        weights, probabilities = parameters
        everywhere = np.tensordot(weights, probabilities, 1)
        # A category that no row of the sample has becomes as rare as the sample allows to tell.
        everywhere = np.where(self._own, np.maximum(everywhere, _RAREST), 0.0)
        everywhere /= everywhere.sum(axis=1, keepdims=True)
        return CategoricalParameters(weights, (1 - _SOFT) * probabilities + _SOFT * everywhere)

    # --- files

    def to_arrays(self, sums: CategoricalCounts) -> dict[str, Array]:
        return sums._asdict()

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> CategoricalCounts:
        k = len(arrays["weights"])
        if len(self._counts) != d:
            raise ValueError(f"it has {d} columns, and categories of {len(self._counts)}")
        counts = check_sums("counts", arrays["counts"], (k, *self._own.shape))
        return CategoricalCounts(check_sums("weights", arrays["weights"], (k,)), counts)

    def user_sums(self, sums: CategoricalCounts, frame: Frame) -> dict[str, Any]:
        return {"weights": sums.weights.copy(), "counts": sums.counts.copy()}


def _width(k: int) -> int:
    return -(-k // _LANES) * _LANES


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return zeros that start at a cache line, since a load across two of them costs as much as two loads."""
    size = int(np.prod(shape))
    buffer = np.zeros(size + _CACHE_LINE // dtype.itemsize, dtype)
    start = (-buffer.ctypes.data % _CACHE_LINE) // dtype.itemsize
    return buffer[start : start + size].reshape(shape)


def _size(parameters: CategoricalParameters) -> float:
    """How large the terms of the log-density of a mean row are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(
            parameters.probabilities > 0, -parameters.probabilities * np.log(parameters.probabilities), 0
        )
    entropy = -float(sum(w * np.log(w) for w in parameters.weights if w > 0))
    return float(parameters.weights @ terms.sum(axis=(1, 2))) + entropy
