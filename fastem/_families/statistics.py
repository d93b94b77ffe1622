"""The mergeable result of an E-step."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from fastem import _io
from fastem._checks import check_feature_names
from fastem._families.frame import Frame
from fastem._families.gaussian import FAMILIES, Collected, KernelParams
from fastem._typing import CovarianceType, FloatArray

_SUMS = ("weights", "first", "scatter")


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
    _dtype: np.dtype[Any]  # of the rows, as the kernels saw them
    _origin: str  # digest of the parameters
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
        return float(np.finfo(self._dtype).eps)

    def __add__(self, other: object) -> "Statistics":
        if not isinstance(other, Statistics):
            return NotImplemented
        if (self._origin, self._dtype) != (other._origin, other._dtype):
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

    def to_bytes(self) -> bytes:
        """The statistics for the wire or a file, without pickles; `from_bytes` reads them.

        They know which parameters they were taken about, but do not hold them: their size is about that
        of `scatter`.
        """
        header = {
            "covariance_type": self.covariance_type,
            "n_samples": self.n_samples,
            "log_likelihood": self.log_likelihood.hex(),
            "dtype": self._dtype.name,
            "origin": self._origin,
            "feature_names": self._feature_names,
        }
        arrays = {"shift": self._frame.shift, "scale": self._frame.scale, "means": self._means}
        arrays |= {name: getattr(self, name) for name in _SUMS}
        return _io.statistics_to_bytes(header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Statistics":
        """What `to_bytes` wrote. Nothing in it is executed.

        Raises
        ------
        ValueError
            If it is something else, is damaged, or is of a newer format.
        """
        try:
            header, arrays = _io.statistics_from_bytes(content)
            return _from_archive(header, arrays)
        except Exception as error:  # whatever damaged or hostile content makes its readers raise
            raise ValueError(f"content is not readable fastem statistics: {error}.") from None

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
        params.means.dtype,
        _digest(covariance_type, params),
        frame,
        collected.means,
    )


def _digest(covariance_type: CovarianceType, params: KernelParams) -> str:
    digest = sha256(f"{covariance_type} {params.means.shape}".encode())
    for array in params:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _from_archive(header: dict[str, Any], arrays: dict[str, Any]) -> Statistics:
    """Statistics whose arrays have the shapes and values that statistics have."""
    family = FAMILIES[header["covariance_type"]]
    k, d = arrays["means"].shape
    names = check_feature_names(header["feature_names"], d)
    shapes = {
        "means": (k, d),
        "weights": (k,),
        "first": (k, d),
        "scatter": family.shape(k, d),
        "shift": (d,),
        "scale": (d,),
    }
    for name, shape in shapes.items():
        array = arrays[name]
        proper = array.size and array.shape == shape and array.dtype == np.float64
        if not (proper and np.isfinite(array).all()):
            raise ValueError(f"{name} is no finite float64 array of shape {shape}")
    if not ((arrays["weights"] >= 0).all() and arrays["weights"].sum() > 0 and (arrays["scale"] > 0).all()):
        raise ValueError("its weights or scales are not positive")
    log_likelihood = float.fromhex(header["log_likelihood"])
    if (
        header["dtype"] not in ("float32", "float64")
        or int(header["n_samples"]) < 1
        or not np.isfinite(log_likelihood)
    ):
        raise ValueError("its header has other values than statistics have")
    return Statistics(
        family.name,
        int(header["n_samples"]),
        arrays["weights"],
        arrays["first"],
        arrays["scatter"],
        log_likelihood,
        np.dtype(header["dtype"]),
        str(header["origin"]),
        Frame(arrays["shift"], arrays["scale"]),
        arrays["means"],
        names,
    )
