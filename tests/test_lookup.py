"""The kernels of categories are compared with for-loop twins. Also runs interpreted."""

import math

import naive
import numba
import numpy as np
import pytest

from fastem._families.categorical import Categorical, CategoricalParameters
from fastem._families.frame import identity_frame
from fastem._kernels import _interpreted
from fastem._kernels._categorical import slot_unseen
from fastem._kernels._estep import slot_scores, slot_statistics
from fastem._kernels._parallel import run_slots

INTERPRETED = bool(numba.config.DISABLE_JIT)
DTYPES = [np.float64, np.float32]
# (n, d, k, most categories): sizes around tiles of 256 (float64) and 512 (float32) rows, all numbers of lanes
SIZES = [(1, 1, 1, 1), (40, 2, 2, 2), (257, 3, 3, 5), (30, 5, 9, 7), (20, 4, 17, 3)]
if not INTERPRETED:
    SIZES += [
        (255, 1, 7, 70),
        (256, 2, 8, 2),
        (511, 6, 4, 12),
        (512, 7, 15, 33),
        (513, 9, 16, 4),
        (1000, 16, 5, 6),
        (1025, 17, 33, 70),
        (300, 12, 24, 9),
        (700, 3, 31, 1),
    ]
TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}
LN2 = math.log(2)
KINDS = ("from 0", "from 1", "from -3", "even", "gaps", "fractions", "far apart")


def categories_of(kind, count, rng):
    """So many sorted categories, of each of the kinds that kernels look up in different ways."""
    first = {"from 0": 0, "from 1": 1, "from -3": -3}
    if kind in first:
        return np.arange(count) + float(first[kind])
    if kind == "even":
        return 2.0 * np.arange(count)
    if kind == "gaps":
        return np.sort(rng.choice(5 * count, count, replace=False)) - 10.0
    if kind == "fractions":
        return np.arange(count) / 8 - 1
    return np.arange(count) * float(2**17)


class Problem:
    def __init__(self, n, d, k, most, dtype, zeros=0.0):
        rng = np.random.default_rng([n, d, k])
        counts = rng.integers(1, most + 1, d)
        counts[rng.integers(d)] = most
        self.categories = [categories_of(KINDS[(j + n) % len(KINDS)], c, rng) for j, c in enumerate(counts)]
        self.family = Categorical(self.categories)
        self.probabilities = np.zeros((k, d, most))
        for component in range(k):
            for j, c in enumerate(counts):
                p = rng.dirichlet(np.ones(c))
                p[1:][rng.random(c - 1) < zeros] = 0
                self.probabilities[component, j, :c] = p / p.sum()
        self.weights = rng.dirichlet(np.full(k, 3.0))
        self.codes = np.stack([rng.integers(0, c, n) for c in counts], axis=1)
        rows = [values[self.codes[:, j]] for j, values in enumerate(self.categories)]
        self.X = read_only(np.stack(rows, axis=1), dtype)
        parameters = CategoricalParameters(self.weights, self.probabilities)
        self.params = self.family.pack(parameters, identity_frame(np.zeros(d)), np.dtype(dtype))

    @property
    def joints(self):
        pairs = list(zip(np.log(self.weights), self.probabilities, strict=True))
        return [[w + naive.log_categorical(row, p) for w, p in pairs] for row in self.codes]


def read_only(array, dtype):
    """An array as a source gives it to the kernels."""
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def random_weights(n):
    """Random weights, some of which are zero."""
    rng = np.random.default_rng(n)
    return rng.uniform(0, 2, n) * (rng.random(n) < 0.8)


def statistics(problem, weight=None, given=None, slots=1, n_threads=None, X=None):
    """The sums of a pass, over all slots: weights, counts and the log-likelihood."""
    X = problem.X if X is None else X
    k, d = problem.probabilities.shape[:2]
    weight = read_only([] if weight is None else weight, X.dtype)
    given = read_only(np.empty((0, k)) if given is None else given, X.dtype)
    sums = problem.family.new_sums(slots, k, d)
    labels, soft = read_only([], np.int64), np.zeros(1, np.int64)
    arguments = (X, weight, labels, given, problem.params, soft, sums)
    run_slots(slot_statistics, arguments, slots, n_threads)
    merged = type(sums)(*(array.sum(axis=0) for array in sums))
    return *problem.family.collect(problem.params, merged), LN2 * float(merged.log2_likelihood)


