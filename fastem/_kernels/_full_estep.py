"""Full covariances, E-step. Each component has a lower triangular whitener A.

y = A x - c,  log2 p = log2_weight - |y|^2                          d (d + 1) / 2 multiply-adds

Features are processed in blocks of four. The first d % 4 features, the corner, have code of their own, so
that no dimension is padded.
"""

import numpy as np

from fastem._kernels._blocks import multiply_add
from fastem._kernels._jit import inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import LEASTS, PEAKS, POINTS, START, TOTALS, first_share
from fastem._kernels._packing import list_above, most_packed, pack_row, pack_rows, sort_by_label
from fastem._kernels._params import FullParams, ScreenedFullParams
from fastem._kernels._simd import lanes, load, splat, store, tile_rows
from fastem._kernels._tile import find_labels, find_leasts

_SCREENED = 24  # we screen if there are at least this many features
_WORTH = 8  # we screen the next tile if more than one component in this many can be packed
_WIDE = 48  # with at least this many features, the bound uses more rows of y


def params_type(d: int) -> type:
    """Return the type of the params for d features. Its name decides whether densities are screened."""
    return ScreenedFullParams if d >= _SCREENED else FullParams


@kernel
def log2_prob_tile(params, space):
    """OUT the shares: log-densities"""
    bound_tile(params, space, params.means.shape[1])


@kernel
def screened_log2_prob_tile(params, X, start, size, space, lists, screened):
    """Compute only the densities that matter. Return whether to screen the next tile.

    The first rows of y give an upper bound of each density. For each point we finish the density with the
    largest bound, that is, compute it from all rows of y. It is a lower bound of the peak. We finish another
    density only if its bound comes near the peak. The next tile is not screened if few components could be
    packed in this one.

    OUT the shares: log-densities, or upper bounds of them where the responsibility is zero anyway
    """
    A, c, log2_weights = params.whiteners, params.offsets, params.log2_weights
    K, d = c.shape
    if K == 1:
        bound_tile(params, space, d)
        return screened
    shares = first_share(d)
    last = d % 4 + (16 if d >= _WIDE else 12) if screened else d
    bound_tile(params, space, last)
    find_labels(space, shares, K, PEAKS, TOTALS)
    if screened:
        finish_best(params, X, start, size, last, space, lists)
    find_leasts(log2_weights, space)
    for b in range(tile_rows(space)):
        space[LEASTS, b] += space[PEAKS, b]
    packable = 0
    for k in range(K):
        count = list_above(space, shares + k, LEASTS, most_packed(space), lists)
        packable += 1 if count <= most_packed(space) else 0
        if not screened:
            continue
        if count <= most_packed(space):
            finish_packed(params, X, start, size, k, last, space, shares + k, lists.points, START, count)
        else:
            finish(A, c, k, last, space, POINTS, shares + k, tile_rows(space))
    if screened:
        for b in range(tile_rows(space)):
            space[shares + int(space[TOTALS, b]), b] = space[PEAKS, b]
    return packable * _WORTH > K


@spliced_kernel
def finish_best(params, X, start, size, last, space, lists):
    """Compute the density of one component for each point.

    IN TOTALS: the component of each point
    OUT PEAKS: the log-density of this component; its share: -inf
    """
    K, d = params.offsets.shape
    shares = first_share(d)
    points, ends = lists.points, lists.ends
    sort_by_label(space, TOTALS, lists)
    begin = START
    for k in range(K):
        finish_packed(params, X, start, size, k, last, space, PEAKS, points, begin, ends[k] - begin)
        for t in range(begin, ends[k]):
            space[shares + k, points[t]] = -np.inf
        begin = ends[k]


@kernel
def bound_tile(params, space, last):
    """OUT the shares: log-densities from the first `last` rows of y, which are upper bounds"""
    A, c, log2_weights = params.whiteners, params.offsets, params.log2_weights
    K, d = c.shape
    step, corner, shares = lanes(space), d % 4, first_share(d)
    for k in range(K):
        for b in range(0, tile_rows(space), 2 * step):
            q = corner_squares(A, c, k, corner, space, b)
            u = corner_squares(A, c, k, corner, space, b + step)
            for i in range(corner, last, 4):
                q, u = block_squares(A, c, k, i, space, POINTS, b, q, u)
            store(space, shares + k, b, log2_weights[k] - q)
            store(space, shares + k, b + step, log2_weights[k] - u)


