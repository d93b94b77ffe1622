"""missing="marginalise" in fits, models, sources and files: reference values, the bits of every source,
marginals as the truth of scores, conditionals as that of imputed numbers, and mistakes."""

import json
import pickle

import naive
import numpy as np
import pytest
from conftest import DATA
from numpy.testing import assert_allclose, assert_array_equal

import fastem
from fastem.__main__ import main
from fastem._em.completed import completed
from fastem._sources.arrays import ArraySource
from fastem._sources.texts import Gaps
from fastem._typing import Rows

pytestmark = pytest.mark.filterwarnings("ignore::fastem.FitWarning")
ASKED = {"missing": "marginalise"}
AIR = DATA / "airquality4.csv"
QUICK = {"init": "k-means++", "max_iter": 4, "rng": 0, **ASKED}

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], 150)
WHOLE = RNG.normal(size=(300, 3)) @ np.array([[1, 0.6, 0], [0, 1, 0.5], [0, 0, 1]]) + 5 * LABELS[:, None]
WHOLE[:, 2] = np.rint(10 * WHOLE[:, 2])  # whole numbers, which become float64 where some are missing
X = np.where(RNG.random(WHOLE.shape) < 0.2, np.nan, WHOLE)
X[7] = np.nan
GAPS = np.isnan(X)


@pytest.fixture(scope="module")
def model():
    return fastem.fit(X, 2, rng=0, **ASKED)


# --- the fit


@pytest.mark.parametrize("k", ["1", "2", "3"])
def test_reference_values(k):
    known = json.loads((DATA / "missing.json").read_text())["airquality4"]["G"][k]
    model = fastem.fit(AIR, int(k), tol=1e-9, max_iter=2000, reg_covar=0, rng=0, **ASKED)
    assert model.report.log_likelihood >= known["loglik"] - 1e-3
    assert (np.diff(model.report.history) > -1e-9).all()
    assert model.n_parameters == known["df"]
    assert -model.bic(AIR) >= known["bic"] - 2e-3  # which counts all 153 rows


@pytest.mark.parametrize("options", [{}, {"distribution": "poisson"}, {"covariance_type": "tied"}])
def test_without_gaps_it_is_the_plain_fit(options):
    rows = np.abs(np.rint(3 * WHOLE))
    plain = fastem.fit(rows, 2, rng=0, **options)
    asked = fastem.fit(rows, 2, rng=0, **options, **ASKED)
    assert asked.missing == "marginalise"
    for name, values in plain.parameters.items():
        assert_allclose(asked.parameters[name], values, rtol=1e-10, atol=1e-10)
    assert asked.report.n_iter == plain.report.n_iter


@pytest.mark.parametrize("seed", range(6))
def test_every_cluster_is_found(seed):
    rng = np.random.default_rng(seed)
    d, k = 2 + seed, 8 - seed
    means = 6 * rng.normal(size=(k, d))
    labels = rng.integers(k, size=1200)
    rows = means[labels] + rng.normal(size=(1200, d))
    rows[rng.random(rows.shape) < (0.3 if seed % 2 else 0.1)] = np.nan
    options = {"max_iter": 50, "rng": 0, **ASKED}
    known = fastem.fit(rows, k, init=labels, **options).report.log_likelihood
    assert fastem.fit(rows, k, **options).report.log_likelihood >= known - 3


def test_labels_are_enough_for_a_supervised_fit():
    """For diagonal covariances these are the moments of what is observed."""
    model = fastem.fit(X, 2, init=LABELS, max_iter=0, covariance_type="diag", reg_covar=0, **ASKED)
    means = [np.nanmean(X[LABELS == k], axis=0) for k in (0, 1)]
    deviations = np.sqrt([np.nanvar(X[LABELS == k], axis=0) for k in (0, 1)])
    assert (np.abs(model.means - means) < 0.05 * deviations).all()
    assert_allclose(np.sqrt(model.covariances), deviations, rtol=0.05)


