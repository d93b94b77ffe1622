"""The objective that EM maximises: the log-likelihood of the rows, or the log-posterior."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

import numpy as np

from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.given import Belief, Conjugate, ConjugatePrior, Held
from fastem._families.once import computed_once
from fastem._families.statistics import Statistics
from fastem._families.steps import Maximised, P, Rule
from fastem._sources.passes import Responsibilities, Source, Sweep
from fastem._typing import Array

# Returns the parameters of a pass for rows of a dtype.
Pack = Callable[[np.dtype[Any]], Any]


class Objective(ABC, Generic[P]):
    """A number that each iteration of EM raises, and the E-step and the M-step that raise it."""

    @abstractmethod
    def e_step(self, parameters: P) -> Statistics[Any]:
        """Make one pass over the rows."""

    @abstractmethod
    def m_step(self, statistics: Statistics[Any], reseeds: int | None) -> Maximised[P]:
        """Return parameters that raise the objective. At most `reseeds` components are re-seeded.

        It passes over the rows once more, in float64, if float32 hides one of the new variances.
        """

    @abstractmethod
    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        """Return the log-likelihood of all rows under the parameters of this E-step."""

    @abstractmethod
    def value(self, statistics: Statistics[Any], parameters: P) -> float:
        """Return the objective for the parameters, which are those of this E-step."""

    def mean_before(self, start: Maximised[P]) -> list[float]:
        """Return the objective per row before the last M-step of a start, if that saw all rows, or []."""
        return []


@dataclass(frozen=True)
class Likelihood(Objective[P]):
    """The log-likelihood of all rows of a source (Dempster, Laird and Rubin 1977)."""

    source: Source
    family: Family[P, Any]
    k: int
    frame: Frame
    reg_covar: float | None  # None means relative to the variance of each feature

    # The weighted sum of log h(x). Iterations do not change it.
    base_measure: float = 0.0
    # Whether a singular component, unless it is a mass, makes a start lose against those without.
    sound_first: bool = True
    # Whether each row belongs to its likeliest component alone. Then the log-likelihood is that of the rows
    # and these components (classification EM, Celeux and Govaert 1992).
    hard: bool = False
    fixed: Held | None = None  # parameters that the M-step does not change
    constant: Array | None = None  # (d,) the features that are constant where they are observed

    def e_step(self, parameters: P) -> Statistics[Any]:
        return self._pass(parameters, None)

    def sums_given(self, about: P | None, given: Responsibilities) -> Statistics[Any]:
        """Return the sums over the rows with known responsibilities, about the parameters `about`."""
        return self._pass(about, given)

    def _pass(self, parameters: P | None, given: Responsibilities | None) -> Statistics[Any]:
        return self.swept(partial(self.family.pack, parameters, self.frame), given)

    def swept(self, pack: Pack, given: Responsibilities | None = None) -> Statistics[Any]:
        """Make a pass with what `pack` returns for a dtype."""
        packed = pack(self.source.dtype)
        again = None
        if self.family.working_dtype(packed) != np.float64:
            again = partial(self._in_float64, pack, given)
        sweep = Sweep(self.family, self.k, packed, self.frame, given, again, hard=self.hard)
        return self._reduced(sweep)

    def _in_float64(self, pack: Pack, given: Responsibilities | None) -> Statistics[Any]:
        packed = pack(np.dtype(np.float64))
        return self._reduced(Sweep(self.family, self.k, packed, self.frame, given, hard=self.hard))

    def _reduced(self, sweep: Sweep) -> Statistics[Any]:
        found = self.source.reduce(sweep)
        if found.total_weight > 0:
            return found
        # By chance a sample may have rows without numbers alone. Their sums leave all parameters as they are.
        return self.source.reduce(sweep._replace(blank=True))

    def m_step(self, statistics: Statistics[Any], reseeds: int | None = None) -> Maximised[P]:
        constant = self.constant if self.family.missing else None
        given = {"held": self.fixed, "prior": self.prior, "constant": constant, "total": self._total}
        if self.fixed is not None and (self.fixed.parameters.weights[self.fixed.of("weights")] == 0).any():
            reseeds = 0  # it would lose its rows again
        maximised = maximise(statistics, self.reg_covar, reseeds, **given)
        if maximised.imprecise and statistics.again is not None:
            maximised = maximise(statistics.again(), self.reg_covar, reseeds, **given)
        if self.fixed is None:
            return maximised
        return maximised._replace(parameters=self.held(maximised.parameters))

    @computed_once
    def _total(self) -> Any:
        moments = self.source.found_moments
        return None if moments is None else self.family.total(moments, self.frame)

    def held(self, parameters: P) -> P:
        """Return the parameters with those that are fixed as they were given."""
        if self.fixed is None:
            return parameters
        kept: P = self.fixed.kept(parameters, self.fixed.parameters)
        return kept

    @property
    def held_components(self) -> list[int]:
        """The components in which some parameter beside the weight is fixed, which cannot be re-seeded."""
        names = () if self.fixed is None else (*self.family.holdable,)
        held = [self.fixed.of(name) for name in names if self.fixed is not None]
        return [int(component) for component in np.flatnonzero(np.any(held, axis=0))] if held else []

    @property
    def prior(self) -> Conjugate | None:
        return None

    def log_prior(self, parameters: P) -> float:
        """Return what the objective has beside the log-likelihood."""
        return 0.0

    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        return statistics.log_likelihood + self.base_measure

    def value(self, statistics: Statistics[Any], parameters: P) -> float:
        return self.log_likelihood(statistics) + self.log_prior(parameters)

    def mean_before(self, start: Maximised[P]) -> list[float]:
        if start.before is None or start.before.rows < self.source.n_positive:
            return []
        return [start.before.mean + self.family.log_constant(self.frame)]


@dataclass(frozen=True)
class Posterior(Likelihood[P]):
    """The log-likelihood plus the log-density of a prior, up to a constant (Fraley and Raftery 2007)."""

    kind: ConjugatePrior = field(kw_only=True)
    belief: Belief = field(kw_only=True)

    @property
    def prior(self) -> Conjugate:
        return self.kind.of(self.belief, self.k)

    def log_prior(self, parameters: P) -> float:
        return self.kind.log_density(parameters, self.prior, self.frame)


def maximise(
    statistics: Statistics[Any], reg_covar: float | None, reseeds: int | None = None, **others: Any
) -> Maximised[Any]:
    """Make the M-step. `others` are fields of `Rule`, such as for blended sums and for what is known."""
    rule: Rule[Any] = Rule(
        statistics.frame,
        others.pop("mean_row_weight", statistics.total_weight / statistics.n_samples),
        statistics.precision,
        statistics.stored_precision,
        reg_covar,
        reseeds,
        **others,
    )
    return statistics.family.maximise(statistics.summed, rule)
