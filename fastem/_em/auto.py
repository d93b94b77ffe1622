"""The start "auto": k-means that breathes in several geometries of a sample, and EM on the sample to choose.

Which clusters k-means can find depends on how features are compared. Features in different units need a scale
each. Clusters along one axis need one scale for all features. Long clusters side by side need whitened rows.
So we try all three, and let the log-likelihood of the mixture decide.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fastem._em.loop import Limits, Run, ascend, gain_below
from fastem._em.objective import Likelihood
from fastem._em.starts import given_start, nearest_start, sample_size, sampled_start, standardised
from fastem._families.base import Maximised, P
from fastem._families.frame import Frame
from fastem._kernels._breathing import labels_of, new_tiles, slot_breathe
from fastem._kernels._kmeans import kmeans_plus_plus
from fastem._kernels._parallel import run_slots
from fastem._sources.arrays import ArraySource
from fastem._typing import Array, FloatArray, Rows

_ROWS = 16384  # of the sample
_DEPTH = 5  # centres that the first breath adds
# At most so many of Lloyd's iterations in each geometry. Most data need a quarter of them.
_LLOYD_ITERATIONS = 200
_NOISE = 64  # directions in which new centres are put beside others
# Geometries run side by side while their tiles fit in this memory.
_TILES_BYTES = 16 << 20
# Correlations below this part of the largest eigenvalue are noise, which whitening must not blow up.
_LEAST_EIGENVALUE = 1e-6
# EM on the sample, for each geometry to choose one of them, and for the chosen one. An iteration costs a
# small part of one on all rows.
_CHOOSING = Limits(gain_below(1e-4), 1e-4, 30)
_REFINING = Limits(gain_below(1e-4), 1e-4, 100)


def named_start(likelihood: Likelihood[P], init: str, rng: np.random.Generator, restart: int) -> Maximised[P]:
    """Return the initial parameters that users call `init`."""
    if init == "auto":
        return _best_of_geometries(likelihood, rng)
    return sampled_start(likelihood, init, rng, restart)


def partial_start(
    likelihood: Likelihood[P], given: Mapping[str, FloatArray], rng: np.random.Generator
) -> Maximised[P]:
    """Return some parameters as they are given, by name in user units, and estimate the others.

    Rows belong to the nearest centre if centres are given, and else to the nearest seed of k-means++.
    """
    family, frame = likelihood.family, likelihood.frame
    if family.location is not None and family.location in given:
        estimated = nearest_start(likelihood, given[family.location], rng)
    else:
        estimated = sampled_start(likelihood, "k-means++", rng, 0)
    user = family.to_user(estimated.parameters, frame)
    values = {name: given.get(name, value) for name, value in family.values(user).items()}
    weights = given.get("weights", user.weights)
    user = family.check(weights, values, likelihood.source.n_features)
    return Maximised(family.from_user(user, frame), [], [], estimated.floored)


def _best_of_geometries(likelihood: Likelihood[P], rng: np.random.Generator) -> Maximised[P]:
    source = likelihood.source
    rows = source.sample(sample_size(likelihood, _ROWS), rng)
    sample = replace(likelihood, source=ArraySource(rows, source.n_threads))
    geometries = _geometries(rows, source.dtype, likelihood.frame)
    weights = np.ones(len(rows.X)) if rows.weight is None else rows.weight.astype(np.float64)
    labellings = _breathe(geometries, weights, likelihood.k, rng, source.n_threads)
    runs = [_ascend(sample, partial(given_start, sample, labels), _CHOOSING) for labels in labellings]
    best = max(runs, key=lambda run: run.rank)
    if best.failure is not None and not best.history:
        raise best.failure
    if len(rows.X) < source.n_samples:
        chosen = Maximised(best.parameters, [], [], best.singular)
        best = _ascend(sample, lambda: chosen, _REFINING)
    return Maximised(best.parameters, [], [], best.singular)


def _ascend(sample: Likelihood[P], start: Callable[[], Maximised[P]], limits: Limits) -> Run[P]:
    return ascend(sample, start, limits, k=sample.k, watch=lambda *_: False)


def _geometries(rows: Rows, dtype: np.dtype[np.floating], frame: Frame) -> list[FloatArray]:
    """Return the rows with one scale for all features, with a scale for each, and whitened; each (d, m)."""
    one_scale = frame._replace(scale=np.full_like(frame.scale, frame.scale.max()))
    common, _ = standardised(rows, dtype, one_scale, isotropic=True)
    scaled, weights = standardised(rows, dtype, frame, isotropic=False)
    if len(scaled) == 1:
        return [scaled]
    eigenvalues, directions = np.linalg.eigh((scaled * weights) @ scaled.T / weights.sum())
    least = _LEAST_EIGENVALUE * eigenvalues[-1]
    deviations = np.sqrt(np.maximum(eigenvalues, least if least > 0 else 1.0))
    return [common, scaled, np.ascontiguousarray((directions / deviations).T @ scaled)]


def _breathe(
    geometries: list[FloatArray], weights: FloatArray, k: int, rng: np.random.Generator, n_threads: int | None
) -> Iterator[Array]:
    """Yield the labels (m,) that k-means finds in each geometry, which may leave clusters without rows."""
    d, m = geometries[0].shape
    noise = rng.standard_normal((_NOISE, d))
    seeds = [kmeans_plus_plus(points, weights, rng.random((k, 1))) for points in geometries]
    together = max(1, _TILES_BYTES // (8 * m * (d + 4)))
    most = k + _DEPTH
    for i in range(0, len(geometries), together):
        group = geometries[i : i + together]
        tiles = np.stack([new_tiles(points, weights) for points in group])
        centres = np.stack([points[:, chosen].T for points, chosen in zip(group, seeds[i:], strict=False)])
        g = len(group)
        more, sums = np.empty((2, g, most, d))
        totals, errors, uses = np.empty((3, g, most))
        scratch = more, totals, sums, errors, uses, np.zeros((g, most), np.int64)
        limits = np.array([_DEPTH, _LLOYD_ITERATIONS])
        run_slots(slot_breathe, (tiles, centres, noise, limits, *scratch, np.zeros((g, 2))), g, n_threads)
        for tile in tiles:
            yield labels_of(tile, m)
