"""Mixtures of Poisson distributions."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import logsumexp
from scipy.stats import poisson

import fastem
from fastem import FitStatus

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


@pytest.mark.parametrize("size", [1, 1e2, 1e4, 1e6])
def test_a_fit_in_float32_is_not_stopped_by_rounding(size):
    model = mixture(rates=size * RATES)
    X = model.sample(2000, rng=0)[0]
    single, double = (
        fastem.fit(X.astype(dtype), 3, distribution="poisson", rng=0) for dtype in (np.float32, np.float64)
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


def test_a_fit_may_begin_at_parameters_for_which_rows_are_impossible():
    X = mixture().sample(500, rng=0)[0]
    start = mixture(rates=np.where(ZERO > 0, RATES, 0))
    model = fastem.fit(X, 3, distribution="poisson", init=start, tol=0, max_iter=50)
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
