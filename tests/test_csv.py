"""The path of a .csv is as good as the rows in it, and what is wrong with the file is told."""

import numpy as np
import pytest
from problems import clusters

import fastem

X = clusters(0, 300, 2, 2)
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, 300)
NAMES = ("length", "width")
KIND = np.where(X[:, 0] > X[:, 0].mean(), "long", "short")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = zip(KIND, X[:, 1].tolist(), WEIGHT.tolist(), X[:, 0].tolist(), strict=True)
    lines = [f"{kind},{width!r},{weight!r},{length!r}" for kind, width, weight, length in columns]
    (tmp_path / "wide.csv").write_text("\n".join(["kind,width,w,length", *lines, ""]))
    (tmp_path / "bare.csv").write_text("\n".join(f"{length!r},{width!r}" for length, width in X.tolist()))
    return tmp_path


def test_a_path_gives_the_bits_of_its_rows(folder):
    options = {"columns": NAMES, "rng": 0}
    model, expected = fastem.fit("wide.csv", 2, **options), fastem.fit(X, 2, rng=0)
    np.testing.assert_array_equal(model.covariances, expected.covariances)
    assert model.feature_names == NAMES
    bare = fastem.fit(folder / "bare.csv", 2, rng=0)
    np.testing.assert_array_equal(bare.covariances, expected.covariances)
    assert bare.feature_names is None
    chosen = fastem.fit("bare.csv", 2, columns=["1"], rng=0)
    np.testing.assert_array_equal(chosen.means, fastem.fit(X[:, 1:], 2, rng=0).means)
    for path in ("wide.csv", "bare.csv"):
        np.testing.assert_array_equal(model.predict_proba(path), model.predict_proba(X))
    assert model.score("wide.csv", "w") == model.score(X, WEIGHT)
    weighted = fastem.fit("wide.csv", 2, sample_weight="w", **options)
    np.testing.assert_array_equal(weighted.means, fastem.fit(X, 2, sample_weight=WEIGHT, rng=0).means)
    np.testing.assert_array_equal(
        fastem.partial_fit(model, "wide.csv").means, fastem.partial_fit(expected, X).means
    )
    assert fastem.select("wide.csv", 2, **options).best.feature_names == NAMES
    clustered = fastem.kmeans("wide.csv", 2, **options)
    np.testing.assert_array_equal(clustered.predict("wide.csv"), clustered.labels)


@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_labels_may_be_unknown(folder, kind):
    """A field without a label is one of -1. All other columns must be complete as ever."""
    first = X[:, 0].tolist() if kind == "gaussian" else np.where(X[:, 1] > 0, "u", "v").tolist()
    known = np.where(np.arange(len(X)) % 5, -1, X[:, 0] > np.median(X[:, 0])).tolist()
    rows = [f"{a},{b!r}," for a, b in zip(first, X[:, 1].tolist(), strict=True)]
    options = {"distribution": {"a": kind, "b": "gaussian"}, "rng": 0}
    models = []
    for unknown in ("", "-1"):
        cells = (row + (unknown if z < 0 else str(z)) for row, z in zip(rows, known, strict=True))
        (folder / "known.csv").write_text("\n".join(["a,b,z", *cells]))
        models.append(fastem.fit("known.csv", 2, labels="z", **options))
    np.testing.assert_array_equal(models[0].weights, models[1].weights)
    (folder / "known.csv").write_text("a,b,z\n1,2,\n3,,\n5,6,1\n2,8,0")
    with pytest.raises(ValueError, match=r"cells without one: 1 in column 'b', in 4 rows"):
        fastem.fit("known.csv", 2, labels="z")
    with pytest.raises(ValueError, match=r"cells without one: 2 in column 'z', in 4 rows"):
        fastem.fit("known.csv", 2, sample_weight="z", columns=["a"])


