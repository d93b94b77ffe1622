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

from fastem._families.compiled import CompiledFamily, KernelPass, kernel_scores
from fastem._families.frame import Frame
from fastem._families.gaps import of_missing
from fastem._families.marginals import of_columns, part_of
from fastem._families.patterns import Patterns, Sorted, is_worth_it, patterns_of, sort
from fastem._families.steps import P, Pass, S, Scores, Summed
from fastem._kernels._incomplete import (
    IncompleteParams,
    IncompleteSums,
    slot_imputed,
    slot_incomplete,
    slot_incomplete_scores,
)
from fastem._kernels._layout import TILE_BYTES
from fastem._kernels._parallel import run_in_threads, run_slots
from fastem._kernels._params import FullParams
from fastem._typing import Array, FloatArray, Rows

_LN2 = float(np.log(2))
_MEMORY = 16 << 20  # bytes for the sums of all patterns, and for those of the slots that go row by row
_TILES_PER_SLOT = 8  # of the rows of one pattern
# Nanoseconds in Python for a common pattern, as measured: in the first slab, and in later ones.
_FIRST, _LATER = 1.2e5, 3e4


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

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[S]:
        if isinstance(packed, Incomplete):
            return IncompletePass(self, packed, k, frame, hard, slots, n_threads)
        return KernelPass(self, packed, k, frame, hard, slots, n_threads)

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

    def of_patterns(self, packed: Incomplete, frame: Frame, observed: list[Array]) -> list[Any]:
        """Return what the kernels of complete rows need for rows of the observed features (o,) alone.

        Patterns of as many features are packed as one mixture, which costs little more than one of them.
        """
        k, dtype = len(packed.log2_weights), self.working_dtype(packed)
        some = [self.some(packed.parameters, columns) for columns in observed]
        frames = [of_columns(frame, columns) for columns in observed]
        if isinstance(getattr(packed.plain, "gaussian", packed.plain), FullParams):
            fields: Any = some
            stacked = type(fields[0])(*map(np.concatenate, zip(*fields, strict=True)))
            whole = self.pack_plain(stacked, frames[0], dtype)
            parts = [
                part_of(
                    whole,
                    slice(p * k, (p + 1) * k),
                    about.shift.astype(dtype),
                    (1 / about.scale).astype(dtype),
                )
                for p, about in enumerate(frames)
            ]
        else:
            parts = [self.pack_plain(one, about, dtype) for one, about in zip(some, frames, strict=True)]
        return [self.raised(part, packed.raised) for part in parts] if packed.raised.any() else parts

    def rare(self, packed: Incomplete, frame: Frame) -> IncompleteParams:
        params = self.row_by_row(packed.parameters, frame)
        return params._replace(constants=params.constants + packed.raised)


