"""The kernels of t distributions compared with their for-loop twins. It also runs interpreted."""

import naive
import numpy as np
import pytest
from problems import TYPES, random_covariances
from test_kernels import INTERPRETED, TOLERANCE, close

import fastem

DTYPES = [np.float64, np.float32]
# (n, d, k): sizes around tiles of 256 (float64) and 512 (float32) rows, all remainders of d by 4
SIZES = [(1, 1, 1), (40, 2, 2), (257, 3, 2), (30, 5, 7), (20, 8, 3), (20, 25, 3)]
if not INTERPRETED:
    SIZES += [(513, 4, 7), (511, 6, 3), (300, 17, 7)]


def random_mixture(seed, covariance_type, k, d, spread=2.0):
    rng = np.random.default_rng(seed)
    parameters = {
        "means": rng.normal(size=(k, d)) * spread,
        "scales": random_covariances(rng, covariance_type, k, d),
        "degrees_of_freedom": np.exp(rng.uniform(np.log(0.5), np.log(900), k)),
    }
    weights = rng.dirichlet(np.full(k, 5.0))
    return fastem.Mixture(weights, parameters, "student", covariance_type=covariance_type)


def near(model, n, dtype):
    """Rows about the means, some of them far out."""
    rng = np.random.default_rng(n)
    labels = rng.integers(model.n_components, size=n)
    X = model.parameters["means"][labels] + rng.standard_t(3, size=(n, model.n_features))
    X[::20] *= 30
    return X.astype(dtype)


def parts_of(model, covariance_type):
    means, scales, degrees = model.parameters.values()
    return means, naive.dense(scales, covariance_type, *means.shape), degrees


def check(model, covariance_type, X, weight):
    tolerance, exact = TOLERANCE[X.dtype.type], X.astype(np.float64)
    means, matrices, degrees = parts_of(model, covariance_type)
    r, log_p = naive.shares(naive.student_joints(exact, model.weights, means, matrices, degrees))
    statistics = fastem.e_step(X, model, weight)
    weight = np.ones(len(X)) if weight is None else weight
    close(statistics.log_likelihood, weight @ log_p, tolerance)
    check_sums(statistics.sums(), exact, weight, r, model, covariance_type, tolerance)
    close(model.score_samples(X), log_p, tolerance)
    close(model.predict_proba(X), r, 10 * tolerance)


def check_sums(sums, X, weight, r, model, covariance_type, tolerance):
    means, matrices, degrees = parts_of(model, covariance_type)
    n_k, logarithms, scaled, first, second = naive.student_sums(X, weight, r, means, matrices, degrees)
    close(sums["weights"], n_k, 10 * tolerance)
    close(sums["logarithms"], logarithms, 10 * tolerance)
    close(sums["scaled_weights"], scaled, 10 * tolerance)
    # "first" is about the mean in the kernel's dtype. In float32 this is the rounded mean of the model.
    about = sums["scaled_weights"][:, None] * (sums["means"] - means)
    close(sums["first"] + about, first, 50 * tolerance)
    close(sums["scatter"], naive.shape_scatter(second, covariance_type), 50 * tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), SIZES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_densities_and_sums_match_the_loops(covariance_type, n, d, k, dtype, weighted):
    model = random_mixture(d, covariance_type, k, d)
    weight = np.random.default_rng(n).uniform(0, 2, n) if weighted else None
    check(model, covariance_type, near(model, n, dtype), weight)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_components_far_apart_and_rows_of_weight_zero(covariance_type, dtype):
    """Some responsibilities are zero, so that kernels skip points and pack others."""
    n, d, k = (300, 4, 3) if INTERPRETED else (600, 5, 9)
    model = random_mixture(3, covariance_type, k, d, spread=300)
    values = dict(model.parameters) | {"degrees_of_freedom": np.full(k, 400.0)}
    model = fastem.Mixture(model.weights, values, "student", covariance_type=covariance_type)
    weight = np.random.default_rng(n).uniform(0, 2, n)
    weight[100:290] = 0
    check(model, covariance_type, near(model, n, dtype), weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_at_the_end_of_the_range(dtype):
    """A density falls only as a power, so that it is known even where a Gaussian's is zero."""
    model = random_mixture(0, "diag", 2, 2)
    X = np.array([[1.0, 1.0], [1e4, -1e6], [1e9, 1e9], [-1e17, 1e17]], dtype)
    means, matrices, degrees = parts_of(model, "diag")
    joints = naive.student_joints(X.astype(np.float64), model.weights, means, matrices, degrees)
    r, log_p = naive.shares(joints)
    close(model.score_samples(X), log_p, 10 * TOLERANCE[dtype])
    close(model.predict_proba(X), r, 100 * TOLERANCE[dtype])
