"""What an M-step is given beside the sums over rows: parameters that stay fixed, and a prior."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastem._families.frame import Frame
from fastem._typing import Array, FloatArray


class Held(NamedTuple):
    """Parameters that an M-step does not change."""

    masks: Mapping[str, Array]  # (K,) of bool by name: the components whose parameter is fixed
    parameters: Any  # all parameters, in standard coordinates
    user: Any  # the same as they were given

    def of(self, name: str) -> Array:
        """Return the components in which the parameter is fixed, (K,)."""
        none = np.zeros(len(self.parameters.weights), bool)
        return self.masks.get(name, none)

    def kept(self, parameters: Any, values: Any) -> Any:
        """Return the parameters with fixed ones as in `values`. Other weights share what fixed ones leave."""
        fixed = {}
        for name, mask in self.masks.items():
            found, value = getattr(parameters, name), getattr(values, name)
            if mask.all():
                fixed[name] = value.copy()
            elif name == "weights":
                fixed[name] = _shared(found, value, mask)
            else:
                fixed[name] = np.where(mask.reshape(-1, *[1] * (found.ndim - 1)), value, found)
        return parameters._replace(**fixed)


def _shared(found: FloatArray, fixed: FloatArray, mask: Array) -> FloatArray:
    """Return fixed weights where the mask is, and others in the proportions found, with the sum 1."""
    weights, rest = fixed.copy(), max(0.0, 1.0 - float(fixed[mask].sum()))
    total = float(found[~mask].sum())
    weights[~mask] = found[~mask] * (rest / total) if total > 0 else rest / np.count_nonzero(~mask)
    return weights


class Belief(NamedTuple):
    """A prior of a mixture of Gaussians with any number of components, in standard coordinates.

    The fields are those of `fastem.Prior`.
    """

    concentration: float
    precision: float
    mean: FloatArray  # (d,)
    degrees_of_freedom: float
    scale: FloatArray  # in the shape of the covariances of one component
    divided: bool  # whether the components share the volume of `scale`: it is that of one of K^(2 / d)


class Conjugate(NamedTuple):
    """The same for K components, as what it adds to the sums over rows."""

    concentration: float  # of the Dirichlet distribution of the weights
    precision: float  # rows at `mean` for the mean of each component
    mean: FloatArray  # (d,)
    rows: float  # for the covariance of each component
    scatter: FloatArray  # in the shape of the covariances of one component


class ConjugatePrior(ABC):
    """The kind of prior of a family, under which the M-step stays what it is."""

    storage: str  # the covariance type in whose shape users give its scale

    @abstractmethod
    def scale_of(self, sums: Any, frame: Frame) -> FloatArray:
        """Return the scale that sums over all rows, as those of one component, suggest."""

    @abstractmethod
    def scale_from_user(self, scale: FloatArray, frame: Frame) -> FloatArray:
        """Convert a scale from user units to standard coordinates."""

    @abstractmethod
    def of(self, belief: Belief, k: int) -> Conjugate:
        """Return what the prior of K components adds to the sums over rows."""

    @abstractmethod
    def log_density(self, parameters: Any, prior: Conjugate, frame: Frame) -> float:
        """Return the log-density of parameters in user units, but for a constant.

        The constant, which would make its integral 1, depends on the prior, K and d alone.
        """
