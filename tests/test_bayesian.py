"""`fastem.sklearn.BayesianGaussianMixture` replaces scikit-learn's class, and has a few additions."""

import logging
import pickle
import warnings

import numpy as np
import pytest
from problems import TYPES, clusters
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture as Theirs

from fastem._sklearn import drop_in as _drop_in
from fastem.sklearn import BayesianGaussianMixture

pytestmark = pytest.mark.usefixtures("one_blas_thread")
PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
POSTERIOR = (
    "weight_concentration_",
    "mean_precision_",
    "means_",
    "degrees_of_freedom_",
    "covariances_",
    "precisions_",
    "precisions_cholesky_",
    "weights_",
)
PRIOR = (
    "weight_concentration_prior_",
    "mean_precision_prior_",
    "mean_prior_",
    "degrees_of_freedom_prior_",
    "covariance_prior_",
)
COVARIANCES = {"full": 2 * np.eye(3), "tied": 2 * np.eye(3), "diag": [1.0, 2, 3], "spherical": 2.0}


@pytest.fixture(scope="module")
def rows():
    return clusters(3, 400, 3, 3) + 5


def fit(cls, X, k=4, **options):
    options = {"init_params": "random", "random_state": 0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cls(n_components=k, **options).fit(X)


def assert_same(theirs, ours, X, tolerance=1e-6):
    for name in (*POSTERIOR, *PRIOR, "lower_bounds_"):
        if not hasattr(theirs, name):  # scikit-learn 1.6 had no lower_bounds_
            continue
        expected, found = (np.array(getattr(it, name), dtype=float) for it in (theirs, ours))
        if name == "lower_bounds_":
            expected = expected.ravel()  # scikit-learn has arrays of one number for tied covariances
        atol = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=atol, err_msg=name)
    assert isinstance(ours.weight_concentration_, type(theirs.weight_concentration_))
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    assert ours.lower_bound_ == pytest.approx(float(np.squeeze(theirs.lower_bound_)), rel=tolerance)
    for name in ("score_samples", "predict_proba", "predict"):
        expected, found = getattr(theirs, name)(X), getattr(ours, name)(X)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=tolerance)


@pytest.mark.parametrize("iterations", [1, 2, 20])
@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_equal_to_scikit_learn_after_the_same_iterations(covariance_type, prior_type, iterations, rows):
    options = {
        "covariance_type": covariance_type,
        "weight_concentration_prior_type": prior_type,
        "max_iter": iterations,
        "tol": 0,
    }
    assert_same(fit(Theirs, rows, **options), fit(BayesianGaussianMixture, rows, **options), rows)


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_equal_to_scikit_learn_with_all_priors(covariance_type, prior_type, rows):
    options = {
        "covariance_type": covariance_type,
        "weight_concentration_prior_type": prior_type,
        "weight_concentration_prior": 1e-3,
        "mean_precision_prior": 0.2,
        "mean_prior": [3.0, 4, 5],
        "degrees_of_freedom_prior": 4.5,
        "covariance_prior": COVARIANCES[covariance_type],
        "reg_covar": 0.1,
        "init_params": "kmeans",
        "n_init": 2,
    }
    assert_same(fit(Theirs, rows, **options), fit(BayesianGaussianMixture, rows, **options), rows)


def test_warm_starts_and_what_is_printed(rows, capsys):
    printed = []
    models = [
        cls(
            n_components=4,
            init_params="random",
            random_state=0,
            warm_start=True,
            max_iter=3,
            verbose=1,
            verbose_interval=1,
        )
        for cls in (Theirs, BayesianGaussianMixture)
    ]
    for model in models:
        for _ in range(2):
            with pytest.warns(ConvergenceWarning, match="did not converge"):
                model.fit(rows)
        printed.append(capsys.readouterr().out)
    assert_same(*models, rows)
    assert printed[0] == printed[1] != ""
    with pytest.raises(ValueError, match="weight_concentration_prior_type must be that of the last fit"):
        models[1].set_params(weight_concentration_prior_type="dirichlet_distribution").fit(rows)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_float32(covariance_type, rows):
    X = rows.astype(np.float32)
    options = {"covariance_type": covariance_type, "max_iter": 5, "tol": 0}
    theirs, ours = fit(Theirs, X, **options), fit(BayesianGaussianMixture, X, **options)
    for name in POSTERIOR:
        expected, found = (np.asarray(getattr(it, name)) for it in (theirs, ours))
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
        assert found.dtype == (expected.dtype if name == "weights_" else np.float32)
    assert ours.predict_proba(X).dtype == ours.score_samples(X).dtype == np.float32
    assert ours.lower_bound_ == pytest.approx(float(np.squeeze(theirs.lower_bound_)), rel=1e-5)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_integer_weights_repeat_rows(covariance_type, rows):
    weights = np.random.default_rng(0).integers(0, 4, len(rows))
    repeated = np.repeat(rows, weights, axis=0)
    begun = fit(
        BayesianGaussianMixture, repeated, covariance_type=covariance_type, warm_start=True, max_iter=2
    )
    weighted = pickle.loads(pickle.dumps(begun))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        begun.set_params(max_iter=5, tol=0).fit(repeated)
        weighted.set_params(max_iter=5, tol=0).fit(rows, sample_weight=weights)
    assert_same(begun, weighted, rows, 1e-9)
    assert weighted.score(rows, sample_weight=weights) == pytest.approx(begun.score(repeated))


