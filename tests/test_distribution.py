"""Distributions that a user writes with NumPy: the same EM as for those that are built in, from any data."""

import copy
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributions import LABELS, MIXTURE, RATES, WEIGHT, Normal, Poisson, X, broken, start_of
from problems import clusters

import fastem
from fastem import FitStatus, FitWarning, WarningCause, _io
from fastem._em.loop import KEPT
from fastem._kernels._layout import TILE_BYTES

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
zarr = pytest.importorskip("zarr")

OPTIONS = {"distribution": Poisson(), "rng": 0}
NAMES = ["a", "b"]
CUTS = [5, 5, 1000, 2999]
BLOCKS = (1, 999, 0, 2000)


# --- the same EM


def assert_equal(model, expected, tolerance=1e-9):
    np.testing.assert_allclose(model.weights, expected.weights, rtol=tolerance)
    for name, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(model.report.history, expected.report.history, rtol=tolerance)
    assert model.report.log_likelihood == model.report.objective == model.report.history[-1]


STARTS = {
    "labels": lambda _: LABELS,
    "responsibilities": lambda _: np.random.default_rng(0).dirichlet(np.ones(3), len(X)),
    "model": start_of,
    "k-means++": lambda _: "k-means++",
    "kmeans": lambda _: "kmeans",
    "random": lambda _: "random",
    "random_from_data": lambda _: "random_from_data",
}


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("start", STARTS)
def test_a_poisson_distribution_gives_what_the_compiled_one_does(start, weight):
    models = [
        fastem.fit(
            X,
            3,
            distribution=distribution,
            init=STARTS[start](distribution),
            sample_weight=weight,
            tol=0,
            max_iter=8,
            acceleration=None,
            rng=0,
        )
        for distribution in (Poisson(), "poisson")
    ]
    assert_equal(*models)
    assert len(models[0].report.history) == 9
    for method in ("score_samples", "predict_proba"):
        one, other = (getattr(model, method)(X) for model in models)
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(*(model.predict(X) for model in models))
    for method in ("score", "bic", "aic"):
        one, other = (getattr(model, method)(X, weight) for model in models)
        assert one == pytest.approx(other, rel=1e-11)
    assert models[0].n_parameters == models[1].n_parameters == 8


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_a_normal_distribution_gives_what_diagonal_covariances_do(weight):
    rows = clusters(0, 2000, 3, 3)
    labels = np.arange(2000) % 3
    weight = weight if weight is None else weight[:2000]
    options = {"init": labels, "sample_weight": weight, "tol": 0, "max_iter": 20, "acceleration": None}
    model = fastem.fit(rows, 3, distribution=Normal(), **options)
    expected = fastem.fit(rows, 3, covariance_type="diag", reg_covar=0, **options)
    np.testing.assert_allclose(model.weights, expected.weights, rtol=1e-9)
    np.testing.assert_allclose(model.parameters["means"], expected.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.parameters["variances"], expected.covariances, rtol=1e-9)
    np.testing.assert_allclose(model.report.history, expected.report.history, rtol=1e-9)
    assert model.n_parameters == expected.n_parameters
    assert model.bic(rows) == pytest.approx(expected.bic(rows), rel=1e-11)


class Geometric(fastem.Distribution):
    """p(x) = (1 - q)^x q."""

    def log_density(self, X, parameters):
        q = parameters["q"]
        return X @ np.log1p(-q).T + np.log(q).sum(axis=1)

    def statistics(self, X, responsibilities, parameters):
        return responsibilities.sum(axis=0), responsibilities.T @ X

    def maximise(self, statistics, parameters):
        weights, sums = statistics
        return {"q": weights[:, None] / (weights[:, None] + sums)}

    def n_parameters(self, k, d):
        return k * d

    def sample(self, parameters, labels, rng):
        return rng.geometric(parameters["q"][labels]) - 1


