"""Every user-facing check and message: parameter, rule, value seen, remedy."""

import math
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from fastem._families.gaussian import FAMILIES
from fastem._sources.tables import as_table, column_names
from fastem._typing import Array, CovarianceType, FloatArray

_CHUNK = 65536
_LARGEST_WEIGHT = 1e30  # as sums of weights are taken in float32 too


def row_ranges(n: int) -> Iterator[slice]:
    """Row ranges small enough that a check needs no memory worth speaking of."""
    return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


INIT_NAMES = ("k-means++", "kmeans", "random", "random_from_data")


def check_X(
    X: Any,
    *,
    name: str = "X",
    n_features: int | None = None,
    feature_names: tuple[str, ...] | None = None,
    empty: bool = False,
) -> Array:
    """A 2-D real array with rows and columns; its values are checked by the pass that reads them.

    `n_features` and `feature_names` are those of the model that X is for.
    """
    array = _check_numeric(_check_table(X, name, feature_names), name)
    if array.ndim != 2:
        hint = f" Use {name}.reshape(-1, 1) for one feature." if array.ndim == 1 else ""
        raise ValueError(
            f"{name} must be 2-D, (n_samples, n_features); got {array.ndim}-D of shape {array.shape}.{hint}"
        )
    if array.shape[1] == 0 or (array.shape[0] == 0 and not empty):
        raise ValueError(f"{name} must have at least one row and one column; got shape {array.shape}.")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(f"{name} must have {n_features} features, as the model has; got {array.shape[1]}.")
    return array


def _check_table(X: Any, name: str, feature_names: tuple[str, ...] | None) -> Any:
    """X, or if it is a table its numbers, in columns of the names that the model was fitted to."""
    try:
        table = as_table(X)
    except ValueError as error:
        raise ValueError(f"{name} must have columns of different names: {error}") from None
    if table is None:
        return X
    for column, dtype in table.schema.items():
        if not (dtype.is_numeric() or str(dtype) in ("Boolean", "Object")):
            raise TypeError(
                f"{name} must hold real numbers; column {column!r} has type {dtype}. Drop or encode it."
            )
    names = column_names(X)
    if feature_names is not None and names is not None and names != feature_names:
        raise ValueError(
            f"{name} must have the columns {list(feature_names)}, as the model has, in this order; "
            f"got {list(names)}. Select them with {name}[list(model.feature_names)]."
        )
    return table.to_numpy()


def _check_numeric(value: Any, name: str) -> Array:
    """An array of real numbers: its own memory where it is one, a conversion where it is made of objects."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"{name} must be a dense array; got a sparse {type(value).__name__}. "
            f"Convert it with {name}.toarray()."
        )
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} must not have masked entries: the mask would be lost. Drop or fill them first."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers; its rows differ in length: {error}") from None
    if array.dtype.kind == "O":
        if any(isinstance(entry, (str, bytes)) for entry in array.flat):
            raise TypeError(
                f"{name} must hold real numbers; got strings. Convert them with {name}.astype(float)."
            )
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{name} must hold real numbers; got dtype object and {error}.") from None
    if array.dtype.kind not in "fiub":
        remedy = " Pass the real and imaginary parts as two features." if array.dtype.kind == "c" else ""
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.{remedy}")
    return array


def check_k(k: Any) -> int:
    return _check_integer("k", k, 1, "Pass the number of components.")


def check_enough_rows(k: int, n_samples: int, n_positive: int) -> None:
    if n_samples < k:
        raise ValueError(f"k must be at most the number of rows; got k={k} and {n_samples} rows.")
    if n_positive < k:
        raise ValueError(
            f"k must be at most the number of rows of positive weight; got k={k} and {n_positive} such rows."
        )


def _check_integer(name: str, value: Any, least: int, remedy: str) -> int:
    rule = f"{name} must be an integer of at least {least}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{rule}; got {value!r}. {remedy}")
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{rule}; got {value!r} of type {type(value).__name__}. {remedy}") from None
    if integer < least:
        raise ValueError(f"{rule}; got {integer}. {remedy}")
    return integer


def check_count(name: str, value: Any, least: int) -> int:
    return _check_integer(name, value, least, "Pass a plain int.")


def check_n_threads(value: Any) -> int | None:
    return None if value is None else _check_integer("n_threads", value, 1, "Pass None for numba's setting.")


def _check_nonnegative(name: str, value: Any, remedy: str) -> float:
    rule = f"{name} must be a finite number of at least 0"
    if isinstance(value, (str, bool)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{rule}; got {value!r}. {remedy}")
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{rule}; got {number}. {remedy}")
    return number


def check_tol(tol: Any) -> float:
    return _check_nonnegative("tol", tol, "It is the gain in mean log-likelihood at which to stop.")


def check_k_of_stream(k: Any, known: int | None) -> None:
    """k of `partial_fit`: needed for the first chunk, and the model's later."""
    if k is None and known is None:
        raise TypeError("k must be given while there is no model; pass it: partial_fit(None, chunk, k=...).")
    if k is not None and known is not None and k != known:
        raise ValueError(f"k must be that of the model, {known}; got {k!r}. Leave it out.")


