"""Many small fits of random problems, drawn by hypothesis, end without a crash, a NaN or a leak.

FASTEM_STRESS sets the number of fits.
"""

import gc
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from problems import TYPES

import fastem

FITS = int(os.environ.get("FASTEM_STRESS", "3000"))
BATCH = 500  # hypothesis remembers its examples, so each batch starts anew, or this would look like a leak

SETTINGS = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

DEGENERACIES = {
    "none": lambda X: X,
    "identical rows": lambda X: np.full_like(X, X[0, 0]),
    "constant column": lambda X: np.where(np.arange(X.shape[1]) == 0, X[0], X),
    "duplicated columns": lambda X: np.repeat(X[:, :1], X.shape[1], axis=1),
    "few distinct rows": lambda X: X[np.arange(len(X)) % 2],
    "ties": lambda X: np.round(X),
    "one point repeated": lambda X: np.where(np.arange(len(X))[:, None] % 5 < 2, X[0], X),
    "outlier": lambda X: np.where(np.arange(len(X))[:, None] == 0, 1e12 * X[:1], X),
    "scales apart": lambda X: X * np.logspace(-8, 8, X.shape[1]),
    "tiny": lambda X: 1e-18 * X,
    "huge": lambda X: 1e15 * X,
    "offset": lambda X: X + 1e4,
}
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda X: np.ascontiguousarray(X[::-1])[::-1],
    "swapped": lambda X: X.astype(X.dtype.newbyteorder()),
}
WEIGHTS = {
    "none": lambda rng, n: None,
    "integers": lambda rng, n: np.maximum(rng.integers(0, 4, n), np.arange(n) < 7),
    "uneven": lambda rng, n: 10.0 ** rng.uniform(-12, 6, n),
}
problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "n": st.integers(7, 60),
        "d": st.integers(1, 6),
        "k": st.integers(1, 7),
        "dtype": st.sampled_from(["f8", "f4"]),
        "degeneracy": st.sampled_from(sorted(DEGENERACIES)),
        "layout": st.sampled_from(sorted(LAYOUTS)),
        "weights": st.sampled_from(sorted(WEIGHTS)),
        "covariance_type": st.sampled_from(TYPES),
        "init": st.sampled_from(["k-means++", "kmeans", "random", "random_from_data", "labels"]),
        "reg_covar": st.sampled_from(["auto", 0, 1e-3]),
        "tol": st.sampled_from([0, 1e-4, 1e-9]),
    }
)


def check_fit(problem):
    rng = np.random.default_rng(problem["seed"])
    n, d, k = problem["n"], problem["d"], problem["k"]
    X = rng.normal(size=(n, d)) + 5 * rng.normal(size=(k, d))[rng.integers(k, size=n)]
    X = LAYOUTS[problem["layout"]](DEGENERACIES[problem["degeneracy"]](X).astype(problem["dtype"]))
    weights = WEIGHTS[problem["weights"]](rng, n)
    model = fastem.fit(
        X,
        k,
        covariance_type=problem["covariance_type"],
        sample_weight=weights,
        init=np.arange(n) % k if problem["init"] == "labels" else problem["init"],
        reg_covar="auto" if problem["degeneracy"] == "tiny" else problem["reg_covar"],
        tol=problem["tol"],
        max_iter=12,
        rng=rng,
        n_threads=1,
    )
    report = model.report
    for array in (model.weights, model.means, model.covariances, np.array(report.history)):
        assert np.isfinite(array).all()
    assert model.weights.sum() == pytest.approx(1)
    kind = model.covariance_type
    fastem.GaussianMixture(model.weights, model.means, model.covariances, kind)  # checks what fits do not
    assert len(report.repairs) <= 5 * k  # per component: re-seeded three times, kept once, floored once
    assert report.status is not fastem.FitStatus.FAILED
    proba = model.predict_proba(X, n_threads=1)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    total = n if weights is None else weights.sum()
    scored = model.score(X, weights, n_threads=1)
    assert report.log_likelihood / total == pytest.approx(scored, rel=1e-6, abs=rounding_of(X, model))