def test_it_is_the_loop_that_one_would_write():
    truth = fastem.Mixture([0.4, 0.6], {"q": [[0.1, 0.5], [0.6, 0.2]]}, Geometric(), n_features=2)
    rows, _ = truth.sample(1000, rng=0)
    q, weights, history = np.array([[0.2, 0.4], [0.5, 0.3]]), np.array([0.5, 0.5]), []
    start = fastem.Mixture(weights, {"q": q}, Geometric(), n_features=2)
    weight = WEIGHT[:1000]
    for iteration in range(21):
        joint = np.log(weights) + (rows[:, None, :] * np.log(1 - q) + np.log(q)).sum(axis=2)
        log_p = np.log(np.exp(joint).sum(axis=1))
        history.append(weight @ log_p)
        if iteration < 20:
            r = np.exp(joint - log_p[:, None]) * weight[:, None]
            weights = r.sum(axis=0) / r.sum()
            q = r.sum(axis=0)[:, None] / (
                r.sum(axis=0)[:, None] + (r[:, :, None] * rows[:, None, :]).sum(axis=0)
            )
    options = {"init": start, "sample_weight": weight, "tol": 0, "max_iter": 20, "acceleration": None}
    model = fastem.fit(rows, 2, distribution=Geometric(), **options)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-9)
    np.testing.assert_allclose(model.parameters["q"], q, rtol=1e-9)
    np.testing.assert_allclose(model.report.history, history, rtol=1e-9)
    np.testing.assert_allclose(model.weights.sum(), 1, rtol=1e-12)


def test_it_finds_the_truth_that_it_sampled():
    model = fastem.fit(MIXTURE.sample(50_000, rng=1)[0], 3, n_init=3, **OPTIONS)
    order = np.argsort(model.parameters["rates"][:, 0])
    np.testing.assert_allclose(model.weights[order], MIXTURE.weights, atol=0.01)
    np.testing.assert_allclose(model.parameters["rates"][order], RATES, rtol=0.03)
    assert model.report.converged
    np.testing.assert_array_equal(MIXTURE.sample(10, rng=3)[0], MIXTURE.sample(10, rng=3)[0])
    rows, labels = MIXTURE.sample(0)
    assert (rows.shape, labels.shape) == ((0, 2), (0,))
    assert MIXTURE.sample(5)[0].dtype == np.float64


@pytest.mark.parametrize("n", [1, 7, 300])
def test_supervised_weights_are_those_of_the_labels(n):
    labels = np.arange(n) % min(n, 3)
    model = fastem.fit(X[:n], min(n, 3), init=labels, max_iter=0, distribution=Poisson())
    np.testing.assert_allclose(model.weights, np.bincount(labels) / n, rtol=1e-15)


class Known(Poisson):
    """Only the mixing weights are unknown."""

    def statistics(self, X, responsibilities, parameters):
        return ()

    def maximise(self, statistics, parameters):
        return {"rates": RATES}


def test_there_need_not_be_statistics():
    chunks = np.split(X, [0, 1000, 2500])
    options = {"distribution": Known(), "init": LABELS, "max_iter": 20, "tol": 0}
    model = fastem.fit(X, 3, **options)
    r = MIXTURE.predict_proba(X)
    for _ in range(200):
        weights = r.mean(axis=0)
        r = np.exp(Poisson().log_density(X, MIXTURE.parameters)) * weights
        r /= r.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-6)
    np.testing.assert_allclose(fastem.fit(chunks, 3, **options).weights, model.weights, rtol=1e-12)
    statistics = sum(fastem.e_step(chunk, model) for chunk in chunks[1:])
    np.testing.assert_allclose(statistics.weights, fastem.e_step(X, model).weights, rtol=1e-12)
    again = fastem.Statistics.from_bytes(statistics.to_bytes(), distribution=Known())
    np.testing.assert_array_equal(fastem.m_step(again).weights, fastem.m_step(statistics).weights)


class Counts(Poisson):
    """Numbers are statistics too."""

    def statistics(self, X, responsibilities, parameters):
        return len(X), responsibilities.sum(), *super().statistics(X, responsibilities, parameters)

    def maximise(self, statistics, parameters):
        n, _, *rest = statistics
        assert isinstance(n, np.ndarray)
        return super().maximise(rest, parameters) | {"rows": np.repeat([n], len(rest[0]), axis=0)}


