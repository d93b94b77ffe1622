"""If a name is missing that numba or NumPy does not document, a fit takes longer, but gives the same bits."""

import numba
import numpy as np
import pytest
from subprocesses import run_script

from fastem._families import matrices

pytestmark = [
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="numba is not used"),
    pytest.mark.slow,  # most of these tests compile kernels
]

# hide(path) makes a name missing for fastem, but not for numba itself.
HIDE = """
import inspect, pkgutil, sys, types

class Hidden:
    def __init__(self, name, original):
        self.name, self.original = name, original

    def __get__(self, instance, owner):
        if sys._getframe(1).f_globals["__name__"].startswith("fastem"):
            raise AttributeError(self.name)
        if self.original is None:
            return instance.__dict__[self.name]
        bind = getattr(type(self.original), "__get__", None)
        return bind(self.original, instance, owner) if bind else self.original

    def __set__(self, instance, value):
        instance.__dict__[self.name] = value

def hide(path):
    owner, name = path.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner)
    if isinstance(owner, types.ModuleType):
        owner.__class__ = type("Module", (owner.__class__,), {name: Hidden(name, None)})
    else:
        setattr(owner, name, Hidden(name, inspect.getattr_static(owner, name, None)))
"""
# The kernel of a fit that compiles fastest, run by the loop over slots.
SMALL_PASS = """
import hashlib
import numpy as np
from fastem._kernels._moments import slot_moments
from fastem._kernels._parallel import run_slots
X = np.random.default_rng(0).normal(size=(6000, 2))
sums = np.zeros(4), np.zeros((4, 2)), np.zeros((4, 2))
run_slots(slot_moments, (X, np.empty(0), *sums), 4, None)
assert sums[0].sum() == 6000
print(hashlib.sha256(b"".join(array.tobytes() for array in sums)).hexdigest())
print(sum(slot_moments.stats.cache_hits.values()))
"""
# This fit uses kernels in and out of threads, vectors, and parameters that numba tells apart by their types.
SMALL_FIT = """
import hashlib, warnings
import numpy as np
import fastem
warnings.simplefilter("ignore", fastem.FitWarning)
X = np.random.default_rng(0).normal(size=(6000, 2))
X[::2] += 3
model = fastem.fit(X, 2, covariance_type="spherical", init="random", rng=0, max_iter=5)
arrays = model.weights, model.means, model.covariances, np.array(model.report.history)
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
from fastem._kernels._estep import slot_statistics
print(sum(slot_statistics.stats.cache_hits.values()))
"""


