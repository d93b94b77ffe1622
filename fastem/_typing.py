"""Types that the package shares."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]


class Rows(NamedTuple):
    """Consecutive rows of X, and what is known about each of them."""

    where: str  # for messages: "X", "chunk 3 of X"
    start: int  # number of the first row
    X: Array  # (m, d)
    weight: Array | None = None  # (m,)
    labels: Array | None = None  # (m,) the known component of a row, -1 where it is unknown
    observed: Array | None = None  # (m, d) False where a number is missing
    noise: Array | None = None  # (m, d, d) or (m, d): known noise covariances or variances

    def part(self, chosen: slice) -> "Rows":
        """Some of these rows, with all that is known about them."""
        start, _, _ = chosen.indices(len(self.X))
        known = (None if array is None else array[chosen] for array in self[2:])
        return Rows(self.where, self.start + start, *known)  # type: ignore[arg-type]

    def known(self) -> dict[str, Array]:
        """The arrays that are there, by name, X first."""
        arrays = self._asdict()
        del arrays["where"], arrays["start"]
        return {name: array for name, array in arrays.items() if array is not None}

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
    """What a reader found, before any check."""

    where: str  # for messages: "chunk 3 of X"
    rows: Any
    weight: Any


def read_only(array: Array) -> Array:
    """A view that kernels cannot write to; they are compiled for such views only."""
    view = array.view()
    view.flags.writeable = False
    return view
