"""How much known noise each column has, summed over parts of the rows."""

from typing import NamedTuple

import numpy as np

from fastem._checks import row_ranges
from fastem._typing import FloatArray, Rows


class NoiseSize(NamedTuple):
    """Weighted sums over the rows in which a column is observed."""

    sums: FloatArray  # (d,) of the variances of the noise
    squares: FloatArray  # (d,) of their squares
    weights: FloatArray  # (d,)

    def __add__(self, other: "NoiseSize") -> "NoiseSize":  # type: ignore[override]
        with np.errstate(over="ignore"):
            return NoiseSize(*(one + more for one, more in zip(self, other, strict=True)))


NO_NOISE = NoiseSize(*np.zeros((3, 1)))


def noise_size(rows: Rows) -> NoiseSize:
    if rows.noise is None:
        return NO_NOISE
    total = NoiseSize(*np.zeros((3, rows.X.shape[1])))
    for chosen in row_ranges(len(rows.X)):
        part = rows.part(chosen)
        assert part.noise is not None
        noise = part.noise if part.noise.ndim == 2 else np.diagonal(part.noise, axis1=1, axis2=2)
        weights = np.where(np.isnan(part.X), 0.0, part.weights[:, None])
        with np.errstate(over="ignore"):
            own = weights * np.where(weights > 0, noise, 0.0)
            total += NoiseSize(own.sum(axis=0), np.square(own).sum(axis=0), weights.sum(axis=0))
    return total
