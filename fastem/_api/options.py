"""The options of `fit`, checked before any work starts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np

from fastem._api.clusters import KMeans
from fastem._api.inside import family_of_model
from fastem._api.missing import check_missing
from fastem._api.mixture import Mixture
from fastem._api.parameters import check_mixing_weights
from fastem._api.prior import Prior
from fastem._api.signatures import Callback
from fastem._checks import (
    check_bool,
    check_integer,
    check_nonnegative,
    check_numeric,
    check_one_of,
    check_responsibilities,
    check_seed,
    row_ranges,
)
from fastem._em.loop import Limits, StoppingRule, gain_to_come_below
from fastem._em.starts import INIT_NAMES
from fastem._families.base import Family
from fastem._families.frame import Frame, identity_frame
from fastem._families.registry import family_of, measured_family, noisy_family
from fastem._families.steps import P
from fastem._typing import Array, FloatArray

# Below the largest number of float64 by more than what M-steps multiply sums with.
_LARGEST_SUM = 1e305
# From a mean that is so many deviations of the rows away, float64 sees all rows at one point.
_FARTHEST = 1e15


class Options(NamedTuple, Generic[P]):
    """The checked options of `fit` that do not depend on X."""

    family: Family[P, Any]
    k: int
    restarts: int
    limits: Limits
    endless: bool  # whether the user asked for all max_iter iterations
    reg_covar: float | None  # None means "auto"
    accelerated: bool
    callback: Callback | None
    rng: np.random.SeedSequence | np.random.Generator
    hard: bool = False  # whether each row belongs to its likeliest component alone
    fixed: Mapping[str, Array] = {}  # parameters that stay as in init, with the components (K,) of bool
    sound_first: bool = True  # see `Likelihood`
    prior: Prior | None = None
    variational: bool = False  # whether to raise a bound of the evidence in place of the posterior
    missing: bool = False  # whether NaN is a number that is missing
    unwanted: Callable[[], bool] | None = None  # whether nobody waits for the fit any more


def check_options(
    k: Any,
    covariance_type: Any,
    distribution: Any,
    init: Any,
    n_init: Any,
    tol: Any,
    max_iter: Any,
    reg_covar: Any,
    acceleration: Any,
    callback: Any,
    rng: Any,
    assignment: Any = "soft",
    fixed: Any = (),
    prior: Any = None,
    noise_component: Any = False,
    inference: Any = "em",
    missing: Any = "error",
    measured: Any = False,
) -> Options[Any]:
    """`measured` says whether the user gives known noise of rows."""
    family = family_of(distribution, covariance_type)
    noisy = check_bool("noise_component", noise_component)
    family = noisy_family(family) if noisy else family
    k = check_integer("k", k, 1, "Pass the number of components.")
    if isinstance(init, str):
        also = ", labels (n,), responsibilities (n, k), a model or a dict of its parameters"
        check_one_of("init", init, INIT_NAMES, also)
    n_init = check_integer("n_init", n_init, 1)
    limits = check_limits(tol, max_iter)
    if callback is not None and not callable(callback):
        raise TypeError(
            f"callback must be callable as callback(iteration, log_likelihood, model); got {callback!r}."
        )
    hard = check_one_of("assignment", assignment, ("soft", "hard")) == "hard"
    variational = check_one_of("inference", inference, ("em", "variational")) == "variational"
    if missing != "error":
        _check_combination(missing, noisy, variational)
    allowed = check_missing(missing, family)
    if measured:
        measured_family(family)
        if variational:
            raise ValueError(
                'noise must be None with inference="variational"; they do not go together: leave one of them '
                "out."
            )
    if variational:
        _check_variational(family, hard, fixed)
        prior = "default" if prior is None else prior
    return Options(
        family,
        k,
        n_init if _leaves_choice(init, family) else 1,
        limits,
        not callable(tol) and limits.tol == 0,
        check_reg_covar(reg_covar, family),
        _check_acceleration(acceleration) and not hard and not variational,
        callback,
        check_seed(rng),
        hard,
        _check_fixed(fixed, family, init, k),
        prior=_check_prior(prior, family, variational),
        variational=variational,
        missing=allowed,
    )


def _leaves_choice(init: Any, family: Family[Any, Any]) -> bool:
    """Return whether starts can differ."""
    return isinstance(init, str) or (isinstance(init, Mapping) and family.location not in init)


def _check_fixed(fixed: Any, family: Family[Any, Any], init: Any, k: int) -> dict[str, Array]:
    allowed = ("weights", *family.separable, *family.holdable)
    if not isinstance(fixed, (str, Sequence, Mapping)):
        raise TypeError(
            f"fixed must be a sequence of names, or a dict of masks (k,) by name; got {fixed!r}. "
            "Pass () to fix nothing."
        )
    names = (fixed,) if isinstance(fixed, str) else tuple(fixed)
    for name in names:
        if name not in allowed:
            raise ValueError(
                f"fixed must hold names of parameters that can stay fixed for {family.label}: "
                f"{', '.join(allowed)}; got {name!r}."
            )
        given = isinstance(init, Mixture) or (isinstance(init, Mapping) and name in init)
        if not given:
            raise ValueError(
                f"fixed holds {name!r}, so init must give its values; got {init!r}. "
                f'Pass init={{"{name}": values}}, or a model.'
            )
    masks = {}
    for name in names:
        value = fixed[name] if isinstance(fixed, Mapping) else True
        mask = _mask(name, value, k + family.extra if name == "weights" else k)
        if mask.any():
            masks[name] = mask
    family.check_fixed(masks)
    return masks


def _mask(name: str, value: Any, k: int) -> Array:
    """Return the components in which a parameter is fixed. True stands for all of them."""
    mask = np.asarray(value)
    if mask.dtype != np.bool_ or mask.shape not in ((), (k,)):
        raise ValueError(
            f"fixed[{name!r}] must be a mask of bool with shape ({k},), or True for all components; "
            f"got {value!r}."
        )
    return np.broadcast_to(mask, k).copy()


def _check_combination(missing: Any, noisy: bool, variational: bool) -> None:
    for other, given in (("noise_component=True", noisy), ('inference="variational"', variational)):
        if given:
            raise ValueError(
                f'missing must be "error" with {other}; got {missing!r}. They do not go together: leave one '
                "of them out."
            )


def _check_variational(family: Family[Any, Any], hard: bool, fixed: Any) -> None:
    if family.extra:
        raise ValueError(
            'inference must be "em" with noise_component=True; got "variational". They do not go together: '
            "pass one of them."
        )
    if not family.has_variational:
        raise ValueError(
            f'inference must be "em" for {family.label}; got "variational", which is for Gaussians whose '
            "covariances are full, tied, diag or spherical."
        )
    if hard or len(fixed):
        name, value = ("assignment", "hard") if hard else ("fixed", fixed)
        raise ValueError(f'inference must be "em" with {name}={value!r}; got "variational".')


def _check_prior(prior: Any, family: Family[Any, Any], variational: bool) -> Prior | None:
    if prior is None:
        return None
    if not isinstance(prior, Prior) and not (isinstance(prior, str) and prior == "default"):
        raise TypeError(f'prior must be None, "default" or a fastem.Prior; got {prior!r}.')
    if family.extra:
        raise ValueError(
            f"prior must be None with noise_component=True; got {prior!r}. They do not go together: pass one "
            "of them."
        )
    if family.conjugate_prior is None:
        raise ValueError(
            f"prior must be None for {family.label}; got {prior!r}. There are priors for Gaussians alone."
        )
    chosen = Prior() if isinstance(prior, str) else prior
    if variational:
        return chosen
    if chosen.weight_concentration_type == "dirichlet_process":
        raise ValueError(
            'weight_concentration_type of the prior must be None or "dirichlet_distribution" for EM; got '
            '"dirichlet_process". Pass inference="variational".'
        )
    if chosen.weight_concentration is not None and chosen.weight_concentration < 1:
        raise ValueError(
            "weight_concentration of the prior must be at least 1 for EM, or weights of 0 have a posterior "
            f"without bound; got {chosen.weight_concentration:g}. Pass None or 1 for a flat prior."
        )
    return chosen


def check_limits(tol: Any, max_iter: Any) -> Limits:
    converged: StoppingRule
    if callable(tol):
        number, converged = 0.0, tol
    else:
        number = check_nonnegative("tol", tol, "It is the gain in mean log-likelihood below which to stop.")
        converged = gain_to_come_below(number)
    return Limits(converged, number, check_integer("max_iter", max_iter, 0))


def _check_acceleration(acceleration: Any) -> bool:
    if acceleration is not None:
        check_one_of("acceleration", acceleration, ("auto",), " or None")
    return acceleration is not None


def check_reg_covar(reg_covar: Any, family: Family[Any, Any]) -> float | None:
    """Return a number, or None for "auto"."""
    remedy = 'Pass "auto" for a millionth of each feature\'s variance.'
    if isinstance(reg_covar, str):
        if reg_covar != "auto":
            raise ValueError(f'reg_covar must be a number or "auto"; got {reg_covar!r}. {remedy}')
        return None
    number = check_nonnegative("reg_covar", reg_covar, remedy)
    if not family.has_covariances:
        raise ValueError(
            f"reg_covar must be left out for {family.label}, which has no covariances; got {reg_covar!r}."
        )
    return number


def check_size_of_reg_covar(reg_covar: float | None, frame: Frame, weight: float) -> None:
    """Raise an error if what is added to variances overflows in sums over rows of so much weight in all."""
    narrowest = float(frame.scale.min())  # a product of floats that overflows is infinite
    most = _LARGEST_SUM / (max(float(weight), 1.0) * len(frame.scale)) * narrowest * narrowest
    if reg_covar is not None and reg_covar > most:
        raise ValueError(
            f"reg_covar must be at most {most:.3g} beside these rows, or sums over them overflow; got "
            f"{reg_covar:g}. Pass less, in squared units of X."
        )


def check_parameters(
    init: Mapping[str, Any], family: Family[P, Any], k: int, d: int
) -> dict[str, FloatArray]:
    """Return the given parameters by name, checked: some of the weights and those of the family."""
    origin = family.origin(k, d)
    if origin is None:
        raise TypeError(
            f"init must not be a dict for {family.label}, whose parameters are yours. Pass a fastem.Mixture."
        )
    allowed = ("weights", *family.parameter_names)
    if not init or set(init) - set(allowed):
        raise ValueError(
            f"init as a dict must have some of the names {', '.join(allowed)}, as arrays; got {list(init)}."
        )
    if family.location is not None and family.location in init:
        shape = np.shape(init[family.location])
        if shape != (k, d):
            raise ValueError(
                f"init {family.location} must have shape (k, d) = {(k, d)}, one row a component; got {shape}."
            )
    place = family.to_user(origin, identity_frame(np.zeros(d)))
    weights = check_mixing_weights(init.get("weights", place.weights))
    if weights.shape != place.weights.shape:
        shape = place.weights.shape
        raise ValueError(f"init weights must have shape {shape} for k={k}; got shape {weights.shape}.")
    values = {**family.values(place), **{name: init[name] for name in init if name != "weights"}}
    checked = family.check(weights, values, d)
    known = {"weights": checked.weights, **family.values(checked)}
    return {name: known[name] for name in init}


def check_nearness(init: Any, family: Family[Any, Any], frame: Frame) -> None:
    """Raise an error if a mean of `init` is so far away from the rows that none can belong to it."""
    name, known = family.location, init.parameters if isinstance(init, Mixture) else init
    if name is None or not (family.has_covariances and isinstance(known, Mapping) and name in known):
        return  # frames have the deviations of rows, not those of counts
    centres = known[name]
    far = ~(np.abs(frame.standardise(centres)) <= _FARTHEST)
    if far.any():
        component, j = np.unravel_index(np.argmax(far), far.shape)
        raise ValueError(
            f"init {name} must be within {_FARTHEST:g} deviations of the rows, or none can belong "
            f"to them; that of component {component} is {centres[component, j]:g} in column {j}, where the "
            f"mean of the rows is {frame.mean[j]:.3g} and their deviation about {frame.scale[j]:.3g}. Give "
            "them in the units of X, or leave init out."
        )


def check_init(init: Any, family: Family[Any, Any], n_samples: int, k: int, d: int) -> str | Array:
    """Return a name, checked labels or checked responsibilities."""
    if isinstance(init, str):
        return init
    if isinstance(init, KMeans):
        raise TypeError(
            "init must not be a KMeans, which has centers alone. Pass "
            f'init={{"{family.location or "means"}": km.centers}} for a KMeans km.'
        )
    array = check_numeric(init, "init")
    if family.location is not None and array.shape == (k, d) != (n_samples, k):
        raise ValueError(
            f"init must not be an array of shape (k, d) = {(k, d)}. "
            f'Pass known centres as init={{"{family.location}": centres}}.'
        )
    if array.ndim == 1:
        return _check_labels(array, n_samples, k)
    if array.ndim == 2:
        return check_responsibilities(array, n_samples, k, "init responsibilities")
    raise ValueError(
        f"init must be a name, labels of shape (n,), responsibilities of shape (n, k), a model or a dict of "
        f"its parameters; "
        f"got {type(init).__name__} with {array.ndim} dimensions."
    )


def check_start(model: Mixture[Any], family: Family[Any, Any], k: int, d: int) -> None:
    """Check a model that is given as `init`."""
    wanted = {"n_components": k, "n_features": d}
    for name, value in wanted.items():
        if getattr(model, name) != value:
            raise ValueError(
                f"init as a model must have {name}={value!r} for this fit; it has {getattr(model, name)!r}."
            )
    label = family_of_model(model).label
    if label != family.label:
        raise ValueError(
            f"init as a model must have {family.label} for this fit; it has {label}."
            f"{_on_noise(family_of_model(model), family)}"
        )
    if not family.agrees_with(family_of_model(model)):
        raise ValueError(
            "init as a model must have the categories that X has in each column; it has others. Make a "
            "fastem.Mixture with those of X, or fit from another start."
        )


def _on_noise(one: Family[Any, Any], wanted: Family[Any, Any]) -> str:
    """Return what to do if a model has a component of noise and the fit has none, or the reverse."""
    if one.extra == wanted.extra:
        return ""
    if one.extra:
        return " Pass noise_component=True to go on from a model with noise."
    return ' To start from it with noise, pass its parameters: init={"means": model.means}.'


def _check_labels(labels: Array, n_samples: int, k: int) -> Array:
    if labels.shape != (n_samples,):
        raise ValueError(f"init labels must have shape ({n_samples},), one a row; got shape {labels.shape}.")
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"init labels must be integers from 0 to k - 1; got dtype {labels.dtype}. Convert them with "
            "numpy.asarray(init, int)."
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= k:
        raise ValueError(f"init labels must lie from 0 to k - 1 = {k - 1}; got labels from {low} to {high}.")
    counts = np.zeros(k, np.int64)
    for rows in row_ranges(n_samples):
        counts += np.bincount(labels[rows].astype(np.intp), minlength=k)
    if (counts == 0).any():
        raise ValueError(
            f"init labels must use every component; component {int(np.argmin(counts))} of k={k} has no row."
        )
    return labels
