"""Priors of Gaussians: what they are, and MAP estimates by EM."""

import pickle
import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from problems import TYPES, clusters
from scipy.optimize import minimize

import fastem
from fastem._families.registry import MCLUST

ALL = list(MCLUST.values())
# Five rows at each of three points: without a prior each component is singular.
POINTS = np.repeat([[0.0, 0.0], [5.0, 1.0], [2.0, 7.0]], 5, axis=0)
STEPS = {"tol": 0, "acceleration": None, "rng": 0}


def default_prior(X, weight, k, kind):
    """The defaults of Fraley and Raftery (2007), by the names of fastem.Prior."""
    d, mean = X.shape[1], weight @ X / weight.sum()
    covariance = ((X - mean) * weight[:, None]).T @ (X - mean) / weight.sum()
    variance = np.trace(covariance) / d
    covariance += np.diag(1e-6 * np.diag(covariance))
    scale = {"diag": np.full(d, variance), "EEI": np.full(d, variance)}.get(kind, variance)
    return {
        "weight_concentration": 1.0,
        "mean_precision": 0.01,
        "mean": mean,
        "degrees_of_freedom": d + 2.0,
        "covariance": (covariance if kind in ("full", "tied") else scale) / k ** (2 / d),
    }


def own_prior(rng, d, kind):
    matrix = np.cov(rng.normal(size=(d, 3 * d))) + np.eye(d)
    scale = {"diag": np.diag(matrix), "EEI": np.diag(matrix), "full": matrix, "tied": matrix}
    return {
        "weight_concentration": 3.0,
        "mean_precision": 2.5,
        "mean": rng.normal(size=d),
        "degrees_of_freedom": d + 0.5,
        "covariance": scale.get(kind, 1.7),
    }


def test_a_prior_keeps_checked_read_only_copies():
    scale = np.array([[2.0, 0.5], [0.5, 1.0]])
    prior = fastem.Prior(weight_concentration=2, mean_precision=1e-3, mean=[1, 2], covariance=scale)
    scale[0, 0] = -1
    assert prior.covariance[0, 0] == 2
    assert prior.mean.dtype == np.float64
    assert prior.degrees_of_freedom is None
    with pytest.raises(ValueError, match="read-only"):
        prior.mean[0] = 3
    with pytest.raises(AttributeError, match="immutable"):
        prior.mean = None
    again = pickle.loads(pickle.dumps(prior))
    assert repr(again) == repr(prior)
    assert eval(repr(prior), {"Prior": fastem.Prior}).covariance.tolist() == prior.covariance.tolist()
    prior.check(2, "full")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"mean_precision": 0}, ValueError, "mean_precision of the prior must be a number above 0"),
        ({"mean_precision": "a"}, TypeError, "mean_precision"),
        ({"weight_concentration": [1, 2]}, TypeError, "weight_concentration"),
        ({"degrees_of_freedom": np.nan}, ValueError, "degrees_of_freedom"),
        ({"mean_precision": 1e10}, ValueError, "mean_precision of .* at most 1e.09, .* got 1e.10. .*fixed="),
        ({"mean_precision": 10**400}, ValueError, "mean_precision of .* got inf"),
        ({"mean_precision": np.complex128(1j)}, TypeError, "mean_precision of .* got .*1j"),
        ({"weight_concentration": 1.1e9}, ValueError, "weight_concentration of .* got 1.1e"),
        ({"degrees_of_freedom": 1e300}, ValueError, "degrees_of_freedom of .* got 1e.300"),
        ({"mean": 1.0}, ValueError, r"mean of the prior must have shape \(d,\)"),
        ({"mean": [np.inf]}, ValueError, "mean of the prior must be finite"),
        ({"covariance": -1.0}, ValueError, "above 0"),
        ({"covariance": np.ones((2, 3))}, ValueError, r"got shape \(2, 3\)"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, ValueError, "positive definite"),
        ({"covariance": [[1.0, 0.5], [0.0, 1.0]]}, ValueError, "symmetric"),
    ],
)
def test_what_no_prior_can_be_is_an_error(wrong, error, message):
    with pytest.raises(error, match=message):
        fastem.Prior(**wrong)


