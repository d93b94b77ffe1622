"""The gate to the parallel kernels: one caller at a time, threads restored, forked children serial.

Two Python threads that enter a parallel kernel together abort the process under numba's `workqueue`
layer, and a child forked after GNU OpenMP has started is killed at its first parallel region.

The parallel loop calls a serial kernel by its address. Written as a plain call, numba would compile
the kernel and all below it four times more, for the four functions that it makes of a prange. numba
documents neither addresses nor how to call them: where this fails, threads of Python call the kernel.
"""

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from fastem._kernels._jit import INTERPRETED, parallel_kernel
from fastem._kernels._vector import array_struct

# Re-entrant: a signal handler runs between two kernel calls, where its own thread may hold the lock.
_lock = threading.RLock()
_serial = False
# By kernel and kinds of arrays: to ask numba takes a third of a millisecond. None: it cannot tell.
_addresses: dict[tuple[Any, ...], int | None] = {}
# What a name that is not there any more, or does something else, may raise when code is compiled.
_RENAMED = (AttributeError, KeyError, TypeError, getattr(numba, "NumbaError", AttributeError))


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
    one_slot: Callable[..., None], arguments: tuple[Any, ...], slots: int, n_threads: int | None
) -> None:
    """Run `one_slot(*arguments, slot)` for every slot, side by side where threads are to be had.

    One slot is work for one thread, and to wake another can take longer than the work.
    """
    if _serial or slots == 1 or n_threads == 1 or INTERPRETED:
        for slot in range(slots):
            one_slot(*arguments, slot)
        return
    flat = _flatten(arguments)
    key = (
        one_slot,
        *map(type, arguments),
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
                _sweep(address, flat, slots, np.zeros(workers, np.int64), failed)
        finally:
            numba.set_num_threads(before)
    if failed[0]:
        raise MemoryError("A kernel could not allocate the arrays that it computes in.")
    if address is None:
        from concurrent.futures import ThreadPoolExecutor  # rarely needed

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(partial(one_slot, *arguments), range(slots)))


def _address(one_slot: Any, arguments: tuple[Any, ...], flat: tuple[Any, ...]) -> int | None:
    """Where the machine code of a kernel begins, for these types of arguments and an integer.

    None if this numba does not tell, or cannot compile a call to an address.
    """
    integer = types.int64
    kinds = (*map(numba.typeof, arguments), integer)
    try:
        one_slot.compile(kinds)
        compiled = one_slot.overloads[kinds]
        address = int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
        counters = types.Array(integer, 1, "C")
        _sweep.compile((integer, numba.typeof(flat), integer, counters, counters))
    except _RENAMED:
        return None
    return address


def _flatten(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arrays only, as prange takes no tuple in a tuple; a call hands them over in the same way."""
    return tuple(a for group in arguments for a in (group if isinstance(group, tuple) else (group,)))


@intrinsic
def _call(typingctx, address, arguments, slot):
    """Call the kernel at an address, so that its code need not be compiled again into the caller.

    Returns 1 if it raised an error, else 0.
    """

    def codegen(context, builder, signature, values):
        kinds = (*arguments.types, slot)
        function = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        callee = builder.inttoptr(values[0], function)
        flat = (builder.extract_value(values[1], i) for i in range(len(arguments.types)))
        status, _ = context.call_conv.call_function(builder, callee, types.none, kinds, [*flat, values[2]])
        return builder.zext(status.is_error, context.get_value_type(types.int64))

    return types.int64(address, arguments, slot), codegen


@intrinsic
def _take(typingctx, counters, index):
    """The number in an array, which is then one more: no two threads get the same."""

    def codegen(context, builder, signature, values):
        array = array_struct(context, builder, counters, values[0])
        counter = builder.gep(array.data, [values[1]])
        return builder.atomic_rmw("add", counter, context.get_constant(types.int64, 1), "monotonic")

    return types.int64(counters, index), codegen


@parallel_kernel
def _sweep(address, arguments, slots, taken, failed):
    """The only parallel loop. A worker whose share is done helps with those of the others.

    OUT failed (1,): not zero if a call raised an error, which can only be one of memory
    """
    workers = len(taken)
    for worker in prange(workers):
        for i in range(workers):
            share = (np.int64(worker) + i) % workers
            first, end = share * slots // workers, (share + 1) * slots // workers
            slot = first + _take(taken, share)
            while slot < end:
                if _call(address, arguments, slot) != 0:
                    failed[0] = 1
                slot = first + _take(taken, share)
