"""MAP adaptation of a background model, as speaker recognition uses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastem._api.gaussian import GaussianMixture
from fastem._api.inside import check_model, family_of_model, sweep_of
from fastem._api.missing import check_complete
from fastem._api.mixture import new_model, parts_of, source_for
from fastem._api.steps import sums_under
from fastem._api.translations import advised
from fastem._checks import check_integer, check_nonnegative
from fastem._families.registry import adaptable_family
from fastem._families.relevance import ADAPTABLE
from fastem._families.statistics import Statistics, digest
from fastem._typing import DataLike, RowsLike


@advised()
def adapt(
    model: GaussianMixture[Any],
    X: DataLike | Statistics[Any],
    *,
    relevance: float = 16.0,
    parameters: str | Sequence[str] = ("means",),
    sample_weight: RowsLike = None,
    n_iter: int = 1,
    n_threads: int | None = None,
) -> GaussianMixture:
    """Adapt a background model to few rows by a relevance factor (Reynolds, Quatieri and Dunn 2000).

    Let n_k be the expected number of rows of component k, and m_k their mean. With the share
    a_k = n_k / (n_k + relevance), the new parameters are (eq. 11 to 14)

    - means: a_k m_k + (1 - a_k) mean_k;
    - covariances: the same average of the second moments, about the new means;
    - weights: a_k n_k / n + (1 - a_k) weight_k, scaled to sum to 1.

    This is the posterior mode where each component of the background is a prior that counts as `relevance`
    rows (Gauvain and Lee 1994).

    Parameters
    ----------
    model : GaussianMixture
        The background model, fitted on the rows of many speakers, say. It does not change.
    X : array of shape (n, d), anything else that `fit` takes, or Statistics
        The rows of one speaker, or what `e_step` returned for them and this model (a sum of these, if they
        are in several parts).
    relevance : float
        How many rows a component of the background counts as, at least 0. With inf the model stays as it
        is. With 0 the components that have rows become those of maximum likelihood.
    parameters : sequence of str
        Which parameters to adapt: some of ``"means"``, ``"weights"`` and ``"covariances"``.
    sample_weight : array of shape (n,), or str, optional
        Weights of the rows, as in `fit`.
    n_iter : int
        Number of E-steps. The first is with the background, and each other with the last model. All adapt
        the background.
    n_threads : int, optional
        The same as in `fit`.

    Returns
    -------
    GaussianMixture
        The adapted model. Its `report` is None. The mean and the covariance of a component of weight 0 in
        the rows are exactly those of the background, but for what components share: tied covariances are
        pooled, where each component of the background counts as `relevance` rows; and so are the shared
        parts of mclust's other models.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, if the statistics are of other parameters, or if a covariance would be
        singular, which it can only be if `relevance` is 0 or almost 0.

    Examples
    --------
    >>> import fastem
    >>> background = fastem.GaussianMixture([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
    >>> fastem.adapt(background, [[1.0]] * 16, relevance=16).means.round(2)
    array([[0.5],
           [9. ]])
    """
    check_model(model)
    family, background = adaptable_family(family_of_model(model)), parts_of(model)[1]
    check_complete(family, "adapt")
    factor = _check_relevance(relevance)
    names = _check_names(parameters)
    n_iter = check_integer("n_iter", n_iter, 1)
    statistics = _check_statistics(X, model, sample_weight, n_iter) if isinstance(X, Statistics) else None
    source = None if statistics is not None else source_for(model, X, sample_weight, n_threads)
    current: GaussianMixture = model
    for _ in range(n_iter):
        if source is not None:
            statistics = sums_under(current, source, source.dtype)
        assert statistics is not None
        adapted = background
        if not math.isinf(factor):
            sums, frame = statistics.summed, statistics.frame
            adapted = family.toward(background, sums, frame, factor, names, statistics.precision)
        current = new_model(type(model), family, adapted, None, model.feature_names)
    return current


def _check_relevance(relevance: Any) -> float:
    if isinstance(relevance, (float, int)) and relevance == math.inf:
        return math.inf
    remedy = "It is the number of rows that a component of the background counts as; 16 is usual."
    return check_nonnegative("relevance", relevance, remedy)


def _check_names(parameters: Any) -> tuple[str, ...]:
    if not isinstance(parameters, (str, Sequence)):
        raise TypeError(f'parameters must be a sequence of names, such as ("means",); got {parameters!r}.')
    names = (parameters,) if isinstance(parameters, str) else tuple(parameters)
    if not names or not set(names) <= set(ADAPTABLE):
        raise ValueError(
            f"parameters must hold some of {', '.join(ADAPTABLE)}; got {names}. "
            "Name those that shall be adapted."
        )
    return names


def _check_statistics(
    statistics: Statistics[Any], model: Any, sample_weight: Any, n_iter: int
) -> Statistics[Any]:
    if sample_weight is not None:
        raise ValueError("sample_weight must be None if X is Statistics. Pass the weights to e_step.")
    if n_iter != 1:
        raise ValueError(
            f"n_iter must be 1 if X is Statistics, since other E-steps need the rows; got {n_iter}. Pass the "
            "rows."
        )
    family = family_of_model(model)
    packed = sweep_of(model, statistics.rows_dtype or statistics.dtype).packed
    if statistics.origin != digest(family, packed):
        raise ValueError(
            "X must be statistics of an E-step with this model; these come from other parameters. "
            "Compute them with e_step(rows, model)."
        )
    return statistics
