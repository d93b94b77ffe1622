"""Machine code for entry kernels alone, and the same for every process, whether it compiled or loaded it.

An entry kernel contains copies of the kernels that it calls. By default their symbols are weak. The process
that compiles them also has each of these kernels by itself in memory, and calls that in place of the copy.
A process that loads the entry kernel from the cache has only the copies. LLVM may order a sum differently
in the two, so the results could differ in their last bits. With local symbols both processes run the copies.

So nobody runs the machine code of the other kernels, the parts. None is made for them, and LLVM optimises
them where they are copied to. What remains of a part is its code as numba has lowered it.

numba lets LLVM optimise each function by itself, before it is copied and optimised again. Without that, the
sums of some parts would be ordered differently. Parts that make no sums, and entry kernels, which are copied
nowhere, are optimised only once, and the wrappers that Python calls not at all.

LLVM also writes the bodies of loops several times in a row. That is worth its time only in passes over all
rows, so other entry kernels can do without it.

numba does not document most of the names that are used here. If one is missing, the symbols stay weak, or
parts get machine code.
"""

import contextlib

from fastem._kernels._jit_lowering import lean
from fastem._kernels._jit_passes import (
    few_collections,
    needed,
    remembering,
    without_events_of_llvm,
    without_liveness,
)

try:
    import llvmlite.binding as llvm
    from llvmlite.binding import Linkage
    from numba.core.compiler import Compiler
except ImportError:
    ENTRY = COMPACT = PLAIN = PART = {}
else:

    class _EntryCompiler(Compiler):
        library_of = staticmethod(lambda state: _self_contained_library(state))

        def compile_extra(self, func):
            with few_collections(), without_events_of_llvm(), without_liveness():
                return super().compile_extra(func)

        def define_pipelines(self):
            with contextlib.suppress(AttributeError, KeyError, TypeError):
                self.state.library = self.library_of(self.state)
            self.state.typingctx = remembering(self.state.typingctx)
            self.state.targetctx = lean(self.state.targetctx)
            return needed(super().define_pipelines(), getattr(self.state.flags, "nrt", True))

    class _CompactCompiler(_EntryCompiler):
        library_of = staticmethod(lambda state: _compact_library(state))

    class _PlainCompiler(_EntryCompiler):
        library_of = staticmethod(lambda state: _compact_library(state, 1))

    class _PartCompiler(_EntryCompiler):
        library_of = staticmethod(lambda state: _part_library(state))

    compilers = _EntryCompiler, _CompactCompiler, _PlainCompiler, _PartCompiler
    ENTRY, COMPACT, PLAIN, PART = ({"pipeline_class": compiler} for compiler in compilers)

_ENVIRONMENT = "_ZN08NumbaEnv"  # how the names of variables begin that numba sets in code it has loaded
_WRAPPER = "_ZN7cpython"  # how the names of functions begin that Python calls
_ARITHMETIC = {"fadd", "fsub", "fmul", "fdiv"}


def _new_library(state):
    """Return the library that will hold the code of a kernel. numba would create the same one later."""
    library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
    library.enable_object_caching()
    return library


def _only_laid_out(library):
    """Return what numba does to a module besides optimising its functions."""
    layout = library._codegen._data_layout

    def lay_out(module):
        module.data_layout = layout

    return lay_out


def _self_contained_library(state):
    library = _new_library(state)
    add, finalize = library.add_ir_module, library._finalize_final_module

    def add_with_plain_wrapper(module):
        with contextlib.suppress(AttributeError):
            for function in module.functions:
                if function.name.startswith(_WRAPPER) and function.blocks:
                    function.attributes.add("optnone")
                    function.attributes.add("noinline")
        add(module)

    def make_symbols_local():
        with contextlib.suppress(AttributeError):
            for function in library._final_module.functions:
                if function.linkage == Linkage.linkonce_odr and not function.is_declaration:
                    function.linkage = Linkage.internal
        finalize()

    library.add_ir_module = add_with_plain_wrapper
    library._optimize_functions = _only_laid_out(library)
    library._finalize_final_module = make_symbols_local
    return library


def _compact_library(state, speed=3):
    library = _self_contained_library(state)
    optimize = library._optimize_final_module

    def without_unrolling():
        try:
            codegen = library._codegen
            cheap, builder = codegen._module_pass_manager(
                loop_vectorize=codegen._loopvect, slp_vectorize=False, opt=codegen._opt_level, cost="cheap"
            )
            options = llvm.create_pipeline_tuning_options(speed_level=speed)
            options.loop_vectorization, options.loop_unrolling = speed == 3, False
            other = llvm.create_pass_builder(codegen._tm, options)
            full = other.getModulePassManager()
        except (AttributeError, TypeError):
            optimize()
        else:
            cheap.run(library._final_module, builder)
            full.run(library._final_module, other)

    library._optimize_final_module = without_unrolling
    return library


def _part_library(state):
    """Return a library that others can copy from, and that has no machine code beside numba's variables."""
    library = _new_library(state)
    add, optimize = library.add_ir_module, library._optimize_functions
    finalize, _ = library._finalize_final_module, library._optimize_final_module
    only_laid_out = _only_laid_out(library)
    for name in ("_final_module", "_shared_module", "_get_module_for_linking", "_finalized"):
        getattr(library, name)  # if one is missing, we do not begin

    def add_optimized_if_it_computes(module):
        instructions = (i for f in module.functions for block in f.blocks for i in block.instructions)
        computes = any(i.opname in _ARITHMETIC for i in instructions)
        library._optimize_functions = optimize if computes else only_laid_out
        add(module)

    def keep_for_copies():
        whole = library._final_module
        for function in whole.functions:  # as numba does in a copy, which nobody needs here
            if function.linkage == Linkage.external and not function.is_declaration:
                function.linkage = Linkage.linkonce_odr
        library._finalized = True  # numba would otherwise finalize it, to have something to copy from
        library._get_module_for_linking()
        library._finalized = False
        variables = [
            v for v in whole.global_variables if v.name.startswith(_ENVIRONMENT) and not v.is_declaration
        ]
        rest = llvm.parse_assembly("\n".join(map(str, variables)))
        rest.name, rest.triple, rest.data_layout = whole.name, whole.triple, whole.data_layout
        library._final_module = rest
        finalize()

    library.add_ir_module = add_optimized_if_it_computes
    library._finalize_final_module = keep_for_copies
    library._optimize_final_module = lambda: None
    return library
