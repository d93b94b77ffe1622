"""`fastem.sklearn.GaussianMixture` replaces scikit-learn's class, and has a few additions."""

import logging
import pickle
import warnings

import numpy as np
import pytest
import sklearn
from joblib import Parallel, delayed
from problems import TYPES, clusters
from sklearn import datasets
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

import fastem
from fastem import FitStatus
from fastem._sklearn import drop_in as _drop_in
from fastem.datasets import old_faithful
from fastem.sklearn import BayesianGaussianMixture, GaussianMixture

pytestmark = pytest.mark.usefixtures("one_blas_thread")

DATA = {
    "faithful": (old_faithful, 2),
    "iris": (lambda: datasets.load_iris().data, 3),
    "wine": (lambda: datasets.load_wine().data, 3),
    "breast cancer": (lambda: PCA(8).fit_transform(datasets.load_breast_cancer().data), 2),
    "diabetes": (lambda: datasets.load_diabetes().data, 3),
    "digits": (lambda: PCA(10).fit_transform(datasets.load_digits().data), 10),
    "moons": (lambda: datasets.make_moons(2000, noise=0.1, random_state=0)[0], 6),
    "swiss roll": (lambda: datasets.make_swiss_roll(5000, noise=0.1, random_state=0)[0], 8),
    "clusters": (lambda: clusters(3, 20_000, 5, 4), 4),
    "noise": (lambda: np.random.default_rng(0).random((3000, 4)), 3),
}
FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", "lower_bounds_")


def both(X, k, init_params="kmeans", **options):
    options["init_params"] = init_params
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Theirs(k, **options).fit(X), GaussianMixture(k, **options).fit(X)


def assert_same(theirs, ours, names=FITTED):
    for name in names:
        if not hasattr(theirs, name):  # scikit-learn 1.6 had no lower_bounds_
            continue
        expected = getattr(theirs, name)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-6, atol=1e-6 * scale, err_msg=name)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-6)


def subclass(base, step):
    """A subclass of `base` whose `step` of EM does something that changes the result."""

    class Own(base):
        def _m_step(self, X, *args, **kwargs):
            super()._m_step(X, *args, **kwargs)
            self.means_ = np.asarray(self.means_init)

        def _initialize_parameters(self, X, *args, **kwargs):
            super()._initialize_parameters(X, *args, **kwargs)
            self.means_ = X[::50] + 0.0

        def _initialize(self, X, *args, **kwargs):
            super()._initialize(X, *args, **kwargs)
            self.weights_ = np.array([0.8, 0.1, 0.1])

        def _estimate_log_prob(self, X, **kwargs):
            return 0.1 * super()._estimate_log_prob(X, **kwargs)

        def _estimate_weighted_log_prob(self, X, **kwargs):
            return super()._estimate_weighted_log_prob(X, **kwargs) - [0.0, 1.0, 2.0]

        def _estimate_log_prob_resp(self, X, **kwargs):
            norm, resp = super()._estimate_log_prob_resp(X, **kwargs)
            return norm - 1, resp

        def _estimate_log_weights(self, **kwargs):
            return np.log([0.8, 0.1, 0.1])

        def _e_step(self, X, **kwargs):
            return (7.0, super()._e_step(X, **kwargs)[1])

        def _compute_lower_bound(self, *args):
            return 2 * super()._compute_lower_bound(*args)

        def _get_parameters(self):
            weights, means, *rest = super()._get_parameters()
            return (weights, means + 1, *rest)

        def _set_parameters(self, params, **kwargs):
            super()._set_parameters(params, **kwargs)
            self.means_ = self.means_ + 1

        def _check_parameters(self, X, *args, **kwargs):
            super()._check_parameters(X, *args, **kwargs)
            self.weights_init = np.array([0.8, 0.1, 0.1])

        def _n_parameters(self):
            return 1

        def _print_verbose_msg_iter_end(self, n_iter, diff_ll):
            self.weights_ = np.array([0.8, 0.1, 0.1])

        def fit_predict(self, X, y=None):
            return super().fit_predict(X[::2])

    for name in set(vars(Own)) - {step}:
        if callable(vars(Own)[name]):
            delattr(Own, name)
    return Own


