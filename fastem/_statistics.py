"""The mergeable result of an E-step."""

from dataclasses import dataclass, replace

import numpy as np

from fastem._families import Collected, KernelParams
from fastem._frame import Frame
from fastem._typing import CovarianceType, FloatArray


@dataclass(frozen=True, eq=False)
class Statistics:
    """Expected sufficient statistics of the latent labels; made by `fastem.e_step`.

    The statistics of two sets of rows add up (``+``) to those of all their rows, as long as both were
    taken about the same parameters: so chunks, threads and machines merge exactly. Everything is in
    the standard coordinates of the model they were taken about; `fastem.m_step` gives a model back in
    user units.

    Attributes
    ----------
    covariance_type : str
    n_samples : int
        Rows of positive weight.
    weights : array of shape (k,)
        Sum of the (weighted) responsibilities of each component.
    first : array of shape (k, d)
        Sum of r (x - mean), about the means of the model.
    scatter : array of shape (k, d, d) full, (1, d, d) tied, (k, d) diag, (k,) spherical
        Sum of r (x - mean)(x - mean)'.
    log_likelihood : float
        Total (weighted) log-likelihood of the rows under the model.
    """

    covariance_type: CovarianceType
    n_samples: int
    weights: FloatArray
    first: FloatArray
    scatter: FloatArray
    log_likelihood: float
    _params: KernelParams
    _frame: Frame
    _means: FloatArray
    _feature_names: tuple[str, ...] | None = None

    @property
    def total_weight(self) -> float:
        """Sum of the weights of all rows."""
        return float(self.weights.sum())

    @property
    def precision(self) -> float:
        """Spacing of numbers at 1 in the dtype of the rows."""
        return float(np.finfo(self._params.means.dtype).eps)

    def __add__(self, other: object) -> "Statistics":
        if not isinstance(other, Statistics):
            return NotImplemented
        if not _same(self._params, other._params):
            raise ValueError(
                "Statistics can be added only if they were taken about the same parameters, in the same "
                "dtype; these were not. Take both with e_step(chunk, model) of one model."
            )
        return replace(
            self,
            n_samples=self.n_samples + other.n_samples,
            weights=self.weights + other.weights,
            first=self.first + other.first,
            scatter=self.scatter + other.scatter,
            log_likelihood=self.log_likelihood + other.log_likelihood,
        )

    def __radd__(self, other: object) -> "Statistics":
        """0 + statistics, so that `sum` works."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        k, d = self.first.shape
        return (
            f"Statistics(covariance_type={self.covariance_type!r}, n_samples={self.n_samples}, "
            f"n_components={k}, n_features={d}, log_likelihood={self.log_likelihood:.6g})"
        )

    @property
    def _collected(self) -> Collected:
        return Collected(self._means, self.weights, self.first, self.scatter)


def statistics_of(
    covariance_type: CovarianceType,
    n_samples: int,
    collected: Collected,
    log_likelihood: float,
    params: KernelParams,
    frame: Frame,
) -> Statistics:
    return Statistics(
        covariance_type,
        n_samples,
        collected.weights,
        collected.first,
        collected.scatter,
        log_likelihood,
        params,
        frame,
        collected.means,
    )


def _same(one: KernelParams, other: KernelParams) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )
