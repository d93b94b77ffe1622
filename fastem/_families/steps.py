"""What the E-step and the M-step of a family give and take.

Letters: K components, d features, P the parameters of a family, S its sums over rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from fastem._families.frame import Frame
from fastem._families.given import Conjugate, Held
from fastem._typing import Array, FloatArray, Rows


class Weighted(Protocol):
    """A NamedTuple that has one weight for each component, (K,)."""

    @property
    def weights(self) -> FloatArray: ...


P = TypeVar("P", bound=Weighted)
S = TypeVar("S", bound=Weighted)


class Cost(NamedTuple):
    """What decides on the slots and the slabs of a pass."""

    bytes_per_slot: int  # for the sums of a slot
    multiply_adds: int  # a bound on those for one row and component


class Scores(NamedTuple):
    """Arrays to fill for some rows. None means that the scores are not wanted."""

    log_densities: FloatArray | None = None  # (m,)
    labels: Array | None = None  # (m,) int64
    responsibilities: Array | None = None  # (m, K)
    # (m, K) To these are added log2 of the weight times the density of each component.
    joint: FloatArray | None = None
    true_values: FloatArray | None = (
        None  # (m, d) expectations of what was measured with noise, in user units
    )

    def part(self, chosen: slice) -> "Scores":
        return Scores(*(None if array is None else array[chosen] for array in self))


class Rule(NamedTuple, Generic[P]):
    """How an M-step treats components for which plain maximum likelihood would fail."""

    frame: Frame
    mean_row_weight: float  # a component much lighter than this has no rows of its own
    precision: float  # spacing of numbers at 1 in the arithmetic of the pass
    stored: float  # the same in the dtype of the rows
    reg_covar: float | None = None  # added to variances, in user units; None means relative to each feature
    reseeds: int | None = None  # how many components without rows may be re-seeded; None means all
    # Stepwise EM blends the sums of a chunk with the sums that the parameters `before` stand for. `share` is
    # the share of the chunk. The other sums already contain the reg_covar that earlier M-steps added.
    share: float = 1.0
    before: P | None = None
    held: Held | None = None  # parameters that stay as they are
    prior: Conjugate | None = None  # then the M-step maximises the posterior
    # (d,) of bool: the features that are constant where they are observed. In expected sums they are not.
    constant: Array | None = None
    total: Any = None  # see `Family.total`; None means that the sums tell


class Before(NamedTuple):
    """The E-step from which the last M-step of a start came."""

    rows: int  # of positive weight
    mean: float  # of the log-densities of the rows, as the kernels have them


class Maximised(NamedTuple, Generic[P]):
    """New parameters, and the components whose parameters are not plain maximum likelihood."""

    parameters: P
    reseeded: list[int]  # components without rows of their own, which took half of the heaviest one
    kept: list[int]  # components without rows of their own, which are not estimated
    floored: list[int]  # components that would be singular without reg_covar or a bound
    # Tells how much of the mean log-likelihood repairs and rounding may have cost. It is asked if that falls.
    slack: Callable[[], float] = float
    imprecise: bool = False  # whether the sums should be taken again in float64, as float32 hides a variance
    before: Before | None = None  # known where a kernel made a whole ascent


class Summed(NamedTuple, Generic[S]):
    """The result of one pass."""

    sums: S
    log_likelihood: float
    weight: float | None = None  # of all rows, if it is known without asking the sums


class Pass(ABC, Generic[S]):
    """One pass over rows, slab by slab."""

    @abstractmethod
    def add(self, rows: Rows, given: Array | None) -> None:
        """Add the sums over some rows. If `given` (m, K) is not None, it replaces their responsibilities."""

    @abstractmethod
    def end(self) -> Summed[S] | None:
        """Return the sums of the pass, or None if they are not finite."""
