"""The interface of a family: what EM needs from a distribution to fit mixtures of it.

A family translates between three descriptions of a mixture: the parameters in the user's units, the same
parameters in standard coordinates (see `frame`), and what one pass over the rows needs (`pack`). It sums
what the M-step needs in a pass (`begin_pass`), and finds the new parameters from these sums (`maximise`).

Letters: K components, d features, P the parameters of the family, S its sums over rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np

from fastem._families.frame import Frame, Moments
from fastem._families.given import ConjugatePrior
from fastem._families.reseed import with_rows
from fastem._families.steps import Cost, Maximised, P, Pass, Rule, S, Scores
from fastem._typing import Array, FloatArray, Rows


class Ascents(ABC, Generic[P]):
    """EM from several starts on a small sample in memory, roughly but fast: passes cost no Python."""

    @abstractmethod
    def go_on(self, chosen: list[int], iterations: int, tol: float) -> None:
        """Make more iterations from the chosen starts, until one gains less than `tol` a row.

        They may be faster than those of EM, but lead to a point where EM stays.
        """

    @abstractmethod
    def objective(self, start: int) -> float | None:
        """Return the mean log-density at the last E-step, up to a constant. None means that it failed."""

    @abstractmethod
    def doubt(self, start: int) -> float:
        """Return the mean entropy of the responsibilities, as a part of the least weight of a component."""

    @abstractmethod
    def singular(self, start: int) -> list[int]:
        """Return the components of a start that would be singular without the floor."""

    @abstractmethod
    def parameters(self, start: int) -> Maximised[P]:
        """Return the parameters that a start has reached."""

    @abstractmethod
    def moved(self, starts: list[int], points: FloatArray, weights: FloatArray) -> "Ascents[P]":
        """Return the ascents of these starts, in order, where they go on with other rows."""

    @abstractmethod
    def others(self, labels: Array, k: int) -> "Ascents[P] | None":
        """Return ascents from labels (S, m) of k components on the same rows, or None if too large."""


class Facts(NamedTuple):
    """What a family may learn from rows before a fit."""

    names: tuple[str, ...] | None  # the names of the columns, if they have any
    texts: tuple[Array | None, ...]  # the different texts in each column, sorted, or None if it has numbers
    distinct: Callable[[Array], tuple[Array, ...]]  # finds the different values in columns of these numbers
    extent: Callable[[], tuple[FloatArray, FloatArray]] | None = None  # finds the range of each column


class Family(ABC, Generic[P, S]):
    """What differs between distributions. Subclasses are final or abstract."""

    name: str  # the name of the family in files and in bytes
    distribution: Any  # what users pass as `distribution`
    parameter_names: tuple[str, ...]  # the names of the fields of P after the weights
    location: ClassVar[str | None] = None  # the name of the parameter that says where a component is
    isotropic: bool = False  # whether features are compared with each other, and so must share one scale
    has_covariances: bool = False  # whether `reg_covar` applies
    has_variational: bool = False  # whether there are posteriors for variational inference
    has_base_measure: bool = False  # whether `base_measure` is more than zeros
    # Parameters, beside the weights, that may stay fixed: the M-step of the others does not depend on them.
    separable: ClassVar[tuple[str, ...]] = ()
    # Others that may stay fixed, since `maximise` heeds them where it finds the rest.
    holdable: tuple[str, ...] = ()
    conjugate_prior: ConjugatePrior | None = None  # the kind of prior that `maximise` heeds
    can_blend: ClassVar[bool] = True  # whether parameters tell the sums that they are the maximum of
    has_ascents: bool = False  # whether a kernel makes whole `ascents`, which cost little
    # Whether EM from random responsibilities may find what k-means cannot see, for the start "auto".
    tries_random: bool = False
    refinements: int = 1  # how often sums for known responsibilities are taken again, at most
    holds_responsibilities: ClassVar[bool] = False  # whether a pass holds an (m, K) array for m rows
    shows_clusters: ClassVar[bool] = True  # whether k-means can see the clusters of rows
    extra: ClassVar[int] = 0  # components after the k that users ask for; arrays of weights have them too
    box: FloatArray | None = None  # (2, d) of a component of uniform noise
    missing: bool = False  # whether NaN in a row means not observed
    # Whether what is observed of a row tells of what is missing, given the component, by their covariance.
    by_pattern: bool = False
    discrete: ClassVar[bool] = False  # whether rows hold whole numbers alone
    # The values that rows may have in each column (None for a column without such), or None if no column has.
    categories: tuple[Any, ...] | None = None
    # The texts that each column may have, or None for a column of numbers; () if they are not known yet. None
    # means that all columns must be numbers.
    vocabulary: tuple[Array | None, ...] | None = None

    # --- what a family learns from rows, such as their categories

    def adapted(self, facts: Facts) -> "Family[P, S]":
        """Return the family for the rows of which these facts are known. Raise an error if it has none."""
        return self

    def with_categories(self, categories: Any, parameters: Mapping[str, Any]) -> "Family[P, S]":
        """Return the family with the categories that a user gives, or those that the parameters suggest."""
        if categories is not None:
            raise ValueError(f"categories must be left out for {self.label}; got {categories!r}.")
        return self

    def with_missing(self) -> "Family[P, S]":
        """Return the family of rows in which numbers may be missing: NaN, at random (Rubin 1976).

        Its log-densities are those of what is observed, and its sums are expected ones.
        """
        raise ValueError(
            f'missing must be "error" for {self.label}; got "marginalise". Drop the rows with NaN, or fill '
            "them."
        )

    @property
    def plain(self) -> "Family[P, S]":
        """The family of rows without known noise."""
        return self

    def imputed(
        self, parameters: P, X: FloatArray, responsibilities: FloatArray, rng: np.random.Generator | None
    ) -> FloatArray:
        """Return rows (m, d), in user units, with expectations in place of NaN.

        responsibilities are (m, K). With `rng` these are of 0 and 1, and numbers are drawn in place of NaN.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Array]:
        """Return what the family has learned as arrays, for files. `with_state` gets them back unchecked."""
        return {}

    def with_state(self, arrays: Mapping[str, Array]) -> "Family[P, S]":
        """Return the family with this state. Raise an error if the arrays cannot be a state."""
        return self

    def agrees_with(self, other: "Family[Any, Any]") -> bool:
        """Return whether the same parameters mean the same mixture in the other family."""
        mine, others = self.state(), other.state()
        return self.label == other.label and all(np.array_equal(mine[name], others[name]) for name in mine)

    # --- parameters in user units

    @abstractmethod
    def check(self, weights: FloatArray, parameters: Mapping[str, Any], n_features: int | None) -> P:
        """Return float64 copies of valid parameters. Raise an error if they are not valid."""

    def copies(self, parameters: P) -> P | None:
        """Return float64 copies of parameters that a fit has found, if these cannot but be valid.

        None means that they must be checked.
        """
        return None

    @abstractmethod
    def n_features(self, parameters: P) -> int:
        """Return d."""

    @abstractmethod
    def n_parameters(self, k: int, d: int) -> int:
        """Return the number of free parameters without the K - 1 weights, as BIC counts them."""

    @abstractmethod
    def to_user(self, parameters: P, frame: Frame) -> P:
        """Convert parameters from standard coordinates to user units."""

    @abstractmethod
    def from_user(self, parameters: P, frame: Frame) -> P:
        """Convert parameters from user units to standard coordinates."""

    @abstractmethod
    def sample(self, parameters: P, labels: Array, rng: np.random.Generator) -> FloatArray:
        """Draw a row from the component of each label, (n, d). All is in user units."""

    def values(self, parameters: P) -> dict[str, Any]:
        """Return the parameters by name, without the weights."""
        return {name: getattr(parameters, name) for name in self.parameter_names}

    def shown(self, parameters: P) -> dict[str, Any]:
        """Return the parameters by name as people read them, with the components along the first axis."""
        return self.values(parameters)

    def columns_of(self, name: str) -> Array | None:
        """Return the numbers of the columns that one of the `shown` belongs to, or None if to all."""
        return None

    def ellipsoids(self, parameters: P) -> tuple[FloatArray, FloatArray] | None:
        """Return the centres (K, d) and matrices (K, d, d) of ellipsoids of equal density, in user units.

        They are NaN in columns without. None means that no component has any.
        """
        return None

    def marginal(self, parameters: P, columns: Array) -> "tuple[Family[Any, Any], Any] | None":
        """Return the family and the parameters of some columns alone, or None if they are not known."""
        return None

    def check_fixed(self, masks: Mapping[str, Array]) -> None:
        """Raise an error unless the parameters may be fixed in these components, (K,) of bool by name."""

    # --- coordinates

    @abstractmethod
    def frame(self, moments: Moments, dtype: np.dtype[Any]) -> Frame:
        """Return standard coordinates for rows with these moments."""

    @abstractmethod
    def own_frame(self, parameters: P, dtype: np.dtype[Any]) -> Frame:
        """Return standard coordinates for a mixture in user units, without any rows."""

    @abstractmethod
    def working_dtype(self, packed: Any) -> np.dtype[Any]:
        """Return the dtype in which a pass with these parameters computes."""

    def seen(self, X: Array, frame: Frame) -> FloatArray:
        """Return rows (m, d) as k-means compares them, (m, any number of columns)."""
        return frame.standardise(X)

    def seen_location(self, location: FloatArray, frame: Frame) -> FloatArray:
        """Return where k-means sees the centres of components with this location (K, d), as `seen` does."""
        return frame.standardise(location)

    # --- passes

    def log_constant(self, frame: Frame) -> float:
        """Return what the kernels leave out of each log-density."""
        return 0.0

    @abstractmethod
    def pack(self, parameters: P | None, frame: Frame, dtype: np.dtype[Any]) -> Any:
        """Convert the parameters to a NamedTuple of arrays for a pass, or to None if `origin` is None.

        `dtype` is that of the rows. The pass computes in the dtype of the arrays, which may be float64
        although the rows are float32.
        """

    @abstractmethod
    def bytes_per_slot(self, k: int, d: int) -> int:
        """Return the memory that one slot of a pass needs for its sums."""

    def bytes_per_scoring_slot(self, k: int, d: int) -> int:
        """Return the memory that one slot needs to fill scores."""
        return 8 * k

    @abstractmethod
    def multiply_adds(self, d: int) -> int:
        """Return a bound on the multiply-adds for one row and component. It limits the length of a slab."""

    def cost(self, packed: Any, k: int, d: int) -> Cost:
        """Return what a pass with these parameters costs, which decides on its slots and slabs."""
        costs: dict[tuple[int, int], Cost] = vars(self).setdefault("_costs", {})
        if (k, d) not in costs:
            costs[k, d] = Cost(self.bytes_per_slot(k, d), self.multiply_adds(d))
        return costs[k, d]

    @abstractmethod
    def begin_pass(
        self, packed: Any, k: int, frame: Frame, hard: bool, slots: int, n_threads: int | None
    ) -> Pass[S]:
        """Begin a pass whose rows are divided among `slots` slots.

        With `hard` each row belongs to its likeliest component alone.
        """

    @abstractmethod
    def score(
        self, packed: Any, frame: Frame, rows: Rows, wanted: Scores, slots: int, n_threads: int | None
    ) -> bool:
        """Fill the wanted scores, without the base measure. Return False if a row is not finite."""

    def base_measure(self, rows: Rows, frame: Frame, n_threads: int | None) -> FloatArray:
        """Return log h(x), (m,), which no parameter changes. Raise an error if the rows are not valid."""
        return np.zeros(len(rows.X))

    def ascents(
        self,
        points: FloatArray,
        weights: FloatArray,
        labels: Array,
        k: int,
        rule: Rule[P],
        n_threads: int | None,
    ) -> Ascents[P] | None:
        """Return ascents from S labellings (S, m), or None if the family has no kernel for that.

        points (d, m) are in standard coordinates, weights are (m,).
        """
        return None

    @property
    def rough(self) -> "Family[P, S] | None":
        """A family whose ascents tell which labellings are worth one of this family.

        It has fewer constraints, or knows neither missing numbers nor noise of rows.
        """
        return None

    # --- sums and M-step

    @abstractmethod
    def add(self, one: S, other: S) -> S:
        """Return the sums over the rows of both."""

    def blend(self, before: P, weights: FloatArray, sums: S, gain: float) -> S:
        """Return the expected sums under `before` with component weights (K,), plus `gain` times `sums`."""
        raise NotImplementedError

    def total(self, moments: Moments, frame: Frame) -> Any:
        """Return what the M-step needs of the variance of all rows, if all sums over them agree on it.

        Then it is found once in a fit, and not in every M-step. None means that sums tell it, if it matters.
        """
        return None

    @abstractmethod
    def maximise(self, sums: S, rule: Rule[P]) -> Maximised[P]:
        """Return the maximum-likelihood parameters given the sums of an E-step."""

    def keeping(self, parameters: P, before: P, kept: list[int]) -> P:
        """Return parameters where `kept` have those of `before`, but for weights and what is shared."""
        shown = ((name, getattr(parameters, name), getattr(before, name)) for name in self.parameter_names)
        new = {name: with_rows(own, others, kept) for name, own, others in shown}
        return parameters._replace(**new)  # type: ignore[attr-defined, no-any-return]

    @abstractmethod
    def origin(self, k: int, d: int) -> P | None:
        """Return parameters about which the first sums are taken, before any parameters are known."""

    def recentred(self, origin: P | None, rough: P) -> P | None:
        """Return parameters for another, more precise pass, or None if there is no need of one."""
        return None

    @abstractmethod
    def to_vector(self, parameters: P) -> FloatArray | None:
        """Return the parameters, with the weights, as a point of a space without bounds, for acceleration.

        None means that they are not known well enough for that.
        """

    @abstractmethod
    def from_vector(self, vector: FloatArray, like: P) -> P | None:
        """Return the parameters of a point, or None if they are not valid. They have the shapes of `like`."""

    def softened(self, parameters: P) -> P:
        """Return parameters near those of a start, but not at a bound that EM cannot leave."""
        return parameters

    def places(self, parameters: P) -> FloatArray | None:
        """Return a point (d,) for each component, (K, d), in units of about a deviation of a component.

        Components whose points are a deviation apart are not equal. None means that this is not known.
        """
        return None

    # --- files and messages

    @abstractmethod
    def to_arrays(self, sums: S) -> dict[str, Array]:
        """Return the sums as named arrays."""

    @abstractmethod
    def from_arrays(self, arrays: Mapping[str, Array], d: int) -> S:
        """Return the sums from `to_arrays`. Raise a ValueError if the arrays cannot be sums."""

    @abstractmethod
    def user_sums(self, sums: S, frame: Frame) -> dict[str, Any]:
        """Return the sums by name, in user units."""

    @property
    def label(self) -> str:
        """The family in the words of a repr."""
        return f"distribution={self.distribution!r}"

    @property
    def advice_on_fall(self) -> str:
        """Say what may be wrong if the log-likelihood falls. An empty string means that it is not known."""
        return ""


def weights_of(roots: FloatArray) -> FloatArray:
    """Return the weights, which sum to 1, from points whose squares they are. No point is out of bounds."""
    squares = np.square(roots)
    return np.asarray(squares / squares.sum())


def check_sums(name: str, array: Array, shape: tuple[int, ...]) -> FloatArray:
    """Check one array of sums that came from a file or from another process."""
    proper = array.size and array.shape == shape and array.dtype == np.float64
    if not (proper and np.isfinite(array).all()):
        raise ValueError(f"{name} is not a finite float64 array of shape {shape}")
    return array
