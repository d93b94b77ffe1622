"""Parameters that stay as init gives them: the others are maximum likelihood given these."""

import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from problems import clusters, random_model
from scipy.optimize import minimize

import fastem
from fastem._families.registry import MCLUST

# The shared axes of EVE and VVE may end at another maximum than those before, 1e-7 lower.
KINDS = sorted({*MCLUST.values()} - {"EVE", "VVE"})
UNITS = np.array([0.37, 51.0, 3.3])  # so that coordinates of the fit are others than the user's
STEPS = {"tol": 0, "acceleration": None, "reg_covar": 0, "rng": 0}


def start_of(X, kind, k=3, seed=0):
    """A model in the units of X, whose numbers are not round."""
    labels = np.arange(len(X)) % k
    model = fastem.fit(X, k, covariance_type=kind, init=labels, max_iter=2, tol=0, rng=seed)
    rng = np.random.default_rng(seed)
    means = model.means + rng.normal(size=model.means.shape) * X.std(axis=0) / 3
    return fastem.GaussianMixture(model.weights, means, model.covariances, kind)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "EEI", "EII"])
def test_steps_given_fixed_means_are_those_of_the_textbook(kind, with_prior):
    X = clusters(1, 200, 3, 3)
    weight, start = np.random.default_rng(0).uniform(0.5, 2, len(X)), start_of(X, kind)
    mask = np.array([True, False, True])
    prior = {
        "weight_concentration": 2.0,
        "mean_precision": 3.0,
        "mean": np.array([1.0, 2.0, 3.0]),
        "degrees_of_freedom": 6.0,
        "covariance": {"full": np.eye(3), "tied": np.eye(3), "diag": np.ones(3), "EEI": np.ones(3)}.get(
            kind, 2.0
        ),
    }
    given_prior = prior if with_prior else None
    parameters = start.weights, start.means, start.covariances
    means = np.where(mask[:, None], start.means, np.nan)
    expected, history = naive.map_em(X, weight, parameters, kind, 6, given_prior, means)
    options = {"fixed": {"means": mask}, "prior": fastem.Prior(**prior) if with_prior else None, **STEPS}
    model = fastem.fit(X, 3, covariance_type=kind, init=start, sample_weight=weight, max_iter=6, **options)
    assert_array_equal(model.means[mask], start.means[mask])
    for found, value in zip((model.weights, model.means, model.covariances), expected, strict=True):
        assert_allclose(found, value, rtol=1e-8, atol=1e-9)
    assert_allclose(model.report.history, [posterior for _, posterior in history], rtol=1e-10)