def test_text(folder):
    options = {"distribution": {"kind": "categorical", "length": "gaussian"}, "rng": 0}
    model = fastem.fit("wide.csv", 2, columns=["kind", "length"], **options)
    assert model.categories[0].tolist() == ["long", "short"]
    rows = np.column_stack([KIND, X[:, 0]]).astype(object)
    rows[:, 1] = X[:, 0]
    np.testing.assert_array_equal(model.predict("wide.csv"), model.predict(rows))
    (folder / "blank.csv").write_text("kind,length\na,1\n,2\n")
    with pytest.raises(ValueError, match=r"must have text throughout.* row 1, column 'kind' is None"):
        fastem.fit("blank.csv", 1, **options)
    (folder / "open.csv").write_text('length,note\n1,"a\n2,b\n4,c\n')  # not one row with a long note
    with pytest.raises(ValueError, match="close each double quote; one that opens in the row of line 2"):
        fastem.fit("open.csv", 1, columns=["length"])
    (folder / "inch.csv").write_text('length,,\n1,5" pipe,\n2,b,\n')  # columns that are not used
    np.testing.assert_array_equal(fastem.fit("inch.csv", 1, columns=["length"]).means, [[1.5]])


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbflength,width\r\n1,2\r\n3,4\r\n6,5\r\n",  # a byte order mark, as spreadsheets write it
        b'\n"length" , "width"\n1 ,"2"\n\n3, 4\n6,5\n\n',
    ],
)
def test_what_spreadsheets_write(folder, text):
    (folder / "x.csv").write_bytes(text)
    model = fastem.fit("x.csv", 1)
    assert model.feature_names == NAMES
    np.testing.assert_allclose(model.means, [[10 / 3, 11 / 3]], rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1;2\n", r"commas between its fields; it has semicolons.*sep=';'"),
        ("1,5;2,5\n3,5;4,5\n", "it has semicolons"),
        ("a\tb\n1\t2\n", "it has tabs"),
        ("1 2\n3 4\n", "it has spaces"),
        ("a,b\n1,2\n3,x\n", r"row 1 \(line 3\), column 'b' is 'x'. Choose columns of numbers"),
        ('a,b\n1,"2,5"\n', "column 'b' is '2,5'. Write decimal points"),
        (
            "a,b\n1,\n,NA\n3,4\n",
            r"one: 1 in column 'a', 2 in column 'b', in 3 rows; .* row 0 \(line 2\)",
        ),
        ("1,,3\n4,5,6\n", "without one: 1 in column 1, in 2 rows"),
        ("a,b\n1,nan\n2,3\n", "row 0, column 'b' is nan.* out: column 'b' has 1 NaN, in 2 rows"),
        ("a,b\n1,2\n3,4,5\n", r"2 fields in each row, as in the first line; row 1 \(line 3\) has 3"),
        (",a,b\n0,1,2\n1,3,4\n", "column 0 of 'x.csv' has none. If it numbers the rows"),
        ("a,a\n1,2\n", "columns of different names"),
        ("a,b\n", "at least one row"),
        ("", "at least one row"),
        ("a,b\n1,\xe9\n", r"text in UTF-8; .* pandas\.read_csv\(path, encoding='latin-1'\)"),
        ("\xff\xfea\0", "encoding='utf-16'"),
        ('a,b\n1,2\n3,"4\n5,6\n', "close each double quote; one that opens in the row of line 3"),
        (
            "# made by x, y\na,b\n1,2\n",
            "column '# made by x' is 'a'. Remove the first line if it is a comment",
        ),
        ("# made by x\na,b\n1,2\n", "line 1 is a comment, '# made by x'. Remove it"),
    ],
)
def test_what_is_wrong_with_a_file(folder, text, message):
    (folder / "x.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        fastem.fit("x.csv", 1)


def test_paths_of_nothing_and_of_other_files(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no 'none\.csv'"):
        fastem.fit("none.csv", 2)
    with pytest.raises(FileNotFoundError, match="there is no 'none'"):
        fastem.fit("none", 2)
    with pytest.raises(ValueError, match=r"columns of X, \['kind', 'width', 'w', 'length'\]; got 'z'"):
        fastem.fit("wide.csv", 2, columns=["z"])
    with pytest.raises(ValueError, match=r"it lacks \['length', 'width'\]"):
        fastem.fit("wide.csv", 2, columns=NAMES, rng=0).predict(_renamed(folder))
    pytest.importorskip("pyarrow")
    (folder / "x.txt").write_text("1 2\n3 4\n")
    with pytest.raises(
        ValueError, match=r"\.csv or Parquet file.*'x\.txt' is none.*by numpy\.loadtxt\(path\)"
    ):
        fastem.fit("x.txt", 2)


def _renamed(folder):
    (folder / "other.csv").write_text("a,b\n1,2\n")
    return folder / "other.csv"


@pytest.mark.parametrize("gap", ["", "7"])
def test_integers_too_large_for_floats_are_told(tmp_path, gap):
    path = tmp_path / "ids.csv"
    path.write_text(f"id,half\n-9007199254740993,0.5\n5, 1.0\n{gap},2.0\n9,4.0\n")
    with pytest.warns(fastem.FitWarning, match="PRECISION: X holds integers up to 9007199254740993 in size"):
        fastem.fit(path, 1, covariance_type="diag", missing="marginalise")
    fastem.fit(path, 1, columns=["half"])


def test_numbers_as_large_that_floats_hold_are_fine(tmp_path):
    path = tmp_path / "large.csv"
    path.write_text("1e100,0.5\n9007199254740992,1.0\n9007199254740993.0,2.0\n")
    fastem.kmeans(path, 1)
