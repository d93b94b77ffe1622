"""The mergeable result of an E-step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any, Generic, TypeVar

import numpy as np

from fastem import _io
from fastem._checks import check_feature_names
from fastem._families.base import Family, check_sums
from fastem._families.frame import Frame
from fastem._families.once import computed_once
from fastem._families.registry import family_named, family_of
from fastem._typing import Array, FloatArray, read_only

_BEFORE = "before/"  # the parameters of the E-step in bytes, which older versions did not write

M = TypeVar("M")  # the class of the model that the statistics are for


@dataclass(frozen=True, eq=False, repr=False)
class Statistics(Generic[M]):
    """Expected sufficient statistics of the latent labels. `fastem.e_step` computes them.

    Add (``+``) the statistics of two sets of rows to get the statistics of all their rows. Both must come
    from E-steps with the same parameters. So statistics of chunks, threads and machines merge exactly.
    `fastem.m_step` computes a model from them.

    Attributes
    ----------
    n_samples : int
        Number of rows of positive weight.
    weights : array of shape (k,)
        Expected number of rows in each component: the sum of its (weighted) responsibilities. A component of
        noise comes last, (k + 1,).
    log_likelihood : float
        Total (weighted) log-likelihood of the rows under the model.
    n_components, n_features : int
        k and d.
    """

    # These fields are not public. `summed` has the sums of the family, in the coordinates of `frame`.
    family: Family[Any, Any]
    frame: Frame
    summed: Any
    n_samples: int
    log_likelihood: float
    dtype: np.dtype[Any]  # the dtype in which the pass computed
    origin: str  # digest of the parameters of the E-step
    feature_names: tuple[str, ...] | None = None
    rows_dtype: np.dtype[Any] | None = None  # the dtype of the rows, if it is not `dtype`
    before: Any = None  # the parameters of the E-step in user units, where they are known
    # Makes the same pass in float64, if it computed in float32 and the rows are at hand.
    again: Callable[[], "Statistics[M]"] | None = None

    @property
    def weights(self) -> FloatArray:
        return read_only(self.summed.weights)

    @property
    def n_components(self) -> int:
        return len(self.weights) - self.family.extra

    @property
    def n_features(self) -> int:
        return len(self.frame.scale)

    @computed_once
    def total_weight(self) -> float:
        """Sum of the weights of all rows."""
        return float(self.summed.weights.sum())

    @property
    def precision(self) -> float:
        """Spacing of numbers at 1 in the dtype of the pass."""
        return _spacing(self.dtype)

    @property
    def stored_precision(self) -> float:
        """Spacing of numbers at 1 in the dtype of the rows."""
        return _spacing(self.rows_dtype or self.dtype)

    def sums(self) -> dict[str, Any]:
        """Return the sums by name, in the units of X.

        Returns
        -------
        dict
            ``"weights"`` (k,), and the sums of the distribution over rows x with responsibilities r:

            - Gaussian: ``"means"`` (k, d) are the means of the model. ``"first"`` (k, d) is the sum of
              r (x - mean). ``"scatter"`` is the sum of r (x - mean)(x - mean)', in the shape of the
              covariances, but (1, d, d) for tied.
            - Gaussian with a component of noise: the same; the noise has a weight alone.
            - Student: the same with r u in place of r, where u is the expected precision of the row
              (`docs/explanation/algorithm.md`); also ``"scaled_weights"`` (k,), the sum of r u, and
              ``"logarithms"`` (k,), that of r log u.
            - Bernoulli, Poisson, exponential and gamma: ``"first"`` (k, d) is the sum of r x.
            - These and lognormal, if numbers may be missing: ``"observed"`` (k, d) is the sum of r over the
              rows that have the feature. The other sums are over these rows too, as are ``"counts"``.
            - Gamma and lognormal: ``"logarithms"`` (k, d) is the sum of r log x. Lognormal: ``"squares"``
              (k, d) is the sum of r (log x)^2.
            - Categorical: ``"counts"`` (k, d, C) is the sum of r over the rows of each category.
            - A `fastem.Distribution`: ``"statistics"`` is the tuple of its statistics.

        Notes
        -----
        Sums about the means keep their digits however far the rows are from zero. The Baum-Welch statistics
        about zero, as toolkits of speech have them, follow from ``s = statistics.sums()``, with
        ``n = s["weights"][:, None]`` and ``m = s["means"]``: the zeroth order is ``s["weights"]``, the first
        is ``s["first"] + n * m``, and the second, for diag, is
        ``s["scatter"] + m * (2 * s["first"] + n * m)``. For full, with ``f = s["first"]``, it is
        ``s["scatter"] + f[:, :, None] * m[:, None] + m[:, :, None] * (f + n * m)[:, None]``.
        """
        return self.family.user_sums(self.summed, self.frame)

    def __add__(self, other: object) -> "Statistics[M]":
        if not isinstance(other, Statistics):
            return NotImplemented
        if (self.origin, self.dtype) != (other.origin, other.dtype):
            raise ValueError(
                "Statistics can be added only if they come from E-steps with the same parameters in the same "
                "dtype; these do not. Compute both with e_step(chunk, model) and the same model."
            )
        return replace(
            self,
            summed=self.family.add(self.summed, other.summed),
            n_samples=self.n_samples + other.n_samples,
            log_likelihood=self.log_likelihood + other.log_likelihood,
            before=other.before if self.before is None else self.before,
        )

    def __radd__(self, other: object) -> "Statistics[M]":
        """Support 0 + statistics, so that `sum` works."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def to_bytes(self) -> bytes:
        """Convert the statistics to bytes, for a file or another process. `from_bytes` reads them.

        The bytes contain no pickles. They hold the parameters of the E-step, and a digest of them.
        """
        header = {
            "family": self.family.name,
            "n_samples": self.n_samples,
            "log_likelihood": self.log_likelihood.hex(),
            "dtype": self.dtype.name,
            "rows_dtype": (self.rows_dtype or self.dtype).name,
            "origin": self.origin,
            "feature_names": self.feature_names,
            "missing": self.family.missing,
        }
        arrays = self.frame._asdict() | self.family.to_arrays(self.summed)
        arrays |= _io.named(_io.STATE, self.family.state())
        if self.before is not None:
            known = {"weights": self.before.weights, **self.family.values(self.before)}
            arrays |= _io.named(_BEFORE, known)
        return _io.statistics_to_bytes(header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes, *, distribution: Any = None) -> "Statistics[Any]":
        """Read statistics that `to_bytes` wrote. Nothing in the bytes is executed.

        Parameters
        ----------
        content : bytes
        distribution : fastem.Distribution, optional
            Your own distribution, if the statistics have one. It must be given, since bytes do not hold code.

        Raises
        ------
        ValueError
            If `content` is something else, is damaged, has a newer format, or is of another distribution.
        """
        own = None if distribution is None else family_of(distribution)
        try:
            header, arrays = _io.statistics_from_bytes(content)
            return _from_archive(header, arrays, own)
        except Exception as error:  # damaged or hostile content may make its readers raise anything
            raise ValueError(f"content is not readable fastem statistics: {error}.") from None

    def __repr__(self) -> str:
        return (
            f"Statistics({self.family.label}, n_samples={self.n_samples}, "
            f"n_components={self.n_components}, n_features={self.n_features}, "
            f"log_likelihood={self.log_likelihood:.6g})"
        )