@parametrize_with_checks(
    [GaussianMixture(covariance_type=covariance_type) for covariance_type in TYPES]
    + [
        GaussianMixture(init_params=init_params, n_init=2, n_threads=1)
        for init_params in ("kmeans", "random")
    ]
    + [BayesianGaussianMixture(n_init=2)]
)
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks give warnings themselves
        check(estimator)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(
    "data_set",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ("swiss roll", "clusters"))) for name in DATA],
)
def test_equal_to_scikit_learn_from_the_same_random_state(data_set, covariance_type):
    load, k = DATA[data_set]
    X = load()
    theirs, ours = both(X, k, covariance_type=covariance_type, random_state=0)
    assert_same(theirs, ours)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-6)
    for name in ("score", "bic", "aic"):
        assert getattr(ours, name)(X) == pytest.approx(getattr(theirs, name)(X), rel=1e-6)
    for ours_drawn, theirs_drawn in zip(ours.sample(50), theirs.sample(50), strict=True):
        np.testing.assert_allclose(ours_drawn, theirs_drawn, rtol=1e-6, atol=1e-6 * np.abs(X).max())


@pytest.mark.parametrize("init_params", ["k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_equal_for_every_start(init_params, covariance_type, iris):
    options = {"covariance_type": covariance_type, "init_params": init_params, "random_state": 1, "n_init": 3}
    theirs, ours = both(iris, 3, **options)
    # scikit-learn's start from single rows has weights that do not sum to 1. So the first bound differs.
    assert_same(theirs, ours, FITTED[:-1])
    np.testing.assert_allclose(ours.lower_bounds_[1:], theirs.lower_bounds_[1:], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 0},
        {"max_iter": 1},
        {"max_iter": 7, "tol": 0},
        {"tol": 1e-8, "max_iter": 1000},
        {"reg_covar": 0.1},
        {"reg_covar": 10.0},
        {"means_init": [[5.0, 3, 1, 0], [6, 3, 4, 1], [7, 3, 6, 2]]},
        {"weights_init": [0.2, 0.3, 0.5]},
        {"precisions_init": np.stack(3 * [np.eye(4)])},
    ],
    ids=str,
)
def test_equal_for_other_options(options, iris):
    if options == {"max_iter": 0}:
        theirs, ours = both(iris, 3, random_state=0, max_iter=0)
        assert_same(theirs, ours, FITTED[:-1])
        assert ours.lower_bounds_ == theirs.lower_bounds_ == []
    else:
        assert_same(*both(iris, 3, random_state=0, **options))


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_random_numbers_are_scikit_learns(seed):
    ours = _drop_in._random_state_of(GaussianMixture(random_state=seed))
    theirs = check_random_state(seed)
    for mine, own in zip(ours.get_state(), theirs.get_state(), strict=True):
        assert np.array_equal(mine, own)
    assert np.array_equal(ours.normal(size=999), theirs.normal(size=999))


