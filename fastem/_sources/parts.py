"""A part of the rows, at random."""

import numpy as np

from fastem._typing import Array


def part_of(m: int, wanted: int, rng: np.random.Generator) -> slice | Array:
    """Return where a part of m rows is: at least as many as are wanted, but fewer than twice as many.

    It has a random one of every few neighbours, since clusters may take turns in the order of the rows.
    """
    step = max(1, m // wanted)
    if step == 1:
        return slice(None)
    first = np.arange(0, m - step + 1, step)
    return np.asarray(first + rng.integers(step, size=len(first)))
