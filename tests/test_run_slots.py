"""The parallel loops over slots: of compiled code, and of threads of Python."""

import os
import time

import numpy as np
import pytest
from small_kernels import allocate_slot
from subprocesses import run_script

from fastem._kernels._parallel import run_in_threads, run_slots


@pytest.mark.parametrize("n_threads", [1, 2, None])
def test_a_slot_that_gets_no_memory_is_an_error(n_threads):
    sizes, sums = np.arange(8), np.zeros(8)
    run_slots(allocate_slot, (sizes, sums), 8, n_threads)
    np.testing.assert_array_equal(sums, sizes)
    sizes[5] = 1 << 55
    with pytest.raises(MemoryError):
        run_slots(allocate_slot, (sizes, sums), 8, n_threads)


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("n_threads", [1, 2, None])
def test_threads_of_python_run_each_slot_once(slots, n_threads):
    runs = np.zeros(slots, np.int64)

    def some_slots(out, begin, end):
        out[begin:end] += 1

    for _ in range(20):
        run_in_threads(some_slots, (runs,), slots, n_threads)
    np.testing.assert_array_equal(runs, 20)


@pytest.mark.parametrize("wrong", [0, 5, 7])
def test_an_error_in_a_thread_of_python_is_raised_when_all_others_have_ended(wrong):
    running = []

    def some_slots(begin, end):
        running.append(begin)
        time.sleep(0.01)
        running.remove(begin)
        if begin <= wrong < end:
            raise MemoryError("no memory for this slot")

    with pytest.raises(MemoryError, match="this slot"):
        run_in_threads(some_slots, (), 8, 2)
    assert not running


AFTER_FORK = """
import os
import numpy as np
from fastem._kernels._parallel import run_in_threads

def add(out, begin, end):
    out[begin:end] += 1

sums = np.zeros(8)
run_in_threads(add, (sums,), 8, 2)
child = os.fork()
run_in_threads(add, (sums,), 8, 2)
if child == 0:
    os._exit(int(sums.sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sums.sum())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_starts_threads_of_its_own():
    assert run_script(AFTER_FORK).split() == ["16", "16.0"]


AT_EXIT = """
import atexit
import numpy as np
from fastem._kernels._parallel import run_in_threads

def add(out, begin, end):
    out[begin:end] += 1
    print(out.sum())

run_in_threads(add, (np.zeros(8),), 8, 2)
atexit.register(run_in_threads, add, (np.zeros(8),), 8, 2)
"""


def test_when_python_ends_and_starts_no_threads_the_caller_runs_all_slots():
    assert run_script(AT_EXIT).split()[-1] == "8.0"