def test_a_start_given_whole_is_taken_as_it_is(iris):
    start = Theirs(3, random_state=2).fit(iris)
    given = {
        "weights_init": start.weights_,
        "means_init": start.means_ + 0.1,
        "precisions_init": start.precisions_,
    }
    assert_same(*both(iris, 3, **given))
    assert GaussianMixture(3, **given, max_iter=0).fit(iris).means_ == pytest.approx(start.means_ + 0.1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_starts_go_on_where_they_stopped(iris):
    options = {"init_params": "kmeans", "random_state": 0, "warm_start": True, "max_iter": 3}
    theirs, ours = (cls(3, **options) for cls in (Theirs, GaussianMixture))
    for _ in range(10):
        assert_same(theirs.fit(iris), ours.fit(iris))
    assert ours.converged_


def test_float32(iris):
    ours = GaussianMixture(3, random_state=0).fit(iris.astype(np.float32))
    for name in FITTED[:-1]:
        assert getattr(ours, name).dtype == np.float32
    np.testing.assert_allclose(ours.means_, GaussianMixture(3, random_state=0).fit(iris).means_, atol=1e-3)
    assert ours.score_samples(iris.astype(np.float32)).dtype == np.float32
    assert ours.score_samples(iris).dtype == np.float64


def test_it_warns_as_scikit_learn(iris):
    messages = []
    for cls in (Theirs, GaussianMixture):
        with pytest.warns(ConvergenceWarning) as caught:
            cls(3, init_params="kmeans", random_state=0, max_iter=2).fit(iris)
        messages += [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert messages[0] == messages[1]


def test_verbose_prints_what_scikit_learn_prints(iris, capsys):
    printed = []
    for cls in (Theirs, GaussianMixture):
        model = cls(3, init_params="kmeans", random_state=0, n_init=2, verbose=1, verbose_interval=3)
        model.fit(iris)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_methods_follow_attributes_set_by_hand(iris):
    fitted = Theirs(3, random_state=0).fit(iris)
    ours = GaussianMixture(3)
    for name in ("weights_", "means_", "precisions_cholesky_"):
        setattr(ours, name, getattr(fitted, name).copy())
    np.testing.assert_array_equal(ours.predict(iris), fitted.predict(iris))
    ours.means_ += 1
    fitted.means_ += 1
    np.testing.assert_allclose(ours.score_samples(iris), fitted.score_samples(iris))


# --- additions to scikit-learn


@pytest.mark.parametrize("covariance_type", TYPES)
def test_integer_weights_repeat_rows(covariance_type, iris):
    weights = np.random.default_rng(0).integers(0, 4, len(iris))
    repeated = np.repeat(iris, weights, axis=0)
    start = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    given = {
        "weights_init": start.weights_,
        "means_init": start.means_ + 0.2,
        "precisions_init": start.precisions_,
    }
    model = GaussianMixture(3, covariance_type=covariance_type, **given)
    weighted = clone(model).fit(iris, sample_weight=weights)
    assert_same(model.fit(repeated), weighted)
    for name in ("score", "bic", "aic"):
        value = getattr(weighted, name)(iris, sample_weight=weights)
        assert value == pytest.approx(getattr(model, name)(repeated))


def test_a_weight_of_zero_leaves_a_row_out_and_equal_weights_change_nothing(iris):
    model = GaussianMixture(3, random_state=0)
    kept = np.arange(len(iris)) % 3 > 0
    assert_same(clone(model).fit(iris[kept]), clone(model).fit(iris, sample_weight=2.0 * kept))


def test_unequal_weights_find_the_clusters_that_weigh():
    X = np.random.default_rng(0).normal(size=(3000, 2)) + 10 * np.repeat(np.arange(3), 1000)[:, None]
    weight = np.random.default_rng(1).uniform(1, 2, len(X)) * np.repeat([1, 1e-9, 1], 1000)
    means = GaussianMixture(2, random_state=0).fit(X, sample_weight=weight).means_
    np.testing.assert_allclose(np.sort(means[:, 0]), [0, 20], atol=0.2)


def test_weights_are_routed(iris):
    weight = np.linspace(0.1, 1, len(iris))
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianMixture(2, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"n_components": [1, 2, 3]}, cv=3)
        search.fit(iris, sample_weight=weight)
        unweighted = GridSearchCV(GaussianMixture(2, random_state=0), {"n_components": [1, 2, 3]}, cv=3)
        unweighted.fit(iris)
    scores = (s.cv_results_["mean_test_score"] for s in (search, unweighted))
    assert not np.allclose(*scores, rtol=1e-3)


@pytest.mark.parametrize(
    ("weight", "message"), [([-1.0] * 150, "sample_weight"), ([1.0], "sample_weight must have shape")]
)
def test_mistaken_weights_are_named(weight, message, iris):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2).fit(iris, sample_weight=weight)


def test_the_report_tells(iris):
    model = GaussianMixture(3, random_state=0).fit(iris)
    assert model.report_.status is FitStatus.CONVERGED
    assert model.report_.log_likelihood == pytest.approx(len(iris) * model.score(iris))
    assert model.report_.n_iter == model.n_iter_


