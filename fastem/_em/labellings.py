"""Labels of a sample of rows, from which EM may start.

K-means, which breathes, tries several geometries of the rows. It does not see clusters inside others. For
these there are rows that repeat, and dense spots.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby

import numpy as np

from fastem._em.geometries import DIRECTIONS, MOST_ALONG, projected, stacked
from fastem._em.masses import repeated_rows
from fastem._families.matrices import times
from fastem._kernels._breathing import breathe_slots, labels_of, new_tiles
from fastem._kernels._kmeans import kmeans_plus_plus, labels_from_seeds, single
from fastem._kernels._parallel import run_in_threads
from fastem._sources.parts import part_of
from fastem._typing import Array, FloatArray

# Breathing takes so many rows for each centre, and at least so many. Where EM goes on from all of several
# labellings, fewer will do.
_ROWS_PER_CENTRE, _LEAST_ROWS = 128, 2048
_FEW_PER_CENTRE, _FEW_ROWS = 64, 256
# Centres that the first breath adds. Where EM goes on from several labellings, it is fewer than k, since
# there a few clusters need no more: of 900 fits with 2 to 12 components as many were best with one centre as
# with five. Eight clusters of which some are 20 times as large as others need five.
# With many centres it is one in so many: the seeds of 512 clusters in 64 features missed 97 of them, and five
# at a time take twice as many iterations to mend that.
_DEPTH, _PER_BREATH = 5, 20
# Where centres have so many numbers, in no more directions than these, a breath adds one for every few of
# them, and the first in vain is the last. That takes less time, and finds as much: smaller breaths leave an
# optimum less often, and larger ones are in vain too early. Of 32 clusters it finds fewer.
_DEAR, _PER_DEAR_BREATH = 1920, 8
# Lloyd's iterations in each geometry end after this many. Most data need a quarter of them.
_LLOYD_ITERATIONS = 200
_NOISE = 64  # directions in which new centres are put beside others
# Threads take longer to wake up than fewer numbers (rows x features x centres) take.
_WORTH_THREADS = 1 << 14
# Geometries run side by side while their tiles fit in this memory.
_TILES_BYTES = 16 << 20
# One in so many random labellings is of whitened rows. Of those of the diabetes data 22 % lead to the best
# optimum of two full components, and 5 % of the others.
TURNS = 4
# If X has few rows, iterations cost little, and k-means alone often misses the best optimum. There are more
# random labellings the fewer multiply-adds a pass takes, and up to as many again where it takes an eighth.
MOST_RANDOM, _RANDOM_WORK, _AGAIN_WORK = 16, 1 << 19, 1 << 16
# A dense spot has this share of the rows, and the place around it, spot included, has WIDER times as many.
# We compare the places around SPOTS rows, in a sample of _SPOT_ROWS.
SPOT_SHARE = 0.03
WIDER = 4
SPOTS = 96
_SPOT_ROWS = 1024
# Squared distances below this part of squared lengths are computed from gaps, as the others lose digits.
_TIGHT = 1e-5
# Where noise is expected, this share of the rows, farthest from so many neighbours, is sparse. Without that,
# fits missed the best optimum known of 4 in 30 data sets of 3 to 5 clusters and 20 % noise; with it, of none.
_SPARSE_SHARE, _NEIGHBOURS = 0.3, 10
# Clusters of two labellings that share at least this part of their rows are the same.
_SAME = 0.95
# Clusters are clear if k-means finds at least this share of them in two geometries.
_CLEAR = 0.8


def labellings(
    geometries: list[FloatArray],
    weights: FloatArray,
    k: int,
    rng: np.random.Generator,
    n_threads: int | None,
    seen: Sequence[Array] = (),
) -> list[Array]:
    """Return labels (m,) of the rows, first those of k-means in each geometry.

    Those that are `seen` before, where no value repeats often, count for these.
    """
    scaled = geometries[0]
    masses = [] if seen else repeated_rows(scaled, weights, k - 1)
    if masses and not weights[~np.any(masses, axis=0)].any():  # as where those in sparse places do not count
        masses = []
    apart = geometries if k <= MOST_ALONG else geometries[:-1]
    compared = [projected(points, weights, k) for points in (apart[:1] if seen else apart)]
    found = [*seen] or _around(compared, weights, masses, k, rng, n_threads)
    if masses:
        found += _breathed(compared[:1], weights, k, rng, n_threads)
    if k > len(masses) + 1:
        spot = _dense_spot(scaled, np.where(np.any(masses, axis=0), 0.0, weights) if masses else weights, rng)
        found += _around(compared[:1], weights, [*masses, spot], k, rng, n_threads)
    return found


def are_clear(found: list[Array], k: int) -> bool:
    """Return whether two labellings by k-means have nearly the same clusters."""
    return any(_agreement(*pair, k) >= _CLEAR for pair in combinations(found, 2))


def distinct(found: list[Array], k: int) -> list[Array]:
    """Return the labellings that differ from all before them."""
    return first_of_kinds(found, kinds_of(found, k))


def first_of_kinds(found: list[Array], kinds: list[int]) -> list[Array]:
    return [labels for one, labels in enumerate(found) if kinds[one] == one]


def kinds_of(found: list[Array], k: int) -> list[int]:
    """Return which labelling is the first that has nearly the same clusters as this one, for each."""
    # Sizes tell most of them apart: those of the same clusters are nearly the same, in order.
    ordered = np.sort([np.bincount(labels, minlength=k) for labels in found], axis=1)
    similar = np.all(ordered[:, None] >= _SAME * ordered, axis=2).tolist()
    kinds = list[int]()
    for one, labels in enumerate(found):
        like = (
            other
            for other in dict.fromkeys(kinds)
            if similar[one][other] and similar[other][one] and _agreement(labels, found[other], k) == 1
        )
        kinds.append(next(like, one))
    return kinds


def weights_of_dense(points: FloatArray, weights: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the weights of points (d, m), where those in sparse places have none.

    So k-means does not put centres where rows are noise. Rows at the edges of clusters are not missed.
    """
    positive, points = np.flatnonzero(weights), points.astype(np.float64)
    chosen = rng.choice(positive, min(_SPOT_ROWS, len(positive)), replace=False)
    cloud = points[:, chosen]
    lengths, near = np.square(cloud).sum(axis=0), min(_NEIGHBOURS, len(chosen) - 1)
    reach = np.empty(len(weights))
    for start in range(0, len(weights), _SPOT_ROWS):
        block = points[:, start : start + _SPOT_ROWS]
        distances = lengths - 2 * times(block.T, cloud) + np.square(block).sum(axis=0)[:, None]
        reach[start : start + _SPOT_ROWS] = np.partition(distances, near, axis=1)[:, near]
    return np.where(reach <= np.quantile(reach[positive], 1 - _SPARSE_SHARE), weights, 0.0)


