"""A sample of rows in several geometries, in which k-means looks for clusters.

Which clusters k-means can find depends on how features are compared. Features in different units need a scale
each. Clusters along one axis need one scale for all features. Long clusters side by side need whitened rows,
or the direction in which they are apart.
"""

from functools import cache
from typing import Any

import numpy as np

from fastem._em.starts import centred, scaled_by
from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.matrices import eigen, gram, times
from fastem._kernels._kmeans import single
from fastem._sources.parts import part_of
from fastem._typing import FloatArray, Rows, read_only

# Where centres have more numbers than this, k-means compares rows in so many directions of most variance.
# With 128 features that takes a fourth of the time, and EM goes on with all of them.
_WIDE, DIRECTIONS = 2048, 32
# More clusters than this are not told apart along one direction.
MOST_ALONG = 32
# Rows of which there are the directions by which those of many features are whitened.
_MOMENT_ROWS = 2048
# Correlations below this part of the largest eigenvalue are noise, which whitening must not blow up.
_LEAST_EIGENVALUE = 1e-6
# Rows of more features than this are not whitened, since that takes d^3 operations. Neither are rows of more
# features than half the number of rows, which have no covariance to whiten by.
_MOST_WHITENED = 256
# Geometries whose variances differ less than this many times are the same to k-means. Where there are many
# clusters in many features, the variances between these shares count, as others are extreme by chance.
_ROUND, _MIDDLE = 1.5, (0.1, 0.9)


def geometries_of(
    rows: Rows, dtype: np.dtype[np.floating], family: Family[Any, Any], frame: Frame, k: int
) -> tuple[list[FloatArray], FloatArray]:
    """Return the rows as up to k clusters are looked for, (d, m) or fewer features, and their weights (m,).

    First with a scale for each feature, then whitened, then with one scale for all, which alone depends on
    units. If k-means cannot tell these apart, the first comes twice. Last comes only the direction of least
    kurtosis, in which clusters are apart most (Pena and Prieto 2001). It is an eigenvector of the fourth
    moments of Cardoso (1989). Many clusters in many features are not looked for in one direction, and the
    whitened rows have some directions only.
    """
    geometries, weights = _geometries_of(rows, dtype, family, frame, k)
    return [*map(single, geometries)], weights


def _geometries_of(
    rows: Rows, dtype: np.dtype[np.floating], family: Family[Any, Any], frame: Frame, k: int
) -> tuple[list[FloatArray], FloatArray]:
    points, variances, weights = centred(rows, dtype, family, frame)
    scaled = scaled_by(points, variances)
    if len(scaled) == 1:
        return [scaled, scaled], weights
    geometries = [scaled]
    if (frame.scale != frame.scale[0]).any():
        one_scale = frame._replace(scale=np.full_like(frame.scale, frame.scale.max()))
        points, variances, _ = centred(rows, dtype, family, one_scale)
    d, m = scaled.shape
    many = k > MOST_ALONG and d > DIRECTIONS and _is_wide(k, d)
    low, high = np.quantile(variances, _MIDDLE) if many else (variances.min(), variances.max())
    units = [scaled_by(points, variances.mean())] if high > _ROUND * low else []
    total = weights.sum()
    if d > min(_MOST_WHITENED, m // 2):
        return [scaled, *units, scaled], weights
    if many:
        return [scaled, _whitened_directions(single(scaled), weights), *units, scaled], weights
    eigenvalues, directions = eigen(gram(scaled * weights, scaled) / total)
    deviations = _deviations(eigenvalues)
    whitened = times((directions / deviations).T, scaled)
    if eigenvalues[-1] > _ROUND * eigenvalues[0]:
        geometries.append(whitened)
    geometries += units
    if len(geometries) == 1:
        geometries.append(scaled)
    fourth = gram(whitened * (weights * np.square(whitened).sum(axis=0)), whitened) / total
    _, axes = eigen(fourth)
    return [*geometries, times(axes[:, :1].T, whitened)], weights


def _deviations(eigenvalues: FloatArray) -> FloatArray:
    least = _LEAST_EIGENVALUE * eigenvalues[-1]
    return np.asarray(np.sqrt(np.maximum(eigenvalues, least if least > 0 else 1.0)))


def _whitened_directions(points: FloatArray, weights: FloatArray) -> FloatArray:
    """Return points (d, m) in `DIRECTIONS` of the whitened ones, where no direction has more variance."""
    some = part_of(points.shape[1], _MOMENT_ROWS, np.random.default_rng(0))
    eigenvalues, directions = eigen(_covariance(points[:, some], weights[some]))
    whitening = (directions / _deviations(eigenvalues)) @ _any_directions(len(points))
    return times(whitening.T.astype(points.dtype), points)


@cache
def _any_directions(d: int) -> FloatArray:
    """Return `DIRECTIONS` orthonormal columns (d,) at random."""
    directions, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((d, DIRECTIONS)))
    return read_only(directions)


def _covariance(points: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the mean of x x' over points (d, m) with weights (m,)."""
    shares = (weights / weights.sum()).astype(points.dtype)
    return gram(points * shares, points)


def _is_wide(k: int, d: int) -> bool:
    return k * d > _WIDE


def projected(points: FloatArray, weights: FloatArray, k: int) -> FloatArray:
    """Return points (d, m) in the directions of most variance, (`DIRECTIONS`, m), if k centres are wide."""
    if len(points) <= DIRECTIONS or not _is_wide(k, len(points)):
        return points
    _, directions = eigen(_covariance(points, weights))
    return times(directions[:, -DIRECTIONS:].T.astype(points.dtype), points)


def stacked(geometries: list[FloatArray]) -> FloatArray:
    """Return geometries as one array (G, d, m), where those of fewer features have zeros for the others."""
    stack = np.zeros((len(geometries), *geometries[0].shape), np.float32)
    for points, own in zip(geometries, stack, strict=True):
        own[: len(points)] = points
    return stack
