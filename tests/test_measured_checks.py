"""What is taken as known noise of rows, and what is an error before work."""

import numpy as np
import pytest

import fastem

NAN = np.nan
MODEL = fastem.GaussianMixture(
    [0.4, 0.6], [[0.0, 0.0], [3.0, 1.0]], [[[1.0, 0.2], [0.2, 2.0]], [[0.5, 0.0], [0.0, 0.5]]]
)
GAPPY = fastem.GaussianMixture(MODEL.weights, MODEL.means, MODEL.covariances, missing="marginalise")


def rows(n=7):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)), rng.random((n, 2)) + 0.1


def matrices(variances):
    return np.eye(2) * variances[:, None, :]


def test_the_noise_of_chunks_belongs_to_their_rows_whatever_their_length():
    """A chunk of d rows has variances (d, d), which are not one covariance."""
    da = pytest.importorskip("dask.array")
    X, v = rows(4)
    expected = MODEL.score_samples(X, noise=matrices(v))
    chunks = [{"X": X[:2], "noise": v[:2]}, {"X": X[2:], "noise": v[2:]}]
    np.testing.assert_allclose(np.concatenate(list(MODEL.score_samples(chunks))), expected)
    blocks = da.from_array(X, chunks=(2, 2))
    for noise in (da.from_array(v, chunks=(2, 2)), v):
        np.testing.assert_allclose(MODEL.score_samples(blocks, noise=noise).compute(), expected)
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.c_[X[:2], v[:2]], columns=["x", "y", "vx", "vy"])
    model = fastem.fit(table, 1, noise=["vx", "vy"], max_iter=2, tol=0)
    same = fastem.fit(X[:2], 1, noise=matrices(v[:2]), max_iter=2, tol=0)
    np.testing.assert_allclose(model.covariances, same.covariances)
    one = [{"X": X[:2], "noise": v[:1]}, {"X": X[2:], "noise": v[:1]}]
    np.testing.assert_allclose(
        np.concatenate(list(MODEL.score_samples(one))), MODEL.score_samples(X, noise=v[0])
    )
    with pytest.raises(ValueError, match=r"the noise of chunk 0 of X must have variances, of shape \(n, 2\)"):
        MODEL.score_samples([{"X": X[:2], "noise": v[0]}])


def test_a_square_for_as_many_rows_as_features_is_ambiguous():
    X, v = rows(2)
    covariance = np.array([[2.0, 1.0], [1.0, 3.0]])
    calls = (
        lambda noise: MODEL.score_samples(X, noise=noise),
        lambda noise: MODEL.denoise(X, noise),
        lambda noise: fastem.e_step(X, MODEL, noise=noise),
        lambda noise: fastem.fit(X, 1, noise=noise, rng=0),
    )
    for call in calls:
        for noise in (covariance, v):
            with pytest.raises(ValueError, match=r"shape \(2, 2\) where X has 2 rows of 2 features"):
                call(noise)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) where X has 2 rows of 2 features"):
        fastem.fit([X[:1], X[1:]], 1, noise=covariance)
    with pytest.raises(ValueError, match=r"noise must be symmetric.*has the variances of a row of X"):
        fastem.fit([X[:1], X[1:]], 1, noise=v)
    given = covariance[None]
    expected = MODEL.score_samples(X, noise=np.repeat(given, 2, axis=0))
    np.testing.assert_array_equal(MODEL.score_samples(X, noise=given), expected)
    more = np.concatenate([X, X])
    for noise in (covariance, given):
        np.testing.assert_array_equal(MODEL.score_samples(more, noise=noise)[:2], expected)
    for noise in (v[0], v[:1], np.diag(v[0])):
        np.testing.assert_allclose(
            MODEL.score_samples(more, noise=noise), MODEL.score_samples(more, noise=np.tile(v[0], (4, 1)))
        )


@pytest.mark.parametrize("size", [1e-300, 1e-180, 1e78, 1e180, 1e300])
def test_noise_is_checked_at_any_scale(size):
    X, _ = rows(5)
    factors = np.random.default_rng(1).normal(size=(5, 2, 2))
    noise, unit = factors @ factors.transpose(0, 2, 1) * size, np.sqrt(size)
    model = fastem.GaussianMixture(MODEL.weights, MODEL.means * unit, MODEL.covariances * size)
    found = model.denoise(X * unit, noise) / unit
    np.testing.assert_allclose(found, MODEL.denoise(X, noise / size), rtol=1e-9)
    bad = noise.copy()
    bad[3] = np.array([[1.0, 2.0], [2.0, 1.0]]) * size
    with pytest.raises(ValueError, match="row 3 is not: the least eigenvalue of its correlations is -1"):
        model.denoise(X * unit, bad)
    bad[2, 0, 1] *= 1.5
    with pytest.raises(ValueError, match="noise must be symmetric; row 2"):
        model.denoise(X * unit, bad)