@pytest.mark.parametrize("slab_seconds", [0.2, 1e-9])
def test_a_statistic_may_be_a_number(slab_seconds, monkeypatch):
    monkeypatch.setattr(fastem._sources.passes, "_SLAB_SECONDS", slab_seconds)
    model = fastem.fit(X, 3, distribution=Counts(), init=LABELS, max_iter=2, tol=0)
    np.testing.assert_array_equal(model.parameters["rows"], len(X))
    statistics = sum(fastem.e_step(chunk, model) for chunk in np.split(X, [9, 1000]))
    for twin in (statistics, fastem.Statistics.from_bytes(statistics.to_bytes(), distribution=Counts())):
        np.testing.assert_array_equal(fastem.m_step(twin).parameters["rows"], len(X))


class Reuses(Poisson):
    """Returns views of what it was given, and arrays that it writes to again in the next call."""

    def __init__(self):
        self.buffers, self.answer = {}, {}

    def buffer(self, name, values):
        buffer = self.buffers.setdefault((name, values.shape), np.empty(values.shape))
        buffer[:] = values
        return buffer

    def log_density(self, X, parameters):
        return self.buffer("log_density", super().log_density(X, parameters))

    def statistics(self, X, responsibilities, parameters):
        sums = super().statistics(X, responsibilities, parameters)
        return tuple(self.buffer(name, values) for name, values in zip("ab", sums, strict=True))

    def maximise(self, statistics, parameters):
        self.answer.update(super().maximise(statistics, parameters))
        self.answer["rates"] = self.buffer("rates", self.answer["rates"])
        self.answer["weights"] = statistics[0]
        return self.answer


def test_arrays_may_be_used_again():
    chunks = np.split(X, [1000])
    seen = []
    options = {"init": LABELS, "tol": 0, "max_iter": 4}
    model = fastem.fit(
        X, 3, distribution=Reuses(), callback=lambda *arguments: seen.append(arguments[2]), **options
    )
    expected = fastem.fit(X, 3, distribution=Poisson(), **options)
    np.testing.assert_array_equal(model.parameters["rates"], expected.parameters["rates"])
    np.testing.assert_allclose(model.parameters["weights"] / len(X), model.weights, rtol=1e-12)
    assert len({mixture.parameters["rates"].tobytes() for mixture in seen}) == 5
    one, other = (fastem.e_step(chunk, model) for chunk in chunks)
    again = fastem.e_step(chunks[0], model)
    np.testing.assert_array_equal(one.sums()["statistics"][1], again.sums()["statistics"][1])
    assert not np.shares_memory(one.sums()["statistics"][1], other.sums()["statistics"][1])


class Given(fastem.Distribution):
    """The columns of X are the log-densities."""

    def log_density(self, X, parameters):
        return X

    def statistics(self, X, responsibilities, parameters):
        return (responsibilities.sum(axis=0),)

    def maximise(self, statistics, parameters):
        return {"weights": statistics[0]}

    def n_parameters(self, k, d):
        return 0


def test_an_answer_may_be_what_was_given():
    rows = np.random.default_rng(0).normal(size=(500, 3))
    before = rows.copy()
    model = fastem.fit(rows, 3, distribution=Given(), init=np.arange(500) % 3, tol=0, max_iter=3)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_allclose(model.score_samples(rows), np.log(np.exp(rows) @ model.weights), rtol=1e-12)
    np.testing.assert_array_equal(rows, before)


def test_a_distribution_may_lack_a_method_to_sample():
    model = fastem.fit(X, 2, distribution=Normal(), rng=0)
    with pytest.raises(NotImplementedError, match="Normal has no method `sample`"):
        model.sample(3)


# --- data


def memmap(folder, rows):
    np.save(folder / "X.npy", rows)
    return np.load(folder / "X.npy", mmap_mode="r")


def parquet(folder, rows, **more):
    columns = {**dict(zip(NAMES, rows.T.copy(), strict=True)), **more}
    pq.write_table(pa.table(columns), folder / "X.parquet")
    return folder / "X.parquet"


def zarr_store(folder, rows):
    store = zarr.create_array(str(folder / "X.zarr"), shape=rows.shape, chunks=(700, 1), dtype=rows.dtype)
    store[:] = rows
    return store


SOURCES = {
    "Fortran order": lambda _, rows: np.asfortranarray(rows),
    "integers": lambda _, rows: rows.astype(np.int32),
    "lists": lambda _, rows: rows.tolist(),
    "memmap": memmap,
    "chunks": lambda _, rows: np.split(rows, CUTS),
    "function": lambda _, rows: lambda: iter(np.split(rows, CUTS)),
    "table": lambda _, rows: pd.DataFrame(rows, columns=NAMES),
    "tables": lambda _, rows: [pd.DataFrame(part, columns=NAMES) for part in np.split(rows, CUTS)],
    "parquet": parquet,
    "zarr": zarr_store,
}


