"""The parallel loop over slots, and the function that enters it safely.

- Only one thread enters the loop at a time. Under numba's `workqueue` layer, two threads that run a parallel
  kernel at the same time abort the process.
- A forked child runs its slots serially if its parent had started threads. GNU OpenMP would kill the child.
- The caller's number of threads is restored.

The loop calls a serial kernel by its address. If it called the kernel by name, numba would compile the
kernel and all kernels below it four more times, once for each function that it makes from a prange. It does
not know the types of the arguments either, or numba would compile the loop for each list of types: it hands
on where they lie in memory, and a few instructions load them from there and call the kernel. numba does not
document how to get or call an address. If that fails, Python's threads call the kernel.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import prange, types
from numba.extending import intrinsic

from fastem._kernels._jit import INTERPRETED, kernel, parallel_kernel
from fastem._kernels._vector import array_struct

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# This lock is re-entrant, because a signal handler can run a kernel while its own thread holds the lock.
_lock = threading.RLock()
_serial = False
# What calls a kernel, for each set of argument types. To look one up in numba takes a third of a millisecond.
# An address is None if numba does not provide it.
_addresses: dict[tuple[Any, ...], int | None] = {}
_engines: list[Any] = []  # of LLVM, which keep the machine code of these
# What numba knows of an array in compiled code, in this order, a word of 8 bytes for each number.
_FIELDS = ("meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides")
_RANGES = 2  # of slots for each thread of Python, so that none waits long for the others
# The errors that compilation can raise if a name of numba is missing or means something else.
_RENAMED = (AttributeError, KeyError, TypeError, getattr(numba, "NumbaError", AttributeError))


def _after_fork() -> None:
    global _lock, _serial
    _lock = threading.RLock()
    _serial = _threads_started()
    _pool.cache_clear()  # its threads are not in the child


def _threads_started() -> bool:
    """Return whether numba's threads have been started, by fastem or by other code."""
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_slots(
    one_slot: Callable[..., None], arguments: tuple[Any, ...], slots: int, n_threads: int | None
) -> None:
    """Run `one_slot(*arguments, slot)` for every slot, in parallel if possible.

    A single slot runs in the calling thread, because it can take longer to wake another thread than to do
    the work.
    """
    if _serial or slots == 1 or n_threads == 1 or INTERPRETED:
        for slot in range(slots):
            one_slot(*arguments, slot)
        return
    flat = _flatten(arguments)
    key = (
        one_slot,
        *map(_kind, arguments),
        *((a.dtype, a.ndim, a.flags.c_contiguous, a.flags.writeable) for a in flat),
    )
    if key not in _addresses:
        _addresses[key] = _address(one_slot, arguments, flat)
    address = _addresses[key]
    with _lock:
        before = numba.get_num_threads()
        if n_threads is not None:
            numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
        workers = min(slots, numba.get_num_threads())
        failed = np.zeros(1, np.int64)
        try:
            if address is not None:
                _sweep(address, _words(flat), slots, np.zeros(workers, np.int64), failed)
        finally:
            numba.set_num_threads(before)
    if failed[0]:
        raise MemoryError("A kernel could not allocate the arrays that it computes in.")
    if address is None:

        def run(begin: int, end: int) -> None:
            for slot in range(begin, end):
                one_slot(*arguments, slot)

        _in_threads(run, slots, workers)


def run_in_threads(
    some_slots: Callable[..., None], arguments: tuple[Any, ...], slots: int, n_threads: int | None
) -> None:
    """Run `some_slots(*arguments, begin, end)` for all slots, in threads of Python.

    This is for slots that are not run again and again. It compiles no loop over arguments of these types, and
    its threads sleep between calls, where OpenMP's would spin for a while. Many slots are run in one call,
    since a call with twenty arguments takes as long as a short slot.
    """
    alone = _serial or slots == 1 or n_threads == 1 or INTERPRETED
    workers = 1
    if not alone and threading.main_thread().is_alive():  # Python starts no threads after that
        workers = min(slots, numba.get_num_threads() if n_threads is None else n_threads)
    if workers == 1:
        some_slots(*arguments, 0, slots)
    else:
        _in_threads(partial(some_slots, *arguments), slots, min(workers, numba.config.NUMBA_NUM_THREADS))


