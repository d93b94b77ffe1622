"""Features of a Gaussian mixture given others: mixture regression."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem._api.conditions import conditional_of, names_of, of_columns, other_columns
from fastem._api.mixture import Mixture, parts_of
from fastem._api.scoring import Scorer
from fastem._checks import check_features
from fastem._families.algebra import Conditional
from fastem._sources.arrays import ArraySource
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.open import source_of
from fastem._typing import Array, FloatArray, Rows

_SLAB_BYTES = 16 << 20  # for the responsibilities of one slab
# Products of fewer multiply-adds stay in the cache, and BLAS makes them without other threads, so that their
# bits do not depend on how many it has.
_FEW = 1 << 18
_PART_NUMBERS = 1 << 15  # of the means of each component, which stay in the cache


def regressed(
    model: Mixture[Any], X: Any, given: Any, targets: Any, return_cov: bool, n_threads: int | None
) -> Any:
    """Return the conditional means, and with `return_cov` covariances, of X as a source gives scores."""
    if not isinstance(return_cov, (bool, np.bool_)):
        raise TypeError(f"return_cov must be True or False; got {return_cov!r}.")
    d, names = model.n_features, model.feature_names
    known = check_features("given", given, d, names)
    if targets is None:
        wanted = other_columns(known, d, "given")
    else:
        wanted = check_features("targets", targets, d, names)
        both = sorted(set(known) & set(wanted))
        if both:
            raise ValueError(
                f"targets must not be among those given; got column {both[0]} in both. Leave it out of one."
            )
    named = names_of(model, known)
    source = source_of(X, None, n_threads, n_features=len(known), feature_names=named, empty=True)
    scorer = parts_of(of_columns(model, known))[2]
    regression = Regression(scorer, conditional_of(model, known, wanted))
    if not return_cov:
        return source.map(regression.means)
    if source.lazy:
        return source.map(regression.means), source.map(regression.covariances)
    return source.map(regression.both)


class Regression:
    """The mean and covariance of some features y, given rows x of others.

    With r_k = p(k | x) and m_k = E(y | x, k), the mean is m = sum_k r_k m_k, and the covariance is
    sum_k r_k (S_k + (m_k - m)(m_k - m)'), where S_k is that of component k.
    """

    def __init__(self, scorer: Scorer, conditional: Conditional) -> None:
        """`scorer` is that of the mixture of x alone, and so knows the responsibilities."""
        family, about, known, _ = conditional
        self._scorer = scorer
        # All is taken about one row, so that an offset of x or y costs no precision.
        self._shift, self._origin = about.weights @ known, about.weights @ about.means
        self._intercepts = about.means - self._origin  # (K, t)
        self._slopes = conditional.each_slope()  # (K, t, g)
        if self._slopes is not None:
            self._intercepts -= np.einsum("ktg,kg->kt", self._slopes, known - self._shift)
            self._slopes = np.ascontiguousarray(self._slopes)
        _, matrices = family.ellipsoids(about)
        self._matrices = np.array(matrices)  # (K, t, t)

    def means(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the means, (m, t), in float32 if the rows are."""
        return self._filled(rows, n_threads, True, False)[0]

    def covariances(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the covariances, (m, t, t)."""
        return self._filled(rows, n_threads, False, True)[1]

    def both(self, rows: Rows, n_threads: int | None) -> Any:
        """Return the means and the covariances."""
        return self._filled(rows, n_threads, True, True)

    def _filled(self, rows: Rows, n_threads: int | None, mean: bool, spread: bool) -> tuple[Array, Array]:
        (m, g), (k, t) = rows.X.shape, self._intercepts.shape
        dtype = np.float32 if rows.X.dtype == np.float32 else np.float64
        means, covariances = np.empty((m * mean, t), dtype), np.empty((m * spread, t, t), dtype)
        step = max(1, _SLAB_BYTES // (8 * max(k, g)))
        for slab in ArraySource(rows, n_threads).slabs(step):
            try:
                responsibilities = self._scorer.responsibilities(slab, n_threads)
            except ValueError:  # which would count rows from the first one of the slab
                raise_not_finite([rows])
            first = slab.start - rows.start
            for part in _parts(len(slab.X), k * t, max(g, t)):
                here = slice(first + part.start, first + part.stop)
                shares = np.ascontiguousarray(responsibilities[part].T, np.float64)
                each, average = self._predicted(slab.X[part], shares)
                if mean:
                    means[here] = (average + self._origin[:, None]).T
                if spread:
                    covariances[here] = self._spread(each, average, shares).transpose(2, 0, 1)
        return means, covariances

    def _predicted(self, X: Array, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the means of each component, (K, t, m), and of all, (t, m), less the origin."""
        k, t = self._intercepts.shape
        each = np.broadcast_to(self._intercepts[:, :, None], (k, t, len(X)))
        if self._slopes is not None:
            z = np.subtract(X, self._shift, dtype=np.float64).T
            each = (self._slopes.reshape(k * t, -1) @ z).reshape(each.shape)
            each += self._intercepts[:, :, None]
        return each, np.einsum("ktm,km->tm", each, shares)

    def _spread(self, each: FloatArray, average: FloatArray, shares: FloatArray) -> FloatArray:
        """Return the covariances, (t, t, m)."""
        k, t = self._intercepts.shape
        apart = (each - average) * np.sqrt(shares)[:, None, :]
        within = (self._matrices.reshape(k, t * t).T @ shares).reshape(t, t, -1)
        return np.asarray(within + np.einsum("kim,kjm->ijm", apart, apart))


def _parts(m: int, numbers: int, products: int) -> Iterator[slice]:
    """Return parts of m rows that make so many numbers each, each of so many products."""
    step = max(1, min(_PART_NUMBERS, _FEW // products) // numbers)
    return (slice(start, min(start + step, m)) for start in range(0, m, step))
