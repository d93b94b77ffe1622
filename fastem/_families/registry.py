"""All families by name. A new family is one file and one line here."""

from typing import Any

from fastem._checks import check_one_of
from fastem._families.base import Family
from fastem._families.constraints import EEE, VII, VVI, VVV
from fastem._families.custom import Custom
from fastem._families.distribution import Distribution
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import Diag, Full, Spherical, Tied
from fastem._families.poisson import Poisson

GAUSSIANS: dict[str, Gaussian] = {
    "full": Gaussian("full", Full(), VVV()),
    "tied": Gaussian("tied", Tied(), EEE()),
    "diag": Gaussian("diag", Diag(), VVI()),
    "spherical": Gaussian("spherical", Spherical(), VII()),
}
OTHERS: dict[str, Family[Any, Any]] = {family.name: family for family in (Poisson(),)}

DISTRIBUTIONS = ("gaussian", *OTHERS)


def family_of(distribution: Any, covariance_type: Any = "full") -> Family[Any, Any]:
    """Return the family for these arguments of `fit`."""
    if isinstance(distribution, Distribution):
        _refuse(covariance_type, type(distribution).__name__)
        return Custom(distribution)
    if isinstance(distribution, type) and issubclass(distribution, Distribution):
        name = distribution.__name__
        raise TypeError(f"distribution must be an instance; got the class {name}. Pass {name}().")
    name = check_one_of("distribution", distribution, DISTRIBUTIONS, " or a fastem.Distribution")
    if name == "gaussian":
        return GAUSSIANS[check_one_of("covariance_type", covariance_type, tuple(GAUSSIANS))]
    _refuse(covariance_type, name)
    return OTHERS[name]


def other_family(distribution: Any) -> Family[Any, Any]:
    """Return the family of a mixture that is not Gaussian."""
    if not isinstance(distribution, Distribution):
        also = " or a fastem.Distribution; Gaussian mixtures are made by fastem.GaussianMixture"
        check_one_of("distribution", distribution, tuple(OTHERS), also)
    return family_of(distribution)


def family_named(name: str, distribution: Any = None) -> Family[Any, Any]:
    """Return the family that a file or bytes name. `distribution` is the user's own, or None."""
    if distribution is not None:
        family = family_of(distribution)
        if family.name != name:
            raise ValueError(f"it has the distribution {name}, but the one given is {family.name}")
        return family
    known = {**GAUSSIANS, **OTHERS}
    if name not in known:
        raise ValueError(f"it has the distribution {name}. Pass it as distribution={name}()")
    return known[name]


def _refuse(covariance_type: Any, distribution: str) -> None:
    if covariance_type != "full":
        raise ValueError(
            f'covariance_type must be left out unless distribution is "gaussian"; '
            f"got {covariance_type!r} with {distribution}."
        )