def _in_threads(run: Callable[[int, int], None], slots: int, workers: int) -> None:
    """Call `run(begin, end)` for ranges of slots. Threads that are slow to wake up get none."""
    step = -(-slots // (_RANGES * workers))
    begins = deque(range(0, slots, step))

    def run_ranges() -> None:
        while True:
            try:
                begin = begins.popleft()
            except IndexError:  # all ranges are taken
                return
            run(begin, min(begin + step, slots))

    others = [_pool().submit(run_ranges) for _ in range(workers - 1)]
    try:
        run_ranges()
    finally:
        begins.clear()  # of which some are left if an error is on its way
        others = [other for other in others if not other.cancel()]
        errors = [other.exception() for other in others]
    for error in filter(None, errors):
        raise error


@cache
def _pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # imported here because few processes need it

    return ThreadPoolExecutor(max(1, numba.config.NUMBA_NUM_THREADS - 1), thread_name_prefix="fastem")


def _address(one_slot: Any, arguments: tuple[Any, ...], flat: tuple[Any, ...]) -> int | None:
    """Return the address of the machine code of a kernel for arguments of these types and an integer.

    Return None if this version of numba does not provide it, or cannot compile a call to it.
    """
    integer = types.int64
    kinds = (*map(numba.typeof, arguments), integer)
    try:
        one_slot.compile(kinds)
        address = _caller(one_slot.overloads[kinds], tuple(map(numba.typeof, flat)))
        words = types.Array(integer, 1, "C")
        _sweep.compile((integer, words, integer, words, words))
    except _RENAMED:
        return None
    return address


def _caller(compiled: Any, kinds: tuple[Any, ...]) -> int:
    """Return the address of a function of `_words` and a slot, which calls a kernel for such arrays.

    It returns 1 if the kernel raised an error, else 0.
    """
    context, integer = compiled.target_context, ir.IntType(64)
    known = {context.data_model_manager[kind]._fields for kind in kinds}
    if known != {_FIELDS} or np.intp(0).itemsize != 8:
        raise TypeError("numba knows other things of arrays")
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    module = ir.Module("caller")
    function = ir.Function(module, ir.FunctionType(integer, [integer.as_pointer(), integer]), "caller")
    builder = ir.IRBuilder(function.append_basic_block())
    (words, slot), arrays = function.args, []
    for kind in kinds:
        pointer = builder.bitcast(words, context.get_value_type(kind).as_pointer())
        arrays.append(builder.load(pointer))
        words = builder.gep(words, [integer(len(_FIELDS) - 2 + 2 * kind.ndim)])
    kinds = (*kinds, types.int64)
    callee = context.call_conv.get_function_type(types.none, kinds).as_pointer()
    kernel = builder.inttoptr(integer(address), callee)
    status, _ = context.call_conv.call_function(builder, kernel, types.none, kinds, [*arrays, slot])
    builder.ret(builder.zext(status.is_error, integer))
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(function.name))


def _words(arrays: tuple[Any, ...]) -> Any:
    """Return the `_FIELDS` of arrays, without owners: the caller keeps the arrays alive."""
    words: list[int] = []
    for a in arrays:
        words += 0, 0, a.size, a.itemsize, a.ctypes.data, *a.shape, *a.strides
    return np.array(words, np.int64)


def _flatten(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return all arrays in one flat tuple. In a call the fields of a tuple are arguments of their own."""
    return tuple(
        a for group in arguments for a in (_flatten(group) if isinstance(group, tuple) else (group,))
    )


def _kind(argument: Any) -> Any:
    """Return the type of an argument, and those of what a tuple holds."""
    return (type(argument), *map(_kind, argument)) if isinstance(argument, tuple) else type(argument)


@intrinsic
def _call(typingctx, address, words, slot):
    """Call the kernel of a `_caller`. Return 1 if it raised an error, else 0."""

    def codegen(context, builder, signature, values):
        integer = ir.IntType(64)
        function = ir.FunctionType(integer, [integer.as_pointer(), integer]).as_pointer()
        data = array_struct(context, builder, words, values[1]).data
        return builder.call(builder.inttoptr(values[0], function), [data, values[2]])

    return types.int64(address, words, slot), codegen


@intrinsic
def _take(typingctx, counters, index):
    """Return a counter and increase it by one, so that no two threads get the same number."""

    def codegen(context, builder, signature, values):
        array = array_struct(context, builder, counters, values[0])
        counter = builder.gep(array.data, [values[1]])
        return builder.atomic_rmw("add", counter, context.get_constant(types.int64, 1), "monotonic")

    return types.int64(counters, index), codegen


@kernel
def _work(address, words, slots, taken, failed, worker):
    """Run the slots of one worker, and then help the other workers. OUT failed: see `_sweep`"""
    workers = taken.shape[0]
    for i in range(workers):
        share = (worker + i) % workers
        first, end = share * slots // workers, (share + 1) * slots // workers
        slot = first + _take(taken, share)
        while slot < end:
            if _call(address, words, slot) != 0:
                failed[0] = 1
            slot = first + _take(taken, share)


@parallel_kernel
def _sweep(address, words, slots, taken, failed):
    """Run all slots. Each worker owns a range of slots; when these are done, it helps the other workers.

    numba makes four functions of this loop, so there is nothing in it but a call.

    OUT failed (1,): 1 if a call raised an error. The only possible error is that memory ran out.
    """
    for worker in prange(taken.shape[0]):
        _work(address, words, slots, taken, failed, np.int64(worker))
