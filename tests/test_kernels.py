"""Every kernel is compared with its for-loop twin. This file also runs interpreted (NUMBA_DISABLE_JIT=1)."""

import naive
import numba
import numpy as np
import pytest
from problems import TYPES, random_model
from small_kernels import (
    add_product_by_four,
    add_product_by_two,
    exp2_row,
    log2_less_rows,
    log2_reciprocal_rows,
    product_with_components,
    products_of_ascents,
    rough_rows,
    sums_of_four_rows,
)

import fastem
from fastem._kernels._ascent_blocks import MOST, block_size
from fastem._kernels._jit import python_function
from fastem._kernels._kmeans import kmeans_plus_plus, labels_from_seeds, lloyd
from fastem._kernels._layout import PAIR_ROWS, STRIDE_BYTES, TILE_BYTES, VECTOR_BYTES
from fastem._kernels._panels import pack_rows_in_blocks, pad_to_blocks
from fastem._kernels._regression import slot_regression
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows, read_only

INTERPRETED = bool(numba.config.DISABLE_JIT)
# (n, d, k): sizes around tiles of 256 (float64) and 512 (float32) rows, all remainders, several blocks
SIZES = [(1, 1, 1), (40, 2, 2), (257, 3, 2), (300, 4, 1), (30, 5, 7), (20, 6, 2), (20, 7, 2), (20, 8, 2)]
SIZES += [(20, 25, 3)]  # from 24 features a bound excludes components
if not INTERPRETED:
    SIZES += [
        (255, 1, 7),
        (256, 2, 7),
        (1000, 3, 7),
        (511, 6, 3),
        (512, 5, 3),
        (513, 8, 7),
        (400, 9, 2),
        (300, 16, 2),
        (300, 17, 7),
        (120, 33, 2),
    ]
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}


def rows_of(model, n, dtype, seed=0):
    X, _ = model.sample(n, rng=seed)
    return X.astype(dtype)


def close(actual, expected, tolerance):
    """Assert equality up to `tolerance`, relative to the largest expected value."""
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_statistics_match_the_loops(covariance_type, n, d, k, dtype, weighted):
    model = random_model(d, covariance_type, k, d)
    X = rows_of(model, n, dtype)
    rng = np.random.default_rng(n)
    weight = rng.uniform(0, 2, n) if weighted else np.ones(n)
    statistics = fastem.e_step(X, model, weight if weighted else None)
    matrices = naive.dense(model.covariances, covariance_type, k, d)
    n_k, first, second, log_likelihood = naive.statistics(
        X.astype(np.float64), weight, model.weights, model.means, matrices
    )
    tolerance = TOLERANCE[dtype]
    sums = statistics.sums()
    # "first" is about the mean in the kernel's dtype. In float32 this is the rounded mean of the model.
    about = sums["means"] - model.means
    close(statistics.weights, n_k, tolerance)
    close(sums["first"] + statistics.weights[:, None] * about, first, 10 * tolerance)
    close(sums["scatter"], naive.shape_scatter(second, covariance_type), tolerance)
    close(statistics.log_likelihood, log_likelihood, tolerance)
    assert statistics.n_samples == n


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(4000, 6, 12), *([] if INTERPRETED else [(4000, 26, 12), (1000, 5, 520)])]
)
def test_statistics_match_the_loops_where_points_queue(n, d, k, dtype):
    """With one slot, queues get full before the slot ends. With many components, several share a queue."""
    check_statistics(random_model(1, "full", k, d, 30), "full", n, dtype, np.ones(n))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [0.05, 0.5, 2, 30])
@pytest.mark.parametrize(
    "d",
    [4, 26] if INTERPRETED else [4, 16, 27, *(pytest.param(d, marks=pytest.mark.slow) for d in (24, 33, 50))],
)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_statistics_match_the_loops_from_one_cluster_to_many(covariance_type, d, spread, dtype):
    """Components matter to every point, to some or to few. So what kernels skip and pack differs."""
    n, k = (300, 5) if INTERPRETED else (600, 9)
    weight = np.random.default_rng(n).uniform(0, 2, n)
    weight[100:400] = 0
    check_statistics(random_model(d, covariance_type, k, d, spread), covariance_type, n, dtype, weight)


