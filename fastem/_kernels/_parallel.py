"""The loops over slots, in as many threads as may compute."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from fastem._kernels._jit import INTERPRETED
from fastem._kernels._slot_loop import Loop, flatten, job, loop_of
from fastem._kernels._threads import share, threads_allowed

_RANGES = 2  # of slots for each thread of Python, so that none waits long for the others


def run_slots(
    one_slot: Callable[..., None], arguments: tuple[Any, ...], slots: int, n_threads: int | None
) -> None:
    """Run `one_slot(*arguments, slot)` for every slot, in parallel if possible.

    A single slot runs in the calling thread, because it can take longer to wake another thread than to do
    the work.
    """
    workers = _workers(slots, n_threads)
    if workers == 1:
        for slot in range(slots):
            one_slot(*arguments, slot)
        return
    arrays = flatten(arguments)
    loop = loop_of(one_slot, arguments, arrays)
    if loop is None:

        def run(begin: int, end: int) -> None:
            for slot in range(begin, end):
                one_slot(*arguments, slot)

        run_in_threads(run, (), slots, workers)
    else:
        share(partial(_run_loop, loop, arrays, job(arrays, slots, workers)), workers)


def run_in_threads(
    some_slots: Callable[..., None], arguments: tuple[Any, ...], slots: int, n_threads: int | None
) -> None:
    """Run `some_slots(*arguments, begin, end)` for all slots, in parallel if possible.

    This is for slots that are not run again and again, as it needs no loop for arguments of these types. Many
    slots are run in one call, since a call with twenty arguments takes as long as a short slot.
    """
    workers = _workers(slots, n_threads)
    if workers == 1:
        some_slots(*arguments, 0, slots)
        return
    step = -(-slots // (_RANGES * workers))
    begins = deque(range(0, slots, step))

    def run_ranges(_: int) -> None:
        try:
            while True:
                try:
                    begin = begins.popleft()
                except IndexError:  # all ranges are taken
                    return
                some_slots(*arguments, begin, min(begin + step, slots))
        finally:
            begins.clear()  # of which some are left if an error is on its way

    share(run_ranges, workers)


def _workers(slots: int, n_threads: int | None) -> int:
    return 1 if INTERPRETED or slots == 1 or n_threads == 1 else min(slots, threads_allowed(n_threads))


def _run_loop(loop: Loop, arrays: tuple[Any, ...], words: Any, worker: int) -> None:
    """Run the slots of one worker. The arrays are an argument, so that nobody frees them in the meantime."""
    if loop(words.ctypes.data, worker):
        raise MemoryError("A kernel could not allocate the arrays that it computes in.")