def scores(problem, X=None, slots=1):
    """Log-densities, labels and responsibilities."""
    X = problem.X if X is None else X
    n, k, dtype = len(X), len(problem.weights), X.dtype
    outputs = np.empty(n, dtype), np.empty(n, np.int64), np.empty((n, k), dtype)
    failures = np.zeros(slots, np.int64)
    joint = np.empty((0, k))
    run_slots(slot_scores, (X, problem.params, *outputs, joint, np.zeros(2), failures), slots, None)
    assert not failures.any()
    return LN2 * outputs[0].astype(float), *outputs[1:]


def close(actual, expected, tolerance):
    """Assert equality up to `tolerance`, relative to the largest expected value."""
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(
        actual, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max())
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k", "most"), SIZES)
def test_statistics_match_the_loops(n, d, k, most, dtype, weighted):
    problem = Problem(n, d, k, most, dtype)
    weight = random_weights(n) if weighted else None
    found = statistics(problem, weight)
    weight = np.ones(n) if weight is None else weight
    r, log_p = naive.shares(problem.joints)
    n_k, counts = naive.category_sums(problem.codes, weight, r, most)
    for actual, expected in zip(found, (n_k, counts, weight @ log_p), strict=True):
        close(actual, expected, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k", "most"), SIZES)
def test_scores_match_the_loops(n, d, k, most, dtype):
    problem = Problem(n, d, k, most, dtype)
    log_p, labels, proba = scores(problem)
    r, expected = naive.shares(problem.joints)
    close(log_p, expected, TOLERANCE[dtype])
    close(proba, r, 10 * TOLERANCE[dtype])
    certain = np.sort(r, axis=1)[:, -2:] @ [-1, 1] > 1e-3 if k > 1 else np.ones(n, bool)
    np.testing.assert_array_equal(labels[certain], r.argmax(axis=1)[certain])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k", "most"), SIZES)
def test_known_responsibilities_are_summed_as_they_are(n, d, k, most, dtype, weighted):
    problem = Problem(n, d, k, most, dtype)
    r = np.random.default_rng(n).dirichlet(np.ones(k), n).astype(dtype)
    r[: n // 2, k // 2 :] = 0
    weight = random_weights(n) if weighted else None
    n_k, counts, log_likelihood = statistics(problem, weight, r)
    expected = naive.category_sums(problem.codes, np.ones(n) if weight is None else weight, r, most)
    close(n_k, expected[0], 10 * TOLERANCE[dtype])
    close(counts, expected[1], 10 * TOLERANCE[dtype])
    assert log_likelihood == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [2, 9])
def test_probabilities_of_zero(k, dtype):
    problem = Problem(300, 4, k, 5, dtype, zeros=0.4)
    joints = np.array(problem.joints)
    possible = np.isfinite(joints).any(axis=1)
    assert 0 < possible.sum() < 300
    log_p, _, proba = scores(problem)
    assert (log_p[~possible] < -1e21).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    r, expected = naive.shares(joints[possible].tolist())
    close(log_p[possible], expected, TOLERANCE[dtype])
    close(proba[possible], r, 10 * TOLERANCE[dtype])
    assert (proba[possible][r == 0] == 0).all()
    assert all(np.isfinite(array).all() for array in statistics(problem))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_component_without_weight_gets_nothing(dtype):
    problem = Problem(300, 3, 7, 4, dtype)
    problem.weights = np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    parameters = CategoricalParameters(problem.weights, problem.probabilities)
    problem.params = problem.family.pack(parameters, identity_frame(np.zeros(3)), np.dtype(dtype))
    n_k, counts, _ = statistics(problem)
    assert (n_k[problem.weights == 0] == 0).all()
    assert (counts[problem.weights == 0] == 0).all()
    np.testing.assert_allclose(n_k.sum(), 300, rtol=1e-6)
    assert set(scores(problem)[1]) <= {0, 2}


@pytest.mark.parametrize("dtype", DTYPES)
def test_slots_add_up_and_threads_change_no_bit(dtype):
    problem = Problem(1000 if INTERPRETED else 20_000, 5, 6, 4, dtype)
    one = statistics(problem)
    many = [statistics(problem, slots=5, n_threads=threads) for threads in (1, 2)]
    for actual, other, expected in zip(*many, one, strict=True):
        np.testing.assert_array_equal(actual, other)
        close(actual, expected, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5, 1e9])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_category_leads_to_no_wrong_address(dtype, value):
    """Interpreted kernels check every address."""
    problem = Problem(40, 7, 3, 5, dtype)
    X = problem.X.copy()
    X[17] = value
    for array in statistics(problem, X=read_only(X, dtype)):
        assert np.isfinite(array).all()
    assert np.isfinite(scores(problem, read_only(X, dtype))[0]).all()


