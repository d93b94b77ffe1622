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

from fastem._families.conjugate import products
from fastem._families.constraints import Constraint
from fastem._families.frame import Frame
from fastem._families.given import Belief
from fastem._families.layouts import GaussianParameters, GaussianSums, Layout
from fastem._families.matrices import cholesky, diagonals, invert_lower
from fastem._families.rounding import hides, noise
from fastem._families.special import log_gamma, log_gamma_and_digamma, log_gamma_gain
from fastem._typing import FloatArray

_EPSILON = float(np.finfo(np.float64).eps)
_LEAST_WEIGHT = 10 * _EPSILON  # of a component, as in scikit-learn, so that it has a mean


class VariationalPosterior(NamedTuple):
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


class Expectations(NamedTuple):
    """What follows from a posterior."""

    log_weights: FloatArray  # (K,) expected
    log_precisions: FloatArray  # (m,) expected log-determinants of precisions, less those of inv(C)
    log_determinants: FloatArray  # (m,) of C, NaN unless it is positive definite
    roots: FloatArray  # (m, ...) matrices whose squares are inv(C), or numbers whose squares are 1 / C
    log_norm_of_weights: float  # logarithm of the Dirichlet's beta function, or the sum of those of sticks
    log_norms: FloatArray  # (m,) of Wishart distributions, without a power of pi (Bishop 2006, eq. B.79)
    logs: FloatArray  # expected logarithms of weights (1, K), or of sticks and of their rests (2, K)

    def offsets(self, posterior: VariationalPosterior) -> FloatArray:
        """Return what to add to the log-density of a component (K,) (Bishop 2006, eq. 10.64 to 10.66).

        That log-density is of a Gaussian with mean m and covariance C. The sum is the expected log-density.
        """
        d = posterior.means.shape[1]
        return np.asarray(self.log_weights + 0.5 * (self.log_precisions - d / posterior.mean_precisions))


def expectations_of(layout: Layout, posterior: VariationalPosterior) -> Expectations:
    d = posterior.means.shape[1]
    nu, concentrations = posterior.degrees_of_freedom, posterior.concentrations
    covariances = posterior.covariances
    process = len(concentrations) == 2
    totals = concentrations.sum(axis=0 if process else 1)
    halves = 0.5 * (nu[:, None] - np.arange(d))  # (nu + 1 - i) / 2 for the features i = 1 ... d
    parts = concentrations.size, concentrations.size + totals.size
    arguments = np.concatenate([concentrations.ravel(), totals, halves.ravel()])
    (gammas, gammas_of_totals, of_halves), (logs, logs_of_totals, digammas) = (
        np.split(values, parts) for values in log_gamma_and_digamma(arguments)
    )
    logs = logs.reshape(concentrations.shape) - logs_of_totals
    log_weights = logs[0] + np.append(0.0, np.cumsum(logs[1])[:-1]) if process else logs[0]
    if layout.matrices:
        roots = invert_lower(cholesky(covariances))
        log_determinants = -2 * np.log(diagonals(roots)).sum(axis=1)
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            roots = 1 / np.sqrt(covariances)
            log_determinants = np.log(layout.pivots(covariances, d)).sum(axis=1)
    of_halves = of_halves.reshape(halves.shape).sum(axis=1)
    log_norms = 0.5 * nu * (d * np.log(2 / nu) - log_determinants) + of_halves
    log_precisions = d * np.log(2 / nu) + digammas.reshape(halves.shape).sum(axis=1)
    norm = float(gammas.sum() - gammas_of_totals.sum())
    return Expectations(log_weights, log_precisions, log_determinants, roots, norm, log_norms, logs)


