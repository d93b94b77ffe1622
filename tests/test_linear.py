"""The kernels of linear families and of counts are compared with for-loop twins. Also runs interpreted."""

import math

import naive
import numba
import numpy as np
import pytest

from fastem._kernels._counts import slot_log_factorials
from fastem._kernels._estep import slot_scores, slot_statistics
from fastem._kernels._parallel import run_slots
from fastem._kernels._params import LinearParams, LinearSums

INTERPRETED = bool(numba.config.DISABLE_JIT)
DTYPES = [np.float64, np.float32]
# (n, d, k): sizes around tiles of 256 (float64) and 512 (float32) rows, all remainders, several blocks
SIZES = [(1, 1, 1), (40, 2, 2), (257, 3, 3), (300, 4, 4), (30, 5, 5), (20, 6, 6), (20, 7, 9), (20, 8, 8)]
if not INTERPRETED:
    SIZES += [
        (255, 1, 7),
        (256, 2, 8),
        (511, 3, 4),
        (512, 5, 9),
        (513, 9, 1),
        (1000, 16, 5),
        (1025, 17, 6),
        (300, 32, 3),
        (120, 33, 9),
    ]
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}
LN2 = math.log(2)
NONE, NO_NUMBERS = np.empty(0, np.int64), np.empty(0)
NO_RATE = -1e30  # the eta of a rate of zero: finite, so that 0 * eta is 0


def read_only(array, dtype):
    """An array as a source gives it to the kernels."""
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def random_params(seed, d, k, dtype):
    """Parameters of components of any linear family, and rows that tell the components apart."""
    rng = np.random.default_rng(seed)
    return LinearParams(
        shift=rng.normal(size=d).astype(dtype),
        inverse_scale=rng.uniform(0.5, 2, d).astype(dtype),
        log2_weights=rng.normal(size=k).astype(dtype),
        etas=(2 * rng.normal(size=(1, k, d)) / np.sqrt(d)).astype(dtype),
        columns=NONE,
        transforms=NONE,
        centres=NO_NUMBERS.astype(dtype),
        factors=NO_NUMBERS.astype(dtype),
    )


def poisson_params(weights, rates, dtype):
    with np.errstate(divide="ignore"):
        etas = np.maximum(np.log2(rates), NO_RATE)
        log2_weights = np.log2(weights) - rates.sum(axis=1) / LN2
    d = rates.shape[1]
    return LinearParams(
        np.zeros(d, dtype),
        np.ones(d, dtype),
        log2_weights.astype(dtype),
        etas[None].astype(dtype),
        NONE,
        NONE,
        NO_NUMBERS.astype(dtype),
        NO_NUMBERS.astype(dtype),
    )


def random_weights(n):
    """Random weights, some of which are zero."""
    rng = np.random.default_rng(n)
    return rng.uniform(0, 2, n) * (rng.random(n) < 0.8)


def mixed_params(seed, d, k, dtype):
    """The same for positive rows, some columns of which count as logarithms, and squares of some of these."""
    rng = np.random.default_rng(seed)
    plain = random_params(seed, d, k, dtype)
    transforms = rng.choice([0, 1, 3], d)
    squared = np.flatnonzero(rng.random(d) < 0.7)
    T = d + len(squared)
    return plain._replace(
        shift=np.zeros(d, dtype),
        etas=(0.3 * rng.normal(size=(1, k, T)) / np.sqrt(T)).astype(dtype),
        columns=np.concatenate([rng.permutation(d), squared]),
        transforms=np.concatenate([transforms, np.full(len(squared), 2)]),
        centres=rng.normal(size=T).astype(dtype),
        factors=rng.uniform(0.5, 1, T).astype(dtype),
    )


def measured(params, X):
    """t(x) of each row."""
    params = LinearParams(*(array.astype(float) if array.dtype != int else array for array in params))
    return np.array([naive.linear_statistics(x, params) for x in X.astype(np.float64)])


def joints(params, X):
    """The twin's natural log-densities, for the parameters after rounding to their dtype."""
    log_weights, etas = params.log2_weights.astype(float) * LN2, params.etas[0].astype(float) * LN2
    return [naive.linear_joint(t, log_weights, etas) for t in measured(params, X)]