def test_select_and_priors_take_gaps():
    selection = fastem.select(X, [1, 2], covariance_type=["full", "diag"], rng=0, **ASKED)
    assert selection.chosen.k == 2
    assert selection.best.missing == "marginalise"
    model = fastem.fit(X, 2, prior="default", rng=0, **ASKED)
    assert (np.diff(model.report.history) > -1e-6).all()
    complete = fastem.fit(WHOLE, 2, prior="default", rng=0)
    assert_allclose(np.sort(model.means[:, 0]), np.sort(complete.means[:, 0]), atol=0.3)


def test_the_seed_and_the_threads():
    one, two = (fastem.fit(X, 2, rng=0, n_threads=n, **ASKED) for n in (1, 2))
    assert_array_equal(one.means, two.means)


def test_what_is_completed_for_starts():
    rows = completed(Rows("X", 0, X), np.zeros(3))
    assert_array_equal(rows.X[~GAPS], X[~GAPS])
    for j in range(3):
        assert np.isin(rows.X[GAPS[:, j], j], X[:, j]).all()
    assert (np.abs(rows.X[:, :2] - 5 * LABELS[:, None]) < 4.5)[~GAPS.all(axis=1)].mean() > 0.98
    whole = Rows("X", 0, WHOLE)
    assert completed(whole, np.zeros(3)) is whole


