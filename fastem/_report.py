"""How a fit went."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class FitStatus(Enum):
    """Why a fit stopped; the value is the advice to the user."""

    CONVERGED = "The gain in mean log-likelihood fell below tol."
    DEGENERATE = (
        "Converged, but the covariance of at least one component is singular but for reg_covar: it sits on "
        "too few or on collinear points. Use fewer components, more restarts (n_init), or a simpler "
        "covariance_type."
    )
    MAX_ITER = (
        "max_iter was reached before convergence. Raise max_iter or tol, or go on from here with init=model."
    )
    INITIAL = "max_iter=0: these are the initial parameters."
    STOPPED = "The callback stopped the fit. Go on from here with init=model."


class Repair(NamedTuple):
    """A component that maximum likelihood would have lost, and what was done."""

    iteration: int
    component: int
    what: str


@dataclass(frozen=True)
class FitReport:
    """How a fit went.

    Attributes
    ----------
    status : FitStatus
        Why it stopped; ``status.value`` is advice in words.
    converged : bool
        Whether the gain in mean log-likelihood fell below `tol`.
    n_iter : int
        M-steps made.
    log_likelihood : float
        Total log-likelihood of the returned parameters, without any penalty.
    history : tuple of float
        Total log-likelihood of the initial parameters and after each iteration, n_iter + 1 values.
    repairs : tuple of Repair
        (iteration, component, what) of each component that was re-seeded or rests on the floor.
    elapsed : float
        Seconds, initialisation and all restarts included.
    """

    status: FitStatus
    converged: bool
    n_iter: int
    log_likelihood: float
    history: tuple[float, ...]
    repairs: tuple[Repair, ...]
    elapsed: float
