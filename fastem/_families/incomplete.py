"""Passes over rows in which numbers are missing, for covariances that are matrices.

What is observed of a row has a density of its own, that of the marginal of its features, and what is missing
is expected by regression on it: with R = [1; V_mo / V_oo] the expected row about the mean is R z_o, and its
scatter R z_o z_o' R' + B, where B = V - V_.o / V_oo V_o. (Ghahramani and Jordan 1994). So rows that miss the
same features are passed over as rows of fewer features, by the kernels of complete rows, and their sums are
expanded once, at the end of the pass. For patterns that few rows share a kernel goes row by row.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastem._families.alike import Alike, Known, Place, known_of
from fastem._families.compiled import IMPOSSIBLE_MEAN, CompiledFamily, KernelPass, kernel_scores
from fastem._families.frame import Frame
from fastem._families.gaps import of_missing
from fastem._families.marginals import of_columns, parted, stacked
from fastem._families.patterns import Patterns, Sorted, is_worth_it, kept_patterns, patterns_of, sort
from fastem._families.steps import Cost, P, Pass, S, Scores, Summed
from fastem._families.wide import wide_cost
from fastem._families.wide_passes import wide_pass
from fastem._kernels._incomplete import (
    IncompleteParams,
    IncompleteSums,
    slot_imputed,
    slot_incomplete,
    slot_incomplete_scores,
)
from fastem._kernels._layout import TILE_BYTES
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import FullParams, ScreenedFullParams
from fastem._kernels._pattern_passes import of_group
from fastem._typing import Array, FloatArray, Rows, read_only

_LN2 = float(np.log(2))
_MEMORY = 16 << 20  # bytes for the sums of all patterns, and for those of the slots that go row by row
_TILES_PER_SLOT = 8  # of the rows of one pattern
_RARE_ROWS = 64  # of each slot that goes row by row, since each begins with a pattern anew
# Nanoseconds for a common pattern beside its rows, as measured: in the first slab, and in later ones.
_FIRST, _LATER = 8e4, 1e4


class Incomplete(NamedTuple):
    """What a pass needs. The log-weights are those of `plain`, which serves complete rows."""

    shift: Array  # (d,)
    log2_weights: Array  # (K,)
    plain: Any
    parameters: Any  # in float64, in standard coordinates
    raised: FloatArray  # (K,) what is added to the log-densities of components


class IncompleteFamily(CompiledFamily[P, S]):
    """An elliptical family, whose rows may have missing numbers if `missing`."""

    # It is `by_pattern` if rows may have missing numbers, and covariances are matrices. Without correlations,
    # a kernel leaves out what is missing.
    feature_constant: ClassVar[float]  # what the kernels leave out of a log-density for each feature

    def log_constant(self, frame: Frame) -> float:
        """Return the constants of all features, and the Jacobian of the frame."""
        return len(frame.scale) * self.feature_constant - frame.log_scale

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        """Take the constants of the features that a row lacks out of `log_constant` again."""
        return of_missing(rows.X, np.log(frame.scale) - self.feature_constant, n_threads)

    @abstractmethod
    def pack_plain(self, parameters: P, frame: Frame, dtype: np.dtype[Any]) -> Any:
        """Convert the parameters to what the kernels of complete rows need."""

    @abstractmethod
    def raised(self, packed: Any, amounts: FloatArray) -> Any:
        """Return what `pack_plain` returned with these amounts (K,) added to the log-densities."""

    @abstractmethod
    def some(self, parameters: P, observed: Array) -> P:
        """Return the parameters of some features, in standard coordinates."""

    @abstractmethod
    def row_by_row(self, parameters: P, frame: Frame) -> IncompleteParams:
        """Return what the kernel for rare patterns needs."""

    @abstractmethod
    def expanded(self, parameters: P, observed: Array, sums: list[S]) -> S:
        """Return the expected sums over all features.

        The sums are those of different patterns, with as many features `observed` (patterns, o) in each.
        """

    @abstractmethod
    def collect_rows(self, parameters: P, merged: IncompleteSums) -> S:
        """Convert the sums of the kernel for rare patterns, added over all slots."""

    def cost(self, packed: Any, k: int, d: int) -> Cost:
        return wide_cost(packed) or super().cost(packed, k, d)

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[S]:
        if isinstance(packed, Incomplete):
            return IncompletePass(self, packed, k, frame, hard, slots, n_threads)
        arguments = self, packed, k, frame, hard, slots, n_threads
        return wide_pass(*arguments) or KernelPass(*arguments)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        if isinstance(packed, Incomplete):
            return score_with_missing(self, packed, frame, rows, wanted, slots, n_threads)
        return kernel_scores(self, packed, frame, rows, wanted, slots, n_threads)

    def imputed(
        self, parameters: P, X: FloatArray, responsibilities: FloatArray, rng: np.random.Generator | None
    ) -> FloatArray:
        frame = self.own_frame(parameters, np.dtype(np.float64))
        return _imputed(self.row_by_row(self.from_user(parameters, frame), frame), X, responsibilities, rng)

    def pack(self, parameters: P | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        assert parameters is not None
        plain = self.pack_plain(parameters, frame, dtype)
        if not self.by_pattern:
            return plain
        return Incomplete(
            plain.shift, plain.log2_weights, plain, parameters, np.zeros(len(plain.log2_weights))
        )

    def of_patterns(self, packed: Incomplete, frame: Frame, observed: list[Array]) -> Any:
        """Return what the kernels of complete rows need for rows of the observed features (o,) alone.

        The patterns are along the first axis. Those of full covariances are packed as one mixture, which
        costs little more than one pattern.
        """
        dtype = self.working_dtype(packed)
        some = [self.some(packed.parameters, columns) for columns in observed]
        frames = [of_columns(frame, columns) for columns in observed]
        if isinstance(getattr(packed.plain, "gaussian", packed.plain), (FullParams, ScreenedFullParams)):
            fields: Any = some
            whole = self.pack_plain(
                type(some[0])(*map(np.concatenate, zip(*fields, strict=True))), frames[0], dtype
            )
            shifts, scales = (np.array([about[i] for about in frames]) for i in (0, 1))
            found = parted(whole, shifts.astype(dtype), (1 / scales).astype(dtype))
        else:
            pairs = zip(some, frames, strict=True)
            found = stacked([self.pack_plain(one, about, dtype) for one, about in pairs])
        return self.raised(found, packed.raised) if packed.raised.any() else found

    def rare(self, packed: Incomplete, frame: Frame) -> IncompleteParams:
        params = self.row_by_row(packed.parameters, frame)
        return params._replace(constants=params.constants + packed.raised)


class IncompletePass(Pass[S]):
    """A pass over rows of a family with missing numbers. Slabs without any make an ordinary pass."""

    def __init__(
        self,
        family: IncompleteFamily[Any, S],
        packed: Incomplete,
        k: int,
        frame: Frame,
        hard: bool,
        slots: int,
        n_threads: int | None,
    ) -> None:
        self._family, self._packed, self._k, self._frame = family, packed, k, frame
        self._hard = np.array([hard], np.int64)
        self._slots, self._n_threads = slots, n_threads
        self._plain = KernelPass(family, packed.plain, k, frame, hard, slots, n_threads)
        self._alike: list[Alike] = []
        self._places: dict[bytes, Place] = {}
        self._rare: IncompleteSums | None = None
        self._params: IncompleteParams | None = None
        self._free = _MEMORY
        self._memory: Array = np.empty(0, family.working_dtype(packed))  # for the rows of a slab, sorted
        self._impossible = family.impossible

    def add(self, rows: Rows, given: Array | None) -> None:
        patterns = kept_patterns(rows, self._slots, self._n_threads)
        if patterns is None:
            self._plain.add(rows, given)
            return
        common = self._common(patterns)
        if self._memory.size < rows.X.size:
            self._memory = np.empty(rows.X.size, self._memory.dtype)
        ordered = sort(rows.X, patterns, len(common), self._memory, self._slots, self._n_threads)
        if rows.labels is not None:
            self._impossible = max(self._impossible, IMPOSSIBLE_MEAN)
        self._add_common(common, known_of(rows, given, ordered.order, self._k), ordered)
        self._add_rare(rows, given, ordered)

    def _common(self, patterns: Patterns) -> list[Place | None]:
        """Return the places of the first patterns, which are common enough. None is the complete one."""
        k, d = self._k, patterns.observed.shape[1]
        tile = _tile_rows(self._family, self._packed)
        keys: list[bytes] = []
        new: dict[tuple[int, int], list[bytes]] = {}
        for observed, count in zip(patterns.observed, np.diff(patterns.begins).tolist(), strict=True):
            key, whole = observed.tobytes(), bool(observed.all())
            known = whole or key in self._places
            if not (is_worth_it(count, k, d, tile, _LATER if known else _FIRST) and observed.any()):
                break
            if not known:
                o = int(observed.sum())
                size = self._family.bytes_per_slot(k, o)
                slots = min(self._slots, max(1, count // (_TILES_PER_SLOT * tile)), self._free // size)
                if slots < 1:
                    break
                self._free -= slots * size
                new.setdefault((o, slots), []).append(key)
            keys.append(b"" if whole else key)
        for (_, slots), alike in new.items():
            self._begin(alike, slots)
        return [self._places[key] if key else None for key in keys]

    def _begin(self, keys: list[bytes], slots: int) -> None:
        """Begin the passes of patterns with as many observed features and slots."""
        observed = [np.flatnonzero(np.frombuffer(key, np.bool_)) for key in keys]
        packed = self._family.of_patterns(self._packed, self._frame, observed)
        alike = Alike(self._family, observed, packed, self._k, slots)
        self._alike.append(alike)
        self._places |= {key: Place(alike, group) for group, key in enumerate(keys)}

    def _add_common(self, common: list[Place | None], about: Known, ordered: Sorted) -> None:
        places: dict[int, list[tuple[int, int]]] = {}
        for p, place in enumerate(common):
            if place is None:
                self._plain.add(about.rows_of(ordered, p), about.given_of(ordered, p))
            else:
                places.setdefault(self._alike.index(place.alike), []).append((place.group, p))
        arrays = read_only(self._memory), *about.arrays(self._memory.dtype)
        for which, found in places.items():
            alike = self._alike[which]
            groups = len(alike.observed)
            starts, begins = np.zeros(groups, np.int64), np.zeros((groups, 2), np.int64)
            for group, p in found:
                starts[group], begins[group] = ordered.places[p], ordered.begins[p : p + 2]
            alike.add(arrays, starts, begins, self._hard, self._n_threads)

    def _add_rare(self, rows: Rows, given: Array | None, ordered: Sorted) -> None:
        first = len(ordered.observed)
        begins = ordered.begins[first:] - ordered.begins[first]
        if not begins[-1]:
            return
        if self._params is None:
            self._params = self._family.rare(self._packed, self._frame)
            self._rare = _new_sums(self._params, self._slots)
        order = ordered.order[ordered.begins[first] :]
        weight = np.ones(len(order)) if rows.weight is None else rows.weight[order].astype(np.float64)
        labels = np.empty(0, np.int64) if rows.labels is None else rows.labels[order]
        known = np.empty((0, self._k)) if given is None else given[order].astype(np.float64)
        assert self._rare is not None
        arguments = (rows.X, order, begins, weight, labels, known, self._params)
        slots = max(1, min(len(self._rare.failures), len(order) // _RARE_ROWS))
        sums = IncompleteSums(*(array[:slots] for array in self._rare))
        run_slots(slot_incomplete, (*arguments, self._hard, sums), slots, self._n_threads)

    def end(self) -> Summed[S] | None:
        family, parameters = self._family, self._packed.parameters
        total = self._plain.end()
        for alike in self._alike:
            ends = alike.end()
            if total is None or ends is None:
                return None
            sums = [family.collect(of_group(alike.packed, g), own) for g, own in enumerate(ends)]
            log_likelihood = sum(map(self._log_likelihood, alike.observed, ends))
            expanded = family.expanded(parameters, alike.observed, sums)
            total = Summed(family.add(total.sums, expanded), total.log_likelihood + log_likelihood)
        self._alike, self._places = [], {}
        if self._rare is not None and total is not None:
            merged = IncompleteSums(*(array.sum(axis=0) for array in self._rare))
            if merged.failures or not all(np.isfinite(array).all() for array in merged):
                return None
            sums_of_rare = family.collect_rows(parameters, merged)
            log_likelihood = float(merged.log_likelihood)
            total = Summed(family.add(total.sums, sums_of_rare), total.log_likelihood + log_likelihood)
        return total

    def _log_likelihood(self, observed: Array, merged: Any) -> float:
        log_likelihood, weight = _LN2 * float(merged.log2_likelihood), float(merged.weights.sum())
        if log_likelihood < self._impossible * weight:
            return -np.inf
        return log_likelihood + self._family.log_constant(of_columns(self._frame, observed)) * weight


def score_with_missing(
    family: IncompleteFamily[Any, Any],
    packed: Incomplete,
    frame: Frame,
    rows: Rows,
    wanted: Scores,
    slots: int,
    n_threads: int | None,
) -> bool:
    """Fill the wanted scores. Return False if a number is infinite or too large."""
    patterns = kept_patterns(rows, slots, n_threads)
    if patterns is None:
        return kernel_scores(family, packed.plain, frame, rows, wanted, slots, n_threads)
    k, d = len(packed.log2_weights), rows.X.shape[1]
    counts = np.diff(patterns.begins)
    common = is_worth_it(counts, k, d, _tile_rows(family, packed), _FIRST) & patterns.observed.any(axis=1)
    first = len(common) if common.all() else int(np.argmin(common))
    memory = np.empty(rows.X.size, family.working_dtype(packed))
    ordered = sort(rows.X, patterns, first, memory, slots, n_threads)
    for p, X in enumerate(ordered.observed):
        columns, order = np.flatnonzero(patterns.observed[p]), ordered.rows(p)
        own, about = of_group(family.of_patterns(packed, frame, [columns]), 0), of_columns(frame, columns)
        part = _empty(wanted, len(order))
        if not kernel_scores(family, own, about, rows._replace(X=X), part, slots, n_threads):
            return False
        _spread(part, wanted, order)
    return _score_rare(family.rare(packed, frame), rows.X, wanted, ordered, slots, n_threads)


def _score_rare(
    params: IncompleteParams,
    X: Array,
    wanted: Scores,
    ordered: Sorted,
    slots: int,
    n_threads: int | None,
) -> bool:
    first = len(ordered.observed)
    k, failures = len(params.means), np.zeros(slots, np.int64)
    step = max(1, _MEMORY // (16 * k))
    for start in range(int(ordered.begins[first]), len(X), step):
        order = ordered.order[start : start + step]
        begins = np.clip(ordered.begins[first:] - start, 0, len(order))
        densities, responsibilities = np.empty(len(order)), np.empty((len(order), k))
        joint = np.empty((len(order), k))
        arguments = (X, order, begins, params, densities, responsibilities, joint, failures)
        run_slots(slot_incomplete_scores, arguments, slots, n_threads)
        if failures.any():
            return False
        part = Scores(densities, joint.argmax(axis=1), responsibilities, joint / _LN2)
        _spread(part, wanted, order)
    return True


def _imputed(
    params: IncompleteParams,
    X: FloatArray,
    responsibilities: FloatArray,
    rng: np.random.Generator | None,
) -> FloatArray:
    """Return rows in user units with expectations, or draws, in place of NaN."""
    X, out = np.ascontiguousarray(X), np.array(X, order="C")
    patterns = patterns_of(X, 1, None)
    if patterns is None:
        return out
    slots, d = max(1, min(64, len(X) // 256)), X.shape[1]
    order = sort(X, patterns, 0, np.empty(0), 1, None).order
    r = responsibilities[order]
    noise, sizes = np.empty((0, d)), np.empty(0)
    if rng is not None:
        noise = rng.standard_normal(X.shape)[order]
        if len(params.degrees):
            observed = (~np.isnan(X)).sum(axis=1)
            sizes = rng.chisquare(params.degrees[responsibilities.argmax(axis=1)] + observed)[order]
    arguments = (X, order, patterns.begins, params, r, noise, sizes, out, np.array([slots]))
    run_slots(slot_imputed, arguments, slots, None)
    return out


def _tile_rows(family: IncompleteFamily[Any, Any], packed: Incomplete) -> int:
    return int(TILE_BYTES // family.working_dtype(packed).itemsize)


def _new_sums(params: IncompleteParams, most: int) -> IncompleteSums:
    k, (m, d, width) = len(params.means), params.columns.shape
    slots = max(1, min(most, _MEMORY // (24 * m * d * d)))  # the sums, and as much again twice to compute in
    return IncompleteSums(
        weights=np.zeros((slots, k)),
        logarithms=np.zeros((slots, k)),
        scaled_weights=np.zeros((slots, k)),
        first=np.zeros((slots, k, d)),
        second=np.zeros((slots, m, d, width)),
        log_likelihood=np.zeros(slots),
        failures=np.zeros(slots, np.int64),
    )


def _empty(wanted: Scores, rows: int) -> Scores:
    """Return zeros for as many rows."""
    return Scores(*(None if a is None else np.zeros((rows, *a.shape[1:]), a.dtype) for a in wanted))


def _spread(part: Scores, wanted: Scores, order: Array) -> None:
    """Put the scores of some rows where they belong. Those of components are added."""
    for name, array in wanted._asdict().items():
        if array is not None and name != "joint":
            array[order] = getattr(part, name)
    if wanted.joint is not None and part.joint is not None:
        wanted.joint[order] += part.joint
