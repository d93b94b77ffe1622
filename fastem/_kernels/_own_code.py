"""Let an entry kernel run its own copies of the kernels that it calls.

numba links the kernels that a kernel calls into its code, as weak symbols, and compiles them there once
more. The process that compiled one of them has its machine code in memory on its own too, and calls this
wherever the symbol appears. A process that loads the entry kernel from the cache has only the copies.
The two may differ in the order of a sum, and so in the last bits. With local symbols both run the copies.

Most names of numba used here are not documented. Where one is missing, the symbols stay weak: then the
results of a process that compiles may differ from those of later ones in their last bits.
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
    """Where numba gathers the code of a kernel. It would make the same later, but for the symbols."""
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
