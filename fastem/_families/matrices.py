"""Triangles, inverses and Cholesky factors of stacks of small matrices, (m, d, d). Products of wide ones."""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from fastem._typing import Array, FloatArray, read_only

# BLAS makes products of fewer multiply-adds without other threads. Once awake, these spin for a while, and
# passes that come next take longer.
_FEW = 1 << 18
_FEW_ROWS = 128  # the same for Cholesky factors
_BLOCK = 64  # rows of a product, of which there are as many columns then in each part
# Products of points up to this squared length lose at most some 1e-12 of a gap of length 1.
_NO_LOSS = 1e4
_MIRRORS = 4  # of so many sizes of matrices, each of which is as large as a matrix
_SMALL = 8  # triangular matrices of up to this size are inverted as general matrices
# For few small matrices, what NumPy does around LAPACK takes several times as long as LAPACK. NumPy does not
# document the functions without it.
_lapack: Any = getattr(np.linalg, "_umath_linalg", None)
_cholesky: Any = getattr(_lapack, "cholesky_lo", np.linalg.cholesky)
_inverse: Any = getattr(_lapack, "inv", np.linalg.inv)
_eigen: Any = getattr(_lapack, "eigh_lo", np.linalg.eigh)


@cache
def _above(d: int) -> Array:
    """Return the mask of what is above the diagonal of a matrix."""
    return ~np.tri(d, dtype=bool)


def symmetric(matrices: FloatArray) -> FloatArray:
    """Return symmetric matrices (..., d, d) from their lower triangles, in half of the time of `where`."""
    shape = matrices.shape
    return matrices.reshape(-1, shape[-1] ** 2).take(_mirror(shape[-1]), axis=1).reshape(shape)


@lru_cache(_MIRRORS)
def _mirror(d: int) -> Array:
    """Return where each number of a symmetric matrix is in the lower triangle."""
    places = np.arange(d * d).reshape(d, d)
    return np.where(_above(d), places.T, places).ravel()


@cache
def identity(d: int) -> FloatArray:
    """Return the identity, read-only."""
    return read_only(np.eye(d))


def every(mask: Array) -> bool:
    """Return whether all of a mask is True. For a small one, NumPy's `all` takes ten times as long."""
    return 0 not in mask.tobytes()


def diagonals(matrices: Array) -> FloatArray:
    return matrices.diagonal(axis1=-2, axis2=-1)


def _checked(function: Callable[[FloatArray], Any], matrices: FloatArray) -> Any:
    """Return what a function of LAPACK finds. Raise LinAlgError if it fails, as NumPy does."""
    try:
        with np.errstate(invalid="raise"):
            return function(matrices)
    except FloatingPointError:
        raise LinAlgError("A matrix is singular or not positive definite") from None


