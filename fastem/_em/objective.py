"""What EM raises: the log-likelihood of the rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic

from fastem._families.base import Family, Maximised, P, Rule
from fastem._families.frame import Frame
from fastem._families.statistics import Statistics
from fastem._sources.passes import Responsibilities, Source, Sweep


class Objective(ABC, Generic[P]):
    """A number that each iteration of EM raises, and the two steps that do so."""

    @abstractmethod
    def e_step(self, parameters: P) -> Statistics[Any]:
        """One pass over the rows."""

    @abstractmethod
    def m_step(self, statistics: Statistics[Any], reseeds: int | None) -> Maximised[P]:
        """The parameters that raise the objective; at most `reseeds` components without rows start anew."""

    @abstractmethod
    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        """That of all rows, for the parameters of this E-step."""

    @abstractmethod
    def value(self, statistics: Statistics[Any]) -> float:
        """The objective, for the parameters of this E-step."""


@dataclass(frozen=True)
class Likelihood(Objective[P]):
    """The log-likelihood of all rows of a source (Dempster, Laird and Rubin 1977)."""

    source: Source
    family: Family[P, Any]
    k: int
    frame: Frame
    reg_covar: float | None  # None: relative to the variance of each feature

    # The weighted sum of log h(x), which no iteration changes.
    base_measure: float = 0.0

    def e_step(self, parameters: P) -> Statistics[Any]:
        return self.source.reduce(self._sweep(parameters, None))

    def sums_given(self, about: P | None, given: Responsibilities) -> Statistics[Any]:
        """The sums over known responsibilities, about some parameters."""
        return self.source.reduce(self._sweep(about, given))

    def _sweep(self, parameters: P | None, given: Responsibilities | None) -> Sweep:
        packed = self.family.pack(parameters, self.frame, self.source.dtype)
        return Sweep(self.family, self.k, packed, self.frame, given)

    def m_step(self, statistics: Statistics[Any], reseeds: int | None = None) -> Maximised[P]:
        return maximise(statistics, self.reg_covar, reseeds)

    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        return statistics.log_likelihood + self.base_measure

    def value(self, statistics: Statistics[Any]) -> float:
        return self.log_likelihood(statistics)


def maximise(
    statistics: Statistics[Any], reg_covar: float | None, reseeds: int | None = None, **stepwise: Any
) -> Maximised[Any]:
    """The M-step of maximum likelihood; `stepwise` are the fields of `Rule` for blended sums."""
    rule: Rule[Any] = Rule(
        statistics.frame,
        statistics.total_weight / statistics.n_samples,
        statistics.precision,
        reg_covar,
        reseeds,
        **stepwise,
    )
    return statistics.family.maximise(statistics.summed, rule)
