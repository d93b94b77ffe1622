"""Gaussians with many components in many features: their parameters, sums and tiles.

Log-densities are linear in a few statistics of a point, and each part of the features adds to them:

    log2 p = (offset + <eta, t>) of the near features + (offset + <eta, t>) of the far ones,
    t = (x, |x|^2) for spherical, (x, x^2) for diagonal covariances.

Without the weight neither part is positive. So the near part bounds the log-density from above.

If all components share one covariance, the square of a point is the same in all of them. So it has no part in
the responsibilities, and is left out: t = x. All features are near then, and nothing is bounded. What is left
out of the log-likelihood, and the scatter, follow from the scatter of all rows (`_scatter`).

A tile has so few points that the shares of all components stay in the second-level cache. Its statistics lie
in panels, as wide as a block of `_panels`, for the E-step, and as rows for the M-step.
"""

from typing import NamedTuple

import numpy as np

from fastem._kernels._flat import load_flat, store_flat
from fastem._kernels._jit import allocating_kernel, inlined_kernel, kernel, spliced_kernel
from fastem._kernels._layout import BLOCK_ROWS, BLOCK_VECTORS
from fastem._kernels._panels import transpose
from fastem._kernels._simd import above, lanes, maximum, minimum, splat

SPHERICAL, DIAGONAL, TIED = np.int64(0), np.int64(1), np.int64(2)
SIZE = np.int64(64)  # the points of a tile
WORDS = np.int64(2)  # how many words have a bit for each of them
NEAR = np.int64(16)  # the number of near features is a multiple of this, and so of all vectors
# Coordinates whose squares, times weights and inverse variances, add up to less than the largest number.
_BOUND_32, _BOUND_64 = np.float64(1e17), np.float64(1e120)


class WideParams(NamedTuple):
    """Components come in blocks of BLOCK_ROWS, the last of which may be padded; then K' is more than K.

    The log-densities of some components, whose variances are small, are differences of large numbers.
    They are computed from x - mean. All their etas and offsets are 0, but for the log-weight.
    """

    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    log2_weights: np.ndarray  # (K,)
    kind: np.ndarray  # (1,) int64: SPHERICAL, DIAGONAL or TIED
    means: np.ndarray  # (K, d)
    near: np.ndarray  # (K' / BLOCK_ROWS, T, BLOCK_ROWS) etas of the near features
    far: np.ndarray  # the same of the others
    offsets: np.ndarray  # (2, K') of the near features, with the log-weight, and of the others
    rows: np.ndarray  # (K, width) etas of x, and then of x^2 if they are diagonal
    slopes: np.ndarray  # (K,) the eta of |x|^2, or 0 if they are not spherical
    places: np.ndarray  # (K,) int64: the place of a narrow component among these, or -1
    centres: np.ndarray  # (narrow, width) their means
    factors: np.ndarray  # (narrow, width) their inverse deviations


class WideSums(NamedTuple):
    """Sums about zero; those of narrow components about their means."""

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, d) sum of r x
    second: np.ndarray  # spherical (G, K, 1), diagonal (G, K, d); tied (1, d, d) that of all components
    log2_likelihood: np.ndarray  # (G,)


class Tile(NamedTuple):
    """What a slot computes in. All arrays are flat; those of points have SIZE numbers."""

    points: np.ndarray  # rows of `width` numbers: x, or x and x^2, each padded to whole blocks of vectors
    near: np.ndarray  # the statistics of the near features, in panels
    far: np.ndarray  # those of the others
    squares: np.ndarray  # |x|^2, if the statistics have it
    far_squares: np.ndarray  # of the far features
    weights: np.ndarray
    peaks: np.ndarray  # the largest log-density of each point
    leasts: np.ndarray  # log-densities less than this do not matter
    totals: np.ndarray  # the sum of the densities divided by the largest
    labels: np.ndarray  # the likeliest component
    shares: np.ndarray  # (K', SIZE) log-densities, and then responsibilities
    words: np.ndarray  # (K', WORDS) int64: a bit for each point that matters to the component
    counts: np.ndarray  # (K',) int64: how many
    first: np.ndarray  # (K', width) sums over a few tiles, in the dtype of the points


@spliced_kernel
def padded(count, step):
    return (count + step - 1) // step * step


@spliced_kernel
def panel_width(X):
    return BLOCK_VECTORS * lanes(X)


@spliced_kernel
def near_features(params):
    """Return how many features are near."""
    count = params.near.shape[1]
    return count // 2 if params.kind[0] == DIAGONAL else count - 1


@spliced_kernel
def features_width(params):
    """Return how many numbers of a row of points are features."""
    width = params.rows.shape[1]
    return width // 2 if params.kind[0] == DIAGONAL else width