def eigen(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of a symmetric matrix, ascending, and the eigenvectors."""
    values, vectors = _checked(_eigen, matrix)
    return values, vectors


def invert_lower(factors: Array) -> FloatArray:
    """Invert lower triangular matrices by halves, since NumPy can only invert general matrices."""
    d = factors.shape[1]
    if d <= _SMALL:
        inverses: FloatArray = _checked(_inverse, factors)
        np.copyto(inverses, 0.0, where=_above(d))  # in half of the time of `where`
        return inverses
    half = d // 2
    inverses = np.zeros_like(factors)
    first, last = invert_lower(factors[:, :half, :half]), invert_lower(factors[:, half:, half:])
    inverses[:, :half, :half], inverses[:, half:, half:] = first, last
    inverses[:, half:, :half] = -(last @ factors[:, half:, :half] @ first)
    return inverses


def factors_of(matrices: FloatArray) -> FloatArray:
    """Return the Cholesky factors. Large matrices are parted in halves.

    Raises LinAlgError if a matrix is not positive definite.
    """
    d = matrices.shape[1]
    if d < _FEW_ROWS:
        return np.asarray(_checked(_cholesky, matrices))
    half = d // 2
    factors = np.zeros_like(matrices)
    first = factors[:, :half, :half] = factors_of(matrices[:, :half, :half])
    # A product with the inverse of `first` would lose digits where its scales are far apart.
    left = np.linalg.solve(first, matrices[:, half:, :half].transpose(0, 2, 1)).transpose(0, 2, 1)
    factors[:, half:, :half] = left
    factors[:, half:, half:] = factors_of(matrices[:, half:, half:] - left @ left.transpose(0, 2, 1))
    return factors


def cholesky(matrices: FloatArray) -> FloatArray:
    """Return the Cholesky factors, or NaN for matrices that are not positive definite."""
    try:
        return factors_of(matrices)
    except LinAlgError:
        if len(matrices) == 1:
            return np.full_like(matrices, np.nan)
        return np.concatenate([cholesky(matrix[None]) for matrix in matrices])


def logarithms_of(roots: FloatArray) -> FloatArray:
    """Return what is left of each feature given those before it: log-deviations and coefficients, (m, ...).

    These are the factors of L D L' with ones on the diagonal of L. Features that are collinear stay so.

    IN the Cholesky factors of matrices
    """
    deviations = diagonals(roots)
    coefficients = (roots / deviations[:, None, :])[:, *_below(roots.shape[1])]
    return np.concatenate([np.log(deviations), coefficients], axis=1)


def from_logarithms(logarithms: FloatArray, d: int) -> FloatArray:
    """Return the matrices (m, d, d) of which these are the logarithms."""
    roots = np.empty((len(logarithms), d, d))
    roots[:] = identity(d)
    roots[:, *_below(d)] = logarithms[:, d:]
    roots *= np.exp(logarithms[:, None, :d])
    return np.asarray(roots @ roots.transpose(0, 2, 1))


@cache
def _below(d: int) -> tuple[Array, Array]:
    """Return the rows and the columns of what is below the diagonal."""
    rows, columns = np.tril_indices(d, -1)
    return read_only(rows), read_only(columns)


def spread(points: FloatArray, shares: FloatArray) -> FloatArray:
    """Return the sum over p and k of shares[p, k] (x_p - x_k)(x_p - x_k)', for points x (K, d).

    If no point is far, this is x' (D - S) x with S = shares + shares' and D = diag(S 1), three products. It
    cancels if points are farther apart than those that share. Then each gap is squared on its own.
    """
    points = points - np.add.reduce(points) / len(points)
    # The sum of all squares costs less, and is as a rule enough.
    if np.vdot(points, points) <= _NO_LOSS or every(np.square(points).sum(axis=1) <= _NO_LOSS):
        both = shares + shares.T
        sums = np.add.reduce(both, axis=1)
        return gram(points.T, (sums[:, None] * points - times(both, points)).T)
    total = np.zeros((points.shape[1], points.shape[1]))
    for point, own in zip(points, shares, strict=True):
        sharing = own > 0
        gaps = point - points[sharing]
        total += (gaps * own[sharing, None]).T @ gaps
    return total


def gram(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a @ b.T for (p, m) and (q, m), where m is large."""
    if a.size * len(b) <= _FEW:
        return np.asarray(a.dot(b.T))  # in half of the time that `@` takes for small ones
    total = np.zeros((len(a), len(b)))
    if max(total.shape) > _BLOCK:
        for i, j in product(range(0, len(a), _BLOCK), range(0, len(b), _BLOCK)):
            total[i : i + _BLOCK, j : j + _BLOCK] = gram(a[i : i + _BLOCK], b[j : j + _BLOCK])
        return total
    for part in _parts(a.shape[1], total.size):
        total += a[:, part] @ b[:, part].T
    return total


def times(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a @ b for (p, d) and (d, m), where m is large."""
    if a.size * b.shape[1] <= _FEW:
        return np.asarray(a.dot(b))
    product = np.empty((len(a), b.shape[1]), np.result_type(a, b))
    for part in _parts(b.shape[1], a.size):
        product[:, part] = a @ b[:, part]
    return product


def _parts(m: int, work: int) -> Iterator[slice]:
    step = max(1, _FEW // work)
    return (slice(start, start + step) for start in range(0, m, step))
