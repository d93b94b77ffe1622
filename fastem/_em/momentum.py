"""Momentum for k-means: Nesterov's extrapolation of Lloyd's steps, begun anew when the inertia grows.

A step of Lloyd goes to the means of the clusters, down the gradient of the inertia. Where that is slow, as
in one cloud without clusters, each next pass is made beyond the means, in the direction in which they have
moved (Nesterov 1983). If the inertia there is larger than before, the pass was in vain: the one at the means
follows, and momentum begins anew (O'Donoghue and Candes 2015). So the inertia never grows.
"""

from collections.abc import Sequence

from fastem._em.loop import StoppingRule
from fastem._families.centres import Centres
from fastem._families.steps import Maximised
from fastem._typing import FloatArray

_PLAIN = 3  # so many passes come before the first leap, so that short fits are Lloyd's


class Momentum:
    """The leaps of one run. It has the interface of `Squarem`."""

    def __init__(self, converged: StoppingRule) -> None:
        self._converged = converged
        self._centers: FloatArray | None = None  # of the clusters after the last pass
        self._steps = 1.0

    def leap(self, current: Maximised[Centres], means: Sequence[float]) -> Maximised[Centres] | None:
        """Return centers beyond the means of the clusters, or None for a step of Lloyd.

        A run ends with a step of Lloyd. So one is made as soon as it could end.
        """
        centers, before, steps = current.parameters.centers, self._centers, self._steps
        if current.reseeded or len(means) < _PLAIN or self._converged(means):
            self._centers = None
            return None
        self._centers = centers
        self._steps = (1 + (1 + 4 * steps * steps) ** 0.5) / 2 if before is not None else 1.0
        if before is None:
            return None
        beyond = centers + (steps - 1) / self._steps * (centers - before)
        return Maximised(current.parameters._replace(centers=beyond), [], [], [])

    def accept(self) -> None:
        """The inertia has fallen."""

    def reject(self, current: Maximised[Centres]) -> None:
        """The inertia has grown. The next pass is at the means of the clusters, and momentum begins anew."""
        self._centers = None

    def settled(self, means: Sequence[float], tol: float) -> bool:
        return True
