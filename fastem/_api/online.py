"""EM on a stream of chunks, each of which is seen only once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Unpack, overload

import numpy as np

from fastem._api.fit import fit
from fastem._api.gaussian import GaussianMixture
from fastem._api.inside import check_model, family_of_model, in_frame, user_parameters, with_report
from fastem._api.missing import check_complete
from fastem._api.mixture import Mixture, source_for
from fastem._api.models import model_of
from fastem._api.options import Options, check_options, check_reg_covar, check_size_of_reg_covar
from fastem._api.signatures import Callback, FitOptions, GaussianCallback, RegCovar
from fastem._api.steps import sums_under
from fastem._api.translations import advised, unknown_argument
from fastem._checks import check_nonnegative, check_rng
from fastem._em.objective import maximise
from fastem._families.distribution import Distribution
from fastem._families.given import Held
from fastem._families.statistics import Statistics
from fastem._report import FitReport, FitStatus
from fastem._sources.checks import check_agreement, check_columns
from fastem._typing import DataLike, RowsLike

# The step sizes are (t + 1)^-0.6. Cappe and Moulines (2009) find that exponents near 1/2 forget the start
# fastest and that exponents near 1 give the least noise. They use 0.6.
_EXPONENT = 0.6
# The arguments of `fit` that apply to the first chunk only, and their defaults.
_FIRST = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if name not in ("X", "k", "sample_weight", "reg_covar", "n_threads")
}
_CHECKED = (
    "covariance_type",
    "distribution",
    "init",
    "n_init",
    "tol",
    "max_iter",
    "acceleration",
    "callback",
    "rng",
    "assignment",
    "fixed",
    "prior",
    "noise_component",
    "inference",
)


@overload
def partial_fit(
    model: GaussianMixture[Any] | None,
    chunk: DataLike,
    *,
    k: int,
    step: float | None = None,
    distribution: Literal["gaussian"] = "gaussian",
    callback: GaussianCallback | None = None,
    **first: Unpack[FitOptions],
) -> GaussianMixture[FitReport]: ...


@overload
def partial_fit(
    model: GaussianMixture[Any],
    chunk: DataLike,
    *,
    k: int | None = None,
    step: float | None = None,
    distribution: Literal["gaussian"] = "gaussian",
    callback: GaussianCallback | None = None,
    **first: Unpack[FitOptions],
) -> GaussianMixture[FitReport]: ...


@overload
def partial_fit(
    model: Mixture[Any] | None,
    chunk: DataLike,
    *,
    k: int,
    step: float | None = None,
    distribution: str | Mapping[Any, str] | Distribution,
    callback: Callback | None = None,
    **first: Unpack[FitOptions],
) -> Mixture[FitReport]: ...


@overload
def partial_fit(
    model: Mixture[Any],
    chunk: DataLike,
    *,
    k: int | None = None,
    step: float | None = None,
    distribution: str | Mapping[Any, str] | Distribution = "gaussian",
    callback: Callback | None = None,
    **first: Unpack[FitOptions],
) -> Mixture[FitReport]: ...


@advised(about="Pass options by name: fastem.partial_fit(None, X, k=2).", also=("k", *_FIRST))
def partial_fit(
    model: Mixture[Any] | None,
    chunk: DataLike,
    *,
    sample_weight: RowsLike = None,
    step: float | None = None,
    reg_covar: RegCovar = "auto",
    n_threads: int | None = None,
    **first: Any,
) -> Mixture[FitReport]:
    """Update a model with one more chunk, by one step of stepwise EM (Cappe and Moulines 2009, section 2).

    Let s be the expected sufficient statistics per row of all chunks so far, and s' those of the new chunk
    under the model. The step replaces s by (1 - g) s + g s' and takes the maximum-likelihood parameters
    given the new s. The model is all that must be kept between calls, since its parameters determine s.

    Parameters
    ----------
    model : GaussianMixture, Mixture or None
        What the last call returned. None for the first chunk, to which a mixture is fitted by EM.
    chunk : array of shape (n, d), or anything else that `fit` takes
        Independent rows, not sorted by component. A chunk should have some thousand rows or more.
    sample_weight : array of shape (n,), optional
        Weights of the rows of the chunk.
    step : float, optional
        The step size g, which is the share of the new chunk. It must be more than 0 and at most 1. The
        default is (t + 1) ** -0.6 for the t-th chunk after the first. A `model` that does not come from
        `partial_fit` counts as the first chunk.
    reg_covar : float or "auto"
        The same as in `fit`.
    n_threads : int, optional
        The same as in `fit`.
    **first
        `k` and other arguments of `fit`, for the first chunk. Later calls may repeat these arguments. Then
        they are checked, and they must agree with the model. `labels` are those of the chunk. Steps heed
        them, `assignment` and `fixed`, where a call has them. A step forgets rows but no prior, so `prior`
        must be None.

    Returns
    -------
    GaussianMixture, or Mixture of another distribution
        The updated model. The `report` has the status ONLINE, and `n_iter` is the number of chunks. Its
        `log_likelihood` is that of the chunk under the model before the step (after the fit, for the first
        chunk).

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or if the chunk does not fit the model or holds NaN or inf.

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
    gain = _check_step(step)
    if first.get("prior") is not None:
        raise ValueError(
            f"prior must be None in partial_fit, as steps forget rows but no prior; got {first['prior']!r}. "
            "Fit with the prior, and go on from its model, or fit a function that yields all chunks."
        )
    if first.get("inference", "em") != "em":
        raise ValueError(f'inference must be "em" in partial_fit; got {first["inference"]!r}. Use fit.')
    if first.get("missing", "error") != "error":
        raise ValueError(
            f'missing must be "error" in partial_fit; got {first["missing"]!r}. Use fit, or e_step and '
            "m_step on chunks."
        )
    if first.get("noise") is not None:
        raise ValueError(
            "noise must be None in partial_fit; got the noise of a chunk. Use fit, or e_step and m_step on "
            "chunks."
        )
    if model is not None:
        check_model(model)
    if "rng" in first:
        first["rng"] = check_rng(first["rng"])
    options = _check_first(first, model)
    if model is None:
        fitted = fit(chunk, sample_weight=sample_weight, reg_covar=reg_covar, n_threads=n_threads, **first)
        return _with_report(fitted, 1, fitted.report.log_likelihood)
    family = family_of_model(model)
    absolute = check_reg_covar(reg_covar, family)
    source = source_for(model, chunk, sample_weight, n_threads, labels=first.get("labels"))
    hard = first.get("assignment") == "hard"
    statistics = sums_under(model, source, source.dtype, hard)
    seen = model.report.n_iter if model.report and model.report.status is FitStatus.ONLINE else 1
    gain = float(seen + 1) ** -_EXPONENT if gain is None else gain
    check_size_of_reg_covar(absolute, statistics.frame, statistics.total_weight)
    before = in_frame(model, statistics.frame)
    held = Held(options.fixed, before, user_parameters(model)) if options.fixed else None
    given = {"share": gain, "before": before, "held": held}
    after = maximise(_blended(model, before, statistics, gain), absolute, **given)
    if after.imprecise:
        statistics = sums_under(model, source, np.dtype(np.float64), hard)
        after = maximise(_blended(model, before, statistics, gain), absolute, **given)
    found = after.parameters if held is None else held.kept(after.parameters, before)
    updated = model_of(family, found, statistics.frame, None, model.feature_names, held)
    return _with_report(updated, seen + 1, statistics.log_likelihood)


