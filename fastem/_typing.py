"""Types that the package shares."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
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


class Rows(NamedTuple):
    """Consecutive rows of X, and what is known about each of them."""

    where: str  # the name of these rows in messages: "X", "chunk 3 of X"
    start: int  # number of the first row
    X: Array  # (m, d)
    weight: Array | None = None  # (m,)
    labels: Array | None = None  # (m,) the known component of each row, or -1 if it is unknown
    observed: Array | None = None  # (m, d) False where a number is missing
    noise: Array | None = None  # known noise covariances (m, d, d) or variances (m, d)
    columns: Array | None = None  # (d,) the numbers of the columns, if they are not all of X

    def part(self, chosen: slice) -> "Rows":
        """Return some of these rows, with all that is known about them."""
        start, _, _ = chosen.indices(len(self.X))
        known = (None if array is None else array[chosen] for array in self[2:7])
        return Rows(self.where, self.start + start, *known, self.columns)  # type: ignore[arg-type,call-arg]

    def known(self) -> dict[str, Array]:
        """Return the arrays that are not None, by name. X comes first."""
        arrays = self._asdict()
        del arrays["where"], arrays["start"], arrays["columns"]
        return {name: array for name, array in arrays.items() if array is not None}

    def column(self, j: int) -> int:
        """The number of a column in X."""
        return int(j if self.columns is None else self.columns[j])

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


def read_only(array: Array) -> Array:
    """Return a view that kernels cannot write to. Kernels are compiled for such views only."""
    view = array.view()
    view.flags.writeable = False
    return view
