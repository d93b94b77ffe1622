"""Interpreted kernels refuse every access for which compiled ones would read or write another place."""

import numpy as np
import pytest

from fastem._kernels import _interpreted as simd
from fastem._kernels._layout import STRIDE_BYTES, TILE_BYTES

DTYPES = [np.float64, np.float32]


def new_tile(rows, dtype=np.float64, extra=0):
    """Return rows of numbers. They are `extra` numbers further apart than the rows of a tile."""
    columns = STRIDE_BYTES // np.dtype(dtype).itemsize + extra
    return np.random.default_rng(0).random((rows, columns)).astype(dtype)


def refused(function, *arguments):
    with pytest.raises(simd.AddressError):
        function(*arguments)


def refused_tiles(dtype):
    """Yield (tile, i, b) where compiled code would not find the vector tile[i, b:]."""
    lanes = simd.lanes(new_tile(1, dtype))
    tile = new_tile(4, dtype)
    columns = tile.shape[1]
    yield new_tile(4, dtype, extra=8), 1, 0
    yield new_tile(4, dtype, extra=-8), 3, 0
    yield tile[::2], 1, 0
    yield np.repeat(tile, 2, axis=1)[:, ::2], 0, 0
    yield np.asfortranarray(tile), 0, 0
    yield tile[:, ::-1], 0, 0
    yield tile, 4, 0
    yield tile, -1, 0
    yield tile, 0, -1
    yield tile, 0, columns - lanes + 1
    yield tile[:, : lanes - 1], 0, 0
    yield tile.astype(np.int64), 0, 0
    yield tile.astype(np.dtype(dtype).newbyteorder()), 0, 0
    yield tile[0], 0, 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_of_a_tile(dtype):
    tile = new_tile(4, dtype)
    vector, last = simd.load(tile, 2, 8), TILE_BYTES // tile.itemsize - simd.lanes(tile)
    np.testing.assert_array_equal(vector, tile[2, 8 : 8 + simd.lanes(tile)])
    simd.store(tile, 3, last, vector)
    np.testing.assert_array_equal(simd.load(tile, 3, last), vector)
    one_row = new_tile(1, dtype, extra=5)
    np.testing.assert_array_equal(simd.load(one_row, 0, 0), one_row[0, : simd.lanes(tile)])
    for wrong, i, b in refused_tiles(dtype):
        refused(simd.load, wrong, i, b)
        refused(simd.store, wrong, i, b, vector)


