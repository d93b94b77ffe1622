"""k-means as a family: each row belongs to the nearest centre, and its log-density is minus the square of the
distance. It is no distribution, so users cannot pass it to `fit`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem._checks import check_finite
from fastem._families.base import check_sums
from fastem._families.frame import Frame, Moments, frame_of
from fastem._families.steps import Maximised, Pass, Rule, Scores, Summed
from fastem._families.unscaled import Unscaled
from fastem._kernels._layout import PAIR_ROWS, TILE_BYTES
from fastem._kernels._lloyd import slot_distances, slot_lloyd
from fastem._kernels._panels import pack_rows_in_blocks, pad_to_blocks
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import LloydFound, LloydKept, LloydParams, LloydSums
from fastem._typing import Array, FloatArray, Rows, read_only

# The scores of a row x are sums of d + 1 products of rounded numbers. Each of their rounding errors is at
# most so many times that of |x|^2 or of the squared length of the longest center.
_ROUNDINGS = 4
_MORE = 1 + 1e-9  # the steps of centers are rounded upwards
# The distances of rows to centers are divided between slots of so many numbers.
_MOST_SLOTS, _NUMBERS_PER_SLOT = 64, 65536


class Centres(NamedTuple):
    weights: FloatArray  # (K,) the weight of the rows of each cluster, or ones if it is not known
    centers: FloatArray  # (K, d)


class CentreSums(NamedTuple):
    """Sums over the rows of each cluster, with z = (x - center) / scale."""

    centers: FloatArray  # (K, d) in user units
    weights: FloatArray  # (K,) sum of w
    first: FloatArray  # (K, d) sum of w z
    reach: FloatArray  # (K,) the largest |z|^2
    outermost: FloatArray  # (K, d) the row that has it, in user units


class KMeansFamily(Unscaled[Centres, CentreSums]):
    """Centers are in user units, so that a model and the last pass of its fit have the same bits."""

    name = "kmeans"
    distribution = "kmeans"
    parameter_names = ("centers",)
    location = "centers"
    isotropic = True

    def check(self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None) -> Centres:
        centers = check_finite("centers", parameters["centers"])
        if centers.ndim != 2 or 0 in centers.shape:
            raise ValueError(f"centers must have shape (k, d), one row a center; got {centers.shape}.")
        if n_features not in (None, centers.shape[1]) or weights.shape != centers.shape[:1]:
            raise ValueError(f"centers must have shape {(len(weights), n_features)}; got {centers.shape}.")
        return Centres(weights, centers)

    def n_features(self, parameters: Centres) -> int:
        return int(parameters.centers.shape[1])

    def n_parameters(self, k: int, d: int) -> int:
        return k * d

    def sample(self, parameters: Centres, labels: Array, rng: np.random.Generator) -> FloatArray:
        raise NotImplementedError("k-means has no density to draw rows from.")

    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        return frame_of(moments, dtype, isotropic=True)

    def own_frame(self, parameters: Centres, dtype: np.dtype[Any]) -> Frame:
        centers = parameters.centers
        return frame_of(Moments(1.0, centers.mean(axis=0), centers.var(axis=0)), dtype, isotropic=True)

    def working_dtype(self, packed: Any) -> np.dtype[Any]:
        """Kernels decide and sum in float64 where it matters, whatever the dtype of the rows."""
        return np.dtype(np.float64)

    def pack(self, parameters: Centres | None, frame: Frame, dtype: np.dtype[Any]) -> LloydParams:
        assert parameters is not None
        d = parameters.centers.shape[1]
        centers = frame.standardise(parameters.centers)
        with np.errstate(over="ignore"):  # rows for which float32 does not reach are looked at in float64
            lengths = np.square(centers).sum(axis=1)
            slack = _ROUNDINGS * (d + 2) * float(np.finfo(dtype).eps) * np.array([1.0, lengths.max()])
            return LloydParams(
                frame.shift.astype(dtype),
                (1 / frame.scale).astype(dtype),
                pack_rows_in_blocks(centers, dtype, int(PAIR_ROWS)),
                pad_to_blocks(-lengths / 2, -np.inf, dtype, int(PAIR_ROWS)),
                slack.astype(dtype),
                parameters.centers,
            )

    def bytes_per_slot(self, k: int, d: int) -> int:
        return 8 * k * (2 * d + 3)

    def bytes_per_scoring_slot(self, k: int, d: int) -> int:
        """Labels come from the slabs of a pass, about which the passes of a fit keep something."""
        return self.bytes_per_slot(k, d)

    def multiply_adds(self, d: int) -> int:
        return d

    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> "_LloydPass":
        return _LloydPass(packed, slots, n_threads)

    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        assert wanted.labels is not None
        running = _LloydPass(packed, slots, n_threads)
        running.find(rows, wanted.labels)
        return running.end() is not None

    def add(self, one: CentreSums, other: CentreSums) -> CentreSums:
        farther = other.reach > one.reach
        return CentreSums(
            one.centers,
            one.weights + other.weights,
            one.first + other.first,
            np.where(farther, other.reach, one.reach),
            np.where(farther[:, None], other.outermost, one.outermost),
        )

    def maximise(self, sums: CentreSums, rule: Rule[Centres]) -> Maximised[Centres]:
        """Return the means of the clusters.

        A cluster without rows gets the row that is farthest from its own center, at most one of each other
        cluster. If all rows are at their centers, there are fewer distinct rows than centers, and it stays.
        """
        owned = sums.weights > 0
        steps = sums.first / np.where(owned, sums.weights, 1.0)[:, None] * rule.frame.scale
        centers = sums.centers + np.where(owned[:, None], steps, 0.0)
        empty = np.flatnonzero(~owned)
        givers = [c for c in np.argsort(-sums.reach, kind="stable") if sums.reach[c] > 0]
        count = min(len(empty), len(givers), len(empty) if rule.reseeds is None else rule.reseeds)
        centers[empty[:count]] = sums.outermost[givers[:count]]
        moved, kept = empty[:count].tolist(), empty[count:].tolist()
        return Maximised(Centres(sums.weights, centers), moved, kept, [])

    def origin(self, k: int, d: int) -> None:
        return None

    def to_vector(self, parameters: Centres) -> None:
        return None

    def from_vector(self, vector: FloatArray, like: Centres) -> None:
        return None

    def to_arrays(self, sums: CentreSums) -> dict[str, Array]:
        return sums._asdict()

    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> CentreSums:
        k = len(arrays["weights"])
        shapes = {"centers": (k, d), "weights": (k,), "first": (k, d), "reach": (k,), "outermost": (k, d)}
        return CentreSums(**{name: check_sums(name, arrays[name], shape) for name, shape in shapes.items()})

    def user_sums(self, sums: CentreSums, frame: Frame) -> dict[str, Any]:
        return {
            "weights": sums.weights,
            "centers": sums.centers,
            "first": sums.first * frame.scale,
        }


KMEANS = KMeansFamily()


def distances(X: Array, centers: FloatArray, n_threads: int | None) -> Array:
    """Return the distance of each row (n, d) to each center (K, d), in the dtype of the rows."""
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    out = np.empty((len(X), len(centers)), dtype)
    frame = KMEANS.own_frame(Centres(np.ones(len(centers)), centers), np.dtype(np.float64))
    slots = max(1, min(_MOST_SLOTS, out.size // _NUMBERS_PER_SLOT))
    rows = read_only(np.ascontiguousarray(X, dtype=dtype))
    arguments = (rows, centers.copy(), 1 / frame.scale[:1], out, np.empty(slots))
    run_slots(slot_distances, arguments, slots, n_threads)
    return out


def _kept(rows: Rows, packed: LloydParams) -> LloydKept:
    """Return what earlier passes have kept about rows, and how far the centers have moved since."""
    k, m = len(packed.places), len(rows.X)
    if rows.kept is None:
        return LloydKept(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0))
    before = rows.kept.get("centers")
    if before is None or before.shape != packed.places.shape:
        before = packed.places
        rows.kept["nearest"] = np.zeros(m, np.int32), np.zeros(m, np.float32)
    rows.kept["centers"] = packed.places
    with np.errstate(over="ignore"):  # a step beyond float64 is infinite
        steps = np.linalg.norm((packed.places - before) * float(packed.inverse_scale[0]), axis=1)
    farthest = steps.argmax()
    drifts = np.full(k, steps[farthest])
    drifts[farthest] = np.delete(steps, farthest).max(initial=0.0)
    labels, bounds = rows.kept["nearest"]
    return LloydKept(labels, bounds, drifts * _MORE)


class _LloydPass(Pass[CentreSums]):
    def __init__(self, packed: LloydParams, slots: int, n_threads: int | None) -> None:
        k, d = packed.places.shape
        self._packed, self._slots, self._n_threads = packed, slots, n_threads
        flat, table = (slots, k), (slots, k, d)
        self._sums = LloydSums(*map(np.zeros, (flat, table, flat, flat, table)))

    def add(self, rows: Rows, given: Array | None) -> None:
        self.find(rows, np.empty(0, np.int64))

    def find(self, rows: Rows, labels: Array) -> None:
        """Add rows, and find their labels unless the array is of length 0."""
        dtype = self._packed.shift.dtype
        weight = np.empty(0, dtype) if rows.weight is None else rows.weight
        points = self._slots * (TILE_BYTES // dtype.itemsize)
        found = LloydFound(np.zeros(points, np.int64), np.empty(points, np.int64))
        weight = read_only(weight.astype(dtype, copy=False))
        kept = _kept(rows, self._packed)
        arguments = (rows.X, weight, self._packed, kept, found, labels, self._sums)
        run_slots(slot_lloyd, arguments, self._slots, self._n_threads)

    def end(self) -> Summed[CentreSums] | None:
        sums = self._sums
        farthest = sums.reach.argmax(axis=0)
        each = np.arange(len(farthest))
        collected = CentreSums(
            self._packed.places,
            sums.weights.sum(axis=0),
            sums.first.sum(axis=0),
            sums.reach[farthest, each],
            sums.outermost[farthest, each],
        )
        error = float(sums.errors.sum())
        if not (np.isfinite(error) and all(np.isfinite(array).all() for array in collected)):
            return None
        return Summed(collected, -error)