def bits(model):
    arrays = (model.weights, *model.parameters.values(), np.array(model.report.history))
    return b"".join(array.tobytes() for array in arrays)


def joined(scores):
    return scores if isinstance(scores, np.ndarray) else np.concatenate(list(scores))


@pytest.fixture(params=[pytest.param(0.2, marks=pytest.mark.slow), 1e-9], ids=["one slab", "many slabs"])
def _slabs(request, monkeypatch):
    """As of a large array."""
    monkeypatch.setattr(fastem._sources.passes, "_SLAB_SECONDS", request.param)


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("copied", [False, True], ids=["", "with a copy on disk"])
@pytest.mark.parametrize("name", SOURCES)
def test_any_source_gives_the_bits_of_the_array(name, copied, tmp_path):
    source = SOURCES[name](tmp_path, X)
    options = OPTIONS | {"n_init": 2, "max_iter": 3, "tol": 0, "sample_weight": WEIGHT}
    model = fastem.fit(source, 3, cache_dir=tmp_path if copied else None, **options)
    expected = fastem.fit(X, 3, **options)
    assert bits(model) == bits(expected)
    assert model.feature_names == (("a", "b") if name in ("table", "tables", "parquet") else None)
    for method in ("score_samples", "predict", "predict_proba"):
        np.testing.assert_array_equal(joined(getattr(model, method)(source)), getattr(expected, method)(X))
    assert model.bic(source, WEIGHT) == pytest.approx(expected.bic(X, WEIGHT), rel=1e-12)
    mine, other = fastem.e_step(source, model, WEIGHT), fastem.e_step(X, expected, WEIGHT)
    np.testing.assert_array_equal(mine.sums()["statistics"][1], other.sums()["statistics"][1])


@pytest.mark.usefixtures("_slabs")
@pytest.mark.parametrize("start", STARTS)
def test_any_start_from_chunks(start):
    options = OPTIONS | {"init": STARTS[start](Poisson()), "max_iter": 2, "tol": 0}
    weighted = list(zip(np.split(X, CUTS), np.split(WEIGHT, CUTS), strict=True))
    assert bits(fastem.fit(weighted, 3, **options)) == bits(fastem.fit(X, 3, sample_weight=WEIGHT, **options))


def test_columns_of_parquet_and_one_of_weights(tmp_path):
    path = parquet(tmp_path, X, w=WEIGHT)
    options = OPTIONS | {"max_iter": 3, "tol": 0}
    model = fastem.fit(path, 2, columns=["b"], sample_weight="w", **options)
    assert bits(model) == bits(fastem.fit(X[:, 1:], 2, sample_weight=WEIGHT, **options))
    assert model.feature_names == ("b",)
    assert fastem.fit(path, 2, sample_weight="w", **options).feature_names == ("a", "b")


def test_float32_is_computed_in_float64():
    seen = set()

    def log_density(self, X, parameters):
        seen.add(X.dtype)
        return Poisson.log_density(self, X, parameters)

    distribution = broken("log_density", log_density)
    options = {"distribution": distribution, "init": start_of(distribution), "max_iter": 5, "tol": 0}
    single, double = (fastem.fit(X.astype(dtype), 3, **options) for dtype in (np.float32, np.float64))
    assert bits(single) == bits(double)
    assert seen == {np.dtype(np.float64)}
    rows = X.astype(np.float32)
    for method in ("score_samples", "predict_proba"):
        scores = getattr(single, method)(rows)
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, getattr(single, method)(X).astype(np.float32))
    assert single.score(rows) == single.score(X)
    merged = fastem.e_step(rows[:9], single) + fastem.e_step(X[9:], single)
    assert merged.n_samples == len(X)


COLLECTIONS = {
    "array": lambda: (da.from_array(X, chunks=(BLOCKS, 2)), da.from_array(WEIGHT, chunks=(BLOCKS,))),
    "array with weights in memory": lambda: (da.from_array(X, chunks=(BLOCKS, 2)), WEIGHT),
    "dataframe": lambda: (
        dd.from_pandas(pd.DataFrame(np.column_stack([X, WEIGHT]), columns=[*NAMES, "w"]), npartitions=3),
        "w",
    ),
}