@allocating_kernel
def new_tile(params, X):
    rows, width = padded(params.means.shape[0], BLOCK_ROWS), params.rows.shape[1]
    beyond = SIZE * lanes(X)  # transposed squares may reach beyond the last feature of a panel
    return Tile(
        points=np.zeros(SIZE * width, X.dtype),
        near=np.zeros(SIZE * params.near.shape[1] + beyond, X.dtype),
        far=np.zeros(SIZE * params.far.shape[1] + beyond, X.dtype),
        squares=np.zeros(SIZE, X.dtype),
        far_squares=np.zeros(SIZE, X.dtype),
        weights=np.zeros(SIZE, X.dtype),
        peaks=np.zeros(SIZE, X.dtype),
        leasts=np.zeros(SIZE, X.dtype),
        totals=np.zeros(SIZE, X.dtype),
        labels=np.zeros(SIZE, X.dtype),
        shares=np.zeros(rows * SIZE, X.dtype),
        words=np.zeros(rows * WORDS, np.int64),
        counts=np.zeros(rows, np.int64),
        first=np.zeros(rows * width, X.dtype),
    )


@kernel
def load_weights(sample_weight, first, size, tile):
    """OUT the weights: sample_weight, or 1 if there is none, for b < size, then 0"""
    weights = tile.weights
    for b in range(size):
        weights[b] = sample_weight[first + b] if sample_weight.shape[0] > 0 else 1
    for b in range(size, SIZE):
        weights[b] = 0


@spliced_kernel
def bound_of(X):
    return X.dtype.type(_BOUND_32 if X.itemsize == 4 else _BOUND_64)


@kernel
def load_rows(params, X, first, size, tile):
    """OUT the points: rows of X in standard coordinates for b < size, then 0

    Coordinates beyond the bound count as if they were there, so that zero times their squares is zero. Sums
    with them would be wrong. So a positive weight of such a row becomes NaN, and the pass fails.
    """
    shift, scale, points, width = params.shift, params.inverse_scale, tile.points, params.rows.shape[1]
    bound, d, step, weights = bound_of(X), X.shape[1], lanes(X), tile.weights
    least, most, whole = splat(-bound), splat(bound), d - d % step
    for b in range(size):
        o, i = b * width, (first + b) * d
        every = (1 << step) - 1
        inside = every
        for j in range(0, whole, step):
            x = (load_flat(X, i + j) - load_flat(shift, j)) * load_flat(scale, j)
            inside &= above(x, least) & above(most, x)
            store_flat(points, o + j, minimum(maximum(x, least), most))
        for j in range(whole, d):
            y = (X[first + b, j] - shift[j]) * scale[j]
            points[o + j] = min(max(y, -bound), bound)
            inside = inside if abs(y) < bound else 0
        if inside != every and weights[b] > 0:
            weights[b] = np.nan
    for o in range(size * width, SIZE * width):
        points[o] = 0


@kernel
def load_statistics(params, X, first, size, tile):
    """OUT the points, the panels near and far, and the squares. The weights come first."""
    points, near, far, squares, far_squares = tile.points, tile.near, tile.far, tile.squares, tile.far_squares
    kind, width, features = params.kind[0], params.rows.shape[1], features_width(params)
    d, half, step, panel = X.shape[1], near_features(params), lanes(X), panel_width(X)
    nears, fars = params.near.shape[1], params.far.shape[1]
    load_rows(params, X, first, size, tile)
    for b in range(0, SIZE, step):
        column, top = b % panel, b // panel * panel
        for j in range(0, half, step):
            transpose(points, b * width + j, width, near, top * nears + j * panel + column, panel)
        for j in range(half, d, step):
            transpose(points, b * width + j, width, far, top * fars + (j - half) * panel + column, panel)
        q = add_squares(kind, near, top * nears + column, half, panel)
        p = add_squares(kind, far, top * fars + column, d - half, panel)
        store_flat(far_squares, b, p)
        store_flat(squares, b, p + q)
    if kind == DIAGONAL:
        for b in range(SIZE):
            o = b * width
            for j in range(0, features, step):
                x = load_flat(points, o + j)
                store_flat(points, o + features + j, x * x)


@inlined_kernel
def add_squares(kind, panel, o, count, width):
    """Write the squares of `count` rows of a panel, or else their sum, below. Return that sum."""
    q = splat(panel.dtype.type(0))
    for j in range(count):
        x = load_flat(panel, o + j * width)
        if kind == DIAGONAL:
            store_flat(panel, o + (count + j) * width, x * x)
        else:
            q = q + x * x
    if kind != DIAGONAL:
        store_flat(panel, o + count * width, q)
    return q
