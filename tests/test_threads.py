"""Threads that share work: late ones, errors, interrupts, forks, and numba's setting."""

import gc
import os
import signal
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from small_kernels import allocate_slot
from subprocesses import run_script

from fastem._kernels import _threads
from fastem._kernels._parallel import run_slots
from fastem._kernels._threads import share

compiled_only = pytest.mark.skipif(bool(_threads.numba.config.DISABLE_JIT), reason="numba is not used")


@pytest.fixture
def pool(monkeypatch):
    """A pool of seven threads, however many numba would start."""
    monkeypatch.setattr(_threads.numba.config, "NUMBA_NUM_THREADS", 8)
    monkeypatch.setattr(_threads, "_pool", _threads._Pool())


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_all_workers_run_at_the_same_time_if_the_work_is_long(pool, workers):
    together, seen = threading.Barrier(workers), []

    def run(worker):
        seen.append(worker)
        together.wait(timeout=60)

    share(run, workers)
    assert sorted(seen) == list(range(workers))


def test_short_work_waits_for_nobody(pool):
    begun, entered, release = [], threading.Barrier(9), threading.Event()

    def run(_):
        entered.wait(timeout=60)
        release.wait(timeout=60)

    keep_busy = threading.Thread(target=share, args=(run, 8))
    keep_busy.start()
    entered.wait(timeout=60)
    share(begun.append, 8)  # the others have other work, and never begin
    release.set()
    keep_busy.join()
    assert begun == [0]


@pytest.mark.parametrize("wrong", [[0], [3], [0, 3]])
def test_an_error_is_raised_when_all_others_have_ended(pool, wrong):
    together, running = threading.Barrier(8), set(range(8))

    def run(worker):
        together.wait(timeout=60)
        if worker in wrong:
            running.remove(worker)
            raise MemoryError(f"of worker {worker}")
        time.sleep(0.02)
        running.remove(worker)

    with pytest.raises(MemoryError, match=f"of worker {wrong[0]}"):
        share(run, 8)
    assert not running


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise")
@pytest.mark.parametrize("interrupts", [1, 3])
@pytest.mark.parametrize("computing", [0, 0.15])
def test_interrupts_are_raised_when_no_thread_computes_any_more(pool, interrupts, computing):
    """They arrive while the first worker computes, or while it waits for the others."""
    running, together = set(range(8)), threading.Barrier(8)
    main, before = threading.main_thread().ident, signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(worker):
        together.wait(timeout=60)
        if worker == 1:
            for _ in range(interrupts):
                time.sleep(0.03)
                signal.pthread_kill(main, signal.SIGINT)
        time.sleep(computing if worker == 0 else 0.15)
        running.remove(worker)

    try:
        with pytest.raises(KeyboardInterrupt):
            share(run, 8)
        assert not running - {0}
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_a_signal_handler_may_share_work_of_its_own_anywhere(pool):
    done, handled = [], []

    def handle(*_):
        share(handled.append, 8)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        for _ in range(5000):
            share(done.append, 8)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done.count(0) == 5000
    assert 0 in handled


def test_if_the_system_gives_no_threads_the_caller_does_all(pool, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    begun = []
    share(begun.append, 8)
    assert begun == [0]
    assert _threads._pool.queue.empty()


def test_threads_that_sleep_keep_no_arrays():
    class Array(np.ndarray):
        """An array that weak references can refer to."""

    def run(worker, array):
        array[worker] = 1

    array = np.zeros(8).view(Array)
    kept = weakref.ref(array)
    share(lambda worker, array=array: run(worker, array), 8)
    del array
    gc.collect()
    assert kept() is None


IN_A_FORK = """
import os, sys, threading
import numpy as np
sys.path.insert(0, sys.argv[1])
from fastem._kernels._parallel import run_slots
from small_kernels import allocate_slot

def sums():
    out = np.zeros(64)
    run_slots(allocate_slot, (sizes, out), 64, None)
    return out

sizes = np.arange(64) + 20_000
expected, ended = sums(), threading.Event()

def compute():
    while not ended.is_set():
        assert (sums() == expected).all()

others = [threading.Thread(target=compute) for _ in range(3)]
for other in others: other.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        right = all((sums() == expected).all() for _ in range(5))
        os._exit(0 if right and any(t.name.startswith("fastem-") for t in threading.enumerate()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ended.set()
for other in others: other.join()
"""


@compiled_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_forked_while_loops_run_starts_threads_of_its_own():
    run_script(IN_A_FORK, Path(__file__).parent, NUMBA_NUM_THREADS="4")


SETTING = """
import numba
from fastem._kernels._threads import threads_allowed
print(threads_allowed(), threads_allowed(3), threads_allowed(9))
try:
    numba.threading_layer()
except ValueError:
    numba.set_num_threads(2)
    print(threads_allowed(), threads_allowed(3))
"""


def test_numbas_setting_counts_and_its_threads_are_not_started_for_it():
    assert run_script(SETTING, NUMBA_NUM_THREADS="4").split() == ["4", "3", "4", "2", "3"]


@compiled_only
def test_python_threads_may_run_loops_at_the_same_time():
    sizes, sums = np.arange(64) + 1000, np.zeros((4, 64))

    def compute(out):
        for _ in range(50):
            run_slots(allocate_slot, (sizes, out), 64, None)

    callers = [threading.Thread(target=compute, args=(out,)) for out in sums]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    np.testing.assert_array_equal(sums, np.tile(sizes, (4, 1)))