def gappy():
    X, v = rows(40)
    X[3, 1] = X[20, 0] = X[21] = NAN
    gaps = np.where(np.isnan(X), NAN, v)
    return X, v, gaps


def test_noise_may_be_missing_where_the_row_is():
    X, v, gaps = gappy()
    expected = GAPPY.score_samples(X, noise=v)
    absent = np.isnan(X)[:, :, None] | np.isnan(X)[:, None, :]
    forms = (gaps, np.ma.masked_invalid(gaps), np.where(absent, NAN, matrices(v)))
    for noise in forms:
        np.testing.assert_allclose(GAPPY.score_samples(X, noise=noise), expected)
    options = {"missing": "marginalise", "rng": 0, "max_iter": 3, "tol": 0}
    model = fastem.fit(X, 2, noise=v, **options)
    chunks = [{"X": X[:9], "noise": gaps[:9]}, {"X": X[9:], "noise": gaps[9:]}]
    for found in (
        fastem.fit(X, 2, noise=gaps, **options),
        fastem.fit(chunks, 2, **options),
        fastem.fit([X[:9], X[9:]], 2, noise=gaps, **options),
    ):
        np.testing.assert_array_equal(found.covariances, model.covariances)


def test_missing_noise_in_tables_files_and_dask(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    da = pytest.importorskip("dask.array")
    X, v, gaps = gappy()
    expected = GAPPY.score_samples(X, noise=v)
    names = ["x", "y", "vx", "vy"]
    table = pandas.DataFrame(np.c_[X, gaps], columns=names)
    table.to_parquet(tmp_path / "rows.parquet")
    model = fastem.GaussianMixture(
        MODEL.weights, MODEL.means, MODEL.covariances, missing="marginalise", feature_names=["x", "y"]
    )
    for source in (table, table.convert_dtypes()):
        np.testing.assert_allclose(model.score_samples(source, noise=names[2:]), expected)
    parts = model.score_samples(tmp_path / "rows.parquet", noise=names[2:])
    np.testing.assert_allclose(np.concatenate(list(parts)), expected)
    blocks = da.from_array(X, chunks=(11, 2))
    for noise in (da.from_array(gaps, chunks=(11, 2)), gaps):
        np.testing.assert_allclose(GAPPY.score_samples(blocks, noise=noise).compute(), expected)
    table.loc[5, "vy"] = NAN
    with pytest.raises(ValueError, match=r"noise must be finite; row 5 has nan for column 'y'"):
        model.score_samples(table, noise=names[2:])
    gaps[5, 1] = NAN
    with pytest.raises(ValueError, match=r"noise of chunk 0 of X must be finite; row 5 has nan for column 1"):
        fastem.fit([X], 2, noise=gaps, missing="marginalise", rng=0)


def test_gaps_are_an_error_with_noise_as_without():
    X, v = rows(9)
    X[4, 1] = NAN
    for call in (
        lambda **noise: MODEL.predict(X, **noise),
        lambda **noise: MODEL.score_samples(X, **noise),
        lambda **noise: MODEL.predict_proba(X, **noise),
        lambda **noise: MODEL.bic(X, **noise),
        lambda **noise: MODEL.icl(X, **noise),
        lambda **noise: MODEL.lower_bound(X, **noise),
        lambda **noise: list(MODEL.predict([X], **noise)),
        lambda **noise: fastem.e_step(X, MODEL, **noise),
        lambda **noise: fastem.e_step(X, GAPPY, missing="error", **noise),
    ):
        with pytest.raises(ValueError, match=r"X must be finite; row 4, column 1 is nan") as without:
            call()
        with pytest.raises(ValueError, match=r"X must be finite; row 4, column 1 is nan") as told:
            call(noise=v)
        assert str(told.value) == str(without.value)
    with pytest.raises(ValueError, match=r"X must be finite; row 4, column 1 is nan"):
        MODEL.denoise(X, v)


@pytest.mark.parametrize("covariance_type", ["full", "VEV"])
def test_components_that_shrink_to_a_plane_are_told(covariance_type):
    """Where the narrow rows have no noise, a variance shrinks by a factor in each iteration."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(40, 1)) * [1.0, 2.0], np.zeros((40, 2))
    noise[30:] = 0.01
    X[30:] += rng.normal(size=(10, 2)) * 0.1
    options = {"rng": 0, "reg_covar": 0, "max_iter": 300, "covariance_type": covariance_type}
    with pytest.warns(fastem.FitWarning, match="DEGENERATE: .* columns 0 and 1 are collinear"):
        model = fastem.fit(X, 1, noise=noise, tol=1e-6, **options)
    assert model.report.status is fastem.FitStatus.DEGENERATE
    assert np.linalg.eigvalsh(model.covariances).min() > 1e-8  # it has the floor, as without noise


def test_no_fit_ends_at_a_variance_that_rounding_hides():
    X = np.random.default_rng(0).normal(size=(6, 2))
    noise = np.concatenate([np.zeros((3, 2)), np.full((3, 2), 0.01)])
    model = fastem.fit(X, 3, noise=noise, rng=0, reg_covar=0, max_iter=300, tol=1e-6)
    assert np.linalg.eigvalsh(model.covariances).min() > 1e-13


def test_chunks_with_noise_are_denoised_without_more():
    X, v = rows(9)
    parts = MODEL.denoise([{"X": X[:2], "noise": v[:2]}, {"X": X[2:], "noise": v[2:]}])
    np.testing.assert_array_equal(np.concatenate(list(parts)), MODEL.denoise(X, v))
    with pytest.raises(ValueError, match="noise must be given for denoise"):
        MODEL.denoise(X)


def test_thresholds_and_the_order_of_mergers_take_noise():
    X, v = rows(200)
    scores = np.sort(MODEL.score_samples(X, noise=v))
    assert MODEL.threshold(X, 0.1, noise=v) == scores[20]
    p = MODEL.predict_proba(X, noise=v)
    entropies = MODEL.merge_order(X, noise=v).entropies
    np.testing.assert_allclose(entropies, [0, -(p * np.log(p)).sum()], atol=1e-9)


def test_noise_larger_than_the_variance_of_the_rows_is_told():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    errors = rng.random((500, 2)) + 0.5
    X = rng.normal(size=(500, 2)) * errors  # of true values that are all the same
    fastem.fit(X, 1, noise=errors**2, rng=0)
    table = pandas.DataFrame(np.c_[X, errors**2 * [1, 2]], columns=["x", "y", "vx", "vy"])
    for source in (table, [{"X": X, "noise": errors**2 * [1, 2]}]):
        with pytest.warns(fastem.FitWarning, match=r"NOISE: On average, column ('y'|1) has noise of") as told:
            fastem.fit(source, 1, noise=["vx", "vy"] if source is table else None, rng=0, reg_covar=1e-3)
        assert [one.message.cause for one in told] == [fastem.WarningCause.NOISE]
    assert f"{(2 * errors[:, 1] ** 2).mean():.3g}, and rows of variance {X[:, 1].var():.3g}" in str(
        told[0].message
    )


def test_noise_beyond_arithmetic_names_the_row():
    X, v = rows(30)
    v[17, 1] = 1e80
    with pytest.raises(ValueError, match=r"row 17 has 1e\+80 in column 1"):
        MODEL.score_samples(X, noise=v)


def test_common_mistakes_are_told():
    pandas = pytest.importorskip("pandas")
    X, v = rows(9)
    table = pandas.DataFrame(np.c_[X, v], columns=["x", "y", "vx", "vy"])
    with pytest.raises(ValueError, match=r"got the number 0.1. Pass np.full\(2, 0.1\)"):
        fastem.fit(X, 2, noise=0.1)
    with pytest.raises(ValueError, match=r"got \['vx'\]. Pass a list of 2 names"):
        fastem.fit(table, 2, noise="vx", columns=["x", "y"])
    with pytest.raises(ValueError, match=r"for each of the 3 features.* columns=\[...\]"):
        fastem.fit(table.assign(id=1), 2, noise=["vx", "vy"])
    for name in ("errors", "noise_variance"):
        with pytest.raises(TypeError, match="Known errors of the rows are noise="):
            fastem.fit(X, 2, **{name: v})