def check_step(step: Any) -> float | None:
    if step is None:
        return None
    value = _check_nonnegative("step", step, "It is the share of the chunk.")
    if not 0 < value <= 1:
        raise ValueError(
            f"step must be more than 0 and at most 1; got {value}. It is the share of the chunk."
        )
    return value


def check_callback(callback: Any) -> None:
    if callback is not None and not callable(callback):
        raise TypeError(
            f"callback must be callable as callback(iteration, log_likelihood, model); got {callback!r}."
        )


def check_reg_covar(reg_covar: Any) -> float | None:
    """A number, or None for "auto"."""
    remedy = 'Pass "auto" for a millionth of each feature\'s variance.'
    if isinstance(reg_covar, str):
        if reg_covar != "auto":
            raise ValueError(f'reg_covar must be a number or "auto"; got {reg_covar!r}. {remedy}')
        return None
    return _check_nonnegative("reg_covar", reg_covar, remedy)


def check_covariance_type(value: Any) -> CovarianceType:
    if not isinstance(value, str) or value not in FAMILIES:
        raise ValueError(f"covariance_type must be one of {', '.join(map(repr, FAMILIES))}; got {value!r}.")
    return value  # type: ignore[return-value]


def check_sample_weight(sample_weight: Any, n_samples: int, k: int = 1) -> Array | None:
    """Weights of all rows, as they are."""
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_samples, "sample_weight")
    check_weight_totals(weights.sum(dtype=np.float64), weights.max())
    check_enough_rows(k, n_samples, int(np.count_nonzero(weights)))
    return weights


def check_weights(weights: Any, n_samples: int, name: str) -> Array:
    """Weights of these rows, as they are."""
    array = _check_numeric(weights, name)
    if array.shape != (n_samples,):
        raise ValueError(f"{name} must have shape ({n_samples},), one number a row; got shape {array.shape}.")
    for rows in row_ranges(n_samples):
        chunk = array[rows]
        bad = ~(np.isfinite(chunk) & (chunk >= 0))
        if bad.any():
            row = rows.start + int(np.argmax(bad))
            raise ValueError(
                f"{name} must be finite and at least 0; row {row} has {array[row]}. Use 0 to leave a row out."
            )
    return array


def check_weight_totals(total: float, largest: float) -> None:
    if not (total > 0 and math.isfinite(total)):
        raise ValueError(f"sample_weight must not be zero throughout, and its sum be finite; it is {total}.")
    if not 1 / _LARGEST_WEIGHT <= largest <= _LARGEST_WEIGHT:
        raise ValueError(
            f"sample_weight must have its largest value between {1 / _LARGEST_WEIGHT:g} and "
            f"{_LARGEST_WEIGHT:g}; got {float(largest)}. Multiply all weights by one number."
        )


def check_rng(rng: Any) -> np.random.Generator:
    """SPEC 7: None, an int or anything else `numpy.random.default_rng` takes."""
    if isinstance(rng, (bool, float, str)):
        raise TypeError(f"rng must be None, an int or a numpy.random.Generator; got {rng!r}.")
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, an int of at least 0 or a numpy.random.Generator; got {rng!r} ({error})."
        ) from None


