"""Axes that several scatter matrices share, found by turns of two axes into each other (Jacobi's method)."""

import math

from fastem._kernels._jit import entry_kernel, kernel


@kernel
def geometric_mean_of_diagonal(matrix):
    total = 0.0
    for i in range(len(matrix)):
        total += math.log(matrix[i, i])
    return math.exp(total / len(matrix))


@kernel
def turn(scatters, axes, i, j, cosine, sine):
    """Turn axis i by an angle towards axis j, and axis j along with it."""
    d = len(axes)
    for row in range(d):
        a, b = axes[row, i], axes[row, j]
        axes[row, i], axes[row, j] = cosine * a + sine * b, cosine * b - sine * a
    for c in range(len(scatters)):
        for row in range(d):
            a, b = scatters[c, row, i], scatters[c, row, j]
            scatters[c, row, i], scatters[c, row, j] = cosine * a + sine * b, cosine * b - sine * a
        for column in range(d):
            a, b = scatters[c, i, column], scatters[c, j, column]
            scatters[c, i, column], scatters[c, j, column] = cosine * a + sine * b, cosine * b - sine * a


@entry_kernel
def turn_axes(scatters, axes, weights, one_volume, max_sweeps, precision):
    """Turn the axes to where the likelihood of the scatters has a maximum, two of them at a time.

    Given variances along the axes, the best angle between two axes is known. Then the variances follow the
    scatters. With `one_volume`, all components have the same determinant (EVE), otherwise not (VVE).

    INOUT scatters (K, d, d): in the coordinates of the axes; axes (d, d): in columns
    IN    weights (K,): sums of the responsibilities
    """
    k, d = scatters.shape[0], scatters.shape[1]
    scales = weights.copy()
    for _ in range(max_sweeps):
        largest = 0.0
        for i in range(d - 1):
            for j in range(i + 1, d):
                cosine, sine = 0.0, 0.0
                for c in range(k):
                    if one_volume:
                        scales[c] = geometric_mean_of_diagonal(scatters[c])
                    gap = scales[c] / scatters[c, i, i] - scales[c] / scatters[c, j, j]
                    cosine += gap * (scatters[c, j, j] - scatters[c, i, i]) / 2
                    sine -= gap * scatters[c, i, j]
                angle = math.atan2(sine, cosine) / 2
                largest = max(largest, abs(angle))
                turn(scatters, axes, i, j, math.cos(angle), math.sin(angle))
        if not largest > precision:
            break