@pytest.mark.parametrize("start", ["k-means++", "random", "labels", "model"])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_blocks_of_dask_give_the_parameters_of_the_array(name, start):
    rows, weight = COLLECTIONS[name]()
    options = OPTIONS | {"init": STARTS[start](Poisson()), "max_iter": 5, "tol": 0}
    with dask.config.set(scheduler="threads"):
        model = fastem.fit(rows, 3, sample_weight=weight, **options)
        expected = fastem.fit(X, 3, sample_weight=WEIGHT, **options)
        assert_equal(model, expected)
        if name != "dataframe":
            np.testing.assert_array_equal(model.predict(rows).compute(), model.predict(X))
        statistics = fastem.e_step(rows, start_of(Poisson()), weight)
    np.testing.assert_allclose(
        statistics.sums()["statistics"][1],
        fastem.e_step(X, start_of(Poisson()), WEIGHT).sums()["statistics"][1],
        rtol=1e-12,
    )


def test_rows_of_weight_zero_are_as_if_absent():
    kept = WEIGHT > 0
    options = {"distribution": Poisson(), "init": start_of(Poisson()), "max_iter": 5, "tol": 0}
    model = fastem.fit(X, 3, sample_weight=WEIGHT, **options)
    assert_equal(model, fastem.fit(X[kept], 3, sample_weight=WEIGHT[kept], **options), 1e-12)
    assert_equal(model, fastem.fit(np.repeat(X, WEIGHT.astype(int), axis=0), 3, **options), 1e-11)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(n_threads):
    options = OPTIONS | {"max_iter": 3, "tol": 0}
    assert bits(fastem.fit(X, 3, n_threads=n_threads, **options)) == bits(fastem.fit(X, 3, **options))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("use", ["predict", "predict_proba", "score_samples", "score", "e_step", "fit"])
def test_the_more_components_the_fewer_rows_at_once(use, dtype, monkeypatch):
    """A method makes an array of a number for each row and component."""
    sizes = []

    def log_density(self, X, parameters):
        sizes.append(len(X))
        return Poisson.log_density(self, X, parameters)

    distribution = broken("log_density", log_density)
    model = fastem.Mixture(np.full(18, 1 / 18), {"rates": np.tile(RATES, (6, 1))}, distribution, n_features=2)
    rows = X.astype(dtype)
    options = {"distribution": distribution, "init": model, "max_iter": 1, "tol": 0}
    uses = {"e_step": lambda: fastem.e_step(rows, model), "fit": lambda: fastem.fit(rows, 18, **options)}
    monkeypatch.setattr(fastem._sources.passes, "_SLAB_BYTES", 1 << 15)  # in place of 16 MB
    uses.get(use, lambda: getattr(model, use)(rows))()
    assert sum(sizes) >= len(X)
    assert max(sizes) == TILE_BYTES // rows.itemsize


# --- how a fit goes


def test_restarts_keep_the_best():
    options = OPTIONS | {"init": "random_from_data", "max_iter": 5, "tol": 0}
    ends = {}

    def callback(iteration, log_likelihood, model):
        if iteration == 5:
            ends[log_likelihood] = model

    best = fastem.fit(X, 3, n_init=6, callback=callback, **options)
    assert len(ends) > 1
    assert best.report.log_likelihood == max(ends)
    np.testing.assert_array_equal(best.parameters["rates"], ends[max(ends)].parameters["rates"])


def test_a_callback_sees_every_iteration_and_stops():
    seen = []

    def callback(iteration, log_likelihood, model):
        seen.append((iteration, log_likelihood))
        assert type(model) is fastem.Mixture
        assert model.score(X) * len(X) == pytest.approx(log_likelihood, rel=1e-12)
        return iteration == 3

    model = fastem.fit(X, 3, n_init=3, callback=callback, **OPTIONS | {"tol": 0})
    assert [iteration for iteration, _ in seen] == [0, 1, 2, 3]
    assert model.report.status is FitStatus.STOPPED
    assert model.report.history == tuple(value for _, value in seen)


