"""The posterior of a mixture of Gaussians in variational Bayes (Bishop 2006, section 10.2).

The weights have a Dirichlet distribution, or are those of a Dirichlet process, whose sticks have beta
distributions (Blei and Jordan 2006). The precision of a component has a Wishart distribution, and its mean
given the precision a Gaussian one. Priors are conjugate, so posteriors have the same forms.

Covariances of fewer parameters follow scikit-learn: variances have the expected log-determinant of a Wishart
distribution of the same degrees of freedom, one variance for all features is the mean of theirs, and a shared
covariance counts once for each component, with its share of the rows. The normaliser of each of these is
convex in its natural parameters, and the E-step uses its gradient. So iterations raise their bound too.

Letters: K components, d features, m covariances; alpha, beta, nu as in Bishop, V = inv(W) and C = V / nu.
"""

from typing import NamedTuple

import numpy as np

from fastem._families.constraints import Constraint
from fastem._families.frame import Frame
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.matrices import cholesky, invert_lower
from fastem._families.rounding import hides, noise
from fastem._families.special import digamma, log_gamma
from fastem._typing import FloatArray

_EPSILON = float(np.finfo(np.float64).eps)
_LEAST_WEIGHT = 10 * _EPSILON  # of a component, as in scikit-learn, so that it has a mean


class Hyperparameters(NamedTuple):
    """A prior, the same for all components."""

    process: bool  # whether the weights are those of a Dirichlet process
    concentration: float  # alpha_0, or the second parameter of all sticks
    mean: FloatArray  # (d,)
    mean_precision: float  # beta_0
    degrees_of_freedom: float  # nu_0
    scale: FloatArray  # V_0, (1, ...) in the shape of one covariance


class Posterior(NamedTuple):
    """The parameters of the posterior, in standard coordinates or in user units."""

    concentrations: FloatArray  # alpha (1, K), or both parameters of the sticks (2, K)
    means: FloatArray  # (K, d)
    mean_precisions: FloatArray  # beta (K,)
    degrees_of_freedom: FloatArray  # nu (m,)
    covariances: FloatArray  # C, in the shape of covariances of Gaussians
    # The bound when the M-step had found these, as scikit-learn defines it: in user units, without constants.
    lower_bound: float = -np.inf

    @property
    def weights(self) -> FloatArray:
        """The expected weights (K,). Those of sticks are scaled to sum to 1."""
        ones = self.concentrations[0]
        if len(self.concentrations) == 1:
            return np.asarray(ones / ones.sum())
        rest = self.concentrations[1]
        left = np.cumprod(np.concatenate([[1.0], (rest / (ones + rest))[:-1]]))
        weights = ones / (ones + rest) * left
        return np.asarray(weights / weights.sum())


