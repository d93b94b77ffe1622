"""Columns of different kinds: parts that are known, reference values, sources, files and mistakes."""

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import logsumexp

import fastem

KINDS = {
    "age": "gaussian",
    "smokes": "bernoulli",
    "visits": "poisson",
    "region": "categorical",
    "weight": "gaussian",
    "delay": "exponential",
    "dose": "gamma",
    "income": "lognormal",
}
NAMES = list(KINDS)
DATA = Path(__file__).parent / "data"


def truth():
    """Parameters of two components. Blocks have their columns in the order of X."""
    return {
        "bernoulli_probabilities": [[0.2], [0.7]],
        "categorical_probabilities": [[[0.6, 0.3, 0.1]], [[0.1, 0.2, 0.7]]],
        "exponential_rates": [[2.0], [0.5]],
        "gamma_shapes": [[2.0], [6.0]],
        "gamma_rates": [[1.0], [1.0]],
        "gaussian_means": [[20.0, 60.0], [30.0, 75.0]],
        "gaussian_covariances": [[9.0, 25.0], [16.0, 36.0]],
        "lognormal_means": [[0.0], [1.0]],
        "lognormal_variances": [[0.5], [0.2]],
        "poisson_rates": [[1.0], [4.0]],
    }


def mixture(parameters=None, weights=(0.4, 0.6), **options):
    return fastem.Mixture(weights, parameters or truth(), KINDS, feature_names=NAMES, **options)


def rows(n=2000, seed=0):
    return mixture().sample(n, rng=seed)