def test_a_rule_of_convergence_of_ones_own():
    seen = []

    def tol(means):
        seen.append(list(means))
        return len(means) == 4

    model = fastem.fit(X, 3, **OPTIONS | {"tol": tol})
    assert model.report.converged
    assert model.report.n_iter == 3
    np.testing.assert_allclose(seen[-1], np.array(model.report.history) / len(X), rtol=1e-12)


def test_the_end_of_a_fit_is_told():
    with pytest.warns(FitWarning, match="MAX_ITER: max_iter was reached") as caught:
        model = fastem.fit(X, 3, **OPTIONS | {"tol": 1e-12, "max_iter": 1})
    assert caught[0].message.cause is WarningCause.MAX_ITER
    assert model.report.status is FitStatus.MAX_ITER
    assert fastem.fit(X, 3, max_iter=0, **OPTIONS).report.status is FitStatus.INITIAL
    done = fastem.fit(X, 3, progress=True, **OPTIONS)
    assert done.report.status is FitStatus.CONVERGED
    assert (np.diff(done.report.history) > 0).all()
    assert done.report.elapsed > 0
    assert done.report.repairs == ()


# --- components without rows


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
def test_fewer_distinct_rows_than_components(init):
    rows = np.repeat([[1.0, 2.0], [9.0, 0.0]], 50, axis=0)
    model = fastem.fit(rows, 4, distribution=Poisson(), init=init, rng=0)
    assert model.report.converged
    assert model.weights.sum() == pytest.approx(1)
    assert (model.weights == 0).sum() >= 2
    kept = {repair.component for repair in model.report.repairs}
    assert kept == set(np.flatnonzero(model.weights == 0))
    assert {repair.what for repair in model.report.repairs} == {KEPT}
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1)


def test_a_component_that_loses_its_rows_keeps_its_parameters():
    rates = np.vstack([RATES, [[1e4, 1e4]]])
    start = fastem.Mixture([0.5, 0.2, 0.2, 0.1], {"rates": rates}, Poisson(), n_features=2)
    model = fastem.fit(X, 4, distribution=Poisson(), init=start, tol=0, max_iter=3)
    np.testing.assert_array_equal(model.parameters["rates"][3], rates[3])
    assert model.weights[3] == 0
    assert model.report.repairs == ((1, 3, KEPT),)
    assert (np.diff(model.report.history) > -1e-9).all()


def test_labels_whose_rows_have_no_weight():
    weight = (LABELS != 1).astype(float)
    model = fastem.fit(X, 3, init=LABELS, sample_weight=weight, distribution=Poisson(), max_iter=0)
    np.testing.assert_array_equal(model.parameters["rates"][1], model.parameters["rates"][0])
    assert model.report.repairs == ((0, 1, KEPT),)


def sums_of(statistics):
    sums = statistics.sums()
    return [statistics.weights, np.array(statistics.log_likelihood), *sums["statistics"]]


