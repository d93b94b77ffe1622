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
    with pytest.raises(ValueError, match=r"it lacks \['length', 'width'\]. Its columns are \[1, 0\]"):
        model.predict(pd.DataFrame({1: X[:, 0], 0: X[:, 1]}))
    numbered = fastem.fit(table_of("pandas", X, ("0", "1")), 2, rng=0)
    swapped = pd.DataFrame({1: X[:, 1], 0: X[:, 0]})
    for rows in (swapped, pd.DataFrame(X)):
        np.testing.assert_array_equal(numbered.predict_proba(rows), numbered.predict_proba(X))
    with pytest.raises(ValueError, match=r"chunk 1 of X must have the columns without names.*got \[1, 0\]"):
        fastem.fit([pd.DataFrame(X[:150]), swapped[150:]], 2)
    assert fastem.fit([pd.DataFrame(X[:150]), X[150:]], 2, rng=0).feature_names is None


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ([("a", "x"), ("a", "y")], r"got \('a', 'x'\).*map\(\"_\"\.join\)"),
        (["a", 0], r"got 0 among.*map\(str\)"),
        ([0.5, 1.5], r"got 0\.5 among"),
    ],
)
def test_names_of_other_kinds_are_refused(names, remedy, model):
    dd = pytest.importorskip("dask.dataframe")
    table = pd.DataFrame(X, columns=pd.Index(names))
    uses = [lambda rows: fastem.fit(rows, 2), lambda rows: fastem.kmeans(rows, 2), model.predict]
    uses += [lambda rows: fastem.fit(rows, 2, columns=["a", "b"]), lambda rows: fastem.fit([rows], 2)]
    uses += [lambda rows: fastem.fit(dd.from_pandas(rows, npartitions=2), 2)]
    for use in uses:
        with pytest.raises(TypeError, match=remedy):
            use(table)


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


def test_gaps_of_pyarrow_types_are_counted(model):
    dd = pytest.importorskip("dask.dataframe")
    gaps = table_of("pandas").astype("double[pyarrow]")
    gaps.loc[[3, 8], "width"] = None
    uses = [model.predict, lambda rows: fastem.fit(rows, 2), lambda rows: fastem.kmeans(rows, 2)]
    uses += [lambda rows: fastem.fit(rows, 2, distribution="categorical")]
    uses += [lambda rows: fastem.fit(dd.from_pandas(rows, npartitions=1), 2)]
    uses += [lambda rows: model.predict(dd.from_pandas(rows, npartitions=1)).compute()]
    for use in uses:
        with pytest.raises(ValueError, match="column 'width' has 2 NaN, in 300 rows"):
            use(gaps)
    single = gaps.dropna().astype("float[pyarrow]")
    flag = pd.array([True, None], dtype="boolean")
    assert fastem.fit(single, 2).score_samples(single).dtype == np.float32
    with pytest.raises(ValueError, match="row 1, column 'flag' is nan"):
        fastem.fit(pd.DataFrame({"flag": flag}), 1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_chunks_of_integers_and_floats_are_of_one_type(library):
    whole = np.rint(10 * X)
    later = table_of(library, whole[100:])
    parts = [table_of(library, whole[:100].astype(np.int64)), later]
    np.testing.assert_array_equal(fastem.fit(parts, 2, rng=0).means, fastem.fit(whole, 2, rng=0).means)
    gaps = LIBRARIES[library]({"length": [1.0, 2.0], "width": [None, 3]})
    with pytest.raises(
        ValueError, match=r"chunk 1 of X must be finite.* column 'width' has 1 NaN, in 102 rows"
    ):
        fastem.fit([parts[0], gaps], 2)


def test_integers_too_large_are_found_in_any_chunk():
    large = [np.array([[0.5], [1.0]]), np.array([[2**53 + 1], [5], [9]])]
    with pytest.warns(fastem.FitWarning, match="integers up to 9007199254740993"):
        fastem.fit(large, 1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_integers_too_large_are_found_beside_floats(library):
    table = LIBRARIES[library]({"id": [2**53 + 1, 5, -9], "half": [0.5, 1.0, 2.0]})
    for X in (table, [table, table]):
        with pytest.warns(fastem.FitWarning, match="integers up to 9007199254740993"):
            fastem.fit(X, 1, rng=0)
    fastem.fit(table, 1, columns=["half"])


def test_integers_too_large_are_found_beside_gaps():
    table = pl.DataFrame({"id": [-(2**60), 5, None, 9], "half": [0.5, 1.0, 2.0, 4.0]})
    with pytest.warns(fastem.FitWarning, match="integers up to 1152921504606846976"):
        fastem.fit(table, 1, covariance_type="diag", missing="marginalise")


def test_blocks_of_integers_and_floats_are_of_one_type():
    dd = pytest.importorskip("dask.dataframe")
    ids = pd.DataFrame({"length": range(20), "width": [j % 7 for j in range(20)]})
    frame = dd.from_pandas(ids, npartitions=2).map_partitions(
        lambda part: part.astype(float) if part.index[0] else part, meta=ids.iloc[:0]
    )
    np.testing.assert_allclose(fastem.fit(frame, 1).means, fastem.fit(ids, 1).means, rtol=1e-12)


def test_text_among_objects_is_named():
    with pytest.raises(TypeError, match=r"row 1, column 'a' is 'x'\. Drop or convert"):
        fastem.fit(pd.DataFrame({"b": [1.0, 2.0, 3.0], "a": [1.0, "x", None]}), 1)


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
    same = pd.DataFrame(np.column_stack([X, WEIGHT]), columns=["a", "a", "w"])
    for options in ({"columns": ["a"]}, {"sample_weight": "w"}):
        for rows in (same, pa.table([pa.array(WEIGHT)] * 3, names=["a", "a", "w"])):
            with pytest.raises(
                ValueError, match=r"X must have columns of different names; .* called 'a'\. Ren"
            ):
                fastem.fit(rows, 2, **options)


def test_files_of_parquet_of_one_name_and_without_rows(tmp_path, model):
    pq = pytest.importorskip("pyarrow.parquet")
    columns = [pa.array(column) for column in (*X.T.copy(), WEIGHT)]
    pq.write_table(pa.table(columns, names=["a", "a", "w"]), path := tmp_path / "same.parquet")
    for options in ({}, {"columns": ["a"]}, {"sample_weight": "w"}):
        with pytest.raises(ValueError, match=r"columns of different names; several are called 'a'"):
            fastem.fit(path, 2, **options)
    pq.write_table(table_of("pyarrow")[:0], empty := tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match="X must have at least one row"):
        fastem.fit(empty, 2)
    with pytest.raises(ValueError, match="X must have at least one row"):
        list(model.predict(empty))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            lambda: {"length": X[:, 0], "width": X[:, 1]},
            r"dict with \['length', 'width'\]. Make a table of it",
        ),
        (lambda: {"X": X}, r"list: \[X\]"),
        (lambda: table_of("pandas")["length"], r"X\.to_frame\(\) for one feature"),
        (lambda: table_of("polars")["length"], r"X\.to_frame\(\) for one feature"),
        (lambda: X[0], r"X\.reshape\(1, -1\) for one row"),
        (lambda: table_of("pandas").iloc[0], r"X\.to_numpy\(\)\.reshape\(1, -1\) for one row"),
        (lambda: table_of("polars").lazy(), r"LazyFrame. Pass X\.collect\(\)\.$"),
        (lambda: pd.DataFrame({"length": pd.arrays.SparseArray(X[:, 0]), "width": 0.0}), "Sparse.*to_dense"),
        (
            lambda: pa.table({"length": pa.nulls(3), "width": [1.0, 2.0, 3.0]}),
            "column 'length' has type null",
        ),
    ],
)
def test_what_is_almost_a_table(rows, message, model):
    with pytest.raises((TypeError, ValueError), match=message):
        model.predict(rows())


