"""Parameters that stay as `init` gives them."""

from typing import Any

import numpy as np

from fastem._api.inside import user_parameters
from fastem._api.mixture import Mixture
from fastem._api.options import Options
from fastem._families.base import Family
from fastem._families.frame import Frame
from fastem._families.given import Held
from fastem._typing import Array, FloatArray


def held_of(given: Any, options: Options[Any], frame: Frame, known: Array) -> Held:
    """Return the parameters that are fixed, from a checked `init`: a model, or some parameters by name.

    `known` are the labels that some rows have.
    """
    family = options.family
    if isinstance(given, Mixture):
        user = user_parameters(given)
    else:
        user = _completed(given, family, options.k, frame)
    held = Held(options.fixed, family.from_user(user, frame), user)
    fixed = held.of("weights")
    if (fixed & (user.weights == 0))[known].any():
        raise ValueError(
            "weights that are fixed must be above 0 for components with known rows in labels; "
            f"got {user.weights}. Raise them, or leave these labels out."
        )
    return held


def _completed(given: dict[str, FloatArray], family: Family[Any, Any], k: int, frame: Frame) -> Any:
    """Return all parameters in user units. Those that are not given, and so not fixed, are arbitrary."""
    place = family.to_user(family.origin(k, len(frame.mean)), frame)
    weights = given.get("weights", np.full(k, 1 / k))
    values = {name: given.get(name, value) for name, value in family.values(place).items()}
    return family.check(weights, values, len(frame.mean))