def test_the_rest_is_at_the_maximum():
    """One mean, one variance and one weight are fixed; a direct search finds the rest."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(0, 1, (60, 1)), rng.normal(4, 0.7, (50, 1)), rng.normal(9, 1.5, (40, 1))])
    start = fastem.GaussianMixture([0.3, 0.3, 0.4], [[0.5], [4.2], [8.0]], [1.2, 0.8, 1.0], "spherical")
    fixed = {
        "means": np.array([True, False, False]),
        "covariances": np.array([False, True, False]),
        "weights": np.array([False, False, True]),
    }
    model = fastem.fit(
        X, 3, covariance_type="spherical", init=start, fixed=fixed, tol=1e-12, max_iter=5000, reg_covar=0
    )

    def unpacked(point):
        share = 1 / (1 + np.exp(-point[0]))
        return (
            np.array([0.6 * share, 0.6 * (1 - share), 0.4]),
            np.array([[0.5], [point[1]], [point[2]]]),
            np.array([np.exp(point[3]), 0.8, np.exp(point[4])]),
        )

    def loss(point):
        weights, means, variances = unpacked(point)
        _, log_p = naive.broadcast_e_step(X, weights, means, variances[:, None, None])
        return -log_p.sum()

    found = minimize(loss, [0, 4, 8, 0, 0], method="BFGS", options={"gtol": 1e-8})
    weights, means, variances = unpacked(found.x)
    assert model.report.log_likelihood == pytest.approx(-found.fun, abs=1e-6)
    assert_allclose(model.weights, weights, atol=1e-4)
    assert_allclose(model.means, means, atol=1e-3)
    assert_allclose(model.covariances, variances, atol=1e-3)
    assert (model.means[0, 0], model.covariances[1], model.weights[2]) == (0.5, 0.8, 0.4)


problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "n": st.integers(6, 120),
        "d": st.integers(1, 3),
        "k": st.integers(1, 4),
        "kind": st.sampled_from(KINDS),
        "names": st.lists(st.sampled_from(["means", "covariances", "weights"]), min_size=1, unique=True),
        "partly": st.booleans(),
        "prior": st.sampled_from([None, "default"]),
        "dtype": st.sampled_from([np.float64, np.float32]),
    }
)


@settings(max_examples=40, deadline=None)
@given(problems)
def test_what_is_fixed_keeps_its_bits_and_the_objective_never_falls(problem):
    rng = np.random.default_rng(problem["seed"])
    d, k, kind = problem["d"], problem["k"], problem["kind"]
    X = (rng.normal(size=(problem["n"], d)) * UNITS[:d] + 1).astype(problem["dtype"])
    options = {"covariance_type": kind, "prior": problem["prior"], "rng": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        start = fastem.fit(X, k, init="random_from_data", max_iter=1, **options)
        fixed = dict.fromkeys(problem["names"], True)
        if problem["partly"]:
            own = kind in ("full", "diag", "spherical")
            fixed = {name: rng.random(k) < 0.5 if own or name != "covariances" else True for name in fixed}
        model = fastem.fit(X, k, init=start, fixed=fixed, tol=0, max_iter=40, **options)
    for name, mask in fixed.items():
        kept = slice(None) if mask is True else mask
        assert_array_equal(getattr(model, name)[kept], getattr(start, name)[kept])
    assert model.weights.sum() == pytest.approx(1)
    held = set()
    for name in ("means", "covariances"):
        held |= set(np.flatnonzero(np.broadcast_to(fixed.get(name, False), k)).tolist())
    repairs = model.report.repairs
    assert not held & {repair.component for repair in repairs if "re-seeded" in repair.what}
    if fixed.get("covariances") is not True:
        floors = {repair.component for repair in repairs if "floored" in repair.what}
        assert not floors & set(np.flatnonzero(np.broadcast_to(fixed.get("covariances", False), k)).tolist())
    assert model.report.status is not fastem.FitStatus.DECREASED
    if not repairs and problem["dtype"] == np.float64 and (problem["prior"] or "covariances" in fixed):
        falls = np.diff(model.report.history)
        assert falls.min(initial=0) >= -1e-6 * (1 + np.abs(model.report.history).max())


def test_a_dict_gives_what_is_fixed_and_the_rest_is_estimated():
    X = clusters(8, 400, 3, 2) * UNITS
    covariances = random_model(4, "full", 2, 3).covariances * UNITS * UNITS[:, None]
    model = fastem.fit(X, 2, init={"covariances": covariances}, fixed="covariances", rng=0)
    assert_array_equal(model.covariances, covariances)
    means = X[[3, 100]]
    model = fastem.fit(X, 2, init={"means": means}, fixed=("means",), rng=0)
    assert_array_equal(model.means, means)
    chunks = fastem.fit(np.array_split(X, 3), 2, init={"means": means}, fixed=("means",), rng=0)
    assert_array_equal(chunks.covariances, model.covariances)
    seen = []
    fastem.fit(X, 2, init=model, fixed="means", callback=lambda i, _, now: seen.append(now.means), rng=0)
    assert all(np.array_equal(now, means) for now in seen)


def test_fixed_components_are_not_taken_for_empty_or_equal_ones():
    """A background with a fixed mean far from all rows stays; the free components find both clusters."""
    X = np.concatenate([np.random.default_rng(0).normal(m, 1, (200, 2)) for m in (0, 8)])
    away = np.array([[100.0, 100.0], [3.0, 3.0], [3.01, 3.0]])
    fixed = {"means": np.array([True, False, False]), "covariances": np.array([True, False, False])}
    eye = np.tile(np.eye(2), (3, 1, 1))
    model = fastem.fit(X, 3, init={"means": away, "covariances": eye}, fixed=fixed, rng=0)
    assert_array_equal(model.means[0], away[0])
    assert_array_equal(model.covariances[0], eye[0])
    assert_allclose(np.sort(model.means[1:, 0]), [0, 8], atol=0.3)
    assert model.weights[0] < 1e-6


@pytest.mark.parametrize("start", [[0.0, 0.0], [100.0, 100.0]], ids=["equal to a fixed one", "without rows"])
def test_a_free_component_takes_rows_of_fixed_ones(start):
    """Where all others are fixed it is re-seeded from the heaviest of them, which stays where it is."""
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [3.0, 5.0]])
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2000, 2)) + centres[rng.choice(3, 2000, p=[0.5, 0.3, 0.2])]
    means = np.array([*centres[:2], start])
    model = fastem.fit(X, 3, init={"means": means}, fixed={"means": [True, True, False]}, rng=0)
    assert_array_equal(model.means[:2], centres[:2])
    assert model.weights.min() > 0.15
    assert_allclose(model.means[2], centres[2], atol=0.2)
    if start == [100.0, 100.0]:
        assert any("re-seeded" in repair.what for repair in model.report.repairs)
        assert (np.diff(model.report.history) > -1e-6).all()


@pytest.mark.parametrize("kind", ["full", pytest.param("tied", marks=pytest.mark.slow)])
def test_means_of_t_distributions_stay_too(kind):
    X = clusters(9, 300, 2, 2) * UNITS[:2]
    options = {"covariance_type": kind, "distribution": "student", "rng": 0}
    start = fastem.fit(X, 2, max_iter=3, tol=0, **options)
    moved = {**start.parameters, "means": start.parameters["means"] + 0.2}
    model = fastem.fit(
        X,
        2,
        init={"weights": start.weights, **moved},
        fixed={"means": [True, False]},
        tol=1e-7,
        max_iter=3000,
        **options,
    )
    assert_array_equal(model.parameters["means"][0], moved["means"][0])
    assert np.diff(model.report.history).min() > -1e-6
    # No scale about the fixed mean is better than the one that was found.
    for factor in (0.98, 1.02):
        other = {**model.parameters, "scales": model.parameters["scales"] * factor}
        others = fastem.Mixture(model.weights, other, distribution="student", covariance_type=kind)
        assert others.score(X) < model.score(X)


def test_steps_on_chunks_keep_what_is_fixed():
    X = clusters(10, 600, 3, 2) * UNITS
    start = fastem.fit(X[:300], 2, rng=0)
    for fixed in ("means", {"covariances": [False, True]}):
        model = fastem.partial_fit(start, X[300:], fixed=fixed)
        if fixed == "means":
            assert_array_equal(model.means, start.means)
        else:
            assert_array_equal(model.covariances[1], start.covariances[1])
        assert not np.array_equal(model.covariances[0], start.covariances[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"covariance_type": "tied", "fixed": {"covariances": [True, False]}},
            "must be those of all components",
        ),
        (
            {"covariance_type": "EEV", "fixed": {"covariances": [True, False]}},
            "must be those of all components",
        ),
        ({"fixed": {"means": [True, False, False]}}, r"mask of bool with shape \(2,\)"),
        ({"fixed": {"means": [1, 0]}}, "mask of bool"),
        ({"fixed": {"rates": True}}, "can stay fixed"),
    ],
)
def test_masks_that_make_no_sense_are_errors(options, message):
    X = clusters(1, 50, 2, 2)
    start = fastem.fit(X, 2, covariance_type=options.get("covariance_type", "full"), max_iter=1, tol=0, rng=0)
    with pytest.raises(ValueError, match=message):
        fastem.fit(X, 2, init=start, **options)
