"""X that is not in memory: the same bits as the array of its rows, or an error that names the chunk."""

import functools
import itertools
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from problems import TYPES, clusters

import fastem

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")

# X has more rows than the sample for the start, than a slab, and than a slot.
X = clusters(0, 70_000, 3, 3)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
CUTS = [0, 1, 1, 257, 30_000, 69_999, 70_000]
NAMES = ["a", "b", "c"]


def cut(rows):
    return [rows[a:b] for a, b in itertools.pairwise(CUTS)]


def bits(model):
    arrays = (model.weights, model.means, model.covariances, np.array(model.report.history))
    return b"".join(array.tobytes() for array in arrays)


@functools.cache
def expected_bits(weighted=False, **options):
    """The bits of a fit to the array, which is made once for all sources."""
    return bits(fastem.fit(X, 3, sample_weight=WEIGHT if weighted else None, **options))


def memmap(folder, rows):
    np.save(folder / "X.npy", rows)
    return np.load(folder / "X.npy", mmap_mode="r")


def hdf5(folder, rows):
    file = h5py.File(folder / "X.h5", "w")
    return file.create_dataset("X", data=rows, chunks=(1000, 2))


def zarr_store(folder, rows):
    store = zarr.create_array(str(folder / "X.zarr"), shape=rows.shape, chunks=(9000, 2), dtype=rows.dtype)
    store[:] = rows
    return store


def parquet_file(folder, rows):
    pq.write_table(pa.table(dict(zip(NAMES, rows.T.copy(), strict=True))), folder / "X.parquet")
    return folder / "X.parquet"


def parquet_folder(folder, rows):
    (folder / "X").mkdir()
    for i, part in enumerate(np.array_split(rows, 3)):
        table = pa.table(dict(zip(NAMES, part.T.copy(), strict=True)))
        pq.write_table(table, folder / "X" / f"part{i}.parquet", row_group_size=9_000)
    return str(folder / "X")


SOURCES = {
    "memmap": memmap,
    "h5py": hdf5,
    "zarr": zarr_store,
    "parquet file": parquet_file,
    "parquet folder": parquet_folder,
    "pyarrow dataset": lambda folder, rows: ds.dataset(parquet_folder(folder, rows)),
    "list of chunks": lambda _, rows: cut(rows),
    "function": lambda _, rows: lambda: iter(cut(rows)),
    "tables": lambda _, rows: [pd.DataFrame(part, columns=NAMES) for part in cut(rows)],
}


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory):
    return SOURCES[request.param](tmp_path_factory.mktemp("X"), X)


def test_the_same_bits_as_the_array(source):
    options = {"rng": 0, "n_init": 2, "max_iter": 4, "tol": 0}
    seen = []
    callback = lambda iteration, log_likelihood, model: seen.append((iteration, log_likelihood))  # noqa: E731
    model = fastem.fit(source, 3, callback=callback, **options)
    assert bits(model) == expected_bits(**options)
    assert len(seen) == 2 * 5


@pytest.mark.parametrize("init", ["kmeans", "random", "random_from_data"])
def test_weights_and_starts(source, init):
    options = {"init": init, "rng": 1, "max_iter": 2, "tol": 0}
    model = fastem.fit(source, 3, sample_weight=WEIGHT, **options)
    assert bits(model) == expected_bits(weighted=True, **options)


def test_a_copy_on_disk(source, tmp_path):
    """The bits are the same. The file has no name, so that it vanishes in any case."""
    options = {"rng": 0, "n_init": 2, "max_iter": 2, "tol": 0}
    folders = []
    callback = lambda *_: folders.append(list(tmp_path.iterdir()))  # noqa: E731
    model = fastem.fit(source, 3, sample_weight=WEIGHT, cache_dir=tmp_path, callback=callback, **options)
    assert bits(model) == expected_bits(weighted=True, **options)
    assert folders == [[]] * 6


def test_scores_stream(source):
    model = fastem.fit(X, 3, rng=0, max_iter=3, tol=0)
    for method in ("predict", "predict_proba", "score_samples"):
        scores = getattr(model, method)(source)
        expected = getattr(model, method)(X)
        if not isinstance(source, np.ndarray):
            assert not isinstance(scores, np.ndarray)
            scores = np.concatenate(list(scores))
        np.testing.assert_array_equal(scores, expected)
        assert scores.dtype == expected.dtype
    for method in ("score", "bic", "aic"):
        for weight in (None, WEIGHT):
            actual, expected = (getattr(model, method)(rows, weight) for rows in (source, X))
            assert actual == pytest.approx(expected, rel=1e-12)


def test_statistics(source):
    model = fastem.fit(X, 3, rng=0, max_iter=0)
    actual, expected = (fastem.e_step(rows, model) for rows in (source, X))
    np.testing.assert_array_equal(actual.sums()["scatter"], expected.sums()["scatter"])
    assert actual.n_samples == len(X)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_covariance_types_and_dtypes(covariance_type, dtype):
    rows = X.astype(dtype)
    options = {"covariance_type": covariance_type, "rng": 0, "max_iter": 2, "tol": 0}
    pairs = list(zip(cut(rows), cut(WEIGHT), strict=True))
    assert bits(fastem.fit(pairs, 3, **options)) == bits(fastem.fit(rows, 3, sample_weight=WEIGHT, **options))