class _Common(NamedTuple):
    observed: Array
    running: KernelPass[Any]


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
        self._family, self._packed, self._k, self._frame, self._hard = family, packed, k, frame, hard
        self._slots, self._n_threads = slots, n_threads
        self._plain = KernelPass(family, packed.plain, k, frame, hard, slots, n_threads)
        self._common: dict[bytes, _Common] = {}
        self._rare: IncompleteSums | None = None
        self._params: IncompleteParams | None = None
        self._free = _MEMORY
        self._memory: Array = np.empty(0, family.working_dtype(packed))  # for the rows of a slab, sorted
        self._impossible = family.impossible

    def add(self, rows: Rows, given: Array | None) -> None:
        patterns = patterns_of(rows.X, self._slots, self._n_threads)
        if patterns is None:
            self._plain.add(rows, given)
            return
        running = self._passes(patterns)
        if self._memory.size < rows.X.size:
            self._memory = np.empty(rows.X.size, self._memory.dtype)
        ordered = sort(rows.X, patterns, len(running), self._memory, self._slots, self._n_threads)
        jobs = [
            (one, *_chosen(rows, given, ordered.rows(p), X))
            for p, (one, X) in enumerate(zip(running, ordered.observed, strict=True))
        ]
        alone = [job for job in jobs if job[0].slots == 1]
        for one, own, known in jobs:
            if one.slots > 1:
                one.add(own, known)
        if alone:
            run_in_threads(_add_one, (alone,), len(alone), self._n_threads)
        self._add_rare(rows, given, ordered)

    def _passes(self, patterns: Patterns) -> list[KernelPass[S]]:
        """Return the passes of the first patterns, which are common enough."""
        k, d = self._k, patterns.observed.shape[1]
        tile = _tile_rows(self._family, self._packed)
        keys, new = [], {}
        for observed, count in zip(patterns.observed, np.diff(patterns.begins).tolist(), strict=True):
            key, whole = observed.tobytes(), bool(observed.all())
            known = whole or key in self._common
            if not (is_worth_it(count, k, d, tile, _LATER if known else _FIRST) and observed.any()):
                break
            if not known:
                size = self._family.bytes_per_slot(k, int(observed.sum()))
                slots = min(self._slots, max(1, count // (_TILES_PER_SLOT * tile)), self._free // size)
                if slots < 1:
                    break
                self._free -= slots * size
                new[key] = np.flatnonzero(observed), slots
            keys.append(b"" if whole else key)
        self._begin(new)
        return [self._common[key].running if key else self._plain for key in keys]

    def _begin(self, new: dict[bytes, tuple[Array, int]]) -> None:
        """Begin the passes of patterns, given what is observed in them and their numbers of slots."""
        by_count: dict[int, list[bytes]] = {}
        for key, (columns, _) in new.items():
            by_count.setdefault(len(columns), []).append(key)
        for alike in by_count.values():
            observed = [new[key][0] for key in alike]
            packed = self._family.of_patterns(self._packed, self._frame, observed)
            for key, columns, own in zip(alike, observed, packed, strict=True):
                about, slots = of_columns(self._frame, columns), new[key][1]
                one = KernelPass(self._family, own, self._k, about, self._hard, slots, self._n_threads)
                self._common[key] = _Common(columns, one)

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
        slots = len(self._rare.failures)
        hard = np.array([self._hard], np.int64)
        run_slots(slot_incomplete, (*arguments, hard, self._rare), slots, self._n_threads)

    def end(self) -> Summed[S] | None:
        family, parameters = self._family, self._packed.parameters
        total = self._plain.end()
        by_count: dict[int, list[_Common]] = {}
        for common in self._common.values():
            by_count.setdefault(len(common.observed), []).append(common)
        self._common = {}
        for alike in by_count.values():
            ends = [common.running.end() for common in alike]
            sums = [end.sums for end in ends if end is not None]
            if total is None or len(sums) < len(ends):
                return None
            observed = np.array([common.observed for common in alike])
            log_likelihood = sum(end.log_likelihood for end in ends if end is not None)
            expanded = family.expanded(parameters, observed, sums)
            total = Summed(family.add(total.sums, expanded), total.log_likelihood + log_likelihood)
        if self._rare is not None and total is not None:
            merged = IncompleteSums(*(array.sum(axis=0) for array in self._rare))
            if merged.failures or not all(np.isfinite(array).all() for array in merged):
                return None
            sums_of_rare = family.collect_rows(parameters, merged)
            log_likelihood = float(merged.log_likelihood)
            total = Summed(family.add(total.sums, sums_of_rare), total.log_likelihood + log_likelihood)
        return total


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
    patterns = patterns_of(rows.X, slots, n_threads)
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
        (own,), about = family.of_patterns(packed, frame, [columns]), of_columns(frame, columns)
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


def _add_one(jobs: list[tuple[KernelPass[Any], Rows, Array | None]], job: int) -> None:
    running, rows, given = jobs[job]
    running.add(rows, given)


def _chosen(rows: Rows, given: Array | None, order: Array, X: Array) -> tuple[Rows, Array | None]:
    """Return what is known of the rows of one pattern, with what is observed of them."""
    weight = None if rows.weight is None else rows.weight[order]
    labels = None if rows.labels is None else rows.labels[order]
    return rows._replace(X=X, weight=weight, labels=labels), None if given is None else given[order]


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