@pytest.mark.parametrize(
    ("prior", "kind", "message"),
    [
        (fastem.Prior(mean=[1.0]), "full", r"mean of the prior must have shape \(d,\) = \(2,\)"),
        (fastem.Prior(degrees_of_freedom=1), "diag", "above d - 1 = 1"),
        (fastem.Prior(covariance=1.0), "full", r"must have shape \(2, 2\)"),
        (fastem.Prior(covariance=[1.0, 1.0]), "spherical", "must be a number"),
        (fastem.Prior(covariance=np.eye(2)), "diag", r"must have shape \(2,\)"),
    ],
)
def test_a_prior_of_another_shape_is_an_error(prior, kind, message):
    with pytest.raises(ValueError, match=message):
        prior.check(2, kind)


# --- MAP by EM


@pytest.mark.parametrize("inference", ["em", "variational"])
def test_a_prior_beyond_the_arithmetic_is_an_error_before_the_fit(inference):
    for mean in ([1e155, 0], [2, -1e300], [1e8, 0]):
        with pytest.raises(
            ValueError, match=r"mean of the prior must be within 1e\+06 deviations .* column [01]"
        ):
            fastem.fit(POINTS, 3, prior=fastem.Prior(mean=mean, mean_precision=1e-300), inference=inference)
    for variance in (1e300, 1e-300, 1e15, 1e-20):
        for kind, shape in (
            ("full", np.eye(2)),
            ("tied", np.eye(2)),
            ("diag", np.ones(2)),
            ("spherical", 1.0),
        ):
            prior = fastem.Prior(covariance=variance * shape)
            with pytest.raises(
                ValueError, match=r"covariance of the prior must have variances .* column 0 it"
            ):
                fastem.fit(POINTS, 3, covariance_type=kind, prior=prior, inference=inference)


