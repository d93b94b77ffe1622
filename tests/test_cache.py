"""The cache of compiled kernels: missing, shared, damaged, read-only, after an edit, and announced."""

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import event
from subprocesses import run_script

import fastem
from fastem._kernels import _jit_cache, _jit_notice
from fastem._kernels._ascent import ascend_slots
from fastem._kernels._breathing import breathe
from fastem._kernels._dispatch import KERNELS
from fastem._kernels._estep import slot_scores, slot_statistics
from fastem._kernels._incomplete import (
    IncompleteParams,
    slot_imputed,
    slot_incomplete,
    slot_incomplete_scores,
)
from fastem._kernels._lloyd import slot_lloyd
from fastem._kernels._measured_sums import slot_measured, slot_measured_scores
from fastem._kernels._mixed import slot_responsibilities
from fastem._kernels._moments import slot_moments
from fastem._kernels._params import SphericalParams
from fastem._kernels._pattern_passes import slot_groups
from fastem._kernels._whole_fit import fit_slots
from fastem._kernels._wide import slot_wide

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="no cache without JIT")

# This calls the kernel of a fit that compiles fastest.
MOMENTS = """
import sys, numpy as np
from fastem._kernels._lloyd import slot_lloyd
from fastem._kernels._mixed import slot_responsibilities
from fastem._kernels._moments import slot_moments
X = np.arange(12.0).reshape(6, 2).astype(sys.argv[1])
weights, means, squares = np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2))
slot_moments(X, np.empty(0, X.dtype), weights, means, squares, 0)
print(means[0])
print(sum(slot_moments.stats.cache_hits.values()))
"""
MEAN = "[5. 6.]"


def moments(folder, dtype="f8", **environment):
    """Return how many kernels came from the cache."""
    mean, hits = run_script(MOMENTS, dtype, NUMBA_CACHE_DIR=str(folder), **environment).splitlines()
    assert mean == MEAN
    return int(hits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache folder that two processes filled at the same time. It did not exist before."""
    folder = tmp_path_factory.mktemp("cache") / "not" / "there"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MOMENTS, dtype], env=environment, stdout=subprocess.PIPE, text=True
        )
        for dtype in ("f8", "f4")
    ]
    for process in processes:
        assert process.communicate(timeout=300)[0].splitlines() == [MEAN, "0"]
        assert process.returncode == 0
    return folder


@pytest.mark.slow
def test_two_processes_fill_one_empty_folder(folder):
    for dtype in ("f8", "f4"):
        moments(folder, dtype)
        assert moments(folder, dtype) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: b"garbage" * 99],
    ids=["empty", "truncated", "garbage"],
)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files_are_compiled_anew(folder, suffix, spoil, tmp_path):
    damaged = tmp_path / "cache"
    shutil.copytree(folder, damaged)
    for path in damaged.rglob(f"*slot_moments*{suffix}"):
        path.write_bytes(spoil(path.read_bytes()))
    assert moments(damaged) == 0
    assert moments(damaged) == 1


@pytest.mark.slow
def test_a_flipped_bit_of_machine_code_is_noticed(folder, tmp_path):
    damaged = tmp_path / "cache"
    shutil.copytree(folder, damaged)
    for path in damaged.rglob("*slot_moments*.nbc"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert moments(damaged) == 0


@pytest.mark.slow
def test_without_a_writable_folder_kernels_compile_in_memory(tmp_path):
    (tmp_path / "file").touch()
    unwritable = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    for _ in range(2):
        assert moments(tmp_path / "file" / "cache", **unwritable) == 0


def test_machine_code_of_another_signature_is_a_miss(tmp_path):
    """Two processes that write the index and the data of one name in turns can leave such files."""
    file = _jit_cache.CacheFile(str(tmp_path), "kernel", "stamp")
    file.save("float64", "code for float64")
    assert file.load("float64") == "code for float64"
    file._save_index({"float32": file._data_name(1)})
    assert file.load("float32") is None
    file.save("float32", "code for float32")
    assert file.load("float32") == "code for float32"


HELPER = """
from fastem._kernels._jit import kernel
@kernel
def helper(x):
    return FACTOR * x
"""
CALLER = """
import helper
from fastem._kernels._jit import entry_kernel
called = helper.helper
@entry_kernel
def caller(x):
    return called(x)
"""
CALL = """
import caller
print(caller.caller(1.0), sum(caller.caller.stats.cache_hits.values()))
"""


class Program:
    """Two files of kernels outside the package: `caller.py` and `helper.py`, whose kernel it contains."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "caller.py").write_text(CALLER)

    def write_helper(self, factor):
        (self.folder / "helper.py").write_text(HELPER.replace("FACTOR", str(factor)))

    def run(self, script=CALL):
        environment = {
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(Path(fastem.__file__).parents[1])]),
            "PYTHONDONTWRITEBYTECODE": "1",  # Python's own cache may miss an edit within a second
            "NUMBA_CACHE_DIR": str(self.folder / "cache"),
        }
        return [float(word) for word in run_script(script, **environment).split()]


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


