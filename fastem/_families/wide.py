"""When passes of Gaussians are matrix products: many components in many features, none of them too narrow.

A product computes |x|^2 - 2 <x, m> + |m|^2 in place of |x - m|^2. It loses digits where these terms are
larger than a variance. So components for which they are much larger are computed by differences, and if there
are many of those, the whole pass is.

With tied covariances the square of x is the same in all components. Its sum, and the scatter, follow from the
scatter of all rows, which stays the same from pass to pass (see `wide_passes`).
"""

from typing import Any, NamedTuple

import numpy as np

from fastem._families.layouts import ROOT, GaussianSums
from fastem._families.matrices import gram, invert_lower, times
from fastem._families.steps import Cost
from fastem._kernels._layout import VECTOR_BYTES
from fastem._kernels._panels import pack_rows_in_blocks, pad_to_blocks
from fastem._kernels._params import DiagParams, SphericalParams, TiedParams
from fastem._kernels._wide_tile import DIAGONAL, NEAR, SPHERICAL, TIED, WideParams, WideSums
from fastem._typing import Array, FloatArray

# With fewer, the other kernels are as fast or need less compilation.
_LEAST_COMPONENTS, _LEAST_FEATURES, _LEAST_PAIRS = 48, 32, 8192
# What is left of a difference of large sums is no smaller than so many of their rounding errors.
_ROUNDINGS = 8
# How much larger the squares of coordinates may be than the variance of a component: in one feature, and in
# the mean of all.
_ONE_32, _ALL_32 = 128.0, 32.0
_ONE_64, _ALL_64 = 2.0**22, 2.0**20
_MOST_NARROW = 1 / 8
_NEAR_SHARE = 5 / 8  # of the features. With fewer, bounds exclude too few pairs where clusters are apart.


class _Terms(NamedTuple):
    """What log2 p = log2_weight + <eta, x - mean / 2> - sum_j scales_j x_j^2 takes."""

    kind: np.int64
    means: FloatArray  # (K, d)
    etas: FloatArray  # (K, d)
    scales: FloatArray  # (K, d) or (K, 1); if covariances are tied, 0, since all have the same squares
    narrow: Array  # (K,) of bool


def widened(packed: Any) -> WideParams | None:
    """Return what the wide kernels need for the same densities, or None if other kernels suit better."""
    terms = _terms(packed)
    return None if terms is None else _packed(packed, terms)


