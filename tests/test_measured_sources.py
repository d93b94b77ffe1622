"""Known noise of rows in memory, in files, in chunks and on dask, and the same bits from all of them."""

import numpy as np
import pytest

import fastem

N = 5000


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    true = np.where(rng.random(N)[:, None] < 0.5, rng.normal(size=(N, 2)) * 0.5, [3, 1])
    noise = np.exp(rng.normal(size=(N, 2))) * 0.3
    return true + rng.normal(size=(N, 2)) * np.sqrt(noise), noise


@pytest.fixture(scope="module")
def model(rows):
    return fit(rows[0], rows[1])


def fit(X, noise=None, **options):
    return fastem.fit(X, 2, noise=noise, rng=0, max_iter=10, tol=0, **options)


def same_bits(found, model):
    return found.report.history == model.report.history and np.array_equal(found.means, model.means)


def chunked(X, noise):
    return [{"X": X[i : i + 777], "noise": noise[i : i + 777]} for i in range(0, N, 777)]


def test_threads_chunks_and_memory_maps_give_the_same_bits(rows, model, tmp_path):
    X, noise = rows
    for n_threads in (1, 2, 5):
        assert same_bits(fit(X, noise, n_threads=n_threads), model)
    assert same_bits(fit(chunked(X, noise)), model)
    assert same_bits(fit(chunked(X, noise), cache_dir=tmp_path), model)
    assert same_bits(fit(lambda: (X[i : i + 999] for i in range(0, N, 999)), noise), model)
    for name, array in (("X", X), ("noise", noise)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "noise"))
    assert same_bits(fit(*mapped), model)
    assert same_bits(fit(X, noise.astype(">f8")[::-1][::-1]), model)
    one = np.full(2, 0.3)
    assert same_bits(fit(X, one), fit(X, np.broadcast_to(one, X.shape).copy()))
    assert same_bits(fit(chunked(X, noise), None), fit(X, noise))
    matrices = noise[:, :, None] * np.eye(2)
    np.testing.assert_allclose(fit(X, matrices).means, model.means, rtol=1e-9)
    single = fit(X.astype(np.float32), noise.astype(np.float32))
    np.testing.assert_allclose(single.means, model.means, atol=1e-5)


def test_columns_of_tables_and_files_are_noise_by_name(rows, model, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X, noise = rows
    names = ["x_variance", "y_variance"]
    table = pandas.DataFrame({names[0]: noise[:, 0], "x": X[:, 0], names[1]: noise[:, 1], "y": X[:, 1]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    table.to_parquet(tmp_path / "rows.parquet")
    for source in (table, tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        found = fit(source, names)
        assert found.feature_names == ("x", "y")
        assert same_bits(found, model)
        assert found.score(source, noise=names) == model.score(X, noise=noise)
    parts = found.denoise(tmp_path / "rows.parquet", names)
    np.testing.assert_array_equal(np.concatenate(list(parts)), model.denoise(X, noise))
    with pytest.raises(ValueError, match="must name columns of X"):
        fit(table, ["x_variance", "z_variance"])
    with pytest.raises(ValueError, match="Pass a list of 3 names"):
        fit(table, ["x_variance"])


def test_scores_of_chunks_come_in_chunks(rows, model):
    X, noise = rows
    parts = list(model.score_samples(chunked(X, noise)))
    assert len(parts) == 7
    np.testing.assert_array_equal(np.concatenate(parts), model.score_samples(X, noise=noise))
    assert model.score(chunked(X, noise)) == pytest.approx(model.score(X, noise=noise), rel=1e-12)


def test_all_chunks_have_noise_of_one_kind(rows):
    X, noise = rows
    chunks = [{"X": X[:9], "noise": noise[:9]}, {"X": X[9:20]}]
    with pytest.raises(ValueError, match="chunk 1 of X has no noise and the first chunk has"):
        fit(chunks)
    chunks[1]["noise"] = noise[9:20, :, None] * np.eye(2)
    with pytest.raises(ValueError, match="Give variances in all chunks"):
        fit(chunks)
    with pytest.raises(ValueError, match="noise must be None where the chunks of X come with noise"):
        fit(chunks, np.ones(2))


def test_dask_collections_have_noise_in_the_same_blocks(rows, model):
    da, frames = pytest.importorskip("dask.array"), pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    X, noise = rows
    blocks = da.from_array(X, chunks=(1300, 2))
    known = da.from_array(noise, chunks=(1300, 2))
    for given in (known, noise):
        np.testing.assert_allclose(fit(blocks, given).means, model.means, rtol=1e-9)
    table = pandas.DataFrame({"x": X[:, 0], "y": X[:, 1], "vx": noise[:, 0], "vy": noise[:, 1]})
    found = fit(frames.from_pandas(table, npartitions=3), ["vx", "vy"])
    np.testing.assert_allclose(found.means, model.means, rtol=1e-9)
    np.testing.assert_array_equal(model.denoise(blocks, known).compute(), model.denoise(X, noise))
    expected = model.predict_proba(X, noise=np.eye(2))
    np.testing.assert_array_equal(model.predict_proba(blocks, noise=np.eye(2)).compute(), expected)
    assert model.score(blocks, noise=known) == pytest.approx(model.score(X, noise=noise), rel=1e-12)
    bad = noise.copy()
    bad[4000, 1] = -1
    with pytest.raises(
        ValueError, match="the noise of block 3 of X must have variances of at least 0; row 100"
    ):
        fit(blocks, da.from_array(bad, chunks=(1300, 2)))
