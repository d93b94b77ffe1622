"""Features of a Gaussian mixture given others: mixture regression."""

from typing import Any

import numpy as np

from fastem._api.conditions import conditional_of, names_of, of_columns, other_columns
from fastem._api.missing import how_to_ask_models
from fastem._api.mixture import Mixture, parts_of
from fastem._api.scoring import Scorer
from fastem._checks import check_bool, check_features
from fastem._families.algebra import Conditional, merged
from fastem._kernels._parallel import run_slots
from fastem._kernels._regression import slot_regression
from fastem._sources.arrays import ArraySource
from fastem._sources.chunk_checks import raise_not_finite
from fastem._sources.open import source_of
from fastem._typing import Array, Rows, read_only

_SLAB_BYTES = 16 << 20  # for the responsibilities of one slab
_MOST_SLOTS = 64
_ROWS_OF_SLOT = 4096  # with fewer, waking threads would take longer than the work


def regressed(
    model: Mixture[Any], X: Any, given: Any, targets: Any, return_cov: bool, n_threads: int | None
) -> Any:
    """Return the conditional means, and with `return_cov` covariances, of X as a source gives scores."""
    check_bool("return_cov", return_cov)
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
    _check_width(X, known, given, named)
    missing, remedy = model.missing == "marginalise", how_to_ask_models(parts_of(model)[0])
    source = source_of(
        X,
        None,
        n_threads,
        n_features=len(known),
        feature_names=named,
        empty=True,
        missing=missing,
        remedy=remedy,
    )
    whole = regression_of(model, known, wanted)
    regression = OnObserved(model, known, wanted, whole) if missing else whole
    if not return_cov:
        return source.map(regression.means)
    if source.lazy:
        return source.map(regression.means), source.map(regression.covariances)
    return source.map(regression.both)


def _check_width(X: Any, known: list[int], given: Any, named: tuple[str, ...] | None) -> None:
    """Raise an error that speaks of `given`, if it can be told at once that X has other columns."""
    if named is not None and hasattr(X, "columns"):
        return  # they are chosen by name
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if isinstance(X, list) and X and isinstance(X[0], (list, tuple)):
        shape = len(X), len(X[0])
    if len(shape) == 2 and shape[1] != len(known):
        columns = "1 column" if len(known) == 1 else f"{len(known)} columns"
        raise ValueError(
            f"X must have {columns}, one for each of given={given!r}, in that order; got {shape[1]}. "
            "Leave out the columns that are not given."
        )


def regression_of(model: Mixture[Any], known: list[int], wanted: list[int]) -> "Regression":
    scorer = parts_of(of_columns(model, known))[2]
    return Regression(scorer, conditional_of(model, known, wanted), how_to_ask_models(parts_of(model)[0]))


