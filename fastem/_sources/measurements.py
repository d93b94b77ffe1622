"""Checks of the known noise of rows. Messages name the parameter, the rule, the row and a remedy."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastem._checks import check_numeric
from fastem._kernels._noise_check import slot_noise_check
from fastem._kernels._parallel import run_slots
from fastem._typing import Array, FloatArray, read_only

# Noise may miss the rules by rounding in its dtype: so many times the spacing of numbers at 1.
_ROUNDING = 64
_NUMBERS = 1 << 20  # of noise that are checked at a time
_SLOTS = 8  # to check noise that is in memory at once; threads share them


def names_of_noise(noise: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that have the variances of noise, or None if it is no names."""
    if isinstance(noise, str):
        return (noise,)
    if isinstance(noise, Sequence) and len(noise) and all(isinstance(name, str) for name in noise):
        return tuple(noise)
    return None


def check_noise(noise: Any, n_samples: int | None, d: int, name: str = "noise", slots: int = _SLOTS) -> Array:
    """Return variances (n, d) or covariances (n, d, d), or those of one row, (1, ...), that are of all rows.

    The values are read part by part, and never copied as a whole. n may not be known yet.
    """
    array = check_numeric(noise, name)
    if array.shape in ((d,), (d, d)):
        array = array[None]
    elif array.shape[1:] not in ((d,), (d, d)) or n_samples not in (None, len(array)):
        raise ValueError(_on_shape(array, n_samples, d, name))
    _check_values(array, name, slots)
    return array


def shape_of_noise(noise: Any, d: int, name: str) -> tuple[int, ...]:
    """Return the shape that noise has for one row, (d,) or (d, d)."""
    array = check_numeric(noise, name)
    if array.shape in ((d,), (d, d)):
        return array.shape
    if array.shape[1:] not in ((d,), (d, d)):
        raise ValueError(_on_shape(array, None, d, name))
    return array.shape[1:]


def noise_of_rows(noise: Array | None, start: int, stop: int) -> Array | None:
    """Return the noise of some rows, which is a view also if that of one row is of all."""
    if noise is None:
        return None
    if len(noise) == 1:
        return np.broadcast_to(noise, (stop - start, *noise.shape[1:]))
    return noise[start:stop]


def is_noisy(noise: Array | None) -> bool:
    """Return whether the noise of any row is more than 0."""
    if noise is None:
        return False
    noise = noise[:1] if noise.strides[0] == 0 else noise
    return any(bool(noise[rows].any()) for rows in _parts(noise))


def _parts(noise: Array) -> Iterator[slice]:
    """Yield ranges of rows, since a part may have to be converted."""
    step = max(1, _NUMBERS // noise[0].size) if len(noise) else 1
    return (slice(start, start + step) for start in range(0, len(noise), step))


def converted_noise(noise: Array) -> Array:
    """Return noise that kernels can read, in float64. That of one row, if it is of all, stays one."""
    if noise.strides[0] == 0:
        one = np.ascontiguousarray(noise[:1], dtype=np.float64)
        return read_only(np.broadcast_to(one, noise.shape))
    return read_only(np.ascontiguousarray(noise, dtype=np.float64))


def _on_shape(array: Array, n: int | None, d: int, name: str) -> str:
    rows = "n" if n is None else n
    hint = ""
    if d == 1 and array.ndim == 1:
        hint = f" For one feature, use {name}.reshape(-1, 1)."
    elif array.ndim == 2 and array.shape[1] != d:
        hint = f" X has {d} features; names of columns must be as many."
    return (
        f"{name} must have variances, of shape ({rows}, {d}), or covariances, ({rows}, {d}, {d}), one for "
        f"each row; or ({d},) or ({d}, {d}) for all rows; got shape {array.shape}.{hint} Square standard "
        "errors to get variances."
    )


def _check_values(noise: Array, name: str, slots: int) -> None:
    spacing = np.finfo(noise.dtype).eps if noise.dtype.kind == "f" else np.finfo(np.float64).eps
    tolerance = np.array([_ROUNDING * max(float(spacing), float(np.finfo(np.float64).eps))])
    for rows in _parts(noise):
        part = np.ascontiguousarray(noise[rows], dtype=np.float64)
        if part.ndim == 2:
            part = part[:, None]
        bad = np.zeros(slots, np.int64)
        run_slots(slot_noise_check, (read_only(part), tolerance, bad), slots, None)
        if bad.min() < len(part):
            first = int(bad.min())
            raise ValueError(_on_values(part[first], rows.start + first, name, tolerance[0]))


def _on_values(values: FloatArray, row: int, name: str, tolerance: float) -> str:
    """Say what is wrong with the noise of a row."""
    own = values[0] if len(values) == 1 else values
    variances = own if own.ndim == 1 else np.diagonal(own)
    if not np.isfinite(own).all():
        place = np.argwhere(~np.isfinite(own))[0].tolist()
        return (
            f"{name} must be finite; row {row} has {own[tuple(place)]} at {_listed(place)}. Put 0 where the "
            'value in X is missing; where it was not measured, put NaN into X, with missing="marginalise".'
        )
    if (variances < 0).any():
        j = int(np.argmax(variances < 0))
        return f"{name} must have variances of at least 0; row {row} has {variances[j]} for feature {j}."
    size = np.sqrt(np.outer(variances, variances))
    apart = np.abs(own - own.T)
    i, j = (int(place) for place in np.unravel_index(int(np.argmax(apart - tolerance * size)), apart.shape))
    if apart[i, j] > tolerance * size[i, j]:
        return (
            f"{name} must be symmetric; row {row} has {own[i, j]} at {_listed([i, j])} and {own[j, i]} at "
            f"{_listed([j, i])}. If they differ by rounding alone, take the mean with the transpose."
        )
    least = float(np.linalg.eigvalsh((own + own.T) / 2)[0])
    return (
        f"{name} must be positive semidefinite; that of row {row} is not: its least eigenvalue is "
        f"{least:.6g}. Check how covariances follow from correlations and standard errors; none may exceed "
        "the product of both errors."
    )


def _listed(place: Sequence[Any]) -> str:
    return "[" + ", ".join(str(int(one)) for one in place) + "]"


def joined(columns: Sequence[Array]) -> FloatArray:
    """Return variances (n, d) from the columns that have them."""
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
