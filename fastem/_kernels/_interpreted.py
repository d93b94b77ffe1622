"""The functions of `_simd` for NUMBA_DISABLE_JIT=1. Vectors are short NumPy arrays, and accesses are checked.

Compiled code computes addresses from constants and shapes, not from the strides of an array, and checks
nothing. Here it is an error if it would access another place than the one that the indices mean.
"""

import functools

import numpy as np

from fastem._kernels._layout import (
    BLOCK_ROWS,
    BLOCK_VECTORS,
    CACHE_LINE,
    PAIR_ROWS,
    STRIDE_BYTES,
    TILE_BYTES,
    VECTOR_BYTES,
)


class AddressError(Exception):
    """Compiled code would read or write another place."""


def _check(holds, rule, *values):
    if not holds:
        raise AddressError(rule.format(*values))


def _check_range(name, first, count, size):
    _check(0 <= first and first + count <= size, "{} {} to {} of {}", name, first, first + count - 1, size)


def _check_tile(array, i, rows, b):
    """Check access to the vectors that start at column b of `rows` rows, starting at row i."""
    _check(array.ndim == 2 and array.dtype in (np.float32, np.float64), "a tile of {}", array.dtype)
    _check_range("rows", i, rows, array.shape[0])
    _check_range("columns", b, lanes(array), array.shape[1])
    stride, step = array.strides
    _check(step == array.itemsize, "numbers of a row {} bytes apart", step)
    if i + rows > 1:
        _check(stride == STRIDE_BYTES, "rows {} bytes apart instead of {}", stride, STRIDE_BYTES)


def _check_c_order(array, dtype, ndim):
    _check(array.dtype == dtype and array.ndim == ndim, "{} dimensions of {}", array.ndim, array.dtype)
    _check(array.flags.c_contiguous, "an array that is not in C order")


def lanes(array):
    return VECTOR_BYTES // array.itemsize


def tile_rows(array):
    return TILE_BYTES // array.itemsize


def stride(array):
    return STRIDE_BYTES // array.itemsize


def aligned_rows(buffer, rows, columns):
    start = (-buffer.ctypes.data % CACHE_LINE) // buffer.itemsize
    return buffer[start : start + rows * columns].reshape((rows, columns))


def section(array, i):
    _check(array.flags.c_contiguous, "an array that is not in C order")
    _check_range("sections", i, 1, len(array))
    return array[i]


def front(array, count):
    _check(array.flags.c_contiguous, "an array that is not in C order")
    _check_range("sections", 0, count, len(array))
    return array[:count]


def load(array, i, b):
    _check_tile(array, i, 1, b)
    return array[i, b : b + lanes(array)].copy()


def store(array, i, b, vector):
    _check_tile(array, i, 1, b)
    _check(vector.dtype == array.dtype, "{} in a row of {}", vector.dtype, array.dtype)
    _check(vector.shape == (lanes(array),), "a vector of shape {}", vector.shape)
    array[i, b : b + lanes(array)] = vector


def load4(array, i, b):
    return tuple(load(array, i, b + v * lanes(array)) for v in range(4))


def store4(array, i, b, *vectors):
    for v, vector in enumerate(vectors):
        store(array, i, b + v * lanes(array), vector)


def load_flat(array, offset):
    _check(array.flags.c_contiguous, "an array that is not in C order")
    _check_range("numbers", offset, lanes(array), array.size)
    return array.reshape(-1)[offset : offset + lanes(array)].copy()


def store_flat(array, offset, vector):
    _check(array.flags.c_contiguous, "an array that is not in C order")
    _check_range("numbers", offset, lanes(array), array.size)
    _check(vector.dtype == array.dtype, "{} in an array of {}", vector.dtype, array.dtype)
    array.reshape(-1)[offset : offset + lanes(array)] = vector


def load_column(X, i, j):
    _check(X.dtype in (np.float32, np.float64), "a vector of {}", X.dtype)
    _check_c_order(X, X.dtype, 2)
    _check_range("rows", i, lanes(X), X.shape[0])
    _check_range("columns", j, 1, X.shape[1])
    return X[i : i + lanes(X), j].copy()


def load_transposed(X, i, j, shift, inverse_scale, tile, top, b):
    _transpose(X, i, np.arange(lanes(X)), j, shift, inverse_scale, tile, top, b)


def gather_transposed(X, i, size, index, t, j, shift, inverse_scale, tile, top, b):
    _check_c_order(index, np.int64, 1)
    _check_range("positions", t, lanes(X), len(index))
    rows = np.minimum(index[t : t + lanes(X)], size - 1)
    _transpose(X, i, rows, j, shift, inverse_scale, tile, top, b)


def _transpose(X, i, rows, j, shift, inverse_scale, tile, top, b):
    _check_c_order(X, tile.dtype, 2)
    for row in (rows.min(), rows.max()):
        _check_range("rows", i + row, 1, X.shape[0])
    _check_range("columns", j, lanes(X), X.shape[1])
    for array in (shift, inverse_scale):
        _check_c_order(array, tile.dtype, 1)
        _check_range("features", j, lanes(X), len(array))
    _check_tile(tile, top + j, lanes(X), b)
    c, r = slice(j, j + lanes(X)), slice(b, b + lanes(X))
    tile[top + j : top + j + lanes(X), r] = ((X[i + rows, c] - shift[c]) * inverse_scale[c]).T


def take(table, i, j, tile, row, b):
    labels = load(tile, row, b).astype(np.int64)
    _check_c_order(table, tile.dtype, 3)
    for axis, index in enumerate((i, j, labels.min(), labels.max())):
        _check_range("an index", index, 1, table.shape[min(axis, 2)])
    return table[i, j, labels]