@kernel
def finish(A, c, k, first, space, top, row, stop):
    """Subtract the squares of the rows of y from `first` on from `row`, for the points in rows from `top`."""
    step = lanes(space)
    zero = splat(space.dtype.type(0))
    for b in range(0, stop, 2 * step):
        q = u = zero
        for i in range(first, c.shape[1], 4):
            q, u = block_squares(A, c, k, i, space, top, b, q, u)
        store(space, row, b, load(space, row, b) - q)
        store(space, row, b + step, load(space, row, b + step) - u)


@kernel
def finish_packed(params, X, start, size, k, first, space, row, index, begin, count):
    """Do the same only for the points index[begin : begin + count]."""
    K, d = params.offsets.shape
    packed, step = first_share(d) + K, 2 * lanes(space)
    stop = (count + step - 1) // step * step
    pack_rows(params, X, start, size, space, index, begin, count, POINTS + d)
    pack_row(space, row, index, begin, count, packed, START)
    finish(params.whiteners, params.offsets, k, first, space, POINTS + d, packed, stop)
    for t in range(count):
        space[row, index[begin + t]] = space[packed, t]


@inlined_kernel
def corner_squares(A, c, k, corner, space, b):
    """Return |y|^2 over the first `corner` (0 to 3) rows of y, for one vector of points from column b on."""
    if corner == 0:
        return splat(space.dtype.type(0))
    x0 = load(space, POINTS, b)
    y0 = A[k, 0, 0] * x0 - c[k, 0]
    if corner == 1:
        return y0 * y0
    x1 = load(space, POINTS + 1, b)
    y1 = A[k, 1, 0] * x0 + (A[k, 1, 1] * x1 - c[k, 1])
    if corner == 2:
        return y0 * y0 + y1 * y1
    y2 = A[k, 2, 2] * load(space, POINTS + 2, b) - c[k, 2]
    y2 = A[k, 2, 0] * x0 + (A[k, 2, 1] * x1 + y2)
    return y0 * y0 + y1 * y1 + y2 * y2


@inlined_kernel
def block_squares(A, c, k, i, space, top, b, q, u):
    """Add |y|^2 over the rows i to i + 3 of y to q and u, for two vectors of points from column b on.

    The points are in the rows from `top`.
    """
    step = lanes(space)
    j = top + i
    y0, y1, y2, y3 = splat(-c[k, i]), splat(-c[k, i + 1]), splat(-c[k, i + 2]), splat(-c[k, i + 3])
    y0, y1, y2, y3, u0, u1, u2, u3 = multiply_add(A, k, i, i, space, top, b, (y0, y1, y2, y3, y0, y1, y2, y3))
    xb, xu = load(space, j, b), load(space, j, b + step)
    a0, a1, a2, a3 = A[k, i, i], A[k, i + 1, i], A[k, i + 2, i], A[k, i + 3, i]
    y0, y1, y2, y3 = y0 + a0 * xb, y1 + a1 * xb, y2 + a2 * xb, y3 + a3 * xb
    u0, u1, u2, u3 = u0 + a0 * xu, u1 + a1 * xu, u2 + a2 * xu, u3 + a3 * xu
    xb, xu = load(space, j + 1, b), load(space, j + 1, b + step)
    a1, a2, a3 = A[k, i + 1, i + 1], A[k, i + 2, i + 1], A[k, i + 3, i + 1]
    y1, y2, y3 = y1 + a1 * xb, y2 + a2 * xb, y3 + a3 * xb
    u1, u2, u3 = u1 + a1 * xu, u2 + a2 * xu, u3 + a3 * xu
    xb, xu = load(space, j + 2, b), load(space, j + 2, b + step)
    a2, a3 = A[k, i + 2, i + 2], A[k, i + 3, i + 2]
    y2, y3 = y2 + a2 * xb, y3 + a3 * xb
    u2, u3 = u2 + a2 * xu, u3 + a3 * xu
    a3 = A[k, i + 3, i + 3]
    y3, u3 = y3 + a3 * load(space, j + 3, b), u3 + a3 * load(space, j + 3, b + step)
    q = q + ((y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3))
    u = u + ((u0 * u0 + u1 * u1) + (u2 * u2 + u3 * u3))
    return q, u
