"""Variational Bayes: a lower bound of the evidence, which EM raises with posteriors for parameters.

The E-step is that of the likelihood, with expected log-densities; the M-step finds posteriors from the same
sums (Bishop 2006, section 10.2).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem._em.objective import Likelihood, Objective
from fastem._em.starts import given_start, responsibilities_of
from fastem._families.base import Maximised
from fastem._families.layouts import GaussianParameters, GaussianSums
from fastem._families.posterior import Conjugate, Posterior
from fastem._families.statistics import Statistics
from fastem._report import Breakdown
from fastem._typing import Array, FloatArray


class Expected(NamedTuple):
    """What the M-step of the bound needs of an E-step."""

    sums: GaussianSums
    entropy: float  # of the responsibilities

    @property
    def weights(self) -> FloatArray:
        return self.sums.weights


@dataclass(frozen=True)
class VariationalBound(Objective[Posterior]):
    """A lower bound of the log-evidence: the entropy of the responsibilities, and what rows and prior say.

    It is one for full covariances. For the others see `posterior`.
    """

    likelihood: Likelihood[GaussianParameters]
    conjugate: Conjugate
    added: FloatArray  # (d,) onto variances in each M-step, in standard coordinates

    def packed(self, posterior: Posterior, dtype: np.dtype[Any]) -> Any:
        """Return the expected log-densities for a pass."""
        family = self.likelihood.family
        gaussians, offsets = self.conjugate.gaussians(posterior)
        return family.raised(family.pack(gaussians, self.likelihood.frame, dtype), offsets)

    def e_step(self, parameters: Posterior) -> Statistics[Any]:
        return self._told(parameters, self.likelihood.swept(partial(self.packed, parameters)))

    def _told(self, posterior: Posterior | None, statistics: Statistics[Any]) -> Statistics[Any]:
        """Return statistics with the entropy, and with the bound in place of the log-likelihood.

        If the responsibilities are not those of a posterior, there is no bound.
        """
        sums, entropy, bound = statistics.summed, -np.inf, -np.inf
        if posterior is not None:
            constant = self.likelihood.family.log_constant(self.likelihood.frame) * sums.weights.sum()
            total = statistics.log_likelihood
            entropy = total - constant - self.conjugate.expected_log_likelihood(posterior, sums)
            bound = total - self.conjugate.divergence(posterior)
        repeat: Callable[[], Statistics[Any]] | None = statistics.again
        return replace(
            statistics,
            summed=Expected(sums, float(entropy)),
            log_likelihood=bound,
            again=None if repeat is None else lambda: self._told(posterior, repeat()),
        )

    def m_step(self, statistics: Statistics[Any], reseeds: int | None = None) -> Maximised[Posterior]:
        """A component without rows gets the prior, and is never re-seeded."""
        expected: Expected = statistics.summed
        posterior = self.conjugate.update(expected.sums, self.added, expected.entropy)
        singular, imprecise = self.conjugate.flaws(posterior, expected.sums, statistics.precision)
        if (singular or imprecise) and statistics.again is not None:
            return self.m_step(statistics.again())
        if singular:
            raise Breakdown(
                "The covariance of a component is not positive definite. Pass a larger covariance of the "
                "prior, raise reg_covar, or leave out columns that are constant or collinear."
            )
        return Maximised(posterior, [], [], [], self.conjugate.slack(posterior, self.added))

    def begin(self, start: Maximised[GaussianParameters]) -> Maximised[Posterior]:
        """Return the posterior given the responsibilities under known parameters."""
        return self.m_step(self._told(None, self.likelihood.e_step(start.parameters)))

    def begin_given(self, init: Array) -> Maximised[Posterior]:
        """Return the posterior given labels (n,) or responsibilities (n, K)."""
        about = given_start(self.likelihood, init).parameters
        sums = self.likelihood.sums_given(about, responsibilities_of(init, self.likelihood.k))
        return self.m_step(self._told(None, sums))

    def plug_in_log_likelihood(self, posterior: Posterior) -> float:
        """Return the log-likelihood of all rows under the expectations. It takes a pass."""
        mixture = GaussianParameters(posterior.weights, posterior.means, posterior.covariances)
        return self.likelihood.log_likelihood(self.likelihood.e_step(mixture))

    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        return statistics.log_likelihood

    def value(self, statistics: Statistics[Any]) -> float:
        return statistics.log_likelihood
