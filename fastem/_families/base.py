"""What a distribution must know so that EM can fit mixtures of it.

A family translates between three descriptions of a mixture: the parameters in the user's units, the same
parameters in standard coordinates (see `frame`), and what one pass over the rows needs (`pack`). It sums
what the M-step needs in a pass (`begin_pass`), and finds the new parameters from these sums (`maximise`).

Letters: K components, d features, P the parameters of the family, S its sums over rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._typing import Array, FloatArray, Rows


class Weighted(Protocol):
    """A NamedTuple that has one weight a component, (K,)."""

    @property
    def weights(self) -> FloatArray: ...


P = TypeVar("P", bound=Weighted)
S = TypeVar("S", bound=Weighted)


class Scores(NamedTuple):
    """Arrays to fill for some rows; None for what is not wanted."""

    log_densities: FloatArray | None = None  # (m,)
    labels: Array | None = None  # (m,) int64
    responsibilities: Array | None = None  # (m, K)

    def part(self, chosen: slice) -> "Scores":
        return Scores(*(None if array is None else array[chosen] for array in self))


class Rule(NamedTuple, Generic[P]):
    """How an M-step treats what plain maximum likelihood would lose."""

    frame: Frame
    mean_row_weight: float  # a component much lighter than this has no rows of its own
    precision: float  # spacing of numbers at 1 in the arithmetic of the pass
    reg_covar: float | None = None  # added to variances, in user units; None: relative to each feature
    reseeds: int | None = None  # how many components without rows may be re-seeded; None: all
    # Stepwise EM blends the sums of a chunk with those that the parameters `before` stand for. Only this
    # share is new, and the rest holds already what earlier M-steps added.
    share: float = 1.0
    before: P | None = None


class Maximised(NamedTuple, Generic[P]):
    """New parameters, and which components are not plain maximum likelihood."""

    parameters: P
    reseeded: list[int]  # components without rows of their own, which took half of the heaviest one
    kept: list[int]  # components without rows of their own, which are not estimated
    floored: list[int]  # components that are singular but for reg_covar
    slack: float = 0.0  # mean log-likelihood that repairs and rounding may have cost


class Summed(NamedTuple, Generic[S]):
    """What one pass found."""

    sums: S
    log_likelihood: float


class Pass(ABC, Generic[S]):
    """One pass over rows, slab by slab."""

    @abstractmethod
    def add(self, rows: Rows, given: Array | None) -> None:
        """Add the sums of some rows, by their responsibilities or by known ones `given` (m, K)."""

    @abstractmethod
    def end(self) -> Summed[S] | None:
        """All sums; None if they are not finite."""


class Family(ABC, Generic[P, S]):
    """What differs between distributions. Subclasses are final or abstract."""

    name: str  # of the family, in files and on the wire
    distribution: Any  # what users pass as `distribution`
    parameter_names: tuple[str, ...]  # of the fields of P after the weights
    isotropic: bool = False  # whether features are compared with each other, and so must share one scale
    has_covariances: ClassVar[bool] = False  # which `reg_covar` could keep from becoming singular
    has_base_measure: ClassVar[bool] = False  # whether `base_measure` is more than zeros
    can_blend: ClassVar[bool] = True  # whether parameters tell the sums that they are the maximum of
    holds_responsibilities: ClassVar[bool] = False  # whether a pass holds an (m, K) array for m rows

    # --- parameters in user units

    @abstractmethod
    def check(self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None) -> P:
        """Copies of valid parameters in float64; an error if they are those of no mixture."""

    @abstractmethod
    def n_features(self, parameters: P) -> int:
        """d."""

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Free parameters without the K - 1 weights, as BIC counts them."""

    @abstractmethod
    def to_user(self, parameters: P, frame: Frame) -> P:
        """Parameters from standard coordinates to user units."""

    @abstractmethod
    def from_user(self, parameters: P, frame: Frame) -> P:
        """Parameters from user units to standard coordinates."""

    @abstractmethod
    def sample(self, parameters: P, labels: Array, rng: np.random.Generator) -> FloatArray:
        """A row from each of these components, (n, d), all in user units."""

    def values(self, parameters: P) -> dict[str, Any]:
        """Parameters by name, without the weights."""
        return {name: getattr(parameters, name) for name in self.parameter_names}

    # --- coordinates

    @abstractmethod
    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        """Standard coordinates for rows with these moments."""

    @abstractmethod
    def own_frame(self, parameters: P, dtype: np.dtype[Any]) -> Frame:
        """Standard coordinates for a mixture in user units, without any rows."""

    def working_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype in which a pass over rows of `dtype` computes."""
        return dtype

    # --- passes

    @abstractmethod
    def pack(self, parameters: P | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        """What a pass needs of the parameters: a NamedTuple of arrays. None if `origin` is None."""

    @abstractmethod
    def bytes_per_slot(self, k: int, d: int) -> int:
        """Memory that one slot of a pass needs for its sums."""

    @abstractmethod
    def multiply_adds(self, d: int) -> int:
        """A bound on those that a pass spends on one row and component, for the length of a slab."""

    @abstractmethod
    def begin_pass(self, packed: Any, k: int, frame: Frame, slots: int, n_threads: int | None) -> Pass[S]:
        """A pass whose rows are dealt to so many slots."""

    @abstractmethod
    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        """Fill what is wanted; False if some row is not finite. Log-densities lack the base measure."""

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        """log h(x), the part of the log-density that no parameter changes, (m,); an error for bad rows."""
        return np.zeros(len(rows.X))

    # --- sums and M-step

    @abstractmethod
    def add(self, one: S, other: S) -> S:
        """The sums over the rows of both."""

    def blend(self, before: P, weights: FloatArray, sums: S, gain: float) -> S:
        """Sums that `before` is the maximum of, `weights` (K,) in each component, plus `gain` of `sums`."""
        raise NotImplementedError

    @abstractmethod
    def maximise(self, sums: S, rule: Rule[P]) -> Maximised[P]:
        """Parameters of maximum likelihood given the sums of an E-step."""

    @abstractmethod
    def origin(self, k: int, d: int) -> P | None:
        """What the first sums over known responsibilities are taken about, where nothing is known yet."""

    def recentred(self, origin: P | None, rough: P) -> P | None:
        """What a second such pass, more precise, is taken about; None if one pass will do."""
        return None

    # --- files and messages

    @abstractmethod
    def to_arrays(self, sums: S) -> dict[str, Array]:
        """Sums as named arrays."""

    @abstractmethod
    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> S:
        """Sums from `to_arrays`; a ValueError if their shapes or values cannot be sums."""

    @abstractmethod
    def user_sums(self, sums: S, frame: Frame) -> dict[str, Any]:
        """Sums by name, in user units."""

    @property
    def label(self) -> str:
        """What a repr says of the family."""
        return f"distribution={self.distribution!r}"

    def advice(self, cause: Literal["falls"]) -> str:
        """What may be wrong where the log-likelihood falls, if the family knows."""
        return ""


def check_sums(name: str, array: Array, shape: tuple[int, ...]) -> FloatArray:
    """Sums that came from elsewhere."""
    proper = array.size and array.shape == shape and array.dtype == np.float64
    if not (proper and np.isfinite(array).all()):
        raise ValueError(f"{name} is no finite float64 array of shape {shape}")
    return array
