"""Categories of columns: checks, arrays for files, and how values become codes, which are their ranks.

The categories of a column are different and sorted. They are float64, or text, which sources show as ranks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem._checks import check_finite, row_ranges
from fastem._typing import Array, FloatArray, Rows, read_only

# Categories that are whole numbers have a table of ranks if they span at most so many numbers.
_MOST_SPANNED = 1 << 16


# A group of columns has at most so many joint categories, as many as the first-level cache allows.
_JOINT = (32, 16, 8, 4, 1)
_CACHED_BYTES = 32 << 10


class Groups(NamedTuple):
    """Groups of columns whose joint categories a pass takes as one. G groups have G + 1 ends."""

    columns: tuple[int, ...]  # the first column of each group, and d
    rows: tuple[int, ...]  # the first row of each group in a table of joint categories, and their number


def groups_of(counts: list[int], bytes_of_row: int) -> Groups:
    """Return groups of columns with these numbers of categories."""
    found = Groups((), (0,))
    for most in _JOINT:
        columns, rows, size = [0], [0], 1
        for j, count in enumerate(counts):
            if j > columns[-1] and size * count > most:
                columns.append(j)
                rows.append(rows[-1] + size)
                size = 1
            size *= count
        found = Groups((*columns, len(counts)), (*rows, rows[-1] + size))
        if bytes_of_row * found.rows[-1] <= _CACHED_BYTES:
            break
    return found


def checked_list(categories: Any, d: int) -> list[Any]:
    """Return the categories of d columns as a list."""
    if isinstance(categories, (str, bytes)) or not hasattr(categories, "__len__") or len(categories) != d:
        raise ValueError(
            f"categories must have an entry for each column, {d}; got {categories!r}. "
            "Give a sequence of values for each."
        )
    return list(categories)


def checked_categories(values: Any, column: int) -> Array:
    """Return the categories of a column as float64 or text."""
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.array(array.tolist())
    array = array if array.dtype.kind == "U" else check_finite(f"categories of column {column}", array)
    if array.ndim != 1 or len(array) == 0 or (array[1:] <= array[:-1]).any():
        raise ValueError(
            f"categories must have at least one value in each column, sorted and each once; column {column} "
            f"has {array}."
        )
    return array


def arrays_of(categories: Sequence[Array]) -> dict[str, Array]:
    """Return the categories of all columns as arrays for a file."""
    texts = [values for values in categories if values.dtype.kind == "U"]
    numbers = [values for values in categories if values.dtype.kind != "U"]
    return {
        "sizes": np.array([len(values) for values in categories], np.int64),
        "are_text": np.array([values.dtype.kind == "U" for values in categories], bool),
        "texts": np.concatenate([np.empty(0, "U1"), *texts]),
        "numbers": np.concatenate([np.empty(0), *numbers]),
    }


def categories_from(arrays: Mapping[str, Array]) -> list[Array]:
    """Return the categories that `arrays_of` wrote. Raise an error if they are none."""
    if not {"sizes", "are_text", "texts", "numbers"} <= set(arrays):
        raise ValueError("its categories are missing")
    sizes, are_text = arrays["sizes"], arrays["are_text"].astype(bool)
    if sizes.ndim != 1 or sizes.shape != are_text.shape or not (sizes > 0).all():
        raise ValueError("its columns have no categories")
    categories: list[Array] = [np.empty(0)] * len(sizes)
    for kind, name in ((True, "texts"), (False, "numbers")):
        chosen = np.flatnonzero(are_text == kind)
        if len(chosen) == 0:
            continue
        if len(arrays[name]) != sizes[chosen].sum():
            raise ValueError(f"its {name} are not those of the categories")
        for j, values in zip(chosen, np.split(arrays[name], np.cumsum(sizes[chosen])[:-1]), strict=True):
            categories[j] = checked_categories(values, int(j))
    return categories


def ranks_of_text(categories: Sequence[Array], dtype: np.dtype[Any]) -> list[Array]:
    """Return the categories of each column as sources show them: text is its rank."""
    return [
        (np.arange(len(values)) if values.dtype.kind == "U" else values).astype(dtype)
        for values in categories
    ]


def code_tables(
    categories: Sequence[Array], dtype: np.dtype[Any], missing: bool = False
) -> tuple[Array, Array, Array, Array, Array]:
    """Return what a pass needs to turn values into codes.

    These are `shift`, `values`, `consecutive`, `ranks` and `rank_starts` of `CategoricalParams`. With
    `missing` each column has one more code at the end, which the kernels give to NaN.
    """
    shifts, shifted, consecutive, ranks = [], [], [], []
    exact = 2 / np.finfo(dtype).eps  # up to this all whole numbers are numbers of the dtype
    for values in ranks_of_text(categories, dtype):
        whole = (values == np.floor(values)).all() and np.abs(values).max() < exact
        spanned = int(values[-1] - values[0]) + 1 if whole and values[-1] - values[0] < _MOST_SPANNED else 0
        shifts.append(values[0] if spanned else dtype.type(0))
        shifted.append(values - shifts[-1])
        consecutive.append(spanned == len(values))
        here = np.arange(spanned if spanned > len(values) else 0)
        ranks.append(np.searchsorted(shifted[-1], here))
        if missing:
            shifted[-1] = np.append(shifted[-1], dtype.type(np.inf))
            ranks[-1] = np.append(ranks[-1], len(values)) if len(here) else ranks[-1]
    arrays = (
        np.array(shifts, dtype),
        np.concatenate(shifted).astype(dtype),
        np.array(consecutive, np.int64),
        np.concatenate(ranks).astype(dtype),
        np.concatenate([[0], np.cumsum([len(rank) for rank in ranks])]).astype(np.int64),
    )
    return tuple(map(read_only, arrays))  # type: ignore[return-value]


def raise_unseen(rows: Rows, categories: Sequence[Array], missing: bool = False) -> NoReturn:
    """Raise an error that names the first value of a row with weight that is no category."""
    for chosen in row_ranges(len(rows.X)):
        X = rows.X[chosen]
        known = np.stack(
            [np.isin(X[:, j], v) for j, v in enumerate(ranks_of_text(categories, X.dtype))], axis=1
        )
        if missing:
            known |= np.isnan(X)
        if rows.weight is not None:
            known |= (rows.weight[chosen] == 0)[:, None]
        if not known.all():
            row, column = np.argwhere(~known)[0]
            value = X[row, column]
            rule, remedy = "be finite", "Drop or impute such rows"
            if np.isfinite(value):
                rule = "hold the categories that the fit saw"
                remedy = "Drop such rows, or fit to rows with all categories"
            raise ValueError(
                f"{rows.where} must {rule}; row {rows.start + chosen.start + row}, column "
                f"{rows.column(column)} is {value}. {remedy}."
            )
    raise AssertionError("the kernel found a value that is no category")


def drawn_codes(probabilities: FloatArray, labels: Array, rng: np.random.Generator) -> Array:
    """Draw a category from the component of each label, given probabilities (K, C)."""
    ends = np.cumsum(probabilities, axis=1)[labels]
    # No draw is beyond the last category that has a probability, whatever the rounding.
    draws = rng.random(len(labels)) * ends[:, -1]
    return np.asarray((draws[:, None] >= ends[:, :-1]).sum(axis=1))


def part(probabilities: FloatArray, component: int, heaviest: int) -> None:
    """Split the heaviest component in two, which differ in the column whose second category is commonest."""
    probabilities[component] = probabilities[heaviest]
    if probabilities.shape[2] < 2:
        return
    j = int(np.argmax(np.sort(probabilities[heaviest], axis=1)[:, -2]))
    second, first = np.argsort(probabilities[heaviest, j], kind="stable")[-2:]
    step = 0.5 * probabilities[heaviest, j, second]
    for part, sign in ((component, 1), (heaviest, -1)):
        probabilities[part, j, first] += sign * step
        probabilities[part, j, second] -= sign * step
