"""All families by name. A new family is one file and one line here."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from fastem._checks import check_one_of
from fastem._families.base import Family
from fastem._families.bernoulli import Bernoulli
from fastem._families.categorical import Categorical
from fastem._families.constraints import EEE, EEI, EII, VII, VVI, VVV
from fastem._families.custom import Custom
from fastem._families.distribution import Distribution
from fastem._families.exponential import Exponential
from fastem._families.gamma import Gamma
from fastem._families.gaussian import Gaussian
from fastem._families.layouts import Diag, Full, Spherical, Tied
from fastem._families.lognormal import Lognormal
from fastem._families.measured import Measured
from fastem._families.mixed import Mixed
from fastem._families.noise import Noise
from fastem._families.orientations import EEV, EVE, VEV, VVE
from fastem._families.poisson import Poisson
from fastem._families.student import Student
from fastem._families.volumes import EVI, EVV, VEE, VEI, Pooled
from fastem._typing import Array

GAUSSIANS: dict[str, Gaussian] = {
    "full": Gaussian("full", Full(), VVV()),
    "tied": Gaussian("tied", Tied(), EEE()),
    "diag": Gaussian("diag", Diag(), VVI()),
    "spherical": Gaussian("spherical", Spherical(), VII()),
    "EII": Gaussian("EII", Spherical(), EII()),
    "EEI": Gaussian("EEI", Diag(), EEI()),
    "VEI": Gaussian("VEI", Diag(), VEI()),
    "EVI": Gaussian("EVI", Diag(), EVI()),
    "VEE": Gaussian("VEE", Full(), VEE()),
    "EVE": Gaussian("EVE", Full(), EVE()),
    "VVE": Gaussian("VVE", Full(), VVE()),
    "EEV": Gaussian("EEV", Full(), EEV()),
    "VEV": Gaussian("VEV", Full(), VEV()),
    "EVV": Gaussian("EVV", Full(), EVV()),
}
# The fourteen models of mclust, in its order. Four have older names, which models go by.
MCLUST = {
    "EII": "EII",
    "VII": "spherical",
    "EEI": "EEI",
    "VEI": "VEI",
    "EVI": "EVI",
    "VVI": "diag",
    "EEE": "tied",
    "VEE": "VEE",
    "EVE": "EVE",
    "VVE": "VVE",
    "EEV": "EEV",
    "VEV": "VEV",
    "EVV": "EVV",
    "VVV": "full",
}
OTHERS: dict[str, Family[Any, Any]] = {
    family.name: family
    for family in (Bernoulli(), Categorical(), Poisson(), Exponential(), Gamma(), Lognormal())
}
STUDENTS: dict[str, Student] = {
    "full": Student("full", Full(), VVV()),
    "tied": Student("tied", Tied(), EEE()),
    "diag": Student("diag", Diag(), VVI()),
    "spherical": Student("spherical", Spherical(), VII()),
}

# The kernel of tied covariances has one precision for all components, but that of noise is 0.
NOISY: dict[str, Noise] = {
    name: Noise(Gaussian(name, Full(), Pooled()) if name == "tied" else gaussian)
    for name, gaussian in GAUSSIANS.items()
}

# These distributions have a family for each covariance type.
ELLIPTICAL: dict[str, Mapping[str, Family[Any, Any]]] = {"gaussian": GAUSSIANS, "student": STUDENTS}
DISTRIBUTIONS = (*ELLIPTICAL, *OTHERS)
SYNONYMS = {  # names that other libraries use
    "normal": "gaussian",
    "t": "student",
    "studentt": "student",
    "binary": "bernoulli",
    "binomial": "bernoulli",
    "multinomial": "categorical",
    "discrete": "categorical",
    "counts": "poisson",
    "lognorm": "lognormal",
    "expon": "exponential",
}
MIXABLE = ("gaussian", *OTHERS)


def family_of(distribution: Any, covariance_type: Any = None) -> Family[Any, Any]:
    """The family of these arguments of `fit`."""
    if isinstance(distribution, Mapping):
        return _mixed(distribution, covariance_type)
    family = _written(distribution)
    if family is None:
        also = ", a dict of these by column, or a fastem.Distribution" + _hint(distribution)
        name = check_one_of("distribution", distribution, DISTRIBUTIONS, also)
        if name in ELLIPTICAL:
            return ELLIPTICAL[name][_checked_type(covariance_type, name, "full")]
        family = OTHERS[name]
    if covariance_type is not None:
        raise ValueError(
            f'covariance_type must be left out unless distribution is "gaussian" or "student"; '
            f"got {covariance_type!r} with {family.name}."
        )
    return family


def noisy_family(family: Family[Any, Any]) -> Family[Any, Any]:
    """The family of mixtures with a component of noise. Raise an error if there is none."""
    if family.name not in NOISY:
        raise ValueError(
            f"noise_component must be False for {family.label}; got True. Only Gaussians have one; Student "
            'components (distribution="student") are robust to outliers without it.'
        )
    return NOISY[family.name]


def adaptable_family(family: Family[Any, Any]) -> Gaussian:
    """The family of a background model that can be adapted. Raise an error if it cannot be."""
    if not isinstance(family, Gaussian):
        raise TypeError(f"model must be a fastem.GaussianMixture to be adapted; got {family.label}.")
    return family


def _hint(distribution: Any) -> str:
    """Return the name that a user may have meant, in words."""
    if not isinstance(distribution, str) or distribution in DISTRIBUTIONS:
        return ""
    name = distribution.lower().replace("-", "").replace("_", "")
    near = [SYNONYMS[name]] if name in SYNONYMS else get_close_matches(name, DISTRIBUTIONS, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _checked_type(covariance_type: Any, name: str, default: str) -> str:
    families = ELLIPTICAL[name]
    given = default if covariance_type is None else covariance_type
    if isinstance(given, str) and given in families:
        return given
    synonyms = tuple(kind for kind, own in MCLUST.items() if own in families and own != kind)
    given = check_one_of("covariance_type", given, (*families, *synonyms))
    return MCLUST[given]


def _mixed(distribution: Mapping[Any, Any], covariance_type: Any) -> Mixed:
    """The family of columns of different kinds. They are not matched with those of rows yet."""
    for column, kind in distribution.items():
        if isinstance(column, bool) or not isinstance(column, (str, int)):
            raise TypeError(
                f"distribution as a dict must have names or numbers of columns as keys; got {column!r}."
            )
        check_one_of(f"distribution of column {column!r}", kind, MIXABLE)
    if not distribution:
        raise ValueError("distribution as a dict must have all columns as keys; got an empty one.")
    if covariance_type is not None and "gaussian" not in distribution.values():
        raise ValueError(
            f'covariance_type must be left out unless a column is "gaussian"; got {covariance_type!r}.'
        )
    return Mixed(block_family, distribution, _checked_type(covariance_type, "gaussian", "diag"))


def block_family(kind: str, covariance_type: str) -> Family[Any, Any]:
    """The family of the columns of one kind."""
    if kind not in MIXABLE or covariance_type not in GAUSSIANS:
        raise ValueError(f"its columns are of unknown kinds, {kind!r} and {covariance_type!r}")
    return GAUSSIANS[covariance_type] if kind == "gaussian" else OTHERS[kind]


def other_family(distribution: Any, covariance_type: Any = None) -> Family[Any, Any]:
    """The family of a mixture that is not Gaussian."""
    if not isinstance(distribution, Mapping) and _written(distribution) is None:
        also = " or a fastem.Distribution; Gaussian mixtures are made by fastem.GaussianMixture"
        check_one_of("distribution", distribution, DISTRIBUTIONS[1:], also)
    return family_of(distribution, covariance_type)


def _written(distribution: Any) -> Family[Any, Any] | None:
    """The family of a user's own; None if it is none."""
    if isinstance(distribution, type) and issubclass(distribution, Distribution):
        name = distribution.__name__
        raise TypeError(f"distribution must be an instance; got the class {name}. Pass {name}().")
    return Custom(distribution) if isinstance(distribution, Distribution) else None


def measured_family(family: Family[Any, Any]) -> Family[Any, Any]:
    """The family of the same mixture for rows with known noise."""
    if type(family) is not Gaussian:
        about = "noise_component=True" if family.extra else family.label
        raise ValueError(f"noise must be None for {about}; known noise is for Gaussian components alone.")
    return family.remade(Measured, family.missing)


def family_named(name: str, own: Family[Any, Any] | None, state: Mapping[str, Array]) -> Family[Any, Any]:
    """The family that a file or a message names; `own` is that of the user's distribution, if any."""
    return _family_named(name, own).with_state(state)


def _family_named(name: str, own: Family[Any, Any] | None) -> Family[Any, Any]:
    if own is not None:
        if own.name != name:
            raise ValueError(f"it is of {name}, and distribution is {own.name}; give its own, if any")
        return own
    known: dict[str, Family[Any, Any]] = {
        **GAUSSIANS,
        **{family.name: family for family in STUDENTS.values()},
        **OTHERS,
        **{family.name: family for family in NOISY.values()},
        Mixed.name: Mixed(block_family, {}, "diag"),
    }
    if name not in known:
        raise ValueError(f"it has the distribution {name}. Pass it as distribution={name}")
    return known[name]