def test_threads_change_no_bit():
    X = clusters(5, 60_000, 9, 4)
    one, all_ = (GaussianMixture(4, random_state=0, n_threads=n).fit(X) for n in (1, None))
    np.testing.assert_array_equal(one.means_, all_.means_)
    with pytest.raises(ValueError, match="n_threads must be"):
        GaussianMixture(4, n_threads=0).fit(X)


@pytest.mark.parametrize("cls", [GaussianMixture, subclass(GaussianMixture, "_n_parameters")])
def test_k_means_of_the_start_uses_n_threads_at_most(cls, iris, monkeypatch):
    seen = []
    original = KMeans.fit

    def fit(self, X):
        seen.append({pool["num_threads"] for pool in threadpool_info()})
        return original(self, X)

    monkeypatch.setattr(KMeans, "fit", fit)
    _drop_in._thread_pools.cache_clear()  # other tests load more libraries
    model = cls(2, init_params="kmeans", random_state=0)
    with threadpool_limits(2):
        for n_threads in (1, 3, None):
            model.set_params(n_threads=n_threads).fit(iris)
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}
    assert seen == [{1}, {2}, {2}]


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_a_singular_component_kills_no_fit(covariance_type, scale):
    """Two and three equal rows lie far out. At the scale 1e9 reg_covar is negligible."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    X[:3] = 50
    X[3:5] = -50
    X[:, 2] = X[:, 0] + X[:, 1]
    model = GaussianMixture(4, covariance_type=covariance_type, random_state=0).fit(scale * X)
    assert np.isfinite(model.precisions_).all()
    assert np.isfinite(model.score(scale * X))


def test_without_regularisation_a_singular_component_is_scikit_learns_error():
    X = np.concatenate([np.random.default_rng(0).normal(size=(100, 2)), np.full((20, 2), 9.0)])
    given = {
        "weights_init": [0.5, 0.5],
        "means_init": [[0, 0], [9, 9]],
        "precisions_init": np.stack(2 * [np.eye(2)]),
    }
    for cls in (Theirs, GaussianMixture):
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            cls(2, reg_covar=0, **given).fit(X)
    assert GaussianMixture(2, **given).fit(X).report_.status is FitStatus.DEGENERATE


@pytest.mark.parametrize("far", [12.0, 600.0])
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_without_regularisation_a_component_that_loses_its_rows_is_not_reseeded(covariance_type, far):
    """Tied covariances are not singular then, so there is no error."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(6, 1, (200, 2))])
    means = [[0, 0], [6, 6], [3 + far, 3 - far]]
    options = {"covariance_type": covariance_type, "reg_covar": 0, "means_init": means, "random_state": 0}
    if covariance_type == "full":
        for cls in (Theirs, GaussianMixture):
            with pytest.raises(ValueError, match="ill-defined empirical covariance"):
                cls(3, **options).fit(X)
        return
    theirs, ours = both(X, 3, **options)
    assert_same(theirs, ours, ("weights_", "covariances_", "precisions_", "lower_bounds_"))
    np.testing.assert_allclose(ours.means_[:2], theirs.means_[:2], rtol=1e-6)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-6)
    assert [repair.what[:4] for repair in ours.report_.repairs] == ["kept"]


# --- subclasses


