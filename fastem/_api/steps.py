"""The two steps of EM on their own: `e_step` and `m_step`."""

from dataclasses import replace
from typing import Any, Literal

from fastem._api.mixture import M, check_model, source_for, sweep_of
from fastem._api.models import model_of
from fastem._api.options import check_reg_covar
from fastem._em.objective import maximise
from fastem._families.statistics import Statistics, digest


def e_step(X: Any, model: M, sample_weight: Any = None, *, n_threads: int | None = None) -> Statistics[M]:
    """Expected sufficient statistics of the latent labels, in one pass over X.

    For responsibilities r[i, k] = p(z_i = k | x_i) (Bishop 2006, eq. 9.23), the sums over the rows that the
    M-step needs, and the log-likelihood. Gaussian: sums of r, r z and r z z' with z = x_i - mean_k.
    Statistics of chunks add up to those of the whole.

    Parameters
    ----------
    X : array of shape (n, d), or whatever else `fit` takes
        Chunks that do not tell how many rows they have are counted in a pass of their own.
    model : GaussianMixture or Mixture
    sample_weight : array of shape (n,), or str, optional
        Multiplies the responsibilities. The name of a column, if X is Parquet or a dask dataframe.
    n_threads : int, optional

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError, TypeError
        If X does not fit the model, or holds NaN or inf.
    """
    check_model(model)
    source = source_for(model, X, sample_weight, n_threads)
    sweep = sweep_of(model, source.dtype)
    sweep = sweep._replace(origin=digest(sweep.family, sweep.packed), with_base_measure=True)
    return replace(source.reduce(sweep), feature_names=model.feature_names)


def m_step(statistics: Statistics[M], *, reg_covar: float | Literal["auto"] = "auto") -> M:
    """The mixture of maximum likelihood given expected statistics (Bishop 2006, eq. 9.24 to 9.26).

    Parameters
    ----------
    statistics : Statistics
        From `e_step`, or a sum of such.
    reg_covar : float or "auto"
        As in `fit`.

    Returns
    -------
    GaussianMixture, or Mixture of another distribution
        Its `report` is None. A component without data takes half of the heaviest one.

    Raises
    ------
    ValueError, TypeError
        If an argument breaks its rule.
    """
    if not isinstance(statistics, Statistics):
        raise TypeError(f"statistics must be made by fastem.e_step; got {type(statistics).__name__}.")
    family = statistics.family
    maximised = maximise(statistics, check_reg_covar(reg_covar, family))
    names = statistics.feature_names
    return model_of(family, maximised.parameters, statistics.frame, None, names)  # type: ignore[return-value]
