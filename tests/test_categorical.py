"""Latent class analysis: mixtures of categories that are independent within a component."""

import copy
import json
import pickle

import naive
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DATA
from scipy.special import logsumexp

import fastem
from fastem import FitStatus
from fastem._em.loop import RESEEDED

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

WEIGHTS = np.array([0.5, 0.2, 0.3])
# Columns of 4, 2 and 3 categories.
COUNTS = [4, 2, 3]
PROBABILITIES = np.array(
    [
        [[0.7, 0.1, 0.1, 0.1], [0.9, 0.1, 0, 0], [0.8, 0.1, 0.1, 0]],
        [[0.1, 0.7, 0.1, 0.1], [0.2, 0.8, 0, 0], [0.1, 0.8, 0.1, 0]],
        [[0.1, 0.1, 0.2, 0.6], [0.1, 0.9, 0, 0], [0.1, 0.1, 0.8, 0]],
    ]
)
OWN = PROBABILITIES[0] > 0
CATEGORIES = [np.array([0.0, 1, 2, 3]), np.array([1.0, 2]), np.array([-1.5, 0, 7])]
TEXTS = [np.array(["a", "b", "c", "d"]), np.array(["no", "yes"]), np.array(["", "x y", "é"])]
NAMES = ["u", "v", "w"]


def mixture(weights=WEIGHTS, probabilities=PROBABILITIES, categories=CATEGORIES):
    return fastem.Mixture(weights, {"probabilities": probabilities}, "categorical", categories=categories)


def codes_of(rows, categories=CATEGORIES):
    return np.stack(
        [np.searchsorted(v, rows[:, j].astype(v.dtype)) for j, v in enumerate(categories)], axis=1
    )


def joints(codes, model):
    columns = np.arange(codes.shape[1])
    with np.errstate(divide="ignore"):
        logs = np.log(model.parameters["probabilities"])[:, columns, codes].sum(axis=2)
        return logs.T + np.log(model.weights)


X = mixture().sample(3000, rng=0)[0]
CODES = codes_of(X)
TEXT = np.stack([values[CODES[:, j]] for j, values in enumerate(TEXTS)], axis=1)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
CUTS = [5, 5, 1000, 2999]
OPTIONS = {"distribution": "categorical", "rng": 0, "init": "random", "n_init": 2, "max_iter": 4, "tol": 0}


def bits(model):
    return (
        b"".join(array.tobytes() for array in (model.weights, model.parameters["probabilities"]))
        + repr(model.report.history).encode()
    )


