"""The parameters of mixtures as kernels need them, and the sums that a pass computes.

There is one NamedTuple for each covariance type, one for all linear exponential families, one for categories,
one for t distributions and one for k-means. All arrays of parameters have the dtype of the rows, if nothing
else is said. K is the number of components and d the number of features.

`shift` and `inverse_scale` map a row to standard coordinates, (x - shift) * inverse_scale. `means` are in
standard coordinates.

Log-densities are in base 2, because powers of 2 are fastest to compute. The density of a Gaussian is
2 ** (log2_weight - |whitener (x - mean)| ** 2), where whitener' whitener is the precision matrix times
log2(e) / 2. The caller adds a constant that all components have in common.
"""

from typing import NamedTuple

import numpy as np


class FullParams(NamedTuple):
    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    log2_weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, d)
    whiteners: np.ndarray  # (K, d, d) lower triangular
    offsets: np.ndarray  # (K, d) whitener @ mean


class ScreenedFullParams(NamedTuple):
    """The same for so many features that screening is worth its time, and the time to compile it."""

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray
    whiteners: np.ndarray
    offsets: np.ndarray


class TiedParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d) whitener @ mean
    transposed_means: np.ndarray  # (1, d, K)
    precisions: np.ndarray  # (K,) ones, because whitened components have unit variance
    whiteners: np.ndarray  # (1, d, d) lower triangular


class DiagParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d)
    whiteners: np.ndarray  # (K, d) diagonals
    offsets: np.ndarray  # (K, d) whitener * mean


class SphericalParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d)
    precisions: np.ndarray  # (K,) precisions times log2(e) / 2


class LinearParams(NamedTuple):
    """An exponential family with independent features: log p(x | k) = <eta_k, t(x)> + b_k + h(x).

    With u = (x - shift) * inverse_scale for each column, the T statistics t(x), T from d to 2 d, are those
    that `transforms` (see `_linear`) names. If `columns` is empty, t(x) is u.

    The caller puts b_k into log2_weights. It adds h(x), which is the same for all components, to the result.
    Every eta must be finite. An eta that would be -inf, such as that of a rate of zero, must be -1e30. Then
    the density is zero too, but 0 * eta is zero and not NaN.
    """

    shift: np.ndarray  # (d,)
    inverse_scale: np.ndarray  # (d,)
    log2_weights: np.ndarray  # (K,) log2 of the weight, plus b_k in base 2
    etas: np.ndarray  # (1, K, T) natural parameters times log2(e)
    columns: np.ndarray  # (T,) int64: which u a statistic is made of; or (0,)
    transforms: np.ndarray  # (T,) int64; or (0,)
    centres: np.ndarray  # (T,) a statistic is (f(u) - centre) * factor; or (0,)
    factors: np.ndarray  # (T,); or (0,)


class CategoricalParams(NamedTuple):
    """Categories: log2 p(x | k) is a sum of numbers of `table`, one for each of G groups of columns.

    The columns of a group have one row for each of their joint categories, of which those of the last column
    vary fastest.

    x in standard coordinates is x less the least category of the column if all of its categories are whole
    numbers that are not far apart, and else x itself.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray  # ones
    log2_weights: np.ndarray  # (K,)
    table: np.ndarray  # (joint categories of all groups, width); the width is K, padded to whole vectors
    groups: np.ndarray  # (G + 1,) int64: the first column of each group
    rows: np.ndarray  # (G,) int64: the first row of each group
    sizes: np.ndarray  # (d,) how many categories a column has
    values: np.ndarray  # the categories in standard coordinates, sorted in each column, one after another
    starts: np.ndarray  # (d + 1,) int64: where the categories of each column start
    consecutive: np.ndarray  # (d,) int64: 1 if the categories are 0, 1, 2 ... in standard coordinates
    ranks: np.ndarray  # the ranks of the whole numbers 0, 1, 2 ... among the categories of some columns
    rank_starts: np.ndarray  # (d + 1,) int64: where those of each column start; columns may have none


class StudentParams(NamedTuple):
    """Multivariate t distributions: log p = constant - shape log(1 + |z|^2 / nu), with the whitened z.

    `gaussian` has the params of the layout of the scales, with log2_weights of 0, so that its kernels give -q
    with |z|^2 = 2 ln(2) q. The caller puts what does not depend on x into log2_weights.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray  # (K,) log2 of the weight, of the determinant and of the constant of nu
    slopes: np.ndarray  # (K,) 2 ln(2) / nu
    shapes: np.ndarray  # (K,) (nu + d) / 2
    factors: np.ndarray  # (K,) (nu + d) / nu
    gaussian: "FullParams | ScreenedFullParams | TiedParams | DiagParams | SphericalParams | DiagGapsParams"


class LinearGapsParams(NamedTuple):
    """Exponential families whose rows may have missing numbers."""

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray  # those of `linear`
    linear: LinearParams
    changes: np.ndarray  # (1, K, d) -b_kj in base 2: what a missing number adds to log2_weights


class DiagGapsParams(NamedTuple):
    """Gaussians with diagonal or spherical covariances, whose rows may have missing numbers."""

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray  # (K,) without determinants
    means: np.ndarray  # (K, d)
    whiteners: np.ndarray  # (K, d) diagonals
    offsets: np.ndarray  # (K, d) whitener * mean
    logs: np.ndarray  # (K, d) log2 of the inverse deviations
    variances: np.ndarray  # (K, d) in float64


