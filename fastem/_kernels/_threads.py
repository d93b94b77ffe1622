"""Threads of Python that help with work, and sleep in a queue in between.

To wake a thread takes some microseconds, and to begin it needs Python's lock. So the caller wakes two others,
and each of these two more, as in a heap: worker w wakes workers 2 w + 1 and 2 w + 2. Short work is done
before most of many threads are awake. What has not begun by then never does, and wakes no more.

An executor of Python takes locks that a signal handler must not take again while its own thread holds them.
A `SimpleQueue` serves a handler too that computes while its thread is anywhere in here.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, main_thread
from typing import NoReturn

import numba


def threads_allowed(n_threads: int | None = None) -> int:
    """Return how many threads may compute: at most `n_threads`, or numba's setting.

    Whoever has set another number than all has started numba's threads. We need not start them to ask.
    """
    most = int(numba.config.NUMBA_NUM_THREADS)
    if n_threads is None:
        try:
            numba.threading_layer()
        except ValueError:
            return most
        n_threads = numba.get_num_threads()
    return min(n_threads, most)


def share(run: Callable[[int], object], workers: int) -> None:
    """Call `run(0)`, and in other threads `run(1)` to `run(workers - 1)`, except where they are late.

    The first call must do what the others do not. No call is running when this function returns or raises.
    """
    others = _pool.grow(workers - 1) if main_thread().is_alive() else 0  # Python starts none after that
    work = _Work(run, 1 + others)
    try:
        work.run(0)
        work.end()
    except BaseException:
        work.end()  # an interrupt can come at any time
        raise
    for error in filter(None, work.errors):
        raise error


class _Work:
    def __init__(self, run: Callable[[int], object], workers: int) -> None:
        self._run, self._workers, self._queue = run, workers, _pool.queue
        self._begun: dict[int, bool] = {}  # for each worker whether a thread has begun, or never will
        self._ended: SimpleQueue[None] = SimpleQueue()
        self.errors: list[BaseException | None] = []  # one of each thread that has ended

    def run(self, worker: int) -> None:
        for other in (2 * worker + 1, 2 * worker + 2):
            if other < self._workers:
                self._queue.put((self, other))
        self._run(worker)

    def help(self, worker: int) -> None:
        """Run in another thread, unless it is too late."""
        if self._begun.setdefault(worker, True):
            error = None
            try:
                self.run(worker)
            except BaseException as caught:
                error = caught
            self.errors.append(error)
            self._ended.put(None)

    def end(self) -> None:
        """Wait for those that have begun. An interrupt is raised when they have ended.

        Nothing here is lost or counted twice if an interrupt comes in between and all is done again.
        """
        try:
            for worker in range(1, self._workers):
                self._begun.setdefault(worker, False)
            while len(self.errors) < sum(self._begun.values()):
                self._ended.get()
            self.__dict__.pop("_run", None)  # what is still in the queue keeps no arrays alive
        except BaseException:
            self.end()
            raise


class _Pool:
    """Threads that run what is in a queue. They are daemons: when the process ends, they sleep."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[tuple[_Work, int]] = SimpleQueue()
        self._size = 0
        self._not_started = list(range(numba.config.NUMBA_NUM_THREADS - 1, 0, -1))

    def grow(self, size: int) -> int:
        """Start threads until there are so many. Return how many there are if the system allows no more."""
        with suppress(IndexError):  # another caller may take the last number at the same time
            while self._not_started[-1] <= size:
                number = self._not_started.pop()
                self._size = max(self._size, number)  # an interrupt may come while it starts
                try:
                    Thread(target=self._serve, name=f"fastem-{number}", daemon=True).start()
                except RuntimeError:
                    self._size = number - 1
                    self._not_started.clear()
        return min(self._size, size)

    def _serve(self) -> NoReturn:
        while True:
            _help(*self.queue.get())


def _help(work: _Work, worker: int) -> None:
    """This is a function of its own, so that a thread that sleeps keeps no work and no arrays alive."""
    work.help(worker)


_pool = _Pool()


def _after_fork() -> None:
    global _pool
    _pool = _Pool()  # the threads of the parent are not in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
