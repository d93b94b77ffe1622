# ruff: noqa: B018
"""Mistakes that mypy must find. They are on the lines that say so. Nobody runs this."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import fastem

X: npt.NDArray[np.float64] = np.zeros((9, 2))
model = fastem.fit(X, 2)
known = fastem.GaussianMixture([1.0], [[0.0]], [1.0], "spherical")
clusters = fastem.kmeans(X, 2)


def mistaken_callback(iteration: int) -> None: ...


def labels_of(chunks: Callable[[], Iterator[npt.NDArray[np.float64]]]) -> npt.NDArray[np.int64]:
    return model.predict(chunks)  # mistake


def report_of(some: fastem.Mixture) -> fastem.FitReport:
    return some.report  # mistake


fastem.fit(X, 2, random_state=0)  # mistake
fastem.fit(X)  # mistake
fastem.fit(X, 2, init="k-mean")  # mistake
fastem.fit(X, 2, init=3)  # mistake
fastem.fit(X, 2, rng="0")  # mistake
fastem.fit(X, 2, callback=mistaken_callback)  # mistake
fastem.fit(X, 2, covariance_type="ful")  # mistake
fastem.fit(3, 2)  # mistake
fastem.fit({"a": [1.0]}, 2)  # mistake
fastem.fit(X, 2, distribution="poisson").means  # mistake
fastem.select(X, 3, init=model)  # mistake
fastem.partial_fit(None, X)  # mistake
fastem.partial_fit(model, X, random_state=0)  # mistake
fastem.kmeans(X, 2, n_clusters=2)  # mistake
fastem.kmeans(X, "2")  # mistake
fastem.GaussianMixture(3)  # mistake
fastem.Mixture([1.0], [[1.0]], "poisson")  # mistake
fastem.m_step(X)  # mistake
model.fit(X)  # mistake
model.means_  # mistake
model.predict(3)  # mistake
model.predict(X).means  # mistake
model.score_samples(X, n_jobs=2)  # mistake
known.report.n_iter  # mistake
model.condition([1.0])  # mistake
model.merge([0, 1])  # mistake
model.regress(X)  # mistake
clusters.cluster_centers_  # mistake
clusters.transform(None)  # mistake
anything: Any = X
fine: npt.NDArray[np.int64] = model.predict(anything)
