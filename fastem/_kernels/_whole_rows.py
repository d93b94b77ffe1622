"""Whole fits of small data: standard coordinates, and how k-means sees the rows."""

import numpy as np

from fastem._kernels._jit import kernel

# What the rows of an array about features hold.
MEANS, SCALES, VARIANCES, OWN, MORE = np.int64(0), np.int64(1), np.int64(2), np.int64(3), np.int64(4)
# Rows are whitened only if no feature, given those before it, has less than this part of its variance left.
_LEAST_PIVOT = 1e-6
_POWER_STEPS = 12  # of the inverse iteration for the direction of least kurtosis
# Variances beyond these leave the range of float64, or nearly so.
_SMALLEST, _LARGEST = 1e-301, 1e303
# A mean this many deviations from 0 leaves few digits.
_FARTHEST = 1e6
# Another scale makes no difference to k-means where variances differ less than this many times.
_ROUND = 1.5


@kernel
def standardise(X, isotropic, about, points):
    """Return whether the rows X (n, d) are finite, and vary by what numbers can tell.

    OUT about (5, d): means, scales and variances in user units; points (d, n): in standard coordinates
    """
    (n, d), mean_variance = X.shape, 0.0
    for j in range(d):
        total = 0.0
        for i in range(n):
            total += X[i, j]
        mean = total / n
        square = 0.0
        for i in range(n):
            gap = X[i, j] - mean
            points[j, i] = gap
            square += gap * gap
        variance = square / n
        if not (variance < _LARGEST and variance > _SMALLEST and abs(mean) < _FARTHEST * np.sqrt(variance)):
            return False
        about[MEANS, j], about[VARIANCES, j] = mean, variance
        mean_variance += variance / d
    for j in range(d):
        scale = np.sqrt(mean_variance if isotropic else about[VARIANCES, j])
        about[SCALES, j] = scale
        for i in range(n):
            points[j, i] /= scale
    return True


@kernel
def invert_factor(matrix, inverse):
    """Return whether a matrix (d, d), given by its lower triangle, is clearly positive definite.

    OUT inverse: of its Cholesky factor, in the lower triangle. matrix is overwritten by the factor.
    """
    d = matrix.shape[0]
    for i in range(d):
        whole = matrix[i, i]
        for j in range(i + 1):
            total = matrix[i, j]
            for t in range(j):
                total -= matrix[i, t] * matrix[j, t]
            if j < i:
                matrix[i, j] = total / matrix[j, j]
            elif not total > _LEAST_PIVOT * whole:
                return False
            else:
                matrix[i, i] = np.sqrt(total)
        for t in range(i):
            total = 0.0
            for j in range(t, i):
                total += matrix[i, j] * inverse[j, t]
            inverse[i, t] = -total / matrix[i, i]
        inverse[i, i] = 1 / matrix[i, i]
    return True


@kernel
def see(points, about, seen, squares, matrix, inverse):
    """Return how many geometries there are, or 0 if the rows are hardly apart. OUT seen (4, d, n) of float32

    They are rows with variance 1 in each feature, whitened, in the direction of least kurtosis alone, and
    with one scale for all features. squares (n,), matrix and inverse (d, d), and more of `about` are scratch.
    """
    (d, n), least, largest, mean = points.shape, np.inf, 0.0, 0.0
    for j in range(d):
        variance = about[VARIANCES, j]
        least = variance if variance < least else least
        largest = variance if variance > largest else largest
        mean += variance / d
        about[OWN, j] = about[SCALES, j] / np.sqrt(variance)
        for i in range(n):
            seen[0, j, i] = points[j, i] * about[OWN, j]
    if d == 1:
        return 1
    mean = np.sqrt(mean)
    for j in range(d):
        for i in range(n):
            seen[3, j, i] = points[j, i] * (about[SCALES, j] / mean)
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for b in range(n):
                total += points[i, b] * points[j, b]
            matrix[i, j] = total / n * about[OWN, i] * about[OWN, j]
    if not invert_factor(matrix, inverse):
        return 0
    for b in range(n):
        squares[b] = 0.0
    for i in range(d):
        for b in range(n):
            total = 0.0
            for j in range(i + 1):
                total += inverse[i, j] * about[OWN, j] * points[j, b]
            seen[1, i, b] = total
            squares[b] += total * total
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for b in range(n):
                total += squares[b] * seen[1, i, b] * seen[1, j, b]
            matrix[i, j] = total / n
    if not invert_factor(matrix, inverse):
        return 0
    direct(inverse, about)
    for b in range(n):
        total = 0.0
        for i in range(d):
            total += about[OWN, i] * seen[1, i, b]
        seen[2, 0, b] = total
    return 4 if largest > _ROUND * least else 3


@kernel
def direct(inverse, about):
    """OUT about[OWN]: of length 1, for which a matrix is least, given the inverse of its factor

    about[MORE] is scratch
    """
    d = inverse.shape[0]
    for i in range(d):
        about[OWN, i] = 1.0 + 0.1 * i
    for _ in range(_POWER_STEPS):
        length = 0.0
        for i in range(d):
            about[MORE, i] = 0.0
            for j in range(i + 1):
                about[MORE, i] += inverse[i, j] * about[OWN, j]
        for i in range(d):
            about[OWN, i] = 0.0
            for j in range(i, d):
                about[OWN, i] += inverse[j, i] * about[MORE, j]
            length += about[OWN, i] * about[OWN, i]
        for i in range(d):
            about[OWN, i] /= np.sqrt(length)


@kernel
def smallest(numbers, count, wanted):
    """Return the number that is in place `wanted` of the first `count`, in order. Reorders them."""
    low, high = 0, count - 1
    while low < high:
        pivot, i, j = numbers[(low + high) // 2], low, high
        while i <= j:
            while numbers[i] < pivot:
                i += 1
            while numbers[j] > pivot:
                j -= 1
            if i <= j:
                numbers[i], numbers[j] = numbers[j], numbers[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            return numbers[wanted]
    return numbers[wanted]


@kernel
def find_spot(points, places, near, wide, distances, ordered, inside):
    """OUT inside (n,): 1 for the rows of the place, of those around some rows, that is densest

    A place has the `near` nearest rows. It is compared with that of the `wide` nearest. Uniforms tell the
    `places`. distances and ordered (n,) are scratch.
    """
    (d, n), best, densest = points.shape, -1.0, 0
    for p in range(places.shape[0] + 1):
        row = np.int64(places[p] * n) if p < places.shape[0] else densest
        row = row if row < n else n - 1
        for i in range(n):
            distances[i] = 0.0
        for j in range(d):
            place = points[j, row]
            for i in range(n):
                gap = points[j, i] - place
                distances[i] += gap * gap
        for i in range(n):
            ordered[i] = distances[i]
        around = smallest(ordered, n, wide - 1)
        reach = smallest(ordered, wide, near - 1)
        if p < places.shape[0]:
            ratio = around / reach if reach > 0 else 0.0
            if ratio > best:
                best, densest = ratio, row
        else:
            for i in range(n):
                inside[i] = 1.0 if distances[i] <= reach else 0.0