@pytest.mark.slow
def test_an_edit_of_any_file_of_kernels_is_noticed(program):
    for factor in (2, 3):
        program.write_helper(factor)
        assert program.run() == [factor, 0]
        assert program.run() == [factor, 1]


@pytest.mark.slow
def test_an_edit_of_a_zipped_file_of_kernels_is_noticed(program):
    for factor in (2, 3):
        with zipfile.ZipFile(program.folder / "helpers.zip", "w") as archive:
            archive.writestr("helper.py", HELPER.replace("FACTOR", str(factor)))
        script = f"import sys; sys.path.insert(0, {str(program.folder / 'helpers.zip')!r})\n{CALL}"
        assert program.run(script) == [factor, 0]
        assert program.run(script) == [factor, 1]


@pytest.mark.slow
def test_code_that_was_edited_before_it_was_compiled_is_not_kept(program):
    """A process runs what it imported. The next process must not use that if the file has changed."""
    program.write_helper(2)
    edit = f"import helper; open(helper.__file__, 'w').write({HELPER.replace('FACTOR', '3')!r})\n"
    assert program.run(edit + CALL) == [2, 0]
    assert program.run() == [3, 0]


@pytest.mark.slow
def test_reloaded_code_is_not_kept(program):
    """If a process has loaded two versions of a file, we do not know which one a kernel contains."""
    program.write_helper(2)
    edit = f"import helper; open(helper.__file__, 'w').write({HELPER.replace('FACTOR', '37')!r})\n"
    reload = "import importlib, sys; sys.dont_write_bytecode = True; importlib.reload(helper)\n"
    assert program.run(f"{edit}{reload}{CALL}") == [37, 0]
    assert program.run() == [37, 0]
    program.write_helper(2)
    assert program.run() == [2, 0]


@pytest.mark.slow
def test_kernels_of_code_without_a_file_are_not_kept(program):
    program.write_helper(2)
    no_file = "import fastem._kernels._jit as jit; exec('@jit.kernel\\ndef other(x): return x')\n"
    assert program.run(no_file + CALL) == [2, 0]
    assert program.run(no_file + CALL) == [2, 0]


def test_a_folder_that_becomes_full_or_read_only_costs_no_result(program):
    program.write_helper(2)
    full = """
import errno
from numba.core.caching import FunctionCache
def save(self, sig, data):
    raise OSError(errno.ENOSPC, "No space left on device")
FunctionCache.save_overload = save
"""
    assert program.run(full + CALL) == [2, 0]


@pytest.mark.slow
def test_files_that_come_later_cost_no_hits(program):
    """Processes with and without kernels in another file do not overwrite each other's compiled kernels."""
    program.write_helper(2)
    (program.folder / "later.py").write_text(HELPER.replace("FACTOR", "5"))
    assert program.run("import later\n" + CALL) == [2, 0]
    assert program.run(CALL) == [2, 0]
    assert program.run("import later\n" + CALL) == [2, 1]
    assert program.run(CALL + "import later\n") == [2, 1]


@pytest.mark.slow
def test_an_edit_of_a_helper_in_the_package_is_noticed(tmp_path):
    script = f"{copied_package(tmp_path)}{MOMENTS}"

    def moments():
        return run_script(script, "f8", NUMBA_CACHE_DIR=str(tmp_path / "cache")).splitlines()

    assert moments() == [MEAN, "0"]
    assert moments() == [MEAN, "1"]
    tile = tmp_path / "fastem" / "_kernels" / "_tile.py"
    before, after = "stop if stop < n else n\n", "stop if stop < n else n - 1\n"  # the rows of a slot
    assert before in tile.read_text()
    tile.write_text(tile.read_text().replace(before, after))
    assert moments() == ["[4. 5.]", "0"]