def log_densities(X, p):
    """log p(x | k) by scipy, (n, k)."""
    columns = []
    for k in range(2):
        age, smokes, visits, region, weight, delay, dose, income = X.T
        total = stats.norm.logpdf(age, p["gaussian_means"][k][0], np.sqrt(p["gaussian_covariances"][k][0]))
        total += stats.norm.logpdf(
            weight, p["gaussian_means"][k][1], np.sqrt(p["gaussian_covariances"][k][1])
        )
        total += stats.bernoulli.logpmf(smokes, p["bernoulli_probabilities"][k][0])
        total += stats.poisson.logpmf(visits, p["poisson_rates"][k][0])
        total += np.log(np.asarray(p["categorical_probabilities"])[k, 0])[region.astype(int)]
        total += stats.expon.logpdf(delay, scale=1 / p["exponential_rates"][k][0])
        total += stats.gamma.logpdf(dose, p["gamma_shapes"][k][0], scale=1 / p["gamma_rates"][k][0])
        deviation = np.sqrt(p["lognormal_variances"][k][0])
        total += stats.lognorm.logpdf(income, deviation, scale=np.exp(p["lognormal_means"][k][0]))
        columns.append(total)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_scores_are_those_of_the_parts(dtype, tolerance):
    X, _ = rows()
    X = X.astype(dtype)
    expected = log_densities(X.astype(np.float64), truth())
    joint = expected + np.log([0.4, 0.6])
    model = mixture()
    assert_allclose(model.component_log_densities(X), expected, rtol=tolerance, atol=10 * tolerance)
    assert_allclose(model.score_samples(X), logsumexp(joint, axis=1), rtol=tolerance)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    assert_allclose(model.predict_proba(X), r, atol=10 * tolerance)
    assert np.mean(model.predict(X) == joint.argmax(axis=1)) > 1 - 1e-3
    assert model.n_parameters == 1 + 2 * (4 + 1 + 1 + 2 + 1 + 2 + 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_truth_is_found(dtype):
    X, labels = rows(100_000)
    model = fastem.fit(X.astype(dtype), 2, distribution=dict(enumerate(KINDS.values())), rng=0)
    assert model.report.status is fastem.FitStatus.CONVERGED
    order = np.argsort(model.parameters["poisson_rates"][:, 0])
    assert_allclose(model.weights[order], [0.4, 0.6], atol=0.01)
    for name, values in truth().items():
        assert_allclose(model.parameters[name][order], values, rtol=0.05, atol=0.02, err_msg=name)
    best = mixture().predict(X)
    assert np.mean(np.argsort(order)[model.predict(X)] == best) > 0.99
    assert np.mean(best == labels) > 0.9


def em_in_numpy(X, weight, w, p, iterations):
    """EM by broadcasting, of all kinds whose M-step is a weighted mean."""
    history = []
    for step in range(iterations + 1):
        joint = log_densities(X, p) + np.log(w)
        log_p = logsumexp(joint, axis=1)
        history.append(weight @ log_p)
        if step == iterations:
            break
        r = np.exp(joint - log_p[:, None]) * weight[:, None]
        n_k = r.sum(axis=0)
        mean = (r.T @ X) / n_k[:, None]
        z = X[:, None] - mean
        variance = np.einsum("nk,nkj->kj", r, z**2) / n_k[:, None]
        logs = np.log(X[:, 7])
        log_mean = r.T @ logs / n_k
        log_variance = (r * (logs[:, None] - log_mean) ** 2).sum(axis=0) / n_k
        codes = np.eye(3)[X[:, 3].astype(int)]
        w = n_k / n_k.sum()
        p = p | {
            "gaussian_means": mean[:, [0, 4]],
            "gaussian_covariances": variance[:, [0, 4]],
            "bernoulli_probabilities": mean[:, [1]],
            "poisson_rates": mean[:, [2]],
            "categorical_probabilities": ((r.T @ codes) / n_k[:, None])[:, None],
            "exponential_rates": 1 / mean[:, [5]],
            "lognormal_means": log_mean[:, None],
            "lognormal_variances": log_variance[:, None],
            # With the shapes fixed by the data below, only the rates change.
            "gamma_rates": np.asarray(p["gamma_shapes"]) / mean[:, [6]],
        }
    return np.array(history), w, p


def test_agrees_with_em_in_numpy():
    X, _ = rows(1500)
    X[:, 6] = np.random.default_rng(1).exponential(1, len(X))
    kinds = KINDS | {"dose": "exponential"}
    weight = np.random.default_rng(2).uniform(0, 2, len(X))
    p = truth()
    p["gamma_shapes"] = [[1.0], [1.0]]
    history, w, expected = em_in_numpy(X, weight, np.array([0.3, 0.7]), p, 20)
    start = {name: value for name, value in truth().items() if not name.startswith("gamma")}
    start["exponential_rates"] = [[2.0, 1.0], [0.5, 1.0]]
    model = fastem.fit(
        X,
        2,
        distribution=dict(enumerate(kinds.values())),
        sample_weight=weight,
        init=fastem.Mixture([0.3, 0.7], start, dict(enumerate(kinds.values()))),
        max_iter=20,
        tol=0,
        reg_covar=0,
        acceleration=None,
    )
    assert_allclose(model.report.history, history, rtol=1e-9)
    assert_allclose(model.weights, w, rtol=1e-9)
    for name, values in model.parameters.items():
        if name == "exponential_rates":
            values = values[:, [0]]
            assert_allclose(model.parameters[name][:, [1]], expected["gamma_rates"], rtol=1e-9)
        assert_allclose(values, expected[name], rtol=1e-8, atol=1e-9, err_msg=name)


def birthwt():
    with open(DATA / "mixed_birthwt.csv") as file:
        table = list(csv.reader(file))
    return table[0], np.array(table[1:], dtype=float)


KIND_OF = {"gauss": "gaussian", "cat": "categorical", "bern": "bernoulli", "pois": "poisson"}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("variant", ["all", "no_poisson"])
def test_reference_values(variant, k):
    names, X = birthwt()
    reference = json.loads((DATA / "mixed.json").read_text())
    kinds = {j: KIND_OF[reference["columns"][name]] for j, name in enumerate(names)}
    if variant == "no_poisson":
        kept = [j for j, kind in kinds.items() if kind != "poisson"]
        X, kinds = X[:, kept], {new: kinds[j] for new, j in enumerate(kept)}
    starts = 12 if (variant, k) == ("no_poisson", 3) else 2
    model = fastem.fit(X, k, distribution=kinds, tol=1e-9, max_iter=2000, n_init=starts, rng=0)
    assert model.report.log_likelihood >= reference["loglik"][variant][str(k)] - 1e-3


@pytest.mark.slow
def test_reference_values_of_four_classes():
    names, X = birthwt()
    reference = json.loads((DATA / "mixed.json").read_text())
    kinds = {j: KIND_OF[reference["columns"][name]] for j, name in enumerate(names)}
    model = fastem.fit(X, 4, distribution=kinds, tol=1e-9, max_iter=2000, n_init=8, rng=0)
    assert model.report.log_likelihood >= reference["loglik"]["all"]["4"] - 1e-3


def test_gaussian_columns_may_be_correlated():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=5000)
    z = rng.normal(size=5000)
    X = np.stack([z, labels, z + 0.1 * rng.normal(size=5000)], axis=1)
    X[:, [0, 2]] += 5 * labels[:, None]
    kinds = {0: "gaussian", 1: "bernoulli", 2: "gaussian"}
    full = fastem.fit(X, 2, distribution=kinds, covariance_type="full", rng=0)
    diag = fastem.fit(X, 2, distribution=kinds, rng=0)
    assert full.parameters["gaussian_covariances"].shape == (2, 2, 2)
    assert diag.parameters["gaussian_covariances"].shape == (2, 2)
    assert full.report.log_likelihood > diag.report.log_likelihood + 5000