class VariationalGaussians:
    """Posteriors of Gaussians with one layout and constraint, given one prior."""

    def __init__(
        self, layout: Layout, constraint: Constraint, prior: Belief, process: bool, frame: Frame
    ) -> None:
        """`process` says whether the weights are those of a Dirichlet process."""
        self._layout, self._constraint, self._frame = layout, constraint, frame
        self.prior, self.process = prior, process
        self._last: tuple[VariationalPosterior, Expectations] | None = None
        nu = np.array([prior.degrees_of_freedom])
        one = VariationalPosterior(
            self._concentrations(np.zeros(1)), prior.mean[None], np.ones(1), nu, prior.scale / nu
        )
        log_norm = float(expectations_of(layout, one).log_norms[0])
        # An improper prior, of a column that is constant, has no normaliser.
        self._log_norm = log_norm if np.isfinite(log_norm) else 0.0

    def expectations(self, posterior: VariationalPosterior) -> Expectations:
        """Return what follows from a posterior. Each step of an iteration asks for the same ones."""
        if self._last is None or self._last[0] is not posterior:
            self._last = posterior, expectations_of(self._layout, posterior)
        return self._last[1]

    # --- what the E-step needs

    def gaussians(self, posterior: VariationalPosterior) -> tuple[GaussianParameters, FloatArray]:
        """Return Gaussians of weight 1, and what to add to their log-densities, (K,), for expected ones."""
        parameters = GaussianParameters(np.ones(len(posterior.means)), posterior.means, posterior.covariances)
        return parameters, self.expectations(posterior).offsets(posterior)

    def expected_log_likelihood(self, posterior: VariationalPosterior, sums: GaussianSums) -> float:
        """Return the expected log-likelihood of rows and labels, but for the constant of each row.

        IN sums about the means of the posterior
        """
        found = self.expectations(posterior)
        constants = found.offsets(posterior) - 0.5 * found.log_determinants
        return float(sums.weights @ constants - 0.5 * self._products(found, sums.scatter))

    # --- the M-step

    def update(self, sums: GaussianSums, added: FloatArray, entropy: float) -> VariationalPosterior:
        """Return the posterior given the sums of an E-step (Bishop 2006, eq. 10.58 to 10.63).

        `added` (d,) goes onto the variances of the rows of each component, as scikit-learn's reg_covar.
        `entropy` is that of the responsibilities.
        """
        prior, layout, constraint = self.prior, self._layout, self._constraint
        weights = sums.weights + _LEAST_WEIGHT
        shift = sums.first / weights[:, None]
        spread = constraint.estimate(sums._replace(weights=weights), shift, weights, None)
        precisions = prior.precision + weights
        gap = sums.means + shift - prior.mean
        pull = weights * prior.precision / precisions
        own = self._counts(weights, spread)
        scale = prior.scale + _along(own, spread) * (spread + layout.diagonal(added[None]))
        between = products(layout, gap * pull[:, None], gap) / (len(weights) / len(spread))
        scale = scale + (between / len(prior.mean) if layout.isotropic else between)
        nu = prior.degrees_of_freedom + own
        means = sums.means + shift - (prior.precision / precisions)[:, None] * gap
        covariances = scale / _along(nu, scale)
        found = VariationalPosterior(self._concentrations(weights), means, precisions, nu, covariances)
        return self._bounded(found, entropy)

    def _bounded(self, posterior: VariationalPosterior, entropy: float) -> VariationalPosterior:
        """Return a posterior with the lower bound: the entropy, and the log-normaliser in user units."""
        k, d = posterior.means.shape
        nu, found = posterior.degrees_of_freedom, self.expectations(posterior)
        wishart = k / len(nu) * (found.log_norms - nu * self._frame.log_scale).sum()
        normaliser = wishart + found.log_norm_of_weights - 0.5 * d * np.log(posterior.mean_precisions).sum()
        with np.errstate(invalid="ignore"):  # NaN if a covariance is singular, which `flaws` tells
            bounded = posterior._replace(lower_bound=float(entropy + normaliser))
        self._last = bounded, found
        return bounded

    def _counts(self, weights: FloatArray, covariances: FloatArray) -> FloatArray:
        """Return the weight behind each covariance (m,): if all share one, the mean of all weights."""
        return weights if len(covariances) == len(weights) else np.array([weights.mean()])

    def _concentrations(self, weights: FloatArray) -> FloatArray:
        if not self.process:
            return self.prior.concentration + weights[None]
        after = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)  # the weight of all later components
        return np.stack([1 + weights, self.prior.concentration + after])

    def flaws(
        self, posterior: VariationalPosterior, sums: GaussianSums, precision: float
    ) -> tuple[bool, bool]:
        """Return whether a covariance is not positive definite, and whether float32 may hide a variance."""
        singular = not np.isfinite(self.expectations(posterior).log_determinants).all()
        if precision <= _EPSILON:
            return singular, False
        d = posterior.means.shape[1]
        pivots = self._layout.pivots(posterior.covariances, d)
        variances = self._layout.variances(posterior.covariances, d)
        least = noise(variances, precision, 1.0)
        return singular, hides(pivots, least, variances, None if self._layout.centred else sums.means)

    def slack(self, posterior: VariationalPosterior, added: FloatArray) -> float:
        """Return how much of the bound, a row, an M-step may cost that adds `added` to variances.

        It raises the bound of rows that each have so much noise, which the E-step leaves out.
        """
        if not added.any():
            return 0.0
        precisions = np.square(self.expectations(posterior).roots)
        if self._layout.matrices:
            precisions = precisions.sum(axis=1)  # the diagonals
        traces = precisions @ added if precisions.ndim == 2 else precisions * added.sum()
        return 0.5 * float(traces.max())

    # --- the bound

    def divergence(self, posterior: VariationalPosterior) -> float:
        """Return the Kullback-Leibler divergence of the posterior from the prior."""
        prior, (k, d), found = self.prior, posterior.means.shape, self.expectations(posterior)
        nu, copies = posterior.degrees_of_freedom, k / len(posterior.degrees_of_freedom)
        ratio = prior.precision / posterior.mean_precisions
        log_precisions = found.log_precisions - found.log_determinants
        own = (nu - prior.degrees_of_freedom) * log_precisions - nu * d
        squares = prior.precision * self._distances(found, posterior.means - prior.mean)
        features = d if posterior.covariances.ndim == 1 else 1
        traces = copies * features * self._products(found, prior.scale)
        of_means = d * (ratio - 1 - np.log(ratio)).sum()
        norms = copies * (self._log_norm - found.log_norms).sum()
        halves = 0.5 * (of_means + squares + traces + copies * own.sum())
        return float(halves + norms + self._divergence_of_weights(posterior, found))

    def _divergence_of_weights(self, posterior: VariationalPosterior, found: Expectations) -> float:
        """Differences of normalisers are taken together, since each is as large as the concentration."""
        k, concentration, after = len(posterior.means), self.prior.concentration, posterior.concentrations
        before = self._concentrations(np.zeros(k))
        gains = after - before
        gain = float((gains * found.logs).sum())
        if self.process:
            # log B(1, a) - log B(1 + n, a + m) with log B(1, a) = -log(a)
            own, rest = after
            norms = log_gamma_gain(rest, own) - log_gamma(own) - np.log(concentration)
            return gain + float(norms.sum())
        total = log_gamma_gain(np.array([k * concentration]), np.array([gains.sum()]))
        return gain + float(total[0] - log_gamma_gain(before[0], gains[0]).sum())

    # --- algebra

    def _products(self, found: Expectations, spreads: FloatArray) -> float:
        """Return the sum of the traces of inv(C) S. The m or one S have the shape of C."""
        if not self._layout.matrices:
            return float((spreads * found.roots * found.roots).sum())
        return float(((found.roots @ spreads) * found.roots).sum())

    def _distances(self, found: Expectations, gaps: FloatArray) -> float:
        """Return the sum of x inv(C) x' for a point of each component (K, d)."""
        if self._layout.matrices:
            return float(np.square(found.roots @ gaps[:, :, None]).sum())
        roots = found.roots if found.roots.ndim == 2 else found.roots[:, None]
        return float(np.square(roots * gaps).sum())

    # --- coordinates

    def to_user(self, posterior: VariationalPosterior) -> VariationalPosterior:
        means, scale = self._frame.restore(posterior.means), self._frame.scale
        shape = self._layout.public_shape(*means.shape)
        covariances = self._layout.rescale(posterior.covariances, scale).reshape(shape)
        return posterior._replace(means=means, covariances=covariances)

    def from_user(self, posterior: VariationalPosterior) -> VariationalPosterior:
        means, scale = self._frame.standardise(posterior.means), self._frame.scale
        stacked = posterior.covariances.reshape(self._layout.shape(*means.shape))
        return posterior._replace(means=means, covariances=self._layout.rescale(stacked, 1 / scale))


def expected_mixture(posterior: VariationalPosterior) -> GaussianParameters:
    """Return the mixture of the expected weights, the expected means and the covariances C."""
    return GaussianParameters(posterior.weights, posterior.means, posterior.covariances)


def _along(numbers: FloatArray, arrays: FloatArray) -> FloatArray:
    """Return numbers (m,) in a shape that broadcasts with m arrays."""
    return numbers.reshape(-1, *(1,) * (arrays.ndim - 1))