class Conjugate:
    """Posteriors of Gaussians with one layout and constraint, given one prior."""

    def __init__(self, layout: Layout, constraint: Constraint, prior: Hyperparameters, frame: Frame) -> None:
        """The prior is in user units, and all else in the standard coordinates of the frame."""
        self._layout, self._constraint, self._frame = layout, constraint, frame
        scale = layout.rescale(prior.scale, 1 / frame.scale)
        self.prior = prior._replace(mean=frame.standardise(prior.mean), scale=scale)
        nu = np.array([prior.degrees_of_freedom])
        factor = self._log_wishart(nu, scale / nu)
        # An improper prior, of a column that is constant, has no normaliser.
        self._prior_factor = factor if np.isfinite(factor).all() else np.zeros(1)

    # --- what the E-step needs

    def gaussians(self, posterior: Posterior) -> GaussianParameters:
        """Return Gaussians of weight 1 whose log-densities, plus `offsets`, are the expected ones."""
        return GaussianParameters(np.ones(len(posterior.means)), posterior.means, posterior.covariances)

    def expectations(self, posterior: Posterior) -> GaussianParameters:
        """Return the mixture of the expected weights and means, and of the inverse expected precisions."""
        return GaussianParameters(posterior.weights, posterior.means, posterior.covariances)

    def expected_log_likelihood(self, posterior: Posterior, sums: GaussianSums) -> float:
        """Return the expected log-likelihood of rows and labels, but for the constant of each row.

        IN sums about the means of the posterior
        """
        d = posterior.means.shape[1]
        constants = offsets(posterior) - 0.5 * self._log_determinants(posterior.covariances, d)
        return float(sums.weights @ constants - 0.5 * self._products(posterior.covariances, sums.scatter).sum())

    # --- the M-step

    def update(self, sums: GaussianSums, added: FloatArray, entropy: float) -> Posterior:
        """Return the posterior given the sums of an E-step (Bishop 2006, eq. 10.58 to 10.63).

        `added` (d,) goes onto the variances of the rows of each component, as scikit-learn's reg_covar.
        `entropy` is that of the responsibilities.
        """
        prior, layout, constraint = self.prior, self._layout, self._constraint
        weights = sums.weights + _LEAST_WEIGHT
        shift = sums.first / weights[:, None]
        spread = constraint.estimate(sums._replace(weights=weights), shift, weights, None)
        precisions = prior.mean_precision + weights
        gap = sums.means + shift - prior.mean
        pull = weights * prior.mean_precision / precisions
        # What a constraint estimates from no scatter about another point is minus the squares of the gap.
        nothing = sums._replace(weights=pull, scatter=np.zeros_like(sums.scatter))
        between = -constraint.estimate(nothing, gap, pull, None)
        own = self._counts(weights, spread)
        scale = prior.scale + _along(own, spread) * (spread + layout.diagonal(added[None]))
        scale = scale + _along(self._counts(pull, spread), spread) * between
        nu = prior.degrees_of_freedom + own
        means = sums.means + shift - (prior.mean_precision / precisions)[:, None] * gap
        found = Posterior(self._concentrations(weights), means, precisions, nu, scale / _along(nu, scale))
        return found._replace(lower_bound=entropy + self._lower_bound(found))

    def _counts(self, weights: FloatArray, covariances: FloatArray) -> FloatArray:
        """Return the weight behind each covariance (m,): if all share one, the mean of those of components."""
        return weights if len(covariances) == len(weights) else np.array([weights.mean()])

    def _concentrations(self, weights: FloatArray) -> FloatArray:
        if not self.prior.process:
            return self.prior.concentration + weights[None]
        after = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)  # the weight of all later components
        return np.stack([1 + weights, self.prior.concentration + after])

    def flaws(self, posterior: Posterior, sums: GaussianSums, precision: float) -> tuple[bool, bool]:
        """Return whether a covariance is not positive definite, and whether float32 may hide a variance."""
        d = posterior.means.shape[1]
        pivots = self._layout.pivots(posterior.covariances, d)
        singular = not bool((pivots > 0).all())
        if precision <= _EPSILON:
            return singular, False
        variances = self._layout.variances(posterior.covariances, d)
        least = noise(variances, precision, 1.0)
        return singular, hides(pivots, least, variances, None if self._layout.centred else sums.means)

    def slack(self, posterior: Posterior, added: FloatArray) -> float:
        """Return how much of the bound, a row, an M-step may cost that adds `added` to variances.

        It raises the bound of rows that each have so much noise, which the E-step leaves out.
        """
        if not added.any():
            return 0.0
        noises = self._layout.diagonal(np.tile(added, (len(posterior.covariances), 1)))
        return float(0.5 * self._features(posterior) * self._products(posterior.covariances, noises).max())

    # --- the bound

    def divergence(self, posterior: Posterior) -> float:
        """Return the Kullback-Leibler divergence of the posterior from the prior."""
        prior, (k, d) = self.prior, posterior.means.shape
        beta, nu, covariances = posterior.mean_precisions, posterior.degrees_of_freedom, posterior.covariances
        ratio = prior.mean_precision / beta
        gaps = posterior.means - prior.mean
        squares = self._products(covariances, self._squares(gaps, np.ones(k))).sum()
        of_means = 0.5 * (prior.mean_precision * squares + d * (ratio - 1 - np.log(ratio)).sum())
        log_precision = d * np.log(2 / nu) + digamma(_halves(nu, d)).sum(axis=1)
        log_precision -= self._log_determinants(covariances, d)
        traces = self._features(posterior) * self._products(covariances, prior.scale)
        own = self._prior_factor - self._log_wishart(nu, covariances)
        own = own + 0.5 * ((nu - prior.degrees_of_freedom) * log_precision + traces - nu * d)
        return float(of_means + k / len(nu) * own.sum() + self._divergence_of_weights(posterior))

    def _divergence_of_weights(self, posterior: Posterior) -> float:
        before = self._concentrations(np.zeros(len(posterior.means)))
        after = posterior.concentrations
        expected = _expected_logs(after)
        gain = ((after - before) * expected).sum()
        return float(gain - _log_norm_of_weights(after) + _log_norm_of_weights(before))

    def _lower_bound(self, posterior: Posterior) -> float:
        """Return the log-normaliser of the posterior, in user units, without constants, as scikit-learn."""
        k, d = posterior.means.shape
        nu = posterior.degrees_of_freedom
        wishart = self._log_wishart(nu, posterior.covariances) - nu * self._frame.log_scale
        beta = 0.5 * d * np.log(posterior.mean_precisions).sum()
        return float(k / len(nu) * wishart.sum() + _log_norm_of_weights(posterior.concentrations) - beta)

    def _log_wishart(self, nu: FloatArray, covariances: FloatArray) -> FloatArray:
        """Return the log-normalisers (m,), without a power of pi (Bishop 2006, eq. B.79)."""
        d = len(self.prior.mean)
        root = -0.5 * (self._log_determinants(covariances, d) + d * np.log(nu))
        return np.asarray(nu * (root + 0.5 * d * np.log(2)) + log_gamma(_halves(nu, d)).sum(axis=1))

    # --- algebra

    def _log_determinants(self, covariances: FloatArray, d: int) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.log(self._layout.pivots(covariances, d)).sum(axis=1))

    def _products(self, covariances: FloatArray, spreads: FloatArray) -> FloatArray:
        """Return the trace of inv(C) S for each covariance (m,). The m or one S have the shape of C."""
        if not self._layout.matrices:
            return np.asarray((spreads / covariances).reshape(len(covariances), -1).sum(axis=1))
        inverses = invert_lower(cholesky(covariances))
        return np.einsum("kij,kij->k", inverses @ spreads, inverses)

    def _features(self, posterior: Posterior) -> int:
        """Return how many features one variance in the covariances stands for."""
        return posterior.means.shape[1] if posterior.covariances.ndim == 1 else 1

    def _squares(self, gaps: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the scatter, as passes sum it, of weighted points (K, d) about 0."""
        k = len(weights)
        nothing = np.zeros(self._layout.shape(*gaps.shape))
        sums = GaussianSums(gaps, weights, gaps, nothing)
        mean = -self._constraint.estimate(sums, gaps, weights, None)
        d = gaps.shape[1] if mean.ndim == 1 else 1
        total = weights if len(mean) == k else np.array([weights.sum()])
        return np.asarray(_along(total, mean) * mean * d)

    # --- coordinates

    def to_user(self, posterior: Posterior) -> Posterior:
        means, scale = self._frame.restore(posterior.means), self._frame.scale
        shape = self._layout.public_shape(*means.shape)
        covariances = self._layout.rescale(posterior.covariances, scale).reshape(shape)
        return posterior._replace(means=means, covariances=covariances)

    def from_user(self, posterior: Posterior) -> Posterior:
        means, scale = self._frame.standardise(posterior.means), self._frame.scale
        stacked = posterior.covariances.reshape(self._layout.shape(*means.shape))
        return posterior._replace(means=means, covariances=self._layout.rescale(stacked, 1 / scale))


def offsets(posterior: Posterior) -> FloatArray:
    """Return what to add to the log-density of a component (K,) (Bishop 2006, eq. 10.64 to 10.66).

    That log-density is of a Gaussian with mean m and covariance C. The sum is the expected log-density.
    """
    d = posterior.means.shape[1]
    nu = posterior.degrees_of_freedom
    log_precision = d * np.log(2 / nu) + digamma(_halves(nu, d)).sum(axis=1)
    log_weights = _expected_log_weights(posterior.concentrations)
    return np.asarray(log_weights + 0.5 * (log_precision - d / posterior.mean_precisions))


def _along(numbers: FloatArray, arrays: FloatArray) -> FloatArray:
    """Return numbers (m,) in a shape that broadcasts with m arrays."""
    return numbers.reshape(-1, *(1,) * (arrays.ndim - 1))


def _halves(nu: FloatArray, d: int) -> FloatArray:
    """Return (nu + 1 - i) / 2 for each feature i = 1 ... d, (m, d)."""
    return 0.5 * (nu[:, None] - np.arange(d))


def _expected_log_weights(concentrations: FloatArray) -> FloatArray:
    """Return the expected log-weights (K,) (Bishop 2006, eq. 10.66; Blei and Jordan 2006, section 4)."""
    logs = _expected_logs(concentrations)
    if len(logs) == 1:
        return np.asarray(logs[0])
    return np.asarray(logs[0] + np.concatenate([[0.0], np.cumsum(logs[1])[:-1]]))


def _expected_logs(concentrations: FloatArray) -> FloatArray:
    """Return the expected logarithms of the weights (1, K), or of the sticks and of their rests (2, K)."""
    axis = 1 if len(concentrations) == 1 else 0
    totals = concentrations.sum(axis=axis, keepdims=True)
    return np.asarray(digamma(concentrations) - digamma(totals))


def _log_norm_of_weights(concentrations: FloatArray) -> float:
    """Return the logarithm of the Dirichlet's beta function, or the sum of those of the sticks."""
    axis = 1 if len(concentrations) == 1 else 0
    return float(log_gamma(concentrations).sum() - log_gamma(concentrations.sum(axis=axis)).sum())
