"""``python -m fastem warmup``: compile kernels before they are needed, for the image of a container."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastem._api.fit import fit
from fastem._api.kmeans import kmeans
from fastem._kernels._target import describe_target
from fastem._report import collected_warnings
from fastem._typing import Array

# Few rows start from ascents that one kernel makes. Many have passes in several threads.
_FEW, _MANY = 500, 200_000
_FEATURES = 2


def run_warmup(
    distributions: Sequence[str], covariance_types: Sequence[str], dtypes: Sequence[str], with_kmeans: bool
) -> None:
    """Fit and score small data once for each kind of kernels, and print how long each took."""
    for dtype in dtypes:
        for distribution in distributions:
            for covariance_type in covariance_types if distribution in ("gaussian", "student") else [None]:
                words = " ".join(filter(None, (distribution, covariance_type, dtype)))
                _timed(words, partial(_fit, distribution, covariance_type, dtype))
        if with_kmeans:
            _timed(f"k-means {dtype}", partial(_cluster, dtype))
    print(f"kernels in {describe_target()['cache folder']}")


def _timed(words: str, work: Callable[[], None]) -> None:
    began = time.perf_counter()
    with collected_warnings():
        work()
    print(f"{words:<28} {time.perf_counter() - began:7.2f} s", flush=True)


def _fit(distribution: str, covariance_type: str | None, dtype: str) -> None:
    for n in (_FEW, _MANY):
        X = _rows(distribution, n, dtype)
        options: dict[str, Any] = {} if covariance_type is None else {"covariance_type": covariance_type}
        model = fit(X, 2, distribution=distribution, max_iter=2, rng=0, **options)
        model.predict(X)
        model.predict_proba(X)
        model.score_samples(X)


def _cluster(dtype: str) -> None:
    for n in (_FEW, _MANY):
        kmeans(_rows("gaussian", n, dtype), 2, max_iter=2, rng=0)


def _rows(distribution: str, n: int, dtype: str) -> Array:
    """Return rows that every built-in distribution can have: counts, where it needs them."""
    rng = np.random.default_rng(0)
    if distribution in ("gaussian", "student"):
        X = rng.normal(size=(n, _FEATURES))
        X[: n // 2] += 5
    elif distribution in ("bernoulli", "categorical"):
        X = rng.integers(0, 2, (n, _FEATURES)).astype(np.float64)
    else:
        X = rng.integers(1, 5, (n, _FEATURES)).astype(np.float64)
    return X.astype(dtype)
