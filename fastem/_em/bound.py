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
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import GaussianParameters, GaussianSums
from fastem._families.statistics import Statistics
from fastem._families.steps import Maximised
from fastem._families.variational import VariationalGaussians, VariationalPosterior, expected_mixture
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
class VariationalBound(Objective[VariationalPosterior]):
    """A lower bound of the log-evidence: the entropy of the responsibilities, and what rows and prior say.

    It is one for full covariances. For the others see `variational`.
    """

    likelihood: Likelihood[GaussianParameters]
    posteriors: VariationalGaussians
    added: FloatArray  # (d,) onto variances in each M-step, in standard coordinates

    @property
    def family(self) -> Gaussian:
        assert isinstance(self.likelihood.family, Gaussian)
        return self.likelihood.family

    def packed(self, posterior: VariationalPosterior, dtype: np.dtype[Any]) -> Any:
        """Return the expected log-densities for a pass."""
        gaussians, offsets = self.posteriors.gaussians(posterior)
        return self.family.raised(self.family.pack(gaussians, self.likelihood.frame, dtype), offsets)

    def e_step(self, parameters: VariationalPosterior) -> Statistics[Any]:
        return self._told(parameters, self.likelihood.swept(partial(self.packed, parameters)))

    def _told(self, posterior: VariationalPosterior | None, statistics: Statistics[Any]) -> Statistics[Any]:
        """Return statistics with the entropy, and with the bound in place of the log-likelihood.

        If the responsibilities are not those of a posterior, there is no bound.
        """
        sums, entropy, bound = statistics.summed, -np.inf, -np.inf
        if posterior is not None:
            constant = self.family.log_constant(self.likelihood.frame) * sums.weights.sum()
            total = statistics.log_likelihood
            entropy = total - constant - self.posteriors.expected_log_likelihood(posterior, sums)
            bound = total - self.posteriors.divergence(posterior)
        repeat: Callable[[], Statistics[Any]] | None = statistics.again
        return replace(
            statistics,
            summed=Expected(sums, float(entropy)),
            log_likelihood=bound,
            again=None if repeat is None else lambda: self._told(posterior, repeat()),
        )

    def m_step(
        self, statistics: Statistics[Any], reseeds: int | None = None
    ) -> Maximised[VariationalPosterior]:
        """A component without rows gets the prior, and is never re-seeded."""
        expected: Expected = statistics.summed
        posterior = self.posteriors.update(expected.sums, self.added, expected.entropy)
        singular, imprecise = self.posteriors.flaws(posterior, expected.sums, statistics.precision)
        if (singular or imprecise) and statistics.again is not None:
            return self.m_step(statistics.again())
        if singular:
            raise Breakdown(
                "The covariance of a component is not positive definite. Pass a larger covariance of the "
                "prior, raise reg_covar, or leave out columns that are constant or collinear."
            )
        return Maximised(posterior, [], [], [], partial(self.posteriors.slack, posterior, self.added))

    def begin(
        self, start: Maximised[GaussianParameters], by_weight: bool = False
    ) -> Maximised[VariationalPosterior]:
        """Return the posterior given the responsibilities under known parameters.

        With `by_weight` the components of a Dirichlet process go by weight, as its prior expects them.
        """
        parameters = start.parameters
        if by_weight and self.posteriors.process:
            order = np.argsort(-parameters.weights, kind="stable")
            own = [array[order] if len(array) == len(order) else array for array in parameters]
            parameters = GaussianParameters(*own)
        return self.m_step(self._told(None, self.likelihood.e_step(parameters)))

    def begin_given(self, init: Array) -> Maximised[VariationalPosterior]:
        """Return the posterior given labels (n,) or responsibilities (n, K)."""
        about = given_start(self.likelihood, init).parameters
        sums = self.likelihood.sums_given(about, responsibilities_of(init, self.likelihood.k))
        return self.m_step(self._told(None, sums))

    def plug_in_log_likelihood(self, posterior: VariationalPosterior) -> float:
        """Return the log-likelihood of all rows under the expectations. It takes a pass."""
        return self.likelihood.log_likelihood(self.likelihood.e_step(expected_mixture(posterior)))

    def log_likelihood(self, statistics: Statistics[Any]) -> float:
        return statistics.log_likelihood

    def value(self, statistics: Statistics[Any], parameters: VariationalPosterior) -> float:
        return statistics.log_likelihood