# --- densities


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_densities_are_those_of_the_formula(dtype):
    model, rows = mixture(), X[:500].astype(dtype)
    expected = joints(CODES[:500], model)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(model.score_samples(rows), logsumexp(expected, axis=1), rtol=tolerance)
    assert model.predict_proba(rows).dtype == dtype
    np.testing.assert_allclose(
        np.log(model.predict_proba(rows)), expected - logsumexp(expected, axis=1)[:, None], atol=1e-5
    )
    assert model.score(rows) == pytest.approx(logsumexp(expected, axis=1).mean(), rel=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_of_zero(dtype):
    probabilities = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    model = fastem.Mixture([0.5, 0.5], {"probabilities": probabilities}, "categorical")
    rows = np.array([[0], [1], [2]], dtype)
    np.testing.assert_array_equal(model.score_samples(rows), [np.log(0.5).astype(dtype)] * 2 + [-np.inf])
    np.testing.assert_array_equal(model.predict_proba(rows), [[1, 0], [0, 1], [0.5, 0.5]])
    assert model.score(rows) == -np.inf
    assert model.bic(rows) == np.inf
    assert fastem.e_step(rows, model).log_likelihood == -np.inf
    assert np.isfinite(fastem.e_step(rows, model, np.array([1, 1, 0.0])).log_likelihood)
    start = fastem.Mixture(WEIGHTS, {"probabilities": np.eye(4)[[[0, 0, 0]] * 3]}, "categorical")
    rows = np.minimum(CODES, 3)
    rows[:4, :] = np.arange(4)[:, None]
    model = fastem.fit(rows, 3, distribution="categorical", init=start, tol=0, max_iter=5)
    assert model.report.history[0] == -np.inf
    assert np.isfinite(model.report.history[1:]).all()


# --- parameters and categories


def test_categories_by_default():
    model = fastem.Mixture([1.0], {"probabilities": [[[0.5, 0.5], [0.1, 0.9]]]}, "categorical")
    np.testing.assert_array_equal(model.categories, [[0, 1], [0, 1]])
    assert model.n_parameters == 2
    assert (model.n_components, model.n_features) == (1, 2)
    assert fastem.Mixture([1.0], {"rates": [[1.0]]}, "poisson").categories is None


@pytest.mark.parametrize(
    ("probabilities", "categories", "message"),
    [
        ([[[0.5, 0.4]]], None, "must be at least 0 and sum to 1"),
        ([[[1.5, -0.5]]], None, "must be at least 0 and sum to 1"),
        ([[0.5, 0.5]], None, "must have shape"),
        ([[[0.5, 0.5]]], [[0, 1, 2]], "must have shape"),
        ([[[0.5, 0.5], [0.5, 0.5]]], [[0, 1], [0]], "must be 0 beyond the categories"),
        ([[[0.5, 0.5]]], [[1, 0]], "sorted and each once; column 0"),
        ([[[0.5, 0.5]]], [[1, 1]], "sorted and each once; column 0"),
        ([[[0.5, np.nan]]], None, "must be finite"),
        ([[[0.5, 0.5]]], [[0, np.inf]], "categories of column 0 must be finite"),
    ],
)
def test_parameters_that_are_none(probabilities, categories, message):
    with pytest.raises(ValueError, match=message):
        fastem.Mixture([1.0], {"probabilities": probabilities}, "categorical", categories=categories)


def test_categories_are_for_this_distribution_alone():
    with pytest.raises(ValueError, match="categories must be left out for distribution='poisson'"):
        fastem.Mixture([1.0], {"rates": [[1.0]]}, "poisson", categories=[[0]])


def test_only_the_values_seen_are_categories():
    """Whatever their first code. Rows of weight 0 count as absent."""
    rows = np.array([[3, 10], [5, 10], [9, 10], [4, 11]] * 3)
    model = fastem.fit(rows, 2, distribution="categorical", sample_weight=[1, 1, 1, 0] * 3, rng=0)
    assert [values.tolist() for values in model.categories] == [[3, 5, 9], [10]]
    assert model.n_parameters == 2 * 2 + 1
    np.testing.assert_array_equal(model.parameters["probabilities"][:, 1], [[1, 0, 0]] * 2)
    with pytest.raises(ValueError, match=r"X must hold the categories .* row 3, column 0 is 4\.0"):
        model.predict(rows)


def test_a_start_of_other_categories():
    with pytest.raises(ValueError, match="init as a model must have the categories that X has"):
        fastem.fit(
            X,
            3,
            distribution="categorical",
            init=mixture(categories=None, probabilities=np.eye(4)[[[0] * 3] * 3]),
        )
    model = fastem.fit(X, 3, distribution="categorical", init={"probabilities": PROBABILITIES}, max_iter=0)
    np.testing.assert_array_equal(model.parameters["probabilities"], PROBABILITIES)


def test_many_categories():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.permutation(np.arange(9000) % 3000) * 7, rng.integers(0, 2, 9000)])
    model = fastem.fit(rows, 2, distribution="categorical", init="random", rng=0, max_iter=3, tol=0)
    assert model.parameters["probabilities"].shape == (2, 2, 3000)
    assert np.isfinite(model.score(rows))
    with pytest.raises(ValueError, match="at most 65536 categories in a column; column 0 has more"):
        fastem.fit(np.arange(70_000.0)[:, None], 2, distribution="categorical")


# --- EM


