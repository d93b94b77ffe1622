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

# Leaps begin after so many gains, if a gain is at least this part of the one before, and if by Aitken's
# estimate EM needs more than so many iterations more. After a leap a run needs some iterations to see that it
# has ended, so leaps near the end would make fits longer. Those of few iterations are those of EM.
_GAINS = 12
_SLOW = 0.8
_LEFT = 10
# A rate below this part of the one before is falling.
_FALLING = 0.95
# The first limit of a. It grows when a leap that it limits succeeds, and shrinks when a leap fails.
_LIMIT, _GROWTH, _SHRINKAGE = 4.0, 4.0, 2.0
# Gains after a leap are no geometric series. So a run that leaps ends only if all of the last so many
# iterations together gained less than `tol`.
_WINDOW = 5


class Leaps(Protocol[P]):
    """What the loop asks of an acceleration."""

    def leap(self, current: Maximised[P], means: Sequence[float]) -> Maximised[P] | None: ...

    def accept(self) -> None: ...

    def reject(self, current: Maximised[P]) -> None: ...

    def settled(self, means: Sequence[float], tol: float) -> bool: ...


class Squarem(Generic[P]):
    """The leaps of one run."""

    def __init__(
        self, family: Family[P, Any], tol: float = 0.0, held: Callable[[P], P] = lambda parameters: parameters
    ) -> None:
        """`tol`: see `Limits`. `held` returns parameters with those that are fixed as they must be."""
        self._family, self._tol, self._held = family, tol, held
        self._path: list[P] = []  # parameters of successive steps since the last leap or repair
        self._floored: list[int] = []  # on all of the path
        self._leaping = False
        self._limit = _LIMIT
        self._limited = False  # whether the last leap was
        self._longest = 1.0  # the largest a that a leap has asked for

    def leap(self, current: Maximised[P], means: Sequence[float]) -> Maximised[P] | None:
        """Return parameters farther on the path to try in place of `current`, or None.

        IN the result of the last M-step, and the objective per row after each E-step
        """
        if current.reseeded or current.kept or current.floored != self._floored:
            self._path.clear()
            self._floored = current.floored
        self._path = [*self._path[-2:], current.parameters]
        self._leaping = self._leaping or _is_far(means, self._tol)
        return self._extrapolated(current) if self._leaping and len(self._path) == 3 else None

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


def _is_far(means: Sequence[float], tol: float) -> bool:
    """Return whether EM is slow, and has more than `_LEFT` iterations to go until less than `tol` is to come.

    Near its end EM gains by a sum of geometric series, and so the rate of its gains does not fall. Where it
    falls, EM still comes from elsewhere, and may be about to end.
    """
    if len(means) <= _GAINS:
        return False
    first, before, gain = (means[-i] - means[-i - 1] for i in (3, 2, 1))
    if gain <= 0 or gain < _SLOW * before or gain * first < _FALLING * before * before:
        return False
    # With the rate a, after n more iterations the gain is g a^n, and g a^(n + 1) / (1 - a) is to come.
    rate = gain / before if before > 0 else 1.0
    return rate >= 1 or gain * rate ** (_LEFT + 1) > tol * (1 - rate)