def statistics(params, X, weight=None, given=None, slots=1, n_threads=None, width=None):
    """The sums of a pass over the first `width` statistics, or all of them, added over all slots."""
    dtype, k, d = X.dtype, len(params.log2_weights), width or params.etas.shape[2]
    weight = read_only([] if weight is None else weight, dtype)
    given = read_only(np.empty((0, k)) if given is None else given, dtype)
    sums = LinearSums(np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros(slots))
    labels = read_only([], np.int64)
    arguments = (read_only(X, dtype), weight, labels, given, params, np.zeros(1, np.int64), sums)
    run_slots(slot_statistics, arguments, slots, n_threads)
    return LinearSums(*(array.sum(axis=0) for array in sums))


def scores(params, X, slots=1):
    """Log-densities in base 2, labels and responsibilities, and whether there were failures."""
    n, k, dtype = len(X), len(params.log2_weights), X.dtype
    outputs = np.empty(n, dtype), np.empty(n, np.int64), np.empty((n, k), dtype)
    failures = np.zeros(slots, np.int64)
    joint = np.empty((0, k))
    run_slots(slot_scores, (read_only(X, dtype), params, *outputs, joint, np.zeros(2), failures), slots, None)
    return outputs, failures.any()


def close(actual, expected, tolerance):
    """Assert equality up to `tolerance`, relative to the largest expected value."""
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def check_statistics(params, X, weight, slots=1):
    sums = statistics(params, X, weight, slots=slots)
    weight = np.ones(len(X)) if weight is None else weight
    r, log_p = naive.shares(joints(params, X))
    n_k, first = naive.linear_sums(measured(params, X), weight, r)
    tolerance = TOLERANCE[X.dtype.type]
    close(sums.weights, n_k, tolerance)
    close(sums.first, first, 10 * tolerance)
    close(LN2 * sums.log2_likelihood, weight @ log_p, tolerance)


def check_scores(params, X, slots=1):
    (log2_p, labels, proba), failed = scores(params, X, slots)
    assert not failed
    r, log_p = naive.shares(joints(params, X))
    tolerance = TOLERANCE[X.dtype.type]
    close(LN2 * log2_p.astype(float), log_p, tolerance)
    close(proba, r, tolerance)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=10 * tolerance)
    certain = np.sort(r, axis=1)[:, -2:] @ [-1, 1] > 1e-3 if r.shape[1] > 1 else np.ones(len(X), bool)
    np.testing.assert_array_equal(labels[certain], r.argmax(axis=1)[certain])


def random_rows(n, d, dtype):
    return np.random.default_rng(n + d).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