def check_statistics(model, covariance_type, n, dtype, weight):
    k, d = model.means.shape
    X = rows_of(model, n, dtype)
    X[::50] *= 1000
    statistics = fastem.e_step(X, model, weight)
    n_k, first, second, log_likelihood = naive.statistics(
        X.astype(np.float64),
        weight,
        model.weights,
        model.means,
        naive.dense(model.covariances, covariance_type, k, d),
    )
    tolerance = TOLERANCE[dtype]
    sums = statistics.sums()
    about = sums["means"] - model.means
    close(statistics.weights, n_k, tolerance)
    close(sums["first"] + statistics.weights[:, None] * about, first, 10 * tolerance)
    close(sums["scatter"], naive.shape_scatter(second, covariance_type), 10 * tolerance)
    close(statistics.log_likelihood, log_likelihood, tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_scores_match_the_loops(covariance_type, n, d, k, dtype):
    model = random_model(d + 1, covariance_type, k, d)
    X = rows_of(model, n, dtype)
    r, log_p = naive.responsibilities(
        X.astype(np.float64),
        model.weights,
        model.means,
        naive.dense(model.covariances, covariance_type, k, d),
    )
    tolerance = TOLERANCE[dtype]
    proba = model.predict_proba(X)
    close(model.score_samples(X), log_p, tolerance)
    close(proba, r, tolerance)
    assert proba.dtype == model.score_samples(X).dtype == dtype
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=10 * tolerance)
    labels = model.predict(X)
    assert labels.dtype == np.int64
    certain = np.sort(r, axis=1)[:, -2:] @ [-1, 1] > 1e-3 if k > 1 else np.ones(n, bool)
    np.testing.assert_array_equal(labels[certain], r.argmax(axis=1)[certain])


