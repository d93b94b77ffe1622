"""Layouts of Gaussian covariances: how densities are evaluated and which scatter a pass sums.

Each layout has its own kernels. The type of the params that `pack` returns selects them. A constraint (see
`constraints`) decides how the M-step computes covariances from the scatter.

Letters: K components, d features, m covariances.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastem._families.frame import Frame
from fastem._families.matrices import (
    cholesky,
    diagonals,
    every,
    factors_of,
    from_logarithms,
    identity,
    invert_lower,
    logarithms_of,
    spread,
    symmetric,
    times,
)
from fastem._families.packed import common, new_sums_of, ones
from fastem._families.rounding import pass_dtype, pass_dtype_of_diagonals
from fastem._kernels._full_estep import params_type
from fastem._kernels._params import DiagParams, SphericalParams, Sums, TiedParams
from fastem._typing import FloatArray

# Kernels compute in base 2. So precisions are multiplied by this factor, and whiteners by its square root.
_HALF_LOG2_E = 0.5 / np.log(2)
ROOT = np.sqrt(_HALF_LOG2_E)
# To factor more numbers takes longer than to call LAPACK, and less than a part of a pass.
_REMEMBERED = 1024
_LARGE = 10.0  # if all ratios of a covariance are larger than this, their exact values do not matter


class _Parameters(NamedTuple):
    weights: FloatArray  # (K,)
    means: FloatArray  # (K, d)
    covariances: FloatArray  # full (K, d, d), tied (1, d, d), diag (K, d), spherical (K,)


class GaussianParameters(_Parameters):
    """Parameters in the standard coordinates of a frame, or in user units."""

    # There is no `__slots__`, so that an M-step leaves the factors to the E-step and to leaps.

    @property
    def factors(self) -> FloatArray:
        """The Cholesky factors of matrices. LinAlgError is raised if one is not positive definite."""
        found: FloatArray | None = vars(self).get("_factors")
        return factors_of(self.covariances) if found is None else found

    def remember(self, factors: FloatArray) -> None:
        """Keep the factors of the covariances, if there are few. These must stay as they are from now on."""
        if factors.size <= _REMEMBERED:
            vars(self)["_factors"] = factors


class GaussianSums(NamedTuple):
    """Weighted sums of one pass in standard coordinates, where z = x - mean."""

    means: FloatArray  # (K, d)
    weights: FloatArray  # (K,) sum of r
    first: FloatArray  # (K, d) sum of r z
    scatter: FloatArray  # sum of r z z', in the shape of the covariances


class Layout(ABC):
    """What differs between layouts. Subclasses are final."""

    # Whether features are compared with each other, so that all must have the same scale.
    isotropic: ClassVar[bool] = False
    # Whether covariances are matrices, with off-diagonal entries.
    matrices: ClassVar[bool] = False
    # Whether kernels sum r z z', and not r z x' with only one centred factor.
    centred: ClassVar[bool] = True

    @abstractmethod
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """Return the shape of `GaussianParameters.covariances`. Its first axis is m."""

    @abstractmethod
    def public_shape(self, k: int, d: int) -> tuple[int, ...]:
        """Return the shape of `GaussianMixture.covariances`. For tied it has no first axis."""

    @abstractmethod
    def new_sums(self, slots: int, k: int, d: int) -> Sums:
        """Return accumulators of zeros for the kernels."""

    @abstractmethod
    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> Any:
        """Convert the parameters to what the kernels need. Covariances must be positive definite.

        `dtype` is that of the rows. The result is in float64 if float32 would hide one of the variances.
        """

    @abstractmethod
    def collect(self, params: Any, sums: Sums) -> GaussianSums:
        """Convert the sums of the kernels, added over all slots, to centred sums."""

    @abstractmethod
    def scatter(self, parameters: GaussianParameters, weights: FloatArray) -> FloatArray:
        """Return the expected scatter under `parameters`, with `weights` (K,) in the components."""

    @abstractmethod
    def diagonal_scatter(self, collected: GaussianSums) -> FloatArray:
        """Return the sum over components of the diagonal of the scatter, (d,)."""

    def factors(self, covariances: FloatArray) -> FloatArray | None:
        """Return the Cholesky factors of matrices, NaN for one that has none, or None without matrices."""
        return None

    @abstractmethod
    def pivots(self, covariances: FloatArray, d: int, factors: FloatArray | None = None) -> FloatArray:
        """Return the squared Cholesky diagonal of each covariance, (m, d), or NaN if there is none.

        It is the variance of each feature given the features before it. All are positive if and only if
        the covariance is positive definite. `factors` are those of the covariances, if they are known.
        """

    @abstractmethod
    def ratios(self, covariances: FloatArray, variances: FloatArray) -> FloatArray:
        """Return the eigenvalues (m, d) of each covariance relative to diag(variances), variances (m, d).

        If all eigenvalues of a covariance are large, it returns other numbers that are cheaper to compute.
        Their inverse squares have the same sum.
        """

    @abstractmethod
    def diagonal(self, variances: FloatArray) -> FloatArray:
        """Return the m covariances nearest to diag(variances), variances (m, d)."""

    @abstractmethod
    def rescale(self, covariances: FloatArray, factor: FloatArray) -> FloatArray:
        """Return diag(factor) covariance diag(factor), factor (d,)."""

    @abstractmethod
    def variances(self, covariances: FloatArray, d: int) -> FloatArray:
        """Return the diagonal of each covariance, (m, d)."""

    @abstractmethod
    def logarithms(self, parameters: GaussianParameters) -> FloatArray:
        """Return the covariances as numbers that have no bounds, such as log-variances."""

    @abstractmethod
    def from_logarithms(self, logarithms: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Return the covariances, in this shape, of the points that `logarithms` returns."""

    @abstractmethod
    def colour(self, covariance: FloatArray, noise: FloatArray) -> FloatArray:
        """Transform rows of white noise (..., d) to rows with this covariance."""