def splat(scalar):
    return np.full(VECTOR_BYTES // scalar.itemsize, scalar)


def sum4(a, b, c, d):
    return a.sum(), b.sum(), c.sum(), d.sum()


def choose(a, b, x, y):
    return np.where(a > b, x, y)


def above(a, b):
    return sum(1 << lane for lane in range(len(a)) if a[lane] > b[lane])


def absent(X, i, j):
    _check_c_order(X, X.dtype, 2)
    place = i * X.shape[1] + j
    _check_range("numbers", place, lanes(X), X.size)
    return int(np.isnan(X.reshape(-1)[place : place + lanes(X)]) @ (1 << np.arange(lanes(X))))


def lowest_bit(word):
    return int(word & -word).bit_length() - 1


def squared_gap(X, i, places, k, scale):
    _check_c_order(X, X.dtype, 2)
    _check_c_order(places, np.float64, 2)
    _check(X.shape[1] == places.shape[1], "a row of {} and a centre of {}", X.shape[1], places.shape[1])
    z = (X[i] - places[k]) * scale
    return z @ z


def add_gap(X, i, places, k, scale, weight, first, slot):
    _check_c_order(first, np.float64, 3)
    first[slot, k] += weight * ((X[i] - places[k]) * scale)
    return squared_gap(X, i, places, k, scale)


def _places(array, first, stride, count, run):
    """Return the numbers of an array, as a copy, and their places: `count` runs of `run`, `stride` apart."""
    _check(array.flags.c_contiguous, "an array that is not in C order")
    places = first + stride * np.arange(count)[:, None] + np.arange(run)
    if places.size:
        _check_range("numbers", places.min(), int(np.ptp(places)) + 1, array.size)
    return array.reshape(-1)[places], places


def add_product(
    A, a, row, step, B, b, width, count, C, c, stride, height=int(BLOCK_ROWS), vectors=int(BLOCK_VECTORS)
):
    run = vectors * lanes(B)
    lines = [_places(A, a + i * row, step, count, 1)[0][:, 0] for i in range(height)]
    before, places = _places(C, c, stride, height, run)
    C.reshape(-1)[places] = before + np.array(lines) @ _places(B, b, width, count, run)[0]


def set_product(
    A, a, row, step, B, b, width, count, C, c, stride, offsets, o, height=int(BLOCK_ROWS),
    vectors=int(BLOCK_VECTORS),
):  # fmt: skip
    begun = _places(offsets, o, 1, height, 1)[0]
    places = _places(C, c, stride, height, vectors * lanes(B))[1]
    C.reshape(-1)[places] = begun
    add_product(A, a, row, step, B, b, width, count, C, c, stride, height, vectors)


set_pair_product = functools.partial(set_product, height=int(PAIR_ROWS), vectors=2)


def transpose(A, a, row, B, b, width):
    square, _ = _places(A, a, row, lanes(A), lanes(A))
    B.reshape(-1)[_places(B, b, width, lanes(A), lanes(A))[1]] = square.T


def set_densities(size, coefficients, k, used, tile, b, shares):
    _check_c_order(coefficients, tile.dtype, 2)
    _check_range("components", k, size, len(coefficients))
    _check_range("features", 1, used - 1, coefficients.shape[1])
    _check(used > 1, "no feature")
    points = np.array([np.concatenate(load4(tile, 1 + f, b)) for f in range(1, used)])
    for c in range(k, k + size):
        values = coefficients[c, 0] + coefficients[c, 1:used] @ points
        store4(shares, c, b, *np.split(values, 4))


def add_features(size, shares, k, tile, f, rows, moments):
    _check_c_order(moments, tile.dtype, 2)
    _check_range("components", k, size, len(moments))
    _check_range("features", f, 4, moments.shape[1])
    for b in range(0, max(rows, 1), lanes(tile)):
        for c in range(k, k + size):
            for j in range(4):
                moments[c, f + j] += load(shares, c, b) @ load(tile, 1 + f + j, b)


maximum, minimum, lane_minimum, count_bits = np.fmax, np.fmin, np.min, int.bit_count
square_root = np.sqrt


def _integers(space, row, b):
    """Return the integers that `store_offsets` wrote, as a view."""
    _check_tile(space, row, 1, b)
    return space[row, b : b + lanes(space)].view(np.dtype(f"i{space.itemsize}"))


def store_offsets(space, row, b, codes, first, width):
    offsets = (codes.astype(np.int64) + first) * width
    _check_range("offsets", offsets.min(), int(np.ptp(offsets)) + 1, np.iinfo(f"i{space.itemsize}").max)
    _integers(space, row, b)[:] = offsets


def look_up(table, k, space, offsets, d, shares, K, b):
    step = lanes(space)
    _check_c_order(table, space.dtype, 2)
    table = table.reshape(-1)
    sums = np.zeros((step, step), space.dtype)  # points, components
    for j in range(d):
        for point, offset in enumerate(_integers(space, offsets + j, b)):
            _check_range("a row", offset + k, step, len(table))
            sums[point] += table[offset + k : offset + k + step]
    for lane in range(min(step, K - k)):
        store(space, shares + k + lane, b, sums[:, lane])


def add_up(sums, slot, k, space, offsets, d, shares, K, b):
    step = lanes(space)
    _check_c_order(sums, np.float64, 3)
    _check_range("slots", slot, 1, len(sums))
    flat = sums[slot].reshape(-1)
    points = np.array([load(space, shares + min(k + lane, K - 1), b) for lane in range(step)]).T
    for j in range(d):
        for point, offset in enumerate(_integers(space, offsets + j, b)):
            _check_range("a row", offset + k, step, flat.size)
            flat[offset + k : offset + k + step] += points[point]
