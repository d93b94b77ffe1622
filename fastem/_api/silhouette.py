"""Silhouettes (Rousseeuw 1987): how much nearer a row is to its own cluster than to the next one."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from fastem._api.missing import HOW_TO_FILL
from fastem._api.translations import advised
from fastem._checks import check_integer, check_rng, row_ranges
from fastem._kernels._parallel import run_slots
from fastem._kernels._silhouette import new_tiles, rows_of_tile, slot_distances
from fastem._kernels._threads import threads_allowed
from fastem._sources.checks import check_n_threads, check_sample_weight, check_X
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.tables import column_names
from fastem._typing import Array, ArrayLike, FloatArray, InMemory, RngLike, Rows, read_only

_PAIRS_OF_CALL = 200_000_000  # of each thread, a fifth of a second: Ctrl-C has to wait for a call
# In float32, squares of distances vanish below 1e-19 of the range, and numbers have 7 digits.
_FLOAT32_RANGE = 1e11  # over the smallest number
_FLOAT32_WEIGHTS = 1e6  # the largest weight over the smallest
# In float64, squares vanish below 1e-154 of the range.
_LEAST_DISTANCE = 1e-140
_WEIGHTS = 1e150


@advised()
def silhouette_samples(
    X: InMemory,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
) -> Array:
    """Silhouettes of all rows: near 1 deep inside a cluster, 0 between two, below 0 where another is nearer.

    With the mean Euclidean distance a(i) from row i to the other rows of its cluster, and the least mean
    distance b(i) to the rows of another cluster, the silhouette is (b(i) - a(i)) / max(a(i), b(i)). A row
    that is alone in its cluster has 0, and so has one for which both distances are 0.

    The result is exact and takes n**2 distances, but memory for a few copies of `X` only.

    Parameters
    ----------
    X : array or table of shape (n_samples, n_features)
        Rows in memory. float32 is computed in float32, with sums in float64, unless numbers or weights differ
        by so many powers of ten that distances would vanish. Anything else is computed in float64.
    labels : array of shape (n_samples,)
        The cluster of each row: at least two different integers, booleans or strings, and fewer of them than
        rows. All labels count alike. So a label such as -1, which some methods give to noise, is a cluster
        too: leave such rows out if it should not be one.
    sample_weight : array of shape (n_samples,), optional
        A row of weight w counts as w equal rows. So a mean over a cluster is weighted. With the distance
        d(i, j) and the weight W of the cluster of row i, a(i) = sum_j w_j d(i, j) / (W - 1): one of the w_i
        equal rows is left out, and its twins, at distance 0, are not. Where w_i < 1 there is no whole row to
        leave out, and it is w_i that W loses. So weights that are all equal to some w <= 1 change nothing.
        A row of weight 0 counts for no other row. Its own silhouette is that of a visitor.
    n_threads : int, optional
        Number of threads; by default numba's setting. The result has the same bits for any number.

    Returns
    -------
    array of shape (n_samples,)
        Numbers from -1 to 1, in float32 if `X` is, else in float64.

    Raises
    ------
    ValueError
        If shapes disagree, `X` is not finite, all labels are equal or all different, or rows or weights
        differ by so many powers of ten that float64 cannot hold the distances.
    TypeError
        If labels are neither integers nor strings, or `X` does not hold real numbers.

    References
    ----------
    Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of cluster analysis,
    Journal of Computational and Applied Mathematics 20, 53-65.

    Examples
    --------
    >>> fastem.silhouette_samples([[0.0], [1.0], [8.0], [9.0]], ["low", "low", "high", "high"]).round(3)
    array([0.882, 0.867, 0.867, 0.882])
    """
    rows = _checked(X, labels, sample_weight)
    _check_clusters(rows, "rows")
    values = _silhouettes(rows, check_n_threads(n_threads))
    return values.astype(rows.X.dtype) if rows.X.dtype == np.float32 else values


@advised()
def silhouette_score(
    X: InMemory,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    sample_size: int | None = None,
    rng: RngLike = None,
    n_threads: int | None = None,
) -> float:
    """The mean silhouette of all rows, or of a sample. Higher is better; at most 1.

    Parameters
    ----------
    X, labels, sample_weight, n_threads
        As for `silhouette_samples`. The mean is weighted.
    sample_size : int, optional
        Draw so many rows (of positive weight) without replacement, and leave out all others, from the means
        too. For millions of rows: the time grows with the square of the number of rows. If there are no more
        rows than that, all are taken.
    rng : None, int or numpy.random.Generator
        Draws the sample.

    Returns
    -------
    float
        The mean of `silhouette_samples`.

    Raises
    ------
    ValueError, TypeError
        As `silhouette_samples` does, also if the sample has fewer than two labels.

    Examples
    --------
    >>> round(fastem.silhouette_score([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1]), 3)
    0.875
    """
    rows = _checked(X, labels, sample_weight)
    generator = check_rng(rng)
    threads = check_n_threads(n_threads)
    _check_clusters(rows, "rows")
    if sample_size is not None:
        size = check_integer("sample_size", sample_size, 2, "Pass None to take all rows.")
        candidates = np.flatnonzero(rows.weights)
        if size < len(candidates):
            drawn = np.sort(generator.choice(len(candidates), size, replace=False, shuffle=False))
            rows = _at(rows, candidates[drawn])
            _check_clusters(rows, "drawn rows", f" Pass a larger sample_size than {size}.")
    values, weights = _silhouettes(rows, threads), rows.weights
    return float((values * weights).sum() / weights.sum())


def _checked(X: Any, labels: Any, sample_weight: Any) -> Rows:
    """Return the rows, with their weights and the number of the cluster of each."""
    array = check_X(X)
    codes = _codes_of(labels, len(array))
    weight = check_sample_weight(sample_weight, len(array))
    rows = Rows("X", 0, array, weight, codes, names=column_names(X))
    _check_weights(rows.weights)
    for part in row_ranges(len(array)):
        with np.errstate(over="ignore"):  # a longdouble may be too large for float64
            finite = np.isfinite(np.asarray(array[part], dtype=_dtype_of(array))).all()
        if not finite:
            raise_not_finite([rows], remedy=HOW_TO_FILL)
    return rows


def _check_weights(weights: FloatArray) -> None:
    least, most = _least_positive(weights), float(weights.max())
    if least < most / _WEIGHTS:
        raise ValueError(
            f"sample_weight must have positive values that differ by a factor of at most {_WEIGHTS:g}; they "
            f"range from {least:g} to {most:g}. Use 0 for rows that shall not count."
        )


def _least_positive(numbers: Array) -> float:
    return float(np.min(numbers, where=numbers > 0, initial=np.inf))


def _at(rows: Rows, chosen: Array) -> Rows:
    weight, labels = (None if known is None else known[chosen] for known in (rows.weight, rows.labels))
    return rows._replace(X=rows.X[chosen], weight=weight, labels=labels)


def _codes_of(labels: Any, n_samples: int) -> Array:
    """Return the clusters as numbers from 0."""
    rule = "labels must be integers or strings"
    if np.ma.is_masked(labels):
        raise ValueError(f"{rule}, without masked entries. Leave out rows without a label.")
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"labels must have shape ({n_samples},), one a row: {error}") from None
    if array.shape != (n_samples,):
        raise ValueError(f"labels must have shape ({n_samples},), one a row; got shape {array.shape}.")
    if array.dtype.kind == "O":
        for kind in (str, Integral):
            strange = [i for i, label in enumerate(array) if not isinstance(label, kind)]
            if not strange:
                break
        else:
            kinds = sorted({type(label).__name__ for label in array})
            raise TypeError(
                f"{rule}, all of one kind; got {' and '.join(kinds)}. Leave out rows without a label, and "
                "convert the others with labels.astype(str)."
            )
    elif array.dtype.kind == "f":
        bad = np.isnan(array)
        if bad.any():
            raise ValueError(
                f"{rule}; row {int(np.argmax(bad))} has {array[np.argmax(bad)]}. "
                "Leave out rows without a label."
            )
        raise TypeError(f"{rule}; got dtype {array.dtype}. Convert them with labels.astype(int).")
    elif array.dtype.kind not in "iubUST":
        raise TypeError(f"{rule}; got dtype {array.dtype}. Convert them with labels.astype(str).")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _check_clusters(rows: Rows, of: str, remedy: str = "") -> None:
    assert rows.labels is not None
    weights = rows.weights
    sizes = np.bincount(rows.labels, weights)
    counts = np.count_nonzero(sizes)
    positive = int(np.count_nonzero(weights))
    what = of if rows.weight is None else f"{of} of positive weight"
    if counts < 2:
        raise ValueError(
            f"labels must have at least 2 different values; got {counts} in {positive} {what}. "
            f"A silhouette compares a cluster with others.{remedy}"
        )
    if counts == positive and not weights.max() > 1:
        raise ValueError(
            f"labels must have fewer different values than there are rows; got {counts} in {positive} "
            f"{what}. A row alone in its cluster has no distance to the others of it.{remedy}"
        )


def _dtype_of(X: Array) -> type[np.floating[Any]]:
    return np.float32 if X.dtype == np.float32 else np.float64


class _Sorted(NamedTuple):
    """The rows in the order of their clusters, in units in which no square overflows or vanishes."""

    order: Array
    X: Array
    weight: Array


def _sorted(rows: Rows) -> _Sorted:
    assert rows.labels is not None
    order = np.argsort(rows.labels, kind="stable")
    X = np.array(rows.X[order], dtype=_dtype_of(rows.X), order="C")
    weight = rows.weights[order]
    half_range = float(np.max(X.max(axis=0) / 2 - X.min(axis=0) / 2))
    if X.dtype == np.float32 and (
        half_range > _FLOAT32_RANGE * _least_positive(np.abs(X))
        or weight.max() > _FLOAT32_WEIGHTS * _least_positive(weight)
    ):
        X = X.astype(np.float64)
    # Powers of two leave all digits as they are.
    np.ldexp(X, -int(np.frexp(half_range)[1]), out=X)
    np.ldexp(weight, -int(np.frexp(weight.max())[1]), out=weight)
    return _Sorted(order, X, weight)


def _silhouettes(rows: Rows, n_threads: int | None) -> FloatArray:
    assert rows.labels is not None
    order, X, weight = _sorted(rows)
    labels = rows.labels[order]
    totals = np.bincount(labels, weight)
    own, nearest = _distances(X, weight, labels, totals, n_threads)
    one = weight.max() / rows.weights.max()  # a row of weight 1, in the units of the scaled weights
    others = totals[labels] - np.minimum(weight, one)
    # The difference has no digits left where one row has nearly all of the weight.
    heavy = (weight <= one) & (weight > totals[labels] / 2)
    others[heavy] = np.bincount(labels, np.where(heavy, 0.0, weight))[labels[heavy]]
    a = np.divide(own, others, out=np.zeros_like(own), where=others > 0)
    most = np.maximum(a, nearest)
    near = (most < _LEAST_DISTANCE) & (others > 0)
    if near.any():
        _check_equal(rows, order, labels, near)
    values = np.zeros(len(order))
    values[order] = np.divide(nearest - a, most, out=np.zeros_like(a), where=(others > 0) & (most > 0))
    return values


def _check_equal(rows: Rows, order: Array, labels: Array, near: Array) -> None:
    """Raise an error unless these rows equal all rows of their own cluster and of another one."""
    X = np.asarray(rows.X[order], dtype=np.float64)
    counted = np.flatnonzero(rows.weights[order])
    starts = np.unique(labels[counted], return_index=True)
    low, high = (f.reduceat(X[counted], starts[1], axis=0) for f in (np.minimum, np.maximum))
    uniform = (low == high).all(axis=1)
    _, kind, times = np.unique(low[uniform], axis=0, return_inverse=True, return_counts=True)
    twins = dict(zip(starts[0][uniform], zip(low[uniform], times[kind.reshape(-1)] > 1, strict=True)))
    for i in np.flatnonzero(near):
        value, shared = twins.get(labels[i], (None, False))
        if not (shared and np.array_equal(X[i], value)):
            raise ValueError(
                f"X must have distances that float64 can tell from 0; those of row {order[i]} to its own and "
                f"to another cluster are less than {_LEAST_DISTANCE:g} of the range of X, which is from "
                f"{X.min():g} to {X.max():g}. Leave out outliers and codes for missing values."
            )


def _distances(
    X: Array, weight: FloatArray, labels: Array, totals: Array, n_threads: int | None
) -> tuple[FloatArray, FloatArray]:
    """Return the weighted sum of the distances in the own cluster, and the least mean to another."""
    n, tiles = len(X), new_tiles(X)
    per_tile = rows_of_tile(X)
    padded = np.full(len(tiles) * per_tile, -1)
    padded[:n] = labels
    bounds = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    fixed = (read_only(X), weight.astype(X.dtype), padded, bounds, totals)
    own, nearest, scratch = np.empty((3, len(padded)))
    threads = threads_allowed(n_threads)
    at_once = threads * max(1, _PAIRS_OF_CALL // (n * per_tile))
    for first in range(0, len(tiles), at_once):
        slots = min(at_once, len(tiles) - first)
        arguments = (tiles, *fixed, own, nearest, scratch, np.array([first]))
        run_slots(slot_distances, arguments, slots, n_threads)
    return own[:n], nearest[:n]
