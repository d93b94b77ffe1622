"""dask collections give the parameters of the array, the same bits anywhere, and lazy scores."""

import itertools

import numpy as np
import pandas as pd
import pytest
from problems import TYPES, clusters
from subprocesses import run_script

import fastem
from fastem._sources.open import source_of

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

# X has more rows than the sample for the start. Its blocks have very different lengths, and one is empty.
X = clusters(0, 40_000, 3, 3)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
WEIGHT[1:20] = 0  # these are all rows of one block
ROWS = (1, 19, 0, 9_980, 25_000, 5_000)
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(np.column_stack([X, WEIGHT]), columns=[*NAMES, "w"])


def array(rows=X):
    return da.from_array(rows, chunks=(ROWS, *rows.shape[1:]))


def frame():
    return dd.from_pandas(FRAME, npartitions=5)


COLLECTIONS = {
    "array": (lambda: (array(), array(WEIGHT)), {}),
    "array with weights in memory": (lambda: (array(), WEIGHT), {}),
    "dataframe": (lambda: (frame()[NAMES], frame()["w"]), {}),
    "dataframe with a column of weights": (lambda: (frame(), "w"), {}),
    "columns of a dataframe": (lambda: (frame(), "w"), {"columns": NAMES}),
    "dataframe with weights in memory": (lambda: (frame()[NAMES], WEIGHT), {}),
    "array of unknown lengths": (lambda: (frame()[NAMES].to_dask_array(), WEIGHT), {}),
}


def bits(model):
    arrays = (model.weights, model.means, model.covariances, np.array(model.report.history))
    return b"".join(part.tobytes() for part in arrays)


def assert_equal(actual, expected, tolerance=1e-9):
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(
            getattr(actual, name), getattr(expected, name), rtol=tolerance, atol=tolerance
        )
    np.testing.assert_allclose(actual.report.history, expected.report.history, rtol=tolerance)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_parameters_of_the_array(name):
    make, more = COLLECTIONS[name]
    rows, weight = make()
    seen = []
    callback = lambda iteration, log_likelihood, model: seen.append(iteration)  # noqa: E731
    options = {"rng": 0, "n_init": 2, "max_iter": 5, "tol": 0}
    model = fastem.fit(rows, 3, sample_weight=weight, callback=callback, **options, **more)
    assert_equal(model, fastem.fit(X, 3, sample_weight=WEIGHT, **options))
    assert seen == [*range(6), *range(6)]
    assert model.feature_names == (tuple(NAMES) if "dataframe" in name else None)


LABELS = np.arange(len(X)) % 3
STARTS = ["kmeans", "random", "random_from_data", LABELS, np.eye(3)[LABELS]]


@pytest.mark.parametrize("init", STARTS, ids=lambda init: init if isinstance(init, str) else f"{init.ndim}-D")
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_starts(init, weight):
    options = {"init": init, "rng": 1, "max_iter": 3, "tol": 0}
    lazy = None if weight is None else array(weight)
    model = fastem.fit(array(), 3, sample_weight=lazy, **options)
    assert_equal(model, fastem.fit(X, 3, sample_weight=weight, **options))


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_all_covariance_types_and_dtypes(covariance_type, dtype, tolerance):
    rows = X.astype(dtype)
    options = {"covariance_type": covariance_type, "rng": 0, "max_iter": 3, "tol": 0}
    assert_equal(fastem.fit(array(rows), 3, **options), fastem.fit(rows, 3, **options), tolerance)


def test_the_same_bits_from_every_scheduler():
    models = []
    for config in ({"scheduler": "sync"}, {"num_workers": 2}, {"num_workers": 5}):
        with dask.config.set(config):
            models.append(fastem.fit(array(), 3, sample_weight=array(WEIGHT), rng=0, max_iter=1, tol=0))
    assert len(set(map(bits, models))) == 1


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples"])
def test_scores_are_lazy(method):
    model = fastem.fit(FRAME[NAMES], 3, rng=0, max_iter=3, tol=0)
    expected = getattr(model, method)(X)
    for rows in (array(), frame()[NAMES], frame()[NAMES].to_dask_array()):
        scores = getattr(model, method)(rows)
        assert isinstance(scores, da.Array)
        assert (scores.dtype, scores.numblocks[0]) == (expected.dtype, rows.npartitions)
        np.testing.assert_array_equal(scores.compute(), expected)
    assert getattr(model, method)(array(X.astype(np.float32))).shape == expected.shape


def test_totals():
    model = fastem.fit(X, 3, rng=0, max_iter=3, tol=0)
    for method in ("score", "bic", "aic"):
        for lazy, weight in ((None, None), (array(WEIGHT), WEIGHT)):
            assert getattr(model, method)(array(), lazy) == pytest.approx(
                getattr(model, method)(X, weight), rel=1e-12
            )
    named = fastem.fit(FRAME[NAMES], 3, rng=0, max_iter=3, tol=0)
    assert named.score(frame(), "w") == pytest.approx(named.score(FRAME[NAMES], WEIGHT), rel=1e-12)


