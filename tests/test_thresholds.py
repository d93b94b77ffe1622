"""The log-density below which a share of the rows lies."""

import numpy as np
import pytest
from problems import clusters, random_model

import fastem

X = clusters(0, 1_999, 3, 3)
MODEL = random_model(0, "full", 3, 3)


def slow_threshold(scores, share, weights=None):
    """The largest score such that the rows with lower ones have at most this share, tried one by one."""
    weights = np.ones(len(scores)) if weights is None else weights
    fit = [s for s in scores[weights > 0] if weights[scores < s].sum() <= share * weights.sum() + 1e-9]
    return max(fit)


@pytest.mark.parametrize("share", [0, 0.01, 0.29, 0.5, 0.9999])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exact_in_every_dtype(dtype, share):
    rows = X.astype(dtype)
    scores = MODEL.score_samples(rows)
    threshold = MODEL.threshold(rows, share)
    assert type(threshold) is float
    assert threshold == slow_threshold(scores, share) == np.sort(scores)[int(share * len(rows))]
    assert (scores < threshold).sum() == int(share * len(rows))


@pytest.mark.parametrize(("share", "flagged"), [(0.29, 29), (0.07, 7), (0.57, 57), (0.999, 99)])
def test_a_share_is_not_less_by_rounding(share, flagged):
    """0.29 * 100 is 28.999999999999996."""
    rows = X[:100]
    assert (MODEL.score_samples(rows) < MODEL.threshold(rows, share)).sum() == flagged


def test_weights_ties_and_rows_that_are_absent():
    rng = np.random.default_rng(0)
    rows = X[rng.integers(60, size=500)]  # most of them several times
    weights = rng.integers(3, size=500).astype(float)
    scores = MODEL.score_samples(rows)
    for share in (0.0, 0.02, 0.1, 0.5, 0.93):
        assert MODEL.threshold(rows, share, weights) == slow_threshold(scores, share, weights)
        counted = np.repeat(rows, weights.astype(int), axis=0)
        assert MODEL.threshold(rows, share, weights) == MODEL.threshold(counted, share)
    assert MODEL.threshold(np.repeat(X[:1], 9, axis=0), 0.5) == MODEL.score_samples(X[:1])[0]


def test_an_absent_row_may_have_a_category_that_the_fit_did_not_see():
    model = fastem.Mixture([1.0], {"probabilities": [[[0.3, 0.7]]]}, "categorical")
    assert model.threshold([[5], [1], [0]], 0, [0, 1, 1]) == model.score_samples([[0]])[0]
    with pytest.raises(ValueError, match="categories that the fit saw; row 0, column 0 is 5"):
        model.threshold([[5], [1], [0]], 0)


def test_every_source_gives_the_same(tmp_path):
    da, pa, pq = (pytest.importorskip(name) for name in ("dask.array", "pyarrow", "pyarrow.parquet"))
    weights = np.random.default_rng(0).integers(4, size=len(X)).astype(float)
    columns = dict(zip("abc", X.T.copy(), strict=True))
    pq.write_table(pa.table(columns | {"w": weights}), tmp_path / "X.parquet")
    expected = MODEL.threshold(X, 0.03, weights)
    named = fastem.GaussianMixture(MODEL.weights, MODEL.means, MODEL.covariances, feature_names=tuple("abc"))
    parts = list(zip(np.array_split(X, 7), np.array_split(weights, 7), strict=True))
    assert named.threshold(tmp_path / "X.parquet", 0.03, "w") == expected
    assert MODEL.threshold(lambda: iter(parts), 0.03) == expected
    assert MODEL.threshold(da.from_array(X, chunks=(300, 3)), 0.03, weights) == expected


def test_densities_of_zero():
    """Rows that cannot come from the mixture have a log-density of -inf, and no threshold lies below it."""
    model = fastem.Mixture([1.0], {"probabilities": [[1.0]]}, "bernoulli")
    rows = np.array([[0.0]] * 2 + [[1.0]] * 98)
    assert model.threshold(rows, 0.01) == -np.inf
    assert model.threshold(rows, 0.02) == 0.0


@pytest.mark.parametrize("share", [-0.1, 1, 2, np.nan, "few", None])
def test_a_share_that_is_none(share):
    with pytest.raises((ValueError, TypeError), match="share must be"):
        MODEL.threshold(X, share)
