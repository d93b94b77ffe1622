"""Responsibilities in NumPy, for families without a kernel."""

import numpy as np

from fastem._typing import Array, FloatArray

LN2 = float(np.log(2))


def joint_densities(log_densities: FloatArray, weights: FloatArray) -> FloatArray:
    """Return log-densities (m, K) with the weights (K,)."""
    with np.errstate(divide="ignore"):
        return np.asarray(log_densities + np.log(weights))


def normalised(joint: FloatArray, own: Array | None = None) -> tuple[FloatArray, FloatArray]:
    """Return log p(x) (m,) and responsibilities (m, K) from log-densities with the weights, in place.

    If no component can produce a row, the row has the same responsibility for all components. `own` (m,) is
    the component that a row belongs to alone, or negative.
    """
    if own is not None:
        alone = np.flatnonzero(own >= 0)
        only = own[alone]
        kept = joint[alone, only]
        joint[alone] = -np.inf
        joint[alone, only] = kept
    peak = joint.max(axis=1, keepdims=True)
    impossible = peak[:, 0] == -np.inf
    joint[impossible], peak[impossible] = 0.0, 0.0
    joint -= peak
    r = np.exp(joint, out=joint)
    total = r.sum(axis=1, keepdims=True)
    r /= total
    log_p = (peak + np.log(total))[:, 0]
    log_p[impossible] = -np.inf
    if own is not None:
        r[alone] = 0.0
        r[alone, only] = 1.0
    return log_p, r
