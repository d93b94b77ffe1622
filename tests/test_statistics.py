"""The mergeable statistics, and an EM loop written with them."""

import copy
import io
import itertools
import pickle
import zipfile

import numpy as np
import pytest
from problems import TYPES, clusters, random_model

import fastem


def assert_same(actual, expected, tolerance=1e-11):
    for name in ("weights", "first", "scatter"):
        value = expected.sums()[name]
        np.testing.assert_allclose(
            actual.sums()[name],
            value,
            rtol=tolerance,
            atol=tolerance * (1 + np.abs(value).max()),
            err_msg=name,
        )
    assert actual.log_likelihood == pytest.approx(expected.log_likelihood, rel=tolerance, abs=tolerance)
    assert actual.n_samples == expected.n_samples


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_chunks_add_up_to_one_pass(covariance_type, weighted):
    model = random_model(0, covariance_type, 3, 4)
    X = clusters(1, 5000, 4, 3)
    weight = np.random.default_rng(0).uniform(0, 2, len(X)) if weighted else None
    cuts = [0, 1, 700, 701, 3333, 5000]
    chunks = [
        fastem.e_step(X[a:b], model, None if weight is None else weight[a:b])
        for a, b in itertools.pairwise(cuts)
    ]
    assert_same(sum(chunks), fastem.e_step(X, model, weight))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_em_by_hand_is_the_fit(covariance_type):
    X = clusters(2, 3000, 3, 3)
    model = fastem.fit(X, 3, covariance_type=covariance_type, max_iter=0, rng=0)
    fitted = fastem.fit(
        X, 3, covariance_type=covariance_type, init=model, tol=0, max_iter=12, acceleration=None
    )
    for _ in range(12):
        model = fastem.m_step(fastem.e_step(X, model))
    np.testing.assert_allclose(model.weights, fitted.weights, rtol=1e-9)
    np.testing.assert_allclose(model.means, fitted.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.covariances, fitted.covariances, rtol=1e-9, atol=1e-9)


def test_the_log_likelihood_is_that_of_the_model():
    model = random_model(0, "full", 3, 4)
    X = clusters(1, 1000, 4, 3)
    assert fastem.e_step(X, model).log_likelihood == pytest.approx(1000 * model.score(X), rel=1e-12)
    assert fastem.e_step(X, model).total_weight == pytest.approx(1000)


def test_statistics_about_other_parameters_do_not_add():
    X = clusters(1, 100, 2, 3)
    one, other = (fastem.e_step(X, random_model(seed, "full", 3, 2)) for seed in (0, 1))
    with pytest.raises(ValueError, match="same parameters"):
        one + other
    with pytest.raises(ValueError, match="same parameters"):
        one + fastem.e_step(X.astype(np.float32), random_model(0, "full", 3, 2))
    with pytest.raises(ValueError, match="same parameters"):
        one + fastem.e_step(X, random_model(0, "diag", 3, 2))
    with pytest.raises(TypeError):
        one + 1
    with pytest.raises(TypeError):
        1 + one


def test_equal_models_are_the_same_parameters():
    X = clusters(1, 100, 2, 3)
    one, other = (fastem.e_step(X, random_model(0, "full", 3, 2)) for _ in range(2))
    assert (one + other).n_samples == 200


CLONES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
    "bytes": lambda s: fastem.Statistics.from_bytes(s.to_bytes()),
}


@pytest.mark.parametrize("clone", CLONES.values(), ids=CLONES)
def test_statistics_survive_copying(clone):
    X = clusters(1, 100, 2, 3)
    statistics = fastem.e_step(X, random_model(0, "tied", 3, 2))
    assert_same(clone(statistics) + statistics, statistics + statistics, 0)


def test_the_pooled_scatter_does_not_cancel():
    """The clusters are ten million deviations apart. X'X minus the part of the means has no digits left."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 400)
    noise = rng.normal(size=(1200, 3))
    X = noise + 1e7 * np.eye(3)[labels]
    model = fastem.fit(X, 3, covariance_type="tied", init=labels, max_iter=5, tol=0, reg_covar=0)
    centred = np.concatenate([X[labels == k] - X[labels == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(model.covariances, centred.T @ centred / 1200, rtol=1e-6, atol=1e-6)


def test_m_step_checks_its_arguments():
    statistics = fastem.e_step(clusters(1, 100, 2, 3), random_model(0, "full", 3, 2))
    with pytest.raises(TypeError, match="statistics must be made by"):
        fastem.m_step("stats")
    with pytest.raises(ValueError, match="reg_covar must be"):
        fastem.m_step(statistics, reg_covar=-1)
    with pytest.raises(TypeError, match="model must be a"):
        fastem.e_step(clusters(1, 100, 2, 3), "model")


def test_repr_tells_sizes():
    text = repr(fastem.e_step(clusters(1, 100, 2, 3), random_model(0, "full", 3, 2)))
    assert "n_samples=100" in text
    assert "n_components=3" in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_bytes_are_exact_and_know_their_parameters(covariance_type, dtype):
    X = clusters(1, 100, 2, 3, dtype)
    one, other = (fastem.e_step(X, random_model(seed, covariance_type, 3, 2)) for seed in (0, 1))
    there = fastem.Statistics.from_bytes(one.to_bytes())
    assert_same(there, one, 0)
    assert_same(there + one, one + one, 0)
    np.testing.assert_array_equal(fastem.m_step(there).covariances, fastem.m_step(one).covariances)
    with pytest.raises(ValueError, match="same parameters"):
        there + other


def test_bytes_keep_the_names_of_the_columns():
    model = random_model(0, "full", 3, 2)
    named = fastem.GaussianMixture(model.weights, model.means, model.covariances, feature_names=["a", "b"])
    statistics = fastem.e_step(clusters(1, 100, 2, 3), named)
    there = fastem.Statistics.from_bytes(statistics.to_bytes())
    assert fastem.m_step(there).feature_names == ("a", "b")


def test_bytes_that_are_none_of_ours():
    content = fastem.e_step(clusters(1, 100, 2, 3), random_model(0, "full", 3, 2)).to_bytes()
    for other in (b"", b"nonsense", content[:-50], content[100:], pickle.dumps({"a": 1})):
        with pytest.raises(ValueError, match="not readable fastem statistics"):
            fastem.Statistics.from_bytes(other)
    for old, new, reason in (
        (b'"statistics_format": 2', b'"statistics_format": 9', "it has format 9, .* upgrade"),
        (b'"dtype": "float64"', b'"dtype": "float16"', "its header"),
        (b'"family": "full"', b'"family": "diag"', "scatter is not a finite"),
    ):
        assert old in content
        with pytest.raises(ValueError, match="not readable fastem statistics: " + reason):
            fastem.Statistics.from_bytes(resealed(content, old, new))


def resealed(content, old, new):
    """The archive with other bytes in its header, and with matching checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as copied:
        for name in archive.namelist():
            copied.writestr(name, archive.read(name).replace(old, new))
    return out.getvalue()
