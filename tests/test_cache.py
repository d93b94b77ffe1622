"""The cache of compiled kernels if it is missing, shared, damaged or read-only."""

import os
import shutil
import subprocess
import sys

import numba
import pytest
from subprocesses import run_script

from fastem._kernels import _jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="no cache without JIT")

# This calls the kernel of a fit that compiles fastest.
MOMENTS = """
import sys, numpy as np
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows
X = np.arange(12.0).reshape(6, 2).astype(sys.argv[1])
print(ArraySource(Rows("X", 0, X)).moments().mean)
from fastem._kernels._moments import slot_moments
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


def test_two_processes_fill_one_empty_folder(folder):
    for dtype in ("f8", "f4"):
        moments(folder, dtype)
        assert moments(folder, dtype) == 1


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


def test_a_flipped_bit_of_machine_code_is_noticed(folder, tmp_path):
    damaged = tmp_path / "cache"
    shutil.copytree(folder, damaged)
    for path in damaged.rglob("*slot_moments*.nbc"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert moments(damaged) == 0


def test_without_a_writable_folder_kernels_compile_in_memory(tmp_path):
    (tmp_path / "file").touch()
    unwritable = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    for _ in range(2):
        assert moments(tmp_path / "file" / "cache", **unwritable) == 0


def test_a_folder_that_becomes_full_or_read_only_costs_no_result(monkeypatch):
    def save(self, sig, data):
        raise OSError("No space left on device")

    monkeypatch.setattr(_jit.FunctionCache, "save_overload", save)
    doubled = _jit.entry_kernel(double)
    assert doubled(3.0) == 6.0


def double(x):
    return 2 * x


def test_machine_code_of_another_signature_is_a_miss(tmp_path):
    """Two processes that write the index and the data of one name in turns can leave such files."""
    file = _jit._CacheFile(str(tmp_path), "kernel", "stamp")
    file.save("float64", "code for float64")
    assert file.load("float64") == "code for float64"
    file._save_index({"float32": file._data_name(1)})
    assert file.load("float32") is None
    file.save("float32", "code for float32")
    assert file.load("float32") == "code for float32"


def test_the_cache_notices_a_change_in_any_kernel_file():
    from fastem._kernels._estep import slot_statistics
    from fastem._kernels._full_mstep import accumulate_tile

    for kernel in (slot_statistics, accumulate_tile):
        assert _jit.sources_digest() in kernel._cache._cache_file._source_stamp
