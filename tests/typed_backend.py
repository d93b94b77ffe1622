"""A library that has a mixture inside, as its author would write it. Pytest runs it, and mypy checks it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import fastem

Floats = npt.NDArray[np.float64]
Fitted = fastem.GaussianMixture[fastem.FitReport]


@dataclass
class Segments:
    """Rows in segments, and a model that can be stored."""

    model: fastem.GaussianMixture
    labels: npt.NDArray[np.int64]
    iterations: int


def train(X: Floats, k: int, seed: int | np.random.Generator) -> Fitted:
    return fastem.fit(X, k, covariance_type="diag", init="k-means++", reg_covar=1e-6, rng=seed)


def segment(X: Floats, k: int) -> Segments:
    model = train(X, k, np.random.default_rng(0))
    return Segments(model, model.predict(X), model.report.n_iter)


def anomalies(model: fastem.Mixture, X: Floats, share: float) -> npt.NDArray[np.bool_]:
    densities = model.score_samples(X)
    return densities < np.quantile(densities, share)


def started_from(model: fastem.GaussianMixture, X: Floats) -> Fitted:
    history: list[float] = []

    def keep(iteration: int, log_likelihood: float, model: fastem.GaussianMixture) -> None:
        history.append(log_likelihood)

    init = {"means": model.means, "weights": np.array([0.5, 0.5])}
    fitted = fastem.fit(X, 2, init=init, labels=np.full(len(X), -1), callback=keep, tol=1e-3)
    assert fitted.report.history == tuple(history)
    return fastem.fit(X, 2, init=fitted, sample_weight=np.ones(len(X)))


def em(X: Floats, model: fastem.GaussianMixture) -> fastem.GaussianMixture:
    """EM by hand, in parts."""
    for _ in range(2):
        first, second = (fastem.e_step(part, model) for part in np.array_split(X, 2))
        total = first + second
        assert_type(total, fastem.Statistics[fastem.GaussianMixture])
        model = fastem.m_step(total)
    return model


def stream(chunks: Iterator[Floats]) -> Fitted | None:
    model: Fitted | None = None
    for chunk in chunks:
        model = fastem.partial_fit(model, chunk, k=2, rng=0)
    return model if model is None else fastem.partial_fit(model, np.zeros((9, 2)), step=0.01)


def stored(model: fastem.GaussianMixture, path: Path) -> fastem.GaussianMixture:
    model.save(path)
    loaded: fastem.GaussianMixture = fastem.load(path)
    return loaded


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    X: Floats = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(6, 1, (200, 2))])
    single = X.astype(np.float32)

    def parts() -> Iterator[Floats]:
        yield from (X[:200], X[200:])

    model = train(X, 2, 0)
    assert_type(model, fastem.GaussianMixture[fastem.FitReport])
    assert_type(model.report.status, fastem.FitStatus)
    assert_type(model.predict(X), npt.NDArray[np.int64])
    assert_type(model.predict_proba(X), npt.NDArray[np.float64])
    assert_type(model.score_samples(single), npt.NDArray[np.float32])
    assert_type(model.component_log_densities(single), npt.NDArray[np.float64])
    assert_type(model.score_samples([[0.0, 1.0], [2.0, 3.0]]), npt.NDArray[np.float64])
    assert_type(model.predict(parts), Iterator[npt.NDArray[np.int64]])
    assert_type(model.predict_proba([X, X]), Iterator[npt.NDArray[Any]])
    assert sum(len(labels) for labels in model.predict(parts)) == len(X)

    assert_type(model.regress(X[:, :1], [0], [1]), npt.NDArray[Any])
    assert_type(model.regress(X[:, :1], 0, return_cov=True), tuple[npt.NDArray[Any], npt.NDArray[Any]])
    assert_type(model.condition({0: 1.0}).marginal([0]).report, None)
    assert_type(model.merge(model.merge_order(X).groups(1)), fastem.GaussianMixture[None])

    other = fastem.fit(np.floor(np.abs(X)), 2, distribution="poisson", rng=0, max_iter=5, tol=0)
    assert_type(other, fastem.Mixture[fastem.FitReport])
    assert_type(other.report.log_likelihood, float)

    selection = fastem.select(X, range(1, 3), covariance_type=["diag", "spherical"], rng=0)
    assert_type(selection.best, fastem.GaussianMixture[fastem.FitReport])
    assert selection.best.report.converged

    clusters = fastem.kmeans(X, 2, init=model.means, rng=0)
    assert_type(clusters.report, fastem.KMeansReport)
    assert_type(clusters.labels, npt.NDArray[np.int64])
    assert_type(clusters.inertia, float)
    assert_type(fastem.kmeans(parts, 2, rng=0).labels, None)
    assert_type(fastem.KMeans(X[:2]).inertia, float | None)
    if X.size == 0:
        assert_type(fastem.kmeans("rows.parquet", 2).labels, npt.NDArray[np.int64] | None)
    assert_type(clusters.transform(single), npt.NDArray[np.float32])
    assert fastem.silhouette_score(X, clusters.labels) > 0.5

    assert (segment(X, 2).labels == model.predict(X)).mean() in (0, 1)
    assert anomalies(model, X, 0.01).sum() == 5
    assert started_from(model, X).report.converged
    assert em(X, stored(model, folder / "model.npz")).report is None
    streamed = stream(parts())
    assert streamed is not None
    assert streamed.report.n_iter == 3
    summed = sum(fastem.e_step(part, model) for part in np.array_split(X, 3))
    assert_type(fastem.m_step(summed), fastem.GaussianMixture[fastem.FitReport | None])
    assert_type(fastem.fit(X, 2, noise_component=True), fastem.Mixture[fastem.FitReport])
    assert_type(fastem.adapt(fastem.fit(X, 2), X), fastem.GaussianMixture[fastem.FitReport | None])
    assert patient(X).n_components == 2


def patient(X: npt.NDArray[np.float64]) -> fastem.GaussianMixture:
    """Go on from what an interrupted fit has kept."""
    model: fastem.GaussianMixture
    try:
        model = fastem.fit(X, 2, rng=0)
    except fastem.FitInterrupted as error:
        model = error.model
        model = fastem.fit(X, 2, init=error.model)
    return model
