"""What can go wrong while data are read: threads, interrupts, iterators that end early, unusual files."""

import _thread
import itertools
import signal
import sqlite3
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from problems import clusters, random_model

import fastem

X = clusters(0, 2_000, 3, 3)
MODEL = random_model(0, "full", 3, 3)
OPTIONS = {"init": MODEL, "max_iter": 2, "tol": 0}


def same_fit(source, rows, **options):
    one, other = (fastem.fit(data, 3, **(OPTIONS | options)) for data in (source, rows))
    return one.covariances.tobytes() == other.covariances.tobytes()


def no_reader_is_left():
    return not any(thread.name.startswith("fastem-reader") for thread in threading.enumerate())


class Watched:
    """Chunks that are as long as a slab. `closed` counts the passes whose generator has ended."""

    def __init__(self, at_chunk=lambda number: None):
        self.opened = self.closed = 0
        self.at_chunk = at_chunk
        self.rows = np.resize(X, (400_000, 3))

    def __call__(self):
        self.opened += 1
        try:
            for number in range(4):
                self.at_chunk(number)
                yield self.rows
        finally:
            self.closed += 1


def test_an_error_in_the_computation_ends_the_reader(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    chunks = Watched()
    monkeypatch.setattr(fastem._sources.moments, "run_slots", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        fastem.fit(chunks, 3, **OPTIONS)
    assert error.tb is not None  # the traceback holds the frames, and still the generators are closed
    assert chunks.opened == chunks.closed == 2
    assert no_reader_is_left()


@pytest.fixture
def heeded_interrupts():
    """Enable SIGINT, which a shell disables for its background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_while_the_reader_is_awaited_ends_it():
    def interrupt(number):
        if number == 2:
            time.sleep(0.3)  # wait until the slab before is computed
            _thread.interrupt_main()
            time.sleep(0.1)

    fastem.fit(X, 3, **OPTIONS)  # since an import that is interrupted cannot be repeated
    chunks = Watched(interrupt)
    with pytest.raises(KeyboardInterrupt) as error:
        fastem.fit(chunks, 3, **OPTIONS)
    assert error.tb is not None
    assert chunks.opened == chunks.closed == 2
    assert no_reader_is_left()


def test_an_error_of_the_reader_ends_it():
    def fail(number):
        if number == 3:
            raise OSError("disk on fire")

    chunks = Watched(fail)
    with pytest.raises(OSError, match="disk on fire"):
        fastem.fit(chunks, 3, **OPTIONS)
    assert chunks.opened == chunks.closed == 2
    assert no_reader_is_left()


def test_with_a_copy_on_disk_all_is_read_once(tmp_path):
    chunks = Watched()
    assert same_fit(chunks, np.tile(chunks.rows, (4, 1)), cache_dir=tmp_path, init="kmeans", n_init=2, rng=0)
    assert chunks.opened == chunks.closed == 2  # one of them only looks at the first chunk
    assert no_reader_is_left()


def test_a_copy_on_disk_with_bad_chunks(tmp_path):
    bad = X.copy()
    bad[700, 1] = np.nan
    with pytest.raises(ValueError, match=r"chunk 1 of X must be finite; row 200, column 1 is nan"):
        fastem.fit([bad[:500], bad[500:]], 3, cache_dir=tmp_path)
    with pytest.raises(ValueError, match=r"chunk 1 of X must have 3 features"):
        fastem.fit([X, X[:, :2]], 3, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room(tmp_path, monkeypatch):
    pq.write_table(pa.table(dict(zip("abc", X.T.copy(), strict=True))), tmp_path / "X.parquet")
    monkeypatch.setattr(fastem._sources.cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=47_999))
    with pytest.raises(ValueError, match=r"cache_dir must have room for X, 4.8e-05 GB"):
        fastem.fit(tmp_path / "X.parquet", 3, cache_dir=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/full")
def test_a_disk_that_gets_full(tmp_path, monkeypatch):
    full = open("/dev/full", "w+b")  # noqa: SIM115
    monkeypatch.setattr(fastem._sources.cache, "TemporaryFile", lambda dir: full)
    with pytest.raises(
        OSError, match=r"cache_dir must have room for X; 2000 rows of it could not be written"
    ):
        fastem.fit(lambda: iter([X]), 3, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("cache_dir", "error", "message"),
    [
        (7, TypeError, "cache_dir must be the path of a folder; got 7"),
        (
            "nowhere",
            ValueError,
            "cache_dir must be a folder that exists and can be written to; got 'nowhere'",
        ),
        (__file__, ValueError, "cache_dir must be a folder that exists and can be written to"),
    ],
)
def test_a_folder_for_copies_that_is_none(cache_dir, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(X, 3, cache_dir=cache_dir)


def test_a_pass_is_read_by_one_thread(tmp_path):
    """sqlite requires this."""
    with sqlite3.connect(tmp_path / "X.db") as connection:
        connection.execute("create table X (a real, b real, c real)")
        connection.executemany("insert into X values (?, ?, ?)", X.tolist())
    connection.close()

    def chunks():
        opened = sqlite3.connect(tmp_path / "X.db")
        cursor = opened.execute("select * from X order by rowid")
        while rows := cursor.fetchmany(300):
            yield np.array(rows)
        opened.close()

    assert same_fit(chunks, X)
    np.testing.assert_array_equal(np.concatenate(list(MODEL.predict(chunks))), MODEL.predict(X))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_scores_of_an_iterator_that_ends_miss_nothing(method):
    stream = iter(np.array_split(X, 5))
    scores = getattr(MODEL, method)(lambda: map(np.asarray, stream))
    np.testing.assert_array_equal(np.concatenate(list(scores)), getattr(MODEL, method)(X))


def test_the_score_of_an_iterator_that_ends_misses_nothing():
    stream = iter(np.array_split(X, 5))
    assert MODEL.score(lambda: map(np.asarray, stream)) == pytest.approx(MODEL.score(X), rel=1e-12)
    stream = iter(np.array_split(X, 5))
    with pytest.raises(ValueError, match="X must have the same 1600 rows in every pass"):
        fastem.e_step(lambda: map(np.asarray, stream), MODEL)


def test_empty_chunks_have_empty_scores():
    chunks = [X[:0], X[:5], X[:0], X[5:9]]
    assert [len(labels) for labels in MODEL.predict(chunks)] == [0, 5, 0, 4]
    assert [rows.shape for rows in MODEL.predict_proba(chunks)] == [(0, 3), (5, 3), (0, 3), (4, 3)]
    weighted = [(rows, np.ones(len(rows), bool)) for rows in chunks]
    assert MODEL.score(weighted) == pytest.approx(MODEL.score(X[:9]))
    assert fastem.e_step(weighted, MODEL).n_samples == 9


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda rows: rows.astype(">f8"),
        lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
        lambda rows: rows.astype(np.float16),
        lambda rows: rows.astype(np.longdouble),
        lambda rows: (100 * rows).astype(np.int16),
    ],
    ids=["columns", "big-endian", "strided", "half", "long", "integer"],
)
def test_chunks_of_any_layout(convert):
    chunks = [convert(rows) for rows in np.array_split(X, 7)]
    assert same_fit(chunks, convert(X), init="k-means++", rng=0)


def test_next_to_nothing_is_seen_in_a_shared_buffer():
    def chunks():
        buffer = np.zeros((5, 2))
        for value in (0.0, 1e-170):
            buffer[:] = value
            yield buffer

    with pytest.raises(ValueError, match="X must have columns of standard deviation"):
        fastem.fit(chunks, 2)


class Masked:
    """A store like those of netCDF4, in which missing values are masked."""

    shape, dtype = X.shape, X.dtype

    def __getitem__(self, key):
        return np.ma.masked_greater(X[key], 5.0)


def test_missing_values_of_a_store_are_not_taken_for_numbers():
    with pytest.raises(ValueError, match="the chunk of X at row 0 must not have masked entries"):
        fastem.fit(Masked(), 3)


def table(rows, names="abc"):
    return pa.table(dict(zip(names, rows.T.copy(), strict=True)))


def test_a_folder_as_other_programs_leave_it(tmp_path):
    """It has success markers, hidden and temporary files, files without rows, and nested folders."""
    for name in ("_SUCCESS", ".crc", "_temporary.parquet"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "year=2026").mkdir()
    pq.write_table(table(X[:0]), tmp_path / "0.parquet")
    pq.write_table(table(X[:999]), tmp_path / "1.parquet", row_group_size=100)
    pq.write_table(table(X[999:]), tmp_path / "year=2026" / "2.parquet")
    assert same_fit(tmp_path, X)
    with pytest.raises(ValueError, match=r"'year' is int32 in the first, and .*parquet does not have it"):
        fastem.fit(ds.dataset(tmp_path, partitioning="hive"), 3)


@pytest.mark.parametrize("name", ["README.md", "part.csv", "z/part.crc", "EMPTY"])
def test_a_folder_with_a_file_that_is_not_parquet(tmp_path, name):
    pq.write_table(table(X), tmp_path / "X.parquet")
    stray = tmp_path / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("" if name == "EMPTY" else "a, b\n0, 1\n")
    with pytest.raises(ValueError, match=rf"have Parquet files alone, .*{name}' cannot be read: .* Move it"):
        fastem.fit(tmp_path, 3)


def test_a_dataset_of_some_row_groups(tmp_path):
    pq.write_table(table(X), tmp_path / "X.parquet", row_group_size=500)
    whole = ds.dataset(tmp_path / "X.parquet")
    some = [next(whole.get_fragments()).subset(row_group_ids=[1, 3])]
    part = ds.FileSystemDataset(some, whole.schema, whole.format)
    assert same_fit(part, np.concatenate([X[500:1000], X[1500:]]))


def test_numbers_that_parquet_may_hold(tmp_path):
    half = X.astype(np.float16)
    columns = {
        "half": pa.array(half[:, 0]),
        "large": pa.array((1000 * X[:, 1]).astype(np.int64)),
        "unsigned": pa.array(np.abs(20 * X[:, 2]).astype(np.uint8)),
        "category": pa.array(X[:, 0].round()).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "X.parquet")
    rows = np.column_stack([np.asarray(column).astype(np.float64) for column in columns.values()])
    assert same_fit(tmp_path / "X.parquet", rows, init="k-means++", rng=0)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_of_parquet_that_float64_cannot_tell_apart(tmp_path, dtype):
    numbers = np.random.default_rng(0).integers(0, 2**62, 2_000).astype(dtype)
    numbers[0] = 2**62
    with_gap = pa.array([*numbers.tolist()[:-1], None], pa.from_numpy_dtype(dtype))
    path, options = tmp_path / "X.parquet", {"init": "k-means++", "rng": 0}
    for column, missing in ((pa.array(numbers), "error"), (with_gap, "marginalise")):
        pq.write_table(pa.table({"a": column, "b": X[:, 0]}), path, row_group_size=500)
        with pytest.warns(fastem.FitWarning, match=f"X holds integers up to {2**62} in size"):
            fastem.fit(path, 2, missing=missing, **options)
    pq.write_table(pa.table({"a": numbers >> np.array(10, dtype), "b": numbers}), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastem.fit(path, 2, columns=["a"], **options)
        fastem.kmeans(path, 2, columns=["a"], rng=0)
    with pytest.warns(fastem.FitWarning, match="PRECISION"):
        fastem.kmeans(path, 2, cache_dir=tmp_path, rng=0)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0], [2.0], [3.0]]),
        pa.array([1, 2, 3], pa.timestamp("s")),
        pa.nulls(3),
    ],
    ids=lambda column: str(column.type),
)
def test_what_is_no_number_is_refused(tmp_path, column):
    pq.write_table(pa.table({"a": [1.0, 2.0, 4.0], "b": column}), tmp_path / "X.parquet")
    with pytest.raises(TypeError, match=r"column 'b' has type .* Choose others with columns="):
        fastem.fit(tmp_path / "X.parquet", 2)
    assert fastem.fit(tmp_path / "X.parquet", 1, columns=["a"], max_iter=0).n_features == 1


def test_files_that_cannot_do(tmp_path):
    with pytest.raises(ValueError, match="X must have at least one Parquet file"):
        fastem.fit(tmp_path, 2)
    pq.write_table(table(X[:, :1], "w"), tmp_path / "X.parquet")
    with pytest.raises(ValueError, match="X must have a column beside those of weights, labels and noise"):
        fastem.fit(tmp_path, 2, sample_weight="w")
    twice = pa.Table.from_arrays([pa.array(X[:, 0])] * 2, names=["a", "a"])
    pq.write_table(twice, tmp_path / "X.parquet")
    with pytest.raises(ValueError, match=r"X as a path must be .*duplicate field names"):
        fastem.fit(tmp_path, 2)
    pq.write_table(table(X), tmp_path / "X.parquet")
    with pytest.raises(ValueError, match="columns must name each column once"):
        fastem.fit(tmp_path, 2, columns=["a", "a"])
    (tmp_path / "Y.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"Y\.parquet"):
        fastem.fit(tmp_path, 2)


def test_a_weight_that_is_missing(tmp_path):
    weights = pa.array([1.0, None, *[1.0] * 1998])
    pq.write_table(table(X).append_column("w", weights), tmp_path / "X.parquet")
    with pytest.raises(
        ValueError, match=r"weights of the chunk of .*X\.parquet at row 0 must be finite.*row 1"
    ):
        fastem.fit(tmp_path / "X.parquet", 2, sample_weight="w")


def test_a_file_that_is_written_to_meanwhile(tmp_path):
    pq.write_table(table(X), tmp_path / "X.parquet")
    shorten = lambda *_: pq.write_table(table(X[:-1]), tmp_path / "X.parquet")  # noqa: E731
    with pytest.raises(ValueError, match=r"same 2000 rows in every pass.* ended after 1999 rows"):
        fastem.fit(tmp_path / "X.parquet", 3, callback=shorten, **OPTIONS)


def test_every_cut_and_every_flipped_byte_of_statistics_is_harmless():
    content = fastem.e_step(X, MODEL).to_bytes()
    damaged = itertools.chain(
        (content[:length] for length in range(0, len(content), 7)),
        (content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :] for i in range(0, len(content), 3)),
    )
    refused = 0
    for other in damaged:
        try:
            statistics = fastem.Statistics.from_bytes(other)
        except ValueError:
            refused += 1
        else:
            fastem.m_step(statistics)  # the byte has no meaning in the archive
    assert refused > len(content) // 7