def test_weights_that_sum_to_one_count_as_one_row(rows):
    model = BayesianGaussianMixture(n_components=2, random_state=0)
    model.fit(rows, sample_weight=np.full(len(rows), 1 / len(rows)))
    np.testing.assert_allclose(model.covariance_prior_, 2 * np.cov(rows.T, bias=True))
    assert model.mean_precision_.sum() == pytest.approx(3)


def test_our_own_start_is_as_good_and_changes_no_bit_with_threads():
    X = clusters(5, 20_000, 6, 4)
    one, all_ = (fit(BayesianGaussianMixture, X, init_params="auto", n_threads=n) for n in (1, None))
    np.testing.assert_array_equal(one.means_, all_.means_)
    assert one.lower_bounds_ == all_.lower_bounds_
    assert one.lower_bound_ > fit(Theirs, X, init_params="kmeans").lower_bound_ - 1e-3
    np.testing.assert_allclose(one.weights_.sum(), 1)
    assert (np.diff(one.weights_) <= 1e-3).all()  # a Dirichlet process begins with the heaviest


def test_many_rows_begin_with_our_own_start(rows, monkeypatch):
    own = fit(BayesianGaussianMixture, rows, init_params="auto")
    monkeypatch.setattr(_drop_in, "_SAME_START_ROWS", 100)
    np.testing.assert_array_equal(fit(BayesianGaussianMixture, rows).means_, own.means_)


@pytest.mark.parametrize(
    "options",
    [
        {"degrees_of_freedom_prior": 1.0},
        {"covariance_prior": -np.eye(3)},
        {"covariance_prior": [-1.0, 1, 1], "covariance_type": "diag"},
        {"covariance_prior": np.eye(2), "covariance_type": "tied"},
        {"mean_prior": [1.0, 2]},
        {"mean_precision_prior": 0.0},
        {"weight_concentration_prior": -1.0},
        {"weight_concentration_prior_type": "process"},
    ],
)
def test_bad_priors_have_scikit_learns_messages(options, rows):
    messages = []
    for cls in (Theirs, BayesianGaussianMixture):
        with pytest.raises(ValueError) as caught:
            fit(cls, rows, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_spherical_covariance_may_be_an_array_of_one_number(rows):
    options = {"covariance_type": "spherical", "max_iter": 5}
    theirs, ours = (
        fit(cls, rows, covariance_prior=[2.0], **options) for cls in (Theirs, BayesianGaussianMixture)
    )
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-6)
    for wrong in ([2.0, 1.0], [-1.0], []):
        with pytest.raises(ValueError, match="covariance_prior must be one number above 0"):
            fit(BayesianGaussianMixture, rows, covariance_prior=wrong, **options)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_constant_columns(covariance_type, rows):
    X = np.column_stack([rows, np.full(len(rows), 3.0)])
    options = {"covariance_type": covariance_type, "max_iter": 10, "tol": 0}
    theirs, ours = fit(Theirs, X, **options), fit(BayesianGaussianMixture, X, **options)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-4, atol=1e-9)
    if covariance_type != "spherical":
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            fit(BayesianGaussianMixture, X, reg_covar=0, **options)


def test_it_has_the_parameters_of_scikit_learn_and_clones(rows):
    ours, theirs = BayesianGaussianMixture().get_params(), Theirs().get_params()
    assert ours == theirs | {"n_threads": None, "init_params": "auto"}
    model = fit(clone(BayesianGaussianMixture()).__class__, rows)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    model.mean_precision_ = model.mean_precision_ / 100  # scores follow what is set by hand
    assert (again.score_samples(rows) != model.score_samples(rows)).all()


def test_the_report_tells(rows):
    """Its bound, after an E-step, lies between scikit-learn's after the M-steps before and behind it."""
    model = fit(BayesianGaussianMixture, rows, reg_covar=0, tol=1e-9, max_iter=3000)
    assert model.converged_
    assert model.report_.n_iter == model.n_iter_ == len(model.lower_bounds_)
    left_out = model.report_.objective - model.lower_bound_  # the constants
    bounds, history = np.array(model.lower_bounds_) + left_out, np.array(model.report_.history)
    assert (bounds[:-1] <= history[1:-1] + 1e-6).all()
    assert (history[:-1] <= bounds + 1e-6).all()


def test_a_step_that_a_subclass_overrides_is_obeyed(rows, caplog):
    class Own(BayesianGaussianMixture):
        def _estimate_log_weights(self, xp=None):
            return np.zeros(4)

    class Peer(Theirs):
        def _estimate_log_weights(self, xp=None):
            return np.zeros(4)

    with caplog.at_level(logging.WARNING, "fastem"):
        ours, theirs = fit(Own, rows, max_iter=3), fit(Peer, rows, max_iter=3)
    np.testing.assert_array_equal(ours.means_, theirs.means_)
    assert "overrides _estimate_log_weights" in caplog.text
    with pytest.raises(ValueError, match="sample_weight must be None"):
        ours.fit(rows, sample_weight=np.ones(len(rows)))
