"""Stepwise EM by `partial_fit`."""

import numpy as np
import pytest
from problems import TYPES, clusters, random_model

import fastem
from fastem import FitStatus

X = clusters(0, 20_000, 3, 3)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_step_of_one_is_an_iteration_of_em(covariance_type):
    model = random_model(1, covariance_type, 3, 3)
    stepped = fastem.partial_fit(model, X[:2000], step=1.0, reg_covar=0)
    expected = fastem.m_step(fastem.e_step(X[:2000], model), reg_covar=0)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(stepped, name), getattr(expected, name), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_step_of_next_to_nothing_changes_nothing(covariance_type, dtype):
    model = random_model(1, covariance_type, 3, 3)
    stepped = fastem.partial_fit(model, X[:2000].astype(dtype), step=1e-12)
    tolerance = 1e-9 if dtype == np.float64 else 1e-5
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(
            getattr(stepped, name), getattr(model, name), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("covariance_type", TYPES)
def test_statistics_blend_in_the_step_size(covariance_type):
    """The chunk is the rows that the model was fitted to. So the blended statistics have the same maximum."""
    model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0, tol=1e-12, max_iter=2000, reg_covar=0)
    stepped = fastem.partial_fit(model, X, step=0.3, reg_covar=0)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(stepped, name), getattr(model, name), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "covariance_type", ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in TYPES[1:])]
)
def test_one_pass_comes_near_the_batch_fit(covariance_type):
    rows = clusters(5, 200_000, 4, 5)
    model = None
    for chunk in np.array_split(rows, 100):
        model = fastem.partial_fit(model, chunk, k=5, covariance_type=covariance_type, rng=0)
    batch = fastem.fit(rows, 5, covariance_type=covariance_type, rng=0)
    assert batch.score(rows) - model.score(rows) < 1e-2
    assert model.report.status is FitStatus.ONLINE
    assert model.report.n_iter == 100


def test_the_first_chunk_has_the_start_auto():
    """Here k-means++ ends in a lower mode of the likelihood, and later chunks do not leave it."""
    rows = clusters(2, 50_000, 4, 5)
    best = fastem.fit(rows, 5, rng=0, n_init=5).score(rows)
    for options, reaches_best in (({}, True), ({"init": "k-means++"}, False)):
        model = fastem.partial_fit(None, rows[:20_000], k=5, rng=0, **options)
        for chunk in np.array_split(rows[20_000:], 10):
            model = fastem.partial_fit(model, chunk)
        assert (best - model.score(rows) < 1e-2) is reaches_best


def test_reg_covar_does_not_pile_up():
    rng = np.random.default_rng(0)
    model = None
    for _ in range(200):
        chunk = rng.normal(size=(500, 2))
        model = fastem.partial_fit(model, chunk, k=1, step=0.01 if model else None, reg_covar=0.1)
    np.testing.assert_allclose(np.diag(model.covariances[0]), 1.1, rtol=0.05)


def test_weights_of_rows():
    weight = np.random.default_rng(0).integers(1, 4, 500)
    model = random_model(1, "full", 3, 3)
    weighted = fastem.partial_fit(model, X[:500], sample_weight=weight)
    repeated = fastem.partial_fit(model, np.repeat(X[:500], weight, axis=0))
    np.testing.assert_allclose(weighted.covariances, repeated.covariances, rtol=1e-9, atol=1e-9)


def test_it_survives_a_file(tmp_path):
    model = fastem.partial_fit(None, X[:1000], k=3, rng=0)
    model.save(tmp_path / "model.npz")
    one, other = (
        fastem.partial_fit(start, X[1000:2000]) for start in (model, fastem.load(tmp_path / "model.npz"))
    )
    np.testing.assert_array_equal(one.means, other.means)
    assert other.report.n_iter == 2


@pytest.mark.parametrize("step", [0, -1, 1.5, np.nan, "half"])
def test_steps(step):
    with pytest.raises((ValueError, TypeError), match="step must be"):
        fastem.partial_fit(random_model(1, "full", 3, 3), X, step=step)


def test_other_arguments():
    with pytest.raises(TypeError, match="k must be given while there is no model"):
        fastem.partial_fit(None, X)
    with pytest.raises(ValueError, match="k must be that of the model, 3; got 4"):
        fastem.partial_fit(random_model(1, "full", 3, 3), X, k=4)
    with pytest.raises(ValueError, match="X must have 3 features"):
        fastem.partial_fit(random_model(1, "full", 3, 3), X[:, :2])
    with pytest.raises(TypeError, match=r"model must be a fastem\.Mixture"):
        fastem.partial_fit("model", X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"nonsense": 3}, TypeError, "unknown option 'nonsense'"),
        ({"n_init": -1}, ValueError, "n_init must be an integer of at least 1; got -1"),
        ({"init": "magic"}, ValueError, "init must be one of"),
        ({"tol": -1}, ValueError, "tol must be"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be"),
        ({"callback": 3}, TypeError, "callback must be"),
        ({"rng": "seed"}, TypeError, "rng must be"),
        ({"covariance_type": "round"}, ValueError, "covariance_type must be one of"),
        ({"covariance_type": "diag"}, ValueError, "must go on with covariance_type='full'.*got.*'diag'"),
        ({"distribution": "poisson"}, ValueError, "must go on with covariance_type='full'.*got.*'poisson'"),
    ],
)
@pytest.mark.parametrize("model", [None, random_model(1, "full", 3, 3)], ids=["first", "later"])
def test_options_of_the_first_chunk_are_checked_in_every_call(model, options, error, message):
    if model is None and "must go on" in message:
        pytest.skip("there is nothing to agree with")
    with pytest.raises(error, match=message):
        fastem.partial_fit(model, X, k=3, **options)


def test_options_of_the_first_chunk_may_be_repeated():
    model = fastem.partial_fit(None, X, k=3, covariance_type="diag", n_init=2, rng=0)
    once = fastem.partial_fit(model, X)
    again = fastem.partial_fit(model, X, k=3, covariance_type="diag", n_init=2, rng=0)
    np.testing.assert_array_equal(once.means, again.means)
