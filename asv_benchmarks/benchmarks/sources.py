"""The same rows from memory, from files and from chunks, for comparison."""

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fastem

from .common import clusters, start

N, K = 500_000, 16
CHUNK = 50_000


def memmap(X):
    np.save("X.npy", X)
    return np.load("X.npy", mmap_mode="r")


def parquet(X):
    pq.write_table(pa.table({f"x{j}": column for j, column in enumerate(X.T.copy())}), "X.parquet")
    return "X.parquet"


# These functions may write into the folder that asv makes for a benchmark.
SOURCES = {
    "array": lambda X: X,
    "memmap": memmap,
    "parquet": parquet,
    "iterator": lambda X: lambda: (X[first : first + CHUNK] for first in range(0, len(X), CHUNK)),
    "dask": lambda X: da.from_array(X, chunks=(CHUNK, X.shape[1])).persist(),
}


class Sources:
    """Files are in the cache of the operating system. At d = 2, reading them takes most of a pass."""

    params = (list(SOURCES), [2, 16])
    param_names = ("source", "d")

    def setup(self, source, d):
        X = clusters(N, d, K)
        self.model = start(X, K, "full")
        self.X = SOURCES[source](X)
        self.time_pass()

    def time_pass(self, *_):
        fastem.m_step(fastem.e_step(self.X, self.model))

    def time_fit(self, *_):
        fastem.fit(self.X, K, init="random_from_data", max_iter=5, tol=0, rng=0)

    def time_score(self, *_):
        self.model.score(self.X)


class Copied:
    """A fit that uses a copy on disk, which its first pass writes."""

    params = (["parquet", "iterator"], [2, 16])
    param_names = ("source", "d")

    def setup(self, source, d):
        self.X = SOURCES[source](clusters(N, d, K))
        self.time_fit()

    def time_fit(self, *_):
        fastem.fit(self.X, K, init="random_from_data", max_iter=5, tol=0, rng=0, cache_dir=".")
