"""Whole fits of small data: EM to convergence, from where an ascent ended.

The iterations are those of ascents, whose exponentials have errors of 1e-8. That hardly moves parameters, and
the log-likelihood is told exactly.
"""

import numpy as np

from fastem._kernels._ascent import FAILED, SETTLED
from fastem._kernels._ascent_mstep import first
from fastem._kernels._jit import kernel
from fastem._kernels._whole_race import go_on, singular

_HALF_LOG2_E = 0.5 / np.log(2.0)
_LN2 = np.log(2.0)
# Components whose responsibilities have at least this cosine may be equal (see `_em.saddles`).
_EQUAL = np.float64(0.99)
# The numbers of `_em.loop`, so that EM ends here as it does there: the mean log-likelihood is known up to so
# many rounding errors of a log-density, that of an ascent has the second as its error, and the last gain of
# an ascent counts if it is less than the third part of `tol`.
_ROUNDINGS, _ROUGH, _LITTLE = np.float64(64.0), np.float64(1e-8), np.float64(0.02)
_EPSILON = np.float64(2.0**-52)
_ONE = np.int64(1)


@kernel
def tell_mean(points, states, start, shares):
    """Return the mean log-density of points (d, n), without the constant of Gaussians.

    OUT shares (K + 1, K): the sums of products of responsibilities. Its last row is scratch.
    """
    (d, n), K, (_, M, _, C) = points.shape, shares.shape[1], states.whiteners.shape
    means, whiteners, total_log = states.means, states.whiteners, 0.0
    for k in range(K):
        for other in range(K):
            shares[k, other] = 0.0
    for b in range(n):
        peak = -np.inf
        for k in range(K):
            g, distance = k if M == K else 0, 0.0
            for i in range(d):
                low, z = first(i, C), 0.0
                for j in range(low, i + 1):
                    z += whiteners[start, g, i, j - low] * (points[j, b] - means[start, k, j])
                distance += z * z
            log = states.constants[start, k] - _HALF_LOG2_E * distance
            shares[K, k] = log
            peak = log if log > peak else peak
        total = 0.0
        for k in range(K):
            share = np.exp(_LN2 * (shares[K, k] - peak))
            shares[K, k] = share
            total += share
        total_log += peak * _LN2 + np.log(total)
        for k in range(K):
            for other in range(k + 1):
                shares[k, other] += shares[K, k] * shares[K, other] / (total * total)
    return total_log / n


@kernel
def any_equal(shares):
    """Return whether responsibilities of two components, by the sums of their products, may be equal."""
    for k in range(shares.shape[1]):
        for other in range(k):
            if shares[k, other] >= _EQUAL * np.sqrt(shares[k, k] * shares[other, other]):
                return True
    return False


@kernel
def slack(states, start, d):
    """Return how much of the mean log-likelihood what is added to variances may cost (see `floor._slack`)."""
    K, M, total = states.weights.shape[1], states.ratios.shape[1], 0.0
    for k in range(K):
        ratio = states.ratios[start, k if M == K else 0]
        total += states.weights[start, k] * d / (ratio * ratio)
    return total


@kernel
def converge(code, points, ascents, start, tol, constant, before, shares, history):
    """Return how many E-steps EM takes by the rule of `_em.loop`, or 0 if it is not this plain.

    IN constant: of a log-density; before: the mean of the E-step before the start
    OUT the state of the ascent: that of the last E-step; history: the mean log-likelihood at each
    """
    for turn in range(history.shape[0]):
        mean = tell_mean(points, ascents.states, start, shares) + constant
        history[turn] = mean
        if not np.isfinite(mean):
            return 0
        if turn > 0:
            gain, rounding = mean - history[turn - 1], _EPSILON * (points.shape[0] + abs(mean))
            if gain < -_ROUNDINGS * rounding - slack(ascents.states, start, points.shape[0]):
                return 0
            # The last gain of the start counts if it is little.
            known = turn > 1 or history[0] - before + _ROUGH < _LITTLE * tol
            last = history[turn - 1] - (history[turn - 2] if turn > 1 else before)
            if gain <= rounding or (known and gain < tol and gain * gain < tol * (last - gain)):
                return 0 if any_equal(shares) else turn + 1
        ascents.outcomes[start, SETTLED] = 0.0
        go_on(code, ascents, start, _ONE, tol)
        if ascents.outcomes[start, FAILED] > 0 or singular(ascents, start) > 0:
            return 0
    return 0