def test_errors_about_text_name_columns():
    table = table_of("pandas").assign(kind=["a", "b", "c"] * 100)
    kinds = {"kind": "categorical", "length": "gaussian"}
    mixed = fastem.fit(table, 2, columns=["kind", "length"], distribution=kinds, rng=0)
    blank = table.astype({"kind": object})
    blank.loc[4, "kind"] = None
    for wrong, message in (
        (table.assign(length="x"), "numbers in column 'length', as in the fit; got text"),
        (table.assign(kind="z"), "row 0, column 'kind' is 'z'"),
        (blank, "row 4, column 'kind' is (None|nan)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            mixed.predict(wrong)
    parts = [table[:150], table[150:]]
    in_parts = fastem.fit(parts, 2, columns=["kind", "length"], distribution=kinds, rng=0)
    np.testing.assert_array_equal(in_parts.weights, mixed.weights)
    for use in (fastem.fit, fastem.kmeans):
        with pytest.raises(TypeError, match=r"'kind' has type String. Drop or encode it.* Text goes with"):
            use(table, 2)
    with pytest.raises(ValueError, match=r"columns must name at least one column; got \[\]"):
        fastem.fit(table, 2, columns=[])


@pytest.mark.parametrize("near", ["lenght", "Length", "LENGTH"])
def test_a_name_that_is_nearly_right_is_suggested(near):
    with pytest.raises(ValueError, match=f"got '{near}'. Did you mean 'length'?"):
        fastem.fit(table_of("pandas"), 2, columns=[near])
    with pytest.raises(ValueError, match=r"got 'z'\.$"):
        fastem.fit(table_of("pandas"), 2, columns=["z"])


@pytest.mark.parametrize("kind", [np.array, pd.Series, list])
def test_labels_of_text_must_be_numbered(kind):
    labels = kind([None, "short", "long"] * 100)
    with pytest.raises(TypeError, match=r"^labels must be whole .* got 'short'. pandas.factorize"):
        fastem.fit(X, 2, labels=labels)
    numbers = pd.factorize(np.asarray(labels, dtype=object))[0]
    assert fastem.fit(X, 2, labels=numbers, max_iter=0).predict(X).max() == 1


def test_numbered_columns_are_no_names():
    assert fastem.fit(pd.DataFrame(X), 2, rng=0).feature_names is None


def test_a_lazy_frame_is_no_array():
    with pytest.raises(TypeError, match=r"got a LazyFrame. Pass X\.collect\(\)"):
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