def check_labels(labels: Array, n_samples: int, k: int) -> Array:
    if labels.shape != (n_samples,):
        raise ValueError(f"init labels must have shape ({n_samples},), one a row; got shape {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"init labels must be integers from 0 to k - 1; got dtype {labels.dtype}.")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= k:
        raise ValueError(f"init labels must lie from 0 to k - 1 = {k - 1}; got labels from {low} to {high}.")
    counts = np.zeros(k, np.int64)
    for rows in row_ranges(n_samples):
        counts += np.bincount(labels[rows].astype(np.intp), minlength=k)
    if (counts == 0).any():
        raise ValueError(
            f"init labels must use every component; component {int(np.argmin(counts))} of k={k} has no row."
        )
    return labels


def check_responsibilities(responsibilities: Array, n_samples: int, k: int) -> Array:
    if responsibilities.shape != (n_samples, k):
        raise ValueError(
            f"init responsibilities must have shape ({n_samples}, {k}), rows by components; "
            f"got shape {responsibilities.shape}."
        )
    for rows in row_ranges(n_samples):
        chunk = responsibilities[rows]
        bad = ~((chunk >= 0).all(axis=1) & (np.abs(chunk.sum(axis=1) - 1) <= 1e-3))
        if bad.any():
            row = rows.start + int(np.argmax(bad))
            raise ValueError(
                f"init responsibilities must be at least 0 and sum to 1 in each row; row {row} "
                f"is {responsibilities[row]}. Divide each row by its sum."
            )
    return responsibilities


def check_parameters(
    weights: Any, means: Any, covariances: Any, covariance_type: CovarianceType
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Copies in float64 of shapes that agree, finite, weights on the simplex, covariances symmetric."""
    arrays = []
    for name, value in (("weights", weights), ("means", means), ("covariances", covariances)):
        array = _check_numeric(value, name).astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite; got {array}.")
        arrays.append(array)
    w, mu, cov = arrays
    if w.ndim != 1 or len(w) == 0:
        raise ValueError(f"weights must have shape (k,) with k of at least 1; got shape {w.shape}.")
    if mu.ndim != 2 or len(mu) != len(w) or mu.shape[1] == 0:
        raise ValueError(
            f"means must have shape (k, d) with k = {len(w)} as in weights; got shape {mu.shape}."
        )
    if (w < 0).any() or abs(w.sum() - 1) > 1e-6:
        raise ValueError(
            f"weights must be at least 0 and sum to 1; got {w} with sum {w.sum()}. Divide them by their sum."
        )
    shape = FAMILIES[covariance_type].public_shape(*mu.shape)
    if cov.shape != shape:
        raise ValueError(
            f"covariances must have shape {shape} for covariance_type={covariance_type!r}, k={len(w)} and "
            f"d={mu.shape[1]}; got shape {cov.shape}."
        )
    if covariance_type in ("full", "tied"):
        gap = np.abs(cov - np.swapaxes(cov, -1, -2))
        size = np.sqrt(np.abs(np.diagonal(cov, axis1=-2, axis2=-1)))
        if (gap > 1e-6 * size[..., :, None] * size[..., None, :]).any():
            raise ValueError(
                f"covariances must be symmetric; they differ from their transposes by up to {gap.max()}."
            )
    return w, mu, cov


def check_columns(columns: Any) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns) or len(columns) == 0:
        raise TypeError(f"columns must be a sequence of names; got {columns!r}. Pass a list of strings.")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns must name each column once; got {list(columns)}.")
    return tuple(columns)


def check_cache_dir(cache_dir: Any) -> Path | None:
    if cache_dir is None:
        return None
    if not isinstance(cache_dir, (str, os.PathLike)):
        raise TypeError(f"cache_dir must be the path of a folder; got {cache_dir!r}.")
    try:
        TemporaryFile(dir=Path(cache_dir)).close()
    except OSError as error:
        raise ValueError(
            f"cache_dir must be a folder that exists and can be written to; got {str(cache_dir)!r}: {error}."
        ) from None
    return Path(cache_dir)


def check_feature_names(names: Any, d: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != d or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names must be {d} strings, one a column of means; got {names!r}.")
    return tuple(names)


def check_init(init: Any, n_samples: int, k: int) -> str | Array:
    """A name, checked labels or checked responsibilities."""
    if isinstance(init, str):
        if init not in INIT_NAMES:
            names = ", ".join(map(repr, INIT_NAMES))
            raise ValueError(
                f"init must be one of {names}, labels (n,), responsibilities (n, k) or a GaussianMixture; "
                f"got {init!r}."
            )
        return init
    array = _check_numeric(init, "init")
    if array.ndim == 1:
        return check_labels(array, n_samples, k)
    if array.ndim == 2:
        return check_responsibilities(array, n_samples, k)
    raise ValueError(
        f"init must be a name, labels of shape (n,), responsibilities of shape (n, k) or a GaussianMixture; "
        f"got {type(init).__name__} with {array.ndim} dimensions."
    )
