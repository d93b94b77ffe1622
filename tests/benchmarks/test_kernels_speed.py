"""The speed of each kernel on one thread, compared with its NumPy twin. The results must agree.

Plain `pytest` does not run these tests. Run `pytest tests/benchmarks`.
"""

from functools import partial

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark")

import naive
import steps
import twins
from problems import TYPES, random_model
from steps import Step

from fastem._api.inside import sweep_of
from fastem._families.layouts import Diag, Full, Spherical, Tied
from fastem._kernels._kmeans import kmeans_plus_plus, lloyd
from fastem._kernels._params import LinearParams, LinearSums
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows

D = K = 16
N = 8192  # whole tiles
LAYOUTS = {"full": Full(), "tied": Tied(), "diag": Diag(), "spherical": Spherical()}

pytestmark = pytest.mark.parametrize("side", ["fastem", "numpy"])


@pytest.fixture
def contest(benchmark, side, request):
    """Time a step or its twin, whichever is `side`, and compare the results of both."""
    names = [value for name, value in request.node.callspec.params.items() if name != "side"]
    benchmark.group = " ".join([request.node.originalname, *names])

    def run(step, twin, *arguments, rtol=1e-9):
        if side == "fastem":
            given = []

            def renew():
                given[:] = step.fresh()
                return tuple(given), {}

            actual = step.read(given, measure(benchmark, step.function, renew))
            expected = twin(*arguments)
        else:
            expected = measure(benchmark, twin, lambda: (arguments, {}))
            given = step.fresh()
            actual = step.read(given, step.function(*given))
        for one, other in zip(as_tuple(actual), as_tuple(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())

    return run


def measure(benchmark, function, setup):
    return benchmark.pedantic(function, setup=setup, rounds=20, warmup_rounds=1)


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def plain(function, *arguments):
    """A step that returns its result and does not change its arguments."""
    return Step(function, lambda: arguments, lambda _, result: result)


class Problem:
    """Rows, a model and the input of each step of a pass, for one covariance type."""

    def __init__(self, covariance_type):
        self.layout = LAYOUTS[covariance_type]
        self.model = random_model(0, covariance_type, K, D)
        self.X, _ = self.model.sample(N, rng=0)
        self.params = sweep_of(self.model, self.X.dtype).packed
        self.compute()

    def compute(self):
        """Compute the input of later steps of a pass from the steps before."""
        self.points = twins.load(self.params, self.X)
        self.log2_probs = twins.log2_prob(self.params, self.points)
        self.r, _ = twins.normalised(self.log2_probs)


class LinearProblem(Problem):
    """The same for a mixture of Poisson distributions."""

    def __init__(self):
        rng = np.random.default_rng(0)
        rates = rng.uniform(1, 20, size=(K, D))
        self.layout = self
        self.X = rng.poisson(rates[rng.integers(K, size=N)]).astype(float)
        self.params = LinearParams(
            np.zeros(D),
            np.ones(D),
            -rates.sum(axis=1) / np.log(2),
            np.log2(rates)[None],
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0),
            np.empty(0),
        )
        self.compute()

    def new_sums(self, slots, k, d):
        return LinearSums(np.zeros((slots, k)), np.zeros((slots, k, d)), np.zeros(slots))

    def collect(self, params, sums):
        return None, sums.weights, sums.first


@pytest.fixture(params=[*TYPES, "linear"])
def problem(request):
    return LinearProblem() if request.param == "linear" else Problem(request.param)


of_models = pytest.mark.parametrize("problem", TYPES, indirect=True)
full_only = pytest.mark.parametrize("problem", ["full"], indirect=True)


def test_load(contest, problem):
    contest(steps.load(problem.params, problem.X), twins.load, problem.params, problem.X)


def test_log2_prob(contest, problem):
    contest(steps.log2_prob(problem.params, problem.points), twins.log2_prob, problem.params, problem.points)


@full_only
def test_normalise(contest, problem):
    contest(steps.normalised(problem.params, problem.log2_probs), twins.normalised, problem.log2_probs)


def test_accumulate(contest, problem):
    given = problem.params, problem.points, problem.r
    contest(steps.accumulate(problem.layout, *given), twins.accumulate, *given)


@of_models
@pytest.mark.parametrize("method", ["score_samples", "predict", "predict_proba"])
def test_score(contest, problem, method):
    model = problem.model
    matrices = np.array(naive.dense(model.covariances, model.covariance_type, K, D))
    twin = {
        "score_samples": lambda *given: naive.broadcast_e_step(*given)[1],
        "predict": lambda *given: naive.broadcast_e_step(*given)[0].argmax(axis=1),
        "predict_proba": lambda *given: naive.broadcast_e_step(*given)[0],
    }[method]
    score = partial(getattr(model, method), n_threads=1)
    contest(plain(score, problem.X), twin, problem.X, model.weights, model.means, matrices)


@full_only
def test_moments(contest, problem):
    source = ArraySource(Rows("X", 0, problem.X), 1)
    contest(
        Step(source.moments, tuple, lambda _, moments: (moments.mean, moments.variance)),
        twins.moments,
        problem.X,
    )


@pytest.fixture
def clustered():
    """Points (D, N) and their weights."""
    points, _ = random_model(1, "spherical", K, D).sample(N, rng=0)
    return np.ascontiguousarray(points.T), np.random.default_rng(0).uniform(0, 2, N)


def test_kmeans_plus_plus(contest, clustered):
    given = *clustered, np.random.default_rng(1).random((K, 2 + int(np.log(K))))
    contest(plain(kmeans_plus_plus, *given), twins.kmeans_plus_plus, *given)


def test_lloyd(contest, clustered):
    points, weights = clustered

    def fresh():
        return points, weights, points[:, :K].T.copy(), 10

    step = Step(lloyd, fresh, lambda given, labels: (labels, given[2]))
    contest(step, twins.lloyd, *fresh(), rtol=1e-6)  # the kernel is float32
