"""Rows that are held out of a fit. Which ones they are depends on the places of rows alone."""

from dataclasses import dataclass

import numpy as np

from fastem._typing import Array


@dataclass(frozen=True)
class Fold:
    """The rows with a random number from `low` to `high`, or all others.

    Each row has a number from 0 to 1 that is a function of its place and the seed, so none has to be kept.
    """

    seed: int
    low: float
    high: float
    others: bool = False

    def __call__(self, start: int, stop: int) -> Array:
        numbers = _uniform(np.arange(start, stop, dtype=np.uint64), np.uint64(self.seed))
        return np.asarray(((numbers >= self.low) & (numbers < self.high)) != self.others)


def _uniform(places: Array, seed: np.uint64) -> Array:
    """Return uniform random numbers in [0, 1) for these places (SplitMix64, Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = seed + (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) * 2.0**-53)
