"""Whether the known noise of rows can be a covariance."""

import numpy as np

from fastem._kernels._jit import entry_kernel, kernel


@kernel
def can_be_covariance(S, i, tolerance, L):
    """Return whether S[i] is finite, symmetric and positive semidefinite, but for rounding.

    S (n, d, d), or (n, 1, d) if it has variances. The factors L D L' are found row by row: L has L D.
    """
    d = S.shape[2]
    for a in range(d):
        variance = S[i, a if S.shape[1] == d else 0, a]
        if not (0 <= variance < np.inf):
            return False
    if S.shape[1] < d:
        return True
    for a in range(d):
        for b in range(a):
            size = np.sqrt(S[i, a, a]) * np.sqrt(S[i, b, b])
            if not abs(S[i, a, b] - S[i, b, a]) <= tolerance * size:
                return False
            rest = S[i, a, b]
            for c in range(b):
                if L[c, c] > tolerance * S[i, c, c]:
                    rest -= L[a, c] * L[b, c] / L[c, c]
            if L[b, b] <= tolerance * S[i, b, b]:  # b is determined by the features before it
                if not abs(rest) <= np.sqrt(tolerance) * size:
                    return False
                rest = 0.0
            L[a, b] = rest
        rest = S[i, a, a]
        for c in range(a):
            if L[c, c] > tolerance * S[i, c, c]:
                rest -= L[a, c] * L[a, c] / L[c, c]
        if not rest >= -tolerance * S[i, a, a]:
            return False
        L[a, a] = rest
    return True


@entry_kernel
def slot_noise_check(S, tolerance, bad, slot):
    """OUT bad[slot]: the first row of the slot that can be no covariance, or n; IN tolerance (1,)"""
    n, slots = S.shape[0], bad.shape[0]
    L = np.zeros((S.shape[2], S.shape[2]))
    bad[slot] = n
    for i in range(n * slot // slots, n * (slot + 1) // slots):
        if not can_be_covariance(S, i, tolerance[0], L):
            bad[slot] = i
            return
