"""Conversion of models to scikit-learn's class and back."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from problems import TYPES, clusters, random_model
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Theirs

import fastem

ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_round_trip_is_exact(covariance_type):
    model = random_model(1, covariance_type, 3, 4)
    again = fastem.GaussianMixture.from_sklearn(model.to_sklearn())
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    assert again.covariance_type == covariance_type


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_round_trip_from_scikit_learn_is_exact(covariance_type, iris):
    theirs = Theirs(3, covariance_type=covariance_type, random_state=0, max_iter=500).fit(iris)
    again = fastem.GaussianMixture.from_sklearn(theirs).to_sklearn()
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(again, name), getattr(theirs, name))
    np.testing.assert_array_equal(again.predict(iris), theirs.predict(iris))
    assert type(again) is Theirs


def test_the_copy_is_fitted_and_writeable(iris):
    model = fastem.fit(iris, 3, rng=0)
    theirs = model.to_sklearn()
    assert (theirs.converged_, theirs.n_iter_) == (True, model.report.n_iter)
    theirs.means_ += 1
    assert theirs.score(iris + 1) == pytest.approx(model.score(iris))
    assert theirs.set_params(warm_start=True, max_iter=500).fit(iris).converged_


def test_other_things_are_refused(iris):
    with pytest.raises(TypeError, match=r"must be a sklearn\.mixture\.GaussianMixture"):
        fastem.GaussianMixture.from_sklearn(BayesianGaussianMixture(n_components=2, random_state=0).fit(iris))
    with pytest.raises(ValueError, match="must be fitted"):
        fastem.GaussianMixture.from_sklearn(Theirs(2))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_onnx(covariance_type):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        skl2onnx = pytest.importorskip("skl2onnx")
        onnxruntime = pytest.importorskip("onnxruntime")
        X = clusters(2, 500, 3, 3, np.float32)
        model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
        graph = skl2onnx.to_onnx(model.to_sklearn(), X[:1])
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        labels, probabilities = session.run(None, {"X": X})[:2]
    assert (labels.ravel() == model.predict(X)).mean() > 0.99
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-2)


def test_skops(tmp_path, iris):
    io = pytest.importorskip("skops.io")
    model = fastem.fit(iris, 3, rng=0)
    io.dump(model.to_sklearn(), tmp_path / "model.skops")
    again = fastem.GaussianMixture.from_sklearn(io.load(tmp_path / "model.skops"))
    np.testing.assert_array_equal(again.covariances, model.covariances)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use", ["import fastem.sklearn", "import fastem; fastem.accelerate().__enter__()"], ids=["import", "with"]
)
def test_without_scikit_learn_the_error_says_what_to_install(use):
    script = f"import sys; sys.modules['sklearn'] = None; {use}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "scikit-learn: pip install scikit-learn" in done.stderr.splitlines()[-1]