# --- sources


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 63, 5001])
def test_moments_are_of_what_is_observed(n, dtype):
    rng = np.random.default_rng(n)
    rows = rng.normal([0, 1e3, -5], size=(n, 3)).astype(dtype)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    rows[0] = 1
    weight = rng.integers(0, 3, n).astype(dtype)
    weight[0] = 1
    moments = ArraySource(Rows("X", 0, rows, weight), gaps=Gaps(True)).moments()
    observed, mean, variance = naive.observed_moments(rows, weight)
    assert moments.weight == weight.sum()
    assert moments.gaps == np.isnan(rows).sum()
    assert_allclose(moments.observed, observed)
    assert_allclose(moments.mean, mean, rtol=1e-6)
    assert_allclose(moments.variance, variance, rtol=1e-5, atol=1e-12)
    if n > 1:  # merged exactly, also with a part that has none of a column
        rows[: n // 2, 1] = np.nan
        rows[n // 2 :, 0] = np.nan
        rows[0, 1], rows[-1, 0], weight[-1] = np.nan, 2, 1
        parts = [Rows("X", 0, rows[s], weight[s]) for s in (slice(0, n // 2), slice(n // 2, n))]
        one, two = (ArraySource(part, gaps=Gaps(True)).moments() for part in parts)
        whole = ArraySource(Rows("X", 0, rows, weight), gaps=Gaps(True)).moments()
        assert_allclose(one.merge(two).mean, whole.mean, rtol=1e-6)
        assert_allclose(one.merge(two).variance, whole.variance, rtol=1e-5, atol=1e-12)


def sources(folder):
    """The rows of X in every form, by name."""
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    pq = pytest.importorskip("pyarrow.parquet")
    names = ["a", "b", "c"]
    cells = [[None if np.isnan(x) else x for x in row] for row in X.tolist()]
    columns = {name: [row[j] for row in cells] for j, name in enumerate(names)}
    columns["c"] = [None if x is None else int(x) for x in columns["c"]]
    yield "Fortran order", np.asfortranarray(X)
    yield "list", cells
    yield "objects", np.array(cells, dtype=object)
    yield "masked", np.ma.masked_array(np.where(GAPS, 99.0, X), GAPS)
    yield "chunks", [np.ma.masked_invalid(X[:100]), X[100:101], X[101:]]
    yield "dicts", [{"X": X[:77]}, {"X": X[77:]}]
    np.save(folder / "x.npy", X)
    yield "memory map", np.load(folder / "x.npy", mmap_mode="r")
    yield "pandas", pd.DataFrame(X, columns=names)
    yield "nullable", pd.DataFrame(columns).astype({"a": "Float64", "b": "Float64", "c": "Int64"})
    yield "polars", pl.DataFrame(columns)
    yield "pyarrow", pa.table(columns)
    pq.write_table(pa.table(columns), folder / "x.parquet", row_group_size=90)
    yield "parquet", folder / "x.parquet"
    text = pd.DataFrame(columns).to_csv(index=False, na_rep="NA", float_format="%.17g").splitlines()
    text = [line.replace("NA", ("NA", "", "nan", "?")[i % 4]) for i, line in enumerate(text)]
    (folder / "x.csv").write_text("\n".join(text))
    yield "csv", folder / "x.csv"


def test_every_source_gives_the_same_bits(tmp_path):
    known = fastem.fit(X, 2, **QUICK)
    for name, source in sources(tmp_path):
        model = fastem.fit(source, 2, **QUICK)
        assert_array_equal(model.means, known.means, err_msg=name)
        scores = model.score_samples(source)
        scores = scores if isinstance(scores, np.ndarray) else np.concatenate(list(scores))
        assert_allclose(scores, known.score_samples(X), rtol=1e-12, atol=1e-12, err_msg=name)
        if name in ("csv", "masked", "parquet", "chunks"):
            with pytest.raises(ValueError, match='pass missing="marginalise"'):
                fastem.fit(source, 2, rng=0)


def test_dask_takes_gaps():
    da, dd = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    known = fastem.fit(X, 2, **QUICK)
    frame = pd.DataFrame(X, columns=list("abc")).astype({"c": "Int64"})
    for source in (da.from_array(X, chunks=(70, 3)), dd.from_pandas(frame, npartitions=3)):
        assert_allclose(fastem.fit(source, 2, **QUICK).means, known.means, rtol=1e-9)
        assert_array_equal(known.impute(source).compute(), known.impute(X))
    holes = X.copy()
    holes[:70, 0] = np.nan  # the first block has none
    holes[70:, 1] = np.nan
    model = fastem.fit(da.from_array(holes, chunks=(70, 3)), 2, **QUICK)
    assert_allclose(model.means, fastem.fit(holes, 2, **QUICK).means, rtol=1e-9)


def test_text_may_be_missing(tmp_path):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    words = np.where(rng.random((200, 2)) < np.repeat([[0.9], [0.1]], 100, axis=0), "yes", "no").astype(
        object
    )
    words[rng.random(words.shape) < 0.2] = None
    options = {"distribution": "categorical", "rng": 0, **ASKED}
    model = fastem.fit(words, 2, **options)
    assert [list(own) for own in model.categories] == [["no", "yes"]] * 2
    table = pd.DataFrame(words, columns=["a", "b"])
    table.to_csv(tmp_path / "x.csv", index=False)
    chunks = [table[:50], table[50:]]
    for source in (table, table.astype("category"), tmp_path / "x.csv", chunks):
        assert_array_equal(fastem.fit(source, 2, **options).weights, model.weights)
    filled = model.impute(words)
    there = np.array([[word is not None for word in row] for row in words])
    assert_array_equal(filled[there], words[there])
    assert set(filled[~there]) <= {"yes", "no"}
    with pytest.raises(ValueError, match=r'name of its own, or pass missing="marginalise"'):
        fastem.fit(words, 2, distribution="categorical")
    a, b = (~there).sum(axis=0)
    with pytest.raises(ValueError, match=f"Entries without text: {a} in column 'a', {b} in column 'b', in "):
        fastem.fit(table, 2, distribution="categorical")


# --- models


def test_scores_are_those_of_the_marginal(model):
    for row in X[:20]:
        there = np.flatnonzero(~np.isnan(row))
        if len(there):
            marginal = model.marginal(there.tolist())
            assert_allclose(model.score_samples([row]), marginal.score_samples([row[there]]), rtol=1e-12)
            assert_allclose(model.predict_proba([row]), marginal.predict_proba([row[there]]), rtol=1e-10)
            assert marginal.missing == "marginalise"
    assert_allclose(model.score_samples(X[7:8]), [0], atol=1e-12)  # nothing is observed
    assert_allclose(model.predict_proba(X[7:8])[0], model.weights)
    total = model.score_samples(X).sum()
    assert_allclose(model.report.log_likelihood, total, rtol=1e-9)
    assert_allclose(model.bic(X), -2 * total + model.n_parameters * np.log(len(X)))
    assert_allclose(model.lower_bound(X), total)
    assert_allclose(model.lower_bound(X, model.predict_proba(X)), total)
    assert np.isfinite([model.icl(X), model.aic(X), model.threshold(X, 0.1)]).all()
    assert np.isfinite(model.component_log_densities(X)).all()
    assert np.isfinite(model.merge_order(X).entropies).all()


def test_models_remember_it(model, tmp_path):
    model.save(tmp_path / "model.npz")
    copies = [
        fastem.load(tmp_path / "model.npz"),
        pickle.loads(pickle.dumps(model)),
        fastem.GaussianMixture(model.weights, model.means, model.covariances, **ASKED),
    ]
    for copy in copies:
        assert_array_equal(copy.score_samples(X), model.score_samples(X))
    assert "missing='marginalise'" in repr(model)
    assert "marginalised" in model.summary()
    plain = fastem.GaussianMixture(model.weights, model.means, model.covariances)
    assert (plain.missing, model.missing) == ("error", "marginalise")
    for other in (model.condition({0: 1.0}), model.merge([[0, 1]]), model.marginal([0])):
        assert other.missing == "marginalise"
    counts = fastem.Mixture([1.0], {"rates": [[2.0, 3.0]]}, "poisson", **ASKED)
    assert_allclose(
        counts.score([[np.nan, 3]]), fastem.Mixture([1.0], {"rates": [[3.0]]}, "poisson").score([[3]])
    )


def test_statistics_merge(model):
    whole = fastem.e_step(X, model)
    parts = fastem.e_step(X[:100], model) + fastem.e_step(X[100:], model)
    again = fastem.Statistics.from_bytes(parts.to_bytes())
    assert_allclose(fastem.m_step(again).means, fastem.m_step(whole).means, rtol=1e-12)
    assert fastem.m_step(again).missing == "marginalise"
    assert_allclose(whole.log_likelihood, model.score(X) * len(X))
    plain = fastem.GaussianMixture(model.weights, model.means, model.covariances)
    assert fastem.e_step(X, plain, **ASKED).log_likelihood == whole.log_likelihood
    for given in ({}, {"missing": "error"}):
        with pytest.raises(ValueError, match=r'column 0 has .* NaN.*pass missing="marginalise"'):
            fastem.e_step(X, plain if not given else model, **given)
    with pytest.raises(ValueError, match='a model that was fitted or made with missing="marginalise"'):
        plain.predict(X)


# --- imputation


def test_imputed_numbers_are_conditional_means(model):
    filled = model.impute(X)
    assert_array_equal(filled[~GAPS], X[~GAPS])
    for row, full in zip(X[:12], filled, strict=False):
        given, lacking = np.flatnonzero(~np.isnan(row)).tolist(), np.flatnonzero(np.isnan(row)).tolist()
        if given and lacking:
            assert_allclose(full[lacking], model.regress([row[given]], given, lacking)[0], rtol=1e-9)
    assert_allclose(filled[7], model.weights @ model.means)
    assert_array_equal(np.concatenate(list(model.impute([X[:100], X[100:]]))), filled)
    plain = fastem.GaussianMixture(model.weights, model.means, model.covariances)
    assert_array_equal(plain.impute(X), filled)
    single = X.astype(np.float32)
    assert model.impute(single).dtype == np.float32
    assert_array_equal(model.impute(single)[~GAPS], single[~GAPS])


def test_draws_have_the_conditional_moments(model):
    row = X[np.flatnonzero(GAPS.sum(axis=1) == 1)[0]]
    j = int(np.argmax(np.isnan(row)))
    known = model.condition({i: float(row[i]) for i in range(3) if i != j})
    mean = float(known.weights @ known.means[:, 0])
    variance = float(known.weights @ (known.covariances[:, 0, 0] + (known.means[:, 0] - mean) ** 2))
    drawn = model.impute(np.tile(row, (20_000, 1)), rng=0)[:, j]
    assert abs(drawn.mean() - mean) < 5 * np.sqrt(variance / len(drawn))
    assert_allclose(drawn.var(), variance, rtol=0.06)
    assert_array_equal(drawn, model.impute(np.tile(row, (20_000, 1)), rng=0, n_threads=1)[:, j])
    parts = list(model.impute([np.tile(row, (50, 1))] * 2, rng=0))
    assert not np.array_equal(parts[0], parts[1])
    assert model.impute(np.empty((0, 3))).shape == (0, 3)


# --- mistakes and advice


HOLE = np.column_stack([X[:, 0], np.full(len(X), np.nan)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fastem.fit(X, 2), r'row .* is nan.* in 300 rows\. Or pass missing="marginalise"'),
        (
            lambda: fastem.fit(X, 2, missing="drop"),
            r"got 'drop'\. .* To drop rows, do so before",
        ),
        (
            lambda: fastem.fit(X, 2, missing="marginalize"),
            r'got .marginalize.\. Did you mean "marginalise"\?',
        ),
        (lambda: fastem.fit(X, 2, missing=True), r"got True. With .* impute of the model fills them in"),
        (lambda: fastem.kmeans(X, 2), r"column 2 has .* fill the gaps by fastem.fit\(.*\).impute\(X\)"),
        (lambda: fastem.silhouette_score(X, LABELS), r"fill the gaps by fastem.fit\(.*\).impute\(X\)"),
        (lambda: fastem.fit(X, 2, noise_component=True, **ASKED), 'error" with noise_component=True'),
        (lambda: fastem.fit(X, 2, inference="variational", **ASKED), 'error" with inference="variational"'),
        (lambda: fastem.fit(HOLE, 2, **ASKED), "a number in each column.*column 1 has none"),
        (lambda: fastem.fit(np.where(GAPS, np.inf, X), 2, **ASKED), "is inf.* column 0 has .* inf, "),
        (lambda: fastem.partial_fit(None, X, k=2, **ASKED), 'missing must be "error" in partial_fit'),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_arguments_of_impute(model):
    with pytest.raises(TypeError, match=r"^GaussianMixture.impute\(\) got .*'random_state'. .* pass rng=0"):
        model.impute(X, random_state=0)
    with pytest.raises(TypeError, match="The arguments are X, rng, n_threads"):
        model.impute(X, strategy="mean")


def test_functions_without_the_option_say_so():
    with pytest.raises(TypeError, match="Rows must be complete here"):
        fastem.kmeans(X, 2, **ASKED)


def test_models_that_take_gaps_are_refused_where_rows_must_be_complete(model):
    for call in (fastem.adapt, fastem.partial_fit):
        with pytest.raises(ValueError, match='model must have missing="error" for'):
            call(model, X)
    infinite = X.copy()
    infinite[3, 1] = -np.inf
    for call in (model.predict, model.impute, model.score):
        with pytest.raises(ValueError, match="row 3, column 1 is -inf"):
            call(infinite)


def test_advice_is_about_what_is_observed():
    rows = np.column_stack([X[:, 0], np.where(GAPS[:, 1], np.nan, LABELS)])
    with pytest.warns(fastem.FitWarning, match="column 1 has only the values 0 and 1"):
        fastem.fit(rows, 1, **ASKED)
    rows[:, 1] = np.where(GAPS[:, 1], np.nan, 3.0)
    with pytest.warns(fastem.FitWarning, match="column 1 is constant"):
        fastem.fit(rows, 1, rng=0, **ASKED)


def test_pictures_show_the_complete_rows(model):
    pytest.importorskip("matplotlib")
    axis = fastem.plot.classification(model, X, features=[0, 1])
    shown = sum(len(points.get_offsets()) for points in np.ravel(axis)[0].collections)
    assert shown >= (~GAPS.any(axis=1)).sum()


def test_command_line(tmp_path, capsys):
    saved, out = tmp_path / "air.npz", tmp_path / "out.csv"
    options = ["fit", str(AIR), "-k", "2", "--seed", "0"]
    assert main(options) != 0
    assert "--missing marginalise" in capsys.readouterr().err
    assert not main([*options, "--missing", "marginalise", "-o", str(saved)])
    model = fastem.load(saved)
    assert not main(["predict", str(saved), str(AIR), "-o", str(out)])
    assert_array_equal(np.loadtxt(out, skiprows=1), model.predict(AIR))
    assert not main(["score", str(saved), str(AIR)])
    assert f"mean log-density {model.score(AIR):.6g}"[:-2] in capsys.readouterr().out
