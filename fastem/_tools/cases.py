"""The cases that ``python -m fastem bench`` measures, their data, and the start that all libraries use."""

from typing import Literal, NamedTuple

import numpy as np

from fastem._api.gaussian import GaussianMixture
from fastem._typing import Array, CovarianceType, FloatArray

Operation = Literal["pass", "score_samples", "predict", "predict_proba"]
Data = Literal["clusters", "overlap"]


class Case(NamedTuple):
    """One row of the table: a pass (an E-step and an M-step) or a scoring method, and its problem."""

    covariance_type: CovarianceType
    d: int
    k: int
    n: int
    dtype: Literal["float64", "float32"] = "float64"
    data: Data = "clusters"
    operation: Operation = "pass"

    @property
    def name(self) -> str:
        """The case in words. It names only what differs from a float64 pass over clusters."""
        usual = ("float64", "clusters", "pass")
        special = [value for value in self[4:] if value not in usual]
        return ", ".join([self.covariance_type, f"d={self.d}", f"K={self.k}", f"n={self.n:,}", *special])


CASES = (
    Case("full", 2, 3, 1_000_000),
    Case("full", 8, 16, 500_000),
    Case("full", 16, 16, 500_000),
    Case("full", 32, 32, 200_000),
    Case("full", 64, 16, 100_000),
    Case("full", 128, 16, 50_000),
    Case("full", 8, 16, 500_000, data="overlap"),
    Case("full", 16, 16, 500_000, data="overlap"),
    Case("full", 32, 32, 200_000, data="overlap"),
    Case("full", 64, 16, 100_000, data="overlap"),
    Case("full", 16, 16, 500_000, "float32"),
    Case("full", 32, 32, 200_000, "float32"),
    Case("diag", 16, 16, 500_000),
    Case("diag", 64, 32, 200_000),
    Case("tied", 16, 16, 500_000),
    Case("tied", 64, 16, 100_000),
    Case("spherical", 16, 16, 500_000),
    Case("full", 16, 16, 500_000, operation="score_samples"),
    Case("full", 16, 16, 500_000, operation="predict"),
    Case("full", 16, 16, 500_000, operation="predict_proba"),
)


def problem(case: Case) -> tuple[Array, GaussianMixture]:
    """Return rows of k random clusters of one shape, and the mixture to start or to score with.

    In "clusters", the centres are far apart. The start has k rows as means and one wide variance. After a few
    passes most responsibilities are zero, which a library may use to save time. In "overlap" they never are:
    neighbouring centres lie 3 standard deviations apart, whatever d is, and the start is the true mixture.
    """
    rng = np.random.default_rng(0)
    k, d = case.k, case.d
    factor = rng.normal(size=(d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
    centres = rng.normal(size=(k, d))
    centres = 4 * centres if case.data == "clusters" else 3 / np.sqrt(2 * d) * centres @ factor
    X = centres[rng.integers(k, size=case.n)] + rng.normal(size=(case.n, d)) @ factor
    means, covariance = (X[:k], 16 * np.eye(d)) if case.data == "clusters" else (centres, factor.T @ factor)
    covariances = _of_type(covariance, case.covariance_type, k)
    return X.astype(case.dtype), GaussianMixture(np.full(k, 1 / k), means, covariances, case.covariance_type)


def _of_type(covariance: FloatArray, covariance_type: CovarianceType, k: int) -> FloatArray:
    """Return one matrix as the covariances of a type, for k components."""
    variances = np.diagonal(covariance)
    kept: dict[str, FloatArray] = {
        "full": np.tile(covariance, (k, 1, 1)),
        "tied": covariance,
        "diag": np.tile(variances, (k, 1)),
        "spherical": np.full(k, variances.mean()),
    }
    return kept[covariance_type]
