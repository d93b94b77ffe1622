"""Mixture: built from known parameters of any distribution, copied, kept as it is."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from distributions import Normal, Poisson
from problems import TYPES, random_model

import fastem

WEIGHTS = [0.25, 0.75]
RATES = [[1.0, 20.0, 0.0], [8.0, 5.0, 2.0]]
NAMES = ["a", "b", "c"]
NORMAL = {"means": RATES, "variances": np.ones((2, 3))}


def mixtures(**options):
    return {
        "poisson": fastem.Mixture(WEIGHTS, {"rates": RATES}, "poisson", **options),
        "written": fastem.Mixture(WEIGHTS, NORMAL, Normal(), n_features=3, **options),
        "gaussian": fastem.GaussianMixture(WEIGHTS, RATES, [1.0, 2.0], "spherical", **options),
    }


@pytest.fixture(params=["poisson", "written", "gaussian"])
def model(request):
    return mixtures()[request.param]


def test_what_it_tells(model):
    assert isinstance(model, fastem.Mixture)
    assert (model.n_components, model.n_features) == (2, 3)
    assert model.weights.dtype == np.float64
    assert model.report is None
    assert model.feature_names is None
    np.testing.assert_array_equal(model.weights, WEIGHTS)
    np.testing.assert_array_equal(next(iter(model.parameters.values())), RATES)
    assert [mixture.n_parameters for mixture in mixtures().values()] == [7, 13, 9]


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_gaussian_mixture_is_a_mixture(covariance_type):
    model = random_model(0, covariance_type, 3, 2)
    assert isinstance(model, fastem.Mixture)
    assert model.distribution == "gaussian"
    assert model.covariance_type == covariance_type
    assert list(model.parameters) == ["means", "covariances"]
    assert model.parameters["means"] is model.means
    assert model.parameters["covariances"] is model.covariances
    assert type(fastem.fit(model.sample(99, rng=0)[0], 2, covariance_type=covariance_type, rng=0)) is type(
        model
    )


def test_the_distribution_is_what_was_passed():
    written = Normal()
    assert fastem.Mixture(WEIGHTS, NORMAL, written, n_features=3).distribution is written
    assert mixtures()["poisson"].distribution == "poisson"
    X = mixtures()["poisson"].sample(50, rng=0)[0]
    assert fastem.fit(X, 1, distribution=written).distribution is written
    assert fastem.fit(X, 1, distribution="poisson").distribution == "poisson"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("poisson", "Mixture(n_components=2, n_features=3, distribution='poisson'{})"),
        ("written", "Mixture(n_components=2, n_features=3, distribution=Normal(){})"),
        ("gaussian", "GaussianMixture(n_components=2, n_features=3, covariance_type='spherical'{})"),
    ],
)
def test_repr(name, expected):
    assert repr(mixtures()[name]) == expected.format("")
    assert repr(mixtures(feature_names=NAMES)[name]) == expected.format(", feature_names=('a', 'b', 'c')")


def test_it_is_immutable(model):
    for name in ("weights", "parameters", "distribution", "report", "feature_names", "new"):
        with pytest.raises(AttributeError, match=f"immutable. Make a new one to change '{name}'"):
            setattr(model, name, 0)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(model, name)
    for array in (model.weights, *model.parameters.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.parameters["rates"] = 0


def test_it_copies_its_arguments():
    arrays = {name: np.array(array) for name, array in NORMAL.items()}
    weights = np.array(WEIGHTS)
    model = fastem.Mixture(weights, arrays, Normal(), n_features=3)
    arrays["means"][:], weights[:] = 9, 9
    arrays["more"] = weights
    np.testing.assert_array_equal(model.parameters["means"], RATES)
    np.testing.assert_array_equal(model.weights, WEIGHTS)
    assert list(model.parameters) == ["means", "variances"]


@pytest.mark.parametrize("name", ["poisson", "written", "gaussian"])
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_it_survives_copying(name, clone):
    start = mixtures(feature_names=NAMES)[name]
    X = pd.DataFrame(np.random.default_rng(0).poisson(RATES[1], (50, 3)), columns=NAMES)
    options = {"covariance_type": "spherical"} if name == "gaussian" else {}
    model = fastem.fit(X, 2, distribution=start.distribution, init=start, max_iter=5, tol=0, **options)
    twin = clone(model)
    assert type(twin) is type(model)
    assert type(twin.distribution) is type(model.distribution)
    assert repr(twin) == repr(model) == repr(start)
    assert twin.report == model.report
    np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
    for mine, other in zip(
        (twin.weights, *twin.parameters.values()), (model.weights, *model.parameters.values()), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
        assert not mine.flags.writeable
    with pytest.raises(TypeError, match="does not support item assignment"):
        twin.parameters["rates"] = 0


def test_feature_names(model):
    named = mixtures(feature_names=NAMES)["poisson"]
    assert named.feature_names == ("a", "b", "c")
    rows = pd.DataFrame([[1, 2, 0]], columns=NAMES)
    assert named.predict(rows) == named.predict(rows.to_numpy())
    assert named.predict(rows[["b", "a", "c"]].assign(more="text")) == named.predict(rows)
    with pytest.raises(ValueError, match=r"X must have the columns \['a', 'b', 'c'\], as the model has"):
        named.predict(rows[["b", "a"]])
    assert len(model.predict(rows[["b", "a", "c"]])) == 1
    for wrong in (["a", "b"], "abc", [1, 2, 3]):
        with pytest.raises(ValueError, match="feature_names must be 3 strings"):
            mixtures(feature_names=wrong)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            ([0.5, 0.6], {"rates": RATES}, "poisson"),
            {},
            ValueError,
            "weights must be at least 0 and sum to 1",
        ),
        (([1.5, -0.5], {"rates": RATES}, "poisson"), {}, ValueError, "weights must be at least 0"),
        (([[1.0]], {"rates": RATES}, "poisson"), {}, ValueError, "weights must have shape"),
        (([], {"rates": []}, "poisson"), {}, ValueError, "weights must have shape"),
        (([np.nan, 1], {"rates": RATES}, "poisson"), {}, ValueError, "weights must be finite"),
        ((["a", "b"], {"rates": RATES}, "poisson"), {}, TypeError, "weights must hold real numbers"),
        (
            (WEIGHTS, {"rates": RATES[:1]}, "poisson"),
            {},
            ValueError,
            r"rates must have shape \(k, d\) with k",
        ),
        (
            (WEIGHTS, {"rates": [1, 2]}, "poisson"),
            {},
            ValueError,
            r"rates must have shape \(k, d\) with k = 2",
        ),
        ((WEIGHTS, {"rates": [[], []]}, "poisson"), {}, ValueError, r"rates must have shape \(k, d\)"),
        ((WEIGHTS, {"rates": [[-1], [1]]}, "poisson"), {}, ValueError, "rates must be at least 0 .*; got -1"),
        ((WEIGHTS, {"rates": [[np.inf], [1]]}, "poisson"), {}, ValueError, "rates must be finite"),
        ((WEIGHTS, {"rates": [["a"], ["b"]]}, "poisson"), {}, TypeError, "rates must hold real numbers"),
        ((WEIGHTS, {"rate": RATES}, "poisson"), {}, ValueError, r"the names \['rates'\]; got \['rate'\]"),
        ((WEIGHTS, {"rates": RATES, "more": 1}, "poisson"), {}, ValueError, r"got \['more', 'rates'\]"),
        ((WEIGHTS, {}, "poisson"), {}, ValueError, "parameters must have at least one name"),
        (
            (WEIGHTS, RATES, "poisson"),
            {},
            TypeError,
            "parameters must be a dict of arrays by name; got \\[\\[",
        ),
        (
            (WEIGHTS, {"rates": RATES}, "poisson"),
            {"n_features": 2},
            ValueError,
            "n_features must be .* 3; got 2",
        ),
        ((WEIGHTS, {"rates": RATES}, "gaussian"), {}, ValueError, "distribution must be .*GaussianMixture"),
        (
            (WEIGHTS, {"rates": RATES}, "round"),
            {},
            ValueError,
            "distribution must be one of .*'poisson'.* or a fast",
        ),
        ((WEIGHTS, {"rates": RATES}, None), {}, ValueError, "distribution must be one of"),
        (
            (WEIGHTS, {"rates": RATES}, Poisson),
            {"n_features": 3},
            TypeError,
            r"got the class Poisson. Pass Poi",
        ),
        ((WEIGHTS, NORMAL, Normal()), {}, ValueError, "n_features must be given for a mixture of Normal"),
        ((WEIGHTS, NORMAL, Normal()), {"n_features": 2.5}, TypeError, "n_features must be an integer"),
        (
            (WEIGHTS, NORMAL, Normal()),
            {"n_features": 0},
            ValueError,
            "n_features must be an integer of at le",
        ),
        ((WEIGHTS, {}, Normal()), {"n_features": 3}, ValueError, "parameters must have at least one name"),
        (
            (WEIGHTS, {1: RATES}, Normal()),
            {"n_features": 3},
            TypeError,
            "parameters must be a dict of arrays by",
        ),
        (
            (WEIGHTS, {"means": 1.0}, Normal()),
            {"n_features": 3},
            ValueError,
            "means must have one entry per comp",
        ),
        (
            (WEIGHTS, {"means": RATES[:1]}, Normal()),
            {"n_features": 3},
            ValueError,
            "means must have one entry",
        ),
        ((WEIGHTS, {"means": [1, np.nan]}, Normal()), {"n_features": 3}, ValueError, "means must be finite"),
    ],
)
def test_impossible_parameters_are_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        fastem.Mixture(*arguments, **options)