def test_statistics_and_steps():
    model = fastem.fit(X, 3, rng=0, max_iter=0)
    lazy, eager = (fastem.e_step(rows, model) for rows in (array(), X))
    np.testing.assert_allclose(lazy.sums()["scatter"], eager.sums()["scatter"], rtol=1e-11, atol=1e-9)
    assert lazy.n_samples == len(X)
    assert fastem.partial_fit(model, array()).n_components == 3


@pytest.mark.parametrize("constant", [0.1, 1 / 3, np.pi, 123.456])
def test_a_constant_column_has_no_spread_at_all(constant):
    rows = np.column_stack([np.arange(1e6), np.full(10**6, constant)])
    for X in (rows, da.from_array(rows, chunks=((123_457, 876_543), 2))):
        assert source_of(X, None, None).moments().variance[1] == 0


def test_constant_columns_and_large_integers():
    constant = np.column_stack([X[:, 0], np.full(len(X), 0.1)])
    options = {"rng": 0, "max_iter": 2, "tol": 0}
    with pytest.warns(fastem.FitWarning, match="DEGENERATE"):
        assert_equal(fastem.fit(array(constant), 2, **options), fastem.fit(constant, 2, **options))
    large = np.random.default_rng(0).integers(2**60, size=(4000, 2))
    with pytest.warns(fastem.FitWarning, match=f"X holds integers up to {large.max()}"):
        fastem.fit(da.from_array(large, chunks=(900, 2)), 1, **options)


@pytest.mark.parametrize("dtypes", [("int64", "int64"), ("int64", "float64"), ("float64", "int64")])
def test_large_integers_beside_floats(dtypes):
    """Whatever dtypes the partitions have, as from chunks of the same rows."""
    dask = pytest.importorskip("dask")
    large = np.random.default_rng(0).integers(-(2**62), 2**62, 400) | 1
    rows = pd.DataFrame({"large": large, "number": np.arange(400) % 7 + 0.5})
    parts = [rows[:200].astype({"large": dtypes[0]}), rows[200:].astype({"large": dtypes[1]})]
    X = dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[0][:0], verify_meta=False)
    models = []
    for one in (X, parts):
        with pytest.warns(fastem.FitWarning, match="PRECISION: X holds integers up to"):
            models.append(fastem.fit(one, 2, rng=0, init="k-means++"))
    np.testing.assert_allclose(models[0].means, models[1].means, rtol=1e-9)


def nan_at(row):
    rows = X.copy()
    rows[row, 1] = np.nan
    return rows


def other_form(function):
    change = lambda rows, block_id: function(rows) if block_id[0] == 3 else rows  # noqa: E731
    return array().map_blocks(change, meta=X[:0], dtype=X.dtype)


class FewerRowsLater:
    """Drops a row of block 3 from the fourth call on."""

    def __init__(self):
        self.calls = 0

    def __call__(self, rows, block_id):
        self.calls += block_id[0] == 3
        return rows[:-1] if block_id[0] == 3 and self.calls > 3 else rows


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: array(nan_at(30)), ValueError, "block 3 of X must be finite; row 10, column 1 is nan"),
        (
            lambda: (array(nan_at(5)), array(WEIGHT)),
            ValueError,
            "block 1 of X must be finite; row 4, column 1",
        ),
        (lambda: other_form(lambda rows: rows[:, :2]), ValueError, "block 3 of X must have 3 features"),
        (lambda: other_form(lambda rows: rows[1:]), ValueError, "block 3 of X must have the same 9980 rows"),
        (
            lambda: array().map_blocks(FewerRowsLater(), chunks=((np.nan,) * 6, (3,)), dtype=float),
            ValueError,
            "block 3 of X must have the same 9980 rows in every pass; now it has 9979",
        ),
        (
            lambda: other_form(lambda rows: rows.astype("f4")),
            TypeError,
            "block 3 of X must have dtype float64",
        ),
        (lambda: array(X[:, 0]), ValueError, "X must be 2-D"),
        (lambda: frame()["a"], ValueError, "X must be 2-D"),
        (lambda: da.from_array(X, chunks=(9000, 2)), ValueError, r"all of its columns .* Use X.rechunk"),
        (lambda: dask.delayed(X), TypeError, "must be an array or a dataframe; got Delayed"),
        (lambda: array(X.astype(str)), TypeError, "X must hold real numbers"),
        (
            lambda: (array(), "w"),
            ValueError,
            "only where X is a table, a .csv or Parquet .* or a dask dataframe",
        ),
        (lambda: (frame(), "z"), ValueError, r"must name columns of X, \['a', 'b', 'c', 'w'\]; got 'z'"),
        (
            lambda: (array(), da.from_array(WEIGHT, chunks=500)),
            ValueError,
            "must have as many blocks as X, 6; it",
        ),
        (
            lambda: (array(), array(WEIGHT - 9)),
            ValueError,
            "weights of block 0 of X must be finite and at leas",
        ),
        (lambda: (array(), array(WEIGHT * 0)), ValueError, "sample_weight must not be zero throughout"),
        (lambda: (array(), WEIGHT[:9]), ValueError, r"sample_weight must have shape \(40000,\)"),
        (lambda: array()[array()[:, 0] > 1e9], ValueError, "X must have at least one row"),
        (lambda: array(X * 1e200), ValueError, "too large"),
    ],
)
def test_clear_errors(make, error, message):
    made = make()
    rows, weight = made if isinstance(made, tuple) else (made, None)
    with pytest.raises(error, match=message):
        fastem.fit(rows, 2, sample_weight=weight, rng=0, tol=0, max_iter=5)