def copied_package(folder):
    """Return the code that makes a process import a copy of the package."""
    package = folder / "fastem"
    shutil.copytree(Path(fastem.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    return f"import sys; sys.path.insert(0, {str(folder)!r})\n"


@pytest.mark.slow
def test_all_copies_of_the_package_share_their_kernels(folder, tmp_path):
    moments(folder)
    script = f"{copied_package(tmp_path)}{MOMENTS}import fastem; print(fastem.__file__)"
    printed = run_script(script, "f8", NUMBA_CACHE_DIR=str(folder)).splitlines()
    assert printed == [MEAN, "1", str(tmp_path / "fastem" / "__init__.py")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the user's folder has other names there")
def test_without_a_folder_of_its_own_the_cache_is_the_users(tmp_path):
    """Even though the folder of the code can be written to, where numba would keep it."""
    script = f"{copied_package(tmp_path)}{MOMENTS}"
    environment = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "user")}
    assert [run_script(script, "f8", **environment).split()[-1] for _ in range(2)] == ["0", "1"]
    assert len(list(tmp_path.glob("user/numba/fastem_*/*slot_moments*.nbc"))) == 1
    assert not list((tmp_path / "fastem").rglob("*.nbc"))


def test_a_filled_folder_serves_although_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    found = _jit_cache.shared_folder.__wrapped__()
    monkeypatch.setattr(_jit_cache.os, "access", lambda *_: False)
    assert _jit_cache.shared_folder.__wrapped__() is None
    (Path(found) / "kernel.nbi").touch()
    assert _jit_cache.shared_folder.__wrapped__() == found


@pytest.mark.slow
def test_files_outside_the_package_cost_its_kernels_no_hits(program):
    """The kernels of the package contain nothing from outside, so all processes share them."""
    program.write_helper(2)
    folder = program.folder / "cache"
    moments(folder)
    script = f"import sys; sys.path.insert(0, {str(program.folder)!r})\nimport caller; caller.caller(1.0)\n"
    assert run_script(script + MOMENTS, "f8", NUMBA_CACHE_DIR=str(folder)).splitlines() == [MEAN, "1"]


def compiling(dispatcher, params, dtype):
    """Make numba tell its listeners that it compiles a kernel for rows of this dtype."""
    types = [numba.types.Array(dtype, 2, "C"), *([numba.typeof(params)] if params else [])]
    data = {"dispatcher": dispatcher, "args": types, "return_type": None}
    with event.trigger_event("numba:compile", data=data):
        time.sleep(0.01)


def test_what_takes_long_to_compile_is_logged_before(caplog):
    row = np.ones((1, 1))
    params = SphericalParams(*(row for _ in SphericalParams._fields))
    compiling(slot_moments, None, numba.float64)  # takes half a second
    assert not caplog.records
    compiling(slot_statistics, params, numba.float32)
    compiling(breathe, None, numba.float64)
    first, second = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"fastem: compiling kernels for spherical, float32: once, about \d+ s", first)
    assert re.fullmatch(
        r"fastem: compiling kernels for starts by k-means, float64: once, about \d+ s", second
    )


def test_kernels_of_rows_with_gaps_are_announced(caplog):
    row = np.ones((1, 1))
    params = IncompleteParams(*(row for _ in IncompleteParams._fields))
    compiling(slot_incomplete, params, numba.float64)
    compiling(slot_imputed, params, numba.float64)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("fastem: compiling kernels for rows with gaps, float64: once, about ")
    assert second.startswith("fastem: compiling kernels for imputing rows with gaps, float64: once, about ")


ORDERS = """
import numba, numpy as np, fastem
from fastem._kernels._ascent import ascend_slots, lay_out
from fastem._kernels._estep import slot_statistics
from fastem._kernels._kmeans import label_starts
X = np.random.default_rng(0).normal(size=(700, 2)) + 9 * (np.arange(700)[:, None] % 2)
fastem.fit(X, 2, rng=0, covariance_type="spherical")
fastem.fit(X, 2, rng=0, sample_weight=np.ones(700), covariance_type="spherical")  # not as a whole
for kernel in ascend_slots, lay_out, label_starts, slot_statistics:
    kinds = [kind for signature in kernel.signatures for kind in signature]
    orders = {kind.layout for kind in kinds if isinstance(kind, numba.types.Array) and kind.ndim > 1}
    print(len(kernel.signatures), *orders)
"""


def test_callers_pass_arrays_in_one_order_so_that_kernels_compile_once():
    assert run_script(ORDERS).split("\n")[:4] == ["1 C"] * 4


def test_every_kernel_that_is_announced_exists():
    kernels = {slot_statistics, slot_scores, breathe, ascend_slots, slot_lloyd, slot_responsibilities}
    kernels |= {slot_incomplete, slot_groups, slot_incomplete_scores, slot_imputed}
    kernels |= {slot_measured, slot_measured_scores, slot_wide, fit_slots}
    assert set(_jit_notice._SECONDS) == {kernel.py_func.__name__ for kernel in kernels}
    assert {f"{kind}Params" for kind in _jit_notice._STATISTICS} <= {kind.__name__ for kind in KERNELS}


@pytest.mark.slow
def test_after_a_warmup_another_process_compiles_nothing(tmp_path):
    folder = {"NUMBA_CACHE_DIR": str(tmp_path)}
    words = ["warmup", "--covariance-type", "spherical", "--dtype", "float32", "--kmeans"]
    run_script(f"import sys; from fastem.__main__ import main; sys.exit(main({words}))", **folder)
    compiled = run_script(
        """
import numpy as np, fastem
from numba.core import event

class Listener(event.Listener):
    def on_start(self, event):
        print(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        pass

event.register("numba:compile", Listener())
for n in (300, 150_000):
    X = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    model = fastem.fit(X, 3, covariance_type="spherical", rng=0, tol=0.01)
    model.predict(X), model.predict_proba(X), model.score(X), fastem.kmeans(X, 3, rng=0)
""",
        **folder,
    )
    assert compiled == ""
