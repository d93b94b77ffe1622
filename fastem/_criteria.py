"""Criteria that compare mixtures."""

import math
from typing import NamedTuple


class Criterion(NamedTuple):
    field: str  # of a `Candidate`
    title: str
    lower_is_better: bool

    @property
    def better(self) -> str:
        return "lower" if self.lower_is_better else "higher"


CRITERIA = {
    "bic": Criterion("bic", "BIC", True),
    "icl": Criterion("icl", "ICL", True),
    "aic": Criterion("aic", "AIC", True),
    "held-out": Criterion("held_out", "held-out mean log-likelihood", False),
}


def bic_of(log_likelihood: float, n: float, n_parameters: int) -> float:
    """Return the Bayesian information criterion (Schwarz 1978) for n rows.

    With the classification log-likelihood it is the integrated completed likelihood.
    """
    return -2 * log_likelihood + n_parameters * math.log(n)


def aic_of(log_likelihood: float, n_parameters: int) -> float:
    """Return the Akaike information criterion (Akaike 1974)."""
    return -2 * log_likelihood + 2.0 * n_parameters