def unseen(problem, X, weight=None, slots=1, missing=0):
    shift, values, consecutive = problem.params.shift, problem.params.values, problem.params.consecutive
    failures = np.zeros(slots, np.int64)
    weight = read_only([] if weight is None else weight, X.dtype)
    starts = read_only(problem.params.starts, np.int64)
    missing = np.array([missing], np.int64)
    arguments = (read_only(X, X.dtype), weight, shift, values, starts, consecutive, missing, failures)
    run_slots(slot_unseen, arguments, slots, None)
    return failures


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.3, -50.0, 2.0**17 + 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_category_fails_its_slot(dtype, value):
    problem = Problem(2000, 7, 3, 5, dtype)
    for j in range(7):
        X = problem.X.copy()
        assert not unseen(problem, X, slots=3).any()
        X[1900, j] = value
        np.testing.assert_array_equal(unseen(problem, X, slots=3), [0, 0, 1])
        weight = np.ones(2000)
        weight[1900] = 0
        assert not unseen(problem, X, weight, slots=3).any()


def test_interpreted_look_ups_refuse_other_places():
    space, table, sums = np.zeros((9, 264)), np.ones((3, 16)), np.zeros((2, 3, 16))
    lanes = _interpreted.lanes(space)
    codes = np.arange(lanes) % 3.0
    _interpreted.store_offsets(space, 1, 0, codes, 0, 16)
    _interpreted.look_up(table, 0, space, 1, 1, 4, 2, 0)
    np.testing.assert_array_equal(space[4:6, :lanes], 1)
    assert (space[6:] == 0).all()
    _interpreted.add_up(sums, 1, 0, space, 1, 1, 4, 2, 0)
    np.testing.assert_array_equal(
        sums[1, :, :2], np.bincount(codes.astype(int), minlength=3)[:, None] * [1, 1]
    )
    assert (sums[0] == 0).all()
    for wrong in (
        lambda: _interpreted.look_up(table[:2].copy(), 0, space, 1, 1, 4, 2, 0),
        lambda: _interpreted.look_up(table.astype(np.float32), 0, space, 1, 1, 4, 2, 0),
        lambda: _interpreted.look_up(table, 16, space, 1, 1, 4, 2, 0),
        lambda: _interpreted.look_up(table, 0, space, 1, 1, 8, 2, 0),
        lambda: _interpreted.add_up(sums, 2, 0, space, 1, 1, 4, 2, 0),
        lambda: _interpreted.add_up(sums[:, :2].copy(), 1, 0, space, 1, 1, 4, 2, 0),
        lambda: _interpreted.store_offsets(space, 9, 0, codes, 0, 16),
        lambda: _interpreted.store_offsets(space, 1, 0, codes - 1, 0, 16),
    ):
        with pytest.raises(_interpreted.AddressError):
            wrong()
