"""numba's passes over a kernel, without those that find nothing in kernels, and what it need not find twice.

numba does not document most of the names that are used here. If one is missing, numba does all of its work.
"""

import contextlib
import gc
import operator

try:
    from llvmlite.binding import ffi
except ImportError:
    ffi = None
try:
    from numba import types
    from numba.core.targetconfig import ConfigStack
except ImportError:
    ConfigStack = None
try:
    from numba.core.postproc import PostProcessor, VariableLifetime, transforms
except ImportError:
    PostProcessor = None

# They look for closures, comprehensions, `with` blocks, loops over tuples of different types, calls of
# `numba.literally`, errors with arguments, expressions of whole arrays, and overloads to be spliced. Kernels
# have none of these. The last, `reconstruct_ssa`, makes a variable of each assignment. LLVM does that again,
# and numba needs it only where a name has several types, which no name in a kernel has.
_NOT_NEEDED = {
    "inline_closure_likes",
    "make_function_op_code_to_jit_function",
    "with_lifting",
    "literal_unroll",
    "find_literally",
    "LiteralPropagation",
    "Rewrite dynamic raises",
    "nopython_rewrites",
    "inline_overloads",
    "reconstruct_ssa",
}
# This pass tells where a variable is used for the last time, since its reference is given back there.
_FOR_COUNTING = {"ir_legalization"}
# The signatures of functions, for each set of numba's options.
_signatures: dict[object, dict[object, object]] = {}


@contextlib.contextmanager
def few_collections():
    """Let Python look for cycles among new objects only, and less often. numba makes millions of objects."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 50_000) if before[0] else 0, 1000, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def without_events_of_llvm():
    """Let llvmlite not tell when its lock is taken for each call of LLVM.

    Every function that is being compiled would listen, to add up the time.
    """
    try:
        lock = ffi.lib._lock
        with lock._lock:  # no other thread is inside of a call
            told, lock._cblist = lock._cblist, []
    except AttributeError:
        yield
        return
    try:
        yield
    finally:
        with lock._lock:
            lock._cblist = told + lock._cblist


@contextlib.contextmanager
def without_liveness():
    """Let numba not find out which variables are alive where, after each pass that changes a kernel.

    Only the references of objects and generators need that. Compilation holds a lock of numba's.
    """
    numbas = getattr(PostProcessor, "run", None)

    def run(self, emit_dels=False, extend_lifetimes=False):
        code = self.func_ir
        if emit_dels or code.is_generator:
            numbas(self, emit_dels, extend_lifetimes)
        else:
            code.blocks = transforms.canonicalize_cfg(code.blocks)
            code.variable_lifetime = VariableLifetime(code.blocks)  # which computes what is asked of it
            code.generator_info = None

    if numbas is None:
        yield
        return
    PostProcessor.run = run
    try:
        yield
    finally:
        PostProcessor.run = numbas


def needed(pipelines, counting):
    """Drop the passes that kernels do not need, or not without `counting` of references."""
    dropped = _NOT_NEEDED if counting else _NOT_NEEDED | _FOR_COUNTING
    for pipeline in pipelines:
        if hasattr(pipeline, "passes"):
            pipeline.passes = [step for step in pipeline.passes if step[0].name() not in dropped]
    return pipelines


def remembering(context, lowering=False):
    """Return a typing context that resolves a function only once for the same types and options of numba.

    Lowering asks the types of operators for it.
    """
    try:
        options = ConfigStack.top_or_none().copy()
        kind = _RememberingOperators if lowering else _Remembering
        return kind(context, _signatures.setdefault(options, {}))
    except (AttributeError, TypeError):
        return context


class _Remembering:
    """A typing context of numba. It goes through two dozen overloads of an operator before it finds ours.

    Of any function it looks into a cache for all sets of options, which it compares one by one.
    """

    def __init__(self, context, signatures):
        self._context, self._signatures = context, signatures
        self._resolve, self._type_of = context.resolve_function_type, context._lookup_global

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, function, args, kws):
        kind = function if isinstance(function, types.Type) else self._type_of(function)
        if kws or not isinstance(kind, types.Function):
            return self._resolve(function, args, kws)
        # If an overload is added, numba makes another type of the operator.
        key = kind, args
        signature = self._signatures.get(key)
        if signature is None:
            signature = self._signatures[key] = self._resolve(function, args, kws)
        return signature

    def resolve_setitem(self, target, index, value):
        return self.resolve_function_type(operator.setitem, (target, index, value), {})


class _RememberingOperators(_Remembering):
    def __init__(self, context, signatures):
        super().__init__(context, signatures)
        self._options = ConfigStack.top_or_none()  # numba may compile something else in between
        self._operators = {}

    def resolve_value_type(self, value):
        kind = self._context.resolve_value_type(value)
        if type(kind) is not types.Function:
            return kind
        if kind not in self._operators:
            self._operators[kind] = twin = object.__new__(types.Function)
            twin.__dict__.update(kind.__dict__, get_call_type=self._getter(kind))
        return self._operators[kind]

    def _getter(self, kind):
        def get_call_type(context, args, kws):
            if kws or ConfigStack.top_or_none() is not self._options:
                return kind.get_call_type(context, args, kws)
            signature = self._signatures.get((kind, args))
            if signature is None:
                signature = self._signatures[kind, args] = kind.get_call_type(context, args, kws)
            return signature

        return get_call_type
