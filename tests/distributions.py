"""Distributions written by a user that the tests share."""

import numpy as np
from scipy.special import gammaln, xlogy

import fastem


class Poisson(fastem.Distribution):
    """As `distribution="poisson"`."""

    def log_density(self, X, parameters):
        rates = parameters["rates"]
        terms = xlogy(X[:, None, :], rates) - rates - gammaln(X + 1)[:, None, :]
        return terms.sum(axis=2)

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X

    def maximise(self, statistics, parameters):
        weights, sums = statistics
        return {"rates": sums / weights[:, None]}

    def n_parameters(self, k, d):
        return k * d

    def sample(self, parameters, labels, rng):
        return rng.poisson(parameters["rates"][labels])


class Normal(fastem.Distribution):
    """As `covariance_type="diag"` with `reg_covar=0`."""

    def log_density(self, X, parameters):
        means, variances = parameters["means"], parameters["variances"]
        squares = (X[:, None, :] - means) ** 2 / variances
        return -0.5 * (squares + np.log(2 * np.pi * variances)).sum(axis=2)

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X, responsibilities.T @ X**2

    def maximise(self, statistics, parameters):
        weights, first, second = statistics
        means = first / weights[:, None]
        return {"means": means, "variances": second / weights[:, None] - means**2}

    def n_parameters(self, k, d):
        return 2 * k * d
