"""Whole fits of small plain data sets of one size, by one kernel for all of them (see `_kernels._whole_fit`).

What Python does around a pass takes longer than the passes of a fit to a few hundred rows. The same kernel
finds the start of small fits that Python goes on with.
"""

import math
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from fastem._em.labellings import SPOT_SHARE, SPOTS, TURNS, WIDER, most_random
from fastem._em.objective import Likelihood
from fastem._em.race import ASCENT_HEATS
from fastem._families.ascents import STRETCH
from fastem._families.base import Family
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import GaussianParameters
from fastem._families.reseed import LEAST_ROWS
from fastem._families.rounding import RELATIVE_FLOOR, ROUNDING
from fastem._families.steps import Before, Maximised, P
from fastem._kernels._ascent import ascend_slots, empty_tiles, lay_out, new_rows, products_of
from fastem._kernels._ascent_mstep import Given, Scratch, State
from fastem._kernels._direct_call import codes_of
from fastem._kernels._kmeans import label_starts
from fastem._kernels._whole_fit import (
    RANDOM,
    SPOT,
    Cloud,
    Clusters,
    Found,
    Lists,
    Setup,
    Uniforms,
    fit_slots,
)
from fastem._kernels._whole_race import Ascents
from fastem._sources.few import few_of
from fastem._sources.passes import Source
from fastem._sources.spread import LARGEST_INTEGER
from fastem._typing import Array, FloatArray, Rows

# The most components, features, and multiply-adds of a pass. With more, passes take longer than Python.
_MOST_COMPONENTS, _MOST_FEATURES, _MOST_WORK = 7, 16, 1 << 17
_ROWS_PER_FEATURE, _ROWS_PER_COMPONENT = 4, 8
# Fits that need more passes than this may leap (see `_em.acceleration`), which Python knows.
MOST_PASSES = 12
# Rows that repeat so often may be masses (see `_em.masses`). Columns whose first rows are whole numbers or of
# two values may have few values, of which there is a warning (see `_sources.few`).
_REPEATED, _VERY_FIRST = 20, 4

# The arrays of fits that no thread computes in, for the last shapes: up to 5 MB each for each thread. To make
# them takes a tenth of a fit.
_spare: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
_MOST_SPARE = 2


class _Shape(NamedTuple):
    """What the arrays of fits depend on."""

    n: int
    d: int
    k: int
    kind: str  # the covariance type
    starts: int

    @property
    def covariances(self) -> tuple[int, int]:
        """How many there are, and their columns."""
        return 1 if self.kind == "tied" else self.k, self.d if self.kind in ("full", "tied") else 1


def suits(family: Family[Any, Any], n: int, d: int, k: int) -> bool:
    """Return whether the kernel knows this family, and a fit of this size is small."""
    known = type(family) is Gaussian and family.name in ("full", "tied", "diag", "spherical")
    if not known or family.missing or not 1 < k <= _MOST_COMPONENTS or not 0 < d <= _MOST_FEATURES:
        return False
    enough = n >= max(_ROWS_PER_FEATURE * d, _ROWS_PER_COMPONENT * k)
    return enough and n * k * family.multiply_adds(d) <= _MOST_WORK


def small_rows(source: Source, family: Family[Any, Any], k: int) -> FloatArray | None:
    """Return the rows of a source (1, n, d), or None if they are not a small data set of float64 alone."""
    n = source.n_samples
    if not suits(family, n, source.n_features, k) or source.dtype != np.float64:
        return None
    if source.measured or n != source.n_positive:
        return None
    rows = source.sample(n, np.random.default_rng(0))
    if rows.weight is not None or rows.labels is not None:
        return None
    with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes inf
        X = np.array(rows.X, np.float64, order="C")[None]  # read-only ones are another type
    whole = rows.X.dtype.kind in "iu" and X.size > 0
    largest = max(source.largest_integer, np.abs(X).max() if whole else 0)
    return X if largest <= LARGEST_INTEGER else None  # there is a warning of others


