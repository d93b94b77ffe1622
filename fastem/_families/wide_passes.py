"""Passes of Gaussians with many components in many features.

With tied covariances all components share one precision P. So the kernel leaves out -x' P x / 2 of each
log-density, and sums no scatter. Responsibilities add up to the weight of a row. So the scatter of all rows
about zero, S, tells both for all rows together: the log-likelihood lacks -trace(P S) / 2, and the scatter
within components is S less what the means explain. S is the same in all passes over the same rows.
"""

from typing import Any

import numpy as np

from fastem._families.compiled import CompiledFamily, KernelPass
from fastem._families.frame import Frame
from fastem._families.matrices import times
from fastem._families.steps import S, Summed
from fastem._families.wide import new_wide_sums, widened
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import TiedParams
from fastem._kernels._scatter import slot_scatter
from fastem._kernels._wide import slot_wide
from fastem._kernels._wide_tile import WideParams
from fastem._typing import Array, FloatArray, Rows, read_only


def wide_pass(
    family: CompiledFamily[Any, S],
    packed: Any,
    k: int,
    frame: Frame,
    hard: bool,
    slots: int,
    n_threads: int | None,
) -> KernelPass[S] | None:
    """Return a pass by matrix products, or None if other kernels suit better."""
    wide = widened(packed)
    if wide is None:
        return None
    options = k, frame, hard, slots, n_threads, slot_wide, new_wide_sums(wide, slots)
    if isinstance(packed, TiedParams):
        return _TiedPass(packed.whiteners[0], family, wide, *options)
    return KernelPass(family, wide, *options)


class _TiedPass(KernelPass[S]):
    """`whitener` (d, d) is in the base of the kernels."""

    def __init__(self, whitener: Array, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._whitener = whitener.astype(np.float64)

    def add(self, rows: Rows, given: Array | None) -> None:
        super().add(rows, given)
        self._sums.second[0] += self._scatter(rows, given)

    def _scatter(self, rows: Rows, given: Array | None) -> FloatArray:
        if given is not None:
            weights = rows.weights * given.sum(axis=1, dtype=np.float64)
            return scatter_of(rows._replace(weight=weights), self._packed, self.slots, self._n_threads)
        if rows.kept is None:
            return scatter_of(rows, self._packed, self.slots, self._n_threads)
        key = "scatter", *(array.tobytes() for array in (self._packed.shift, self._packed.inverse_scale))
        if key not in rows.kept:
            rows.kept[key] = scatter_of(rows, self._packed, self.slots, self._n_threads)
        found: FloatArray = rows.kept[key]
        return found

    def end(self) -> Summed[S] | None:
        squares = np.einsum("ij,ij->", times(self._whitener, self._sums.second[0]), self._whitener)
        self._sums.log2_likelihood[0] -= squares
        return super().end()


def scatter_of(rows: Rows, params: WideParams, slots: int, n_threads: int | None) -> FloatArray:
    """Return the sum of w x x' in standard coordinates, (d, d)."""
    d = rows.X.shape[1]
    weight = read_only(np.empty(0) if rows.weight is None else rows.weight.astype(np.float64))
    sums = np.zeros((slots, d, d))
    X = read_only(rows.X.astype(params.shift.dtype, copy=False))
    run_slots(slot_scatter, (X, weight, params.shift, params.inverse_scale, sums), slots, n_threads)
    total = sums.sum(axis=0)
    return np.asarray(np.tril(total) + np.tril(total, -1).T)