STEPS = [
    "_m_step",
    "_initialize_parameters",
    "_initialize",
    "_estimate_log_prob",
    "_estimate_weighted_log_prob",
    "_estimate_log_prob_resp",
    "_estimate_log_weights",
    "_e_step",
    "_compute_lower_bound",
    "_get_parameters",
    "_set_parameters",
    "_check_parameters",
    "_n_parameters",
    "_print_verbose_msg_iter_end",
    "fit_predict",
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_a_subclass_overrides_is_obeyed(step, iris):
    options = {"means_init": iris[[0, 60, 149]] + 0.1, "random_state": 0}
    theirs = subclass(Theirs, step)(3, **options).fit(iris)
    ours = subclass(GaussianMixture, step)(3, **options).fit(iris)
    for name in (*FITTED, "n_iter_", "lower_bound_"):
        if hasattr(theirs, name):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    for name in ("predict", "predict_proba", "score_samples", "score", "bic", "aic"):
        np.testing.assert_array_equal(getattr(ours, name)(iris), getattr(theirs, name)(iris), err_msg=name)


def test_a_step_replaced_in_one_object_or_in_scikit_learns_class_is_obeyed(iris, monkeypatch):
    steps = []

    def m_step(*args, **kwargs):
        steps.append(1)
        return original(*args, **kwargs)

    model = GaussianMixture(2, random_state=0).fit(iris)
    original = model._m_step
    model._m_step = m_step
    model.fit(iris)
    assert len(steps) == model.n_iter_
    assert not hasattr(model, "report_")
    original = Theirs._m_step
    monkeypatch.setattr(Theirs, "_m_step", m_step)
    assert GaussianMixture(2, random_state=0).fit(iris).n_iter_ == len(steps) / 2


def test_the_log_names_the_step_once_and_weights_are_refused(iris, caplog):
    with caplog.at_level(logging.WARNING, "fastem"):
        model = subclass(GaussianMixture, "_e_step")(2, random_state=0)
        model.__class__.__qualname__ = "Watched"
        for _ in range(2):
            model.fit(iris).predict(iris)
    assert caplog.messages == ["scikit-learn computes this mixture: Watched overrides _e_step."]
    for method in (model.fit, model.score):
        with pytest.raises(ValueError, match=r"sample_weight must be None for Watched, .* _e_step"):
            method(iris, sample_weight=np.ones(len(iris)))


def test_criteria_obey_a_score_of_a_subclass(iris):
    class Scored(GaussianMixture):
        def score_samples(self, X):
            return np.zeros(len(X))

    model = Scored(2, random_state=0).fit(iris)
    assert model.report_.converged
    assert model.score(iris) == 0
    assert model.aic(iris) == 2 * model._n_parameters()


def test_a_subclass_that_overrides_no_step_is_fitted_by_fastem(iris, caplog):
    class Named(GaussianMixture):
        def fit(self, X, y=None, sample_weight=None):
            self.seen_ = True
            return super().fit(X, y, sample_weight)

        def name(self):
            return "Named"

    assert Named(2, random_state=0).fit(iris, sample_weight=np.ones(len(iris))).report_.converged
    assert not caplog.messages


# --- many rows


@pytest.fixture
def few_rows_are_many(monkeypatch):
    monkeypatch.setattr(_drop_in, "_SAME_START_ROWS", 1000)
    monkeypatch.setattr(_drop_in, "_BRIEF_ROWS", 1000)


def test_it_has_the_parameters_of_scikit_learn():
    ours, theirs = GaussianMixture().get_params(), Theirs().get_params()
    assert ours == theirs | {"n_threads": None, "init_params": "auto"}


@pytest.mark.usefixtures("few_rows_are_many")
@pytest.mark.parametrize("init_params", ["auto", "kmeans", "k-means++", "random", "random_from_data"])
def test_many_rows_begin_with_a_sample_and_end_as_well(init_params):
    X = clusters(7, 20_000, 4, 5)
    theirs = Theirs(5, random_state=0).fit(X)
    ours = GaussianMixture(5, init_params=init_params, random_state=0).fit(X)
    assert ours.score(X) > theirs.score(X) - 1e-3
    assert ours.score(X) == GaussianMixture(5, init_params=init_params, random_state=0).fit(X).score(X)


@pytest.mark.usefixtures("few_rows_are_many")
@pytest.mark.parametrize("max_iter", [2, 100])
def test_many_rows_converge_to_a_part_of_tol_or_within_max_iter_to_tol(max_iter):
    """The smaller tol improves the result, but missing it must not give a warning."""
    X = clusters(7, 20_000, 4, 5)
    model = GaussianMixture(5, random_state=0, tol=0.1, max_iter=max_iter).fit(X)
    assert model.converged_
    assert model.n_iter_ == len(model.lower_bounds_) <= max_iter
    assert abs(model.lower_bounds_[-1] - model.lower_bounds_[-2]) < (
        0.1 if model.n_iter_ == max_iter else 0.01
    )


@pytest.mark.usefixtures("few_rows_are_many")
def test_starts_of_many_rows_are_judged_by_their_fit():
    """On most samples, k-means splits the wide cluster and merges the two narrow ones."""
    rng = np.random.default_rng(0)
    narrow = [rng.normal([9, y], 0.3, (1000, 2)) for y in (0, 2)]
    X = np.concatenate([rng.normal(0, 8, (18_000, 2)), *narrow])
    theirs, _ = both(X, 3, random_state=0)
    scores = [GaussianMixture(3, random_state=seed).fit(X).score(X) for seed in range(5)]
    assert np.median(scores) > theirs.score(X) + 0.01


@pytest.mark.usefixtures("few_rows_are_many")
def test_many_rows_begin_with_what_is_given():
    X = clusters(7, 20_000, 4, 5)
    given = {
        "weights_init": np.full(5, 0.2),
        "means_init": X[:5],
        "precisions_init": np.stack(5 * [np.diag([1.0, 2, 3, 4])]),
    }
    for name, value in given.items():
        model = GaussianMixture(5, random_state=0, max_iter=0, **{name: value}).fit(X)
        fitted = name.removesuffix("init")
        np.testing.assert_allclose(getattr(model, fitted), value, atol=1e-12)
    assert_same(*both(X, 5, **given))


# --- the ecosystem


def test_pipelines_searches_and_scores(iris):
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(init_params="kmeans", random_state=0))
    # with one component, full and tied would be equal up to rounding
    grid = {"gaussianmixture__n_components": [2, 3], "gaussianmixture__covariance_type": TYPES}
    ours = GridSearchCV(pipeline, grid, cv=3).fit(iris)
    theirs = GridSearchCV(make_pipeline(StandardScaler(), Theirs(random_state=0)), grid, cv=3).fit(iris)
    scores = (search.cv_results_["mean_test_score"] for search in (ours, theirs))
    np.testing.assert_allclose(*scores, rtol=1e-6)
    assert ours.best_params_ == theirs.best_params_


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_joblib(backend, iris):
    model = GaussianMixture(3, random_state=0)
    expected = cross_val_score(model, iris, cv=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loky may warn about the machine
        scores = Parallel(n_jobs=2, backend=backend)(
            delayed(cross_val_score)(model, iris, cv=4) for _ in range(2)
        )
    np.testing.assert_array_equal(scores, [expected, expected])


def test_pickles_and_clones(iris):
    model = GaussianMixture(3, random_state=0, n_threads=1).fit(iris)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(iris), model.predict_proba(iris))
    assert again.report_ == model.report_
    assert clone(model).get_params() == model.get_params()
    assert isinstance(model, Theirs)


