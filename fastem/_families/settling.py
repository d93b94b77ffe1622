"""When sums for known responsibilities, whose expectations depend on the parameters, need no other pass."""

import numpy as np

from fastem._families.layouts import GaussianParameters, Layout

REFINEMENTS = 30  # passes about the parameters of the pass before, at most
# These passes go on until means move less than this many deviations, and deviations by less than this part.
_SETTLED = 0.05


def settled(layout: Layout, before: GaussianParameters, after: GaussianParameters) -> bool:
    """Return whether a pass about `before` found nearly the same."""
    d = after.means.shape[1]
    old, new = (np.sqrt(layout.variances(it.covariances, d)) for it in (before, after))
    moved = np.abs(after.means - before.means) / new
    return bool((moved < _SETTLED).all() and (np.abs(np.log(new / old)) < _SETTLED).all())
