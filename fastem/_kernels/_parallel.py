"""The gate to the parallel kernels: one caller at a time, threads restored, forked children serial.

Two Python threads that enter a parallel kernel together abort the process under numba's `workqueue`
layer, and a child forked after GNU OpenMP has started is killed at its first parallel region.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import numba

# Re-entrant: a signal handler runs between two kernel calls, where its own thread may hold the lock.
_lock = threading.RLock()
_serial = False


def _after_fork() -> None:
    global _lock, _serial
    _lock = threading.RLock()
    _serial = _threads_started()


def _threads_started() -> bool:
    """Whether anyone, we or another user of numba, has started its threads."""
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_slots(
    sweep: Callable[..., None],
    one_slot: Callable[..., None],
    arguments: tuple[Any, ...],
    slots: int,
    n_threads: int | None,
) -> None:
    """Run `sweep(*arguments)`, or where threads are out of bounds `one_slot(*arguments, slot)`."""
    if _serial:
        for slot in range(slots):
            one_slot(*arguments, slot)
        return
    with _lock:
        before = numba.get_num_threads()
        if n_threads is not None:
            numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
        try:
            sweep(*arguments)
        finally:
            numba.set_num_threads(before)