@cache
def _spacing(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps)


def digest(family: Family[Any, Any], packed: Any) -> str:
    """Return a digest that identifies the parameters of a pass."""
    found = sha256(family.name.encode())
    for name, array in [*_arrays(packed), *family.state().items()]:
        found.update(f"{name} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:32]


def _arrays(packed: Any) -> list[tuple[str, Array]]:
    """Return all arrays of a NamedTuple by name, also those in a dict or a tuple inside it."""
    if packed is None:
        return []
    named = packed._asdict() if hasattr(packed, "_asdict") else {str(i): v for i, v in enumerate(packed)}
    found = []
    for name, value in named.items():
        if isinstance(value, tuple):
            found += _arrays(value)
            continue
        entries = value if isinstance(value, Mapping) else {name: value}
        found += [(key, np.asarray(entry)) for key, entry in sorted(entries.items()) if entry is not None]
    return found


def _from_archive(
    header: dict[str, Any], arrays: dict[str, Any], own: Family[Any, Any] | None
) -> Statistics[Any]:
    """Statistics whose arrays have the shapes and values that statistics have."""
    # Before format 2 there were Gaussians alone.
    family = family_named(
        header.get("family") or header["covariance_type"], own, _io.unnamed(_io.STATE, arrays)
    )
    if header.get("missing", False):
        family = family.with_missing()
    d = len(arrays["scale"])
    shift, scale = arrays.pop("shift"), arrays.pop("scale")
    frame = Frame(shift, scale, arrays.pop("mean", shift))
    if not frame.shift.shape == frame.mean.shape == (d,) or not (
        np.isfinite(frame).all() and (frame.scale > 0).all()
    ):
        raise ValueError("its frame is none")
    before = _io.unnamed(_BEFORE, arrays)
    summed = family.from_arrays({name: a for name, a in arrays.items() if not name.startswith(_BEFORE)}, d)
    if not ((summed.weights >= 0).all() and summed.weights.sum() > 0):
        raise ValueError("its weights are not positive")
    log_likelihood = float.fromhex(header["log_likelihood"])
    rows_dtype = header.get("rows_dtype", header["dtype"])
    if (
        not {header["dtype"], rows_dtype} <= {"float32", "float64"}
        or int(header["n_samples"]) < 1
        or np.isnan(log_likelihood)
    ):
        raise ValueError("its header has values that statistics cannot have")
    return Statistics(
        family,
        frame,
        summed,
        int(header["n_samples"]),
        log_likelihood,
        np.dtype(header["dtype"]),
        str(header["origin"]),
        check_feature_names(header["feature_names"], d),
        np.dtype(rows_dtype),
        _checked(family, before, len(summed.weights), d) if before else None,
    )


def _checked(family: Family[Any, Any], before: dict[str, Array], k: int, d: int) -> Any:
    """Return the parameters of the E-step from bytes."""
    parameters = family.check(check_sums("weights", before.pop("weights"), (k,)), before, d)
    if not (parameters.weights >= 0).all() or family.n_features(parameters) != d:
        raise ValueError("the parameters of its E-step are none")
    return parameters
