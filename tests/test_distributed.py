"""Fits on a cluster of processes. A loss costs only time, or ends the fit but leaves the last parameters."""

import os
import subprocess
import sys

import numpy as np
import pytest
from problems import clusters

import fastem

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow  # starting workers alone takes seconds

X = clusters(0, 12_000, 3, 3)
ROWS = (1_000, 3_000, 0, 2_000, 2_500, 3_500)
OPTIONS = {"rng": 0, "tol": 0, "max_iter": 6}


def bits(model):
    return b"".join(part.tobytes() for part in (model.weights, model.means, np.array(model.report.history)))


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options, silence_logs="CRITICAL") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def array(read=None):
    rows = da.from_array(X, chunks=(ROWS, 3))
    return rows if read is None else rows.map_blocks(read, meta=X[:0])


class DiesOnce:
    """Ends the process of the worker that reads block 3, if a certain file exists."""

    def __init__(self, path):
        self.path = path

    def __call__(self, rows, block_id):
        if block_id[0] == 3 and self.path.exists():
            self.path.unlink()
            os._exit(1)
        return rows


class Fails:
    """Fails to read block 3 as many times as the number in a file, and counts that number down."""

    def __init__(self, path):
        self.path = path

    def __call__(self, rows, block_id):
        if block_id[0] == 3 and self.path.exists() and (left := int(self.path.read_text())) > 0:
            self.path.write_text(str(left - 1))
            raise OSError("disk on fire")
        return rows


def test_a_killed_worker_changes_no_bit(client, tmp_path):
    rows = array(DiesOnce(tmp_path / "die"))
    expected = fastem.fit(array(), 3, **OPTIONS)  # without a client this would run in threads
    pids = client.run(os.getpid)

    def callback(iteration, log_likelihood, model):
        if iteration == 2:
            (tmp_path / "die").touch()

    assert bits(fastem.fit(rows, 3, callback=callback, **OPTIONS)) == bits(expected)
    assert not (tmp_path / "die").exists()
    client.wait_for_workers(2)
    assert client.run(os.getpid) != pids


def test_a_killed_worker_with_blocks_in_its_memory_changes_no_bit(client):
    rows = array().persist()
    distributed.wait(rows)
    expected = fastem.fit(rows, 3, **OPTIONS)

    def callback(iteration, log_likelihood, model):
        if iteration == 2:
            (address, *_) = client.scheduler_info()["workers"]
            client.run(lambda: os.kill(os.getpid(), 9), workers=[address], on_error="ignore")

    assert bits(fastem.fit(rows, 3, callback=callback, **OPTIONS)) == bits(expected)


def test_the_cluster_gives_the_bits_of_threads(client):
    with client.as_current():
        cluster = fastem.fit(array(), 3, **OPTIONS)
    import dask

    with dask.config.set(scheduler="threads"):
        threads = fastem.fit(array(), 3, **OPTIONS)
    assert bits(cluster) == bits(threads)


def test_a_block_that_fails_a_few_times_is_tried_again(client, tmp_path):
    path = tmp_path / "left"
    path.write_text("3")
    assert fastem.fit(array(Fails(path)), 3, **OPTIONS).report.n_iter == 6
    assert path.read_text() == "0"


def test_a_block_that_fails_for_good_is_named_after_bounded_retries(client, tmp_path):
    path = tmp_path / "left"

    def callback(iteration, log_likelihood, model):
        if iteration == 2:
            path.write_text("100")

    rows = array(Fails(path))
    with pytest.raises(fastem.FitInterrupted, match=r"Block 3 of X failed \(OSError: disk on fire") as caught:
        fastem.fit(rows, 3, callback=callback, **OPTIONS)
    assert 100 - int(path.read_text()) <= 16  # one pass and three passes over halves, with four attempts each
    path.unlink()
    resumed = fastem.fit(rows, 3, init=caught.value.model, tol=0, max_iter=3)
    assert resumed.report.log_likelihood == pytest.approx(
        fastem.fit(rows, 3, **OPTIONS).report.log_likelihood, rel=1e-12
    )


def test_a_block_that_ends_every_worker_is_an_error(client):
    def read(rows, block_id):
        if block_id[0] == 3:
            os._exit(1)
        return rows

    with pytest.raises(RuntimeError, match=r"A block of X killed the workers that computed it .*, 3, 0"):
        fastem.fit(array(read), 3)


def test_scores_are_computed_by_the_workers(client):
    model = fastem.fit(X, 3, rng=0, max_iter=1, tol=0)
    np.testing.assert_array_equal(model.predict(array()).compute(), model.predict(X))
    assert model.score(array()) == pytest.approx(model.score(X), rel=1e-12)


@pytest.fixture
def remote_scheduler(tmp_path):
    """The process of a scheduler with one worker, and a client connected to it."""
    file = tmp_path / "scheduler.json"
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    start = lambda name, *more: subprocess.Popen(  # noqa: E731
        [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, *more], stderr=subprocess.DEVNULL
    )
    scheduler = start("scheduler", "--port", "0")
    worker = start("worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60")
    try:
        with distributed.Client(scheduler_file=str(file), timeout="2s", set_as_default=True) as client:
            client.wait_for_workers(1, timeout=60)
            yield scheduler
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_a_lost_scheduler_leaves_the_last_parameters(remote_scheduler):
    def callback(iteration, log_likelihood, model):
        seen.append(model)
        if iteration == 3:
            remote_scheduler.kill()

    seen = []
    with pytest.raises(fastem.FitInterrupted, match="The dask scheduler was lost") as caught:
        fastem.fit(array(), 3, callback=callback, **OPTIONS)
    last = caught.value.model
    assert not np.array_equal(last.means, seen[3].means)
    resumed = fastem.fit(X, 3, init=last, tol=0, max_iter=2)
    expected = fastem.fit(X, 3, **OPTIONS)
    np.testing.assert_allclose(resumed.means, expected.means, rtol=1e-9)