def run(program, folder, *hidden, then=""):
    """Return the bits of a result, how many kernels came from the cache, and what else the script printed."""
    script = HIDE + "".join(f"hide({name!r})\n" for name in hidden) + program + then
    words = run_script(script, NUMBA_CACHE_DIR=str(folder), NUMBA_NUM_THREADS="2").split()
    return words[0], int(words[1]), words[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module")
def bits(folder):
    """The bits of each program with all names. Its kernels stay in the folder."""
    results = {program: run(program, folder) for program in (SMALL_FIT, SMALL_PASS)}
    assert [hits for _, hits, _ in results.values()] == [0, 0]
    return {program: result for program, (result, _, _) in results.items()}


@pytest.mark.parametrize(
    "name",
    [
        "numba.core.caching.FunctionCache",
        "numba.core.caching.Cache._cache_file",
        "numba.core.caching.Cache._impl",
        "numba.core.dispatcher.Dispatcher._cache",
    ],
)
def test_without_it_nothing_comes_from_the_cache(name, bits, folder):
    assert run(SMALL_PASS, folder, name)[:2] == (bits[SMALL_PASS], 0)


def test_without_it_kernels_are_kept_where_numba_keeps_them(bits, tmp_path):
    name = "numba.core.caching.AppDirs"
    for hits in (0, 1):
        assert run(SMALL_PASS, tmp_path, name)[:2] == (bits[SMALL_PASS], hits)
    assert not list(tmp_path.glob("fastem_*"))


def test_without_it_nothing_is_kept(bits, tmp_path):
    name = "numba.core.caching.IndexDataCacheFile.save"
    assert run(SMALL_PASS, tmp_path, name)[:2] == (bits[SMALL_PASS], 0)
    assert not list(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize(
    "name",
    [
        "numba.core.codegen.JITCodeLibrary.get_pointer_to_function",
        "numba.core.compiler.CompileResult.fndesc",
        "numba.core.compiler.CompileResult.library",
        "numba.core.compiler.CompileResult.target_context",
        "numba.core.datamodel.models.ArrayModel._fields",
        "numba.core.dispatcher.Dispatcher.compile",
        "numba.core.dispatcher.Dispatcher.overloads",
        "numba.core.funcdesc.FunctionDescriptor.llvm_func_name",
    ],
)
def test_without_it_threads_of_python_call_the_kernels(name, bits, folder):
    threads = "from fastem._kernels._slot_loop import _loops; print(set(_loops.values()))"
    assert run(SMALL_FIT, folder, name, then=threads) == (bits[SMALL_FIT], 1, ["{None}"])


@pytest.mark.parametrize(
    "name",
    ["numba.core.codegen.JITCodeLibrary.get_pointer_to_function", "numba.core.cpu.CPUContext.call_conv"],
)
def test_without_it_small_fits_are_made_by_passes(name, folder):
    # They begin with other random numbers, so the bits differ.
    fit = """
import numpy as np, fastem
from fastem._em.whole import _codes
X = np.random.default_rng(0).normal(size=(100, 1)) + 9 * (np.arange(100)[:, None] % 2)
print(fastem.fit(X, 2, rng=0).report.status.name, _codes())
"""
    script = HIDE + f"hide({name!r})\n" + fit
    assert run_script(script, NUMBA_CACHE_DIR=str(folder)).split() == ["CONVERGED", "None"]


def test_if_numba_lays_out_arrays_in_another_way_threads_of_python_call_the_kernels(bits, folder):
    other = "from fastem._kernels import _slot_loop; _slot_loop._FIELDS = _slot_loop._FIELDS[::-1]\n"
    threads = "from fastem._kernels._slot_loop import _loops; print(set(_loops.values()))"
    assert run(other + SMALL_FIT, folder, then=threads) == (bits[SMALL_FIT], 1, ["{None}"])


def test_without_it_no_loop_is_compiled(bits, tmp_path):
    hidden = "numba.core.cpu.CPUContext.call_conv", "numba.NumbaError"
    threads = "from fastem._kernels._slot_loop import _loops; print(set(_loops.values()))"
    assert run(SMALL_PASS, tmp_path, *hidden, then=threads) == (bits[SMALL_PASS], 0, ["{None}"])


@pytest.mark.parametrize(
    "names",
    [
        ["numba.core.cpu.CPUTargetOptions"],
        ["numba.core.cpu.CPUTargetOptions._nrt"],
        ["numba.core.cpu.CPUTargetOptions.inline", "numba.core.cpu.CPUTargetOptions.forceinline"],
        [f"numba.core.cpu.CPUTargetOptions.no_{kind}_wrapper" for kind in ("cpython", "cfunc")],
    ],
    ids=["all", "_nrt", "inlining", "wrappers"],
)
def test_without_it_kernels_compile_without_it(names, bits, tmp_path):
    options = """
from fastem._kernels import _jit
decorators = [value for name, value in vars(_jit).items() if name.endswith("kernel")]
given = {option for decorate in decorators for option in decorate(lambda x: x).targetoptions}
print(*given, *_jit.KERNEL_OPTIONS, *_jit.ORDERED_OPTIONS)
"""
    fitted, _, given = run(SMALL_FIT, tmp_path, *names, then=options)
    assert fitted == bits[SMALL_FIT]
    hidden = {name.rsplit(".", 1)[1] for name in names}
    if "CPUTargetOptions" in hidden:
        hidden = {"_nrt", "inline", "forceinline", "no_cpython_wrapper", "no_cfunc_wrapper"}
    assert not hidden & set(given)
    assert {"nogil", "error_model", "fastmath"} <= set(given)


@pytest.mark.parametrize(
    "name",
    [
        "llvmlite.binding.ffi._LLVMLock._cblist",
        "llvmlite.binding.ffi._LLVMLock._lock",
        "numba.core.compiler_machinery.PassManager.passes",
        "numba.core.postproc.PostProcessor",
        "numba.core.postproc.PostProcessor.run",
        "numba.core.postproc.VariableLifetime",
        "numba.core.targetconfig.ConfigStack.top_or_none",
        "numba.core.typing.context.BaseContext._lookup_global",
    ],
)
def test_without_it_numba_does_all_of_its_work(name, bits, tmp_path):
    assert run(SMALL_PASS, tmp_path, name)[:2] == (bits[SMALL_PASS], 0)


@pytest.mark.parametrize(
    "name",
    [
        "numba.core.imputils.impl_ret_new_ref",
        "numba.core.runtime.context.NRTContext.meminfo_alloc_aligned",
        "numba.core.runtime.context.NRTContext.meminfo_data",
    ],
)
def test_without_it_new_arrays_are_those_of_numpy(name, bits, tmp_path):
    by_numpy = "from fastem._kernels import _new; print(_new.new_array is _new._by_numpy)"
    assert run(SMALL_PASS, tmp_path, name, then=by_numpy) == (bits[SMALL_PASS], 0, ["True"])


def test_only_entry_kernels_have_machine_code(bits, tmp_path):
    defined = """
from fastem._kernels._moments import slot_moments
from fastem._kernels._tile import slot_range
for kernel in slot_moments, slot_range:
    (compiled,) = kernel.overloads.values()
    print(any(not function.is_declaration for function in compiled.library._final_module.functions))
"""
    assert run(SMALL_PASS, tmp_path, then=defined) == (bits[SMALL_PASS], 0, ["True", "False"])


@pytest.mark.parametrize(
    "name",
    [
        "numba.core.compiler.Compiler",
        "numba.core.codegen.CPUCodeLibrary._finalize_final_module",
        "numba.core.codegen.CPUCodeLibrary._get_module_for_linking",
        "numba.core.codegen.CPUCodeLibrary._optimize_functions",
    ],
)
def test_without_it_the_process_that_compiles_may_have_other_bits(name, tmp_path):
    _, hits, _ = run(SMALL_PASS, tmp_path, name)
    assert hits == 0
    assert run(SMALL_PASS, tmp_path)[1] == 1


@pytest.mark.parametrize("name", ["numba.core.config.CPU_NAME", "numba.core.config.CPU_FEATURES"])
def test_without_it_the_target_is_the_host(name, bits, folder):
    assert run(SMALL_FIT, folder, name)[:2] == (bits[SMALL_FIT], 1)


def test_without_it_params_are_known_by_their_names(bits, tmp_path):
    assert run(SMALL_FIT, tmp_path, "numba.core.types.NamedTuple.instance_class")[:2] == (bits[SMALL_FIT], 0)


def test_without_it_the_cache_folder_is_unknown(bits, folder):
    describe = "from fastem._kernels._target import describe_target; print(describe_target()['cache folder'])"
    hide = "hide('numba.core.dispatcher.Dispatcher.stats')\n"
    assert run(SMALL_PASS, folder, then=hide + describe) == (bits[SMALL_PASS], 1, ["unknown"])
    assert run(SMALL_PASS, folder, then=describe)[2][0].startswith(str(folder))


def test_matrices_are_factored_and_inverted_without_what_numpy_does_not_document(monkeypatch):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 5, 5))
    covariances, wrong = roots @ roots.transpose(0, 2, 1), np.zeros((2, 5, 5))

    def results():
        factors = matrices.factors_of(covariances)
        for function, argument in ((matrices.factors_of, -covariances), (matrices.invert_lower, wrong)):
            with pytest.raises(np.linalg.LinAlgError):
                function(argument)
        return factors.tobytes(), matrices.invert_lower(factors).tobytes()

    expected = results()
    monkeypatch.setattr(matrices, "_cholesky", np.linalg.cholesky)
    monkeypatch.setattr(matrices, "_inverse", np.linalg.inv)
    assert results() == expected
