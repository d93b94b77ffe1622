"""The gate to the parallel kernels: one caller at a time, threads restored, forked children serial.

Two Python threads that enter a parallel kernel together abort the process under numba's `workqueue`
layer, and a child forked after GNU OpenMP has started is killed at its first parallel region.

The parallel loop calls a serial kernel by its address. Written as a plain call, numba would compile
the kernel and all below it four times more, for the four functions that it makes of a prange.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem._kernels._jit import parallel_kernel

# Re-entrant: a signal handler runs between two kernel calls, where its own thread may hold the lock.
_lock = threading.RLock()
_serial = False
# By kernel and kinds of arrays: to ask numba takes a third of a millisecond.
_addresses: dict[tuple[Any, ...], int] = {}


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
    if _serial or slots == 1 or n_threads == 1 or numba.config.DISABLE_JIT:
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
        _addresses[key] = _address(one_slot, arguments)
    address = _addresses[key]
    with _lock:
        before = numba.get_num_threads()
        if n_threads is not None:
            numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
        try:
            _sweep(address, flat, slots, np.zeros(min(slots, numba.get_num_threads()), np.int64))
        finally:
            numba.set_num_threads(before)


def _address(one_slot: Any, arguments: tuple[Any, ...]) -> int:
    """Where the machine code of a kernel begins, for these types of arguments and an integer."""
    kinds = (*map(numba.typeof, arguments), numba.types.int64)
    one_slot.compile(kinds)
    compiled = one_slot.overloads[kinds]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def _flatten(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arrays only, as prange takes no tuple in a tuple; a call hands them over in the same way."""
    return tuple(a for group in arguments for a in (group if isinstance(group, tuple) else (group,)))


@intrinsic
def _call(typingctx, address, arguments, slot):
    """Call the kernel at an address, so that its code need not be compiled again into the caller."""

    def codegen(context, builder, signature, values):
        kinds = (*arguments.types, slot)
        function = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        callee = builder.inttoptr(values[0], function)
        values = [*cgutils.unpack_tuple(builder, values[1]), values[2]]
        context.call_conv.call_function(builder, callee, types.none, kinds, values)
        return context.get_dummy_value()

    return types.none(address, arguments, slot), codegen


@intrinsic
def _take(typingctx, counters, index):
    """The number in an array, which is then one more: no two threads get the same."""

    def codegen(context, builder, signature, values):
        array = context.make_array(counters)(context, builder, values[0])
        counter = builder.gep(array.data, [values[1]])
        return builder.atomic_rmw("add", counter, context.get_constant(types.int64, 1), "monotonic")

    return types.int64(counters, index), codegen


@parallel_kernel
def _sweep(address, arguments, slots, taken):
    """The only parallel loop. A worker whose share is done helps with those of the others."""
    workers = len(taken)
    for worker in prange(workers):
        for i in range(workers):
            share = (np.int64(worker) + i) % workers
            first, end = share * slots // workers, (share + 1) * slots // workers
            slot = first + _take(taken, share)
            while slot < end:
                _call(address, arguments, slot)
                slot = first + _take(taken, share)
