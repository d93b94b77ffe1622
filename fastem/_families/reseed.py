"""Components without rows of their own: how to find and re-seed them."""

from collections.abc import Callable

import numpy as np

from fastem._typing import Array, FloatArray

# A component has no rows of its own if its weight is at most this part of the weight of an average row.
LEAST_ROWS = 1e-3


def alive_components(weights: FloatArray, mean_row_weight: float) -> Array:
    """Return which components have rows of their own, (K,) of bool."""
    return np.asarray(weights > LEAST_ROWS * mean_row_weight)


def reseed(
    weights: FloatArray, dead: Array, reseeds: int | None, split: Callable[[int, int], None]
) -> tuple[list[int], list[int]]:
    """Give half of the heaviest component to each dead component, but to at most `reseeds` if that is given.

    `split(component, heaviest)` splits the parameters. This function splits the weights in place. It returns
    the components that were re-seeded and those that stay as they are.
    """
    if not dead.any():
        return [], []
    components = [int(component) for component in np.flatnonzero(dead)]
    reseeded = components[:reseeds]
    for component in reseeded:
        heaviest = int(np.argmax(weights))
        split(component, heaviest)
        weights[component] = weights[heaviest] = (weights[heaviest] + weights[component]) / 2
    return reseeded, components[len(reseeded) :]
