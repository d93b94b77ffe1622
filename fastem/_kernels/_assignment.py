"""Points that belong to one component: those whose component is known, and all of them in hard assignment.

Only the log-density of that component stays. The E-step then gives it the whole point, and the likelihood is
that of the point and its component (Bishop 2006, eq. 9.36; Celeux and Govaert 1992).
"""

import numpy as np

from fastem._kernels._jit import kernel
from fastem._kernels._layout import PEAKS, TOTALS
from fastem._kernels._simd import lanes, splat, store, tile_rows
from fastem._kernels._tile import find_labels

# A point that its component cannot produce belongs to it all the same. So its log-density must be more than
# the least that `find_peaks` tells apart.
_LEAST = np.float32(-1e36)


@kernel
def keep_known(labels, start, size, space, shares, K):
    """OUT the shares: -inf for all components but the known one, for points whose label is not negative"""
    for b in range(size):
        label = labels[start + b]
        if label >= 0:
            own = max(space[shares + label, b], _LEAST)
            for k in range(shares, shares + K):
                space[k, b] = -np.inf
            space[shares + label, b] = own


@kernel
def keep_best(space, shares, K):
    """OUT the shares: -inf for all components but the likeliest one, or the first of these"""
    nothing = splat(space.dtype.type(-np.inf))
    find_labels(space, shares, K, PEAKS, TOTALS)
    for k in range(shares, shares + K):
        for b in range(0, tile_rows(space), lanes(space)):
            store(space, k, b, nothing)
    for b in range(tile_rows(space)):
        space[shares + int(space[TOTALS, b]), b] = max(space[PEAKS, b], _LEAST)