class _Matrices(Layout):
    """Covariances that are m full matrices. Abstract: full and tied differ in m and in their kernels."""

    matrices = True

    def factors(self, covariances: FloatArray) -> FloatArray:
        return cholesky(covariances)

    def pivots(self, covariances: FloatArray, d: int, factors: FloatArray | None = None) -> FloatArray:
        return np.square(diagonals(cholesky(covariances) if factors is None else factors))

    def ratios(self, covariances: FloatArray, variances: FloatArray) -> FloatArray:
        root = np.sqrt(variances)
        scaled = covariances / (root[:, :, None] * root[:, None, :])
        with np.errstate(over="ignore"):
            inverses = invert_lower(cholesky(scaled))
            # The trace of the precision is the sum of the inverse eigenvalues. No row of the precision is
            # longer than the largest of them.
            large = np.einsum("kij,kij->k", inverses, inverses) < 1 / _LARGE
        ratios, inverses = np.full_like(variances, np.nan), inverses[large]  # NaN of what is no number
        with np.errstate(divide="ignore"):  # a ratio beyond some 1e154 is infinite
            ratios[large] = 1 / np.linalg.norm(inverses.transpose(0, 2, 1) @ inverses, axis=2)
        if not every(large):
            small = ~large & np.isfinite(scaled).all(axis=(1, 2))
            ratios[small] = np.linalg.eigvalsh(scaled[small])
        return ratios

    def logarithms(self, parameters: GaussianParameters) -> FloatArray:
        known = vars(parameters).get("_factors")
        return logarithms_of(cholesky(parameters.covariances) if known is None else known)

    def from_logarithms(self, logarithms: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        return from_logarithms(logarithms.reshape(shape[0], -1), shape[1])

    def diagonal(self, variances: FloatArray) -> FloatArray:
        return variances[:, :, None] * identity(variances.shape[1])

    def rescale(self, covariances: FloatArray, factor: FloatArray) -> FloatArray:
        return covariances * factor[:, None] * factor

    def variances(self, covariances: FloatArray, d: int) -> FloatArray:
        return diagonals(covariances)

    def colour(self, covariance: FloatArray, noise: FloatArray) -> FloatArray:
        return noise @ np.linalg.cholesky(covariance).T


class Full(_Matrices):
    centred = False

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def public_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d, d)

    def new_sums(self, slots: int, k: int, d: int) -> Sums:
        return new_sums_of(slots, k, d, (k, d, d), 0)

    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> Any:
        whiteners = invert_lower(parameters.factors)
        dtype = pass_dtype(dtype, parameters.covariances, whiteners, parameters.means)
        log2_determinants = np.log2(diagonals(whiteners)).sum(axis=1)
        whiteners *= ROOT
        means = parameters.means.astype(dtype)
        return params_type(parameters.means.shape[1])(
            *common(parameters.weights, frame, log2_determinants, dtype),
            means=means,
            whiteners=whiteners.astype(dtype, copy=False),
            offsets=np.einsum("kij,kj->ki", whiteners, means).astype(dtype, copy=False),
        )

    def collect(self, params: Any, sums: Sums) -> GaussianSums:
        means = params.means.astype(np.float64, copy=False)
        # The kernel sums r z x'. The lower triangle of this minus first mean' is the scatter.
        scatter = sums.second - sums.first[:, :, None] * means[:, None, :]
        return GaussianSums(means, sums.weights, sums.first, symmetric(scatter))

    def scatter(self, parameters: GaussianParameters, weights: FloatArray) -> FloatArray:
        return np.asarray(weights[:, None, None] * parameters.covariances)

    def diagonal_scatter(self, collected: GaussianSums) -> FloatArray:
        return np.asarray(diagonals(collected.scatter).sum(axis=0))


