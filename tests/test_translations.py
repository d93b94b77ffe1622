"""Errors tell those who know scikit-learn what the thing is called here, and change nothing else."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastem

X = np.random.default_rng(0).normal(size=(60, 2)) + 6 * (np.arange(60) % 2)[:, None]
QUICK = {"init": "k-means++", "max_iter": 2, "tol": 0, "rng": 0}


@pytest.fixture(scope="module")
def mixture():
    return fastem.fit(X, 2, **QUICK)


@pytest.fixture(scope="module")
def poisson():
    return fastem.Mixture([0.5, 0.5], {"rates": [[1.0], [9.0]]}, "poisson")


@pytest.fixture(scope="module")
def clusters():
    return fastem.kmeans(X, 2, rng=0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: fastem.fit(X, 2, random_state=0), "'random_state'.*rng=0.*fastem.sklearn"),
        (lambda: fastem.fit(X, n_components=3), "'n_components'.*k, the second argument.*fastem.sklearn"),
        (lambda: fastem.fit(X, 2, n_jobs=2), "'n_jobs'.*n_threads="),
        (lambda: fastem.fit(X, 2, means_init=X[:2]), "'means_init'.*init={"),
        (lambda: fastem.fit(X, 2, precisions_init=1), "'precisions_init'.*covariances"),
        (lambda: fastem.fit(X, 2, init_params="kmeans"), "'init_params'.*init="),
        (lambda: fastem.fit(X, 2, warm_start=True), "'warm_start'.*init=model"),
        (lambda: fastem.fit(X, 2, verbose=1), "'verbose'.*progress=True"),
        (lambda: fastem.fit(X, 2, sample_weights=1), "'sample_weights'.*Did you mean sample_weight="),
        (lambda: fastem.fit(X, 2, covariance="full"), "'covariance'.*Did you mean covariance_type="),
        (lambda: fastem.fit(X, 2, zzz=1), "'zzz'.*The arguments are X, k, covariance_type"),
        (lambda: fastem.fit(X), r"needs k.*fastem.fit\(X, 3\).*fastem.select"),
        (lambda: fastem.fit(X, 2, "full"), "too many positional.*by name"),
        (lambda: fastem.kmeans(X), r"needs k.*fastem.kmeans\(X, 3\)"),
        (lambda: fastem.kmeans(X, n_clusters=3), "'n_clusters'.*k, the second argument"),
        (lambda: fastem.select(X, n_components=3), "'n_components'.*k, the second argument"),
        (lambda: fastem.silhouette_score(X, X, random_state=0), "'random_state'.*rng=0"),
        (lambda: fastem.silhouette_samples(X, X, metric="cosine"), "'metric'.*Euclidean"),
        (lambda: fastem.partial_fit(None, X, k=2, random_state=0), "'random_state'.*rng=0"),
        (lambda: fastem.partial_fit(None, X, 2, random_state=0), "'random_state'.*rng=0"),
        (
            lambda: fastem.partial_fit(None, X, 2),
            r"Pass options by name: fastem\.partial_fit\(None, X, k=2\)",
        ),
        (lambda: fastem.fit(X, 2, init=fastem.kmeans(X, 2)), r'init={"means": km\.centers}'),
        (lambda: fastem.GaussianMixture(3), r"fastem.fit\(X, 3\).*fastem.sklearn.GaussianMixture\(3\)"),
        (lambda: fastem.GaussianMixture(n_components=3), r"'n_components'.*fastem.fit\(X, 3\)"),
        (lambda: fastem.Mixture(3), r"fastem.fit\(X, 3\)"),
        (lambda: fastem.KMeans(3), r"fastem.kmeans\(X, 3\)"),
        (lambda: fastem.KMeans(n_clusters=3), r"fastem.kmeans\(X, 3\)"),
    ],
)
def test_wrong_arguments_name_the_right_ones(call, named):
    with pytest.raises(TypeError, match=named):
        call()


@pytest.mark.parametrize(
    ("model", "name", "advice"),
    [
        ("mixture", "fit", r"fastem.fit\(X, k\)"),
        ("mixture", "fit_predict", r"fastem.fit\(X, k\).predict\(X\)"),
        ("mixture", "means_", "Use means."),
        ("mixture", "covariances_", "Use covariances."),
        ("mixture", "converged_", "Use report.converged."),
        ("mixture", "nonsense", "no attribute 'nonsense'.$"),
        ("poisson", "rates_", r"Use parameters\['rates'\]"),
        ("poisson", "rates", r"Use parameters\['rates'\]"),
        ("clusters", "cluster_centers_", "Use centers."),
        ("clusters", "labels_", "Use labels"),
        ("clusters", "bic", "EII"),
    ],
)
def test_attributes_of_scikit_learn_name_ours(model, name, advice, request):
    model = request.getfixturevalue(model)
    with pytest.raises(AttributeError, match=advice):
        getattr(model, name)
    assert not hasattr(model, name)


@pytest.mark.parametrize("model", ["mixture", "poisson", "clusters"])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_unharmed(model, again, request):
    model = request.getfixturevalue(model)
    twin = again(model)
    assert type(twin) is type(model)
    assert twin.report == model.report
    assert_array_equal(
        twin.predict(np.ones((3, model.n_features))), model.predict(np.ones((3, model.n_features)))
    )


def test_signatures_and_names_are_kept():
    for function in (fastem.fit, fastem.kmeans, fastem.select, fastem.silhouette_score):
        assert next(iter(inspect.signature(function).parameters)) == "X"
        assert pickle.loads(pickle.dumps(function)) is function
    assert inspect.signature(fastem.fit).parameters["X"].annotation == "DataLike"
    assert list(inspect.signature(fastem.GaussianMixture).parameters)[:3] == [
        "weights",
        "means",
        "covariances",
    ]


def test_an_attribute_error_within_a_property_is_kept(mixture):
    class Own(fastem.GaussianMixture):
        @property
        def widest(self):
            return self.means.nothing

    own = Own(mixture.weights, mixture.means, mixture.covariances)
    with pytest.raises(AttributeError, match=r"'numpy.ndarray' object has no attribute 'nothing'"):
        _ = own.widest
    assert not hasattr(own, "__name__")  # which its class has


def test_an_error_within_is_not_taken_for_one_of_arguments():
    def callback(iteration, log_likelihood, model):
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        fastem.fit(X, 2, callback=callback, **QUICK)


def test_a_random_state_gives_the_seed_and_goes_on(mixture):
    def means(rng):
        return fastem.fit(X, 2, **{**QUICK, "init": "random", "rng": rng}).means

    shared = np.random.RandomState(0)
    first, second = means(shared), means(shared)
    assert_array_equal(first, means(np.random.RandomState(0)))
    assert not np.array_equal(first, second)
    states = [np.random.RandomState(1) for _ in range(2)]
    drawn = [fastem.partial_fit(None, X, k=2, **{**QUICK, "rng": state}).means for state in states]
    assert_array_equal(*drawn)
    with pytest.raises(TypeError, match=r"the module numpy.random.*default_rng"):
        mixture.sample(3, np.random)


def test_reports_are_short(mixture, clusters):
    history = tuple(np.linspace(-900, -800, 57))
    repairs = (fastem._report.Repair(1, 0, "floor"),) * 3
    report = fastem.FitReport(fastem.FitStatus.CONVERGED, True, 56, -800.0, history, repairs, 0.25, -800.0)
    assert "history=(..., -800: 57 values)" in repr(report)
    assert len(repr(report)) < 300
    shown = str(report).splitlines()
    assert shown[:2] == ["CONVERGED after 56 iterations, in 0.25 s", "log-likelihood -800, 3 repairs"]
    assert shown[2:] == [fastem.FitStatus.CONVERGED.value]
    assert pickle.loads(pickle.dumps(report)) == report
    assert report != mixture.report
    assert f"inertia {clusters.inertia:.10g}" in str(clusters.report)
    assert len(str(mixture.report).splitlines()) == 3
