"""Passes over many groups of rows at once, each with parameters and sums of its own.

The arrays of a group are those of `slot_statistics`, stacked: their first axis is the group.
"""

from typing import Any

from numba.extending import overload

from fastem._kernels._dispatch import class_of
from fastem._kernels._estep import slot_statistics
from fastem._kernels._jit import COUNTED_OPTIONS, entry_kernel
from fastem._kernels._params import (
    FullParams,
    ScreenedFullParams,
    StudentParams,
    StudentSums,
    Sums,
    TiedParams,
)


def of_group(stacked: Any, g: int) -> Any:
    """Return the parameters or the sums of one group."""
    return type(stacked)(*(of_group(a, g) if isinstance(a, tuple) else a[g] for a in stacked))


def _gaussians(kind):
    def of(stacked, g):
        return kind(
            stacked.shift[g],
            stacked.inverse_scale[g],
            stacked.log2_weights[g],
            stacked.means[g],
            stacked.whiteners[g],
            stacked.offsets[g],
        )

    return of


def _tied(stacked, g):
    return TiedParams(
        stacked.shift[g],
        stacked.inverse_scale[g],
        stacked.log2_weights[g],
        stacked.means[g],
        stacked.transposed_means[g],
        stacked.precisions[g],
        stacked.whiteners[g],
    )


def _student(stacked, g):
    return StudentParams(
        stacked.shift[g],
        stacked.inverse_scale[g],
        stacked.log2_weights[g],
        stacked.slopes[g],
        stacked.shapes[g],
        stacked.factors[g],
        of_group(stacked.gaussian, g),
    )


def _sums(stacked, g):
    return Sums(
        stacked.weights[g], stacked.first[g], stacked.second[g], stacked.pivots[g], stacked.log2_likelihood[g]
    )


def _student_sums(stacked, g):
    return StudentSums(
        stacked.weights[g],
        stacked.logarithms[g],
        stacked.scaled_weights[g],
        stacked.first[g],
        stacked.second[g],
        stacked.pivots[g],
        stacked.log2_likelihood[g],
    )


_PARTS = {
    FullParams: _gaussians(FullParams),
    ScreenedFullParams: _gaussians(ScreenedFullParams),
    TiedParams: _tied,
    StudentParams: _student,
    Sums: _sums,
    StudentSums: _student_sums,
}


@overload(of_group, jit_options=COUNTED_OPTIONS)
def _of_group(stacked, g):
    return _PARTS[class_of(stacked, _PARTS)]


@entry_kernel
def slot_groups(numbers, places, sample_weight, labels, given, begins, params, hard, sums, job):
    """Add the rows of one slot of one group to its sums.

    IN numbers: the rows of all groups, one row after another, in the number of columns that all groups have
    IN places (P,): where those of each group begin; begins (P, 2): its first row and the end of its rows in
    IN sample_weight (n,) or (0,), labels (n,) or (0,), given (n, K) or (0, K): see `slot_statistics`
    OUT sums (P, slots, ...): of slot job % slots of group job // slots
    """
    slots, d = sums.weights.shape[1], params.shift.shape[1]
    g, slot = job // slots, job % slots
    first, stop = begins[g, 0], begins[g, 1]
    X = numbers[places[g] : places[g] + (stop - first) * d].reshape((stop - first, d))
    weight = sample_weight[first:stop] if sample_weight.shape[0] > 0 else sample_weight[:0]
    known = labels[first:stop] if labels.shape[0] > 0 else labels[:0]
    shares = given[first:stop] if given.shape[0] > 0 else given[:0]
    slot_statistics(X, weight, known, shares, of_group(params, g), hard, of_group(sums, g), slot)
