"""Checks of the known noise of rows. Messages name the parameter, the rule, the row and a remedy."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastem._checks import check_numeric
from fastem._kernels._noise_check import slot_noise_check
from fastem._kernels._parallel import run_slots
from fastem._sources.tables import as_table, numbers_of
from fastem._typing import Array, FloatArray, Rows, read_only

# Noise may miss the rules by rounding in its dtype: so many times the spacing of numbers at 1.
_ROUNDING = 64
_NUMBERS = 1 << 20  # of noise that are checked at a time
_SLOTS = 8  # to check noise that is in memory at once; threads share them
_SQUARE = " If each row of noise has the variances of a row of X, pass np.eye(d) * noise[:, None, :]."
_LARGE, _SMALL = 1e70, 1e-70  # variances whose products and quotients stay normal numbers


class OfRows:
    """Noise whose first axis is that of the rows, or has one entry for all of them.

    The noise of chunks and of columns is such. So a square of numbers is never taken for one covariance.
    """

    def __init__(self, values: Any, names: tuple[str, ...] = ()) -> None:
        """`names` are those of the columns that have the variances, if they come from columns."""
        self.values, self.names = values, names


def of_rows(noise: Any) -> OfRows:
    return noise if isinstance(noise, OfRows) else OfRows(noise)


def is_square(noise: Any, d: int) -> bool:
    """Return whether noise is taken for one covariance, and may be variances of d rows."""
    return not isinstance(noise, OfRows) and np.shape(noise) == (d, d)


def names_of_noise(noise: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that have the variances of noise, or None if it is no names."""
    if isinstance(noise, str):
        return (noise,)
    if isinstance(noise, Sequence) and len(noise) and all(isinstance(name, str) for name in noise):
        return tuple(noise)
    return None


def check_noise(
    noise: Any,
    n_samples: int | None,
    d: int,
    name: str = "noise",
    slots: int = _SLOTS,
    rows: Rows | None = None,
) -> Array:
    """Return variances (n, d) or covariances (n, d, d), or those of one row, (1, ...), that are of all rows.

    The values are read part by part, and never copied as a whole. n may not be known yet. `rows` may have
    numbers that are missing, if they are given. There the noise may be NaN.
    """
    array = shaped_noise(noise, n_samples, d, name)
    check_values(array, name, slots, rows)
    return array


def shaped_noise(noise: Any, n_samples: int | None, d: int, name: str = "noise") -> Array:
    """Return the same, with values that are not checked yet."""
    known = isinstance(noise, OfRows)
    if known and noise.names:
        check_names_of_noise(noise.names, d)
    array = _numbers(noise.values if known else noise, name, d)
    if not known and array.shape in ((d,), (d, d)):
        if array.ndim == 2:
            check_unambiguous(n_samples, d, name)
        return array[None]
    lengths = (None, 1, len(array)) if array.ndim else ()
    if array.shape[1:] not in ((d,), (d, d)) or (n_samples not in lengths and len(array) != 1):
        raise ValueError(_on_shape(array, n_samples, d, name, known))
    return array


def check_unambiguous(n_samples: int | None, d: int, name: str = "noise") -> None:
    """Raise an error if a square of numbers may be one covariance as well as the variances of d rows."""
    if n_samples == d > 1:
        raise ValueError(
            f"{name} must not have the shape ({d}, {d}) where X has {d} rows of {d} features: it may be one "
            f"covariance for all rows, or variances for each. Pass {name}[None] for one covariance, or "
            f"np.eye({d}) * {name}[:, None, :] for variances."
        )


def check_names_of_noise(names: tuple[str, ...], d: int) -> None:
    if len(names) != d:
        raise ValueError(
            f"noise must name a column of variances for each of the {d} features; got {list(names)}. Pass a "
            f"list of {d} names in the order of the features, which are all other columns of X unless you "
            "choose them with columns=[...]."
        )


def shape_of_noise(noise: Any, d: int, name: str) -> tuple[int, ...]:
    """Return the shape that noise has for one row, (d,) or (d, d)."""
    return shaped_noise(noise, None, d, name).shape[1:]


def noise_of_rows(noise: Array | None, start: int, stop: int) -> Array | None:
    """Return the noise of some rows, which is a view also if that of one row is of all."""
    if noise is None:
        return None
    if len(noise) == 1:
        return np.broadcast_to(noise, (stop - start, *noise.shape[1:]))
    return noise[start:stop]


