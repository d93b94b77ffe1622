"""The programs of docs/howto/engines give the result of `fit`. After a dead worker they do as documented."""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from problems import clusters

import fastem

PROGRAMS = Path(__file__).parent.parent / "docs" / "howto" / "engines"
CUTS = [0, 4_000, 4_001, 9_000, 14_000, 20_000]

pytestmark = pytest.mark.slow

# For each engine its module, and the command that runs its program.
ENGINES = {
    "joblib": ("joblib", [sys.executable]),
    "ray": ("ray", [sys.executable]),
    "spark": ("pyspark", ["spark-submit", "--master", "local[2,4]"]),  # Spark tries a failed task four times
    "mpi": ("mpi4py", ["mpiexec", "-n", "2", sys.executable, "-m", "mpi4py"]),
}
NEEDS = {"spark": "java"}
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
ENVIRONMENT = {
    "PATH": PATH,
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYSPARK_PYTHON": sys.executable,
    "SPARK_LOCAL_IP": "127.0.0.1",
    # Java's second compiler does not pay off for a process of a few seconds.
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
# The errors of the engines that do not retry after a worker died.
LAST_WORDS = {"joblib": "TerminatedWorkerError", "mpi": "signal 9"}

# A process is killed when it opens its second source. This happens only once in all processes together.
KILLER = """
import os
import fastem._api.mixture as target

opened, source_of = [], target.source_of

def kill_once(*arguments, **options):
    opened.append(1)
    if len(opened) == 2:
        try:
            os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), 9)
    return source_of(*arguments, **options)

target.source_of = kill_once
"""


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A folder of Parquet files of different sizes with a column to leave out, and initial parameters."""
    folder = tmp_path_factory.mktemp("engines")
    X = clusters(0, CUTS[-1], 3, 3)
    table = pa.table({"id": np.arange(len(X)), **dict(zip("abc", X.T.copy(), strict=True))})
    (folder / "X").mkdir()
    for number, (first, last) in enumerate(itertools.pairwise(CUTS)):
        pq.write_table(table.slice(first, last - first), folder / "X" / f"{number}.parquet")
    start = fastem.fit(
        folder / "X" / "0.parquet", 3, columns=["a", "b", "c"], init="k-means++", max_iter=0, rng=0
    )
    start.save(folder / "start.npz")
    return folder


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    module, (launcher, *_) = ENGINES[request.param]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    for program in (launcher, NEEDS.get(request.param, launcher)):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    return request.param


@pytest.fixture(scope="module")
def undisturbed(engine, problem):
    done, model = run(engine, problem / "X", problem / "start.npz", problem / f"{engine}.npz")
    assert done.returncode == 0, done.stderr
    return model


def run(engine, folder, start, result, **environment):
    """Run the program of an engine. Return the finished process, and its model if there is one."""
    _, launcher = ENGINES[engine]
    command = [*launcher, PROGRAMS / f"{engine}_em.py", folder, start, result]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **ENVIRONMENT, **environment},
    )
    return done, fastem.load(result) if result.exists() else None


def bits(model):
    return b"".join(array.tobytes() for array in (model.weights, model.means, model.covariances))


def test_the_parameters_of_a_fit(undisturbed, problem):
    def small(means):
        return len(means) > 1 and means[-1] - means[-2] < 1e-4

    options = {"columns": ["a", "b", "c"], "init": fastem.load(problem / "start.npz")}
    fitted = fastem.fit(problem / "X", 3, tol=small, acceleration=None, **options)
    assert fitted.report.n_iter > 2
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(undisturbed, name), getattr(fitted, name), rtol=1e-9, atol=1e-9)
    assert undisturbed.feature_names == fitted.feature_names


def test_a_worker_killed_in_mid_run(engine, undisturbed, problem, tmp_path):
    """If the engine retries, this costs only time. Otherwise the run fails, but no result is wrong."""
    mark = tmp_path / "killed"
    (tmp_path / "sitecustomize.py").write_text(KILLER.format(mark=str(mark)))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = tmp_path / "model.npz"
    done, model = run(engine, problem / "X", problem / "start.npz", result, PYTHONPATH=path)
    assert mark.exists()
    if engine in LAST_WORDS:
        assert done.returncode != 0
        assert LAST_WORDS[engine] in done.stdout + done.stderr
        assert model is None
    else:
        assert done.returncode == 0, done.stderr
        assert bits(model) == bits(undisturbed)


def test_a_file_that_holds_nan_ends_the_program(engine, problem, tmp_path):
    folder = tmp_path / "X"
    shutil.copytree(problem / "X", folder)
    columns = {name: np.full(3, np.nan) for name in "abc"}
    pq.write_table(pa.table({"id": [1, 2, 3], **columns}), folder / "9.parquet")
    done, model = run(engine, folder, problem / "start.npz", tmp_path / "model.npz")
    assert done.returncode != 0
    assert "must be finite" in done.stdout + done.stderr
    assert model is None
