"""SQUAREM: leaps along the path of EM where it converges slowly (Varadhan and Roland 2008, scheme S3).

Two steps of EM from the parameters x0 give x1 and x2. With r = x1 - x0 and v = (x2 - x1) - r, the path leads
to about x0 + 2 a r + a^2 v, where a = |r| / |v|: exactly so if all of the error shrinks at one rate. This is
x2 if a = 1. The E-step there is the first one of the next two steps, so a leap costs no pass. Only if the
log-likelihood there is lower than at x1, that E-step was in vain, and the one at x2 follows.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol

import numpy as np

from fastem._families.base import Family
from fastem._families.steps import Maximised, P

# Leaps begin after so many gains, if a gain is at least this part of the one before. So short fits are those
# of EM. Earlier leaps, or leaps at lower rates, made some fits of 13 to 20 iterations longer.
_GAINS = 8
_SLOW = 0.8
# The first limit of a. It grows when a leap that it limits succeeds, and shrinks when a leap fails.
_LIMIT, _GROWTH, _SHRINKAGE = 4.0, 4.0, 2.0
# Gains after a leap are no geometric series. So a run that leaps ends only if all of the last so many
# iterations together gained less than `tol`.
_WINDOW = 5


class Leaps(Protocol[P]):
    """What the loop asks of an acceleration."""

    def leap(self, current: Maximised[P], history: Sequence[float]) -> Maximised[P] | None: ...

    def accept(self) -> None: ...

    def reject(self, current: Maximised[P]) -> None: ...

    def settled(self, means: Sequence[float], tol: float) -> bool: ...


class Squarem(Generic[P]):
    """The leaps of one run."""

    def __init__(
        self, family: Family[P, Any], held: Callable[[P], P] = lambda parameters: parameters
    ) -> None:
        """`held` returns parameters with those that are fixed as they must be."""
        self._family, self._held = family, held
        self._path: list[P] = []  # parameters of successive steps since the last leap or repair
        self._floored: list[int] = []  # on all of the path
        self._leaping = False
        self._limit = _LIMIT
        self._limited = False  # whether the last leap was
        self._longest = 1.0  # the largest a that a leap has asked for

    def leap(self, current: Maximised[P], history: Sequence[float]) -> Maximised[P] | None:
        """Return parameters farther on the path to try in place of `current`, or None.

        IN the result of the last M-step, and the objective after each E-step
        """
        self._leaping = self._leaping or _is_slow(history)
        if not self._leaping:
            return None
        if current.reseeded or current.kept or current.floored != self._floored:
            self._path.clear()
            self._floored = current.floored
        self._path = [*self._path[-2:], current.parameters]
        return self._extrapolated(current) if len(self._path) == 3 else None

    def _extrapolated(self, current: Maximised[P]) -> Maximised[P] | None:
        x0, x1, x2 = map(self._family.to_vector, self._path)
        if x0 is None or x1 is None or x2 is None:
            return None
        r, v = x1 - x0, x2 - 2 * x1 + x0
        with np.errstate(all="ignore"):
            length = float(np.sqrt(np.square(r).sum() / np.square(v).sum()))
        if not length > 1:  # also if it is not a number, since nothing moves
            return None
        self._longest = max(self._longest, length)
        self._limited = length >= self._limit
        a = min(length, self._limit)
        parameters = self._family.from_vector(x0 + 2 * a * r + a * a * v, current.parameters)
        if parameters is None:
            self.reject(current)
            return None
        parameters = self._held(parameters)
        self._path = [parameters]
        return Maximised(parameters, [], [], current.floored, current.slack)

    def accept(self) -> None:
        """The last leap was a success."""
        if self._limited:
            self._limit *= _GROWTH

    def reject(self, current: Maximised[P]) -> None:
        """The last leap failed. The path goes on from the result of the M-step."""
        self._limit = max(_LIMIT / _SHRINKAGE, self._limit / _SHRINKAGE)
        self._path = [current.parameters]

    def settled(self, means: Sequence[float], tol: float) -> bool:
        """Return whether less than `tol` is still to gain, by the slowest rate that is known.

        An error that shrinks by the factor 1 - 1/a in a step of EM gains by the square of this factor. It may
        shrink faster for some steps after a leap, which leaves fast and slow parts in other proportions.
        """
        if not self._leaping:
            return True
        rate, gain = (1 - 1 / self._longest) ** 2, means[-1] - means[-2]
        # By rounding the rate may be 1. Then only a run that gains nothing has nothing left to gain.
        to_come_is_little = gain <= 0 or gain * rate < tol * (1 - rate)
        return to_come_is_little and means[-1] - means[-1 - min(_WINDOW, len(means) - 1)] < tol


def _is_slow(history: Sequence[float]) -> bool:
    if len(history) <= _GAINS:
        return False
    before, gain = history[-2] - history[-3], history[-1] - history[-2]
    return gain > 0 and gain >= _SLOW * before
