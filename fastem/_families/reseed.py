"""Components without rows of their own: which they are, and how they start anew."""

from collections.abc import Callable

import numpy as np

from fastem._typing import Array, FloatArray

# A component lighter than this part of an average row has no rows of its own.
_DEAD = 1e-3


def alive_components(weights: FloatArray, mean_row_weight: float) -> Array:
    """Which components have rows of their own, (K,) of bool."""
    return np.asarray(weights > _DEAD * mean_row_weight)


def reseed(
    weights: FloatArray, dead: Array, reseeds: int | None, split: Callable[[int, int], None]
) -> tuple[list[int], list[int]]:
    """Give each dead component half of the heaviest one: at most `reseeds` of them, all if None.

    `split(component, heaviest)` parts the parameters; the weights are parted here, in place. Returns which
    components start anew, and which stay as they are.
    """
    components = [int(component) for component in np.flatnonzero(dead)]
    reseeded = components[:reseeds]
    for component in reseeded:
        heaviest = int(np.argmax(weights))
        split(component, heaviest)
        weights[component] = weights[heaviest] = (weights[heaviest] + weights[component]) / 2
    return reseeded, components[len(reseeded) :]
