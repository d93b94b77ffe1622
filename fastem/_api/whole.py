"""Whole fits of small plain data by one kernel, as models."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._api.mixture import Mixture, fitted_model
from fastem._api.options import Options
from fastem._em.whole import MOST_PASSES, are_plain, parameters_of, small_rows, whole_fits
from fastem._families.base import Family
from fastem._kernels._whole_fit import Found
from fastem._report import FitReport, FitStatus
from fastem._sources.passes import Source
from fastem._typing import FloatArray


def are_whole(options: Options[Any], init: Any) -> bool:
    """Return whether the kernel knows all that is asked for, and Python has nothing to do in between."""
    watched = options.callback is not None or options.restarts > 1
    plain = options.prior is None and not options.fixed and not options.hard and options.reg_covar is None
    limits = options.limits
    return (
        isinstance(init, str)
        and init == "auto"
        and plain
        and not watched
        and limits.tol > 0
        and limits.max_iter >= MOST_PASSES
    )


def whole_fit(source: Source, options: Options[Any]) -> Mixture[FitReport] | None:
    """Fit to the rows of a source, if these are few, and the fit is plain. The options are so."""
    began, seed = time.perf_counter(), following(options.rng)
    try:
        X = None if seed is None else small_rows(source, options.family, options.k)
    except Exception:  # passes fail in the same way, and tell why
        return None
    if X is None or seed is None:
        return None
    (model,) = whole_models(X, options, [seed], began, source.feature_names)
    if model is not None:
        options.rng.spawn(1)  # so that the next fit by a generator has others
    return model


def whole_models(
    X: FloatArray,
    options: Options[Any],
    seeds: Sequence[np.random.SeedSequence],
    began: float,
    names: tuple[str, ...] | None = None,
) -> list[Mixture[FitReport] | None]:
    """Fit each of the data sets X (B, n, d), with a seed of its own or the same for all."""
    plain = are_plain(X)
    if not plain.any():
        return [None] * len(X)
    drawn = [np.random.default_rng(seed) for seed in seeds]
    found = whole_fits(X, options.family, options.k, options.limits.tol, drawn)
    passes = np.where(plain, np.maximum(found.passes, 0), 0).tolist()
    elapsed = (time.perf_counter() - began) / len(X)
    histories, n = found.history.tolist(), X.shape[1]
    family = options.family.with_missing() if options.missing else options.family  # of rows to come
    return [
        _model(family, found, s, [n * mean for mean in histories[s][: passes[s]]], elapsed, names)
        if passes[s]
        else None
        for s in range(len(X))
    ]


def _model(
    family: Family[Any, Any], found: Found, s: int, history: list[float], elapsed: float, names: Any
) -> Mixture[FitReport]:
    report = FitReport(
        FitStatus.CONVERGED, True, len(history) - 1, history[-1], tuple(history), (), elapsed, history[-1]
    )
    return fitted_model(GaussianMixture, family, parameters_of(found, family.name, s), report, names)


def following(rng: np.random.SeedSequence | np.random.Generator) -> np.random.SeedSequence | None:
    """Return what `rng` spawns next, without a change of it, or None if that is not known."""
    own: Any = rng if isinstance(rng, np.random.SeedSequence) else rng.bit_generator.seed_seq
    if not isinstance(own, np.random.SeedSequence):
        return None
    key = (*own.spawn_key, own.n_children_spawned)
    return np.random.SeedSequence(own.entropy, spawn_key=key, pool_size=own.pool_size)
