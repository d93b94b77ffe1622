"""Mixtures as tables of text."""

import numpy as np
import pytest

import fastem

WEIGHTS, MEANS = [0.25, 0.75], [[1.0, 2.0], [3.0, 4.0]]
MODELS = {
    "gaussian": fastem.GaussianMixture(
        [0.25, 0.75], [[1.0, 2.0], [3.0, 4.0]], [[4.0, 9.0], [1.0, 16.0]], "diag"
    ),
    "tied": fastem.GaussianMixture([0.25, 0.75], [[1.0, 2.0], [3.0, 4.0]], [[4.0, 1.0], [1.0, 9.0]], "tied"),
    "spherical": fastem.GaussianMixture([0.25, 0.75], [[1.0, 2.0], [3.0, 4.0]], [4.0, 9.0], "spherical"),
    "student": fastem.Mixture(
        [0.25, 0.75],
        {"means": [[1.0], [3.0]], "scales": [[[4.0]], [[9.0]]], "degrees_of_freedom": [5.0, 7.0]},
        "student",
    ),
    "categorical": fastem.Mixture(
        [0.25, 0.75],
        {"probabilities": [[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]], [[0.1, 0.9, 0.0], [0.6, 0.3, 0.1]]]},
        "categorical",
        categories=[["no", "yes"], [1, 2, 7]],
        feature_names=["smokes", "children"],
    ),
    "mixed": fastem.Mixture(
        [0.25, 0.75],
        {
            "gaussian_means": [[30.0], [40.0]],
            "gaussian_covariances": [[9.0], [16.0]],
            "poisson_rates": [[1.5], [2.5]],
        },
        {"visits": "poisson", "age": "gaussian"},
        feature_names=["visits", "age"],
    ),
}


@pytest.mark.parametrize(
    ("kind", "line", "numbers"),
    [
        ("gaussian", "weights", ["0.25", "0.75"]),
        ("gaussian", "deviations", ["2", "1"]),
        ("tied", "deviations", ["2", "2"]),
        ("spherical", "deviations", ["2", "3"]),
        ("student", "widths", ["2", "3"]),
        ("student", "degrees_of_freedom", ["5", "7"]),
        ("categorical", "smokes = yes", ["0.5", "0.9"]),
        ("categorical", "children = 7", ["0.5", "0.1"]),
        ("mixed", "age", ["3", "4"]),
        ("mixed", "visits", ["1.5", "2.5"]),
    ],
)
def test_the_numbers_of_a_model(kind, line, numbers):
    lines = MODELS[kind].summary().splitlines()
    if line in ("deviations", "widths"):  # a heading, then the first feature
        at = next(i for i, text in enumerate(lines) if text.startswith(line)) + 1
    else:
        at = max(i for i, text in enumerate(lines) if text.strip().startswith(line))
    assert lines[at].split()[-2:] == numbers


def test_what_the_head_says():
    text = MODELS["categorical"].summary()
    assert text.startswith(
        "Mixture of 2 components, distribution='categorical'\n2 features, 7 free parameters\n"
    )
    assert "smokes = 7" not in text
    X = np.random.default_rng(0).poisson(3.0, (200, 2))
    fitted = fastem.fit(X, 1, distribution="poisson", rng=0)
    assert "1 component," in fitted.summary()
    assert f"fit: CONVERGED after {fitted.report.n_iter} iteration" in fitted.summary()


def test_many_components_are_parted():
    model = fastem.Mixture(np.full(19, 1 / 19), {"rates": np.arange(1.0, 20)[:, None]}, "poisson")
    text = model.summary()
    assert text.count("weights") == 3
    assert max(map(len, text.splitlines())) < 110


def test_a_users_distribution_and_notebooks():
    class Flat(fastem.Distribution):
        def log_density(self, X, parameters):
            return np.zeros((len(X), 2))

        def statistics(self, X, responsibilities, parameters):
            return (responsibilities.sum(axis=0),)

        def maximise(self, statistics, parameters):
            return {"anything": np.zeros((2, 3))}

        def n_parameters(self, k, d):
            return 0

    model = fastem.Mixture([0.5, 0.5], {"anything": np.arange(6.0).reshape(2, 3)}, Flat(), n_features=1)
    assert "anything" in model.summary()
    assert model._repr_html_().startswith("<pre>Mixture of 2 components")
    assert "&#x27;" in MODELS["categorical"]._repr_html_()


def test_categories_keep_their_digits_and_lines():
    parameters = {"probabilities": [[[0.5, 0.5]]]}
    model = fastem.Mixture([1.0], parameters, "categorical", categories=[[1234567, 1234568]])
    assert "0 = 1234568" in model.summary()
    text = fastem.Mixture([1.0], parameters, "categorical", categories=[["a\nb", "c"]])
    assert "0 = a b" in text.summary()
