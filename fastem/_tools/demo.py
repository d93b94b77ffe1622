"""``python -m fastem demo``, and the description of a model in words."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem._api.fit import fit
from fastem._api.gaussian import GaussianMixture
from fastem._kernels._threads import threads_allowed
from fastem._report import FitReport
from fastem.datasets import old_faithful

_FEATURES = 8
_COMPONENTS = 16
_PASSES = 10


def describe(model: GaussianMixture) -> str:
    """Describe the parameters and the report of a fitted model in a few lines."""
    report = _report(model)
    names = "" if model.feature_names is None else f"features\n{', '.join(model.feature_names)}\n"
    with np.printoptions(precision=4, suppress=True, linewidth=100, threshold=200):
        return (
            f"{model.n_components} components, {model.covariance_type} covariance, "
            f"{model.n_parameters} parameters\n{names}"
            f"weights\n{model.weights}\nmeans\n{model.means}\ncovariances\n{model.covariances}\n"
            f"log-likelihood {report.log_likelihood:.4f}\n"
            f"iterations     {report.n_iter}\n"
            f"status         {report.status.name}: {report.status.value}"
        )


def run_demo(n: int) -> None:
    """Fit Old Faithful and then n points from a mixture, and print the time of compilation separately."""
    print("Old Faithful: 272 eruptions, duration and waiting time in minutes (Azzalini and Bowman, 1990)\n")
    first = _seconds(lambda: fit(old_faithful(), 2, n_init=5, tol=1e-8, rng=0))
    model = fit(old_faithful(), 2, n_init=5, tol=1e-8, rng=0)
    work = _report(model).elapsed
    print(describe(model))
    print(
        f"time           {1e3 * work:.1f} ms, after {first - work:.2f} s of compiling or loading the kernels"
    )

    k = _COMPONENTS
    threads = threads_allowed()
    print(f"\n{n:,} points in {_FEATURES} dimensions, {k} components, float64, {threads} thread(s)\n")
    truth = _mixture(np.random.default_rng(0))
    X, _ = truth.sample(n, rng=0)
    first = _seconds(lambda: truth.score(X))
    scoring = _seconds(lambda: truth.score(X))
    first_fit = _seconds(lambda: fit(X, k, rng=0))
    report = _report(fit(X, k, rng=0))
    per_pass = (
        _seconds(lambda: fit(X, k, init=truth, tol=0, max_iter=_PASSES - 1, acceleration=None)) / _PASSES
    )
    print(
        f"fit       {report.elapsed:8.3f} s  {report.n_iter} iterations: {report.status.name}; "
        f"after {first_fit - report.elapsed:.2f} s of compiling or loading the kernels"
    )
    print(f"one pass  {per_pass:8.3f} s  {1e9 * per_pass / n / k:.2f} ns a point and component")
    print(f"scoring   {scoring:8.3f} s  after {first - scoring:.2f} s of compiling or loading the kernels")
    print(f"mean log-likelihood {report.log_likelihood / n:.4f}; the true mixture has {truth.score(X):.4f}")


def _mixture(rng: np.random.Generator) -> GaussianMixture:
    k, d = _COMPONENTS, _FEATURES
    factors = rng.normal(size=(k, d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    covariances = factors @ factors.transpose(0, 2, 1) + 0.01 * np.eye(d)
    return GaussianMixture(np.full(k, 1 / k), 3 * rng.normal(size=(k, d)), covariances)


def _seconds(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _report(model: GaussianMixture) -> FitReport:
    assert model.report is not None
    return model.report
