"""A fit by checked options, from the initial parameters to the report."""

import reprlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from fastem._api.advice import (
    singular_in_words,
    warn_of_few_values,
    warn_of_large_noise,
    warn_of_many_categories,
    warn_of_pairs,
)
from fastem._api.held import held_of
from fastem._api.inside import in_frame
from fastem._api.missing import how_to_ask
from fastem._api.mixture import Mixture
from fastem._api.models import model_of
from fastem._api.options import (
    Options,
    check_init,
    check_nearness,
    check_parameters,
    check_size_of_reg_covar,
    check_start,
)
from fastem._api.posterior import check_prior, posterior_of
from fastem._api.progress import progress_bar
from fastem._api.restarts import Restarts
from fastem._api.variational import bound_of
from fastem._api.whole import are_whole, whole_fit
from fastem._em.auto import named_start, partial_start
from fastem._em.bound import VariationalBound
from fastem._em.brief import brief_start
from fastem._em.loop import FLOORED, MASS, Run
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start
from fastem._families.base import Family
from fastem._families.registry import measured_family
from fastem._families.steps import Maximised, P
from fastem._families.variational import VariationalPosterior, expected_mixture
from fastem._report import FitReport, FitStatus, WarningCause, warn
from fastem._sources.checks import check_enough_rows
from fastem._sources.open import source_of
from fastem._sources.passes import Source
from fastem._sources.spread import check_spread
from fastem._typing import Array, FloatArray

# The name of a start that is not for users: see `_em.brief`.
BRIEF = "brief"
# A pass and its M-step hold at least so many arrays of the size of the parameters.
_COPIES = 4
# A checked `init`: a name, labels or responsibilities, a model, or some of its parameters by name.
Given = str | Array | Mixture[Any] | dict[str, FloatArray]


def fit_by(
    options: Options[Any],
    init: Any,
    X: Any,
    sample_weight: Any,
    n_threads: int | None,
    progress: bool = False,
    asks: bool = False,
    tried: bool = False,
    **reading: Any,
) -> Mixture[FitReport]:
    """Fit by checked options. `reading` are the options of `source_of`.

    `asks` says that the user can ask for missing numbers. `tried` says that the kernel of whole fits has been
    asked before, and could not make this one.
    """
    began = time.perf_counter()
    source = source_of(
        X,
        sample_weight,
        n_threads,
        k=options.k,
        vocabulary=options.family.vocabulary,
        feature_names=init.feature_names if isinstance(init, Mixture) else None,
        missing=options.missing,
        remedy=how_to_ask(options.family) if asks else "",
        **reading,
    )
    check_enough_rows(options.k, source.n_samples, source.n_positive)
    check_prior(options, source.n_features)
    options = options._replace(family=options.family.adapted(source.facts()))
    given = _check_given(init, source, options)
    options.family.n_parameters(options.k, source.n_features)  # a mistake in a user's shows here, not in bic
    if are_whole(options, given) and not progress and not tried:
        whole = whole_fit(source, options)
        if whole is not None:
            return whole
    likelihood = likelihood_of(source, options, given)
    warn_of_few_values(source, options.family)
    warn_of_many_categories(source, options.family)
    warn_of_large_noise(source)
    if options.prior is None:
        warn_of_pairs(source, [options.family])
    names = source.feature_names
    bound = None
    begin: Any = partial(_start, likelihood, given)
    if options.variational and options.prior is not None:
        bound = bound_of(likelihood, options.prior, options.reg_covar or 0.0)
        begin = partial(_start_of_bound, bound, given)
    with progress_bar(progress, options.restarts, options.limits.max_iter) as shown:
        best, failures = Restarts(likelihood, options, begin, names, shown, bound=bound).best()
    if not best.history:
        raise failures[0]
    report = report_of(best, time.perf_counter() - began)
    found = best.parameters if bound is None else expected_mixture(best.parameters)
    model = model_of(
        options.family, found, likelihood.frame, report, names, likelihood.fixed, options.missing
    )
    if failures:
        warn(WarningCause.FAILED, f"{len(failures)} of {options.restarts} start(s) failed: {failures[0]}")
    _warn_of_end(best, likelihood, options)
    return model


def _check_given(init: Any, source: Source, options: Options[Any]) -> Given:
    if isinstance(init, Mixture):
        check_start(init, options.family, options.k, source.n_features)
        return init
    if isinstance(init, Mapping):
        return check_parameters(init, options.family, options.k, source.n_features)
    return check_init(init, options.family, source.n_samples, options.k, source.n_features)


