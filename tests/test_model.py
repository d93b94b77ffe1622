"""GaussianMixture: construction from known parameters, scores, samples and copies."""

import copy
import pickle

import numpy as np
import pytest
from problems import TYPES, clusters, random_model
from scipy.stats import multivariate_normal

import fastem


@pytest.mark.parametrize("covariance_type", TYPES)
def test_densities_are_those_of_scipy(covariance_type):
    model = random_model(0, covariance_type, 1, 3)
    X = clusters(0, 50, 3, 2)
    dense = {
        "full": lambda c: c[0],
        "tied": lambda c: c,
        "diag": lambda c: np.diag(c[0]),
        "spherical": lambda c: c[0] * np.eye(3),
    }[covariance_type](model.covariances)
    expected = multivariate_normal(model.means[0], dense).logpdf(X)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_sample_has_the_moments_of_the_mixture(covariance_type):
    model = random_model(3, covariance_type, 3, 2)
    X, labels = model.sample(200_000, rng=0)
    assert X.shape == (200_000, 2)
    assert labels.dtype == np.int64
    again, _ = model.sample(200_000, rng=0)
    np.testing.assert_array_equal(X, again)
    supervised = fastem.fit(X, 3, covariance_type=covariance_type, init=labels, max_iter=0)
    np.testing.assert_allclose(supervised.weights, model.weights, atol=0.01)
    np.testing.assert_allclose(supervised.means, model.means, atol=0.05)
    np.testing.assert_allclose(supervised.covariances, model.covariances, atol=0.1)


def test_sample_of_nothing():
    X, labels = random_model(0, "full", 2, 3).sample(0)
    assert X.shape == (0, 3)
    assert labels.shape == (0,)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_n_parameters(covariance_type):
    k, d = 3, 4
    expected = {"full": 44, "tied": 24, "diag": 26, "spherical": 17}[covariance_type]
    assert random_model(0, covariance_type, k, d).n_parameters == expected


def test_weighted_score():
    model = random_model(0, "full", 2, 2)
    X = clusters(0, 30, 2, 2)
    weight = np.arange(30)
    repeated = model.score(np.repeat(X, weight, axis=0))
    assert model.score(X, weight) == pytest.approx(repeated)
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())


def test_it_is_immutable():
    model = random_model(0, "full", 2, 2)
    with pytest.raises(AttributeError, match="immutable"):
        model.means = 0
    with pytest.raises(AttributeError, match="immutable"):
        del model.means
    with pytest.raises(ValueError, match="read-only"):
        model.means[0] = 0


def test_its_arrays_are_in_c_order():
    """Kernels would compile anew for others."""
    means = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    covariances = np.asfortranarray(np.tile(np.eye(2), (3, 1, 1)))
    model = fastem.GaussianMixture(np.full(3, 1 / 3), means, covariances)
    assert model.means.flags.c_contiguous
    assert model.covariances.flags.c_contiguous


@pytest.mark.parametrize("size", [1.0, 1e-140, 1e140])
@pytest.mark.parametrize("covariance_type", [*TYPES, "VEV"])
def test_a_fit_makes_what_the_constructor_would(covariance_type, size):
    """A fit checks what it has found only where variances come near the ends of float64."""
    seen = []
    model = fastem.fit(
        size * clusters(1, 60, 2, 2),
        2,
        covariance_type=covariance_type,
        rng=0,
        callback=lambda _, __, model: seen.append((model, [array.copy() for array in _arrays(model)])),
    )
    checked = fastem.GaussianMixture(*_arrays(model), covariance_type)
    for array, own in zip(_arrays(model), _arrays(checked), strict=True):
        assert array.tobytes() == own.tobytes()
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert not array.flags.writeable
    for earlier, then in seen:  # no iteration writes to a model that a callback had
        assert all(map(np.array_equal, _arrays(earlier), then))


def _arrays(model):
    return model.weights, model.means, model.covariances


def test_it_copies_its_arguments():
    means = np.zeros((1, 2))
    model = fastem.GaussianMixture([1.0], means, [1.0], "spherical")
    means[:] = 9
    assert (model.means == 0).all()


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_it_survives_copying(clone):
    model = fastem.fit(clusters(0, 500, 2, 2), 2, rng=0)
    model.predict(clusters(0, 10, 2, 2))
    twin = clone(model)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(model, name))
        assert not getattr(twin, name).flags.writeable
    assert twin.report == model.report
    assert twin.covariance_type == "full"


