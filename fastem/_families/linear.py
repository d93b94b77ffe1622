"""Exponential families with independent features: log p(x | k) = <eta_k, t(x)> + b_k + log h(x).

A distribution is defined by its statistics t, its natural parameters eta, its b and the means of t
(Wainwright and Jordan 2008, section 3.2). One kernel, a matrix product over a tile, computes all of them. The
M-step of maximum likelihood sets the mean of t in each component to its weighted average over the rows
(Bishop 2006, eq. 2.226).

Sums of large terms that cancel would lose digits. There are two remedies. Where t is x itself, we subtract
from eta and b those of one reference distribution, which has the mean of all rows. The kernels get the
differences. These are small, so that large counts keep their digits in float32. The reference stays the same
in all of a fit. Its log-density is a part of the base measure, which is summed once, in float64. Where t has
logarithms (`logarithmic`), its terms cancel within a component. These passes compute in float64, and so do
those about a component that is so far from the reference that float32 would lose its log-densities.

A missing number has neither t nor b. The M-step averages each t over the rows where it is observed, which
maximises the likelihood of what is observed given the responsibilities. So EM needs no expectation of t.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np

from fastem._checks import check_finite
from fastem._families.base import check_sums, weights_of
from fastem._families.compiled import CompiledFamily
from fastem._families.frame import Frame
from fastem._families.gaps import drawn, expected, filled, of_missing
from fastem._families.reseed import alive_components, reseed
from fastem._families.steps import Maximised, Rule, Weighted
from fastem._kernels._linear import PLAIN
from fastem._kernels._params import LinearGapsParams, LinearGapsSums, LinearParams, LinearSums
from fastem._typing import Array, FloatArray, Rows, read_only

P = TypeVar("P", bound=Weighted)

_LOG2_E = 1 / np.log(2)
# Each of two passes knows the mean log-likelihood to about one rounding error of what its kernels add up.
_ROUNDING = 2.0
# float32 knows a log-density with a term of this size to 1/256. Passes over larger terms compute in float64.
_LARGEST_IN_FLOAT32 = 2.0**16
# This replaces an eta of -inf. Times a statistic of 0 it is 0. Times any other it gives a density of 0.
_IMPOSSIBLE = -1e30


class ExponentialSums(NamedTuple):
    """Weighted sums of one pass."""

    weights: FloatArray  # (K,) sum of r
    first: FloatArray  # (K, T) sum of r t(x) over what is observed
    observed: FloatArray | None = (
        None  # (K, d) sum of r where the feature is observed, if some may be missing
    )

    @property
    def counts(self) -> FloatArray:
        """The sum of r for each feature, (K, d), or (K, 1) if it is the same for all."""
        return self.weights[:, None] if self.observed is None else self.observed


class Domain(NamedTuple):
    """Which values a parameter may have."""

    words: str
    holds: Callable[[FloatArray], Array]


MORE_THAN_0 = Domain("more than 0", lambda values: values > 0)
FINITE = Domain("finite", np.isfinite)


class Measures(NamedTuple):
    """The statistics t as the kernel computes them from a column. `LinearParams` describes the fields."""

    shift: FloatArray
    inverse_scale: FloatArray
    columns: Array
    transforms: Array
    centres: FloatArray
    factors: FloatArray


class Linear(CompiledFamily[P, ExponentialSums]):
    """An exponential family with independent features. Its parameters are arrays (K, d).

    `domains` says which values each of the `parameter_names` may have. `record` makes parameters from the
    weights and these arrays.
    """

    # No row that is possible comes near, and few that are not make even the mean of all rows fall below.
    impossible = -1e21
    has_base_measure = True
    tries_random = True
    domains: tuple[Domain, ...]
    record: Callable[..., P]
    logarithmic: ClassVar[bool] = False  # whether there are two statistics a column, computed in float64
    neutral: ClassVar[float] = 0.0  # a number with log h = 0 that the reference distribution adds nothing for

    def with_missing(self) -> Self:
        found = copy(self)
        found.missing = True
        return found

    # --- what defines the distribution

    @abstractmethod
    def measures(self, frame: Frame) -> Measures:
        """Return the statistics of a row. The first d of them are finite only if the row is."""

    @abstractmethod
    def natural(self, parameters: P) -> tuple[FloatArray, FloatArray]:
        """Return eta (K, T) and the b of each feature (K, d). An eta may be -inf if no t is below 0."""

    @abstractmethod
    def mean_statistics(self, parameters: P) -> FloatArray:
        """Return the mean of t in each component, (K, T)."""

    @abstractmethod
    def expectations(self, parameters: P) -> FloatArray:
        """Return the mean of x in each component, (K, d). All is in user units."""

    @abstractmethod
    def estimate(self, weights: FloatArray, means: FloatArray, everywhere: FloatArray) -> tuple[P, Array]:
        """Return the most likely parameters if the means of t are (K, T), and `everywhere` (T,) in all rows.

        Parameters stay within bounds that depend on `everywhere` alone, so that the likelihood is bounded and
        rises in each iteration. Also return which are at a bound, (K, d).
        """

    @abstractmethod
    def log_h(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        """Return log h(x) of each row, (m,). Raise an error for rows that the distribution does not have."""

    @abstractmethod
    def reference(self, mean: FloatArray) -> P | None:
        """Return one component with this mean (d,), or None if there shall be no reference distribution."""

    @abstractmethod
    def part(self, parameters: P, component: int, heaviest: int) -> None:
        """Split the heaviest component in two, in place, about one deviation apart."""

    @abstractmethod
    def unbounded(self, parameters: P) -> tuple[FloatArray, ...]:
        """Return coordinates without bounds for each parameter, in arrays (K, d)."""

    @abstractmethod
    def bounded(self, weights: FloatArray, *coordinates: FloatArray) -> P:
        """Return the parameters with these coordinates."""

    @abstractmethod
    def named_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, FloatArray]:
        """Return the sums of t without centring and scaling, by name."""

    def excludes_0(self, parameters: P) -> Array:
        """Return where a component never produces a 0 although others do, (K, d)."""
        return np.zeros((len(parameters.weights), self.n_features(parameters)), bool)

    # --- parameters

    def check(self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None) -> P:
        arrays: list[FloatArray] = []
        for name, domain in zip(self.parameter_names, self.domains, strict=True):
            values = check_finite(name, parameters[name])
            if values.ndim != 2 or len(values) != len(weights) or values.shape[1] == 0:
                raise ValueError(
                    f"{name} must have shape (k, d) with k = {len(weights)} as in weights; "
                    f"got shape {values.shape}."
                )
            if arrays and values.shape != arrays[0].shape:
                raise ValueError(
                    f"{name} must have the shape of {self.parameter_names[0]}, {arrays[0].shape}; "
                    f"got shape {values.shape}."
                )
            outside = ~domain.holds(values)
            if outside.any():
                raise ValueError(f"{name} must be {domain.words}; got {values[outside][0]}.")
            arrays.append(values)
        return self.record(weights, *arrays)

    def marginal(self, parameters: P, columns: Array) -> tuple["Linear[P]", P]:
        values = self.values(parameters).values()
        return self, self.record(parameters.weights, *(value[:, columns] for value in values))

    def n_features(self, parameters: P) -> int:
        return int(getattr(parameters, self.parameter_names[0]).shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return len(self.domains) * k * d

    def to_vector(self, parameters: P) -> FloatArray:
        roots = np.sqrt(parameters.weights)
        return np.concatenate([roots, *(array.ravel() for array in self.unbounded(parameters))])

    def from_vector(self, vector: FloatArray, like: P) -> P | None:
        k = len(like.weights)
        coordinates = vector[k:].reshape(len(self.domains), k, -1)
        with np.errstate(all="ignore"):
            parameters = self.bounded(weights_of(vector[:k]), *coordinates)
        valid = all(
            np.isfinite(values).all() and domain.holds(values).all()
            for domain, values in zip(self.domains, self.values(parameters).values(), strict=True)
        )
        return parameters if valid and np.isfinite(parameters.weights).all() else None

    # --- passes

    def log_constant(self, frame: Frame) -> float:
        return -frame.log_scale

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        X, reference, constants = rows.X, self.reference(frame.mean), -np.log(frame.scale)
        if self.missing:
            rows = rows._replace(X=read_only(filled(X, self.neutral)))
        log_density = self.log_h(rows, frame, n_threads)
        if reference is not None:
            etas, b = self.natural(reference)
            log_density += b.sum()
            constants = constants + b[0]
            # The bits of a matrix product would depend on where the row is.
            for j, eta in enumerate(etas[0] / frame.scale):
                log_density += rows.X[:, j] * eta
        return log_density - of_missing(X, constants, n_threads) if self.missing else log_density

    def _natural_less_reference(self, parameters: P, frame: Frame) -> tuple[FloatArray, FloatArray]:
        etas, b = self.natural(parameters)
        reference = self.reference(frame.mean)
        if reference is None:
            return etas, b
        its_etas, its_b = self.natural(reference)
        return etas - its_etas, b - its_b

    def new_sums(self, slots: int, k: int, d: int) -> LinearSums | LinearGapsSums:
        sums = LinearSums(np.zeros((slots, k)), np.zeros((slots, k, self._width(d))), np.zeros(slots))
        if not self.missing:
            return sums
        return LinearGapsSums(sums.weights, sums.first, np.zeros((slots, k, d)), sums.log2_likelihood)

    def _width(self, d: int) -> int:
        return 2 * d if self.logarithmic else d

    def _features(self, width: int) -> int:
        return width // 2 if self.logarithmic else width

    def multiply_adds(self, d: int) -> int:
        return 2 * self._width(d)

    def pack(
        self, parameters: P | None, frame: Frame, dtype: np.dtype[Any]
    ) -> LinearParams | LinearGapsParams:
        assert parameters is not None
        etas, offsets = self._natural_less_reference(parameters, frame)
        if self.logarithmic or np.abs(offsets).max() > _LARGEST_IN_FLOAT32:
            dtype = np.dtype(np.float64)
        with np.errstate(divide="ignore"):  # a weight of zero is a log-weight of -inf
            log2_weights = np.log2(parameters.weights) + offsets.sum(axis=1) * _LOG2_E
        etas = np.where(np.isneginf(etas), _IMPOSSIBLE, etas * _LOG2_E)
        etas, measures = self._with_counts_of_0(parameters, etas, frame)
        packed = LinearParams(
            shift=measures.shift.astype(dtype),
            inverse_scale=measures.inverse_scale.astype(dtype),
            log2_weights=log2_weights.astype(dtype),
            etas=etas.astype(dtype)[None],
            columns=measures.columns,
            transforms=measures.transforms,
            centres=measures.centres.astype(dtype),
            factors=measures.factors.astype(dtype),
        )
        if not self.missing:
            return packed
        changes = (-_LOG2_E * offsets).astype(dtype)[None]
        return LinearGapsParams(packed.shift, packed.inverse_scale, packed.log2_weights, packed, changes)

    def _with_counts_of_0(self, parameters: P, etas: FloatArray, frame: Frame) -> tuple[FloatArray, Measures]:
        """Add a statistic 1 - x for each column in which a component excludes 0. There is no sum over it."""
        measures, excluded = self.measures(frame), self.excludes_0(parameters)
        columns = np.flatnonzero(excluded.any(axis=0))
        if not len(columns):
            return etas, measures
        d = excluded.shape[1]
        etas = np.hstack([etas, np.where(excluded[:, columns], _IMPOSSIBLE, 0.0)])
        ones = np.ones(len(columns))
        return etas, measures._replace(
            columns=np.concatenate([np.arange(d), columns]),
            transforms=np.full(d + len(columns), PLAIN, np.int64),
            centres=np.concatenate([np.zeros(d), ones]),
            factors=np.concatenate([np.ones(d), -ones]),
        )

    def collect(self, packed: Any, merged: Any) -> ExponentialSums:
        return ExponentialSums(merged.weights, merged.first, merged.observed if self.missing else None)

    # --- sums and M-step

    def add(self, one: ExponentialSums, other: ExponentialSums) -> ExponentialSums:
        observed = one.observed if other.observed is None else other.observed
        if one.observed is not None and other.observed is not None:
            observed = one.observed + other.observed
        return ExponentialSums(one.weights + other.weights, one.first + other.first, observed)

    def blend(self, before: P, weights: FloatArray, sums: ExponentialSums, gain: float) -> ExponentialSums:
        first = weights[:, None] * self.mean_statistics(before)
        observed = None if sums.observed is None else weights[:, None] + gain * sums.observed
        return ExponentialSums(weights + gain * sums.weights, first + gain * sums.first, observed)

    def origin(self, k: int, d: int) -> P:
        return self.record(np.full(k, 1 / k), *(np.full((k, d), 0.5) for _ in self.domains))

    def maximise(self, sums: ExponentialSums, rule: Rule[P]) -> Maximised[P]:
        alive = alive_components(sums.weights, rule.mean_row_weight)
        means, everywhere = self._means(sums, alive)
        weights = sums.weights / sums.weights.sum()
        parameters, at_bound = self.estimate(weights, means, everywhere)
        reseeded, kept = reseed(weights, ~alive, rule.reseeds, partial(self.part, parameters))
        floored = [int(component) for component in np.flatnonzero(at_bound.any(axis=1))]
        slack = partial(self._slack, parameters, rule.frame, rule.precision)
        return Maximised(parameters, reseeded, kept, floored, slack)

    def _slack(self, parameters: P, frame: Frame, precision: float) -> float:
        # Kernels see parameters less those of the reference; both are known to rounding errors of their own.
        terms = self._natural_less_reference(parameters, frame), self.natural(parameters)
        less, whole = (self._size(parameters, *term) for term in terms)
        return float(_ROUNDING * (precision * less + np.finfo(np.float64).eps * whole))

    def _means(self, sums: ExponentialSums, alive: Array) -> tuple[FloatArray, FloatArray]:
        """Return the means of t where they are observed, in each component (K, T) and everywhere (T,).

        A component that knows no number of a feature takes the mean of all.
        """
        counts, width = sums.counts, sums.first.shape[1]
        if sums.observed is not None:
            counts = np.tile(counts, width // counts.shape[1])
        of_all, total = counts.sum(axis=0), sums.first.sum(axis=0)
        if not (of_all > 0).all():  # rows of a sample alone may not know a feature
            unknown = self.mean_statistics(self.origin(1, self._features(width)))[0]
            total, of_all = np.where(of_all > 0, total, unknown), np.where(of_all > 0, of_all, 1.0)
        everywhere = total / of_all
        known = alive[:, None] & (counts > 0)
        means = np.where(known, sums.first / np.where(known, counts, 1.0), everywhere)
        return means, everywhere

    def _size(self, parameters: P, etas: FloatArray, offsets: FloatArray) -> float:
        """How large the terms of the log-density of a mean row are."""
        means = self.mean_statistics(parameters)
        with np.errstate(invalid="ignore"):
            products = np.where(means != 0, np.abs(means * etas), 0.0)
        return float(parameters.weights @ (products.sum(axis=1) + np.abs(offsets.sum(axis=1))))

    # --- files

    def to_arrays(self, sums: ExponentialSums) -> dict[str, Array]:
        return {name: array for name, array in sums._asdict().items() if array is not None}

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> ExponentialSums:
        k = len(arrays["weights"])
        return ExponentialSums(
            check_sums("weights", arrays["weights"], (k,)),
            check_sums("first", arrays["first"], (k, self._width(d))),
            check_sums("observed", arrays["observed"], (k, d)) if self.missing else None,
        )

    def user_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, Any]:
        observed = {} if sums.observed is None else {"observed": sums.observed.copy()}
        return {"weights": sums.weights.copy(), **observed, **self.named_sums(sums, frame)}

    # --- rows

    def imputed(
        self, parameters: P, X: FloatArray, responsibilities: FloatArray, rng: np.random.Generator | None
    ) -> FloatArray:
        if rng is not None:
            return drawn(self, parameters, X, responsibilities, rng)
        return expected(X, responsibilities, self.expectations(parameters))


class PlainLinear(Linear[P]):
    """Such a family whose statistics are the columns themselves."""

    def measures(self, frame: Frame) -> Measures:
        none, no_numbers = np.empty(0, np.int64), np.empty(0)
        return Measures(frame.shift, 1 / frame.scale, none, none, no_numbers, no_numbers)

    def named_sums(self, sums: ExponentialSums, frame: Frame) -> dict[str, FloatArray]:
        return {"first": sums.first * frame.scale}
