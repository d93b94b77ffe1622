"""Types that the package shares."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
Slab: TypeAlias = tuple[int, Array, Array]  # first row, rows (m, d), and their weights (m,) or none (0,)
CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]


class RawChunk(NamedTuple):
    """What a reader found, before any check."""

    where: str  # for messages: "chunk 3 of X"
    rows: Any
    weight: Any


class Chunk(NamedTuple):
    """Rows as they are stored, before any conversion."""

    where: str  # for messages: "X", "chunk 3 of X"
    rows: Array  # (m, d)
    weight: Array | None  # (m,)
