"""Types that the package shares, and those of what users pass."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
Float32Array: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
CovarianceType: TypeAlias = Literal[
    "full",
    "tied",
    "diag",
    "spherical",
    "EII",
    "VII",
    "EEI",
    "VEI",
    "EVI",
    "VVI",
    "EEE",
    "VEE",
    "EVE",
    "VVE",
    "EEV",
    "VEV",
    "EVV",
    "VVV",
]


class ArrowTable(Protocol):
    """A table of pandas, polars, pyarrow and others, by Arrow's protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class InterchangeTable(Protocol):
    """A table by the older protocol for dataframes."""

    def __dataframe__(self) -> Any: ...


# An array of numpy is none of the following, since it has no hash. So a type checker that knows no more of X
# than NDArray[Any] still finds one type for what is computed from it.
class ForeignArray(Protocol):
    """An array in memory of another library, such as a tensor."""

    def __hash__(self) -> int: ...
    def __dlpack__(self) -> Any: ...


class Store(Protocol):
    """An array on disk that can be sliced."""

    def __hash__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


class ChunkedStore(Protocol):
    """An array of h5py or zarr, which tells its chunks."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def chunks(self) -> Any: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


class Chunks(Protocol):
    """An iterable that can be read again. Its items are chunks, pairs (chunk, weights) or dicts."""

    def __hash__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class SupportsArray(Protocol):
    """Anything that numpy can make an array of, such as a series of pandas."""

    def __array__(self) -> Array: ...


class ArrowDataset(Protocol):
    """A ``pyarrow.dataset.Dataset``."""

    def get_fragments(self) -> Any: ...


class DaskCollection(Protocol):
    """A dask array or dataframe."""

    def __dask_graph__(self) -> Any: ...


Table: TypeAlias = ArrowTable | InterchangeTable
# Rows as lists of numbers or text. A tuple of two arrays would be a chunk with its weights.
Lists: TypeAlias = Sequence[list[Any] | tuple[float | str | np.generic, ...]]
# What is in memory. Scores of it are arrays.
InMemory: TypeAlias = Array | Lists | Table | ForeignArray
# What is read in chunks. Scores of it are iterators over arrays.
Chunked: TypeAlias = (
    ArrowDataset
    | Store
    | ChunkedStore
    | Chunks
    | Callable[[], Iterable[Any]]
    | Sequence[Array | Table | tuple[Any, Any] | dict[str, Any]]
)
# Scores of dask collections are lazy arrays, whose library may have no types. The file at a path decides
# whether it is read at once or in chunks.
PathLike: TypeAlias = str | os.PathLike[str]
Deciding: TypeAlias = DaskCollection | PathLike
DataLike: TypeAlias = InMemory | Chunked | Deciding
# A name must be one of few, and any text would be a npt.ArrayLike.
ArrayLike: TypeAlias = Array | list[Any] | tuple[Any, ...] | SupportsArray
# Numbers of the rows, or the name of a column of X.
RowsLike: TypeAlias = ArrayLike | DaskCollection | str | None
# Covariances or variances of the noise of rows, or the names of columns that have variances.
NoiseLike: TypeAlias = RowsLike | Sequence[str]
# What numpy.random.default_rng takes, and the generators of scikit-learn.
RngLike: TypeAlias = (
    int
    | np.integer[Any]
    | Sequence[int]
    | np.random.Generator
    | np.random.BitGenerator
    | np.random.SeedSequence
    | np.random.RandomState
    | None
)
ParametersLike: TypeAlias = Mapping[str, float | ArrayLike]


class Rows(NamedTuple):
    """Consecutive rows of X, and what is known about each of them."""

    where: str  # the name of these rows in messages: "X", "chunk 3 of X"
    start: int  # number of the first row
    X: Array  # (m, d) NaN is a number that is missing, where these may be
    weight: Array | None = None  # (m,)
    labels: Array | None = None  # (m,) the known component of each row, or -1 if it is unknown
    noise: Array | None = None  # known noise covariances (m, d, d) or variances (m, d)
    columns: Array | None = None  # (d,) the numbers of the columns, if they are not all of X
    names: tuple[str, ...] | None = None  # of the columns of X, for messages
    kept: Any = None  # a dict of what passes keep about the numbers of these rows, for the next one

    def part(self, chosen: slice | Array) -> "Rows":
        """Return some of these rows, with all that is known about them."""
        start = chosen.indices(len(self.X))[0] if isinstance(chosen, slice) else int(chosen[0])
        known = (None if array is None else array[chosen] for array in self[2:6])
        return Rows(self.where, self.start + start, *known, *self[6:8])  # type: ignore[arg-type,call-arg]

    def known(self) -> dict[str, Array]:
        """Return the arrays that are not None, by name. X comes first."""
        arrays = zip(self._fields[2:6], self[2:6], strict=True)
        return {name: array for name, array in arrays if array is not None}

    def column(self, j: int) -> str:
        """The name of a column in quotes, or its number in X if it has no name, for messages."""
        number = int(j if self.columns is None else self.columns[j])
        return str(number) if self.names is None else repr(self.names[number])

    @property
    def weights(self) -> FloatArray:
        """The weight of each row in float64, which is 1 unless it is given."""
        return np.ones(len(self.X)) if self.weight is None else self.weight.astype(np.float64)

    @property
    def total_weight(self) -> float:
        if self.weight is None:
            return float(len(self.X))
        return float(self.weight.sum(dtype=np.float64))

    def weighted_sum(self, values: Array) -> float:
        """The sum of numbers of the rows, each times the weight of its row: 0 times infinity is 0."""
        if self.weight is None:
            return float(values.sum(dtype=np.float64))
        return float((np.where(self.weight > 0, values, 0.0) * self.weight).sum(dtype=np.float64))


class RawChunk(NamedTuple):
    """One chunk as a reader found it, before any check."""

    where: str  # the name of the chunk in messages: "chunk 3 of X"
    rows: Any
    weight: Any = None
    labels: Any = None
    noise: Any = None


def read_only(array: Array) -> Array:
    """Return a view that kernels cannot write to. Kernels are compiled for such views only."""
    view = array.view()
    view.flags.writeable = False
    return view