def are_plain(X: FloatArray) -> Array:
    """Return which data sets X (B, n, d) are finite, without rows that repeat, and of many values, (B,)."""
    with np.errstate(all="ignore"):  # numbers may be of any size, or none
        keys = X[:, :, 0] * _direction(X.shape[2])[0]
        for j in range(1, X.shape[2]):
            keys += X[:, :, j] * _direction(X.shape[2])[j]
    keys.sort(axis=1)
    plain = np.isfinite(keys[:, [0, -1]]).all(axis=1)
    plain &= (keys[:, _REPEATED - 1 :] != keys[:, : 1 - _REPEATED]).all(axis=1)
    some = np.sort(X[:, :_VERY_FIRST], axis=1)
    values, whole = 1 + (some[:, 1:] != some[:, :-1]).sum(axis=1), (some == np.rint(some)).all(axis=1)
    unclear = ((values <= 2) | whole).any(axis=1)
    for s in np.flatnonzero(plain & unclear).tolist():
        plain[s] = not few_of(Rows("X", 0, X[s])).columns()
    return np.asarray(plain)


@cache
def _direction(d: int) -> FloatArray:
    """Return a random direction (d,), along which different rows are apart."""
    return np.random.default_rng(0).uniform(1, 2, d)


def whole_fits(
    X: FloatArray,
    family: Any,
    k: int,
    tol: float,
    drawn: list[np.random.Generator],
) -> Found:
    """Fit each of the data sets X (B, n, d), with random numbers of its own or the same for all."""
    return _found(X, family, k, drawn, tol, MOST_PASSES)


def whole_start(
    likelihood: Likelihood[P], rng: np.random.Generator
) -> tuple[Maximised[P] | None, list[Array]]:
    """Return where the best ascent of a whole fit ends, or None if the fit is not small and plain.

    Also return the labels (n,) from which an ascent may lead to a mass, if there are such.
    """
    k, frame = likelihood.k, likelihood.frame
    family: Any = likelihood.family
    alone = likelihood.reg_covar is None and likelihood.prior is None and likelihood.fixed is None
    X = small_rows(likelihood.source, family, k) if alone and not likelihood.hard else None
    if X is None or not are_plain(X)[0]:
        return None, []
    found = _found(X, family, k, [rng], 0.0, 0)
    if found.passes[0] < 1:
        return None, [*found.labels[found.passes < 0]]
    parameters = family.from_user(parameters_of(found, family.name, 0), frame)
    before = Before(X.shape[1], float(found.before[0]) - family.log_constant(frame))
    return Maximised(parameters, [], [], [], before=before), []


def parameters_of(found: Found, kind: str, s: int) -> GaussianParameters:
    """Return the parameters of a data set in user units."""
    covariances = found.covariances[s]
    if kind == "tied":
        covariances = covariances[0]
    elif kind == "diag":
        covariances = covariances[:, :, 0]
    elif kind == "spherical":
        covariances = covariances[:, 0, 0]
    return GaussianParameters(found.weights[s], found.means[s], covariances)


def _found(
    X: FloatArray,
    family: Any,
    k: int,
    drawn: list[np.random.Generator],
    tol: float,
    passes: int,
) -> Found:
    (b, n, d), work = X.shape, X.shape[1] * k * family.multiply_adds(X.shape[2])
    shape = _Shape(n, d, k, family.name, int(RANDOM) + most_random(work))
    uniforms, (m, columns) = _uniforms(shape, drawn), shape.covariances
    more = family.n_parameters(k + 1, d) - family.n_parameters(k, d)
    means, covariances = np.empty((b, k, d)), np.empty((b, m, d, columns))
    (made, labels), history = (np.zeros(b, np.int64), np.zeros((b, n), np.int64)), np.empty((b, passes))
    found = Found(made, labels, np.empty((b, k)), means, covariances, np.empty(b), history)
    if _codes() is None:
        return found
    spare = _spare.setdefault((shape, tol), [])
    try:
        workspace = spare.pop()
    except IndexError:  # other threads have them all
        workspace = _workspace(shape, tol, more)
    fit_slots(X, uniforms, *workspace, found)
    spare.append(workspace)
    if len(_spare) > _MOST_SPARE:
        _spare.clear()
    return found


def _uniforms(shape: _Shape, drawn: list[np.random.Generator]) -> Uniforms:
    k, starts, fixed = shape.k, shape.starts, int(SPOT) + 1
    candidates, of_more = 2 + int(np.log(k)), 2 + int(np.log(k + 1))
    sizes = [
        (fixed, k, candidates),
        (fixed, k - 1, candidates),
        (2, k + 1, of_more),
        (starts, k, 1),
        (SPOTS,),
    ]
    ends = [*accumulate(math.prod(size) for size in sizes)]
    numbers = np.array([rng.random(ends[-1]) for rng in drawn])
    parts = [numbers[:, first:end] for first, end in zip([0, *ends], ends, strict=False)]
    return Uniforms(
        *(np.ascontiguousarray(part).reshape(-1, *size) for part, size in zip(parts, sizes, strict=True))
    )