def most_random(work: int) -> int:
    """Return how many random labellings there are where X has few rows, of which a pass takes `work`."""
    return sum(min(MOST_RANDOM, most // work) for most in (_RANDOM_WORK, _AGAIN_WORK))


def random_labels(
    geometries: list[FloatArray],
    weights: FloatArray,
    k: int,
    rng: np.random.Generator,
    count: int,
    n_threads: int | None,
) -> list[Array]:
    """Return the nearest of k seeds of each point, so many times.

    At times distances are those of the second geometry, which lead to other optima.
    """
    if count == 0:
        return []
    which, uniforms = (np.arange(count) % TURNS + 1) // TURNS, rng.random((count, k, 1))
    seen = stacked(geometries[: 1 + which.max()])
    return [*labels_from_seeds(seen, which, weights, uniforms, 0, n_threads=n_threads)]


def nearest_known(points: FloatArray, weights: FloatArray, known: Array, k: int) -> Array:
    """Return the nearest mean of the rows of a known label (m,), of each point (d, m).

    A component without known rows has the point that is farthest from all others as its mean.
    """
    centres = np.empty((k, len(points)))
    named = [label for label in range(k) if weights[known == label].sum() > 0]
    for label in named:
        own = known == label
        centres[label] = points[:, own] @ weights[own] / weights[own].sum()
    for label in set(range(k)) - set(named):
        gaps = np.stack([np.square(points - centres[[other]].T).sum(axis=0) for other in named])
        centres[label] = points[:, np.where(weights > 0, gaps.min(axis=0), -1.0).argmax()]
        named.append(label)
    return np.where(known >= 0, known, _nearest(centres, points))


def _around(
    geometries: list[FloatArray],
    weights: FloatArray,
    known: list[Array],
    k: int,
    rng: np.random.Generator,
    n_threads: int | None,
) -> list[Array]:
    """Return the labels of k-means in each geometry. The last clusters are known."""
    if not known:
        return list(_breathed(geometries, weights, k, rng, n_threads))
    if k == len(known) + 1:
        found = [np.zeros(len(weights), np.int64)]
    else:
        others = np.where(np.any(known, axis=0), 0.0, weights)
        found = list(_breathed(geometries, others, k - len(known), rng, n_threads))
    for labels in found:
        for label, own in enumerate(known, start=k - len(known)):
            labels[own] = label
    return found


def _breathed(
    geometries: list[FloatArray], weights: FloatArray, k: int, rng: np.random.Generator, n_threads: int | None
) -> Iterator[Array]:
    """Yield what k-means finds in each geometry where EM decides, and so less will do for few clusters."""
    least, depth = 1, max(1, min(max(_DEPTH, k // _PER_BREATH), k - 1))
    if k * min(len(geometries[0]), DIRECTIONS) >= _DEAR:
        least = depth = k // _PER_DEAR_BREATH
    rows = max(_FEW_PER_CENTRE * k, _FEW_ROWS)
    return breathe(geometries, weights, k, rng, n_threads, depth=depth, least=least, rows=rows)


def breathing_rows(k: int) -> int:
    """Return how many rows suffice to tell where k centres are. Breathing takes fewer than twice as many."""
    return max(_ROWS_PER_CENTRE * k, _LEAST_ROWS)


def breathe(
    geometries: list[FloatArray],
    weights: FloatArray,
    k: int,
    rng: np.random.Generator,
    n_threads: int | None,
    iterations: int = _LLOYD_ITERATIONS,
    depth: int = _DEPTH,
    least: int = 1,
    rows: int | None = None,
) -> Iterator[Array]:
    """Yield the labels (m,) that k-means finds in each geometry, which may leave clusters without rows.

    They end after so many of Lloyd's `iterations`, or some more. The first breath adds `depth` centres, and
    the last one not fewer than `least`. If there are more than so many `rows`, by default enough for k
    clusters, a part of them tells where the centres are, but fewer than twice as many.
    """
    part = part_of(len(weights), rows or breathing_rows(k), rng)
    few = np.ascontiguousarray(weights[part])
    m, most = len(few), k + depth
    for d, alike in groupby(geometries, key=len):
        same = list(alike)
        noise = rng.standard_normal((_NOISE, d))
        together = max(1, _TILES_BYTES // (4 * len(weights) * (d + 5)))
        for i in range(0, len(same), together):
            whole = np.array([single(points) for points in same[i : i + together]])
            group = np.ascontiguousarray(whole[:, :, part])
            g, centres = len(group), np.empty((len(group), k, d), np.float32)
            for points, chosen in zip(group, centres, strict=True):
                chosen[:] = points[:, kmeans_plus_plus(points, few, rng.random((k, 1)))].T
            tiles = new_tiles(group, few)
            everyone = tiles if m == len(weights) else new_tiles(whole, weights)
            more, sums = np.empty((g, most, d), np.float32), np.empty((g, most, d))
            totals, errors, uses = np.empty((3, g, most))
            scratch = more, totals, sums, errors, uses, np.zeros((g, most), np.int64)
            limits = np.array([depth, least, iterations])
            arguments = (tiles, everyone, centres, noise, limits, *scratch, np.zeros((g, 2)))
            run_in_threads(breathe_slots, arguments, g, n_threads if m * k * d > _WORTH_THREADS else 1)
            yield from labels_of(everyone, len(weights))


def _nearest(centres: FloatArray, points: FloatArray) -> Array:
    """Return the nearest centre (k, d) of each point (d, m)."""
    return np.asarray((np.square(centres).sum(axis=1)[:, None] - 2 * times(centres, points)).argmin(axis=0))


def _dense_spot(points: FloatArray, weights: FloatArray, rng: np.random.Generator) -> Array:
    """Return the mask of the rows of a spot where rows, whatever their weights, are denser than around it."""
    positive = np.flatnonzero(weights)
    rows = (
        positive if len(positive) <= _SPOT_ROWS else np.sort(rng.choice(positive, _SPOT_ROWS, replace=False))
    )
    count = max(1, int(SPOT_SHARE * len(rows)))
    places = points[:, rng.permutation(rows)[:SPOTS]]
    cloud = points if len(rows) == points.shape[1] else points[:, rows]
    near, wide = count - 1, min(WIDER * count, len(rows)) - 1
    # Squared distances, but for the lengths of places, which change no order.
    distances = times(-2 * places.T, cloud)
    distances += np.square(cloud).sum(axis=0)
    distances.partition(wide, axis=1)  # NumPy needs five times as long to find both places at once
    nearest, lengths = distances[:, : wide + 1].copy(), np.square(places).sum(axis=0)
    nearest.partition(near, axis=1)
    around, reach = distances[:, wide] + lengths, nearest[:, near] + lengths
    tight = np.flatnonzero(reach <= _TIGHT * lengths)
    if len(tight):
        gaps = np.square(places[:, tight, None] - cloud[:, None]).sum(axis=0)
        reach[tight] = np.partition(gaps, near, axis=1)[:, near]
    densest = np.where(reach > 0, around / np.where(reach > 0, reach, 1.0), 0.0).argmax()
    gaps = np.square(points - places[:, [densest]]).sum(axis=0)
    return np.asarray((gaps <= np.partition(gaps[rows], near)[near]) & (weights > 0))


def _agreement(labels: Array, others: Array, k: int) -> float:
    """Return the share of clusters that have a counterpart with nearly the same rows."""
    shared = np.bincount(labels * k + others, minlength=k * k).reshape(k, k)
    most = np.maximum(np.add.reduce(shared, axis=1)[:, None], np.add.reduce(shared))
    return np.count_nonzero(shared >= np.maximum(_SAME * most, 1)) / k
