"""The same input and seed give the same bits, for any number of threads and in any process."""

import multiprocessing
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
from problems import TYPES, clusters
from subprocesses import run_script

import fastem
from fastem._kernels import _parallel
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows

# Options of a fit, for each kind of compiled distribution.
KINDS = {name: {"covariance_type": name} for name in TYPES}
KINDS |= {name: {"distribution": name} for name in ("poisson", "student")}


def bits(model):
    arrays = (model.weights, *model.parameters.values(), np.array(model.report.history))
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_for_one_and_two_threads(kind, dtype):
    X = clusters(0, 50_000, 5, 4, dtype)
    if kind == "poisson":
        X = np.rint(abs(X))
    options = KINDS[kind] | {"rng": 0, "max_iter": 10, "tol": 0}
    one, two = (bits(fastem.fit(X, 4, n_threads=n, **options)) for n in (1, 2))
    assert one == two


# Some of these kernels sum in another order if they are compiled by themselves than inside their callers.
FRESH = """
import hashlib
import numpy as np, fastem
from fastem._kernels._estep import slot_statistics
for dtype in ("f8", "f4"):
    for d, k in ((2, 3), (26, 5)):
        rng = np.random.default_rng(0)
        labels = np.arange(5000) % k
        X = (rng.normal(size=(5000, d)) + 3 * rng.normal(size=(k, d))[labels]).astype(dtype)
        start = np.where(rng.random(5000) < 0.3, rng.integers(k, size=5000), labels)  # no k-means to compile
        for rows, kind in ((X, {"covariance_type": "tied"}), (np.rint(abs(X)), {"distribution": "poisson"})):
            model = fastem.fit(rows, k, init=start, max_iter=10, tol=0, n_threads=1, **kind)
            arrays = model.weights, *model.parameters.values(), np.array(model.report.history)
            print(*kind.values(), dtype, d, hashlib.sha256(b"".join(map(bytes, arrays))).hexdigest())
print(sum(slot_statistics.stats.cache_hits.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="no cache without JIT")
def test_the_process_that_compiles_gets_the_bits_of_those_that_load(tmp_path):
    compiled, loaded = (run_script(FRESH, NUMBA_CACHE_DIR=str(tmp_path)).splitlines() for _ in range(2))
    assert (compiled.pop(), loaded.pop()) == ("0", "4")
    assert len(set(compiled)) == 8
    assert compiled == loaded


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
def test_same_bits_twice_with_the_same_seed(init):
    X = clusters(0, 5_000, 3, 4)
    first, second = (bits(fastem.fit(X, 4, rng=7, init=init, n_init=2)) for _ in range(2))
    assert first == second


def test_a_generator_is_a_seed_too():
    X = clusters(0, 2_000, 3, 4)
    first, second = (bits(fastem.fit(X, 4, rng=np.random.default_rng(3))) for _ in range(2))
    assert first == second == bits(fastem.fit(X, 4, rng=3))


def test_the_layout_of_X_does_not_matter():
    X = clusters(0, 6_000, 3, 4)
    expected = bits(fastem.fit(X, 4, rng=0))
    padded = np.zeros((6_000, 6))
    padded[:, ::2] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    misaligned = np.frombuffer(b"?" + X.tobytes(), np.uint8)[1:].view(np.float64).reshape(X.shape)
    assert not misaligned.flags.aligned
    for other in (
        np.asfortranarray(X),
        padded[:, ::2],
        np.ascontiguousarray(X[::-1])[::-1],
        np.ascontiguousarray(X[:, ::-1])[:, ::-1],
        misaligned,
        read_only,
        X.astype(">f8"),
        X.tolist(),
    ):
        assert bits(fastem.fit(other, 4, rng=0)) == expected


def test_the_layout_does_not_matter_beyond_one_slab():
    X = clusters(0, 500_000, 3, 2)
    model = fastem.fit(X[:1000], 2, rng=0)
    expected, actual = (fastem.e_step(data, model) for data in (X, np.asfortranarray(X)))
    assert actual.to_bytes() == expected.to_bytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_the_kernels_can_read_is_not_copied(dtype, tmp_path):
    X = clusters(0, 6_000, 3, 4, dtype)
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "X.npy", X)
    for rows in (X, read_only, np.load(tmp_path / "X.npy", mmap_mode="r")):
        for slab in ArraySource(Rows("X", 0, rows)).slabs(1000):
            assert np.shares_memory(slab.X, rows[slab.start : slab.start + 1000])
            assert not slab.X.flags.writeable


def test_rows_in_memory_are_made_a_slab_once(tmp_path):
    X, weight = clusters(0, 600, 3, 4), np.ones(600)
    np.save(tmp_path / "X.npy", X)
    (first,), (second,) = (list(source.slabs(600)) for source in [ArraySource(Rows("X", 0, X, weight))] * 2)
    assert first is second
    others = (
        (X, np.ones(600, np.float32)),
        (X[:, ::-1], weight),
        (np.load(tmp_path / "X.npy", mmap_mode="r"),),
    )
    for rows in others:  # what is converted is not kept, and the system is told of each pass over a file
        (first,), (second,) = (list(source.slabs(600)) for source in [ArraySource(Rows("X", 0, *rows))] * 2)
        assert first is not second
        np.testing.assert_array_equal(first.X, second.X)
    assert [len(slab.X) for slab in ArraySource(Rows("X", 0, X)).slabs(256)] == [256, 256, 88]


def test_a_memory_mapped_file_gives_the_same_bits(tmp_path):
    X = clusters(0, 6_000, 3, 4)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert bits(fastem.fit(mapped, 4, rng=0)) == bits(fastem.fit(X, 4, rng=0))


def test_integers_are_taken_as_float64():
    X = np.random.default_rng(0).integers(-50, 50, size=(500, 3))
    assert bits(fastem.fit(X, 3, rng=0)) == bits(fastem.fit(X.astype(np.float64), 3, rng=0))


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_X_is_not_changed(covariance_type, init):
    X, weight = clusters(0, 2_000, 3, 4), np.linspace(0, 2, 2_000)
    before = X.tobytes() + weight.tobytes()
    model = fastem.fit(X, 4, covariance_type=covariance_type, init=init, sample_weight=weight, rng=0)
    model.predict_proba(X)
    assert X.tobytes() + weight.tobytes() == before


def test_a_power_of_two_in_the_units_changes_no_bit_of_the_labels():
    X = clusters(0, 3_000, 3, 4)
    factors = np.array([2.0**-300, 1.0, 2.0**200])
    plain, scaled = (fastem.fit(data, 4, rng=0) for data in (X, X * factors))
    np.testing.assert_array_equal(plain.predict(X), scaled.predict(X * factors))
    np.testing.assert_array_equal(plain.means * factors, scaled.means)


def test_the_callers_thread_count_is_not_changed():
    before = numba.get_num_threads()
    fastem.fit(clusters(0, 2_000, 3, 4), 4, rng=0, n_threads=1)
    assert numba.get_num_threads() == before


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_n_threads_is_honoured(monkeypatch):
    seen = []

    def watched(run, workers):
        seen.append(workers)
        share(run, workers)

    share = _parallel.share
    monkeypatch.setattr(_parallel, "share", watched)
    X = clusters(0, 20_000, 3, 4)
    fastem.fit(X, 4, rng=0, max_iter=0, n_threads=1)
    assert seen == []
    for n_threads in (2, 10**6):
        fastem.fit(X, 4, rng=0, max_iter=0, n_threads=n_threads)
        assert 1 < max(seen) <= min(n_threads, numba.config.NUMBA_NUM_THREADS)


def test_python_threads_get_the_bits_they_get_alone():
    problems = [clusters(seed, 20_000, 3, 4) for seed in range(4)]
    expected = [bits(fastem.fit(X, 4, rng=0)) for X in problems]
    actual = [None] * len(problems)

    def work(i):
        actual[i] = bits(fastem.fit(problems[i], 4, rng=0))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actual == expected


FORK = """
import multiprocessing, numpy as np, fastem
X = np.random.default_rng(0).normal(size=(20_000, 3))
def work(seed):
    return fastem.fit(X, 2, rng=seed, max_iter=5).means.tobytes()