class StudentGapsParams(NamedTuple):
    """t distributions with such scales. Where others have nu + d, a row that lacks m has nu + d - m."""

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray  # those of `student`
    student: StudentParams  # of DiagGapsParams whose changes are zeros
    changes: np.ndarray  # (1, K, d) as in LinearGapsParams: the logarithms of the scales
    constants: np.ndarray  # (1, K, d + 1) what lacking m features adds to log2_weights beside, m = 0, ..., d
    logarithms: np.ndarray  # (1, K, d + 1) what it takes from the logarithm in the sums
    slopes: np.ndarray  # (K,) 1 / nu


class LloydParams(NamedTuple):
    """k-means. All features have the same scale.

    The centres are packed for products, with offsets after the last one that no score can be below.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray
    centres: np.ndarray  # (blocks, d, PAIR_ROWS) in standard coordinates
    offsets: np.ndarray  # (blocks * PAIR_ROWS,) minus half of their squared lengths
    slack: np.ndarray  # (2,) scores of a row x may be wrong by slack[0] |x|^2 + slack[1]
    places: np.ndarray  # (K, d) the centres in float64 and in user units


class LloydKept(NamedTuple):
    """What passes of k-means keep about rows, or arrays of length 0 if they keep nothing."""

    labels: np.ndarray  # (n,) int32
    bounds: np.ndarray  # (n,) float32; at the last pass no other centre was nearer, in standard coordinates
    drifts: np.ndarray  # (K,) how far the others have moved since, at most


class LloydFound(NamedTuple):
    """What a pass of k-means knows of the tile of each slot, G slots of T points."""

    points: np.ndarray  # (G T,) int64, those that are compared with all centres
    labels: np.ndarray  # (G T,) int64


class Sums(NamedTuple):
    """The weighted sums of a pass for each of G slots, always in float64.

    r is a responsibility times a weight, and z is x - mean. The kernels describe `second` and `pivots`.
    """

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, d) sum of r z; for tied, sum of r whitener @ x
    second: np.ndarray  # full (G, K, d, d), tied (G, 2, d, d), diag (G, K, 1, d), spherical (G, K, 1, 1)
    pivots: np.ndarray  # tied (G, K, K), else (G, 0, 0)
    log2_likelihood: np.ndarray  # (G,)


class LinearSums(NamedTuple):
    """The same for LinearParams, for the first S of the statistics t. They need no other moments."""

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, S) sum of r t
    log2_likelihood: np.ndarray  # (G,)


class CategoricalSums(NamedTuple):
    """The same for CategoricalParams."""

    weights: np.ndarray  # (G, K) sum of r
    counts: np.ndarray  # (G, rows of the table, width) sum of r; numbers beyond the K-th mean nothing
    log2_likelihood: np.ndarray  # (G,)


class StudentSums(NamedTuple):
    """The same for StudentParams, with u = (nu + d) / (nu + |z|^2). The others are `Sums` with r u for r."""

    weights: np.ndarray  # (G, K) sum of r
    logarithms: np.ndarray  # (G, K) sum of r log2(1 + |z|^2 / nu)
    scaled_weights: np.ndarray  # (G, K) sum of r u
    first: np.ndarray
    second: np.ndarray
    pivots: np.ndarray
    log2_likelihood: np.ndarray  # (G,)


class LinearGapsSums(NamedTuple):
    """The same for LinearGapsParams."""

    weights: np.ndarray  # (G, K)
    first: np.ndarray  # (G, K, S) sum of r t over what is observed
    observed: np.ndarray  # (G, K, d) sum of r over the rows where the feature is observed
    log2_likelihood: np.ndarray  # (G,)


class DiagGapsSums(NamedTuple):
    """The same for DiagGapsParams. Moments are of what is observed."""

    weights: np.ndarray  # (G, K)
    first: np.ndarray  # (G, K, d)
    second: np.ndarray  # (G, K, 1, d)
    observed: np.ndarray  # (G, K, d) sum of r over the rows where the feature is observed
    log2_likelihood: np.ndarray  # (G,)


class StudentGapsSums(NamedTuple):
    """The same for StudentGapsParams, with r u for r in the moments, but not in `observed`."""

    weights: np.ndarray  # (G, K)
    logarithms: np.ndarray  # (G, K)
    scaled_weights: np.ndarray  # (G, K)
    first: np.ndarray
    second: np.ndarray
    pivots: np.ndarray  # (G, 0, 0)
    observed: np.ndarray  # (G, K, d)
    log2_likelihood: np.ndarray  # (G,)


class LloydSums(NamedTuple):
    """The same for LloydParams, with z = (x - place) * inverse_scale for the nearest centre."""

    weights: np.ndarray  # (G, K) sum of w
    first: np.ndarray  # (G, K, d) sum of w z
    errors: np.ndarray  # (G, K) sum of w |z|^2
    reach: np.ndarray  # (G, K) the largest |z|^2 of a row of positive weight
    outermost: np.ndarray  # (G, K, d) the row that has it, in user units
