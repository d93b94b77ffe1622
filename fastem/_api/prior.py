"""What is known of the parameters of Gaussians before the rows are seen."""

from typing import Any, Literal

import numpy as np

from fastem._api.immutable import Immutable
from fastem._checks import as_float, check_finite, check_one_of, is_real
from fastem._families.frame import Frame
from fastem._typing import ArrayLike, FloatArray, read_only

_NUMBERS = ("weight_concentration", "mean_precision", "degrees_of_freedom")
_ARRAYS = ("mean", "covariance")
# More rows than anybody has seen, beyond which differences of log-gamma functions lose their digits.
MOST_ROWS = 1e9
# In standard coordinates, in which deviations of the rows are about 1. Beyond these numbers, fits to random
# rows had sums without digits.
_FARTHEST = 1e6
_LEAST_VARIANCE, _MOST_VARIANCE = 1e-18, 1e12
TYPES = ("dirichlet_process", "dirichlet_distribution")


class Prior(Immutable):
    """A conjugate prior of a mixture of Gaussians: Dirichlet, and normal-inverse-Wishart.

    The weights have a Dirichlet distribution. Given its covariance S, the mean of a component is Gaussian
    about `mean` with covariance S / `mean_precision`. S has an inverse Wishart distribution, with density
    proportional to ``det(S)^(-(nu + d + 1) / 2) exp(-tr(L S^-1) / 2)``, where nu is `degrees_of_freedom` and
    L is `covariance`. A variance s of a diagonal or spherical model has an inverse gamma distribution, with
    density proportional to ``s^(-(nu + 2) / 2) exp(-l / (2 s))``. Components that share one covariance share
    one prior of it.

    The names are those of scikit-learn's BayesianGaussianMixture without ``_prior``. What is None gets the
    default of the method that uses the prior; `fastem.fit` says which. The prior is immutable. Its arrays are
    read-only copies, in the units of X.

    Numbers that stand for rows, the first two and the degrees of freedom, are at most 1e9: to know a
    parameter better than that, keep it as it is with ``fixed=`` of `fastem.fit`. A fit refuses a `mean` that
    is a million deviations of the rows or more from their mean, and a `covariance` with variances that are
    more than 1e12 times those of the rows, or less than 1e-18 times.

    Parameters
    ----------
    weight_concentration : float, optional
        Parameter of the Dirichlet distribution, above 0 and at most 1e9, the same for all components. 1 is a
        flat prior.
    mean_precision : float, optional
        How many rows at `mean` the prior is worth, for the mean of each component. Above 0, and at
        most 1e9.
    mean : array of shape (d,), optional
        Where the means are expected.
    degrees_of_freedom : float, optional
        How narrow the prior of the covariances is. Above d - 1, and at most 1e9.
    covariance : float, array of shape (d,) or array of shape (d, d), optional
        The scale L of the inverse Wishart distribution, not a mean of it: symmetric and positive definite,
        (d, d) for full and tied covariances, (d,) variances for diagonal ones and a number for spherical
        ones. So it stands for one covariance also where each component has its own.
    weight_concentration_type : {"dirichlet_process", "dirichlet_distribution"}, optional
        With "dirichlet_process" the weights are those of a Dirichlet process, whose concentration is
        `weight_concentration`. This is for variational inference alone, where it is the default.

    Raises
    ------
    ValueError, TypeError
        If a value cannot be that of any prior.

    References
    ----------
    Fraley, C. and Raftery, A. E. (2007). Bayesian regularization for normal mixture estimation and
    model-based clustering. Journal of Classification 24, 155-181.

    Examples
    --------
    >>> import fastem
    >>> fastem.Prior(mean_precision=0.1, degrees_of_freedom=6)
    Prior(mean_precision=0.1, degrees_of_freedom=6.0)
    """

    weight_concentration: float | None
    mean_precision: float | None
    mean: FloatArray | None
    degrees_of_freedom: float | None
    covariance: FloatArray | None
    weight_concentration_type: str | None

    def __init__(
        self,
        *,
        weight_concentration: float | None = None,
        mean_precision: float | None = None,
        mean: ArrayLike | None = None,
        degrees_of_freedom: float | None = None,
        covariance: ArrayLike | float | None = None,
        weight_concentration_type: Literal["dirichlet_process", "dirichlet_distribution"] | None = None,
    ) -> None:
        if weight_concentration_type is not None:
            check_one_of("weight_concentration_type", weight_concentration_type, TYPES, " or None")
        self._keep(
            weight_concentration=_positive("weight_concentration", weight_concentration),
            mean_precision=_positive("mean_precision", mean_precision),
            mean=None if mean is None else read_only(_mean(mean)),
            degrees_of_freedom=_positive("degrees_of_freedom", degrees_of_freedom),
            covariance=None if covariance is None else read_only(_covariance(covariance)),
            weight_concentration_type=weight_concentration_type,
        )

    def check(self, n_features: int, covariance_type: str) -> None:
        """Raise an error unless the prior suits Gaussians of d features with these covariances.

        Parameters
        ----------
        n_features : int
            d.
        covariance_type : {"full", "tied", "diag", "spherical"}
            The type whose covariances have the same shape.

        Raises
        ------
        ValueError
            If the mean or the covariance has another shape, or the degrees of freedom are too few.
        """
        d, nu = n_features, self.degrees_of_freedom
        if self.mean is not None and self.mean.shape != (d,):
            raise ValueError(
                f"mean of the prior must have shape (d,) = ({d},), one number a feature; "
                f"got shape {self.mean.shape}."
            )
        if nu is not None and not nu > d - 1:
            raise ValueError(
                f"degrees_of_freedom of the prior must be above d - 1 = {d - 1}; got {nu:g}. "
                f"Pass more, such as d + 2 = {d + 2}."
            )
        shape: tuple[int, ...] = {"diag": (d,), "spherical": ()}.get(covariance_type, (d, d))
        if self.covariance is not None and self.covariance.shape != shape:
            wanted = f"have shape {shape}" if shape else "be a number"
            raise ValueError(
                f"covariance of the prior must {wanted} for covariance_type={covariance_type!r} and d={d}; "
                f"got shape {self.covariance.shape}."
            )

    def check_scale(self, frame: Frame) -> None:
        """Raise an error unless sums over rows of this frame keep digits beside what the prior adds.

        Parameters
        ----------
        frame : Frame
        """
        if self.mean is not None:
            with np.errstate(over="ignore"):
                far = ~(np.abs(frame.standardise(self.mean)) <= _FARTHEST)
            if far.any():
                j = int(np.argmax(far))
                raise ValueError(
                    f"mean of the prior must be within {_FARTHEST:g} deviations of the rows; for column {j} "
                    f"it is {self.mean[j]:g}, where the mean of the rows is {frame.mean[j]:g} and their "
                    f"deviation about {frame.scale[j]:g}. Give it in the units of X."
                )
        if self.covariance is not None:
            own = self.covariance if self.covariance.ndim < 2 else np.diagonal(self.covariance)
            variances = np.broadcast_to(own, frame.scale.shape)
            with np.errstate(over="ignore"):
                ratios = variances / frame.scale / frame.scale
            wrong = ~((ratios >= _LEAST_VARIANCE) & (ratios <= _MOST_VARIANCE))
            if wrong.any():
                j = int(np.argmax(wrong))
                raise ValueError(
                    f"covariance of the prior must have variances of {_LEAST_VARIANCE:g} to "
                    f"{_MOST_VARIANCE:g} times those of the rows; for column {j} it has {variances[j]:g}, "
                    f"where the deviation of the rows is about {frame.scale[j]:g}. Give it in units of X, "
                    'or keep covariances as they are with fixed=("covariances",).'
                )

    def __repr__(self) -> str:
        names = (*_NUMBERS[:2], "mean", _NUMBERS[2], "covariance", "weight_concentration_type")
        known = {name: getattr(self, name) for name in names}
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in known.items() if value is not None)
        return f"Prior({shown})"