def numpy_em(codes, weight, weights, probabilities, iterations):
    """EM with one-hot columns and broadcasting."""
    one_hot = np.eye(probabilities.shape[2])[codes]  # (n, d, C)
    history = []
    for _ in range(iterations):
        with np.errstate(divide="ignore"):
            logs = np.where(probabilities > 0, np.log(probabilities), -1e30)
        joint = np.einsum("ijc,kjc->ik", one_hot, logs) + np.log(weights)
        log_p = logsumexp(joint, axis=1)
        history.append(weight @ log_p)
        r = np.exp(joint - log_p[:, None]) * weight[:, None]
        weights = r.sum(axis=0) / weight.sum()
        probabilities = np.einsum("ik,ijc->kjc", r, one_hot) / r.sum(axis=0)[:, None, None]
    return weights, probabilities, history


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_em_as_numpy_does_it(weighted):
    weight = WEIGHT if weighted else np.ones(len(X))
    start = mixture([0.3, 0.3, 0.4], 0.8 * PROBABILITIES + 0.2 * OWN / np.array(COUNTS)[:, None])
    options = {"distribution": "categorical", "init": start, "tol": 0, "max_iter": 20, "acceleration": None}
    model = fastem.fit(X, 3, sample_weight=weight if weighted else None, **options)
    expected = numpy_em(CODES, weight, start.weights, start.parameters["probabilities"], 20)
    np.testing.assert_allclose(model.weights, expected[0], rtol=1e-9)
    np.testing.assert_allclose(model.parameters["probabilities"], expected[1], rtol=1e-9)
    np.testing.assert_allclose(model.report.history[:20], expected[2], rtol=1e-9)
    single = fastem.fit(X.astype(np.float32), 3, sample_weight=weight if weighted else None, **options)
    np.testing.assert_allclose(single.parameters["probabilities"], expected[1], rtol=1e-3, atol=1e-5)


REFERENCE = json.loads((DATA / "latent_class.json").read_text())
CASES = [(name, k) for name in ("carcinoma", "values") for k in REFERENCE[name]["log_likelihoods"]]


@pytest.mark.parametrize(
    ("name", "k"),
    [pytest.param(*c, marks=[pytest.mark.slow] * (c[0] == "values" and c[1] in "34")) for c in CASES],
)
def test_few_starts_reach_the_reference(name, k):
    rows, k_ = np.array(REFERENCE[name]["rows"]), int(k)
    options = {"init": "random", "n_init": 30 if k_ > 1 else 1, "tol": 1e-9, "max_iter": 10_000, "rng": 0}
    model = fastem.fit(rows, k_, distribution="categorical", **options)
    assert model.report.log_likelihood >= REFERENCE[name]["log_likelihoods"][k] - 1e-3
    assert model.n_parameters == REFERENCE[name]["n_parameters"][k]
    bic = model.n_parameters * np.log(len(rows)) - 2 * model.report.log_likelihood
    assert model.bic(rows) == pytest.approx(bic, rel=1e-12)


@pytest.mark.parametrize("name", ["carcinoma", "values"])
def test_the_default_start_reaches_the_reference_of_three_classes(name):
    model = fastem.fit(REFERENCE[name]["rows"], 3, distribution="categorical", tol=1e-9, max_iter=9999, rng=0)
    assert model.report.log_likelihood >= REFERENCE[name]["log_likelihoods"]["3"] - 1e-3


