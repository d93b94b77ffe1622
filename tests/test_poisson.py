"""Mixtures of Poisson distributions."""

import copy
import json
import pickle
import warnings

import naive
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import DATA
from distributions import Poisson
from scipy.special import logsumexp
from scipy.stats import poisson

import fastem
from fastem import FitStatus
from fastem._em.loop import RESEEDED

da = pytest.importorskip("dask.array")

WEIGHTS = np.array([0.5, 0.2, 0.3])
RATES = np.array([[1.0, 20.0], [8.0, 5.0], [30.0, 0.3]])


def mixture(weights=WEIGHTS, rates=RATES):
    return fastem.Mixture(weights, {"rates": rates}, "poisson")


def log_densities(X, model):
    """Those of SciPy."""
    joint = poisson.logpmf(np.asarray(X, float)[:, None, :], model.parameters["rates"]).sum(axis=2)
    with np.errstate(divide="ignore"):
        return logsumexp(joint + np.log(model.weights), axis=1)


# --- densities


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_densities_are_those_of_scipy(dtype):
    model = mixture()
    X = model.sample(500, rng=0)[0].astype(dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(model.score_samples(X), log_densities(X, model), rtol=tolerance)
    assert model.score(X) == pytest.approx(log_densities(X, model).mean(), rel=tolerance)
    assert fastem.e_step(X, model).log_likelihood == pytest.approx(500 * model.score(X), rel=tolerance)


@pytest.mark.parametrize(("spread", "tolerance"), [(0, 1e-5), (2e-3, 1e-3), (0.1, 3e-2)])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_large_counts_keep_their_digits_in_float32(size, spread, tolerance):
    """Their log-factorials have 1e7 times the size of their log-densities."""
    rates = size * (1 + spread * np.random.default_rng(0).uniform(-1, 1, (3, 2)))
    model = mixture(rates=rates)
    X = model.sample(2000, rng=1)[0].astype(np.float32)
    expected = log_densities(X, model)
    assert np.abs(expected).max() < 50
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-6, atol=tolerance)
    assert model.score(X) == pytest.approx(expected.mean(), abs=tolerance)
    assert fastem.e_step(X, model).log_likelihood == pytest.approx(expected.sum(), abs=2000 * tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e6, 1e9, 1e12, 1e17])
