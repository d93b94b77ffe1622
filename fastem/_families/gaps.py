"""Rows in which numbers are missing: what families with independent features share.

Given the component, such features tell nothing of each other. So a missing number drops out of the density,
and what is expected of it is what the component says.
"""

from typing import Any

import numpy as np

from fastem._typing import Array, FloatArray


def filled(X: Array, values: Array | float) -> Array:
    """Return rows with `values` in place of NaN. Without any NaN it is X itself."""
    missing = np.isnan(X)
    return np.where(missing, values, X).astype(X.dtype, copy=False) if missing.any() else X


def of_missing(X: Array, amounts: FloatArray) -> FloatArray:
    """Return the sum of the `amounts` (d,) of the features that each row lacks, (m,)."""
    total, missing = np.zeros(len(X)), np.isnan(X)
    if missing.any():
        for j, amount in enumerate(amounts):  # the bits of a matrix product would depend on where the row is
            total += missing[:, j] * amount
    return total


def expected(X: Array, responsibilities: Array, expectations: FloatArray) -> FloatArray:
    """Return float64 rows with expectations over the components in place of NaN.

    expectations (K, d) are those of each component.
    """
    return np.where(np.isnan(X), responsibilities @ expectations, X.astype(np.float64))


def drawn(
    family: Any, parameters: Any, X: Array, responsibilities: Array, rng: np.random.Generator
) -> FloatArray:
    """Return float64 rows with numbers drawn from the components in place of NaN.

    Each row has a component, of responsibility 1.
    """
    rows = family.sample(parameters, responsibilities.argmax(axis=1), rng)
    return np.where(np.isnan(X), rows, X.astype(np.float64))