def test_float32_in_float32_out():
    model = random_model(0, "full", 2, 2)
    X = clusters(0, 300, 2, 2)
    assert model.score_samples(X.astype(np.float32)).dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert model.score_samples(X.astype(np.float16)).dtype == np.float64
    assert model.means.dtype == np.float64


def test_points_beyond_every_density_still_have_responsibilities_that_sum_to_one():
    model = random_model(0, "full", 3, 2)
    far = np.array([[1e12, -1e12], [1e17, 0]])
    proba = model.predict_proba(far)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.isfinite(model.score_samples(far)).all()
    beyond = model.predict_proba(far[:1].astype(np.float32) * np.float32(1e5))
    np.testing.assert_allclose(beyond.sum(axis=1), 1, rtol=1e-6)


def test_a_component_of_weight_zero_takes_no_part():
    model = fastem.GaussianMixture([1.0, 0.0], [[0.0], [5.0]], [1.0, 1.0], "spherical")
    X = np.array([[0.0], [5.0], [50.0]])
    np.testing.assert_array_equal(model.predict(X), 0)
    np.testing.assert_array_equal(model.predict_proba(X), [[1, 0]] * 3)
    _, labels = model.sample(100, rng=0)
    assert (labels == 0).all()


def test_no_rows_give_no_scores():
    model = random_model(0, "full", 2, 3)
    nothing = np.empty((0, 3))
    assert model.predict(nothing).shape == (0,)
    assert model.score_samples(nothing).shape == (0,)
    assert model.predict_proba(nothing).shape == (0, 2)


def test_repr():
    expected = "GaussianMixture(n_components=2, n_features=3, covariance_type='full')"
    assert repr(random_model(0, "full", 2, 3)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.6], [[0.0], [1.0]], [1.0, 1.0], "spherical"), "weights must be at least 0 and sum to 1"),
        (([1.5, -0.5], [[0.0], [1.0]], [1.0, 1.0], "spherical"), "weights must be at least 0"),
        (([[1.0]], [[0.0]], [1.0], "spherical"), "weights must have shape"),
        (([1.0], [0.0], [1.0], "spherical"), "means must have shape"),
        (([1.0], [[0.0], [1.0]], [1.0], "spherical"), "means must have shape"),
        (([1.0], [[np.nan]], [1.0], "spherical"), "means must be finite"),
        (([1.0], [[0.0]], [np.inf], "spherical"), "covariances must be finite"),
        (([1.0], [[0.0]], [[1.0]], "spherical"), "covariances must have shape"),
        (([1.0], [[0.0, 0.0]], np.eye(2), "full"), "covariances must have shape"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.1, 1.0]]], "full"), "covariances must be symmetric"),
        (([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]], "full"), "positive definite; that of component 0"),
        (([1.0], [[0.0, 0.0]], [[1.0, 2.0], [2.0, 1.0]], "tied"), "positive definite"),
        (([1.0], [[0.0]], [0.0], "spherical"), "positive definite"),
        (([1.0], [[0.0]], [[-1.0]], "diag"), "positive definite"),
        (([1.0], [[0.0]], [1.0], "round"), "covariance_type must be one of"),
    ],
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastem.GaussianMixture(*arguments)


def test_text_parameters_are_refused():
    with pytest.raises(TypeError, match="weights must hold real numbers"):
        fastem.GaussianMixture(["a"], [[0.0]], [1.0], "spherical")


def test_the_score_of_many_rows_is_taken_in_parts(monkeypatch):
    model = random_model(0, "full", 3, 2)
    X = model.sample(1000, rng=0)[0]
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    expected = model.score(X, weight), model.bic(X, weight)
    monkeypatch.setattr(fastem._sources.arrays, "_SCORED_ROWS", 300)
    assert (model.score(X, weight), model.bic(X, weight)) == pytest.approx(expected, rel=1e-12)
    X[700, 1] = np.nan
    with pytest.raises(ValueError, match="the part of X at row 600 must be finite; row 100, column 1 is nan"):
        model.score(X)