def test_statistics_match_the_loops(n, d, k, dtype, weighted):
    params = random_params(n, d, k, dtype)
    check_statistics(params, random_rows(n, d, dtype), random_weights(n) if weighted else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
def test_scores_match_the_loops(n, d, k, dtype):
    check_scores(random_params(n, d, k, dtype), random_rows(n, d, dtype))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
def test_known_responsibilities_are_summed_as_they_are(n, d, k, dtype, weighted):
    params, X = random_params(n, d, k, dtype), random_rows(n, d, dtype)
    r = np.random.default_rng(n).dirichlet(np.ones(k), n).astype(dtype)
    r[: n // 2, k // 2 :] = 0
    weight = random_weights(n) if weighted else None
    sums = statistics(params, X, weight, r)
    n_k, first = naive.linear_sums(measured(params, X), np.ones(n) if weight is None else weight, r)
    close(sums.weights, n_k, TOLERANCE[dtype])
    close(sums.first, first, 10 * TOLERANCE[dtype])
    assert sums.log2_likelihood == 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
def test_logarithms_and_squares_match_the_loops(n, d, k, dtype, weighted):
    params, X = mixed_params(n, d, k, dtype), np.exp(random_rows(n, d, dtype))
    weight = random_weights(n) if weighted else None
    check_statistics(params, X, weight)
    check_scores(params, X)
    whole, part = statistics(params, X, weight), statistics(params, X, weight, width=d)
    np.testing.assert_array_equal(part.weights, whole.weights)
    close(part.first, whole.first[:, :d], TOLERANCE[dtype])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("transform", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_shows_in_every_statistic(dtype, transform, value):
    params = mixed_params(0, 1, 2, dtype)._replace(
        columns=np.zeros(2, np.int64), transforms=np.array([transform % 2, transform])
    )
    params = params._replace(
        etas=np.ones((1, 2, 2), dtype), centres=np.zeros(2, dtype), factors=np.ones(2, dtype)
    )
    X = np.full((40, 1), 2, dtype)
    X[17] = value
    with np.errstate(all="ignore"):
        sums, (_, failed) = statistics(params, X), scores(params, X)
    assert failed
    assert not np.isfinite(sums.first).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_what_has_none_are_those_of_the_least_number(dtype):
    params = LinearParams(
        *(np.array(value, dtype) for value in ([0], [1], [0], [[[0]]])),
        np.zeros(1, np.int64),
        np.ones(1, np.int64),
        *(np.array(value, dtype) for value in ([0], [1])),
    )
    X = np.array([[0], [-1], [np.finfo(dtype).tiny / 4], [np.finfo(dtype).tiny]], dtype)
    assert statistics(params, X).first == 4 * np.log2(float(np.finfo(dtype).tiny))


def poisson_problem(n, d, k, spread, dtype):
    """Rows and parameters of a Poisson mixture whose rates differ by factors of about exp(spread)."""
    rng = np.random.default_rng(d)
    rates = np.exp(1 + spread * rng.normal(size=(k, d)))
    weights = rng.dirichlet(np.full(k, 5.0))
    X = rng.poisson(rates[rng.choice(k, n, p=weights)]).astype(dtype)
    return X, weights, rates, poisson_params(weights, rates, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0.01, 0.2, 1.5])
@pytest.mark.parametrize("slots", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("d", [4] if INTERPRETED else [2, 16, 27])
def test_counts_of_components_far_apart_and_overlapping(d, slots, spread, dtype):
    n, k = (600, 5) if INTERPRETED else (3000, 9)
    X, _, _, params = poisson_problem(n, d, k, spread, dtype)
    weight = random_weights(n)
    weight[100:400] = 0
    check_statistics(params, X, weight, slots)
    check_scores(params, X, slots)


@pytest.mark.parametrize("dtype", DTYPES)
def test_densities_of_counts_are_those_of_poisson(dtype):
    X, weights, rates, params = poisson_problem(50, 3, 4, 0.5, dtype)
    (log2_p, _, _), _ = scores(params, X)
    expected = [
        naive.log_sum_exp([math.log(w) + naive.log_poisson(x, rate) for w, rate in zip(weights, rates)])
        for x in X.astype(float)
    ]
    close(LN2 * log2_p - naive.log_factorials(X), np.array(expected), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_sorted_by_component(dtype):
    """In some tiles, all rows have zero responsibility for some components."""
    rates = np.repeat(np.array([1.0, 100, 300, 600, 1000, 2000, 4000, 8000, 16000]), 2).reshape(9, 2)
    rows = 60 if INTERPRETED else 600
    X = np.random.default_rng(0).poisson(np.repeat(rates, rows, axis=0)).astype(dtype)
    sums = statistics(poisson_params(np.full(9, 1 / 9), rates, dtype), X)
    np.testing.assert_allclose(sums.weights, rows, rtol=1e-6)
    np.testing.assert_allclose(sums.first, X.astype(float).reshape(9, rows, 2).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rate_of_zero_excludes_all_counts_but_zero(dtype, k):
    weights = np.full(k, 1 / k)
    rates = np.random.default_rng(0).uniform(1, 5, size=(k, 3))
    rates[0, 1], rates[1] = 0, 0
    params = poisson_params(weights, rates, dtype)
    X = np.random.default_rng(1).integers(0, 8, size=(300, 3)).astype(dtype)
    X[::3, 1] = 0
    X[::5] = 0
    joint = [[math.log(w) + naive.log_poisson(x, rate) for w, rate in zip(weights, rates)] for x in X]
    possible = np.array([max(row) > -math.inf for row in joint])
    assert possible.all() == (k > 2)
    X, joint = X[possible], [row for row, kept in zip(joint, possible) if kept]
    r, log_p = naive.shares(joint)
    n_k, first = naive.linear_sums(X, np.ones(len(X)), r)
    sums, ((log2_p, labels, proba), failed) = statistics(params, X), scores(params, X)
    tolerance = TOLERANCE[dtype]
    assert not failed
    close(proba, r, tolerance)
    assert (proba[r == 0] == 0).all()
    close(LN2 * log2_p - naive.log_factorials(X), log_p, tolerance)
    np.testing.assert_array_equal(labels, r.argmax(axis=1))
    close(sums.weights, n_k, tolerance)
    close(sums.first, first, tolerance)
    assert sums.first[0, 1] == 0
    assert (sums.first[1] == 0).all()


@pytest.mark.parametrize("count", [1, 1000, 1e9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_that_no_component_explains_make_no_nan(dtype, count):
    """1e9 times an eta of -1e30 is -inf in float32. But such a row still belongs to some component."""
    rates = np.array([[0.0, 2.0], [0.0, 3.0], [0.0, 0.0], [0.0, 1.0], [0.0, 4.0]])
    params = poisson_params(np.full(5, 0.2), rates, dtype)
    X = np.array([[0, 1], [count, 0], [count, count], [0, 0]]).astype(dtype)
    with np.errstate(over="ignore"):  # if interpreted, NumPy warns of the intended overflow
        sums, ((log2_p, labels, proba), failed) = statistics(params, X), scores(params, X)
    assert not failed
    assert (log2_p[1:3] <= -1e29).all()
    assert (np.exp2(log2_p[1:3]) == 0).all()
    assert np.isfinite(log2_p).all()
    assert (log2_p[[0, 3]] > -10).all()
    assert ((labels >= 0) & (labels < 5)).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert all(np.isfinite(array).all() for array in sums)
    np.testing.assert_allclose(sums.weights.sum(), 4, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_component_without_weight_gets_nothing(dtype):
    weights = np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    rates = np.random.default_rng(0).uniform(1, 5, size=(7, 2))
    X = np.random.default_rng(1).poisson(3, size=(300, 2)).astype(dtype)
    params = poisson_params(weights, rates, dtype)
    sums, ((_, labels, proba), _) = statistics(params, X), scores(params, X)
    assert (sums.weights[weights == 0] == 0).all()
    assert (sums.first[weights == 0] == 0).all()
    assert (proba[:, weights == 0] == 0).all()
    assert set(labels) <= {0, 2}
    np.testing.assert_allclose(sums.weights.sum(), 300, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slots_add_up_and_threads_change_no_bit(dtype):
    n = 1000 if INTERPRETED else 20_000
    X, _, _, params = poisson_problem(n, 5, 6, 0.5, dtype)
    one = statistics(params, X)
    many = [statistics(params, X, slots=5, n_threads=threads) for threads in (1, 2)]
    for actual, other, expected in zip(*many, one):
        np.testing.assert_array_equal(actual, other)
        close(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_report_what_is_beyond_arithmetic(dtype, value):
    params, X = random_params(0, 3, 2, dtype), random_rows(40, 3, dtype)
    X[17, 1] = value
    assert scores(params, X)[1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_shows_in_the_sums(dtype, k, value):
    params, X = random_params(0, 3, k, dtype), random_rows(40, 3, dtype)
    X[17, 1] = value
    with np.errstate(all="ignore"):
        sums = statistics(params, X)
    assert not all(np.isfinite(array).all() for array in sums)


def log_factorials(X, table=50, slots=1):
    """Minus the sum of each row, and the failures of each slot."""
    logs = np.array([math.lgamma(x + 1.0) for x in range(table)])
    out, failures = np.empty(len(X)), np.zeros(slots, np.int64)
    run_slots(
        slot_log_factorials, (read_only(X, X.dtype), read_only(logs, np.float64), out, failures), slots, None
    )
    return out, failures


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("table", [0, 1, 50, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (257, 3), (900, 2)])
def test_log_factorials_match_the_loops(n, d, dtype, table, slots):
    """Counts lie below the end of the table, at it and beyond it."""
    rng = np.random.default_rng(n)
    X = rng.choice([0, 1, 2, 3, 49, 50, 51, 170, 171, 300], size=(n, d)).astype(dtype)
    X[0, 0] = -0.0
    out, failures = log_factorials(X, table, slots)
    np.testing.assert_allclose(out, -naive.log_factorials(X), rtol=1e-12, atol=1e-12)
    assert not failures.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_factorials_of_huge_counts(dtype):
    X = np.array([[2.0**24], [1e9], [2.0**63], [1e30]], dtype)
    out, failures = log_factorials(X)
    np.testing.assert_allclose(out, [-math.lgamma(float(x) + 1) for x in X[:, 0]], rtol=1e-12)
    assert not failures.any()


@pytest.mark.parametrize("value", [-1, -0.5, 0.5, 49.5, 1000.5, -1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_a_count_fails_its_slot(dtype, value):
    X = np.ones((2000, 3), dtype)
    X[1900, 1] = value
    _, failures = log_factorials(X, slots=3)
    np.testing.assert_array_equal(failures, [0, 0, 1])
