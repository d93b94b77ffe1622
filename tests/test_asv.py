"""Every asv benchmark runs once, on few rows."""

import importlib
import inspect
import itertools
import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "asv_benchmarks"
MODULES = [
    "sources",
    "memory",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("passes", "fits", "startup")),
]


def combinations(benchmark):
    parameters = getattr(benchmark, "params", ())
    return list(itertools.product(*parameters))


def call(suite, name, *arguments):
    """Call a method of a suite if the suite has it."""
    getattr(suite, name, lambda *_: None)(*arguments)


def run_warm(run):
    """It takes the kernels that the tests have compiled, not those of the folder, which may be empty."""
    return lambda code, folder: run(code, os.environ.get("NUMBA_CACHE_DIR", ""))


@pytest.mark.skipif(not FOLDER.exists(), reason="not in a checkout")
@pytest.mark.filterwarnings("ignore::fastem.FitWarning")  # few rows make singular components
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.slow
def test_benchmarks_run(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # as asv does, since setup_cache writes files
    monkeypatch.setenv("FASTEM_ASV_SCALE", "0.001")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in [name for name in sys.modules if name.startswith("benchmarks")]:
        del sys.modules[name]
    benchmarks = importlib.import_module(f"benchmarks.{module}")
    if module == "startup":
        monkeypatch.setattr(benchmarks, "run", run_warm(benchmarks.run))
    ran = 0
    for _, suite in inspect.getmembers(benchmarks, inspect.isclass):
        call(suite(), "setup_cache")
        for combination in combinations(suite):
            instance = suite()
            call(instance, "setup", *combination)
            for name, method in inspect.getmembers(instance, inspect.ismethod):
                if name.startswith(("time_", "track_", "peakmem_")):
                    method(*combination)
                    ran += 1
            call(instance, "teardown", *combination)
    assert ran > 0
