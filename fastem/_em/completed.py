"""A sample of rows with numbers in place of those that are missing, for what knows complete rows alone.

Starts need it: k-means and its geometries, and what looks for masses. A missing number is that of another
row, the nearest one by the numbers that both have (hot deck). So clusters stay apart, between which
conditional means under one distribution of all rows would put rows, and each number is one that its column
can have.
"""

import numpy as np

from fastem._families.matrices import times
from fastem._typing import Array, FloatArray, Rows

_DONORS = 1024  # rows that numbers are taken from
_BLOCK = 1 << 20  # distances that are computed at a time
# Many rows are equally near where columns hold few values. Chance then chooses one, by adding random numbers
# below this to the distances.
_TIE = 1e-6


def completed(rows: Rows, mean: FloatArray) -> Rows:
    """Return rows of a sample that have all numbers. They are the same if none is missing.

    A column without numbers in the sample has its `mean` (d,) over all rows.
    """
    missing = np.isnan(rows.X)
    if not missing.any():
        return rows
    rng = np.random.default_rng(0)  # so that whoever looks at the same rows sees the same numbers
    donors = rng.permutation(len(rows.X))[:_DONORS]
    X, scaled = rows.X.copy(), _scaled(rows.X)
    incomplete = np.flatnonzero(missing.any(axis=1))
    step = max(1, _BLOCK // len(donors))
    for start in range(0, len(incomplete), step):
        chosen = incomplete[start : start + step]
        distances = _distances(scaled[chosen], ~missing[chosen], scaled[donors], ~missing[donors])
        distances += _TIE * rng.random(distances.shape)
        for j in np.flatnonzero(missing[chosen].any(axis=0)).tolist():
            own, have = missing[chosen, j], donors[~missing[donors, j]]
            if len(have):
                nearest = distances[np.ix_(own, ~missing[donors, j])].argmin(axis=1)
                X[chosen[own], j] = rows.X[have[nearest], j]
            else:
                column = rows.X[~missing[:, j], j]
                X[chosen[own], j] = rng.choice(column, own.sum()) if len(column) else mean[j]
    return rows._replace(X=X)


def _scaled(X: Array) -> FloatArray:
    """Return the columns with the mean 0 and the variance 1, and 0 where a number is missing."""
    there = ~np.isnan(X)
    counts = np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, X, 0.0).astype(np.float64)
    centred = np.where(there, filled - filled.sum(axis=0) / counts, 0.0)
    deviations = np.sqrt(np.square(centred).sum(axis=0) / counts)
    return np.asarray(centred / np.where(deviations > 0, deviations, 1.0))


def _distances(one: FloatArray, there: Array, others: FloatArray, theirs: Array) -> FloatArray:
    """Return the mean squared difference of the numbers that two rows both have, (m, n), or 1 if none."""
    mine, its = there.astype(np.float64), theirs.astype(np.float64)
    shared = times(mine, its.T)
    squares = times(np.square(one), its.T) - 2 * times(one, others.T) + times(mine, np.square(others).T)
    return np.where(shared > 0, squares / np.maximum(shared, 1.0), 1.0)
