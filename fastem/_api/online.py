"""EM on a stream of chunks, each seen once."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fastem._api.fit import check_model, e_step, fit, standard_amount
from fastem._api.mixture import GaussianMixture, model_of
from fastem._checks import check_k_of_stream, check_reg_covar, check_step
from fastem._families.floor import RELATIVE_FLOOR, maximise
from fastem._families.gaussian import FAMILIES, Parameters
from fastem._families.statistics import Statistics
from fastem._report import FitReport, FitStatus
from fastem._typing import FloatArray

# Of the step sizes (t + 1)^-0.6: Cappe and Moulines (2009) find exponents near 1/2 the fastest to forget the
# start and those near 1 the least noisy, and use 0.6.
_EXPONENT = 0.6
# Of the first chunk: no later one leaves the mode of the likelihood in which it ends.
_STARTS = 5


def partial_fit(
    model: GaussianMixture | None,
    chunk: Any,
    *,
    sample_weight: Any = None,
    step: float | None = None,
    reg_covar: float | Literal["auto"] = "auto",
    n_threads: int | None = None,
    **first: Any,
) -> GaussianMixture:
    """One step of stepwise EM: the model after one more chunk (Cappe and Moulines 2009, section 2).

    The expected statistics s of the rows so far, per row, become (1 - g) s + g s', with s' those of the
    chunk under the model; the parameters are those of maximum likelihood given s. As the parameters of
    a mixture determine s, the model is all that is kept.

    Parameters
    ----------
    model : GaussianMixture or None
        What the last call returned; None for the first chunk, to which a mixture is fitted by EM.
    chunk : array of shape (n, d), or whatever else `fit` takes
        Independent rows, in no order that tells of the components; best some thousand or more.
    sample_weight : array of shape (n,), optional
        Weights of the rows of the chunk.
    step : float, optional
        The step size g, more than 0 and at most 1: the share of the chunk. By default (t + 1) ** -0.6 for
        the t-th chunk after the first, where a `model` from elsewhere counts as the first.
    reg_covar : float or "auto"
        As in `fit`.
    n_threads : int, optional
    **first
        If model is None, `k` and what else `fit` takes, for the first chunk; `n_init` is 5 by default, as
        later chunks do not mend a bad start.

    Returns
    -------
    GaussianMixture
        Its `report` has the status ONLINE, the number of chunks as `n_iter`, and as `log_likelihood` that of
        the chunk under the model before it (after it, if it is the first).

    Raises
    ------
    ValueError, TypeError
        If an argument breaks its rule, or the chunk does not fit the model, or holds NaN or inf.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> model = None
    >>> for _ in range(20):
    ...     chunk = rng.normal(size=(1000, 1)) + rng.choice([0, 5], (1000, 1))
    ...     model = fastem.partial_fit(model, chunk, k=2, rng=0)
    >>> model.report.n_iter
    20
    """
    gain = check_step(step)
    absolute = check_reg_covar(reg_covar)
    if model is not None:
        check_model(model)
    check_k_of_stream(first.get("k"), None if model is None else model.n_components)
    if model is None:
        first = {"n_init": _STARTS, **first}
        fitted = fit(chunk, sample_weight=sample_weight, reg_covar=reg_covar, n_threads=n_threads, **first)
        assert fitted.report is not None
        return _with_report(fitted, 1, fitted.report.log_likelihood)
    statistics = e_step(chunk, model, sample_weight, n_threads=n_threads)
    seen = model.report.n_iter if model.report and model.report.status is FitStatus.ONLINE else 1
    gain = float(seen + 1) ** -_EXPONENT if gain is None else gain
    family = FAMILIES[model.covariance_type]
    before, frame = model._standardised(statistics._dtype)
    amount = standard_amount(absolute, frame)
    if isinstance(amount, str):
        amount = RELATIVE_FLOOR * _variance(before, family.variances(before.covariances, model.n_features))
    blended = _blend(before, statistics, gain)
    # The statistics of the rows before hold what was added to their covariances.
    after = maximise(
        family,
        blended._collected,
        blended.total_weight / blended.n_samples,
        blended.precision,
        gain * amount,
    )
    names = model.feature_names
    updated = model_of(after.parameters, frame, model.covariance_type, None, names)
    return _with_report(updated, seen + 1, statistics.log_likelihood)


def _blend(before: Parameters, statistics: Statistics, gain: float) -> Statistics:
    """(1 - gain) of the statistics of which the parameters are the maximum, and gain of the chunk's."""
    old = (1 - gain) * statistics.total_weight * before.weights
    scatter = FAMILIES[statistics.covariance_type].scatter(before, old)
    return replace(
        statistics,
        weights=old + gain * statistics.weights,
        first=gain * statistics.first,
        scatter=scatter + gain * statistics.scatter,
    )


def _variance(parameters: Parameters, variances: FloatArray) -> FloatArray:
    """Variance of each feature over the mixture, (d,)."""
    weights, means, _ = parameters
    return np.asarray(weights @ (variances + np.square(means - weights @ means)))


def _with_report(model: GaussianMixture, chunks: int, log_likelihood: float) -> GaussianMixture:
    report = FitReport(FitStatus.ONLINE, False, chunks, log_likelihood, (log_likelihood,), (), 0.0)
    return GaussianMixture(
        model.weights,
        model.means,
        model.covariances,
        model.covariance_type,
        report=report,
        feature_names=model.feature_names,
    )
