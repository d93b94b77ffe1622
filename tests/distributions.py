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


RATES = np.array([[1.0, 20.0], [8.0, 5.0], [30.0, 0.3]])
MIXTURE = fastem.Mixture([0.5, 0.2, 0.3], {"rates": RATES}, Poisson(), n_features=2)
X, LABELS = MIXTURE.sample(3000, rng=0)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)


def start_of(distribution, rates=RATES + 1):
    return fastem.Mixture(MIXTURE.weights, {"rates": rates}, distribution, n_features=2)


def broken(method, function, base=Poisson):
    """A distribution one of whose methods is this function of itself and the arguments."""
    return type("Broken", (base,), {method: function})()