def _shown(value: Any) -> str:
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def _positive(name: str, value: Any) -> float | None:
    if value is None:
        return None
    rule = f"{name} of the prior must be a number above 0 and at most {MOST_ROWS:g}"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not is_real(value):
        raise TypeError(f"{rule}; got {value!r}. Pass None for the default.")
    number = as_float(value)
    if not number > 0:
        raise ValueError(f"{rule}; got {number:g}. Pass None for the default.")
    if number > MOST_ROWS:
        raise ValueError(
            f"{rule}, since it counts as so many rows; got {number:g}. Pass less, or fixed= to keep a "
            "parameter as it is."
        )
    return number


def _mean(value: Any) -> FloatArray:
    mean = check_finite("mean of the prior", value)
    if mean.ndim != 1:
        raise ValueError(
            f"mean of the prior must have shape (d,), one number a feature; got shape {mean.shape}."
        )
    return mean


def _covariance(value: Any) -> FloatArray:
    covariance = check_finite("covariance of the prior", value)
    rule = "covariance of the prior must be a positive number, variances (d,) or a matrix (d, d)"
    if covariance.ndim > 2 or (covariance.ndim == 2 and len(set(covariance.shape)) != 1):
        raise ValueError(f"{rule}; got shape {covariance.shape}.")
    if covariance.ndim < 2:
        if not (covariance > 0).all():
            raise ValueError(f"{rule}, above 0 throughout; got {covariance}.")
        return covariance
    # Unit diagonals, so that no unit of a feature is too small or too large for the factors.
    deviations = np.sqrt(np.maximum(np.diagonal(covariance), np.finfo(np.float64).tiny))
    scaled = covariance / deviations[:, None] / deviations
    if (np.abs(scaled - scaled.T) > 1e-6).any():
        raise ValueError(f"{rule} that is symmetric; it differs from its transpose.")
    try:
        np.linalg.cholesky(scaled)
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{rule} that is positive definite; it is not. Add a small variance to its diagonal."
        ) from None
    return np.asarray((covariance + covariance.T) / 2)