class Tied(_Matrices):
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (1, d, d)

    def public_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (d, d)

    def new_sums(self, slots: int, k: int, d: int) -> Sums:
        return new_sums_of(slots, k, d, (2, d, d), k)

    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> TiedParams:
        inverses = invert_lower(parameters.factors)
        dtype, inverse = pass_dtype(dtype, parameters.covariances, inverses, None), inverses[0]
        whitener = (ROOT * inverse).astype(dtype, copy=False)
        transposed = times(whitener.astype(np.float64, copy=False), parameters.means.T)
        transposed = transposed.astype(dtype, copy=False)
        return TiedParams(
            *common(parameters.weights, frame, np.log2(diagonals(inverse)).sum(), dtype),
            means=transposed.T.copy(),
            transposed_means=transposed[None],
            precisions=ones(transposed.shape[1], dtype),
            whiteners=whitener[None],
        )

    def collect(self, params: TiedParams, sums: Sums) -> GaussianSums:
        colour = invert_lower(params.whiteners.astype(np.float64, copy=False))[0]
        whitened = params.means.astype(np.float64, copy=False)
        first = sums.first - sums.weights[:, None] * whitened
        # For points of one component the kernel sums a lower triangle, for all others a full matrix that is
        # not symmetric.
        mixed, own = sums.second[0], sums.second[1]
        scatter = symmetric(own) + (mixed + mixed.T) / 2 + spread(whitened, sums.pivots)
        scatter = times(colour, times(colour, scatter).T)
        # The products round the two triangles differently. The difference is large if the scales of the
        # features are far apart.
        scatter = (scatter + scatter.T)[None] / 2
        means, first = times(colour, whitened.T).T.copy(), times(colour, first.T).T.copy()
        return GaussianSums(means, sums.weights, first, scatter)

    def scatter(self, parameters: GaussianParameters, weights: FloatArray) -> FloatArray:
        return np.asarray(parameters.covariances * weights.sum())

    def diagonal_scatter(self, collected: GaussianSums) -> FloatArray:
        return np.diagonal(collected.scatter[0])


