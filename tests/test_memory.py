"""A fit needs little memory beyond X."""

import functools
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subprocesses import run_script

SCRIPT = """
import resource, sys
import numpy as np, fastem
n, d, k, kind, order = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
small = np.random.default_rng(0).normal(size=(5000, d))
def run(X, **options):
    return fastem.fit(X, k, covariance_type=kind, rng=0, max_iter=2, tol=0, **options)
run(np.asarray(small, order=order))
X = np.empty((n, d), order=order)
for start in range(0, n, 5000):
    X[start : start + 5000] = small[: n - start]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(X)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize(
    ("n", "d", "k", "covariance_type", "order"),
    [
        (3_000_000, 4, 8, "full", "C"),
        pytest.param(3_000_000, 4, 8, "full", "F", marks=pytest.mark.slow),
        pytest.param(1_000_000, 16, 16, "diag", "C", marks=pytest.mark.slow),
        pytest.param(200_000, 64, 16, "diag", "F", marks=pytest.mark.slow),
        pytest.param(60_000, 100, 100, "full", "C", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_fit_needs_at_most_64_megabytes_beyond_X(n, d, k, covariance_type, order):
    arguments = [str(value) for value in (n, d, k, covariance_type, order)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) <= 64


FILE = """
import resource, sys
import numpy as np, fastem
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = sys.argv[1]
X = path if path.endswith("parquet") else np.load(path, mmap_mode="r")
model = fastem.fit(X, 8, rng=0, max_iter=1, tol=0, cache_dir=sys.argv[2] if len(sys.argv) > 2 else None)
for labels in model.predict(X):
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """A function that makes a file of 400 MB, in row groups of 100 MB, once."""
    folder, n, d = tmp_path_factory.mktemp("large"), 800_000, 16
    rows = np.random.default_rng(0).normal(size=(n, d))

    @functools.cache
    def make(name):
        if name == "X.npy":
            X = np.lib.format.open_memmap(folder / name, "w+", np.float64, (4 * n, d))
            for part in range(4):
                X[part * n : (part + 1) * n] = rows
            X.flush()
        else:
            table = pa.table({f"{j}": rows[:, j].copy() for j in range(d)})
            with pq.ParquetWriter(folder / name, table.schema) as writer:
                for _ in range(4):
                    writer.write_table(table)
        return folder / name

    yield make
    shutil.rmtree(folder)  # pytest would keep it


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize(("name", "copied"), [("X.npy", False), ("X.parquet", False), ("X.parquet", True)])
def test_a_fit_of_a_file_needs_little_memory(name, copied, large_file, tmp_path):
    assert float(run_script(FILE, large_file(name), *([tmp_path] if copied else []))) <= 300