@pytest.mark.parametrize("init", ["auto", "k-means++", "kmeans", "random", "random_from_data"])
@pytest.mark.parametrize("k", [2, 5])
def test_the_likelihood_never_decreases(init, k):
    options = OPTIONS | {"n_init": 1, "init": init, "max_iter": 60, "sample_weight": WEIGHT}
    model = fastem.fit(X, k, **options)
    history = np.array(model.report.history)
    assert (np.diff(history) >= -1e-12 * abs(history[0])).all()
    assert model.report.log_likelihood == pytest.approx(model.score(X, WEIGHT) * WEIGHT.sum(), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_default_start_finds_the_classes(seed):
    """From labels of k-means alone, it did in half of the fits."""
    rng = np.random.default_rng(seed)
    truth = fastem.Mixture(
        rng.dirichlet(np.full(5, 5.0)),
        {"probabilities": rng.dirichlet(np.full(10, 0.5), (5, 8))},
        "categorical",
    )
    rows = truth.sample(5000, rng=seed)[0]
    truth = fastem.Mixture(truth.weights, dict(truth.parameters), "categorical")
    reached = fastem.fit(rows, 5, distribution="categorical", rng=seed).report.log_likelihood
    assert reached > len(rows) * truth.score(rows)


def test_the_truth_is_found_in_many_rows():
    rows = mixture().sample(100_000, rng=1)[0]
    model = fastem.fit(rows, 3, distribution="categorical", rng=0, tol=1e-7, max_iter=2000)
    order = np.argmax(model.parameters["probabilities"][:, 2], axis=1).argsort()
    np.testing.assert_allclose(model.weights[order], WEIGHTS, atol=0.03)
    np.testing.assert_allclose(model.parameters["probabilities"][order], PROBABILITIES, atol=0.03)
    for n_threads in (1, 2):
        twin = fastem.fit(
            rows, 3, distribution="categorical", rng=0, tol=1e-7, max_iter=2000, n_threads=n_threads
        )
        assert bits(twin) == bits(model)


def test_degenerate_rows():
    for rows in (np.zeros((50, 3)), np.arange(4.0)[:, None], np.repeat([[0, 1], [1, 0]], 30, axis=0)):
        for k in (1, 2, 4):
            model = fastem.fit(rows, k, distribution="categorical", rng=0)
            assert np.isfinite(model.report.log_likelihood)
            np.testing.assert_allclose(model.weights.sum(), 1)
            np.testing.assert_allclose(model.parameters["probabilities"].sum(axis=2), 1)


def test_a_component_that_loses_its_rows_starts_anew():
    lost = np.zeros((1, 3, 4))
    lost[:, [0, 1, 2], [0, 1, 2]] = 1
    rows = X[~((CODES == [0, 1, 2]).all(axis=1))]
    start = mixture([0.4, 0.2, 0.3, 0.1], np.vstack([PROBABILITIES, lost]))
    model = fastem.fit(rows, 4, distribution="categorical", init=start, max_iter=100, tol=0)
    assert model.report.repairs[0] == (1, 3, RESEEDED)
    assert model.weights.min() > 0.01


# --- sources


def memmap(folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def parquet(folder, columns=X):
    pq.write_table(pa.table(dict(zip(NAMES, columns.T.copy().tolist(), strict=True))), folder / "X.parquet")
    return folder / "X.parquet"


SOURCES = {
    "Fortran order": lambda _: np.asfortranarray(X),
    "objects": lambda _: X.astype(object),
    "memmap": memmap,
    "chunks": lambda _: np.split(X, CUTS),
    "function": lambda _: lambda: iter(np.split(X, CUTS)),
    "table": lambda _: pd.DataFrame(X, columns=NAMES),
    "parquet": parquet,
}


def frame_of_categoricals():
    return pd.DataFrame(TEXT, columns=NAMES).astype("category")


TEXT_SOURCES = {
    "strings": lambda _: TEXT,
    "objects": lambda _: TEXT.astype(object),
    "lists": lambda _: TEXT.tolist(),
    "chunks": lambda _: np.split(TEXT, CUTS),
    "chunks of tables": lambda _: [pd.DataFrame(part, columns=NAMES) for part in np.split(TEXT, CUTS)],
    "pandas": lambda _: pd.DataFrame(TEXT, columns=NAMES),
    "pandas categoricals": lambda _: frame_of_categoricals(),
    "polars": lambda _: pl.DataFrame(TEXT.tolist(), schema=NAMES, orient="row"),
    "polars categoricals": lambda _: pl.from_pandas(frame_of_categoricals()),
    "pyarrow": lambda _: pa.table(dict(zip(NAMES, TEXT.T.tolist(), strict=True))),
    "pyarrow dictionaries": lambda _: pa.Table.from_pandas(frame_of_categoricals()),
    "parquet": lambda folder: parquet(folder, TEXT),
}


@pytest.mark.parametrize("name", SOURCES)
def test_any_source_gives_the_bits_of_the_array(name, tmp_path):
    options = OPTIONS | {"sample_weight": WEIGHT}
    source = SOURCES[name](tmp_path)
    model, expected = fastem.fit(source, 3, **options), fastem.fit(X, 3, **options)
    assert bits(model) == bits(expected)
    for values, other in zip(model.categories, CATEGORIES, strict=True):
        np.testing.assert_array_equal(values, other)
    scores = model.score_samples(source)
    scores = scores if isinstance(scores, np.ndarray) else np.concatenate(list(scores))
    np.testing.assert_array_equal(scores, expected.score_samples(X))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TEXT_SOURCES)
def test_text_gives_the_bits_of_its_ranks(name, weighted, tmp_path):
    options = OPTIONS | {"sample_weight": WEIGHT if weighted else None}
    source = TEXT_SOURCES[name](tmp_path)
    model, expected = fastem.fit(source, 3, **options), fastem.fit(CODES, 3, **options)
    assert bits(model) == bits(expected)
    for values, other in zip(model.categories, TEXTS, strict=True):
        np.testing.assert_array_equal(values, other)
    labels = model.predict(source)
    labels = labels if isinstance(labels, np.ndarray) else np.concatenate(list(labels))
    np.testing.assert_array_equal(labels, expected.predict(CODES))
    assert model.score(source) == pytest.approx(expected.score(CODES), rel=1e-12)
    rows, _ = model.sample(50, rng=0)
    np.testing.assert_array_equal(model.predict(rows), expected.predict(expected.sample(50, rng=0)[0]))


def test_text_and_numbers_side_by_side():
    table = pd.DataFrame({"u": TEXT[:, 0], "v": X[:, 1] > 1, "w": X[:, 2]})
    model = fastem.fit(table, 3, **OPTIONS)
    assert [values.dtype.kind for values in model.categories] == ["U", "f", "f"]
    np.testing.assert_array_equal(model.categories[1], [0, 1])
    assert bits(model) == bits(fastem.fit(CODES, 3, **OPTIONS))
    np.testing.assert_array_equal(model.predict(table.to_numpy()), model.predict(table))
    with pytest.raises(TypeError, match="must hold text in column 0, as in the fit; got numbers"):
        model.predict(X)
    with pytest.raises(TypeError, match="must hold numbers in column 'v', as in the fit; got text"):
        model.predict(table.assign(v="no"))
    with pytest.raises(TypeError, match="must hold real numbers; column 'u'"):
        fastem.fit(table, 3)


def test_text_of_rows_without_weight_counts_as_absent():
    rows, weight = np.concatenate([[["z", "no", ""]], TEXT]), np.concatenate([[0.0], np.ones(len(TEXT))])
    expected = bits(
        fastem.fit(TEXT, 3, distribution="categorical", init=np.arange(3000) % 3, max_iter=3, tol=0)
    )
    init = np.concatenate([[0], np.arange(3000) % 3])
    for source in (rows, np.split(rows, CUTS), [(rows, weight)]):
        own = weight if source is rows or len(source) > 1 else None
        options = {"init": init, "max_iter": 3, "tol": 0, "sample_weight": own}
        model = fastem.fit(source, 3, distribution="categorical", **options)
        assert model.categories[0].tolist() == ["a", "b", "c", "d"]
        np.testing.assert_allclose(np.frombuffer(bits(model)[:24]), np.frombuffer(expected[:24]), rtol=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_blocks_of_dask(weight):
    expected = fastem.fit(CODES, 3, sample_weight=weight, **OPTIONS)
    frame = pd.DataFrame(TEXT, columns=NAMES)
    sources = {
        "array": (da.from_array(X, chunks=((1, 999, 0, 2000), 3)), CATEGORIES),
        "strings": (da.from_array(TEXT, chunks=((1, 999, 0, 2000), 3)), TEXTS),
        "frame": (dd.from_pandas(frame, npartitions=3), TEXTS),
        "categoricals": (dd.from_pandas(frame.astype("category"), npartitions=3), TEXTS),
    }
    for rows, categories in sources.values():
        model = fastem.fit(rows, 3, sample_weight=weight, **OPTIONS)
        for values, other in zip(model.categories, categories, strict=True):
            np.testing.assert_array_equal(values, other)
        for name in ("weights", "parameters"):
            mine, theirs = (getattr(m, name) for m in (model, expected))
            mine, theirs = (v if name == "weights" else v["probabilities"] for v in (mine, theirs))
            np.testing.assert_allclose(mine, theirs, rtol=1e-9)
        np.testing.assert_array_equal(model.predict(rows).compute(), expected.predict(CODES))
        assert model.score(rows) == pytest.approx(expected.score(CODES), rel=1e-12)


# --- errors


@pytest.mark.parametrize("value", [0.5, 9.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_that_the_fit_did_not_see(value, dtype):
    bad, model = X.astype(dtype), mixture()
    bad[1001, 0] = value
    rule = "hold the categories that the fit saw" if np.isfinite(value) else "be finite"
    for use in (
        model.predict,
        model.predict_proba,
        model.score_samples,
        model.score,
        lambda rows: fastem.e_step(rows, model),
        lambda rows: fastem.partial_fit(model, rows),
    ):
        with pytest.raises(ValueError, match=rf"^X must {rule}; row 1001, column 0 is {value}\."):
            use(bad)
    with pytest.raises(ValueError, match=rf"^chunk 1 of X must {rule}; row 1, column 0 is {value}\."):
        list(model.predict(np.split(bad, [1000])))
    blocks = da.from_array(bad, chunks=(1000, 3))
    with pytest.raises(ValueError, match=rf"^block 1 of X must {rule}; row 1, column 0 is {value}\."):
        model.predict(blocks).compute()
    if not np.isfinite(value):
        with pytest.raises(ValueError, match=rf"X must be finite; row 1001, column 0 is {value}"):
            fastem.fit(bad, 3, distribution="categorical")


def test_text_that_the_fit_did_not_see():
    model = mixture(categories=TEXTS)
    bad = TEXT.astype(object)
    bad[1001, 2] = "new"
    for use in (model.predict, model.score, lambda rows: fastem.partial_fit(model, rows)):
        with pytest.raises(ValueError, match=r"X must hold the categories .* row 1001, column 2 is 'new'\."):
            use(bad)
    with pytest.raises(ValueError, match=r"chunk 1 of X must hold .* row 1, column 2 is 'new'\."):
        list(model.predict(np.split(bad, [1000])))
    for missing in (None, np.nan):
        bad[1001, 2] = missing
        for use in (model.predict, lambda rows: fastem.fit(rows, 3, distribution="categorical")):
            for rows in (bad, pd.DataFrame(bad, columns=NAMES)):
                with pytest.raises(
                    ValueError, match=r"text throughout .* row 1001, column (2|'w') is (None|nan)"
                ):
                    use(rows)


# --- the other verbs


@pytest.mark.parametrize(
    ("rows", "model"), [(X, mixture()), (TEXT, mixture(categories=TEXTS))], ids=["", "text"]
)
def test_merged_chunks_are_one_pass(rows, model):
    parts = [fastem.e_step(rows[a:b], model, WEIGHT[a:b]) for a, b in ((0, 5), (5, 1000), (1000, 3000))]
    whole, merged = fastem.e_step(rows, model, WEIGHT), sum(parts)
    assert merged.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    r = model.predict_proba(rows) * WEIGHT[:, None]
    _, counts = naive.category_sums(CODES, np.ones(len(rows)), r, 4)
    for sums in (whole.sums(), merged.sums()):
        np.testing.assert_allclose(sums["counts"], counts, rtol=1e-10)
        np.testing.assert_allclose(sums["weights"], r.sum(axis=0), rtol=1e-10)
    step = fastem.m_step(merged)
    np.testing.assert_allclose(
        step.parameters["probabilities"], counts / r.sum(axis=0)[:, None, None], rtol=1e-10
    )
    for twin in (
        pickle.loads(pickle.dumps(merged)),
        fastem.Statistics.from_bytes(merged.to_bytes()),
        fastem.Statistics.from_bytes(merged.to_bytes(), distribution="categorical"),
    ):
        again = fastem.m_step(twin)
        np.testing.assert_array_equal(again.parameters["probabilities"], step.parameters["probabilities"])
        np.testing.assert_array_equal(again.predict(rows), step.predict(rows))
        assert (twin + whole).log_likelihood == (merged + whole).log_likelihood
    others = [
        values + 1 if values.dtype.kind == "f" else np.char.add(values, "!") for values in model.categories
    ]
    other = mixture(categories=others)
    shifted = np.stack([values[CODES[:, j]] for j, values in enumerate(others)], axis=1)
    with pytest.raises(ValueError, match="with the same parameters"):
        merged + fastem.e_step(shifted, other)


def test_steps_of_stepwise_em():
    stepped = fastem.partial_fit(mixture(), X, step=1.0)
    expected = fastem.m_step(fastem.e_step(X, mixture()))
    np.testing.assert_allclose(
        stepped.parameters["probabilities"], expected.parameters["probabilities"], rtol=1e-12
    )
    stepped = fastem.partial_fit(mixture(), X, step=1e-12)
    np.testing.assert_allclose(stepped.parameters["probabilities"], PROBABILITIES, rtol=1e-9)
    model = None
    for chunk in np.array_split(TEXT, 3):
        model = fastem.partial_fit(model, chunk, k=3, distribution="categorical", rng=0)
    assert (model.report.status, model.report.n_iter) == (FitStatus.ONLINE, 3)
    assert model.categories[0].tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("rows", [X, TEXT], ids=["numbers", "text"])
def test_a_file_and_a_pickle(rows, tmp_path):
    model = fastem.fit(pd.DataFrame(rows, columns=NAMES), 3, distribution="categorical", rng=0)
    model.save(tmp_path / "model.npz")
    for twin in (
        fastem.load(tmp_path / "model.npz"),
        fastem.load(tmp_path / "model.npz", distribution="categorical"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        assert bits(twin) == bits(model)
        assert repr(twin) == repr(model)
        for values, others in zip(twin.categories, model.categories, strict=True):
            np.testing.assert_array_equal(values, others)
        np.testing.assert_array_equal(twin.score_samples(rows), model.score_samples(rows))
        again = fastem.fit(rows, 3, distribution="categorical", init=twin, max_iter=1, tol=0)
        assert again.report.history[0] == pytest.approx(model.report.log_likelihood, rel=1e-12)


def test_a_file_without_its_categories(tmp_path):
    mixture().save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        members = {name: archive[name] for name in archive.files}
    for change in (
        {"state/sizes": None},
        {"state/sizes": np.array([4, 2, 2])},
        {"state/sizes": np.array([4.0, 2, -3])},
        {"state/numbers": members["state/numbers"][::-1]},
        {"state/are_text": np.array([True, False, False])},
    ):
        np.savez(tmp_path / "bad.npz", **{k: v for k, v in (members | change).items() if v is not None})
        with pytest.raises(ValueError, match="does not hold a valid model"):
            fastem.load(tmp_path / "bad.npz")


def test_a_sample_has_the_frequencies_of_the_mixture():
    rows, labels = mixture().sample(200_000, rng=0)
    codes = codes_of(rows)
    for component in range(3):
        for j, count in enumerate(COUNTS):
            found = np.bincount(codes[labels == component, j], minlength=4) / (labels == component).sum()
            np.testing.assert_allclose(found, PROBABILITIES[component, j], atol=0.01)
            assert codes[:, j].max() == count - 1
    assert mixture().sample(0)[0].shape == (0, 3)
    assert set(mixture(categories=TEXTS).sample(99, rng=0)[0][:, 0]) == set("abcd")


def test_rows_without_weight_count_as_absent_in_totals():
    X, weight = np.array([[0], [1], [2]] * 20), np.tile([1, 1, 0], 20)
    model = fastem.fit(X, 1, distribution="categorical", sample_weight=weight)
    assert model.score(X, weight) == pytest.approx(np.log(0.5))
    assert model.lower_bound(X, None, weight) == pytest.approx(40 * np.log(0.5))
    assert np.isfinite(model.bic(X, weight))
    with pytest.raises(ValueError, match="row 2, column 0 is 2"):
        model.score_samples(X)
