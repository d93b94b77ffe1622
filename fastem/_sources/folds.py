"""Rows that are held out of a fit. Which ones they are depends on the places of rows alone."""

from dataclasses import dataclass

import numpy as np

from fastem._typing import Array


@dataclass(frozen=True)
class Fold:
    """The rows of one of some folds, or a random share of all rows; or all others.

    Which rows, is a function of their places and the seed, so nothing has to be kept. Each run of as many
    rows as there are folds has one of each fold, in an order that is turned at random.
    """

    seed: int
    folds: float  # their number, or the share of the rows that is held out
    number: int = 0  # of this fold
    others: bool = False

    def __call__(self, start: int, stop: int) -> Array:
        places, seed = np.arange(start, stop, dtype=np.uint64), np.uint64(self.seed)
        if self.folds < 1:
            held = _uniform(places, seed) < self.folds
        else:
            runs, folds = places // np.uint64(self.folds), int(self.folds)
            turns = (_uniform(runs, seed) * folds).astype(np.uint64)
            held = (places + turns) % np.uint64(folds) == self.number
        return np.asarray(held != self.others)


def _uniform(places: Array, seed: np.uint64) -> Array:
    """Return uniform random numbers in [0, 1) for these places (SplitMix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = seed + (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) * 2.0**-53)
