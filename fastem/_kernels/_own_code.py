"""Make every process run the same machine code, whether it compiled it or loaded it from the cache.

An entry kernel contains copies of the kernels that it calls. By default their symbols are weak. The process
that compiles them also has each of these kernels by itself in memory, and calls that in place of the copy.
A process that loads the entry kernel from the cache has only the copies. LLVM may order a sum differently
in the two, so the results could differ in their last bits. With local symbols both processes run the copies.

numba does not document most of the names that are used here. If one is missing, the symbols stay weak.
"""

import contextlib

try:
    from llvmlite.binding import Linkage
    from numba.core.compiler import Compiler
except ImportError:
    OPTION = {}
else:

    class _EntryCompiler(Compiler):
        def define_pipelines(self):
            with contextlib.suppress(AttributeError, KeyError):
                self.state.library = _self_contained_library(self.state)
            return super().define_pipelines()

    OPTION = {"pipeline_class": _EntryCompiler}


def _self_contained_library(state):
    """Return the library that will hold the code of a kernel. numba would create the same one later."""
    library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
    library.enable_object_caching()
    finalize = library._finalize_final_module

    def make_symbols_local():
        with contextlib.suppress(AttributeError):
            for function in library._final_module.functions:
                if function.linkage == Linkage.linkonce_odr and not function.is_declaration:
                    function.linkage = Linkage.internal
        finalize()

    library._finalize_final_module = make_symbols_local
    return library