@pytest.mark.parametrize("inference", ["em", "variational"])
@pytest.mark.parametrize("kind", [*TYPES, "VEI", "EVE"])
def test_priors_at_the_limits_fit(kind, inference):
    if inference == "variational" and kind not in TYPES:
        return
    X = clusters(0, 100, 2, 3)
    shape = {"diag": np.ones(2), "VEI": np.ones(2), "spherical": 1.0}.get(kind, np.eye(2))
    numbers = dict.fromkeys(("weight_concentration", "mean_precision", "degrees_of_freedom"), 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", fastem.FitWarning)
        for own in (numbers, {"mean": [1e6, 0]}, {"covariance": 1e11 * shape}, {"covariance": 1e-16 * shape}):
            options = {"covariance_type": kind, "inference": inference, "rng": 0, "tol": 1e-3, "max_iter": 20}
            model = fastem.fit(X, 3, prior=fastem.Prior(**own), **options)
            assert model.report.status is not fastem.FitStatus.DECREASED
            assert np.isfinite(model.report.objective)
            assert np.isfinite(model.score(X))


def test_rows_at_three_points_are_three_sound_components():
    for kind in ALL:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = fastem.fit(POINTS, 3, covariance_type=kind, prior="default", rng=0)
        assert_allclose(model.weights, 1 / 3, atol=0.01)
        assert_allclose(np.sort(model.means[:, 0]), [0, 2, 5], atol=0.1)
        assert model.report.status is fastem.FitStatus.CONVERGED
        assert not model.report.repairs
        assert sorted(np.bincount(model.predict(POINTS))) == [5, 5, 5]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", [*TYPES, "EEI", "EII"])
def test_steps_are_those_of_the_textbook(kind, own):
    rng = np.random.default_rng(5)
    X = clusters(5, 150, 3, 3) * [1.0, 3.0, 0.5] + 7
    weight, labels = rng.integers(0, 4, len(X)).astype(float), rng.integers(0, 3, len(X))
    X = X[:, [0, 0, 0]] + clusters(6, 150, 3, 3) if kind in ("spherical", "EII") else X
    prior = own_prior(rng, 3, kind) if own else default_prior(X, weight, 3, kind)
    start = naive.map_step(X, weight, np.eye(3)[labels], kind, prior)
    expected, history = naive.map_em(X, weight, start, kind, 8, prior)
    options = {"covariance_type": kind, "prior": fastem.Prior(**prior) if own else "default", **STEPS}
    model = fastem.fit(X, 3, sample_weight=weight, init=labels, max_iter=8, **options)
    assert_allclose(model.weights, expected[0], rtol=1e-8)
    assert_allclose(model.means, expected[1], rtol=1e-8)
    assert_allclose(model.covariances, expected[2], rtol=1e-7, atol=1e-9)
    assert_allclose(model.report.history, [posterior for _, posterior in history], rtol=1e-10)
    assert model.report.log_likelihood == pytest.approx(history[-1][0], rel=1e-10)
    assert model.report.objective == model.report.history[-1]


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_one_component_is_at_the_maximum_of_the_posterior(kind, d):
    rng = np.random.default_rng(d)
    X, prior = rng.normal(size=(7, d)) + 2, own_prior(rng, d, kind)
    model = fastem.fit(X, 1, covariance_type=kind, prior=fastem.Prior(**prior), rng=0)
    rows, columns = np.tril_indices(d)

    def unpacked(point):
        mean, rest = point[:d], point[d:]
        if kind != "full":
            return mean[None], np.exp(rest)[None] if kind == "diag" else np.exp(rest)
        factor = np.zeros((d, d))
        factor[rows, columns] = rest
        return mean[None], (factor @ factor.T)[None]

    def loss(point):
        means, covariances = unpacked(point)
        matrices = naive.dense(covariances, kind, 1, d)
        likelihood = naive.log_densities(X, means[0], matrices[0]).sum()
        return -likelihood - naive.log_prior_density(np.ones(1), means, covariances, kind, prior)

    spread = np.eye(d)[rows, columns] if kind == "full" else np.zeros(d if kind == "diag" else 1)
    found = minimize(loss, np.concatenate([X.mean(axis=0), spread]), method="BFGS", options={"gtol": 1e-7})
    means, covariances = unpacked(found.x)
    assert_allclose(model.means, means, rtol=1e-5)
    assert_allclose(model.covariances, covariances, rtol=1e-5)
    assert model.report.objective == pytest.approx(-found.fun, rel=1e-9)


problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "n": st.integers(4, 60),
        "d": st.integers(1, 4),
        "k": st.integers(1, 4),
        # The shared axes of EVE and VVE may end at another maximum than those before, 1e-7 lower.
        "kind": st.sampled_from(sorted({*ALL} - {"EVE", "VVE"})),
        "hard": st.booleans(),
        "weak": st.booleans(),
        "tied_rows": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_the_posterior_never_falls(problem):
    rng = np.random.default_rng(problem["seed"])
    X = rng.normal(size=(problem["n"], problem["d"])) * np.exp(rng.normal(size=problem["d"]))
    if problem["tied_rows"]:
        X = X[rng.integers(0, 3, len(X))]
    prior = fastem.Prior(mean_precision=1e-6, weight_concentration=1.5) if problem["weak"] else "default"
    assignment = "hard" if problem["hard"] else "soft"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        model = fastem.fit(
            X,
            problem["k"],
            covariance_type=problem["kind"],
            prior=prior,
            init="random_from_data",
            assignment=assignment,
            tol=0,
            max_iter=30,
            rng=0,
        )
    report = model.report
    assert report.status is not fastem.FitStatus.DECREASED
    if not report.repairs:
        falls = np.diff(report.history)
        assert falls.min() >= -1e-7 * (1 + np.abs(report.history).max())


def test_the_default_does_not_depend_on_units():
    X = clusters(2, 200, 3, 2)
    for kind, units in (
        ("full", [0.001, 70.0, 3.0]),
        ("tied", [0.001, 70.0, 3.0]),
        ("diag", 0.3),
        ("EII", 50.0),
    ):
        one = fastem.fit(X, 2, covariance_type=kind, prior="default", rng=0)
        other = fastem.fit(X * units + 5, 2, covariance_type=kind, prior="default", rng=0)
        assert_allclose((other.means - 5) / units, one.means, atol=1e-4)
        assert_allclose(other.predict_proba(X * units + 5), one.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("kind", ["full", "tied", "VEV"])
def test_a_huge_reg_covar_warns_of_no_division(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", fastem.FitWarning)
        model = fastem.fit(POINTS, 3, covariance_type=kind, prior="default", reg_covar=1e300, rng=0)
    assert np.isfinite(model.report.objective)
    assert (np.linalg.eigvalsh(model.covariances) >= 1e299).all()


def test_a_weak_prior_is_maximum_likelihood():
    X, start = clusters(3, 3000, 2, 2), {"init": "kmeans", "tol": 1e-10, "max_iter": 2000}
    prior = fastem.Prior(mean_precision=1e-9, degrees_of_freedom=1.001, covariance=np.eye(2) * 1e-9)
    weak = fastem.fit(X, 2, prior=prior, rng=0, **start)
    plain = fastem.fit(X, 2, reg_covar=0, rng=0, **start)
    assert_allclose(weak.means, plain.means, atol=0.02)
    assert_allclose(weak.covariances, plain.covariances, rtol=0.02, atol=0.02)
    assert (
        plain.report.log_likelihood - 0.5 < weak.report.log_likelihood <= plain.report.log_likelihood + 1e-6
    )


def test_sources_threads_labels_and_leaps_agree():
    X = clusters(4, 3000, 3, 3)
    labels = np.where(np.arange(len(X)) % 50 == 0, np.arange(len(X)) % 3, -1)
    options = {"prior": "default", "labels": labels, "init": "kmeans", "rng": 1}
    one = fastem.fit(X, 3, n_threads=1, **options)
    two = fastem.fit(X, 3, n_threads=2, **options)
    assert_array_equal(one.covariances, two.covariances)
    chunks = fastem.fit(np.array_split(X, 4), 3, **options)
    assert_array_equal(one.covariances, chunks.covariances)
    single = fastem.fit(X.astype(np.float32), 3, **options)
    assert_allclose(single.means, one.means, rtol=1e-3, atol=1e-3)
    ends = [
        fastem.fit(X, 3, prior="default", init="random", rng=2, tol=1e-9, max_iter=3000, acceleration=leaps)
        for leaps in ("auto", None)
    ]
    assert ends[0].report.objective == pytest.approx(ends[1].report.objective, abs=1e-3)
    assert ends[0].report.n_iter <= ends[1].report.n_iter


def test_a_selection_takes_the_likelihood_of_map_estimates():
    selection = fastem.select(
        POINTS, range(1, 5), covariance_type=["full", "spherical"], prior="default", rng=0
    )
    assert not any(row.degenerate for row in selection.table)
    assert selection.chosen.k == 3
    best = selection.best
    assert selection.chosen.bic == pytest.approx(best.bic(POINTS))
    alone = fastem.fit(POINTS, 3, covariance_type=selection.chosen.covariance_type, prior="default", rng=0)
    assert best.report.objective >= alone.report.objective - 1e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prior": "defaults"}, TypeError, 'prior must be None, "default" or a fastem.Prior'),
        ({"prior": "default", "distribution": "student"}, ValueError, "prior must be None for"),
        ({"prior": fastem.Prior(weight_concentration=0.5)}, ValueError, "at least 1 for EM"),
        ({"prior": fastem.Prior(covariance=1.0)}, ValueError, r"must have shape \(2, 2\)"),
    ],
)
def test_what_no_fit_can_use_is_an_error(options, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(POINTS, 3, **options)