@pytest.mark.parametrize("given", [np.arange(len(X)) % 3, np.eye(3)[np.arange(len(X)) % 3]])
def test_given_starts(given):
    options = {"init": given, "max_iter": 2, "tol": 0}
    assert bits(fastem.fit(cut(X), 3, **options)) == bits(fastem.fit(X, 3, **options))


@pytest.mark.parametrize("size", [1000, 400_000])  # a chunk of the second size is longer than a slab
def test_a_buffer_may_be_filled_anew(size):
    rows = np.resize(X, (3 * size, 3))

    def chunks():
        buffer = np.empty((size, 3))
        for start in range(0, len(rows), size):
            buffer[:] = rows[start : start + size]
            yield buffer

    options = {"rng": 0, "max_iter": 2, "tol": 0}
    assert bits(fastem.fit(chunks, 3, **options)) == bits(fastem.fit(rows, 3, **options))


def test_chunks_that_hold_whole_slabs():
    rows = np.resize(X, (1_500_000, 3))
    weight = np.resize(WEIGHT, len(rows))
    cuts = np.split(rows, [5, 1_200_000]), np.split(weight, [5, 1_200_000])
    options = {"rng": 0, "max_iter": 2, "tol": 0}
    expected = bits(fastem.fit(rows, 3, sample_weight=weight, **options))
    assert bits(fastem.fit(list(zip(*cuts, strict=True)), 3, **options)) == expected
    assert bits(fastem.fit(cuts[0], 3, sample_weight=weight, **options)) == expected