def test_blocks_are_not_copied_to_a_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"cache_dir is for X that this process reads; X is a dask collection"
    ):
        fastem.fit(array(), 2, cache_dir=tmp_path)


def test_what_has_no_rows_has_no_statistics_or_scores():
    model = fastem.fit(X, 2, rng=0, max_iter=0)
    nothing = array()[array()[:, 0] > 1e9]
    for function in (lambda: fastem.e_step(nothing, model), lambda: model.score(nothing)):
        with pytest.raises(ValueError, match="X must have at least one row"):
            function()
    assert len(model.predict(nothing).compute()) == 0


def test_a_score_names_the_block():
    model = fastem.fit(X, 2, rng=0, max_iter=0)
    with pytest.raises(ValueError, match="block 3 of X must be finite; row 10"):
        model.predict(array(nan_at(30))).compute()


def test_a_block_that_cannot_be_computed_is_named_and_the_fit_goes_on_later():
    broken = []

    def read(rows, block_id):
        if block_id[0] in broken:
            raise OSError("disk on fire")
        return rows

    rows = array().map_blocks(read, meta=X[:0])
    broken[:] = [4]
    with pytest.raises(RuntimeError, match=r"Block 4 of X failed \(OSError: disk on fire\)"):
        fastem.fit(rows, 3)
    broken.clear()
    options = {"tol": 0, "rng": 0}
    callback = lambda iteration, *_: broken.extend([3, 5] if iteration == 2 else [])  # noqa: E731
    with pytest.raises(fastem.FitInterrupted, match=r"Block 3 of X failed .*init=error.model") as caught:
        fastem.fit(rows, 3, callback=callback, **options)
    broken.clear()
    resumed = fastem.fit(rows, 3, init=caught.value.model, max_iter=2, **options)
    whole = fastem.fit(rows, 3, max_iter=5, **options)
    assert resumed.report.log_likelihood == pytest.approx(whole.report.log_likelihood, rel=1e-12)


def test_a_restart_that_cannot_begin_leaves_the_model_of_the_one_before():
    broken = []

    def read(rows, block_id):
        if broken:
            raise OSError("disk on fire")
        return rows

    rows = array().map_blocks(read, meta=X[:0], dtype=X.dtype)
    seen = []

    def callback(iteration, log_likelihood, model):
        seen.append(model)
        broken.extend([1] * (iteration == 2))

    with pytest.raises(fastem.FitInterrupted, match=r"Block \d+ of X failed") as caught:
        fastem.fit(rows, 3, n_init=2, max_iter=2, tol=0, callback=callback, rng=0)
    np.testing.assert_array_equal(caught.value.model.means, seen[2].means)


def test_chunks_that_cannot_be_read_in_mid_fit_leave_the_last_model():
    passes = itertools.count()

    def chunks():
        yield X[:1000]
        if next(passes) == 5:
            raise OSError("disk on fire")

    with pytest.raises(fastem.FitInterrupted, match="OSError: disk on fire") as caught:
        fastem.fit(chunks, 2, tol=0)
    assert isinstance(caught.value.__cause__, OSError)
    assert fastem.fit(X[:1000], 2, init=caught.value.model).n_features == 3


THREADS = """
import threading
import dask.array as da, numpy as np
import fastem

rows = da.random.default_rng(0).normal(size=(60_000, 4), chunks=(7_000, 4))
in_memory = np.random.default_rng(0).normal(size=(200_000, 4))
fits = []
run = lambda X: fits.append(fastem.fit(X, 3, rng=0, tol=0, max_iter=5))
threads = [threading.Thread(target=run, args=(X,)) for X in (rows, in_memory) * 3]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(fits), len({fit.means.tobytes() for fit in fits}))
"""


@pytest.mark.slow
def test_fits_side_by_side_get_the_same_bits():
    assert run_script(THREADS).split() == ["6", "2"]