def wide_cost(packed: Any) -> Cost | None:
    """Return what a pass costs, or None if other kernels suit better."""
    terms = _terms(packed)
    if terms is None:
        return None
    k, d = terms.means.shape
    size = sum(array.nbytes for array in _new_sums(1, int(terms.kind), k, d))
    # The scatter of all rows takes d^2 / 2 for each of them. Products take half of the time of other kernels.
    return Cost(size, 2 * d if terms.kind == DIAGONAL else d + d * d // (4 * k))


def new_wide_sums(params: WideParams, slots: int) -> WideSums:
    return _new_sums(slots, params.kind[0], *params.means.shape)


def collected(params: Any, sums: Any) -> GaussianSums | None:
    """Convert the sums of a wide pass, which are about zero as a rule, to sums about the means.

    Return None if the pass was not wide.
    """
    if not isinstance(params, WideParams):
        return None
    weights, means = sums.weights[:, None], params.means.astype(np.float64)
    if params.kind[0] == TIED:
        first = sums.first - weights * means
        products = gram(means.T, (first + weights * means / 2).T)
        return GaussianSums(means, sums.weights, first, (sums.second - (products + products.T))[None])
    about = np.where(params.places[:, None] < 0, means, 0.0)
    first = sums.first - weights * about
    gaps = about * (2 * first + weights * about)
    second = sums.second[:, 0] if params.kind[0] == SPHERICAL else sums.second
    scatter = second - (gaps.sum(axis=1) if params.kind[0] == SPHERICAL else gaps)
    # A component whose rows are much nearer to each other than it knew has lost its digits. An upper bound
    # makes it narrow, so that the next pass has them all. Zero would count as a singular component.
    least = _ROUNDINGS * float(np.finfo(params.means.dtype).eps) * second
    return GaussianSums(means, sums.weights, first, np.maximum(scatter, least))


def _new_sums(slots: int, kind: int, k: int, d: int) -> WideSums:
    second = {int(SPHERICAL): (slots, k, 1), int(DIAGONAL): (slots, k, d), int(TIED): (1, d, d)}[int(kind)]
    return WideSums(np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros(second), np.zeros(slots))


def _terms(packed: Any) -> _Terms | None:
    if not isinstance(packed, (SphericalParams, DiagParams, TiedParams)):
        return None
    k, d = packed.means.shape
    if k < _LEAST_COMPONENTS or d < _LEAST_FEATURES or k * d < _LEAST_PAIRS:
        return None
    if isinstance(packed, TiedParams):
        return _tied_terms(packed)
    means = packed.means.astype(np.float64)
    squares = np.square(means)
    if isinstance(packed, SphericalParams):
        kind, scales = SPHERICAL, packed.precisions.astype(np.float64)[:, None]
    else:
        kind, scales = DIAGONAL, np.square(packed.whiteners.astype(np.float64))
    # Standard coordinates have a variance of 1/2 to 2 over all rows.
    narrow = ~_are_small((1 + squares) * scales / ROOT**2, packed.means.dtype)
    if narrow.sum() > _MOST_NARROW * k:
        return None
    return _Terms(kind, means, np.where(narrow[:, None], 0.0, 2 * scales * means), scales, narrow)


def _tied_terms(packed: TiedParams) -> _Terms | None:
    dtype, whitened = packed.means.dtype, packed.means.astype(np.float64)
    # In whitened coordinates the variance of a component is ROOT^2 in each direction.
    if not _are_small(1 + np.square(whitened) / ROOT**2, dtype).all():
        return None
    whiteners = packed.whiteners.astype(np.float64)
    means = times(invert_lower(whiteners)[0], whitened.T).T
    etas = 2 * times(whiteners[0].T, whitened.T).T
    # The terms of <eta, x>, where rows are as far from zero as means, or by 1. Only their sum has to be
    # exact, since the scatter is computed in float64.
    terms = np.abs(etas) * np.sqrt(1 + np.square(means)) / (2 * ROOT**2)
    if not _are_small(terms.mean(axis=1, keepdims=True), dtype).all():
        return None
    return _Terms(TIED, means, etas, np.zeros((len(means), 1)), np.zeros(len(means), bool))


def _are_small(sizes: FloatArray, dtype: np.dtype[Any]) -> Array:
    """Return whether products lose few digits, (K,). `sizes` (K, d) are squares relative to variances."""
    one, every = (_ONE_32, _ALL_32) if dtype == np.float32 else (_ONE_64, _ALL_64)
    return np.asarray((sizes.max(axis=1) <= one) & (sizes.mean(axis=1) <= every))


def _packed(packed: Any, terms: _Terms) -> WideParams:
    kind, means, etas, scales, narrow = terms
    (k, d), dtype = means.shape, packed.means.dtype
    half = d if kind == TIED else max(int(NEAR), int(d * _NEAR_SHARE) // int(NEAR) * int(NEAR))
    scales = np.where(narrow[:, None], 0.0, scales)
    constants = -0.5 * etas * means
    offsets = np.array([constants[:, :half].sum(axis=1), constants[:, half:].sum(axis=1)])
    offsets[0] += packed.log2_weights
    features = _up(d, 4 * VECTOR_BYTES // dtype.itemsize)
    diagonal = kind == DIAGONAL
    rows = np.zeros((k, features * (2 if diagonal else 1)), dtype)
    rows[:, :d] = etas
    if diagonal:
        rows[:, features : features + d] = -scales
    near, far = (
        pack_rows_in_blocks(np.hstack([etas[:, part], -scales[:, part] if diagonal else -scales]), dtype)
        for part in (slice(0, half), slice(half, d))
    )
    places = np.where(narrow, np.cumsum(narrow) - 1, -1)
    centres, factors = np.zeros((2, int(narrow.sum()), rows.shape[1]), dtype)
    centres[:, :d] = means[narrow]
    factors[:, :d] = np.sqrt(terms.scales[narrow]) if narrow.any() else 0
    return WideParams(
        shift=packed.shift,
        inverse_scale=packed.inverse_scale,
        log2_weights=packed.log2_weights,
        kind=np.array([kind], np.int64),
        means=means.astype(dtype),
        near=near,
        far=far,
        offsets=pad_to_blocks(offsets, 0.0, dtype),
        rows=rows,
        slopes=np.zeros(k, dtype) if diagonal else -scales[:, 0].astype(dtype),
        places=places.astype(np.int64),
        centres=centres,
        factors=factors,
    )


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