def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(old_faithful(), columns=["duration", "waiting"])
    with sklearn.config_context(transform_output="pandas"):
        pipeline = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)).fit(X)
        assert list(pipeline[-1].feature_names_in_) == ["duration", "waiting"]
        assert pipeline.predict(X).shape == (272,)


def test_the_rule_of_convergence_can_be_any_function(faithful):
    """`fastem.fit` takes a function as tol. The estimator uses this to follow scikit-learn's rule."""
    seen = []

    def rule(means):
        seen.append(len(means))
        return len(means) == 4

    model = fastem.fit(faithful, 2, tol=rule, rng=0)
    assert seen == [1, 2, 3, 4]
    assert (model.report.n_iter, model.report.status) == (3, FitStatus.CONVERGED)


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_what_underflows_is_no_error_where_numpy_raises(kind):
    rows = np.random.default_rng(0).normal(size=(30, 2)) + 8 * (np.arange(30) % 2)[:, None]
    scaled = rows * [1e100, 1e-100]
    with np.errstate(all="raise"):
        model = kind(n_components=2, random_state=0).fit(scaled)
        assert np.isfinite(model.predict_proba(scaled)).all()
        assert np.isfinite(model.score_samples(scaled)).all()
        assert sorted(np.bincount(model.predict(scaled))) == [15, 15]