class Regression:
    """The mean and covariance of some features y, given rows x of others.

    With r_k = p(k | x) and m_k = E(y | x, k), the mean is m = sum_k r_k m_k, and the covariance is
    sum_k r_k (S_k + (m_k - m)(m_k - m)'), where S_k is that of component k.
    """

    def __init__(self, scorer: Scorer, conditional: Conditional, remedy: str) -> None:
        """`scorer` is that of the mixture of x alone, and so knows the responsibilities.

        `remedy` is what a user may do about NaN beside what is said in any case.
        """
        family, about, known, _ = conditional
        self._scorer, self._remedy = scorer, remedy
        # All is taken about one row, so that an offset of x or y costs no precision.
        self._shift, self._origin = about.weights @ known, about.weights @ about.means
        self._intercepts = about.means - self._origin  # (K, t)
        slopes = conditional.each_slope()
        if slopes is None:
            self._slopes = np.zeros((*about.means.shape, 0))
        else:
            self._slopes = np.array(slopes)  # (K, t, g)
            self._intercepts -= np.einsum("ktg,kg->kt", slopes, known - self._shift)
        _, matrices = family.ellipsoids(about)
        self._within = np.array(matrices)  # (K, t, t)

    def means(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the means, (m, t), in float32 if the rows are."""
        return self.filled(rows, n_threads, True, False)[0]

    def covariances(self, rows: Rows, n_threads: int | None) -> Array:
        """Return the covariances, (m, t, t)."""
        return self.filled(rows, n_threads, False, True)[1]

    def both(self, rows: Rows, n_threads: int | None) -> Any:
        """Return the means and the covariances."""
        return self.filled(rows, n_threads, True, True)

    def filled(self, rows: Rows, n_threads: int | None, mean: bool, spread: bool) -> tuple[Array, Array]:
        m, (k, t) = len(rows.X), self._intercepts.shape
        dtype = np.float32 if rows.X.dtype == np.float32 else np.float64
        means, covariances = np.empty((m * mean, t), dtype), np.empty((m * spread, t, t), dtype)
        known = self._slopes, self._intercepts, self._within, self._shift, self._origin
        # Arrays that came from another process may be misaligned, for which numba would compile anew.
        about = tuple(read_only(np.array(array)) for array in known)
        source = ArraySource(rows, n_threads)
        for slab in source.slabs(max(1, _SLAB_BYTES // (8 * max(k, source.n_features)))):
            try:
                shares = self._scorer.responsibilities(slab, n_threads)
            except ValueError:  # which would count rows from the first one of the slab
                raise_not_finite([rows], remedy=self._remedy)
            first = slab.start - rows.start
            here = slice(first, first + len(slab.X))
            slots = np.empty(max(1, min(_MOST_SLOTS, len(slab.X) // _ROWS_OF_SLOT)), np.int64)
            arguments = (slab.X, read_only(shares), *about, means[here], covariances[here], slots)
            run_slots(slot_regression, arguments, len(slots), n_threads)
        return means, covariances


class OnObserved:
    """The same, where some of x may be missing: each row is regressed on what is observed of it.

    Rows that lack the same features make one regression. A row that has none of them gets the mean and the
    covariance of y in the whole mixture.
    """

    def __init__(self, model: Mixture[Any], known: list[int], wanted: list[int], whole: Regression) -> None:
        self._model, self._known, self._wanted, self._whole = model, known, wanted, whole

    def means(self, rows: Rows, n_threads: int | None) -> Array:
        return self._filled(rows, n_threads, True, False)[0]

    def covariances(self, rows: Rows, n_threads: int | None) -> Array:
        return self._filled(rows, n_threads, False, True)[1]

    def both(self, rows: Rows, n_threads: int | None) -> Any:
        return self._filled(rows, n_threads, True, True)

    def _filled(self, rows: Rows, n_threads: int | None, mean: bool, spread: bool) -> tuple[Array, Array]:
        observed, (m, t) = ~np.isnan(rows.X), (len(rows.X), len(self._wanted))
        if observed.all():
            return self._whole.filled(rows, n_threads, mean, spread)
        dtype = np.float32 if rows.X.dtype == np.float32 else np.float64
        found = np.empty((m * mean, t), dtype), np.empty((m * spread, t, t), dtype)
        of_row = np.unique(np.packbits(observed, axis=1), axis=0, return_inverse=True)[1].ravel()
        ends = np.cumsum(np.bincount(of_row))
        for chosen in np.split(np.argsort(of_row, kind="stable"), ends[:-1]):
            columns = np.flatnonzero(observed[chosen[0]])
            if len(columns) == 0:
                part = self._of_none(len(chosen))
            else:
                own = rows._replace(X=read_only(rows.X[chosen[:, None], columns]), start=0, columns=None)
                try:
                    part = self._on(columns).filled(own, n_threads, mean, spread)
                except ValueError:  # which would speak of these rows alone
                    raise_not_finite([rows], missing=True)
            for array, values in zip(found, part, strict=True):
                if len(array):
                    array[chosen] = values
        return found

    def _on(self, columns: Array) -> Regression:
        if len(columns) == len(self._known):
            return self._whole
        return regression_of(self._model, [self._known[j] for j in columns], self._wanted)

    def _of_none(self, rows: int) -> tuple[Array, Array]:
        """Return the mean and the covariance of y alone, for each of some rows."""
        family, parameters, _ = parts_of(of_columns(self._model, self._wanted))
        ellipsoids = family.ellipsoids(parameters)
        assert ellipsoids is not None
        whole = merged(parameters, ellipsoids[1], [list(range(len(parameters.weights)))])
        return np.repeat(whole.means, rows, axis=0), np.repeat(whole.covariances, rows, axis=0)
