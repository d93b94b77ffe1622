"""`init_params="auto"` of the drop-in, its own start, and what `accelerate` says about worker processes."""

import logging
import pickle

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from problems import TYPES, clusters
from sklearn import datasets
from sklearn.base import clone
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV

import fastem
from fastem._sklearn import accelerate as _accelerate
from fastem._sklearn import likelihood as _likelihood
from fastem.sklearn import GaussianMixture

NAMES = ["auto", "kmeans", "k-means++", "random", "random_from_data"]
pytestmark = pytest.mark.usefixtures("one_blas_thread")

DATA = {
    "iris": (lambda: datasets.load_iris().data, 3),
    "circles": (lambda: datasets.make_circles(5000, noise=0.1, factor=0.5, random_state=0)[0], 6),
    "moons": (lambda: datasets.make_moons(5000, noise=0.1, random_state=0)[0], 6),
    "swiss roll": (lambda: datasets.make_swiss_roll(5000, noise=0.1, random_state=0)[0], 8),
    "clusters": (lambda: clusters(3, 20_000, 5, 4), 4),
    "wide and narrow": (
        lambda: np.random.default_rng(0).normal(0, np.repeat([8, 0.3], [9000, 1000])[:, None], (10_000, 2)),
        2,
    ),
}


@pytest.mark.parametrize("data_set", DATA)
def test_it_ends_no_lower_than_scikit_learn(data_set):
    load, k = DATA[data_set]
    X = load()
    gains = [
        GaussianMixture(k, random_state=seed).fit(X).score(X) - Theirs(k, random_state=seed).fit(X).score(X)
        for seed in range(2)
    ]
    assert np.mean(gains) > -1e-4


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_same_random_state_has_the_same_bits(covariance_type):
    X = clusters(3, 3000, 3, 5)
    first, again, one, other = (
        GaussianMixture(5, covariance_type=covariance_type, random_state=seed, n_threads=n).fit(X).means_
        for seed, n in ((0, None), (0, None), (0, 1), (1, None))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, one)
    assert (first != other).any()


def test_the_user_chooses_the_start(iris, monkeypatch):
    used, fit_by = [], _likelihood.fit_by
    monkeypatch.setattr(_likelihood, "fit_by", lambda *args: used.append(args[1]) or fit_by(*args))
    model = GaussianMixture(2, init_params="random", random_state=0).set_params(init_params="auto")
    model = clone(pickle.loads(pickle.dumps(model)))
    model.fit(iris)
    assert used == ["brief"]
    search = GridSearchCV(model, {"init_params": NAMES}, cv=2, error_score="raise").fit(iris)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    with pytest.raises(ValueError, match="'init_params' parameter of GaussianMixture must be a str among"):
        GaussianMixture(2, init_params="brief").fit(iris)
    with pytest.raises(ValueError, match="init_params"), fastem.accelerate():
        Theirs(2, init_params="auto").fit(iris)


def test_a_subclass_with_a_step_of_its_own_begins_with_k_means(iris):
    class Own(GaussianMixture):
        def _m_step(self, X, *args, **kwargs):
            super()._m_step(X, *args, **kwargs)

    model = Own(3, random_state=0).fit(iris)
    np.testing.assert_array_equal(model.means_, Theirs(3, random_state=0).fit(iris).means_)
    assert model.init_params == "auto"


@pytest.mark.parametrize("covariance_type", TYPES)
def test_hard_rows(covariance_type):
    """As many rows as components, one feature, a constant feature, equal rows, weights of zero."""
    rng = np.random.default_rng(0)
    for X in (rng.normal(size=(3, 2)), rng.normal(size=(50, 1)), np.eye(50)[:, :2], np.ones((10, 2))):
        model = GaussianMixture(3, covariance_type=covariance_type, random_state=0)
        weights = np.ones(len(X)) if len(X) < 5 else rng.integers(0, 3, len(X))
        for fitted in (model.fit(X), model.fit(X, sample_weight=weights)):
            assert np.isfinite(fitted.score(X))
            assert fitted.weights_.sum() == pytest.approx(1)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_pixels_are_scored_as_numbers(covariance_type):
    """scikit-learn squares them in their own dtype, in which they wrap around."""
    X = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    model = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    assert model.score(X) == pytest.approx(model.score(X.astype(float)))
    theirs = Theirs(2, covariance_type=covariance_type, random_state=0).fit(X)
    true, labels = theirs.score(X.astype(float)), theirs.predict(X.astype(float))
    with fastem.accelerate():
        assert theirs.score(X) == pytest.approx(true)
        np.testing.assert_array_equal(theirs.predict(X), labels)


# --- worker processes


def test_it_says_once_that_workers_of_joblib_are_not_accelerated(iris, caplog, monkeypatch):
    with caplog.at_level(logging.WARNING, "fastem"), fastem.accelerate():
        model = pickle.loads(pickle.dumps(Theirs(2, random_state=0).fit(iris)))
        with parallel_config("threading", n_jobs=2):
            GridSearchCV(model, {"n_components": [1, 2]}).fit(iris)
        assert not caplog.messages
        monkeypatch.setattr(_accelerate, "_callers", lambda: ["joblib.externals.loky.backend.queues"])
        state = model.__getstate__()
        model.__getstate__()
    assert len(caplog.messages) == 1
    assert "worker processes, which are not accelerated" in caplog.messages[0]
    assert state == model.__getstate__()


def _is_accelerated():
    return hasattr(Theirs.fit_predict, "__wrapped__") and "__getstate__" in vars(Theirs)


def _accelerated_in_a_block():
    with fastem.accelerate():
        return _is_accelerated()


@pytest.mark.slow
def test_workers_of_joblib(iris, caplog):
    with caplog.at_level(logging.WARNING, "fastem"), fastem.accelerate():
        GridSearchCV(Theirs(random_state=0), {"n_components": [1, 2]}, n_jobs=2).fit(iris)
        outside, inside = Parallel(n_jobs=2)(delayed(f)() for f in (_is_accelerated, _accelerated_in_a_block))
    assert (outside, inside) == (False, True)
    assert len(caplog.messages) == 1


@pytest.mark.filterwarnings("ignore:.*did not converge.*")
@pytest.mark.parametrize("init_params", ["auto", "kmeans"])
def test_two_warm_iterations_are_a_fit_of_two(init_params):
    X = np.random.RandomState(0).rand(500, 2)
    options = {"init_params": init_params, "tol": 0, "reg_covar": 0, "random_state": 0}
    whole = GaussianMixture(2, max_iter=2, **options).fit(X)
    warm = GaussianMixture(2, max_iter=1, warm_start=True, **options).fit(X)
    first = warm.score(X)
    warm.fit(X)
    np.testing.assert_allclose(warm.means_, whole.means_, rtol=1e-9)
    np.testing.assert_allclose(warm.weights_, whole.weights_, rtol=1e-9)
    assert warm.score(X) > first
    warm.set_params(max_iter=200, tol=1e-6).fit(X)
    assert warm.converged_


def test_a_warm_start_goes_on_with_the_same_kind_of_mixture():
    X = np.random.RandomState(0).rand(200, 2)
    model = GaussianMixture(2, warm_start=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="n_components must be that of the last fit where warm_start=True"):
        model.set_params(n_components=3).fit(X)
    with pytest.raises(ValueError, match="covariance_type must be that of the last fit"):
        model.set_params(n_components=2, covariance_type="diag").fit(X)