def likelihood_of(source: Source, options: Options[P], given: Given) -> Likelihood[P]:
    """Return the log-likelihood of the rows, in standard coordinates. Bad rows raise their error here."""
    family, moments = options.family, source.moments()
    _check_memory(family, options.k, source.n_features)
    known = source.feature_names, source.largest_integer
    check_spread(source.chunks, source.stored_dtype, moments, *known)
    constant = None
    if moments.gaps:  # without them the plain family has the same likelihood
        family, constant = family.with_missing(), moments.variance == 0
    if source.measured:  # without noise too
        family = measured_family(family)
    frame = family.frame(moments, source.dtype)
    check_size_of_reg_covar(options.reg_covar, frame, moments.weight)
    check_nearness(given, family, frame)
    base = source.base_measure(family, frame) if family.has_base_measure else 0.0
    fixed = held_of(given, options, frame, source.known.labels) if options.fixed else None
    about = options.sound_first, options.hard, fixed, constant
    likelihood = Likelihood(source, family, options.k, frame, options.reg_covar, base, *about)
    if options.prior is None or options.variational:
        return likelihood
    return posterior_of(likelihood, options.prior)


def _check_memory(family: Family[Any, Any], k: int, d: int) -> None:
    """Raise an error if the arrays that any pass and M-step hold cannot be had."""
    if not family.has_covariances:
        return
    numbers = family.n_parameters(k, d)
    matrices = numbers > 2 * k * d
    need = _COPIES * 8 * numbers * (2 if matrices else 1)  # both triangles of matrices are stored
    try:
        np.empty(need, np.uint8)
    except MemoryError:
        remedy = "Pass fewer columns or components"
        if matrices:
            remedy += ', or covariance_type="diag" or "spherical", which take no square of the columns'
        raise MemoryError(
            f"covariance_type must be one whose arrays fit in memory; {family.label} of {k} component(s) in "
            f"{d} features needs more than {need / 1e9:.3g} GB. {remedy}."
        ) from None


def _start(likelihood: Likelihood[P], given: Given, restart: int, rng: np.random.Generator) -> Maximised[P]:
    if isinstance(given, Mixture):
        return Maximised(in_frame(given, likelihood.frame), [], [], [])
    if isinstance(given, str) and given == BRIEF:
        return brief_start(likelihood, rng)
    if isinstance(given, str):
        return named_start(likelihood, given, rng, restart)
    if isinstance(given, dict):
        return partial_start(likelihood, given, rng)
    return given_start(likelihood, given)


def _start_of_bound(
    bound: VariationalBound, given: Given, restart: int, rng: np.random.Generator
) -> Maximised[VariationalPosterior]:
    if isinstance(given, np.ndarray):
        return bound.begin_given(given)
    known = bound.likelihood.source.known.labels.size > 0  # components keep the numbers of the labels
    start = _start(bound.likelihood, given, restart, rng)
    return bound.begin(start, by_weight=isinstance(given, str) and not known)


def report_of(best: Run[Any], elapsed: float) -> FitReport:
    return FitReport(
        status=best.status,
        converged=best.status in (FitStatus.CONVERGED, FitStatus.DEGENERATE),
        n_iter=best.n_iter,
        log_likelihood=best.log_likelihood,
        history=tuple(best.history),
        repairs=tuple(
            repair._replace(what=MASS)
            if repair.what == FLOORED and repair.component in best.masses
            else repair
            for repair in best.repairs
        ),
        elapsed=elapsed,
        objective=best.objective,
    )


def _warn_of_end(best: Run[P], likelihood: Likelihood[P], options: Options[Any]) -> None:
    """Warn if the fit ended in a way that the user should know about at once and did not ask for."""
    if best.status is FitStatus.DECREASED:
        warn(WarningCause.DECREASED, options.family.advice_on_fall)
    if best.status is FitStatus.MAX_ITER and not options.endless:
        warn(WarningCause.MAX_ITER)
    if best.singular and best.status is not FitStatus.STOPPED:
        spurious = set(best.singular) - set(best.masses)
        source, told = likelihood.source, singular_in_words(likelihood, best.parameters, best.singular)
        warn(
            WarningCause.DEGENERATE if spurious else WarningCause.MASS,
            f"Components {reprlib.repr(best.singular)} of {options.k}, in "
            f"{source.n_positive} rows of {source.n_features} features. {told}".rstrip(),
        )
