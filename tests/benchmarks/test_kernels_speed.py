"""The speed of each kernel, on one thread, beside its NumPy twin. Both must agree.

Not among the plain tests: `pytest tests/benchmarks`.
"""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark")

import naive
import steps
import twins
from problems import TYPES, random_model

from fastem._families import FAMILIES
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._kernels._params import Sums
from fastem._kernels._tile import TILE
from fastem._sources import ArraySource

D = K = 16
N = 32 * TILE
SIDES = ["fastem", "numpy"]

pytestmark = pytest.mark.parametrize("side", SIDES)


@pytest.fixture
def contest(benchmark, side, request):
    """Time one side of two, and compare what both return.

    Each is a pair (function, fresh): `fresh()` makes its arguments anew for every round, as kernels spend
    some of theirs. A kernel returns through its arguments, which `read` turns into what its twin returns.
    """
    names = [value for name, value in request.node.callspec.params.items() if name != "side"]
    benchmark.group = " ".join([request.node.originalname, *names])

    def run(fastem_side, numpy_side, read=lambda arguments, result: result):
        given = []

        def renew(fresh):
            given[:] = fresh()
            return tuple(given), {}

        function, fresh = fastem_side if side == "fastem" else numpy_side
        timed = benchmark.pedantic(function, setup=lambda: renew(fresh), rounds=20, warmup_rounds=1)
        if side == "fastem":
            actual = read(given, timed)
            function, fresh = numpy_side
            expected = function(*fresh())
        else:
            expected = timed
            function, fresh = fastem_side
            renew(fresh)
            actual = read(given, function(*given))
        for one, other in zip(as_tuple(actual), as_tuple(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())

    return run


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


class Problem:
    """Rows, a model and what each step of a pass gets, for one covariance type."""

    def __init__(self, covariance_type):
        self.family = FAMILIES[covariance_type]
        self.model = random_model(0, covariance_type, K, D)
        self.X, _ = self.model.sample(N, rng=0)
        self.params, _ = self.model._prepare(self.X.dtype)
        self.points = twins.load_tile(self.params, self.X)
        self.log2_probs = twins.log2_prob(self.params, self.points)
        self.r, _ = twins.normalise(self.log2_probs)


@pytest.fixture(params=TYPES)
def problem(request):
    return Problem(request.param)


def test_load(contest, problem):
    X, params = problem.X, problem.params
    contest(
        (steps.load, lambda: (params, X, steps.scratch_for(X), steps.new_tiles(D, X))),
        (twins.load_tile, lambda: (params, X)),
        lambda arguments, _: steps.from_tiles(arguments[-1]),
    )


def test_log2_prob(contest, problem):
    X, params, points = problem.X, problem.params, problem.points
    contest(
        (
            steps.log2_prob,
            lambda: (params, steps.to_tiles(points, X), steps.scratch_for(X), steps.new_tiles(K, X)),
        ),
        (twins.log2_prob, lambda: (params, points)),
        lambda arguments, _: steps.from_tiles(arguments[-1]),
    )


@pytest.mark.parametrize("problem", ["full"], indirect=True)
def test_normalise(contest, problem):
    X, log2_probs = problem.X, problem.log2_probs
    row = np.ones((1, X.shape[0]))
    contest(
        (
            steps.normalised,
            lambda: (
                steps.to_tiles(log2_probs, X),
                steps.to_tiles(row, X)[0],
                steps.new_tiles(1, X)[0],
                steps.new_tiles(1, X)[0],
                np.empty((N // TILE, K)),
            ),
        ),
        (twins.normalise, lambda: (log2_probs,)),
        lambda arguments, log2_likelihood: (steps.from_tiles(arguments[0]), log2_likelihood),
    )


def test_accumulate(contest, problem):
    X, params, points, r = problem.X, problem.params, problem.points, problem.r
    tile_weights = np.ascontiguousarray(r.reshape(K, -1, TILE).sum(axis=2).T)

    def read(arguments, _):
        sums = arguments[-1]
        return problem.family.collect(params, Sums(*(array.sum(axis=0) for array in sums)))[1:]

    contest(
        (
            steps.accumulate,
            lambda: (
                params,
                steps.to_tiles(points, X),
                steps.to_tiles(r, X),
                tile_weights,
                steps.scratch_for(X),
                problem.family.new_sums(1, K, D),
            ),
        ),
        (twins.sums, lambda: (params, points, r)),
        read,
    )


@pytest.mark.parametrize("method", ["score_samples", "predict", "predict_proba"])
def test_score(contest, problem, method):
    X, model = problem.X, problem.model
    matrices = np.array(naive.dense(model.covariances, model.covariance_type, K, D))
    score = partial(getattr(model, method), n_threads=1)
    twin = {
        "score_samples": lambda *given: naive.broadcast_e_step(*given)[1],
        "predict": lambda *given: naive.broadcast_e_step(*given)[0].argmax(axis=1),
        "predict_proba": lambda *given: naive.broadcast_e_step(*given)[0],
    }[method]
    contest(
        (score, lambda: (X,)),
        (twin, lambda: (X, model.weights, model.means, matrices)),
    )


@pytest.mark.parametrize("problem", ["full"], indirect=True)
def test_moments(contest, problem):
    X = problem.X
    source = ArraySource(X, None, 1)
    contest(
        (source.moments, tuple),
        (twins.moments, lambda: (X,)),
        lambda _, moments: (moments.mean, moments.variance),
    )


@pytest.fixture
def clustered():
    """Points (D, m), weights, and the numbers that drawing seeds takes."""
    model = random_model(1, "spherical", K, D)
    points = np.ascontiguousarray(model.sample(N, rng=0)[0].T)
    rng = np.random.default_rng(0)
    return points, rng.uniform(0, 2, N), rng.random((K, 2 + int(np.log(K))))


def test_kmeans_plus_plus(contest, clustered):
    contest((kmeans_plus_plus, lambda: clustered), (twins.kmeans_plus_plus, lambda: clustered))


def test_lloyd(contest, clustered):
    points, weights, _ = clustered

    def fresh():
        return points, weights, points[:, :K].T.copy(), 10

    contest((lloyd, fresh), (twins.lloyd, fresh), lambda arguments, labels: (labels, arguments[2]))