class _Variances(Layout):
    """Covariances that are variances. Abstract: diag and spherical differ in their number."""

    def logarithms(self, parameters: GaussianParameters) -> FloatArray:
        return np.log(parameters.covariances)

    def from_logarithms(self, logarithms: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        return np.exp(logarithms.reshape(shape))


class Diag(_Variances):
    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def public_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k, d)

    def new_sums(self, slots: int, k: int, d: int) -> Sums:
        return new_sums_of(slots, k, d, (k, 1, d), 0)

    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> DiagParams:
        dtype = pass_dtype_of_diagonals(dtype, parameters.covariances)
        inverse = 1 / np.sqrt(parameters.covariances)
        means = parameters.means.astype(dtype)
        return DiagParams(
            *common(parameters.weights, frame, np.log2(inverse).sum(axis=1), dtype),
            means=means,
            whiteners=(ROOT * inverse).astype(dtype),
            offsets=(ROOT * inverse * means).astype(dtype),
        )

    def collect(self, params: DiagParams, sums: Sums) -> GaussianSums:
        return GaussianSums(params.means.astype(np.float64), sums.weights, sums.first, sums.second[:, 0])

    def scatter(self, parameters: GaussianParameters, weights: FloatArray) -> FloatArray:
        return np.asarray(weights[:, None] * parameters.covariances)

    def diagonal_scatter(self, collected: GaussianSums) -> FloatArray:
        return np.asarray(collected.scatter.sum(axis=0))

    def pivots(self, covariances: FloatArray, d: int, factors: FloatArray | None = None) -> FloatArray:
        return covariances

    def ratios(self, covariances: FloatArray, variances: FloatArray) -> FloatArray:
        return np.asarray(covariances / variances)

    def diagonal(self, variances: FloatArray) -> FloatArray:
        return variances

    def rescale(self, covariances: FloatArray, factor: FloatArray) -> FloatArray:
        return covariances * factor * factor

    def variances(self, covariances: FloatArray, d: int) -> FloatArray:
        return covariances

    def colour(self, covariance: FloatArray, noise: FloatArray) -> FloatArray:
        return noise * np.sqrt(covariance)


class Spherical(_Variances):
    isotropic = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k,)

    def public_shape(self, k: int, d: int) -> tuple[int, ...]:
        return (k,)

    def new_sums(self, slots: int, k: int, d: int) -> Sums:
        return new_sums_of(slots, k, d, (k, 1, 1), 0)

    def pack(self, parameters: GaussianParameters, frame: Frame, dtype: np.dtype[Any]) -> SphericalParams:
        d = parameters.means.shape[1]
        dtype = pass_dtype_of_diagonals(dtype, parameters.covariances)
        log2_determinants = -0.5 * d * np.log2(parameters.covariances)
        return SphericalParams(
            *common(parameters.weights, frame, log2_determinants, dtype),
            means=parameters.means.astype(dtype),
            precisions=(_HALF_LOG2_E / parameters.covariances).astype(dtype),
        )

    def collect(self, params: SphericalParams, sums: Sums) -> GaussianSums:
        return GaussianSums(params.means.astype(np.float64), sums.weights, sums.first, sums.second[:, 0, 0])

    def scatter(self, parameters: GaussianParameters, weights: FloatArray) -> FloatArray:
        return np.asarray(weights * parameters.covariances * parameters.means.shape[1])

    def diagonal_scatter(self, collected: GaussianSums) -> FloatArray:
        d = collected.means.shape[1]
        return np.full(d, collected.scatter.sum() / d)

    def pivots(self, covariances: FloatArray, d: int, factors: FloatArray | None = None) -> FloatArray:
        return np.repeat(covariances[:, None], d, axis=1)

    def ratios(self, covariances: FloatArray, variances: FloatArray) -> FloatArray:
        return np.asarray(covariances[:, None] / variances)

    def diagonal(self, variances: FloatArray) -> FloatArray:
        return np.asarray(variances.sum(axis=1) / variances.shape[1])

    def rescale(self, covariances: FloatArray, factor: FloatArray) -> FloatArray:
        return np.asarray(covariances * factor[0] * factor[0])

    def variances(self, covariances: FloatArray, d: int) -> FloatArray:
        return np.repeat(covariances[:, None], d, axis=1)

    def colour(self, covariance: FloatArray, noise: FloatArray) -> FloatArray:
        return noise * np.sqrt(covariance)
