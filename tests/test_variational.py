"""Variational inference by `fastem.fit`: the bound, and posteriors in all kinds of sources."""

import warnings

import naive
import numpy as np
import pytest
from problems import TYPES, clusters
from scipy import stats
from sklearn.mixture import BayesianGaussianMixture

import fastem
from fastem._families import special

pytestmark = pytest.mark.usefixtures("one_blas_thread")
PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")


@pytest.fixture(scope="module")
def rows():
    return clusters(3, 300, 3, 3) + 5


def fit(X, k=4, **options):
    options = {"tol": 0, "max_iter": 5, "inference": "variational", **options}
    return fastem.fit(X, k, **options)


def peer(X, labels, iterations, **options):
    """scikit-learn's fit from these labels."""
    model = BayesianGaussianMixture(
        n_components=labels.max() + 1, max_iter=iterations, tol=0, reg_covar=0, **options
    )
    model._initialize_parameters = lambda X, *_, **__: model._initialize(X, np.eye(labels.max() + 1)[labels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_model_is_that_of_scikit_learn_and_the_bound_never_falls(covariance_type, prior_type, rows):
    labels = np.random.default_rng(0).integers(0, 4, len(rows))
    prior = fastem.Prior(weight_concentration_type=prior_type)
    model = fit(rows, covariance_type=covariance_type, init=labels, prior=prior, max_iter=20)
    theirs = peer(
        rows, labels, 20, covariance_type=covariance_type, weight_concentration_prior_type=prior_type
    )
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(model, name), getattr(theirs, name + "_"), rtol=1e-8, atol=1e-9)
    history = np.array(model.report.history)
    assert len(history) == 21
    assert (np.diff(history) > -1e-9 * np.abs(history[1:])).all()
    assert history[-1] == model.report.objective > history[0]
    assert model.report.log_likelihood == pytest.approx(len(rows) * model.score(rows))


def test_the_bound_is_the_sum_of_bishops_terms(rows):
    X, labels = rows[:60], np.arange(60) % 3
    theirs = peer(X, labels, 4, weight_concentration_prior_type="dirichlet_distribution")
    prior = fastem.Prior(weight_concentration_type="dirichlet_distribution")
    model = fit(X, 3, init=labels, prior=prior, max_iter=4)
    known = 1 / 3, 1.0, X.mean(axis=0), 3.0, np.cov(X.T)
    nu = theirs.degrees_of_freedom_
    expected = naive.variational_bound(
        X,
        theirs.predict_proba(X),
        theirs.weight_concentration_,
        theirs.mean_precision_,
        theirs.means_,
        nu,
        theirs.covariances_ * nu[:, None, None],
        known,
    )
    assert model.report.objective == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
def test_the_bound_of_one_component_is_the_evidence(prior_type, rows):
    """Its posterior is exact. The evidence is the product of predictive t distributions, row by row."""
    X = rows[:40]
    beta, nu, mean, scale = 0.5, 6.0, np.array([4.0, 5, 6]), np.diag([1.0, 2, 3])
    prior = fastem.Prior(
        weight_concentration_type=prior_type,
        mean_precision=beta,
        degrees_of_freedom=nu,
        mean=mean,
        covariance=scale,
    )
    bound = fit(X, 1, init=np.zeros(40, int), prior=prior).report.objective
    evidence = 0.0
    for x in X:
        shape = scale * (beta + 1) / (beta * (nu - 2))
        evidence += stats.multivariate_t.logpdf(x, mean, shape, df=nu - 2)
        scale = scale + beta / (beta + 1) * np.outer(x - mean, x - mean)
        mean = (beta * mean + x) / (beta + 1)
        beta, nu = beta + 1, nu + 1
    if prior_type == "dirichlet_process":  # the first stick has all rows, whatever its length
        evidence -= np.log(41)  # the integral of v^40 over the uniform distribution of v
    assert bound == pytest.approx(evidence, rel=1e-10)


def test_components_that_rows_do_not_need_lose_their_weight():
    X = np.random.default_rng(0).normal(size=(600, 2)) + 20 * np.repeat(np.arange(3), 200)[:, None]
    prior = fastem.Prior(weight_concentration=1e-3)
    model = fit(X, 6, rng=0, prior=prior, tol=1e-7, max_iter=2000)
    np.testing.assert_allclose(np.sort(model.weights)[-3:], 1 / 3, atol=0.02)


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
def test_a_large_concentration_costs_the_bound_no_digits(prior_type, rows):
    prior = fastem.Prior(weight_concentration=1e9, weight_concentration_type=prior_type)
    for seed in range(5):
        report = fit(rows, prior=prior, max_iter=50, rng=seed).report
        assert report.status is not fastem.FitStatus.DECREASED
        assert np.diff(report.history).min() > -1e-7


def test_chunks_weights_threads_and_dtypes(rows):
    X, labels = np.concatenate([rows] * 40), np.tile(np.arange(300) % 4, 40)
    whole = fit(X, init=labels, n_threads=1)
    other = fit([X[:5000], X[5000:]], init=labels, n_threads=2)
    np.testing.assert_array_equal(whole.means, other.means)
    assert whole.report.history == other.report.history
    weighted = fit(rows, init=labels[:300], sample_weight=np.full(300, 40.0))
    np.testing.assert_allclose(weighted.covariances, whole.covariances, rtol=1e-9)
    assert weighted.report.objective == pytest.approx(whole.report.objective, rel=1e-9)
    single = fit(X.astype(np.float32), init=labels)
    np.testing.assert_allclose(single.means, whole.means, rtol=1e-4)
    assert single.report.objective == pytest.approx(whole.report.objective, rel=1e-5)


def test_known_labels_keep_their_numbers(rows):
    own = np.flatnonzero(rows[:, 0] > 12)[:20]
    labels = np.full(300, -1)
    labels[own] = 2
    model = fit(rows, 3, labels=labels, rng=0, max_iter=50)
    assert (model.predict(rows[own]) == 2).all()


def test_a_callback_stops_with_the_expectations(rows):
    seen = []
    model = fit(rows, rng=0, callback=lambda i, value, model: seen.append((value, model)) or i == 2)
    assert len(seen) == 3
    assert seen[-1][0] == model.report.objective
    np.testing.assert_array_equal(seen[-1][1].means, model.means)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inference": "bayes"}, "inference must be one of"),
        ({"covariance_type": "EVE"}, 'inference must be "em" for covariance_type='),
        ({"distribution": "student"}, 'inference must be "em" for distribution='),
        ({"assignment": "hard"}, 'inference must be "em" with assignment='),
        ({"fixed": "weights", "init": {"weights": [0.5, 0.5]}}, 'inference must be "em" with fixed='),
        ({"prior": fastem.Prior(mean=[0.0])}, "mean of the prior must have shape"),
        (
            {"inference": "em", "prior": fastem.Prior(weight_concentration_type="dirichlet_process")},
            'weight_concentration_type of the prior must be None or "dirichlet_distribution" for EM',
        ),
    ],
)
def test_mistakes_are_named(options, message, rows):
    with pytest.raises(ValueError, match=message):
        fit(rows, 2, **options)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_a_constant_column_is_singular_unless_something_is_added(covariance_type, rows):
    X, options = np.column_stack([rows, np.ones(len(rows))]), {"covariance_type": covariance_type, "rng": 0}
    with pytest.raises(ValueError, match=r"not positive definite\. Pass a larger covariance of the prior"):
        fit(X, **options)
    model = fit(X, reg_covar=1e-3, **options)
    assert np.isfinite(model.report.history).all()
    assert np.isfinite(model.covariances).all()


def test_both_special_functions_at_once():
    a = np.concatenate([np.geomspace(1e-6, 1e12, 2001), [1, 2, 0.5, np.nextafter(10, 0), 10]])
    log_gamma, digamma = special.log_gamma_and_digamma(a)
    np.testing.assert_allclose(log_gamma, special.log_gamma(a), rtol=3e-14, atol=1e-14)
    np.testing.assert_allclose(digamma, special.digamma(a), rtol=3e-14, atol=1e-14)
