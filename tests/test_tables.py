"""Tables of other libraries give the same model as their numbers, with the names of the columns."""

import copy
import datetime
import pickle

import numpy as np
import pytest
from problems import clusters

import fastem
from fastem._sources import tables as _tables
from fastem._tools.demo import describe

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")

X = clusters(0, 300, 2, 2)
NAMES = ("length", "width")
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, 300)
LIBRARIES = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "polars": lambda columns: pl.DataFrame(columns),
    "pyarrow": lambda columns: pa.table(columns),
}


def table_of(library, X=X, names=NAMES):
    return LIBRARIES[library](dict(zip(names, np.asarray(X).T.copy(), strict=True)))


@pytest.fixture
def model():
    return fastem.fit(table_of("pandas"), 2, rng=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_gives_the_bits_of_its_numbers(library, dtype):
    numbers = X.astype(dtype)
    table = table_of(library, numbers)
    fitted, plain = (fastem.fit(rows, 2, rng=0) for rows in (table, numbers))
    np.testing.assert_array_equal(fitted.covariances, plain.covariances)
    assert fitted.feature_names == NAMES
    assert plain.feature_names is None
    for method in ("predict", "predict_proba", "score_samples", "score", "bic", "aic"):
        of_table, of_numbers = (getattr(fitted, method)(rows) for rows in (table, numbers))
        np.testing.assert_array_equal(of_table, of_numbers)
    assert fitted.score_samples(table).dtype == fitted.score_samples(numbers).dtype


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_column_of_weights(library):
    weight = np.arange(300.0)
    column = table_of(library, np.column_stack([X, weight]), (*NAMES, "weight"))["weight"]
    weighted, expected = (fastem.fit(X, 2, sample_weight=w, rng=0) for w in (column, weight))
    np.testing.assert_array_equal(weighted.means, expected.means)


USES = (
    lambda model, rows, **options: model.predict(rows),
    lambda model, rows, **options: model.score(rows, **options),
    lambda model, rows, **options: fastem.e_step(rows, model, **options).log_likelihood,
    lambda model, rows, **options: fastem.partial_fit(model, rows, **options).means,
    lambda model, rows, **options: fastem.fit(rows, 2, init=model, **options).means,
)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_model_picks_its_columns_by_name(library, model):
    more = np.column_stack([X[:, 1], WEIGHT, X[:, 0]])
    wide = table_of(library, more, ("width", "w", "length"))
    for use in USES:
        np.testing.assert_array_equal(use(model, wide), use(model, X))
        np.testing.assert_array_equal(
            use(model, wide, sample_weight="w"), use(model, X, sample_weight=WEIGHT)
        )
        with pytest.raises(ValueError, match=r"as the model has; it lacks \['length'\].* are \['width'\]"):
            use(model, table_of(library, X[:, 1:], ("width",)))


def test_files_and_dask_may_be_wider(model, tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    more = np.column_stack([X[:, 1], WEIGHT, X[:, 0]])
    wide = table_of("pandas", more, ("width", "w", "length")).assign(kind="text")
    (tmp_path / "folder").mkdir()
    for part in (0, 1):
        wide[150 * part :][:150].to_parquet(tmp_path / "folder" / f"{part}.parquet")
    frame = dd.from_pandas(wide, npartitions=2)
    np.testing.assert_array_equal(model.predict(frame).compute(), model.predict(X))
    np.testing.assert_array_equal(np.concatenate(list(model.predict(tmp_path / "folder"))), model.predict(X))
    for rows in (frame, tmp_path / "folder"):
        assert model.score(rows, "w") == pytest.approx(model.score(X, WEIGHT), rel=1e-12)
        begun = fastem.fit(rows, 2, init=model)
        assert begun.feature_names == NAMES
        np.testing.assert_allclose(begun.means, fastem.fit(X, 2, init=model).means, rtol=1e-9)
    wide[["w", "width"]].to_parquet(tmp_path / "narrow.parquet")
    for rows in (frame[["w", "width"]], tmp_path / "narrow.parquet"):
        with pytest.raises(ValueError, match=r"as the model has; it lacks \['length'\]"):
            model.predict(rows)


def test_columns_that_have_numbers_are_taken_by_position(model):
    np.testing.assert_array_equal(model.predict(pd.DataFrame(X)), model.predict(X))
    with pytest.raises(ValueError, match=r"it lacks \['width'\]. Its columns are \['length', 0\]"):
        model.predict(pd.DataFrame({"length": X[:, 0], 0: X[:, 1]}))


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_chosen_by_name(library):
    wide = table_of(library, np.column_stack([X[:, 1], WEIGHT, X[:, 0]]), ("width", "w", "length"))
    parts = [wide[:100], wide[100:]]
    expected = fastem.fit(X, 2, rng=0).means
    for rows in (wide, parts):
        fitted = fastem.fit(rows, 2, columns=NAMES, rng=0)
        assert fitted.feature_names == NAMES
        np.testing.assert_array_equal(fitted.means, expected)
    np.testing.assert_array_equal(np.concatenate(list(fitted.predict(parts))), fitted.predict(X))
    begun = fastem.partial_fit(None, wide, k=2, columns=NAMES, rng=0)
    for columns in (NAMES, NAMES[::-1]):
        assert fastem.partial_fit(begun, wide, columns=columns).feature_names == NAMES
    assert fastem.select(wide, 2, columns=NAMES, rng=0).best.feature_names == NAMES
    assert fastem.kmeans(wide, 2, columns=NAMES, rng=0).feature_names == NAMES
    for use in (fastem.fit, fastem.kmeans):
        with pytest.raises(ValueError, match="whose columns have no names"):
            use([X[:100], X[100:]], 2, columns=NAMES)
    for wrong, init in ((["w"], begun), (["width"], fitted)):
        with pytest.raises(ValueError, match="columns must be those of the model"):
            fastem.fit(wide, 2, columns=wrong, init=init)
        with pytest.raises(ValueError, match="columns must be those of the model"):
            fastem.partial_fit(init, wide, columns=wrong)
    with pytest.raises(ValueError, match="columns must be left out for a model whose columns have no names"):
        fastem.partial_fit(fastem.fit(X, 2, rng=0), wide, columns=NAMES)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_not_finite_is_counted_by_column(library):
    bad = X.copy()
    bad[3:7, 0], bad[2, 1], bad[4, 1] = np.nan, np.inf, np.nan
    table = table_of(library, bad)
    first = (
        "must be finite; row 2, column 'width' is inf. Drop or impute such rows, or leave such columns out: "
    )
    counts = "column 'length' has 4 NaN, column 'width' has 1 NaN and 1 inf, in 300 rows"
    for rows, where in ((table, "X "), ([table[:150], table[150:]], "chunk 0 of X ")):
        with pytest.raises(ValueError) as caught:
            fastem.fit(rows, 2)
        assert str(caught.value).startswith(where + first + counts)
    with pytest.raises(
        ValueError, match=r"row 2, column 1 is inf\..*: column 0 has 4 NaN, column 1 has 1 NaN"
    ):
        fastem.fit(bad, 2)
    with pytest.raises(ValueError, match="column 'length'"):
        fastem.fit(table_of(library), 2, distribution="poisson")


@pytest.mark.parametrize("library", LIBRARIES)
def test_missing_values_are_found(library):
    columns = {"length": [1.0, 2.0, None, 4.0], "width": [1, 2, 3, 4]}
    with pytest.raises(ValueError, match="X must be finite; row 2, column 'length' is nan"):
        fastem.fit(LIBRARIES[library](columns), 2)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("column", [["a", "b", "c"], [datetime.datetime(2020, 1, 1)] * 3])
def test_columns_that_hold_no_numbers_are_named(library, column):
    table = LIBRARIES[library]({"width": [1.0, 2.0, 3.0], "kind": column})
    with pytest.raises(TypeError, match="X must hold real numbers; column 'kind' has type"):
        fastem.fit(table, 2)


def test_booleans_and_decimals_are_numbers():
    table = pl.DataFrame({"flag": [True, False] * 5, "price": range(10)})
    table = table.with_columns(pl.col("price").cast(pl.Decimal(10, 2)))
    numbers = np.column_stack([[1, 0] * 5, range(10)])
    options = {"covariance_type": "diag", "max_iter": 0, "init": np.arange(10) // 5}
    np.testing.assert_array_equal(
        fastem.fit(table, 2, reg_covar=1e-9, **options).means,
        fastem.fit(numbers, 2, reg_covar=1e-9, **options).means,
    )


def test_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match="X must have columns of different names"):
        fastem.fit(pd.DataFrame(X, columns=["a", "a"]), 2)


def test_numbered_columns_are_no_names():
    assert fastem.fit(pd.DataFrame(X), 2, rng=0).feature_names is None


def test_a_lazy_frame_is_no_array():
    with pytest.raises((TypeError, ValueError), match="X must"):
        fastem.fit(table_of("polars").lazy(), 2)


def test_without_narwhals_pandas_gives_its_numbers(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "narwhals.stable.v2", None)
    assert _tables.as_table(table_of("pandas")) is None
    model = fastem.fit(table_of("pandas"), 2, rng=0)
    assert model.feature_names is None
    np.testing.assert_array_equal(model.means, fastem.fit(X, 2, rng=0).means)


def test_names_are_kept_shown_and_saved(model, tmp_path):
    model.save(tmp_path / "m.npz")
    twins = [fastem.load(tmp_path / "m.npz"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    twins.append(fastem.m_step(fastem.e_step(X, model) + fastem.e_step(X, model)))
    for twin in twins:
        assert twin.feature_names == NAMES
    assert "feature_names=('length', 'width')" in repr(model)
    assert "length, width" in describe(model)


@pytest.mark.parametrize("names", ["ab", ["a"], ["a", 2]])
def test_names_are_checked(names):
    with pytest.raises(ValueError, match="feature_names must be 2 strings"):
        fastem.GaussianMixture([1.0], [[0.0, 0.0]], [1.0], "spherical", feature_names=names)