def test_the_order_of_the_dict_changes_no_bit():
    X, _ = rows()
    kinds = dict(enumerate(KINDS.values()))
    one = fastem.fit(X, 2, distribution=kinds, rng=0)
    other = fastem.fit(X, 2, distribution=dict(reversed(kinds.items())), rng=0, n_threads=1)
    for name in one.parameters:
        assert_array_equal(one.parameters[name], other.parameters[name])
    assert list(other.distribution) == list(range(8))


def tables(X):
    import pandas as pd

    frame = pd.DataFrame(X, columns=NAMES)
    frame["region"] = frame["region"].map({0.0: "east", 1.0: "north", 2.0: "west"})
    return frame


def test_text_and_other_sources(tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    import polars as pl

    X, _ = rows(900)
    frame = tables(X)
    model = fastem.fit(frame, 2, distribution=KINDS, rng=0)
    assert model.feature_names == tuple(NAMES)
    assert list(model.categories[3]) == ["east", "north", "west"]
    assert model.categories[0] is None
    numbers = fastem.fit(X, 2, distribution=dict(enumerate(KINDS.values())), rng=0)
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    sources = [
        frame,
        pl.DataFrame(frame.to_dict(orient="list")),
        path,
        [frame[:100], frame[100:]],
        dd.from_pandas(frame, npartitions=3),
    ]
    for source in sources:
        other = fastem.fit(source, 2, distribution=KINDS, rng=0)
        lazy = type(source).__module__.startswith("dask")
        for name in model.parameters:
            tolerance = 1e-7 if lazy else 0
            assert_allclose(other.parameters[name], numbers.parameters[name], rtol=tolerance, err_msg=name)
        labels = other.predict(source)
        if not isinstance(source, (list, type(path))):
            assert_array_equal(np.asarray(labels), numbers.predict(X))


def test_steps_statistics_and_files(tmp_path):
    X, _ = rows(900)
    model = mixture()
    whole = fastem.e_step(X, model)
    parts = fastem.e_step(X[:301], model) + fastem.e_step(X[301:], model)
    for name, value in whole.sums().items():
        assert_allclose(parts.sums()[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
    assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-12)
    again = type(whole).from_bytes(whole.to_bytes())
    one, two = fastem.m_step(whole), fastem.m_step(again)
    for name in one.parameters:
        assert_array_equal(one.parameters[name], two.parameters[name])
    model.save(tmp_path / "model.npz")
    for read in (fastem.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))):
        assert read.distribution == KINDS
        assert_array_equal(read.predict_proba(X), model.predict_proba(X))
        assert read.feature_names == tuple(NAMES)
    fitted = fastem.fit(X, 2, distribution=dict(enumerate(KINDS.values())), init="k-means++", rng=0)
    fitted.save(tmp_path / "model.npz")
    assert_array_equal(fastem.load(tmp_path / "model.npz").predict(X), fitted.predict(X))


def test_online():
    model = None
    for seed in range(10):
        X, _ = rows(2000, seed)
        model = fastem.partial_fit(model, X, k=2, distribution=dict(enumerate(KINDS.values())), rng=0)
    order = np.argsort(model.parameters["poisson_rates"][:, 0])
    assert_allclose(model.parameters["poisson_rates"][order], [[1], [4]], rtol=0.1)
    assert_allclose(model.parameters["gaussian_means"][order], truth()["gaussian_means"], rtol=0.05)


def test_labels_and_hard_assignment():
    X, labels = rows()
    known = np.where(np.arange(len(X)) < 50, 1 - labels, -1)
    kinds = dict(enumerate(KINDS.values()))
    soft = fastem.fit(X, 2, distribution=kinds, labels=known, rng=0)
    assert np.mean(soft.predict(X) == 1 - labels) > 0.9
    hard = fastem.fit(X, 2, distribution=kinds, labels=known, assignment="hard", rng=0)
    assert np.mean(hard.predict(X) == 1 - labels) > 0.9
    assert np.diff(hard.report.history).min() > -1e-8


WRONG = {
    "missing": ({"region": "categorical"}, ValueError, r"lacks \['age'"),
    "unknown": (KINDS | {"height": "gaussian"}, ValueError, "got 'height'"),
    "twice": (KINDS | {0: "gaussian"}, ValueError, "column 0 is there twice"),
    "number": (dict.fromkeys(range(1, 9), "categorical"), ValueError, "from 0 to 7; got 8"),
    "kind": (KINDS | {"age": "student"}, ValueError, "distribution of column 'age' must be one of"),
    "key": ({1.5: "gaussian"}, TypeError, "names or numbers of columns"),
    "empty": ({}, ValueError, "got an empty one"),
    "text": (
        KINDS | {"region": "poisson", "smokes": "categorical"},
        TypeError,
        "column 'region' for \"poisson\"; it holds text",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_columns_are_errors(kind):
    distribution, error, message = WRONG[kind]
    with pytest.raises(error, match=message):
        fastem.fit(tables(rows(50)[0]), 2, distribution=distribution)


def test_other_mistakes():
    X, _ = rows(50)
    kinds = dict(enumerate(KINDS.values()))
    with pytest.raises(ValueError, match="which has columns without names"):
        fastem.fit(X, 2, distribution=KINDS)
    with pytest.raises(ValueError, match='unless a column is "gaussian"'):
        fastem.fit(X[:, [1]], 2, distribution={0: "bernoulli"}, covariance_type="full")
    bad = X.copy()
    bad[7, 2] = -1
    with pytest.raises(ValueError, match="row 7, column 2 is -1"):
        fastem.fit(bad, 2, distribution=kinds)
    bad = X.copy()
    bad[9, 1] = 2
    with pytest.raises(ValueError, match="row 9, column 1 is 2"):
        fastem.fit(bad, 2, distribution=kinds)
    bad = X.copy()
    bad[9, 5] = np.nan
    with pytest.raises(ValueError, match="row 9, column 5 is nan"):
        fastem.fit(bad, 2, distribution=kinds)
    bad = X.copy()
    bad[3, 3] = 17
    with pytest.raises(ValueError, match="row 3, column 3 is 17"):
        mixture().predict(bad)
    with pytest.raises(ValueError, match="gaussian_covariances"):
        mixture(truth() | {"gaussian_covariances": [[1.0, -1.0], [1.0, 1.0]]})


def test_an_impossible_row():
    parameters = {"bernoulli_probabilities": [[1.0], [1.0]], "poisson_rates": [[1.0], [2.0]]}
    model = fastem.Mixture([0.5, 0.5], parameters, {"smokes": "bernoulli", "visits": "poisson"})
    X = [[0, 1], [1, 1]]
    assert model.score_samples(X)[0] == -np.inf
    assert np.isfinite(model.score_samples(X)[1])
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_the_kinds_of_a_model_cannot_be_changed():
    model = mixture()
    model.distribution["age"] = "gamma"
    assert model.distribution == KINDS


def test_what_a_mixture_must_be_given():
    with pytest.raises(ValueError, match="parameters must have the names"):
        mixture({name: values for name, values in truth().items() if name != "categorical_probabilities"})
    for categories in (5, [None], "region"):
        with pytest.raises(ValueError, match="categories must have an entry for each column, 8"):
            mixture(categories=categories)


def test_a_file_without_its_columns(tmp_path):
    mixture().save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        members = {name: archive[name] for name in archive.files}
    changes = [{name: None} for name in members if name.startswith("state/") and " " not in name]
    changes += [{"state/kinds": np.full(8, "normal")}, {"state/keys": np.array(["age"])}]
    changes += [{"state/covariance_type": np.array(["round"])}]
    assert len(changes) == 7
    for change in changes:
        kept = {name: array for name, array in (members | change).items() if array is not None}
        np.savez(tmp_path / "bad.npz", **kept)
        with pytest.raises(ValueError, match="does not hold a valid model"):
            fastem.load(tmp_path / "bad.npz")


def test_a_row_far_out_has_a_finite_density():
    parameters = {"gaussian_means": [[0.0]], "gaussian_covariances": [[1.0]], "poisson_rates": [[1.0]]}
    model = fastem.Mixture([1.0], parameters, {0: "gaussian", 1: "poisson"})
    assert model.score_samples([[1e17, 1.0]])[0] == pytest.approx(-5e33)
