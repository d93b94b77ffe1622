"""The two steps of EM on their own: `e_step` and `m_step`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._api.inside import allowing, check_model, family_of_model, sweep_of
from fastem._api.missing import Missing, how_to_ask
from fastem._api.mixture import M, Mixture, parts_of, source_for
from fastem._api.models import model_in_user_units, model_of
from fastem._api.options import check_reg_covar, check_size_of_reg_covar
from fastem._api.signatures import RegCovar
from fastem._api.translations import advised
from fastem._checks import check_bool
from fastem._em.objective import maximise
from fastem._families.statistics import Statistics, digest
from fastem._sources.passes import Source
from fastem._typing import DataLike, NoiseLike, RowsLike


@overload
def e_step(
    X: DataLike,
    model: GaussianMixture[Any],
    sample_weight: RowsLike = None,
    *,
    missing: Missing | None = None,
    noise: NoiseLike = None,
    n_threads: int | None = None,
) -> Statistics[GaussianMixture]: ...


@overload
def e_step(
    X: DataLike,
    model: Mixture[Any],
    sample_weight: RowsLike = None,
    *,
    missing: Missing | None = None,
    noise: NoiseLike = None,
    n_threads: int | None = None,
) -> Statistics[Mixture]: ...


@advised()
def e_step(
    X: DataLike,
    model: Mixture[Any],
    sample_weight: RowsLike = None,
    *,
    missing: Missing | None = None,
    noise: NoiseLike = None,
    n_threads: int | None = None,
) -> Statistics[Any]:
    """Compute the expected sufficient statistics of the latent labels, in one pass over X.

    The responsibilities are r[i, k] = p(z_i = k | x_i) (Bishop 2006, eq. 9.23). With them, the E-step
    computes the sums over the rows that the M-step needs, and the log-likelihood. For Gaussians these are
    the sums of r, r z and r z z' with z = x_i - mean_k. The statistics of chunks add up to those of all
    rows.

    Parameters
    ----------
    X : array of shape (n, d), or anything else that `fit` takes
        If X is chunks whose number of rows is not known, an extra pass counts the rows first.
    model : GaussianMixture or Mixture
    sample_weight : array of shape (n,), or str, optional
        Weights of the rows, which multiply the responsibilities. If X is Parquet or a dask dataframe, this
        may be the name of a column.
    missing : {"error", "marginalise"}, optional
        The same as in `fit`. The sums are then expected ones, given what is observed (Ghahramani and Jordan
        1994), without the rows of which nothing is observed. The default is that of the model.
    noise : array or sequence of str, optional
        The same as in `fit`. The sums are those that are expected of the values without noise, so they can be
        added to others that an E-step with the same model computed in float64.
    n_threads : int, optional
        The same as in `fit`.

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError, TypeError
        If X does not fit the model or holds inf, or NaN that is not allowed.
    """
    check_model(model)
    model = model if missing is None else allowing(model, missing)
    remedy = how_to_ask(family_of_model(model))
    source = source_for(model, X, sample_weight, n_threads, remedy=remedy, noise=noise)
    return sums_under(model, source, source.dtype)


def sums_under(
    model: Mixture[Any], source: Source, dtype: np.dtype[Any], hard: bool = False
) -> Statistics[Any]:
    """Return the sums of an E-step that computes in `dtype`, or in float64 if the model needs it.

    With `hard`, each row belongs to its likeliest component alone.
    """
    sweep = sweep_of(model, np.dtype(np.float64) if source.has_noise else dtype)
    origin = digest(sweep.family, sweep.packed)
    if source.has_noise:
        sweep = sweep_of(model, dtype, measured=True)
    sweep = sweep._replace(origin=origin, with_base_measure=True, hard=hard)
    found, before = source.reduce(sweep), parts_of(model)[1]
    return replace(found, family=found.family.plain, feature_names=model.feature_names, before=before)


@advised()
def m_step(statistics: Statistics[M] | Literal[0], *, reg_covar: RegCovar = "auto", reseed: bool = True) -> M:
    """Return the maximum-likelihood mixture given expected statistics (Bishop 2006, eq. 9.24 to 9.26).

    Parameters
    ----------
    statistics : Statistics
        The result of `e_step`, or a sum of such results. (``sum`` of none is 0, which is an error.)
    reg_covar : float or "auto"
        The same as in `fit`. With ``reg_covar=0`` and ``reseed=False`` all is plain maximum likelihood, but
        for covariances that would be singular.
    reseed : bool
        What becomes of components without data. True: a component that weighs less than a thousandth of an
        average row takes half of the heaviest component, as in `fit`; if the distribution is your own, it
        keeps its parameters. False: no component is moved for the sake of another. One of weight 0 keeps its
        parameters, but has the weight 0 and what all components share, such as tied covariances. Every other
        one gets its weighted mean and covariance, however little it weighs. Use this for averages by
        component of your own, such as those of `fastem.adapt`.

    Returns
    -------
    GaussianMixture, or Mixture of another distribution
        The new model. Its `report` is None. If the rows are float32 and features nearly agree, the first
        model may be blurred. `e_step` with a model whose features nearly agree computes in float64.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, if all rows are NaN throughout, or if ``reseed=False`` and a component
        has weight 0 in statistics from the bytes of an old version, which do not hold the parameters of the
        E-step.
    """
    if not isinstance(statistics, Statistics):
        raise TypeError(f"statistics must be made by fastem.e_step; got {type(statistics).__name__}.")
    family = statistics.family
    if not statistics.total_weight > 0:
        raise ValueError(
            "statistics must be of at least one row with a number that is observed; all rows are NaN "
            "throughout. Add those of other rows."
        )
    absolute, names = check_reg_covar(reg_covar, family), statistics.feature_names
    check_size_of_reg_covar(absolute, statistics.frame, statistics.total_weight)
    if check_bool("reseed", reseed):
        parameters = maximise(statistics, absolute).parameters
        return model_of(family, parameters, statistics.frame, None, names)  # type: ignore[return-value]
    found = maximise(statistics, absolute, 0, mean_row_weight=0.0)
    user = family.to_user(found.parameters, statistics.frame)
    if found.kept:
        if statistics.before is None:
            raise ValueError(
                "statistics must hold the parameters of the E-step if reseed=False and a component has no "
                f"rows, as component {found.kept[0]} has none; these are from bytes of an old version. Make "
                "them anew with e_step."
            )
        user = family.keeping(user, statistics.before, found.kept)
    return model_in_user_units(family, user, None, names)  # type: ignore[return-value]