def _parts(noise: Array) -> Iterator[slice]:
    """Yield ranges of rows, since a part may have to be converted."""
    step = max(1, _NUMBERS // noise[0].size) if len(noise) else 1
    return (slice(start, start + step) for start in range(0, len(noise), step))


def converted_noise(noise: Array) -> Array:
    """Return noise that kernels can read, in float64. That of one row, if it is of all, stays one.

    It is 0 where X is missing and the noise is NaN.
    """
    if noise.strides[0] == 0:
        one = np.ascontiguousarray(noise[:1], dtype=np.float64)
        return read_only(np.broadcast_to(one, noise.shape))
    return read_only(without_gaps(np.ascontiguousarray(noise, dtype=np.float64)))


def without_gaps(noise: Array) -> Array:
    """Return noise with 0 in place of NaN. It is a copy only if there is NaN."""
    gaps = np.isnan(noise)
    return np.where(gaps, 0, noise) if gaps.any() else noise


def _numbers(noise: Any, name: str, d: int) -> Array:
    """Return noise as an array, with NaN for nulls and masked entries."""
    if np.ma.is_masked(noise):
        noise = noise.astype(np.float64).filled(np.nan)
    table = as_table(noise, name)
    array = check_numeric(noise if table is None else numbers_of(table), name)
    if array.ndim == 0:
        raise ValueError(
            f"{name} must have a variance for each feature; got the number {array}. Pass np.full({d}, "
            f"{array}) for the same one in all rows and features."
        )
    return array


def _on_shape(array: Array, n: int | None, d: int, name: str, of_rows: bool) -> str:
    rows = "n" if n is None else n
    hint = ""
    if d == 1 and array.ndim == 1:
        hint = f" For one feature, use {name}.reshape(-1, 1)."
    elif array.ndim == 2 and array.shape[1] != d:
        hint = f" X has {d} features."
    one = f"(1, {d}) or (1, {d}, {d})" if of_rows else f"({d},) or (1, {d}, {d})"
    return (
        f"{name} must have variances, of shape ({rows}, {d}), or covariances, ({rows}, {d}, {d}), one for "
        f"each row; or {one} for all rows; got shape {array.shape}.{hint} Square standard errors to get "
        "variances."
    )


def check_values(noise: Array, name: str, slots: int = _SLOTS, rows: Rows | None = None) -> None:
    """Raise an error that names the first row whose noise can be no covariance.

    If there are `rows` to which it belongs, it may be NaN where they are.
    """
    spacing = np.finfo(noise.dtype).eps if noise.dtype.kind == "f" else np.finfo(np.float64).eps
    tolerance = np.array([_ROUNDING * max(float(spacing), float(np.finfo(np.float64).eps))])
    for chosen in _parts(noise):
        given = np.ascontiguousarray(noise[chosen], dtype=np.float64)
        part = given
        if rows is not None and len(rows.X) == len(noise):
            part = _observed(given, rows.X[chosen])
        checked = part[:, None] if part.ndim == 2 else _in_range(part)
        bad = np.zeros(slots, np.int64)
        run_slots(slot_noise_check, (read_only(checked), tolerance, bad), slots, None)
        if bad.min() < len(part):
            first = int(bad.min())
            row = chosen.start + first
            hint = _SQUARE if len(noise) == 1 else ""
            raise ValueError(_on_values(part[first], row, name, tolerance[0], rows, hint))


def _observed(noise: Array, X: Array) -> Array:
    """Return noise with 0 for what is missing in X, in the rows that have NaN."""
    gaps = np.isnan(noise)
    if not gaps.any():
        return noise
    absent = np.isnan(X)
    if noise.ndim == 3:
        absent = absent[:, :, None] | absent[:, None, :]
    own = gaps.any(axis=tuple(range(1, noise.ndim)), keepdims=True)
    return np.where(absent & own, 0.0, noise)


def _in_range(noise: Array) -> Array:
    """Return matrices whose products neither overflow nor underflow. They are correlations if need be."""
    variances = np.diagonal(noise, axis1=1, axis2=2)
    least = np.min(variances, initial=1.0, where=variances > 0)
    if _SMALL < least and np.max(variances, initial=0.0) < _LARGE:
        return noise
    return _correlations(noise)


def _correlations(noise: FloatArray) -> FloatArray:
    """Return matrices (..., d, d) in units of the deviations. Rows and columns of 0 stay."""
    variances = np.diagonal(noise, axis1=-2, axis2=-1)
    with np.errstate(all="ignore"):
        units = np.where((variances > 0) & np.isfinite(variances), np.sqrt(variances), 1.0)
        return np.asarray(noise / units[..., :, None] / units[..., None, :])


def _on_values(
    values: FloatArray, row: int, name: str, tolerance: float, rows: Rows | None, hint: str
) -> str:
    """Say what is wrong with the noise of a row."""
    variances = values if values.ndim == 1 else np.diagonal(values)
    column = str if rows is None or rows.names is None else rows.column
    if not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0].tolist()
        where = " and ".join(column(j) for j in dict.fromkeys(place))
        return (
            f"{name} must be finite; row {row} has {values[tuple(place)]} for column {where}. NaN is taken "
            'only where X is NaN too, with missing="marginalise". If a number was not measured, put NaN '
            "into X."
        )
    if (variances < 0).any():
        j = int(np.argmax(variances < 0))
        return (
            f"{name} must have variances of at least 0; row {row} has {variances[j]} for column {column(j)}."
        )
    correlations = _correlations(values)
    size = np.outer(variances > 0, variances > 0)
    apart = np.abs(correlations - correlations.T)
    i, j = (int(place) for place in np.unravel_index(int(np.argmax(apart - tolerance * size)), apart.shape))
    if apart[i, j] > tolerance * size[i, j]:
        return (
            f"{name} must be symmetric; row {row} has {values[i, j]} at [{i}, {j}] and {values[j, i]} at "
            f"[{j}, {i}]. If they differ by rounding alone, take the mean with the transpose."
            f"{hint}"
        )
    least = float(np.linalg.eigvalsh((correlations + correlations.T) / 2)[0])
    return (
        f"{name} must be positive semidefinite; that of row {row} is not: the least eigenvalue of its "
        f"correlations is {least:.6g}. Check how covariances follow from correlations and standard errors; "
        "none may exceed the product of both errors."
    )


def joined(columns: Sequence[Array], names: tuple[str, ...]) -> OfRows:
    """Return variances (n, d) from the columns that have them."""
    return OfRows(np.column_stack([np.asarray(column, dtype=np.float64) for column in columns]), names)
