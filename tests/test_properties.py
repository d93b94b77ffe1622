"""Properties that hold for every data set (hypothesis)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import TYPES

import fastem

pytestmark = pytest.mark.filterwarnings("ignore::fastem.FitWarning")

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)
problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "n": st.integers(20, 900),
        "d": st.integers(1, 6),
        "k": st.integers(1, 4),
        "covariance_type": st.sampled_from(TYPES),
    }
)


def draw(problem):
    rng = np.random.default_rng(problem["seed"])
    n, d, k = problem["n"], problem["d"], problem["k"]
    X = rng.normal(size=(n, d)) + 4 * rng.normal(size=(k, d))[rng.integers(k, size=n)]
    labels = np.concatenate([np.arange(k), rng.integers(k, size=n - k)])
    return rng, X, labels


def fit(X, labels, problem, **options):
    return fastem.fit(
        X,
        problem["k"],
        covariance_type=problem["covariance_type"],
        init=labels,
        tol=0,
        max_iter=5,
        **options,
    )


def assert_same_fit(one, other, rtol=1e-6):
    assert one.report.log_likelihood == pytest.approx(other.report.log_likelihood, rel=rtol)
    np.testing.assert_allclose(one.weights, other.weights, rtol=rtol, atol=1e-8)


@SETTINGS
@given(problems)
def test_the_order_of_rows_does_not_matter(problem):
    rng, X, labels = draw(problem)
    order = rng.permutation(len(X))
    assert_same_fit(fit(X, labels, problem), fit(X[order], labels[order], problem))


@SETTINGS
@given(problems)
def test_the_names_of_components_do_not_matter(problem):
    rng, X, labels = draw(problem)
    order = rng.permutation(problem["k"])
    one, other = fit(X, labels, problem), fit(X, order[labels], problem)
    assert one.report.log_likelihood == pytest.approx(other.report.log_likelihood, rel=1e-6)
    np.testing.assert_allclose(one.weights, other.weights[order], rtol=1e-6, atol=1e-8)


@SETTINGS
@given(problems)
def test_integer_weights_are_repeated_rows(problem):
    rng, X, labels = draw(problem)
    counts = rng.integers(1, 4, size=len(X))
    weighted = fit(X, labels, problem, sample_weight=counts)
    repeated = fit(np.repeat(X, counts, axis=0), np.repeat(labels, counts), problem)
    assert_same_fit(weighted, repeated)


@SETTINGS
@given(problems)
def test_chunks_are_the_whole(problem):
    rng, X, labels = draw(problem)
    model = fit(X, labels, problem)
    cut = int(rng.integers(1, len(X)))
    merged = fastem.e_step(X[:cut], model) + fastem.e_step(X[cut:], model)
    whole = fastem.e_step(X, model)
    np.testing.assert_allclose(merged.weights, whole.weights, rtol=1e-9, atol=1e-9)
    assert merged.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-9)


@SETTINGS
@given(problems)
def test_an_affine_map_shifts_the_log_likelihood_by_its_jacobian(problem):
    """The map scales all features alike. Only such maps keep every covariance type."""
    rng, X, labels = draw(problem)
    scale = float(rng.uniform(0.1, 10))
    mapped = scale * X + 100 * rng.normal(size=X.shape[1])
    one, other = fit(X, labels, problem), fit(mapped, labels, problem)
    expected = one.report.log_likelihood - X.size * np.log(scale)
    assert other.report.log_likelihood == pytest.approx(expected, rel=1e-6, abs=1e-4)


@SETTINGS
@given(problems)
def test_full_is_closed_under_every_affine_map(problem):
    rng, X, labels = draw(problem)
    problem = {**problem, "covariance_type": "full"}
    d = X.shape[1]
    A = rng.normal(size=(d, d)) + 3 * np.eye(d)
    one, other = fit(X, labels, problem, reg_covar=1e-9), fit(X @ A.T, labels, problem, reg_covar=1e-9)
    if one.report.repairs or other.report.repairs or len(X) < 20 * problem["k"] * d:
        return
    expected = one.report.log_likelihood - len(X) * np.log(abs(np.linalg.det(A)))
    assert other.report.log_likelihood == pytest.approx(expected, rel=1e-5)


@SETTINGS
@given(problems)
def test_every_fit_is_a_valid_mixture(problem):
    _, X, _ = draw(problem)
    k = problem["k"]
    model = fastem.fit(X, k, covariance_type=problem["covariance_type"], rng=0, max_iter=20)
    assert np.isfinite(model.report.log_likelihood)
    assert model.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