@cache
def _codes() -> Any:
    """Return what the kernel calls others by, which are compiled here if they are not yet."""
    shape = _Shape(1, 1, 2, "full", 1)
    setup, rows, clusters, ascents, *_ = _workspace(shape, 0.0, 0, known=False)
    seen, ones, labels, uniforms = rows.seen, rows.weights[0], clusters.labels, np.empty((1, 1, 1))
    starts = seen, seen, ones, setup.which, uniforms, 0, labels, *clusters[2:], 0, 1
    laid = rows.points, ones, rows.order, 0, ascents.given.tiles
    called = [(label_starts, starts), (lay_out, laid), (ascend_slots, (*ascents[:-1], 0, 1))]
    return codes_of(called)


def _workspace(shape: _Shape, tol: float, more: int, known: bool = True) -> tuple[Any, ...]:
    """Return the arrays that the fits of a thread compute in."""
    (n, d, k, kind, s), (m, columns) = shape, shape.covariances
    isotropic = kind == "spherical"
    products = products_of(d, columns, m < k, isotropic)
    near = max(1, int(SPOT_SHARE * n))
    which = ((np.arange(s) - RANDOM) % TURNS + 1) // TURNS * min(d - 1, 1)
    which[:RANDOM] = (0, 0, 1, 2, 3, 0)[: len(which)]
    numbers = np.array([tol, more, isotropic, near, min(WIDER * near, n), products], np.float64)
    codes: Any = _codes() if known else None
    setup = Setup(codes, numbers, np.array(ASCENT_HEATS), which)
    order, labels, nearest = np.zeros(n, np.int64), np.zeros((s + 3, n), np.int64), np.empty(n, np.int32)
    ones, cloud = np.ones((3, n)), np.zeros((5, d, n), np.float32)
    about, matrices = np.zeros((5, d)), np.zeros((2, d, d))
    rows = Cloud(np.empty((d, n)), cloud[:4], ones[:2], ones[2], order, about, matrices)
    centres = np.empty((k + 1, d), np.float32), np.empty(k + 1), np.empty((k + 1, d))
    distances, cumulative = np.empty((3, n), np.float32), np.empty(n)
    clusters = Clusters(
        labels[:s],
        labels[s : s + 2],
        labels[s + 2],
        nearest,
        distances,
        cumulative,
        np.empty(k + 1, np.int64),
        *centres,
    )
    floor, rounding = np.full(d, RELATIVE_FLOOR), ROUNDING * float(np.finfo(np.float64).eps)
    limits = np.array([0, 0, LEAST_ROWS, rounding, isotropic, STRETCH])
    given = Given(empty_tiles(n, d, products), np.zeros((d, d) if m < k else (0, 0)), limits, floor, floor)
    lists = Lists(np.zeros((3, s), np.int64), np.zeros((k + 1, k + 1), np.int64), np.zeros((k + 1, k)))
    _, _, *others, _ = _ascents(given, 2, n, k + 1, d, 1 if m < k else k + 1, columns)
    return setup, rows, clusters, _ascents(given, s, n, k, d, m, columns), tuple(others), lists


def _ascents(given: Given, s: int, n: int, k: int, d: int, m: int, columns: int) -> Ascents:
    sums = np.zeros((3, 1, k, given.tiles.shape[1] - 1))
    scratch = Scratch(new_rows(1, k), sums[0], sums[1], sums[2], np.empty((1, 2, d)))
    labels, states = np.zeros((s, n), np.int64), _states(s, k, d, m, columns)
    return Ascents(given, np.zeros(1, np.int64), labels, states, np.zeros((s, 4)), scratch, np.empty((d, d)))


def _states(s: int, k: int, d: int, m: int, columns: int) -> State:
    (shares, constants), covariances = np.zeros((2, s, k)), np.zeros((2, s, m, d, columns))
    return State(shares, np.zeros((s, k, d)), covariances[0], covariances[1], constants, np.zeros((s, m)))
