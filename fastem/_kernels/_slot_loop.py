"""One worker's loop over slots, as machine code that threads of Python call.

The loop calls a serial kernel by its address. If a loop of numba called the kernel by name, numba would
compile the kernel and all kernels below it again in each such loop. The loop reads from memory where the
arrays of the kernel lie, so it is a few instructions, which LLVM compiles in milliseconds. numba does not
document how to get or call an address. If that fails, there is no loop.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types

# Runs the slots of a worker for a `job`. Returns 1 if a kernel raised an error, else 0.
Loop = Callable[[int, int], int]
# The loop over each kernel for each set of argument types. To ask numba takes a third of a millisecond.
_loops: dict[tuple[Any, ...], Loop | None] = {}
_engines: list[Any] = []  # of LLVM, which keep the machine code of these
_WORD = ir.IntType(64)
# What numba knows of an array in compiled code, in this order, a word of 8 bytes for each number.
_FIELDS = ("meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides")
# The errors that compilation can raise if a name of numba is missing or means something else.
RENAMED = (AttributeError, KeyError, TypeError, getattr(numba, "NumbaError", AttributeError))


def loop_of(one_slot: Any, arguments: tuple[Any, ...], flat: tuple[Any, ...]) -> Loop | None:
    """Return the loop over a kernel for arguments of these types and a slot.

    Return None if this version of numba does not provide its address, or cannot make a call to it.
    """
    key = (
        one_slot,
        *map(_kind, arguments),
        *((a.dtype, a.ndim, a.flags.c_contiguous, a.flags.writeable) for a in flat),
    )
    if key not in _loops:
        kinds = (*map(numba.typeof, arguments), types.int64)
        try:
            one_slot.compile(kinds)
            _loops[key] = _compiled(one_slot.overloads[kinds], tuple(map(numba.typeof, flat)))
        except RENAMED:
            _loops[key] = None
    return _loops[key]


def job(arrays: tuple[Any, ...], slots: int, workers: int) -> Any:
    """Return what a loop reads: the numbers of slots and workers, how many slots of each worker are taken,
    and the `_FIELDS` of arrays without their owners, so the caller keeps them alive."""
    words = [slots, workers] + [0] * workers
    for a in arrays:
        words += 0, 0, a.size, a.itemsize, a.ctypes.data, *a.shape, *a.strides
    return np.array(words, np.int64)


def flatten(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return all arrays in one flat tuple. In a call the fields of a tuple are arguments of their own."""
    return tuple(a for group in arguments for a in (flatten(group) if isinstance(group, tuple) else (group,)))


def _kind(argument: Any) -> Any:
    """Return the type of an argument, and those of what a tuple holds."""
    return (type(argument), *map(_kind, argument)) if isinstance(argument, tuple) else type(argument)


def _compiled(kernel: Any, kinds: tuple[Any, ...]) -> Loop:
    """Return the loop over a compiled kernel for such arrays."""
    models = kernel.target_context.data_model_manager
    known = {models[kind]._fields for kind in kinds}
    if known != {_FIELDS} or np.intp(0).itemsize != 8:
        raise TypeError("numba knows other things of arrays")
    module = ir.Module("slots")
    function = ir.Function(module, ir.FunctionType(_WORD, [_WORD.as_pointer(), _WORD]), "run_slots")
    _write_loop(function, kernel, kinds)
    machine = binding.Target.from_default_triple().create_target_machine(opt=0)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    _engines.append(engine)
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)  # it releases Python's lock
    return prototype(engine.get_function_address(function.name))


def _write_loop(function: Any, kernel: Any, kinds: tuple[Any, ...]) -> None:
    """Write the instructions of `loop(job, worker)`.

    Each worker owns a range of slots; when these are taken, it helps the other workers:

        for i in range(workers):
            share = (worker + i) % workers
            first, end = share * slots // workers, (share + 1) * slots // workers
            while (slot := first + taken[share]++) < end:
                failed |= kernel(*arrays, slot)
        return failed
    """
    context, (words, worker) = kernel.target_context, function.args
    entry, shares, share, take, run, following, end = (function.append_basic_block() for _ in range(7))
    builder, zero, one = ir.IRBuilder(entry), _WORD(0), _WORD(1)
    slots, workers = builder.load(words), builder.load(builder.gep(words, [one]))
    taken = builder.gep(words, [_WORD(2)])
    arrays = _arrays(builder, builder.gep(taken, [workers]), [context.get_value_type(kind) for kind in kinds])
    i, failed = builder.alloca(_WORD), builder.alloca(_WORD)
    builder.store(zero, i)
    builder.store(zero, failed)
    builder.branch(shares)

    builder.position_at_end(shares)
    builder.cbranch(builder.icmp_signed("<", builder.load(i), workers), share, end)

    builder.position_at_end(share)
    number = builder.urem(builder.add(worker, builder.load(i)), workers)
    first, last = (
        builder.udiv(builder.mul(bound, slots), workers) for bound in (number, builder.add(number, one))
    )
    counter = builder.gep(taken, [number])
    builder.branch(take)

    builder.position_at_end(take)
    slot = builder.add(first, builder.atomic_rmw("add", counter, one, "monotonic"))
    builder.cbranch(builder.icmp_signed("<", slot, last), run, following)

    builder.position_at_end(run)
    wrong = builder.zext(_call(builder, kernel, (*kinds, types.int64), [*arrays, slot]), _WORD)
    builder.store(builder.or_(builder.load(failed), wrong), failed)
    builder.branch(take)

    builder.position_at_end(following)
    builder.store(builder.add(builder.load(i), one), i)
    builder.branch(shares)

    builder.position_at_end(end)
    builder.ret(builder.load(failed))


def _arrays(builder: Any, words: Any, structs: list[Any]) -> list[Any]:
    """Return the arrays whose fields are at an address, one after another."""
    arrays = []
    for struct in structs:
        pointer = builder.bitcast(words, struct.as_pointer())
        arrays.append(builder.load(pointer))
        words = builder.bitcast(builder.gep(pointer, [_WORD(1)]), words.type)
    return arrays


def _call(builder: Any, kernel: Any, kinds: tuple[Any, ...], arguments: list[Any]) -> Any:
    """Call a compiled kernel. Return whether it raised an error."""
    address = kernel.library.get_pointer_to_function(kernel.fndesc.llvm_func_name)
    convention = kernel.target_context.call_conv
    function = convention.get_function_type(types.none, kinds).as_pointer()
    callee = builder.inttoptr(_WORD(address), function)
    status, _ = convention.call_function(builder, callee, types.none, kinds, arguments)
    return status.is_error
