"""Exponential families with independent features, where numbers may be missing.

A statistic of a missing number is zero. What the log-density has of this feature beside is taken back, as
`_gaps` describes.
"""

from fastem._kernels import _linear
from fastem._kernels._gaps import (
    accumulate_observed,
    add_changes,
    find_gaps,
    gap_rows,
    has_gaps,
    without_nan,
)
from fastem._kernels._jit import kernel
from fastem._kernels._layout import POINTS


@kernel
def more_rows(params):
    return gap_rows(params.shift.shape[0], params.log2_weights.shape[0])


@kernel
def load_tile(params, X, start, size, space):
    """OUT the statistics, as in `_linear`; the rows of `_gaps`"""
    d, (K, T) = X.shape[1], params.linear.etas.shape[1:]
    _linear.load_tile(params.linear, X, start, size, space)
    # Each of the first d statistics is of a column of its own.
    find_gaps(space, POINTS, d, K)
    if has_gaps(space, d, K):
        without_nan(space, POINTS + d, T - d)


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    d, K = params.shift.shape[0], params.log2_weights.shape[0]
    _linear.log2_prob_tile(params.linear, space)
    if has_gaps(space, d, K):
        add_changes(params.changes, space)


@kernel
def accumulate_tile(params, X, start, space, tile_weights, lists, last, sums, slot):
    """Add the points to the sums. `_dispatch.accumulate_tile` describes the arguments."""
    _linear.accumulate_tile(params.linear, X, start, space, tile_weights, lists, last, sums, slot)
    accumulate_observed(space, tile_weights, sums.observed, slot)
