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
def count_within(numbers, limit):
    """Return how many numbers are at most so large."""
    count = 0
    for i in range(numbers.shape[0]):
        count += 1 if numbers[i] <= limit else 0
    return count


@kernel
def smallest(numbers, wanted, guess):
    """Return the least of the numbers (n,), all 0 or more, that `wanted` of them do not exceed. IN guess > 0

    To count them for some limits takes less time than to put them in order.
    """
    if count_within(numbers, 0.0) >= wanted:
        return 0.0
    low, high = 0.0, guess
    count = count_within(numbers, high)
    while count < wanted:
        low, high = high, 2 * high
        count = count_within(numbers, high)
    while count > wanted:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        within = count_within(numbers, middle)
        if within < wanted:
            low = middle
        else:
            high, count = middle, within
    largest = 0.0
    for i in range(numbers.shape[0]):
        if numbers[i] <= high and numbers[i] > largest:
            largest = numbers[i]
    return largest


@kernel
def compare(numbers, near, wide, best, guess):
    """Return whether the number in place `wide` is more than `best` times that in place `near`.

    Also return the limit at which counts told it. Places are those of the order, from 1. IN guess > 0
    """
    low, high, limit = 0.0, np.inf, guess
    while low < limit < high:
        inner, outer, wider = 0, 0, best * limit
        for i in range(numbers.shape[0]):
            inner += 1 if numbers[i] <= limit else 0
            outer += 1 if numbers[i] <= wider else 0
        if inner < near:
            if outer >= wide:
                return False, limit
            low = limit
        else:
            if outer < wide:
                return True, limit
            high = limit
        limit = 2 * low if high == np.inf else 0.5 * (low + high)
    return False, guess


@kernel
def measure(points, row, distances):
    """OUT distances (n,): squared, of points (d, n) from one of them"""
    d, n = points.shape
    for i in range(n):
        distances[i] = 0.0
    for j in range(d):
        place = points[j, row]
        for i in range(n):
            gap = points[j, i] - place
            distances[i] += gap * gap


@kernel
def find_spot(points, places, near, wide, distances, inside):
    """OUT inside (n,): 1 for the rows of the place, of those around some rows, that is densest

    A place has the `near` nearest rows. It is compared with that of the `wide` nearest. Uniforms tell the
    `places`. distances (n,) are scratch.
    """
    n, best, densest, within, guess = points.shape[1], 0.0, 0, 0.0, 1.0
    for p in range(places.shape[0]):
        row = np.int64(places[p] * n)
        row = row if row < n else n - 1
        measure(points, row, distances)
        denser, guess = compare(distances, near, wide, best, guess)
        if denser:
            reach = smallest(distances, near, guess)
            if reach > 0:
                best, densest, within = smallest(distances, wide, 2 * reach) / reach, row, reach
    measure(points, densest, distances)
    for i in range(n):
        inside[i] = 1.0 if distances[i] <= within else 0.0
