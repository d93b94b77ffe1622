"""`fastem.accelerate`: scikit-learn's class computes with fastem while a block is open."""

import logging
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import sklearn
from problems import TYPES, clusters
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

import fastem
from fastem.__main__ import main
from fastem._sklearn import accelerate as _accelerate
from fastem._sklearn import drop_in as _drop_in

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture
def calls(monkeypatch):
    """A list with the arguments of each fit that fastem made."""
    made = []
    original = _drop_in.estimate

    def estimate(*args, **kwargs):
        made.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(_drop_in, "estimate", estimate)
    return made


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_class_imported_before_is_accelerated(covariance_type, iris, calls):
    expected = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
    assert not calls
    with fastem.accelerate():
        model = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(iris)
        labels, score = model.predict(iris), model.score(iris)
    assert len(calls) == 1
    assert set(vars(model)) == set(vars(expected))
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-6)
    np.testing.assert_array_equal(labels, expected.predict(iris))
    assert score == pytest.approx(expected.score(iris))


def test_leaving_restores_the_class_even_after_an_error(iris, calls):
    before = dict(vars(GaussianMixture))
    with pytest.raises(ZeroDivisionError), fastem.accelerate(), fastem.accelerate():
        raise ZeroDivisionError
    assert dict(vars(GaussianMixture)) == before
    GaussianMixture(2, random_state=0).fit(iris)
    assert not calls


def test_blocks_may_overlap_in_threads(iris, calls):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with fastem.accelerate():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with fastem.accelerate():
        thread.start()
        assert entered.wait(60)
    GaussianMixture(2, random_state=0).fit(iris)
    leave.set()
    thread.join()
    GaussianMixture(2, random_state=0).fit(iris)
    assert len(calls) == 1


@pytest.mark.slow
def test_what_is_pickled_inside_needs_no_fastem(iris, tmp_path):
    with fastem.accelerate():
        model = GaussianMixture(3, random_state=0).fit(iris)
        (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", iris)
    script = (
        "import sys, pickle, numpy; sys.modules['fastem'] = None;"
        "model = pickle.load(open('model.pickle', 'rb'));"
        "print(type(model).__module__, *model.predict(numpy.load('X.npy')))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    module, *labels = done.stdout.split()
    assert module == "sklearn.mixture._gaussian_mixture"
    np.testing.assert_array_equal([int(label) for label in labels], model.predict(iris))


def test_a_subclass_is_left_to_scikit_learn_and_told_once(iris, calls, caplog):
    steps = []

    class Watched(GaussianMixture):
        def _m_step(self, X, log_resp, **options):
            steps.append(1)
            super()._m_step(X, log_resp, **options)

    with fastem.accelerate(), caplog.at_level(logging.WARNING, "fastem"):
        for _ in range(2):
            Watched(2, random_state=0).fit(iris).predict(iris)
    assert steps
    assert not calls
    assert len(caplog.messages) == 1
    assert "Watched is a subclass" in caplog.messages[0]


def test_an_object_with_a_step_of_its_own_is_left_to_scikit_learn(iris, calls, caplog):
    model = GaussianMixture(2, random_state=0)
    steps, original = [], model._m_step

    def m_step(*args, **kwargs):
        steps.append(1)
        return original(*args, **kwargs)

    model._m_step = m_step
    with fastem.accelerate(), caplog.at_level(logging.WARNING, "fastem"):
        model.fit(iris).predict(iris)
    assert steps
    assert not calls
    assert len(caplog.messages) == 1
    assert "_m_step of this object" in caplog.messages[0]


def test_arrays_of_other_libraries_are_left_to_scikit_learn(monkeypatch):
    estimator = GaussianMixture()
    monkeypatch.setattr(sklearn, "get_config", lambda: {"array_api_dispatch": True})
    assert "array API dispatch" in _accelerate._obstacle(GaussianMixture, estimator, [[0.0]])
    assert _accelerate._obstacle(GaussianMixture, estimator, np.zeros((1, 1))) is None


def test_bayesian_mixtures_are_accelerated_and_given_back(iris, calls):
    before = dict(vars(BayesianGaussianMixture))
    expected = BayesianGaussianMixture(n_components=3, random_state=0).fit(iris)
    with fastem.accelerate():
        model = BayesianGaussianMixture(n_components=3, random_state=0).fit(iris)
        probabilities = model.predict_proba(iris)
    assert len(calls) == 1
    assert dict(vars(BayesianGaussianMixture)) == before
    assert set(vars(model)) == set(vars(expected))
    np.testing.assert_allclose(model.means_, expected.means_, rtol=1e-6)
    np.testing.assert_allclose(probabilities, expected.predict_proba(iris), atol=1e-6)


def test_an_untested_version_is_warned_about(monkeypatch, iris):
    monkeypatch.setattr(sklearn, "__version__", "1.99.dev0")
    message = r"tested with scikit-learn 1\.6 to 1\.9; this is 1\.99"
    with pytest.warns(RuntimeWarning, match=message) as caught, fastem.accelerate():
        pass
    assert caught[0].filename == __file__


def test_a_script_from_the_command_line(tmp_path, capsys, monkeypatch, calls):
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "beside.py").write_text("from sklearn.mixture import GaussianMixture\n")
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from beside import GaussianMixture\n"
        "GaussianMixture(1).fit([[0.0], [1.0]])\n"
        "print(__name__, sys.argv[1:])\n"
    )
    assert main(["accelerate", str(tmp_path / "script.py"), "--option", "3"]) == 0
    assert capsys.readouterr().out == "__main__ ['--option', '3']\n"
    assert len(calls) == 1


def test_errors_of_a_script_are_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    monkeypatch.setattr(sys, "path", sys.path[:])
    script = tmp_path / "script.py"
    script.write_text("raise ValueError('mine')\n")
    with pytest.raises(SystemExit) as stopped:
        main(["accelerate", str(script)])
    assert stopped.value.code == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["accelerate", str(tmp_path / "nothing.py")]) == 1
    assert "SCRIPT must be a Python file" in capsys.readouterr().err


# --- a library that fits mixtures internally


def run_scikit_lego(X, y):
    from sklego.mixture import GMMClassifier, GMMOutlierDetector

    began = time.process_time()  # CPU time, since the machine may be busy
    classifier = GMMClassifier(n_components=4, random_state=0).fit(X, y)
    detector = GMMOutlierDetector(threshold=0.95, n_components=4, random_state=0).fit(X)
    results = {
        "classes": classifier.predict(X),
        "probabilities": classifier.predict_proba(X),
        "outliers": detector.predict(X),
        "decisions": detector.decision_function(X),
    }
    return results, time.process_time() - began


@pytest.mark.slow
@pytest.mark.slow
def test_scikit_lego_runs_unchanged_and_faster(calls):
    pytest.importorskip("sklego")
    X = clusters(11, 40_000, 8, 6)
    y = (X[:, 0] > X[:, 1]).astype(int)
    expected, slow = run_scikit_lego(X, y)
    assert not calls
    with fastem.accelerate():
        run_scikit_lego(X, y)  # the first run compiles
        runs = [run_scikit_lego(X, y) for _ in range(3)]
    assert len(calls) == 12
    accelerated, fast = min(runs, key=lambda run: run[1])
    for name, value in expected.items():
        np.testing.assert_allclose(accelerated[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    assert 1.5 * fast < slow
