"""Families whose passes are numba kernels. The type that `pack` returns selects the kernel."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.matrices import every
from fastem._families.normalise import LN2
from fastem._families.steps import P, Pass, S, Scores, Summed
from fastem._kernels._estep import slot_scores, slot_statistics
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, Rows, read_only

# Kernels give a row that no component, or not the known one, can produce a log-density below -1e35. One such
# row in a million makes the mean log-density less than this.
IMPOSSIBLE_MEAN = -1e29


class CompiledFamily(Family[P, S]):
    """A family whose log-densities are computed by a kernel."""

    impossible: ClassVar[float] = -np.inf  # what is less than this in the kernels stands for -inf

    @abstractmethod
    def new_sums(self, slots: int, k: int, d: int) -> Any:
        """Return accumulators of zeros for the kernels, a NamedTuple of float64 arrays (slots, ...)."""

    @abstractmethod
    def collect(self, packed: Any, merged: Any) -> S:
        """Convert the sums of the kernels, added over all slots, to the sums of a pass."""

    def working_dtype(self, packed: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = packed.shift.dtype
        return dtype

    def bytes_per_slot(self, k: int, d: int) -> int:
        return sum(array.nbytes for array in self.new_sums(1, k, d))

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[S]:
        return KernelPass(self, packed, k, frame, hard, slots, n_threads)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        return kernel_scores(self, packed, frame, rows, wanted, slots, n_threads)


def kernel_scores(
    family: CompiledFamily[Any, Any],
    packed: Any,
    frame: Frame,
    rows: Rows,
    wanted: Scores,
    slots: int,
    n_threads: int | None,
) -> bool:
    """Fill the wanted scores by kernels. Return False if a row is not finite."""
    k, dtype = len(packed.log2_weights), family.working_dtype(packed)
    X = _in_dtype(rows.X, dtype)
    failures = np.zeros(slots, np.int64)
    log2_densities = np.empty(0 if wanted.log_densities is None else len(X), dtype)
    responsibilities = wanted.responsibilities
    if responsibilities is None or responsibilities.dtype != dtype:
        responsibilities = np.empty((0 if responsibilities is None else len(X), k), dtype)
    constant = family.log_constant(frame)
    about = np.array([constant, family.impossible]) / LN2
    outputs = (
        log2_densities,
        np.empty(0, np.int64) if wanted.labels is None else wanted.labels,
        responsibilities,
        np.empty((0, k)) if wanted.joint is None else wanted.joint,
    )
    run_slots(slot_scores, (X, packed, *outputs, about, failures), slots, n_threads)
    if failures.any():
        return False
    if wanted.responsibilities is not None and wanted.responsibilities is not responsibilities:
        with np.errstate(under="ignore"):  # the rows may be float32
            wanted.responsibilities[:] = responsibilities
    if wanted.log_densities is not None:
        natural = log2_densities.astype(np.float64) * LN2
        natural[natural < family.impossible] = -np.inf
        wanted.log_densities[:] = natural + constant
    return True


class KernelPass(Pass[S]):
    def __init__(
        self,
        family: CompiledFamily[Any, S],
        packed: Any,
        k: int,
        frame: Frame,
        hard: bool,
        slots: int,
        n_threads: int | None,
        kernel: Callable[..., None] = slot_statistics,
        sums: Any = None,
    ) -> None:
        """`kernel` and its `sums` may be others than the family has as a rule."""
        self._family, self._packed, self._k, self._frame = family, packed, k, frame
        self._hard = hard
        self.slots, self._n_threads = slots, n_threads
        self._kernel = kernel
        self._sums = family.new_sums(slots, k, len(packed.shift)) if sums is None else sums
        self._impossible = family.impossible

    def add(self, rows: Rows, given: Array | None) -> None:
        dtype = self._family.working_dtype(self._packed)
        if rows.labels is not None:
            self._impossible = max(self._impossible, IMPOSSIBLE_MEAN)
        weight = _none(dtype, 0) if rows.weight is None else read_only(_in_dtype(rows.weight, dtype))
        labels, known, hard = self._options(rows.labels, given, dtype)
        arguments = (_in_dtype(rows.X, dtype), weight, labels, known, self._packed, hard, self._sums)
        run_slots(self._kernel, arguments, self.slots, self._n_threads)

    def _options(self, labels: Array | None, given: Array | None, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """Return the labels, responsibilities and hard assignment as the kernel takes them."""
        known = _none(dtype, 0, self._k) if given is None else read_only(np.ascontiguousarray(given, dtype))
        if self._kernel is slot_statistics and labels is None and (given is not None or not self._hard):
            return (), known, ()
        labels = _none(np.dtype(np.int64), 0) if labels is None else read_only(labels)
        return labels, known, np.array([self._hard], np.int64)

    def end(self) -> Summed[S] | None:
        sums = self._sums
        if self.slots > 1:  # a sum of one costs more than the pass over a few hundred rows
            sums = type(sums)(*[array.sum(axis=0, keepdims=True) for array in sums])
        del self._sums  # free the largest arrays of a fit before `collect` allocates its own
        for array in sums:  # NumPy takes twice as long for a number as for an array of one
            if array.size and not every(np.isfinite(array)):
                return None
        merged = type(sums)(*[array[0] for array in sums])
        collected = self._family.collect(self._packed, merged)
        log_likelihood, weight = LN2 * float(merged.log2_likelihood), float(collected.weights.sum())
        if log_likelihood < self._impossible * weight:
            log_likelihood = -np.inf
        return Summed(collected, log_likelihood + self._family.log_constant(self._frame) * weight, weight)


@cache
def _none(dtype: np.dtype[Any], *shape: int) -> Array:
    """Return an array without numbers, for what is not known of rows."""
    return read_only(np.empty(shape, dtype))


def _in_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array as it is, or a copy in the dtype of the pass."""
    return array if array.dtype == dtype else read_only(array.astype(dtype))
