"""Threads, forks, signals and lack of memory, each tested in its own process."""

import os
import signal
import sys

import numpy as np
import pytest
from subprocesses import run_script

BITS = """
import os, signal, sys, threading, time
import numpy as np, numba, fastem

def clusters(seed, n=20_000, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 5 * rng.normal(size=(4, d))[rng.integers(4, size=n)]

def bits(X, **options):
    model = fastem.fit(X, 4, rng=0, tol=0, max_iter=5, **options)
    return model.means.tobytes() + model.covariances.tobytes()
"""

TOGETHER = (
    BITS
    + """
problems = [clusters(seed) for seed in range(8)]
alone = [bits(X) for X in problems]
assert [bits(problems[0], n_threads=n) for n in (1, 2, 4)] == 3 * alone[:1]
for count in (2, 8):
    together = [None] * count
    def work(i):
        together[i] = bits(problems[i])
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert together == alone[:count]
try:
    print(numba.threading_layer())
except ValueError:
    print("numba has started no threads")
"""
)


@pytest.mark.slow
def test_threads_get_the_bits_they_get_alone_and_start_none_of_numba():
    assert run_script(TOGETHER, NUMBA_NUM_THREADS="4") == "numba has started no threads\n"


FORK = (
    BITS
    + """
X = clusters(0)
expected = bits(X)

def child_agrees():
    child = os.fork()
    if child == 0:
        os._exit(0 if bits(X) == expected else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

assert child_agrees()
began, enough = threading.Event(), threading.Event()

def callback(*_):
    began.set()
    return enough.is_set()

options = dict(rng=0, tol=0, max_iter=10**6, callback=callback)
fitting = threading.Thread(target=fastem.fit, args=(clusters(1, 500_000), 4), kwargs=options)
fitting.start()
began.wait()
agreed = [child_agrees() for _ in range(3)]
enough.set()
fitting.join()
assert all(agreed)
assert bits(X) == expected

# While others look at their rows, over and over. A lock that one of them held would be held in the child.
ended = threading.Event()
def begin():
    while not ended.is_set():
        fastem.fit(X, 4, rng=0, max_iter=1)
others = [threading.Thread(target=begin) for _ in range(3)]
for other in others: other.start()
agreed = [child_agrees() for _ in range(20)]
ended.set()
for other in others: other.join()
assert all(agreed)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.slow
def test_a_forked_child_of_a_process_that_has_fitted_gets_the_same_bits():
    run_script(FORK)


INTERRUPT = (
    BITS
    + """
X = np.empty((10_000_000, 4))
X[:] = np.resize(clusters(0, 10_000, 4), (10_000, 4))[np.arange(10_000_000) % 10_000]
small = clusters(1)
expected = bits(small)
fastem.fit(X, 8, rng=0, tol=0, max_iter=1)  # compiles all that the fits below need

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it for background processes

def interrupt():
    global sent
    sent = np.array([time.process_time() / numba.get_num_threads(), time.perf_counter()])
    os.kill(os.getpid(), signal.SIGINT)

for delay in (0.1, 0.5, 2.0):
    threading.Timer(delay, interrupt).start()
    try:
        fastem.fit(X, 8, rng=0, tol=0, max_iter=100_000)
    except KeyboardInterrupt:
        print(*[time.process_time() / numba.get_num_threads(), time.perf_counter()] - sent)
    assert bits(small) == expected
"""
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="os.kill is something else")
def test_an_interrupt_arrives_within_half_a_second_and_the_next_fit_works():
    delays = np.array(run_script(INTERRUPT).split(), dtype=float).reshape(3, 2)
    computing, waited = delays.max(axis=0)
    assert computing < 0.5  # half a second of all its threads, since other programs may be running
    assert waited < 5


HANDLER = (
    BITS
    + """
X, small = clusters(0, 2_000_000), clusters(1, 1000)
model = fastem.fit(small, 4, rng=0)
scores = []
def handle(*_):
    scores.append(model.score(small))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
while len(scores) < 5:
    bits(X)
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(set(scores)) == 1
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_a_signal_handler_may_use_fastem_while_a_fit_runs():
    run_script(HANDLER)


MEMORY = (
    BITS
    + """
import resource
X = clusters(0)
expected = bits(X)
wide = np.random.default_rng(0).normal(size=(50, 6_000))  # its covariances take 1.2 GB
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for _ in range(3):
    try:
        fastem.fit(wide, 4)
    except MemoryError as error:
        assert "covariance_type='full' of 4 component(s) in 6000 features needs more than 4.6" in str(error)
        assert 'covariance_type="diag" or "spherical"' in str(error)
        print("MemoryError")
    assert bits(X) == expected
"""
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_want_of_memory_leaves_the_process_usable():
    assert run_script(MEMORY).split() == ["MemoryError"] * 3


INTERPRETED = """
import numpy as np, fastem
rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(size=(40, 2)), 4 + rng.normal(size=(40, 2))])
labels = np.arange(80) // 40
for kind in ("full", "tied", "diag", "spherical"):
    model = fastem.fit(X, 2, covariance_type=kind, init=labels, tol=0, max_iter=2)
    print(model.report.log_likelihood, *model.predict_proba(X)[:3, 0])
print(fastem.fit(X, 2, rng=0, max_iter=0).report.log_likelihood)
"""


@pytest.mark.slow
def test_without_compilation_the_results_are_right():
    compiled, interpreted = (run_script(INTERPRETED, NUMBA_DISABLE_JIT=flag).split() for flag in "01")
    assert [float(x) for x in interpreted] == pytest.approx([float(x) for x in compiled], rel=1e-9)