def test_vectors_that_do_not_fit():
    tile = new_tile(4)
    vector = simd.load(tile, 0, 0)
    refused(simd.store, tile, 0, 0, vector[1:])
    refused(simd.store, tile, 0, 0, vector.astype(np.float32))
    refused(simd.store, tile, 0, 0, vector[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_four_vectors_of_a_tile(dtype):
    tile = new_tile(4, dtype)
    vectors, width = simd.load4(tile, 2, 8), 4 * simd.lanes(tile)
    np.testing.assert_array_equal(np.concatenate(vectors), tile[2, 8 : 8 + width])
    simd.store4(tile, 3, 0, *vectors)
    np.testing.assert_array_equal(tile[3, :width], tile[2, 8 : 8 + width])
    for wrong, i, b in refused_tiles(dtype):
        refused(simd.load4, wrong, i, b)
        refused(simd.store4, wrong, i, b, *vectors)
    refused(simd.load4, tile, 0, tile.shape[1] - width + 1)


def test_products_of_ascents():
    tile, shares = new_tile(9), new_tile(5)
    coefficients, moments = np.ones((2, 5, 8))

    def densities(size=2, coefficients=coefficients, k=1, used=8, tile=tile, b=0, shares=shares):
        simd.set_densities(size, coefficients, k, used, tile, b, shares)

    def features(size=2, shares=shares, k=1, tile=tile, f=4, moments=moments):
        simd.add_features(size, shares, k, tile, f, simd.lanes(tile), moments)

    densities()
    features()
    for arguments in (
        {"k": 4},
        {"k": -1},
        {"used": 9},
        {"used": 1},
        {"tile": new_tile(8)},
        {"tile": new_tile(9, extra=8)},
        {"b": tile.shape[1] - 4 * simd.lanes(tile) + 1},
        {"shares": shares[:2]},
        {"coefficients": coefficients.T},
        {"coefficients": coefficients.astype(np.float32)},
    ):
        refused(lambda arguments=arguments: densities(**arguments))
    for arguments in (
        {"k": 4},
        {"f": 5},
        {"f": -1},
        {"tile": new_tile(8)},
        {"shares": shares[:2]},
        {"moments": moments[:, ::2]},
        {"moments": np.asfortranarray(moments)},
    ):
        refused(lambda arguments=arguments: features(**arguments))


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_rows(dtype):
    X = new_tile(40, dtype)[:, :5].copy()
    lanes = simd.lanes(X)
    np.testing.assert_array_equal(simd.load_column(X, 40 - lanes, 4), X[40 - lanes :, 4])
    for wrong, i, j in (
        (X, 40 - lanes + 1, 0),
        (X, -1, 0),
        (X, 0, 5),
        (X, 0, -1),
        (X[:, 1:], 0, 0),
        (X[::2], 0, 0),
        (np.asfortranarray(X), 0, 0),
        (X.astype(np.int32), 0, 0),
        (X[:, 0], 0, 0),
    ):
        refused(simd.load_column, wrong, i, j)


@pytest.mark.parametrize("dtype", DTYPES)
def test_squares_of_rows(dtype):
    tile = new_tile(40, dtype)
    lanes = simd.lanes(tile)
    X = np.random.default_rng(1).random((40, 2 * lanes)).astype(dtype)
    shift, scale = X[0].copy(), X[1].copy()
    index = np.arange(39, -1, -1)
    integers = index.astype(np.int32)

    def load(X=X, i=1, j=lanes, shift=shift, scale=scale, tile=tile, top=2, b=8):
        simd.load_transposed(X, i, j, shift, scale, tile, top, b)

    def gather(X=X, i=1, size=39, index=index, t=3, tile=tile):
        simd.gather_transposed(X, i, size, index, t, lanes, shift, scale, tile, 2, 8)

    def stored():
        return tile[2 + lanes : 2 + 2 * lanes, 8 : 8 + lanes]

    load()
    expected = ((X[1 : 1 + lanes] - shift) * scale).T[lanes:]
    np.testing.assert_array_equal(stored(), expected)
    gather()
    expected = ((X[1 + index[3 : 3 + lanes]] - shift) * scale).T[lanes:]
    np.testing.assert_array_equal(stored(), expected)
    other = X.astype(np.float32 if dtype == np.float64 else np.float64)
    for arguments in (
        {"X": np.asfortranarray(X)},
        {"X": X[:, 1:]},
        {"X": other},
        {"i": 40 - lanes + 1},
        {"i": -1},
        {"j": lanes + 1},
        {"j": -1},
        {"shift": shift[:-1]},
        {"scale": scale[::-1]},
        {"scale": other[0]},
        {"tile": new_tile(40, dtype, extra=8)},
        {"tile": tile[: 2 + 2 * lanes - 1]},
        {"top": -lanes - 1},
        {"b": tile.shape[1] - lanes + 1},
    ):
        refused(lambda arguments=arguments: load(**arguments))
    for arguments in (
        {"X": X[::2]},
        {"X": other},
        {"i": 2, "t": 0},
        {"index": integers},
        {"index": index[::-1]},
        {"index": index - 35, "t": 40 - lanes},
        {"size": 0, "i": 0},
        {"t": 40 - lanes + 1},
        {"t": -1},
        {"tile": new_tile(40, dtype, extra=8)},
    ):
        refused(lambda arguments=arguments: gather(**arguments))


@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_of_a_table(dtype):
    tile = new_tile(4, dtype)
    tile[3] = np.arange(tile.shape[1]) % 5
    table = np.random.default_rng(0).random((2, 3, 5)).astype(dtype)
    np.testing.assert_array_equal(
        simd.take(table, 1, 2, tile, 3, 8), table[1, 2, (np.arange(simd.lanes(tile)) + 8) % 5]
    )
    for wrong, i, j in (
        (table, 2, 0),
        (table, -1, 0),
        (table, 0, 3),
        (table[..., :1], 0, 0),
        (table[..., :1].copy(), 0, 0),
        (table.transpose(1, 0, 2), 0, 0),
        (table.astype(np.int64), 0, 0),
    ):
        refused(simd.take, wrong, i, j, tile, 3, 8)
    tile[3] = -1
    refused(simd.take, table, 0, 0, tile, 3, 0)
    refused(simd.take, table, 0, 0, new_tile(4, dtype, extra=8), 3, 0)
