"""One pass over rows: dispatch on the type of the params, and the sweeps.

A pass splits its rows over a fixed number of slots, each with its own sums, so that the result has
the same bits whatever number of threads ran it. The prange functions are thin shells around serial
ones, which is what keeps their compilation short.
"""

import numpy as np
from numba import prange
from numba.extending import overload

from fastem._kernels import _diag, _full, _spherical, _tied
from fastem._kernels._jit import kernel, parallel_kernel
from fastem._kernels._math import log2
from fastem._kernels._params import DiagParams, FullParams, SphericalParams, TiedParams
from fastem._kernels._tile import (
    TILE,
    empty_tile,
    exponentiate,
    find_labels,
    load_responsibilities,
    load_rows,
    load_weights,
    normalise,
    slot_range,
    within_bounds,
)

_MODULES = {FullParams: _full, TiedParams: _tied, DiagParams: _diag, SphericalParams: _spherical}


@kernel
def _load_plain_tile(params, X, start, size, scratch, tile):
    load_rows(X, start, size, params.shift, params.inverse_scale, tile)


def load_tile(params, X, start, size, scratch, tile):
    """OUT tile: rows in the coordinates in which the covariance type works."""
    return _loader(type(params))(params, X, start, size, scratch, tile)


def log2_prob_tile(params, tile, scratch, log2_probs):
    """OUT log2_probs (K, STRIDE)."""
    return _MODULES[type(params)].log2_prob_tile(params, tile, scratch, log2_probs)


def accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    """OUT sums[slot] of the tile, weighted by r (K, STRIDE), whose sums are tile_weights. Spends the tile."""
    return _MODULES[type(params)].accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot)


def _loader(params_class):
    return getattr(_MODULES[params_class], "load_tile", _load_plain_tile)


@overload(load_tile)
def _load_tile(params, X, start, size, scratch, tile):
    f = _loader(params.instance_class)
    return lambda params, X, start, size, scratch, tile: f(params, X, start, size, scratch, tile)


@overload(log2_prob_tile)
def _log2_prob_tile(params, tile, scratch, log2_probs):
    f = _MODULES[params.instance_class].log2_prob_tile
    return lambda params, tile, scratch, log2_probs: f(params, tile, scratch, log2_probs)


@overload(accumulate_tile)
def _accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot):
    f = _MODULES[params.instance_class].accumulate_tile
    return lambda params, tile, r, tile_weights, scratch, sums, slot: f(
        params, tile, r, tile_weights, scratch, sums, slot
    )


@kernel
def slot_statistics(X, sample_weight, given, params, sums, slot):
    """Serial: add the rows of one slot to its sums.

    X (n, d); sample_weight (n,) or (0,) for none; given (n, K) known responsibilities, or (0, K) for
    the E-step to compute them.
    """
    n, d = X.shape
    K = params.means.shape[0]
    start, stop = slot_range(n, slot, sums.weights.shape[0])
    tile = empty_tile(d, X)
    scratch = empty_tile(d + 8, X)
    r = empty_tile(K, X)
    weights = empty_tile(1, X)
    peaks = empty_tile(1, X)
    totals = empty_tile(1, X)
    tile_weights = np.empty(K, X.dtype)
    for first in range(start, stop, TILE):
        size = min(TILE, stop - first)
        load_tile(params, X, first, size, scratch, tile)
        load_weights(sample_weight, first, size, weights)
        if given.shape[0] > 0:
            load_responsibilities(given, first, size, weights, r, tile_weights)
        else:
            log2_prob_tile(params, tile, scratch, r)
            sums.log2_likelihood[slot] += normalise(r, weights, peaks, totals, tile_weights)
        accumulate_tile(params, tile, r, tile_weights, scratch, sums, slot)


@parallel_kernel
def sweep_statistics(X, sample_weight, given, params, sums):
    """Parallel: `slot_statistics` of every slot."""
    for slot in prange(sums.weights.shape[0]):
        slot_statistics(X, sample_weight, given, params, sums, slot)


@kernel
def slot_scores(X, params, log2_densities, labels, responsibilities, failures, slot):
    """Serial: score the rows of one slot; outputs of length 0 are not wanted.

    OUT log2_densities (n,), labels (n,), responsibilities (n, K)
    OUT failures (G,): 1 if a row is not finite or beyond all arithmetic
    """
    n, d = X.shape
    K = params.means.shape[0]
    start, stop = slot_range(n, slot, failures.shape[0])
    tile = empty_tile(d, X)
    scratch = empty_tile(d + 8, X)
    r = empty_tile(K, X)
    peaks = empty_tile(1, X)
    totals = empty_tile(1, X)
    for first in range(start, stop, TILE):
        size = min(TILE, stop - first)
        load_tile(params, X, first, size, scratch, tile)
        if not within_bounds(tile):
            failures[slot] = 1
            return
        log2_prob_tile(params, tile, scratch, r)
        if labels.shape[0] > 0:
            find_labels(r, peaks, totals)
            for b in range(size):
                labels[first + b] = int(totals[0, b])
        if log2_densities.shape[0] > 0 or responsibilities.shape[0] > 0:
            exponentiate(r, peaks, totals)
        if log2_densities.shape[0] > 0:
            for b in range(size):
                log2_densities[first + b] = peaks[0, b] + log2(totals[0, b])
        if responsibilities.shape[0] > 0:
            for k in range(K):
                for b in range(size):
                    responsibilities[first + b, k] = r[k, b] / totals[0, b]


@parallel_kernel
def sweep_scores(X, params, log2_densities, labels, responsibilities, failures):
    """Parallel: `slot_scores` of every slot."""
    for slot in prange(failures.shape[0]):
        slot_scores(X, params, log2_densities, labels, responsibilities, failures, slot)
