"""What is kept when a fit is interrupted by Ctrl-C."""

import pickle
import sys
import threading

import numpy as np
import pytest
from distributions import Poisson
from problems import clusters
from subprocesses import run_script

import fastem

X = clusters(0, 2_000, 3, 3)
START = fastem.GaussianMixture(np.full(3, 1 / 3), X[:3], [np.eye(3)] * 3)


def interrupted_at(passes, seen):
    """A callback that raises KeyboardInterrupt at the given pass, and keeps what it has seen."""

    def callback(iteration, value, model):
        seen.append((value, model))
        if len(seen) == passes:
            raise KeyboardInterrupt

    return callback


def interrupt(fit, passes=4, **options):
    seen = []
    with pytest.raises(fastem.FitInterrupted) as caught:
        fit(callback=interrupted_at(passes, seen), **options)
    return caught.value, seen


def parameters_of(model):
    return [np.asarray(array).tobytes() for array in (model.weights, *model.parameters.values())]


def chunks():
    yield from np.array_split(X, 3)


def counts():
    return np.abs(X).round()


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (X, {}),
        (chunks, {}),
        (X, {"assignment": "hard", "init": "k-means++"}),
        (X, {"progress": True, "n_init": 2}),
        (X, {"distribution": "student", "init": "k-means++"}),
        (counts(), {"distribution": Poisson(), "init": "k-means++"}),
    ],
    ids=["array", "chunks", "hard", "bar", "student", "own"],
)
def test_an_interrupted_fit_carries_its_last_model_and_goes_on_from_it(rows, options):
    options = {"rng": 0, "tol": 0, "init": START, "acceleration": None, **options}
    error, seen = interrupt(lambda **more: fastem.fit(rows, 3, max_iter=9, **options, **more))
    assert isinstance(error, KeyboardInterrupt)
    assert not isinstance(error, Exception)
    assert parameters_of(error.model) == parameters_of(seen[-1][1])
    assert error.selection is None
    assert "fit(X, k, init=error.model)" in str(error)
    options |= {"init": error.model, "progress": False}
    resumed = fastem.fit(rows, 3, max_iter=6, **options)
    whole = fastem.fit(rows, 3, max_iter=9, **options | {"init": seen[0][1]})
    assert resumed.report.log_likelihood == pytest.approx(whole.report.log_likelihood, rel=1e-9)


def test_dask_and_parquet_too(tmp_path):
    da, pa, pq = (pytest.importorskip(name) for name in ("dask.array", "pyarrow", "pyarrow.parquet"))
    pq.write_table(pa.table(dict(zip("abc", X.T.copy(), strict=True))), tmp_path / "X.parquet")
    for rows in (da.from_array(X, chunks=(700, 3)), tmp_path / "X.parquet"):
        error, seen = interrupt(lambda X=rows, **more: fastem.fit(X, 3, init=START, tol=0, **more))
        assert parameters_of(error.model) == parameters_of(seen[-1][1])
    assert error.model.feature_names == ("a", "b", "c")


def test_the_better_of_the_running_start_and_those_before_it_is_kept():
    """The first start ends at the best, and the second is interrupted in its first pass."""
    options = {"init": "random", "n_init": 2, "rng": 0, "max_iter": 5, "tol": 0, "acceleration": None}
    error, seen = interrupt(lambda **more: fastem.fit(X, 3, **options, **more), passes=7)
    values = [value for value, _ in seen]
    assert values[6] < values[5]
    assert parameters_of(error.model) == parameters_of(seen[5][1])


def test_an_interrupt_before_there_is_a_model_keeps_nothing(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastem._em.objective.Likelihood, "e_step", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        fastem.fit(X, 3, init=START)
    assert type(caught.value) is KeyboardInterrupt


def test_k_means_keeps_its_centers():
    error, seen = interrupt(lambda **more: fastem.kmeans(X, 3, init=X[:3], tol=0, **more), passes=2)
    assert isinstance(error, KeyboardInterrupt)
    np.testing.assert_array_equal(error.model.centers, seen[-1][1].centers)
    assert "kmeans(X, k, init=error.model)" in str(error)


def test_the_error_survives_pickle():
    error, _ = interrupt(lambda **more: fastem.fit(X, 3, init=START, tol=0, **more))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert parameters_of(copy.model) == parameters_of(error.model)


def test_a_search_of_scikit_learn_stops(monkeypatch):
    """It goes on after an Exception."""
    search = pytest.importorskip("sklearn.model_selection")
    from fastem.sklearn import GaussianMixture

    fits = []

    def interrupted(*_):
        fits.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(fastem._sources.moments, "run_slots", interrupted)
    grid = search.GridSearchCV(GaussianMixture(), {"n_components": [1, 2]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        grid.fit(X)
    assert len(fits) == 1


def test_an_interrupt_while_a_reader_starts_waits_for_it(monkeypatch):
    """The executor does not know of a thread whose start was interrupted, so it does not wait for it."""
    reading, closed = threading.Event(), []

    def slow():
        try:
            for part in np.array_split(X, 3):
                reading.set()
                threading.Event().wait(0.05)
                yield part
        finally:
            closed.append(1)

    fastem.fit(slow, 3, init=START, max_iter=1, tol=0)
    passes, start = [], threading.Thread.start

    def interrupted(thread):
        reading.clear()
        start(thread)
        if thread.name.startswith("fastem-reader"):
            passes.append(1)
            if len(passes) == 3:
                reading.wait()
                raise KeyboardInterrupt

    before = len(closed)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(fastem.FitInterrupted) as caught:
        fastem.fit(slow, 3, init=START, max_iter=9, tol=0)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert len(closed) - before == 4  # the first looks at the first chunk only


SIGNAL = """
import os, signal, threading, numpy as np, fastem
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
X = rng.normal(size=(20_000, 3)) + 5 * rng.integers(3, size=(20_000, 1))
chunks = lambda: iter(np.array_split(X, 5))
begun = threading.Event()
def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
for rows in (X, chunks):
    begun.clear()
    thread = threading.Thread(target=interrupt)
    thread.start()
    watch = lambda iteration, *_: iteration == 5 and begun.set()
    try:
        fastem.fit(rows, 3, init="k-means++", rng=0, tol=0, max_iter=10**6, callback=watch)
    except Exception:
        raise SystemExit("taken for an ordinary error")
    except KeyboardInterrupt as error:
        done = fastem.fit(rows, 3, init=error.model)
        print(done.report.status.name, done.n_components)
    thread.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill is something else")
def test_a_real_signal():
    assert run_script(SIGNAL).split() == ["CONVERGED", "3"] * 2


def test_an_error_within_a_start_is_told_as_it_is(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("fastem._families.floor.spread_of", broken)
    with pytest.raises(ZeroDivisionError, match="broken"):
        fastem.fit(X, 3, covariance_type="VEI", rng=0)