def new_rows(rows, dtype):
    """Rows of random numbers in [0, 1), with the stride of a tile."""
    return np.random.default_rng(0).random((rows, STRIDE_BYTES // np.dtype(dtype).itemsize)).astype(dtype)


def points_of(tile):
    return TILE_BYTES // tile.itemsize


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exp2_is_within_two_units_in_the_last_place(dtype):
    x = (-100 * np.random.default_rng(0).random((1, 320))).astype(dtype)
    x[0, :5] = 0, -1, -np.inf, -2000, -126
    expected = np.exp2(x.astype(np.float64))
    exp2_row(x)
    assert (abs(x - expected) <= 2 * np.finfo(dtype).eps * expected).all()
    assert x[0, 0] == 1
    assert x[0, 2] == x[0, 3] == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log2_and_reciprocal_are_within_two_units_in_the_last_place(dtype):
    x = (1 + 1000 * new_rows(2, dtype) ** 3).astype(dtype)
    x[0, 0] = 1
    exact, eps = x[0, : points_of(x)].astype(np.float64), np.finfo(dtype).eps
    log2_reciprocal_rows(x)
    assert (abs(x[0, : points_of(x)] - np.log2(exact)) <= 2 * eps * np.maximum(1, np.log2(exact))).all()
    assert (abs(x[1, : points_of(x)] * exact - 1) <= 2 * eps).all()
    assert x[0, 0] == 0


def test_rough_powers_and_logarithms_are_as_good_as_ascents_need():
    x = new_rows(3, np.float64)
    x[0] *= -100
    x[0, :4] = 0, -1, -500, -501
    x[1] = 1 + 1000 * x[1] ** 3
    x[1, 0] = 1
    powers, numbers = np.exp2(np.maximum(x[0, : points_of(x)], -500)), x[1, : points_of(x)].copy()
    x[0, 4:6] = -np.inf, -1e300
    powers[4:6] = 2.0**-500
    rough_rows(x)
    found = x[:, : points_of(x)]
    assert (abs(found[0] - powers) <= 5e-9 * powers).all()
    assert (abs(found[1] - np.log2(numbers)) <= 1e-9 * np.log2(numbers)).all()
    assert (abs(found[2] * numbers - 1) <= 2 * np.finfo(np.float64).eps).all()
    assert (found[0, 0], found[1, 0]) == (1, 0)


@pytest.mark.parametrize("size", range(1, int(MOST) + 1))
@pytest.mark.parametrize(("features", "used", "rows"), [(4, 2, 1), (4, 3, 1), (12, 10, 2), (8, 8, 1)])
def test_products_of_ascents_match_the_loops(size, features, used, rows):
    tile, shares = new_rows(1 + features, np.float64) - 0.5, new_rows(MOST + 2, np.float64)
    rng, before = np.random.default_rng(size), shares.copy()
    coefficients, moments = rng.normal(size=(2, MOST + 2, features))
    sums, rows = moments.copy(), rows * 4 * VECTOR_BYTES // 8
    products_of_ascents(size, 1, coefficients, used, tile, rows, shares, moments)
    for k in range(1, 1 + size):
        for b in range(rows):
            before[k, b] = coefficients[k, 0]
            for f in range(1, used):
                before[k, b] += coefficients[k, f] * tile[1 + f, b]
            for f in range(features):
                sums[k, f] += before[k, b] * tile[1 + f, b]
    np.testing.assert_allclose(shares, before, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(moments, sums, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", range(1, 30))
def test_no_component_is_alone_in_a_block(k):
    sizes, rest = [], k
    while rest > 0:
        sizes.append(python_function(block_size)(rest))
        rest -= sizes[-1]
    assert rest == 0
    assert len(sizes) == -(-k // MOST)
    assert min(sizes) > 1 or k == 1


@pytest.mark.parametrize("less", [0, 0.3, -0.4999, 1e-3, 1000.7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log2_of_any_positive_number_less_another(dtype, less):
    """A compiler that moves the other number into the exponent of the logarithm would round it away."""
    info = np.finfo(dtype)
    x = new_rows(1, dtype)
    x[0, ::2] = np.exp2(x[0, ::2] * (info.maxexp - info.minexp - 1) + info.minexp)
    x[0, 1::4] = 1 + 1e-3 * x[0, 1::4]
    x[0, :8] = 1, 2, 0.5, info.tiny, info.max, np.inf, np.nan, np.nextafter(dtype(1), dtype(2))
    exact = np.log2(x[0, : points_of(x)].astype(np.float64)) - dtype(less)
    with np.errstate(invalid="ignore"):
        log2_less_rows(x, dtype(less))
    found, eps = x[0, : points_of(x)], info.eps
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    assert found[5] == np.inf
    sound = np.isfinite(exact)
    size = np.abs(exact[sound] + dtype(less)) + abs(less)
    assert (np.abs(found[sound] - exact[sound]) <= 2 * eps * size).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_four_sums_over_lanes(dtype):
    x = new_rows(4, dtype)
    np.testing.assert_allclose(
        sums_of_four_rows(x), x[:, : VECTOR_BYTES // x.itemsize].sum(axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 255, 256, 512, 1700])
def test_moments_match_numpy(n, weighted, dtype):
    rng = np.random.default_rng(n)
    X = (1000 + 50 * rng.normal(size=(n, 3))).astype(dtype)
    weight = rng.uniform(0, 2, n) if weighted else np.ones(n)
    moments = ArraySource(Rows("X", 0, X, weight if weighted else None)).moments()
    exact = X.astype(np.float64)
    mean = np.average(exact, axis=0, weights=weight)
    close(moments.weight, weight.sum(), 1e-6)
    close(moments.mean, mean, 1e-6)
    close(moments.variance, np.average((exact - mean) ** 2, axis=0, weights=weight), 1e-5)


def test_the_variance_of_a_constant_feature_is_exactly_zero():
    X = np.full((5000, 2), 0.1)
    X[:, 1] = np.arange(5000)
    moments = ArraySource(Rows("X", 0, X)).moments()
    assert moments.variance[0] == 0
    assert moments.mean[0] == 0.1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("add_product", [add_product_by_four, add_product_by_two])
def test_products_over_a_tile(add_product, columns, dtype):
    space = new_rows(16, dtype) - 0.5
    out = np.zeros((1, 2, 8, 8))
    add_product(space, columns, out)
    points = space[:, : points_of(space)].astype(float)
    left, right = points[3:7], points[8 : 8 + columns]
    expected = np.zeros_like(out)
    expected[0, 1, 2:6, :columns] = left @ right.T
    np.testing.assert_allclose(out, expected, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("k", "columns"), [(1, 1), (5, 3), (8, 2), (17, 17), (24, 4)])
def test_products_with_components_match_the_loops(k, columns, dtype):
    rng = np.random.default_rng(k)
    rows, offsets = rng.normal(size=(k, columns)), rng.normal(size=k)
    packed, begun = (
        pack_rows_in_blocks(rows, dtype, int(PAIR_ROWS)),
        pad_to_blocks(offsets, -np.inf, dtype, int(PAIR_ROWS)),
    )
    top, out = np.int64(2), np.int64(3 + columns)
    space = new_rows(out + len(begun) + 1, dtype)
    points = space[top : top + columns].copy()
    for stop in (0, 1, points_of(space)):
        space[out - 1 :] = 7
        product_with_components(packed, begun, space, top, out, stop)
        width = 2 * VECTOR_BYTES // space.itemsize
        end = -(-stop // width) * width
        products, padding = space[out : out + k], space[out + k : out + len(begun)]
        expected = naive.component_products(rows, offsets, points[:, :end].astype(float))
        np.testing.assert_allclose(products[:, :end], expected, atol=columns * TOLERANCE[dtype])
        assert (padding[:, :end] == -np.inf).all()
        assert (space[out : out + len(begun), end:] == 7).all()
        assert (space[[out - 1, -1]] == 7).all()
        assert len(begun) % PAIR_ROWS == 0
    np.testing.assert_array_equal(space[top : top + columns], points)


def naive_kmeans_plus_plus(points, weights, uniforms):
    """Greedy k-means++ on rows, with one sum at a time."""
    seeds = []
    for k, row in enumerate(uniforms):
        closest = [min([1.0] if k == 0 else [((p - points[s]) ** 2).sum() for s in seeds]) for p in points]
        mass = weights * closest
        best = None
        for u in row[: 1 if k == 0 else len(row)]:
            candidate = int(np.searchsorted(np.cumsum(mass), u * mass.sum(), side="right"))
            everyone = [*seeds, candidate]
            potential = sum(
                w * min(((p - points[s]) ** 2).sum() for s in everyone)
                for w, p in zip(weights, points, strict=True)
            )
            if best is None or potential < best[0]:
                best = (potential, candidate)
        seeds.append(best[1])
    return seeds


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_plus_plus_matches_the_loops(seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(40, 3)), rng.uniform(0, 2, 40)
    uniforms = rng.random((5, 3))
    expected = naive_kmeans_plus_plus(points, weights, uniforms)
    actual = kmeans_plus_plus(np.ascontiguousarray(points.T), weights, uniforms)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("step", [1, 3])
def test_labels_of_many_starts_are_those_of_each(step):
    rng = np.random.default_rng(step)
    geometries, weights = rng.normal(size=(2, 3, 101)), rng.uniform(0.5, 2, 101)
    which, uniforms = np.array([0, 1, 1]), rng.random((3, 4, 2))
    found = labels_from_seeds(geometries, which, weights, uniforms, 5, slice(None, None, step))
    for start, geometry in enumerate(which):
        points, few = geometries[geometry], np.ascontiguousarray(geometries[geometry][:, ::step])
        own = np.ascontiguousarray(weights[::step])
        centres = np.ascontiguousarray(few[:, kmeans_plus_plus(few, own, uniforms[start])].T)
        lloyd(few, own, centres, 5)
        gaps = np.square(points[None] - centres[:, :, None]).sum(axis=1)
        np.testing.assert_array_equal(found[start], gaps.argmin(axis=0))


def test_kmeans_plus_plus_survives_fewer_distinct_points_than_seeds():
    points = np.ascontiguousarray(np.repeat([[0.0, 1.0]], 10, axis=0).T)
    seeds = kmeans_plus_plus(points, np.ones(10), np.random.default_rng(0).random((4, 3)))
    assert ((seeds >= 0) & (seeds < 10)).all()


@pytest.mark.parametrize("seed", range(3))
def test_lloyd_matches_the_loops(seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(60, 2)), rng.uniform(0, 2, 60)
    centres = points[:4].copy()
    labels = None
    while True:
        nearest = np.array([((p - centres) ** 2).sum(axis=1).argmin() for p in points])
        if labels is not None and (nearest == labels).all():
            break
        labels = nearest
        centres = np.array(
            [np.average(points[labels == k], axis=0, weights=weights[labels == k]) for k in range(4)]
        )
    moved = points[:4].copy()
    actual = lloyd(np.ascontiguousarray(points.T), weights, moved, 100)
    np.testing.assert_array_equal(actual, labels)
    np.testing.assert_allclose(moved, centres, rtol=1e-6)  # centres are float32


def test_lloyd_moves_a_centre_that_lost_its_points():
    points = np.array([[0.0, 0.1, 10.0, 10.1]])
    centres = np.array([[0.0], [10.0], [99.0]])
    labels = lloyd(points, np.ones(4), centres, 100)
    assert len(set(labels)) == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "k", "t", "g"), [(1, 1, 1, 1), (257, 3, 2, 5), (700, 4, 3, 0)])
def test_regression_equals_its_slow_twin(n, k, t, g, dtype):
    rng = np.random.default_rng(n)
    X, shares = rng.normal(size=(n, max(g, 1))).astype(dtype), rng.dirichlet(np.ones(k), n).astype(dtype)
    slopes, intercepts, shift = rng.normal(size=(k, t, g)), rng.normal(size=(k, t)), rng.normal(size=g)
    within, origin = random_model(0, "full", k, t).covariances, rng.normal(size=t)
    expected = naive.regression(X[:, :g] - shift, shares.astype(np.float64), slopes, intercepts, within)
    known = [read_only(array) for array in (slopes, intercepts, within, shift, origin)]
    slots = np.empty(2, np.int64)
    for with_means, with_covariances in ((1, 1), (0, 1), (1, 0)):
        means = np.full((n * with_means, t), np.nan, dtype)
        covariances = np.full((n * with_covariances, t, t), np.nan, dtype)
        for slot in range(2):
            slot_regression(read_only(X), read_only(shares), *known, means, covariances, slots, slot)
        tolerance = 1e-12 if dtype == np.float64 else 1e-5
        if with_means:
            np.testing.assert_allclose(means, expected[0] + origin, rtol=tolerance, atol=tolerance)
        if with_covariances:
            np.testing.assert_allclose(covariances, expected[1], rtol=tolerance, atol=tolerance)
            assert np.array_equal(covariances, covariances.transpose(0, 2, 1))
