"""Checks of single values that users pass. Messages name the parameter, the rule, the value and a remedy."""

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fastem._typing import Array, FloatArray

_CHUNK = 65536
_LARGEST_INTEGER = 2**63 - 1  # what loops and NumPy count to


def in_words(error: Exception) -> str:
    """The message of an error of another library, as part of a sentence."""
    return str(error).strip().rstrip(".")


def row_ranges(n: int) -> Iterator[slice]:
    """Ranges of rows that are small enough for a check to need hardly any memory."""
    return (slice(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK))


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or array of SciPy."""
    return hasattr(value, "toarray") and hasattr(value, "nnz")


def is_iterable(value: Any) -> bool:
    """Whether a value can be iterated over. An array of no dimension says that it can, and cannot."""
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) != 0


def check_numeric(value: Any, name: str) -> Array:
    """Return an array of real numbers. If `value` is one already, it is not copied."""
    if is_sparse(value):
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
        raise ValueError(
            f"{name} must be an array of numbers; its rows differ in length: {in_words(error)}."
        ) from None
    objects = array.dtype.kind == "O"
    if array.dtype.kind in "US" or (objects and any(isinstance(one, (str, bytes)) for one in array.flat)):
        raise TypeError(
            f"{name} must hold real numbers; got strings. If they are numbers, convert them with "
            f"numpy.asarray({name}, float)."
        )
    if objects:
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(
                f"{name} must hold real numbers; got dtype object and {in_words(error)}."
            ) from None
    if array.dtype.kind not in "fiub":
        parts = array.dtype.kind == "c" and array.ndim == 2
        remedy = " Pass the real and imaginary parts as two features." if parts else ""
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.{remedy}")
    return array


def check_finite(name: str, value: Any) -> FloatArray:
    """Return a float64 copy of finite numbers, in C order, since kernels are compiled for that alone."""
    array = check_numeric(value, name).astype(np.float64, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {array}.")
    return array


def check_responsibilities(responsibilities: Any, n_samples: int, k: int, name: str) -> Array:
    """Return responsibilities (n, k), which are at least 0 and sum to 1 in each row."""
    array = check_numeric(responsibilities, name)
    if array.shape != (n_samples, k):
        raise ValueError(
            f"{name} must have shape ({n_samples}, {k}), rows by components; got shape {array.shape}."
        )
    for rows in row_ranges(n_samples):
        chunk = array[rows]
        bad = ~((chunk >= 0).all(axis=1) & (np.abs(chunk.sum(axis=1) - 1) <= 1e-3))
        if bad.any():
            row = rows.start + int(np.argmax(bad))
            raise ValueError(
                f"{name} must be at least 0 and sum to 1 in each row; row {row} "
                f"is {array[row]}. Divide each row by its sum."
            )
    return array


def check_integer(name: str, value: Any, least: int, remedy: str = "Pass a plain int.") -> int:
    rule = f"{name} must be an integer of at least {least}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{rule}; got {value!r}. {remedy}")
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{rule}; got {value!r} of type {type(value).__name__}. {remedy}") from None
    if integer < least:
        raise ValueError(f"{rule}; got {integer}. {remedy}")
    if integer > _LARGEST_INTEGER:
        raise ValueError(f"{rule} and below 2**63; got {integer}. {remedy}")
    return integer


def is_real(value: Any) -> bool:
    """Return whether a value is one number, neither complex nor a truth value."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def as_float(value: Any) -> float:
    """Return a real number as float64, in which an integer may be infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_nonnegative(name: str, value: Any, remedy: str) -> float:
    rule = f"{name} must be a finite number of at least 0"
    if not is_real(value):
        raise TypeError(f"{rule}; got {value!r}. {remedy}")
    number = as_float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{rule}; got {number}. {remedy}")
    return number


def check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def check_rng(rng: Any) -> np.random.Generator:
    """Follow SPEC 7: accept None, an int or anything else that `numpy.random.default_rng` takes."""
    return np.random.default_rng(check_seed(rng))


def check_seed(rng: Any) -> np.random.SeedSequence | np.random.Generator:
    """Return the generator, or the sequence of seeds from which `check_rng` makes one.

    Both spawn the same. A generator that does nothing else takes as long to make as a model.

    A RandomState gives the seed and goes on, as where scikit-learn draws from it. Generators of restarts need
    a sequence of seeds, which it has not.
    """
    rule = "rng must be None, an int or a numpy.random.Generator"
    if rng is np.random:
        raise TypeError(
            f"{rule}; got the module numpy.random, whose state is global. Pass np.random.default_rng(seed)."
        )
    if isinstance(rng, (bool, float, str)):
        raise TypeError(f"{rule}; got {rng!r}.")
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(0, 2**32, 4, np.uint32))
    try:
        is_seed = rng is None or isinstance(rng, (int, np.integer))
        return np.random.SeedSequence(rng) if is_seed else np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            "rng must be None, an int of at least 0 or a numpy.random.Generator; "
            f"got {rng!r} ({in_words(error)})."
        ) from None


def check_feature_names(names: Any, d: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != d or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names must be {d} strings, one for each feature; got {names!r}.")
    return tuple(names)


def check_features(parameter: str, features: Any, d: int, names: Sequence[str] | None) -> list[int]:
    """Return the numbers of features of a model, in the order given. One may stand for itself."""
    one = isinstance(features, (str, int, np.integer)) and not isinstance(features, bool)
    if one or (isinstance(features, np.ndarray) and features.ndim == 0):
        features = [features]
    if not isinstance(features, (Sequence, np.ndarray)) or len(features) == 0:
        raise TypeError(
            f"{parameter} must be a sequence of names or numbers of columns, at least one; got {features!r}."
        )
    columns = [check_feature(parameter, feature, d, names) for feature in features]
    if len(set(columns)) < len(columns):
        raise ValueError(f"{parameter} must name each column once; got {list(features)}.")
    return columns


def check_feature(parameter: str, feature: Any, d: int, names: Sequence[str] | None) -> int:
    """Return the number of a feature, which may be its name."""
    if isinstance(feature, str):
        if names is None:
            raise ValueError(
                f"{parameter} must be numbers of columns, from 0 to {d - 1}, since neither the model nor X "
                f"has names of columns; got {feature!r}."
            )
        if feature not in names:
            raise ValueError(f"{parameter} must be among {list(names)}; got {feature!r}.")
        return list(names).index(feature)
    column = check_integer(parameter, feature, 0, "Pass names or numbers of columns.")
    if column >= d:
        raise ValueError(f"{parameter} must be numbers of columns from 0 to {d - 1}; got {column}.")
    return column


def check_one_of(name: str, value: Any, allowed: Sequence[str], also: str = "") -> str:
    """Return one of the `allowed` names. `also` says in the message what else is allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}{also}; got {value!r}.")
    return value


def check_symmetric(called: str, covariances: FloatArray) -> None:
    gap = np.abs(covariances - np.swapaxes(covariances, -1, -2))
    size = np.sqrt(np.abs(np.diagonal(covariances, axis1=-2, axis2=-1)))
    if (gap > 1e-6 * size[..., :, None] * size[..., None, :]).any():
        raise ValueError(
            f"{called} must be symmetric; they differ from their transposes by up to {gap.max()}."
        )