def test_statistics_of_chunks_add_up_to_those_of_the_whole():
    chunks = zip(np.split(X, [0, 1, 1000]), np.split(WEIGHT, [0, 1, 1000]))
    parts = [fastem.e_step(chunk, MIXTURE, weight) for chunk, weight in chunks if weight.any()]
    whole = fastem.e_step(X, MIXTURE, WEIGHT)
    for part, expected in zip(sums_of(sum(parts)), sums_of(whole), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert sum(parts).n_samples == whole.n_samples == np.count_nonzero(WEIGHT)
    r = MIXTURE.predict_proba(X) * WEIGHT[:, None]
    for part, expected in zip(sums_of(whole)[2:], (r.sum(axis=0), r.T @ X), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert whole.log_likelihood == pytest.approx(WEIGHT @ MIXTURE.score_samples(X), rel=1e-12)
    assert repr(whole).startswith("Statistics(distribution=Poisson(), n_samples=")


def test_an_e_step_and_an_m_step_are_an_iteration():
    step = fastem.m_step(fastem.e_step(X, MIXTURE, WEIGHT))
    model = fastem.fit(X, 3, sample_weight=WEIGHT, init=MIXTURE, max_iter=1, tol=0, distribution=Poisson())
    np.testing.assert_array_equal(step.weights, model.weights)
    np.testing.assert_array_equal(step.parameters["rates"], model.parameters["rates"])
    assert step.report is None
    with pytest.raises(ValueError, match=r"reg_covar must be left out for distribution=Poisson\(\)"):
        fastem.m_step(fastem.e_step(X, MIXTURE), reg_covar=0)


CLONES = {
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
    "deepcopy": copy.deepcopy,
    "bytes": lambda s: fastem.Statistics.from_bytes(s.to_bytes(), distribution=Poisson()),
}


@pytest.mark.parametrize("name", CLONES)
def test_statistics_survive_copying(name):
    one, other = (fastem.e_step(rows, MIXTURE) for rows in np.split(X, [1000]))
    twin = CLONES[name](one)
    for mine, expected in zip(sums_of(twin), sums_of(one), strict=True):
        np.testing.assert_array_equal(mine, expected)
    expected = fastem.m_step(one + other)
    for both in (twin + other, other + twin):
        np.testing.assert_array_equal(fastem.m_step(both).parameters["rates"], expected.parameters["rates"])
    parameters = fastem.m_step(twin).parameters
    np.testing.assert_array_equal(parameters["rates"], fastem.m_step(one).parameters["rates"])


def test_the_order_of_the_parameters_does_not_matter():
    """A file or a dict may have them in another one."""
    values = {"means": RATES, "variances": RATES + 1}
    one, other = (
        fastem.e_step(
            X, fastem.Mixture(MIXTURE.weights, {n: values[n] for n in names}, Normal(), n_features=2)
        )
        for names in (["means", "variances"], ["variances", "means"])
    )
    assert (one + other).n_samples == 2 * len(X)


def test_statistics_of_other_parameters_do_not_add():
    other = fastem.Mixture(MIXTURE.weights, {"rates": RATES + 1}, Poisson(), n_features=2)
    with pytest.raises(ValueError, match="with the same parameters in the same dtype"):
        fastem.e_step(X, MIXTURE) + fastem.e_step(X, other)


def test_bytes_that_do_not_fit():
    content = fastem.e_step(X, MIXTURE).to_bytes()
    read = fastem.Statistics.from_bytes
    with pytest.raises(ValueError, match=r"it has the distribution Poisson\(\)\. Pass it as dist"):
        read(content)
    with pytest.raises(ValueError, match=r"it is of Poisson\(\), and distribution is Normal"):
        read(content, distribution=Normal())
    with pytest.raises(TypeError, match=r"distribution must be an instance; got the class Poisson\. Pass Po"):
        read(content, distribution=Poisson)
    with pytest.raises(ValueError, match="not readable fastem statistics"):
        read(content[:-40], distribution=Poisson())


@pytest.mark.parametrize(
    "change",
    [
        {"about": np.ones(2)},
        {"about": np.ones((3, 1))},
        {"weights": np.ones(2)},
        {"weights": np.ones((3, 1))},
        {"parameter rates": RATES[:2]},
        {"parameter rates": np.float64(1)},
        {"statistic 0": np.full(3, np.nan)},
        {"statistic 1": np.full((3, 2), 1, np.int64)},
    ],
)
def test_bytes_that_hold_no_sums(change):
    header, arrays = _io.statistics_from_bytes(fastem.e_step(X, MIXTURE).to_bytes())
    del header["statistics_format"]
    content = _io.statistics_to_bytes(header, arrays | change)
    with pytest.raises(ValueError, match="not readable fastem statistics"):
        fastem.Statistics.from_bytes(content, distribution=Poisson())


def test_a_file(tmp_path):
    model = fastem.fit(pd.DataFrame(X, columns=["a", "b"]), 3, **OPTIONS)
    model.save(tmp_path / "model.npz")
    again = fastem.load(tmp_path / "model.npz", distribution=Poisson())
    assert repr(again) == repr(model)
    assert again.report == model.report
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    with pytest.raises(ValueError, match=r"it has the distribution Poisson\(\)\. Pass it as dist"):
        fastem.load(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"it is of Poisson\(\), and distribution is Normal"):
        fastem.load(tmp_path / "model.npz", distribution=Normal())
    with pytest.raises(ValueError, match=r"it is of Poisson\(\), and distribution is poisson"):
        fastem.load(tmp_path / "model.npz", distribution="poisson")
    with pytest.raises(TypeError, match=r"distribution must be an instance; got the class Poisson\. Pass Po"):
        fastem.load(tmp_path / "model.npz", distribution=Poisson)