def test_columns_and_a_column_of_weights(tmp_path):
    columns = dict(zip([*NAMES, "w"], np.column_stack([X, WEIGHT]).T.copy(), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "X.parquet")
    options = {"rng": 0, "max_iter": 2, "tol": 0}
    model = fastem.fit(tmp_path / "X.parquet", 3, columns=["c", "a"], sample_weight="w", **options)
    assert bits(model) == bits(fastem.fit(X[:, [2, 0]], 3, sample_weight=WEIGHT, **options))
    assert model.feature_names == ("c", "a")
    assert model.score(tmp_path / "X.parquet", "w") == pytest.approx(model.score(X[:, [2, 0]], WEIGHT))
    rest = fastem.fit(tmp_path / "X.parquet", 3, sample_weight="w", **options)
    assert rest.feature_names == ("a", "b", "c")


@pytest.mark.filterwarnings("ignore:FEW_VALUES")
def test_what_parquet_can_hold(tmp_path):
    columns = {
        "single": pa.array(X[:500, 0], pa.float32()),
        "integer": pa.array(np.random.default_rng(1).integers(0, 99, 500), pa.int16()),
        "yes": pa.array(np.random.default_rng(0).random(500) < 0.5),
        "price": pa.array([Decimal(cents).scaleb(-2) for cents in range(500)], pa.decimal128(10, 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "X.parquet")
    rows = np.column_stack([np.array(column.to_pylist(), np.float64) for column in columns.values()])
    for names, expected in (
        (list(columns), rows.astype(np.float64)),
        (["single"], X[:500, :1].astype(np.float32)),
    ):
        model = fastem.fit(tmp_path / "X.parquet", 1, columns=names, max_iter=2, tol=0)
        assert bits(model) == bits(fastem.fit(expected, 1, max_iter=2, tol=0))


def nan_at(row):
    rows = X.copy()
    rows[row, 1] = np.nan
    return rows


class ShrinksByOneRow:
    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter([X[:400], X[400 : 1000 - (self.passes > 3)]])


class GrowsByOneChunk(ShrinksByOneRow):
    def __iter__(self):
        self.passes += 1
        return iter([X[:500]] * (2 + (self.passes > 3)))


class UsedUp:
    """An iterable whose iterator can be used only once."""

    def __init__(self):
        self.chunks = iter([X[:500], X[500:1000]])

    def __iter__(self):
        return self.chunks


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ((chunk for chunk in cut(X)), TypeError, "a generator can be read only once. Pass a function"),
        (UsedUp(), ValueError, "X must have the same"),
        (ShrinksByOneRow(), ValueError, "same 1000 rows.*ended after 999 rows, with chunk 1 of X"),
        (GrowsByOneChunk(), ValueError, "same 1000 rows.*has 1500 rows up to chunk 2 of X"),
        (cut(nan_at(300)), ValueError, "chunk 3 of X must be finite; row 43, column 1 is nan"),
        ([X[:5], X[5:9, :2]], ValueError, "chunk 1 of X must have 3 features, as the first chunk; got 2"),
        ([X[:5], X[5:9].astype(np.float32)], TypeError, "chunk 1 of X must have dtype float64.*got float32"),
        ([X[:5], X[5:9, 0]], ValueError, "chunk 1 of X must be 2-D"),
        ([X[:5], X[5:9].astype(str)], TypeError, "chunk 1 of X must hold real numbers"),
        ([(X[:5], WEIGHT[:4])], ValueError, r"weights of chunk 0 of X must have shape \(5,\)"),
        ([(X[:5], WEIGHT[:5] - 9)], ValueError, "weights of chunk 0 of X must be finite and at least 0"),
        ([(X[:5], WEIGHT[:5] * 0)], ValueError, "sample_weight must not be zero throughout"),
        ([(X[:5], WEIGHT[:5]), X[5:9]], ValueError, "chunk 1 of X has no weights and the first chunk has"),
        (
            [pd.DataFrame(X[:5], columns=NAMES), pd.DataFrame(X[5:9], columns=NAMES[::-1])],
            ValueError,
            r"chunk 1 of X must have the columns \['a', 'b', 'c'\], as the first chunk",
        ),
        (lambda: iter([]), ValueError, "X must have at least one chunk"),
        (lambda: None, TypeError, "X as a function must return an iterable of chunks of rows; got NoneType"),
        ([X[:0]], ValueError, "X must have at least one row; its chunks have none"),
        ([X[:1]], ValueError, "k must be at most the number of rows"),
        ([X[:5], X[5:9] * 1e200], ValueError, "X has values too large"),
        ([np.full((5, 2), 1e-170), np.zeros((5, 2))], ValueError, "X must have columns of standard dev"),
        ("no such file.parquet", FileNotFoundError, "X as a path must be that of a file or folder"),
    ],
)
def test_clear_errors(source, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(source, 2, rng=0, tol=0, max_iter=5)


def test_a_generator_with_state_is_told_at_the_second_pass():
    chunks = iter(cut(X))
    with pytest.raises(ValueError, match="pass a function that makes a new one"):
        fastem.fit(lambda: chunks, 2)


def test_an_error_of_the_users_reader_reaches_the_user():
    def chunks():
        yield X[:1000]
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        fastem.fit(chunks, 2)


def test_parquet_whose_schema_drifts(tmp_path):
    whole = pa.table(dict(zip(NAMES, X[:100].T.copy(), strict=True)))
    pq.write_table(whole, tmp_path / "1.parquet")
    pq.write_table(whole.drop(["b"]), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"'b' is double in the first, and .*2\.parquet does not have it"):
        fastem.fit(tmp_path, 2)
    single = whole.set_column(1, "b", whole["b"].cast(pa.float32()))
    pq.write_table(single, tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet has it as float"):
        fastem.fit(tmp_path, 2)
    assert fastem.fit(tmp_path, 2, columns=["a", "c"], rng=0).n_features == 2


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (
            pa.array([1.0, None, 3.0]),
            ValueError,
            r"the chunk of .*X\.parquet at row 0 must be finite; row 1, column 'b'",
        ),
        (pa.array([1, None, 3]), ValueError, "row 1, column 'b' is nan"),
        (pa.array(["x", "y", "z"]), TypeError, "column 'b' has type string"),
    ],
)
def test_parquet_that_holds_no_numbers(tmp_path, column, error, message):
    pq.write_table(pa.table({"a": [1.0, 2.0, 4.0], "b": column}), tmp_path / "X.parquet")
    with pytest.raises(error, match=message):
        fastem.fit(tmp_path / "X.parquet", 2)


def test_options_of_parquet(tmp_path):
    path = parquet_file(tmp_path, X[:100])
    with pytest.raises(ValueError, match="must name columns of X"):
        fastem.fit(path, 2, columns=["a", "z"])
    with pytest.raises(ValueError, match="must name columns of X"):
        fastem.fit(path, 2, sample_weight="z")
    with pytest.raises(TypeError, match="columns must be a sequence of names"):
        fastem.fit(path, 2, columns="a")
    with pytest.raises(ValueError, match=r"only where X is a table, a \.csv or Parquet"):
        fastem.fit(X, 2, columns=["a"])
    with pytest.raises(ValueError, match=r"only where X is a table, a \.csv or Parquet"):
        fastem.fit(cut(X), 2, sample_weight="w")
    with pytest.raises(ValueError, match="X must be a dataset without a filter"):
        fastem.fit(ds.dataset(path).filter(ds.field("a") > 0), 2)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(100,\)"):
        fastem.fit(path, 2, sample_weight=WEIGHT[:99])


def test_a_model_names_the_columns_it_wants(tmp_path):
    path = parquet_file(tmp_path, X[:100])
    model = fastem.fit(path, 2, columns=["c", "a"], rng=0)
    np.testing.assert_array_equal(np.concatenate(list(model.predict(path))), model.predict(X[:100, [2, 0]]))
    with pytest.raises(ValueError, match="chunk 0 of X must have 2 features, as the model has; got 3"):
        model.predict([X])


def test_arrays_on_other_devices_are_arrays():
    class Elsewhere:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, key):
            raise AssertionError

        def __dlpack__(self):
            raise AssertionError

        def __array__(self, dtype=None, copy=None):
            return X

    model = fastem.fit(X, 2, rng=0, max_iter=0)
    np.testing.assert_array_equal(model.predict(Elsewhere()), model.predict(X))