def test_scales_apart_leave_a_tied_covariance_symmetric():
    """The stress test found this case."""
    problem = {"layout": "swapped", "degeneracy": "scales apart", "dtype": "f4", "covariance_type": "tied"}
    problem |= {"k": 7, "n": 7, "d": 6, "init": "random", "weights": "integers", "seed": 7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        check_fit(problem | {"reg_covar": 0.001, "tol": 0.0001})


def rounding_of(X, model):
    """The rounding error of a log-density, since the distance of a row from the overall mean is rounded."""
    precision = np.finfo(np.float32 if X.dtype.itemsize == 4 else np.float64).eps
    X, covariances = X.astype(float), model.covariances
    spread = X.std(axis=0)
    if model.covariance_type == "spherical":
        spread = np.array([spread.max()])
    spread[spread == 0] = np.sqrt(covariances.max())
    if model.covariance_type in ("full", "tied"):
        covariances = np.linalg.eigvalsh(covariances / spread / spread[:, None])
    else:
        covariances = covariances / spread**2
    reach = np.ptp(X / spread, axis=0).max() / np.sqrt(max(covariances.min(), precision**2))
    return 100 * model.n_features * precision * (1 + reach)


def resident_megabytes():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def run_fits(settings, batch):
    fits = settings(seed(batch)(given(problems)(check_fit)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        fits()


def test_some_small_fits():
    run_fits(settings(SETTINGS, max_examples=100), FITS // BATCH)


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_rows_of_hardly_any_weight_may_be_beyond_float32():
    """Where equal components are parted, one row of weight 1e-101 is 1e51 deviations away."""
    check_fit(
        {
            "n": 7,
            "d": 1,
            "k": 4,
            "seed": 3006996,
            "dtype": "f4",
            "degeneracy": "one point repeated",
            "layout": "swapped",
            "weights": "integers",
            "covariance_type": "full",
            "init": "random_from_data",
            "reg_covar": 1e-3,
            "tol": 1e-4,
        }
    )


@pytest.mark.slow
def test_many_small_fits():
    resident = []
    for batch in range(FITS // BATCH):
        run_fits(SETTINGS, batch)
        if sys.platform == "linux":
            resident.append(resident_megabytes())
    warm = resident[len(resident) // 3 :]
    assert not warm or max(warm) - warm[0] <= 5


def test_what_underflows_is_no_error_where_numpy_raises():
    rows = np.concatenate([np.random.default_rng(0).normal(shift, 1, (150, 3)) for shift in (0, 60)])
    with np.errstate(all="raise"):
        assert fastem.select(rows, [1, 2], rng=0).chosen.k == 2
        assert fastem.fit(rows * [1e-12, 1, 1e9], 2, prior="default", rng=0).report.converged
        model = fastem.fit(np.abs(rows).astype(np.float32), 3, distribution="gamma", rng=0)
        assert np.isfinite(model.predict_proba(np.abs(rows).astype(np.float32))).all()
        with pytest.raises(FloatingPointError):
            np.float64(1e-200) * np.float64(1e-200)  # what the user asked for stays


@pytest.mark.filterwarnings("error")
def test_a_start_beyond_all_rows_is_taken_without_warnings():
    rows = np.random.default_rng(0).normal(0, 1, (200, 2))
    rows[100:] += 8
    centers = fastem.kmeans(rows, 2, init=[[0, 0], [1e300, 0]]).centers
    assert sorted(centers[:, 0].round()) == [0, 8]
    counts = np.random.default_rng(0).poisson(3, (200, 2))
    model = fastem.fit(counts, 2, distribution="poisson", init={"rates": [[1e18, 1], [2, 3]]})
    assert np.isfinite(model.report.log_likelihood)
