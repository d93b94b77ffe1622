"""What one slot computes in a pass or when it scores rows. The type of the params selects the kernels.

A pass divides its rows between slots, and each slot has its own sums. The number of slots does not depend
on the number of threads, so the result has the same bits for any number of threads.
"""

import numpy as np

from fastem._kernels import (
    _categorical,
    _diag,
    _diag_gaps,
    _full_estep,
    _full_mstep,
    _linear,
    _linear_gaps,
    _spherical,
    _student,
    _student_gaps,
    _tied,
)
from fastem._kernels._dispatch import (
    KERNELS,
    Kernels,
    accumulate_tile,
    load_tile,
    log2_prob_tile,
    more_rows,
)
from fastem._kernels._jit import entry_kernel, kernel
from fastem._kernels._layout import PEAKS, POINTS, TOTALS, WEIGHTS, first_share
from fastem._kernels._new import new_array
from fastem._kernels._packing import new_lists
from fastem._kernels._params import (
    CategoricalParams,
    DiagGapsParams,
    DiagParams,
    FullParams,
    LinearGapsParams,
    LinearParams,
    ScreenedFullParams,
    SphericalParams,
    StudentGapsParams,
    StudentParams,
    TiedParams,
)
from fastem._kernels._shares import load_shares, share_tile
from fastem._kernels._simd import tile_rows
from fastem._kernels._tile import (
    find_labels,
    load_rows,
    load_weights,
    new_space,
    share_out,
    slot_range,
    within_bounds,
)


@kernel
def load_plain_tile(params, X, start, size, space):
    load_rows(X, start, size, params.shift, params.inverse_scale, space, POINTS)


KERNELS |= {
    FullParams: Kernels(load_plain_tile, _full_estep.log2_prob_tile, _full_mstep.accumulate_tile),
    ScreenedFullParams: Kernels(
        load_plain_tile,
        _full_estep.log2_prob_tile,
        _full_mstep.accumulate_tile,
        _full_estep.screened_log2_prob_tile,
    ),
    TiedParams: Kernels(_tied.load_tile, _tied.log2_prob_tile, _tied.accumulate_tile),
    DiagParams: Kernels(load_plain_tile, _diag.log2_prob_tile, _diag.accumulate_tile),
    SphericalParams: Kernels(load_plain_tile, _spherical.log2_prob_tile, _spherical.accumulate_tile),
    LinearParams: Kernels(_linear.load_tile, _linear.log2_prob_tile, _linear.accumulate_tile),
    CategoricalParams: Kernels(
        _categorical.load_tile, _categorical.log2_prob_tile, _categorical.accumulate_tile
    ),
    StudentParams: Kernels(
        _student.load_tile,
        _student.log2_prob_tile,
        _student.accumulate_tile,
        more_rows=_student.more_rows,
    ),
    LinearGapsParams: Kernels(
        _linear_gaps.load_tile,
        _linear_gaps.log2_prob_tile,
        _linear_gaps.accumulate_tile,
        more_rows=_linear_gaps.more_rows,
    ),
    DiagGapsParams: Kernels(
        _diag_gaps.load_tile,
        _diag_gaps.log2_prob_tile,
        _diag_gaps.accumulate_tile,
        more_rows=_diag_gaps.more_rows,
    ),
    StudentGapsParams: Kernels(
        _student_gaps.load_tile,
        _student_gaps.log2_prob_tile,
        _student_gaps.accumulate_tile,
        more_rows=_student_gaps.more_rows,
    ),
}


@entry_kernel
def slot_statistics(X, sample_weight, labels, given, params, hard, sums, slot):
    """Add the rows of one slot to its sums.

    IN X (n, d); sample_weight (n,), or (0,) for weights of 1
    IN labels (n,): the known component of each row, or -1; or (0,) if none is known
    IN given (n, K): responsibilities, or (0, K) if the E-step shall compute them
    IN hard (1,): 1 if each row belongs to its likeliest component alone
    OUT sums[slot]

    A pass with neither labels nor hard assignment has () for each, and code of its own.
    """
    d = X.shape[1]
    K = params.log2_weights.shape[0]
    start, stop = slot_range(X, slot, sums.weights.shape[0])
    space, lists = new_space(K, d, more_rows(params), X), new_lists(K, X)
    tile_weights, screened = new_array(K, X.dtype), True
    for first in range(start, stop, tile_rows(X)):
        size = tile_rows(X) if first + tile_rows(X) < stop else stop - first
        load_tile(params, X, first, size, space)
        load_weights(sample_weight, first, size, space)
        if given.shape[0] > 0:
            load_shares(given, first, size, space, first_share(d), tile_weights)
        else:
            screened = share_tile(
                params, X, first, size, space, lists, screened, labels, hard, tile_weights, sums, slot
            )
        last = first + tile_rows(X) >= stop
        accumulate_tile(params, X, first, space, tile_weights, lists, last, sums, slot)


@entry_kernel
def slot_scores(X, params, log2_densities, labels, responsibilities, joint, about, failures, slot):
    """Score the rows of one slot.

    IN about (2,): a constant of all joint log-densities, and the least of them that does not stand for -inf
    OUT log2_densities (n,), labels (n,), responsibilities (n, K). Those of length 0 are not computed.
    OUT joint (n, K), or of length 0: the log-density of each component, with its weight, is added
    OUT failures (G,): 1 if a number is not finite, or so large that arithmetic would overflow
    """
    d = X.shape[1]
    K = params.log2_weights.shape[0]
    start, stop = slot_range(X, slot, failures.shape[0])
    space, shares = new_space(K, d, more_rows(params), X), first_share(d)
    space[WEIGHTS] = 1
    for first in range(start, stop, tile_rows(X)):
        size = tile_rows(X) if first + tile_rows(X) < stop else stop - first
        load_tile(params, X, first, size, space)
        if not within_bounds(space, d):
            failures[slot] = 1
            return
        log2_prob_tile(params, space)
        if joint.shape[0] > 0:
            for b in range(size):
                for k in range(K):
                    share = space[shares + k, b]
                    joint[first + b, k] += share + about[0] if share >= about[1] else -np.inf
        if labels.shape[0] > 0:
            find_labels(space, shares, K, PEAKS, TOTALS)
            for b in range(size):
                labels[first + b] = np.int64(space[TOTALS, b])
        if log2_densities.shape[0] > 0 or responsibilities.shape[0] > 0:
            share_out(space, shares, K)
        if log2_densities.shape[0] > 0:
            for b in range(size):
                log2_densities[first + b] = space[PEAKS, b]
        if responsibilities.shape[0] > 0:
            for k in range(K):
                for b in range(size):
                    responsibilities[first + b, k] = space[shares + k, b] * space[TOTALS, b]
