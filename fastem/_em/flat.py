"""In which columns a component is singular: those that are constant in it, and those that are collinear."""

from typing import NamedTuple

import numpy as np

from fastem._em.objective import Likelihood
from fastem._families.rounding import DOMINATED, RELATIVE_FLOOR, noise
from fastem._families.steps import P, Scores
from fastem._sources.arrays import ArraySource
from fastem._sources.passes import Sweep
from fastem._typing import Array, FloatArray, Rows

_SAMPLE_ROWS = 16384
# Columns belong to one linear relation if the projector onto all relations couples them by more than this.
_COUPLED = 5e-3


class Flat(NamedTuple):
    """Where a component has no width. The numbers are those of columns."""

    constant: tuple[int, ...] = ()
    collinear: tuple[tuple[int, ...], ...] = ()
    rows: float | None = None  # those of which the covariance is made, if they are too few for it
    shared: bool = False  # whether all components share the covariance

    @property
    def is_known(self) -> bool:
        return bool(self.constant or self.collinear) or self.rows is not None


def flat_columns(likelihood: Likelihood[P], parameters: P, components: list[int]) -> dict[int, Flat]:
    """Tell of each singular component in which columns it is singular.

    Of ellipses the covariances tell. Of other distributions a sample of the rows does.
    """
    found: dict[int, Flat] = {}
    ellipsoids = likelihood.family.ellipsoids(parameters)
    if ellipsoids is not None:
        own = np.flatnonzero(~np.isnan(ellipsoids[0]).any(axis=0))
        means, matrices = ellipsoids[0][:, own], ellipsoids[1][:, own[:, None], own]
        amount, variance = _least(likelihood, own, parameters.weights[: len(means)], means, matrices)
        precision = float(np.finfo(likelihood.source.dtype).eps)
        shared = len(matrices) > 1 and bool((matrices == matrices[0]).all())
        surely = len(own) == likelihood.source.n_features
        for c in components if len(own) else []:
            beyond = np.maximum(amount - RELATIVE_FLOOR * variance, 0)  # of this, width tells nothing
            least = np.maximum(amount - beyond, noise(np.diagonal(matrices[c]), precision, variance))
            flat = _flat(matrices[c] - np.diag(beyond), least, own, surely)
            n = likelihood.source.n_positive * (1.0 if shared else float(parameters.weights[c]))
            if flat.collinear and n < len(own) + (len(matrices) if shared else 0.5):
                flat = flat._replace(collinear=(), rows=n)
            found[c] = flat._replace(shared=shared)
    rest = [c for c in components if not found.get(c, Flat()).is_known]
    if rest:
        rows = likelihood.source.sample(_SAMPLE_ROWS, np.random.default_rng(0))
        labels = _labels(likelihood, parameters, rows)
        for c in rest:
            found[c] = Flat(constant=_constant(rows, labels == c))
    return found


def _least(
    likelihood: Likelihood[P], own: Array, weights: FloatArray, means: FloatArray, matrices: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what the M-step adds to variances, and the variance of each column over all components."""
    variances = np.diagonal(matrices, axis1=1, axis2=2)
    total = np.asarray(weights @ (variances + np.square(means - weights @ means)))
    if likelihood.family.isotropic:
        total = np.full_like(total, total.mean())
    total[likelihood.source.moments().variance[own] == 0] = 1.0
    if likelihood.reg_covar is None:
        return RELATIVE_FLOOR * total, total
    scale = likelihood.frame.scale[own]
    return np.asarray(likelihood.reg_covar / scale / scale), total


def _flat(matrix: FloatArray, floor: FloatArray, own: Array, surely: bool) -> Flat:
    """Compare a covariance with the least variances of its columns, which have these numbers.

    `surely` says that it is known to be singular, whatever its floor was. So the narrowest direction counts.
    """
    deviations = np.sqrt(floor)
    ratios = matrix / deviations[:, None] / deviations
    limit = max(DOMINATED, 2 * float(np.linalg.eigvalsh(ratios)[0])) if surely else DOMINATED
    constant = np.diagonal(ratios) <= limit
    left = np.flatnonzero(~constant)
    values, vectors = np.linalg.eigh(ratios[np.ix_(left, left)])
    narrow = vectors[:, values <= limit]
    # In units of the deviations of the component, each column has its share in a relation.
    shares, _ = np.linalg.qr(narrow * np.sqrt(np.diagonal(ratios)[left])[:, None])
    groups = _groups(np.abs(shares @ shares.T) > _COUPLED)
    return Flat(tuple(own[constant].tolist()), tuple(tuple(own[left[group]].tolist()) for group in groups))


def _groups(coupled: Array) -> list[list[int]]:
    """Return the connected groups of at least two columns."""
    groups, seen = [], set()
    for first in range(len(coupled)):
        group, waiting = [], [first]
        while waiting:
            j = waiting.pop()
            if j not in seen and coupled[j, j]:
                seen.add(j)
                group.append(j)
                waiting += np.flatnonzero(coupled[j]).tolist()
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


def _labels(likelihood: Likelihood[P], parameters: P, rows: Rows) -> Array:
    family, frame = likelihood.family, likelihood.frame
    labels = np.empty(len(rows.X), np.int64)
    packed = family.pack(parameters, frame, likelihood.source.dtype)
    ArraySource(rows).score(Sweep(family, likelihood.k, packed, frame, None), Scores(labels=labels))
    return labels


def _constant(rows: Rows, own: Array) -> tuple[int, ...]:
    X = rows.X[own & (rows.weights > 0)]
    if not len(X):
        return ()
    there = ~np.isnan(X)
    first = X[there.argmax(axis=0), np.arange(X.shape[1])]
    return tuple(np.flatnonzero(((X == first) | ~there).all(axis=0)).tolist())
