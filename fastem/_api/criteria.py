"""Criteria that compare mixtures by their likelihood and their number of parameters. Lower is better."""

import math


def bic_of(log_likelihood: float, n: float, n_parameters: int) -> float:
    """Return the Bayesian information criterion (Schwarz 1978) for n rows.

    With the classification log-likelihood it is the integrated completed likelihood.
    """
    return -2 * log_likelihood + n_parameters * math.log(n)


def aic_of(log_likelihood: float, n_parameters: int) -> float:
    """Return the Akaike information criterion (Akaike 1974)."""
    return -2 * log_likelihood + 2.0 * n_parameters