def _blended(model: Mixture[Any], before: Any, statistics: Statistics[Any], gain: float) -> Statistics[Any]:
    """Blend 1 - gain times the statistics that the old parameters stand for with gain times the chunk's."""
    old = (1 - gain) * statistics.total_weight * before.weights
    summed = family_of_model(model).blend(before, old, statistics.summed, gain)
    return replace(statistics, summed=summed)


def _check_step(step: Any) -> float | None:
    if step is None:
        return None
    value = check_nonnegative("step", step, "It is the share of the new chunk.")
    if not 0 < value <= 1:
        raise ValueError(
            f"step must be more than 0 and at most 1; got {value}. It is the share of the new chunk."
        )
    return value


def _check_first(first: dict[str, Any], model: Mixture[Any] | None) -> Options[Any]:
    """Check the options for the first chunk. If there is a model, they must agree with it."""
    known = ("sample_weight", "step", "reg_covar", "n_threads", "k", *_FIRST)
    unknown = sorted(set(first) - set(known))
    if unknown:
        raise TypeError(
            f"partial_fit got the unknown option {unknown[0]!r}. {unknown_argument(unknown[0], known)}"
        )
    k = first.get("k")
    if model is None and k is None:
        raise TypeError("k must be given while there is no model; pass it: partial_fit(None, chunk, k=...).")
    if model is not None and k not in (None, model.n_components):
        raise ValueError(f"k must be that of the model, {model.n_components}; got {k!r}. Leave it out.")
    checked = {name: first.get(name, _FIRST[name]) for name in _CHECKED}
    if model is not None and first.get("columns") is not None:
        _check_columns(check_columns(first["columns"]), model)
    if model is not None and first.get("fixed"):
        checked["init"] = model  # which has the fixed parameters
    options = check_options(k if model is None else model.n_components, reg_covar="auto", **checked)
    wanted = options.family
    family = wanted if model is None else family_of_model(model)
    check_complete(family, "partial_fit")
    if {"covariance_type", "distribution"} & set(first) and wanted.label != family.label:
        raise ValueError(f"partial_fit must go on with {family.label}, as the model has; got {wanted.label}.")
    if not family.can_blend:
        raise TypeError(
            f"partial_fit must have a distribution whose parameters tell its statistics; got {family.label}. "
            "Use e_step and m_step on chunks, or fit a function that yields them."
        )
    return options


def _check_columns(columns: tuple[str, ...] | None, model: Mixture[Any]) -> None:
    if columns is not None and model.feature_names is None:
        raise ValueError(
            "columns must be left out for a model whose columns have no names; "
            f"got {list(columns)}. Begin anew with chunks that are tables, or select the columns yourself."
        )
    check_agreement(columns, model.feature_names)


def _with_report(model: Mixture[Any], chunks: int, log_likelihood: float) -> Mixture[FitReport]:
    history = (log_likelihood,)
    report = FitReport(FitStatus.ONLINE, False, chunks, log_likelihood, history, (), 0.0, log_likelihood)
    return with_report(model, report)
