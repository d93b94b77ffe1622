"""What a kernel needs to know of a mixture: one NamedTuple per covariance type, and one for all families
of distributions whose log-density is linear in what they measure of each feature.

All arrays share one dtype, that of the rows. Log-densities are in base 2, so that the kernels
need no reduction of exponents: a density is 2 ** (log2_weight - |whitener (x - mean)| ** 2), up to a
constant common to all components that the caller adds, where whitener' whitener is the precision
matrix times log2(e) / 2.

`shift` and `inverse_scale` map a row to standard coordinates, (x - shift) * inverse_scale, in which
`means` are given. K components, d features.
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


class TiedParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d) whitened: whitener @ mean
    transposed_means: np.ndarray  # (1, d, K)
    precisions: np.ndarray  # (K,) ones: whitened components have unit variance
    whiteners: np.ndarray  # (1, d, d) lower triangular


class DiagParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d)
    whiteners: np.ndarray  # (K, d) the diagonals
    offsets: np.ndarray  # (K, d) whitener * mean


class SphericalParams(NamedTuple):
    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray
    means: np.ndarray  # (K, d)
    precisions: np.ndarray  # (K,) times log2(e) / 2


class LinearParams(NamedTuple):
    """An exponential family with independent features: log p(x | k) = <eta_k, t(x)> + b_k + h(x).

    t(x) is x in standard coordinates. The caller adds h(x), which all components have in common, and puts
    b_k into the weight. An eta must be finite: where it stands for -inf, as that of a rate of zero does,
    -1e30 makes a density of zero and leaves 0 * eta what it should be.
    """

    shift: np.ndarray
    inverse_scale: np.ndarray
    log2_weights: np.ndarray  # (K,) log2 of the weight, plus b_k in base 2
    etas: np.ndarray  # (1, K, d) natural parameters times log2(e)


class Sums(NamedTuple):
    """Weighted sums of a pass, one set a slot (G slots), float64 whatever the rows are.

    Each covariance type has its own `second`; see the kernels for what they sum.
    """

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, d) sum of r z; tied: of r y
    second: np.ndarray  # full (G, K, d, d), tied (G, 2, d, d), diag (G, K, 1, d), spherical (G, K, 1, 1)
    pivots: np.ndarray  # tied: (G, K, K); else (G, 0, 0)
    log2_likelihood: np.ndarray  # (G,)


class LinearSums(NamedTuple):
    """The same for LinearParams, which need no second moments."""

    weights: np.ndarray  # (G, K) sum of r
    first: np.ndarray  # (G, K, d) sum of r t
    log2_likelihood: np.ndarray  # (G,)