def test_a_component_of_huge_rates_costs_the_others_no_digits(size, dtype):
    model = mixture(rates=[[1.0, size], [3.0, 4.0], [size, size]])
    X = np.array([[2, 3], [0, 5], [1000, 7]], dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(model.score_samples(X), log_densities(X, model), rtol=tolerance)
    np.testing.assert_array_equal(model.predict_proba(X), [[0, 1, 0]] * 3)
    parts = {f"poisson_{name}": rates for name, rates in model.parameters.items()}
    mixed = fastem.Mixture(model.weights, parts, {0: "poisson", 1: "poisson"})
    np.testing.assert_allclose(mixed.score_samples(X), log_densities(X, model), rtol=tolerance)


@pytest.mark.parametrize("rate", [1e19, 1e39, 1e308])
def test_rates_beyond_any_count_are_refused(rate):
    with pytest.raises(ValueError, match=r"^rates must be at least 0 and at most 9e18, .*; got 1e"):
        mixture(rates=[[1.0, rate], [3.0, 4.0], [2.0, 1.0]])
    assert np.isfinite(mixture(rates=np.full((3, 2), 9e18)).sample(5, rng=0)[0]).all()


@pytest.mark.parametrize("size", [1, 1e2, 1e4, 1e6])
def test_a_fit_in_float32_is_not_stopped_by_rounding(size):
    model = mixture(rates=size * RATES)
    X = model.sample(2000, rng=0)[0]
    single, double = (
        fastem.fit(X.astype(dtype), 3, distribution="poisson", init="k-means++", rng=0)
        for dtype in (np.float32, np.float64)
    )
    assert single.report.status is FitStatus.CONVERGED
    np.testing.assert_allclose(single.parameters["rates"], double.parameters["rates"], rtol=1e-4)
    assert single.score(X) == pytest.approx(double.score(X), abs=1e-4)


# --- rates of zero


ZERO = np.array([[0.0, 3.0], [2.0, 0.0], [0.0, 0.0]])
ROWS = np.array([[0, 2], [4, 0], [0, 0], [5, 5], [1, 10**6]])  # the last two cannot be


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rates_of_zero(dtype):
    model, X = mixture(rates=ZERO), ROWS.astype(dtype)
    expected = log_densities(X, model)
    np.testing.assert_array_equal(expected[3:], -np.inf)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(proba[:2].round(12), [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(model.predict(X[:2]), [0, 1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_impossible_row_makes_the_likelihood_of_all_zero(dtype):
    model = mixture(rates=ZERO)
    X = np.repeat(ROWS[[0, 1, 3]], [500_000, 500_000, 1], axis=0).astype(dtype)
    assert model.score(X) == -np.inf
    assert model.bic(X) == np.inf
    assert fastem.e_step(X, model).log_likelihood == -np.inf
    assert np.isfinite(fastem.e_step(X[:-1], model).log_likelihood)


def test_an_impossible_row_of_weight_zero_is_as_if_absent():
    model = mixture(rates=ZERO)
    weight = np.array([2, 1, 1, 0, 0.0])
    expected = (weight[:3] @ log_densities(ROWS[:3], model)) / 4
    assert model.score(ROWS, weight) == pytest.approx(expected, rel=1e-12)
    assert fastem.e_step(ROWS, model, weight).log_likelihood == pytest.approx(4 * expected, rel=1e-12)


@pytest.mark.parametrize("distribution", ["poisson", Poisson()], ids=["compiled", "written"])
def test_a_fit_may_begin_at_parameters_for_which_rows_are_impossible(distribution):
    X = mixture().sample(500, rng=0)[0]
    rates = np.where(ZERO > 0, RATES, 0)
    start = fastem.Mixture(WEIGHTS, {"rates": rates}, distribution, n_features=2)
    model = fastem.fit(X, 3, distribution=distribution, init=start, tol=0, max_iter=50)
    assert model.report.history[0] == -np.inf
    assert (np.diff(model.report.history[1:]) > -1e-9).all()
    assert model.report.log_likelihood == pytest.approx(log_densities(X, model).sum(), rel=1e-12)


# --- sources

NAMES = ["a", "b"]
X = mixture().sample(3000, rng=0)[0]
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
CUTS = [5, 5, 1000, 2999]
OPTIONS = {"distribution": "poisson", "rng": 0, "n_init": 2, "max_iter": 4, "tol": 0}


def bits(model):
    return (
        b"".join(array.tobytes() for array in (model.weights, model.parameters["rates"]))
        + repr(model.report.history).encode()
    )


def memmap(folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def parquet(folder):
    pq.write_table(pa.table(dict(zip(NAMES, X.T.copy(), strict=True))), folder / "X.parquet")
    return folder / "X.parquet"


SOURCES = {
    "Fortran order": lambda _: np.asfortranarray(X),
    "integers": lambda _: X.astype(np.int32),
    "memmap": memmap,
    "chunks": lambda _: np.split(X, CUTS),
    "function": lambda _: lambda: iter(np.split(X, CUTS)),
    "table": lambda _: pd.DataFrame(X, columns=NAMES),
    "parquet": parquet,
}


@pytest.mark.parametrize("copied", [False, True], ids=["", "with a copy on disk"])
@pytest.mark.parametrize("name", SOURCES)
def test_any_source_gives_the_bits_of_the_array(name, copied, tmp_path):
    source = SOURCES[name](tmp_path)
    options = OPTIONS | {"sample_weight": WEIGHT}
    model = fastem.fit(source, 3, cache_dir=tmp_path if copied else None, **options)
    expected = fastem.fit(X, 3, **options)
    assert bits(model) == bits(expected)
    scores = model.score_samples(source)
    np.testing.assert_array_equal(
        scores if isinstance(scores, np.ndarray) else np.concatenate(list(scores)), expected.score_samples(X)
    )
    assert model.score(source) == pytest.approx(expected.score(X), rel=1e-12)


def test_with_a_copy_on_disk_all_is_read_once(tmp_path):
    passes = []

    def chunks():
        passes.append(0)
        return iter(np.split(X, CUTS))

    fastem.fit(chunks, 3, cache_dir=tmp_path, **OPTIONS)
    assert len(passes) == 2  # once to see what the first chunk is


# --- numbers that are no counts

SPLIT = [1000]
MODEL = mixture()
USES = {
    "fit": (lambda bad: fastem.fit(bad, 3, distribution="poisson", init=MODEL), "X", 1001),
    "fit of chunks": (lambda bad: fastem.fit(np.split(bad, SPLIT), 3, distribution="poisson"), "", 0),
    "fit of blocks": (lambda bad: fastem.fit(blocks(bad), 3, distribution="poisson"), "block 1 of X", 1),
    "e_step": (lambda bad: fastem.e_step(bad, MODEL), "X", 1001),
    "e_step of chunks": (lambda bad: fastem.e_step(np.split(bad, SPLIT), MODEL), "", 0),
    "e_step of blocks": (lambda bad: fastem.e_step(blocks(bad), MODEL), "block 1 of X", 1),
    "partial_fit": (lambda bad: fastem.partial_fit(MODEL, bad), "X", 1001),
    "predict": (lambda bad: MODEL.predict(bad), "X", 1001),
    "predict_proba": (lambda bad: MODEL.predict_proba(bad), "X", 1001),
    "score_samples": (lambda bad: MODEL.score_samples(bad), "X", 1001),
    "score": (lambda bad: MODEL.score(bad), "X", 1001),
    "predict of chunks": (lambda bad: list(MODEL.predict(np.split(bad, SPLIT))), "chunk 1 of X", 1),
    "score of chunks": (lambda bad: MODEL.score(np.split(bad, SPLIT)), "chunk 1 of X", 1),
    "predict of blocks": (lambda bad: MODEL.predict(blocks(bad)).compute(), "block 1 of X", 1),
}


def blocks(rows):
    return da.from_array(rows, chunks=(SPLIT[0], rows.shape[1]))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_numbers_that_are_no_counts(value, dtype, use):
    bad = X.astype(dtype)
    bad[1001, 1] = value
    function, where, row = USES[use]
    # A fit of chunks sees slabs first, where only what is not finite is looked for chunk by chunk.
    place = f"{where} must .*row {row}" if where else r"(X must .*row 1001|chunk 1 of X must .*row 1)"
    with pytest.raises(ValueError, match=rf"^{place}, column 1 is {value}\. Drop or"):
        function(bad)


def test_counts_are_checked_before_the_first_iteration():
    bad, seen = X - 1, []
    with pytest.raises(ValueError, match="must hold counts, whole numbers of at least 0"):
        fastem.fit(bad, 3, distribution="poisson", callback=lambda *_: seen.append(0))
    assert not seen


# --- EM


def naive_em(rows, weight, weights, rates, iterations):
    """Row by row; the parameters after so many iterations, and the log-likelihoods."""
    history = []
    for iteration in range(iterations + 1):
        components = list(zip(np.log(weights), rates, strict=True))
        joints = [[w + naive.log_poisson(x, rate) for w, rate in components] for x in rows]
        r, log_p = naive.shares(joints)
        history.append(weight @ log_p)
        if iteration < iterations:
            n_k, first = naive.linear_sums(rows, weight, r)
            weights, rates = n_k / n_k.sum(), first / n_k[:, None]
    return weights, rates, history


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(60, 1, 2), (41, 3, 5), (30, 7, 4)])
def test_it_is_em_as_a_loop_over_rows(n, d, k, weighted):
    rng = np.random.default_rng(n)
    truth = mixture(np.full(k, 1 / k), rng.gamma(1, 6, (k, d)))
    rows, weight = truth.sample(n, rng=0)[0], WEIGHT[:n] if weighted else np.ones(n)
    start = mixture(rng.dirichlet(np.full(k, 5)), truth.parameters["rates"] * rng.uniform(0.7, 1.3, (k, d)))
    options = {"distribution": "poisson", "init": start, "tol": 0, "max_iter": 12, "acceleration": None}
    model = fastem.fit(rows, k, sample_weight=weight if weighted else None, **options)
    weights, rates, history = naive_em(rows, weight, start.weights, start.parameters["rates"], 12)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-9)
    np.testing.assert_allclose(model.parameters["rates"], rates, rtol=1e-9)
    np.testing.assert_allclose(model.report.history, history, rtol=1e-9)
    single = fastem.fit(rows.astype(np.float32), k, sample_weight=weight if weighted else None, **options)
    np.testing.assert_allclose(single.parameters["rates"], rates, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(single.report.history, history, rtol=1e-6)


REFERENCE = json.loads((DATA / "poisson.json").read_text())
CASES = [(name, int(k)) for name in ("death notices", "quine") for k in REFERENCE[name]["log_likelihoods"]]
SLOW_CASES = [("death notices", 2), ("death notices", 3)]  # these take longest


@pytest.mark.parametrize(
    ("name", "k"), [pytest.param(*case, marks=[pytest.mark.slow] * (case in SLOW_CASES)) for case in CASES]
)
def test_few_starts_reach_the_reference(name, k):
    data = REFERENCE[name]
    weight = data.get("frequencies")
    rows = np.reshape(data.get("days", range(10)), (-1, 1))
    options = {"init": "random_from_data", "n_init": 8, "tol": 1e-12, "max_iter": 20_000, "rng": 0}
    model = fastem.fit(rows, k, distribution="poisson", sample_weight=weight, **options)
    expected = data["log_likelihoods"][str(k)]
    log_likelihood = model.report.log_likelihood
    assert expected - 1e-3 <= log_likelihood <= expected + 1e-3
    assert model.report.status is FitStatus.CONVERGED
    assert model.report.repairs == ()
    assert model.n_parameters == 2 * k - 1
    n = sum(weight or np.ones(len(rows)))
    assert model.bic(rows, weight) == pytest.approx((2 * k - 1) * np.log(n) - 2 * log_likelihood, rel=1e-12)
    assert model.aic(rows, weight) == pytest.approx(2 * (2 * k - 1) - 2 * log_likelihood, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_one_component_has_the_means_of_the_columns(weight, dtype):
    model = fastem.fit(X.astype(dtype), 1, distribution="poisson", sample_weight=weight)
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    expected = np.average(X, axis=0, weights=weight)
    np.testing.assert_allclose(model.parameters["rates"][0], expected, rtol=tolerance)
    np.testing.assert_array_equal(model.weights, 1)
    assert model.report.converged
    assert model.report.n_iter <= 2


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "random_from_data"])
@pytest.mark.parametrize("k", [2, 3, 8])
def test_the_likelihood_never_decreases(init, k):
    options = OPTIONS | {"n_init": 1, "init": init, "max_iter": 60, "sample_weight": WEIGHT}
    model = fastem.fit(X, k, **options)
    assert model.report.repairs == ()
    history = np.array(model.report.history)
    assert (np.diff(history) >= -1e-12 * abs(history[0])).all()
    assert model.report.log_likelihood == history[-1] == model.report.objective
    assert model.report.log_likelihood == pytest.approx(model.score(X, WEIGHT) * WEIGHT.sum(), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("zero", [[0], [1], [0, 1]])
def test_columns_of_zeros(zero, dtype):
    rows = X.astype(dtype)
    rows[:, zero] = 0
    model = fastem.fit(rows, 2, distribution="poisson", rng=0)
    np.testing.assert_array_equal(model.parameters["rates"][:, zero], 0)
    assert model.report.converged
    assert np.isfinite(model.report.history).all()
    np.testing.assert_allclose(model.score_samples(rows), log_densities(rows, model), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1, rtol=1e-6)
    if len(zero) < 2:
        expected = fastem.fit(np.delete(rows, zero, axis=1), 2, distribution="poisson", rng=0)
        assert model.report.log_likelihood == pytest.approx(expected.report.log_likelihood, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_as_many_components_as_rows(n):
    model = fastem.fit(X[:n], n, distribution="poisson", rng=0)
    assert np.isfinite(model.report.log_likelihood)
    assert np.isfinite(model.parameters["rates"]).all()
    np.testing.assert_allclose(model.weights.sum(), 1)


@pytest.mark.parametrize("k", [3, 5])
def test_fewer_distinct_rows_than_components(k):
    rows = np.repeat([[1.0, 20.0], [9.0, 0.0]], 50, axis=0)
    model = fastem.fit(rows, k, distribution="poisson", init="k-means++", rng=0, tol=1e-9, max_iter=2000)
    reseeded = [repair for repair in model.report.repairs if repair.what == RESEEDED]
    assert {repair.component for repair in reseeded} == set(range(2, k))
    assert {repair.iteration for repair in reseeded} == {0}
    assert model.report.status is FitStatus.CONVERGED
    best = fastem.fit(rows, 2, distribution="poisson", rng=0).report.log_likelihood
    assert model.report.log_likelihood == pytest.approx(best, rel=1e-6)


def test_a_component_that_loses_its_rows_starts_anew():
    start = mixture([0.4, 0.2, 0.3, 0.1], np.vstack([RATES, [[1e4, 1e4]]]))
    model = fastem.fit(X, 4, distribution="poisson", init=start, max_iter=100)
    assert model.report.repairs[0] == (1, 3, RESEEDED)
    assert model.report.converged
    assert model.weights.min() > 0.01
    assert model.score(X) > mixture().score(X)
    again = fastem.m_step(fastem.e_step(X, start))
    np.testing.assert_allclose(again.weights.sum(), 1)
    assert again.weights.min() > 0.01


@pytest.mark.parametrize("distribution", ["poisson", Poisson()], ids=["compiled", "written"])
def test_rounding_is_not_called_a_fall(distribution):
    """The log-likelihoods of these few large counts are known to 1e-10."""
    rows = np.array([[28509], [28973]])
    model = fastem.fit(rows, 2, distribution=distribution, rng=0, tol=0, max_iter=40)
    assert -1e-9 < np.diff(model.report.history).min() < 0
    assert model.report.status is FitStatus.MAX_ITER


# --- the other verbs


def test_merged_chunks_are_one_pass():
    model = mixture()
    parts = [fastem.e_step(X[a:b], model, WEIGHT[a:b]) for a, b in ((0, 5), (5, 1000), (1000, 3000))]
    whole, merged = fastem.e_step(X, model, WEIGHT), sum(parts)
    assert merged.n_samples == whole.n_samples
    assert merged.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    for name in ("weights", "first"):
        np.testing.assert_allclose(merged.sums()[name], whole.sums()[name], rtol=1e-12)
    r = model.predict_proba(X) * WEIGHT[:, None]
    np.testing.assert_allclose(whole.sums()["first"], r.T @ X, rtol=1e-10)
    np.testing.assert_allclose(whole.weights, r.sum(axis=0), rtol=1e-10)
    step = fastem.m_step(merged)
    np.testing.assert_allclose(step.parameters["rates"], (r.T @ X) / r.sum(axis=0)[:, None], rtol=1e-10)
    np.testing.assert_allclose(step.weights, r.sum(axis=0) / WEIGHT.sum(), rtol=1e-10)
    copies = (
        pickle.loads(pickle.dumps(merged)),
        copy.deepcopy(merged),
        fastem.Statistics.from_bytes(merged.to_bytes()),
        fastem.Statistics.from_bytes(merged.to_bytes(), distribution="poisson"),
    )
    for twin in copies:
        np.testing.assert_array_equal(fastem.m_step(twin).parameters["rates"], step.parameters["rates"])
        assert (twin + whole).log_likelihood == (merged + whole).log_likelihood
    with pytest.raises(ValueError, match="reg_covar must be left out for distribution='poisson'"):
        fastem.m_step(merged, reg_covar=0)
    with pytest.raises(ValueError, match="with the same parameters"):
        merged + fastem.e_step(X, step)
    with pytest.raises(ValueError, match="with the same parameters in the same dtype"):
        merged + fastem.e_step(X.astype(np.float32), model)


def test_a_step_of_one_is_an_iteration_of_em():
    stepped = fastem.partial_fit(mixture(), X, step=1.0)
    expected = fastem.m_step(fastem.e_step(X, mixture()))
    np.testing.assert_allclose(stepped.parameters["rates"], expected.parameters["rates"], rtol=1e-12)
    np.testing.assert_allclose(stepped.weights, expected.weights, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_next_to_nothing_changes_nothing(dtype):
    stepped = fastem.partial_fit(mixture(), X.astype(dtype), step=1e-12)
    np.testing.assert_allclose(stepped.parameters["rates"], RATES, rtol=1e-9)
    np.testing.assert_allclose(stepped.weights, WEIGHTS, rtol=1e-9)


def test_one_pass_comes_near_the_batch_fit():
    rows = mixture().sample(50_000, rng=3)[0]
    model = None
    for chunk in np.array_split(rows, 50):
        model = fastem.partial_fit(model, chunk, k=3, distribution="poisson", rng=0)
    batch = fastem.fit(rows, 3, distribution="poisson", rng=0, tol=1e-8)
    assert batch.score(rows) - model.score(rows) < 1e-3
    assert model.report.status is FitStatus.ONLINE
    assert model.report.n_iter == 50
    assert (model.distribution, type(model)) == ("poisson", fastem.Mixture)
    with pytest.raises(ValueError, match="partial_fit must go on with distribution='poisson'"):
        fastem.partial_fit(model, rows, covariance_type="full")
    with pytest.raises(ValueError, match="reg_covar must be left out"):
        fastem.partial_fit(model, rows, reg_covar=0)


def test_a_sample_has_the_moments_of_the_mixture():
    rows, labels = mixture().sample(200_000, rng=0)
    assert rows.dtype == np.float64
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(rows, np.floor(rows))
    np.testing.assert_allclose(np.bincount(labels) / len(labels), WEIGHTS, atol=0.005)
    for component, rate in enumerate(RATES):
        mine = rows[labels == component]
        np.testing.assert_allclose(mine.mean(axis=0), rate, rtol=0.03)
        np.testing.assert_allclose(mine.var(axis=0), rate, rtol=0.03)
    np.testing.assert_array_equal(mixture().sample(9, rng=1)[0], mixture().sample(9, rng=1)[0])
    rows, labels = mixture().sample(0)
    assert (rows.shape, labels.shape) == ((0, 2), (0,))
    assert (mixture(rates=np.zeros((3, 2))).sample(5, rng=0)[0] == 0).all()


def test_a_file_and_a_pickle(tmp_path):
    model = fastem.fit(pd.DataFrame(X, columns=NAMES), 3, distribution="poisson", rng=0)
    model.save(tmp_path / "model.npz")
    twins = (
        fastem.load(tmp_path / "model.npz"),
        fastem.load(tmp_path / "model.npz", distribution="poisson"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    )
    for twin in twins:
        assert bits(twin) == bits(model)
        assert repr(twin) == repr(model)
        assert twin.report == model.report
        np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
    assert not isinstance(model, fastem.GaussianMixture)


@pytest.mark.parametrize("start", ["k-means++", "random", "given"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_blocks_of_dask_give_the_parameters_of_the_array(start, weight):
    rows = da.from_array(X, chunks=((1, 999, 0, 2000), 2))
    init = np.arange(len(X)) % 3 if start == "given" else start
    options = OPTIONS | {"init": init, "sample_weight": weight}
    model, expected = (fastem.fit(data, 3, **options) for data in (rows, X))
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-9)
    np.testing.assert_allclose(model.parameters["rates"], expected.parameters["rates"], rtol=1e-9)
    np.testing.assert_allclose(model.report.history, expected.report.history, rtol=1e-9)
    np.testing.assert_allclose(model.score_samples(rows).compute(), model.score_samples(X), rtol=1e-12)
    assert model.score(rows, weight) == pytest.approx(model.score(X, weight), rel=1e-12)
    statistics = fastem.e_step(rows, model, weight)
    assert statistics.log_likelihood == pytest.approx(model.report.log_likelihood, rel=1e-9)


def test_a_column_of_weights(tmp_path):
    columns = dict(zip([*NAMES, "w"], np.column_stack([X, WEIGHT]).T.copy(), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "X.parquet")
    model = fastem.fit(tmp_path / "X.parquet", 3, sample_weight="w", **OPTIONS)
    assert bits(model) == bits(fastem.fit(X, 3, sample_weight=WEIGHT, **OPTIONS))
    assert model.feature_names == ("a", "b")


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(n_threads):
    rows = np.tile(X, (20, 1))
    options = OPTIONS | {"n_init": 1}
    assert bits(fastem.fit(rows, 3, n_threads=n_threads, **options)) == bits(fastem.fit(rows, 3, **options))


def test_restarts_keep_the_best():
    ends = []

    def callback(iteration, log_likelihood, model):
        if iteration == 3:
            ends.append(log_likelihood)

    options = OPTIONS | {"init": "random_from_data", "n_init": 6, "max_iter": 3}
    model = fastem.fit(X, 3, callback=callback, **options)
    assert model.report.log_likelihood == max(ends)
    assert len(set(ends)) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance_type": "diag"}, "covariance_type must be left out .*; got 'diag' with poisson"),
        ({"reg_covar": 0}, "reg_covar must be left out for distribution='poisson', which has no covariances"),
        ({"init": mixture([1.0], [[1.0, 1.0]])}, "init as a model must have n_components=3"),
        (
            {"distribution": "Poisson"},
            "distribution must be one of 'gaussian', .* or a fastem",
        ),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        fastem.fit(X, 3, **OPTIONS | options)


@pytest.mark.parametrize("seed", range(100))
def test_many_small_fits(seed):
    """Of any size, with rates of zero, weights and degeneracies drawn at random."""
    rng = np.random.default_rng(seed)
    n, d, groups = rng.choice([1, 2, 3, 10, 50, 300]), rng.integers(1, 6), rng.integers(1, 5)
    k = int(rng.integers(1, min(n, 7) + 1))
    rates = rng.gamma(rng.choice([0.1, 1, 10]), 10 ** rng.uniform(-2, 6), (groups, d))
    rates[rng.random(rates.shape) < rng.choice([0, 0.4])] = 0
    rows = rng.poisson(rates[rng.integers(groups, size=n)]).astype(rng.choice(["f8", "f4", "i8"]))
    weight = None if rng.random() < 0.5 else 10 ** rng.uniform(-8, 8) * rng.integers(1, 4, n)
    options = {
        "init": str(rng.choice(["k-means++", "kmeans", "random", "random_from_data"])),
        "n_init": int(rng.integers(1, 3)),
        "max_iter": int(rng.integers(0, 40)),
        "tol": float(rng.choice([0, 1e-4])),
        "sample_weight": weight,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        model = fastem.fit(rows, k, distribution="poisson", rng=seed, **options)
    total = n if weight is None else weight.sum()
    rounding = 1e-12 if rows.dtype != np.float32 else 1e-6
    log_likelihood = model.report.log_likelihood
    assert abs(model.score(rows, weight) * total - log_likelihood) <= rounding * total * (1 + rows.sum() / n)
    assert model.report.status is not FitStatus.DECREASED
    assert (model.parameters["rates"] >= 0).all()
    assert model.weights.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1, rtol=1e-5)