if __name__ == "__main__":
    expected = [work(seed) for seed in range(2)]
    with multiprocessing.get_context("METHOD").Pool(2) as pool:
        assert pool.map(work, range(2)) == expected
    print("same bits")
"""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_pool_of_processes_gets_the_same_bits(method, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    script = tmp_path / "pool.py"
    script.write_text(FORK.replace("METHOD", method))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "same bits\n", done.stderr


def test_slabs_and_samples_keep_what_is_known_about_their_rows():
    n = 2_000
    X, labels = clusters(0, n, 3, 4), -1 - np.arange(n)  # negative labels are unknown
    noise = np.arange(3.0 * n).reshape(n, 3)
    weight = np.ones(n)
    weight[::3] = 0
    source = ArraySource(Rows("X", 0, X, weight, labels, noise))
    sample = source.sample(100, np.random.default_rng(0))
    assert len(sample.X) == 100
    parts = [(slab, slice(slab.start, slab.start + 500)) for slab in source.slabs(500)]
    for rows, numbers in [*parts, (sample, -1 - sample.labels)]:
        np.testing.assert_array_equal(rows.X, X[numbers])
        np.testing.assert_array_equal(rows.labels, labels[numbers])
        np.testing.assert_array_equal(rows.weight, weight[numbers])
        np.testing.assert_array_equal(rows.noise, noise[numbers])
