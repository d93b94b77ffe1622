"""Peak memory of a process that fits an X of 128 MB (64 MB for int32), for several layouts."""

import numpy as np

import fastem

from .common import TYPES, rows

N, D, K = 1_000_000, 16, 8


def standard_normal(shape):
    return np.random.default_rng(0).standard_normal(shape)


# Each function allocates only X. Otherwise the peak would be that of the setup.
LAYOUTS = {
    "C": lambda n: standard_normal((n, D)),
    "Fortran": lambda n: standard_normal((D, n)).T,
    "every other row": lambda n: standard_normal((2 * n, D))[::2],
    "int32": lambda n: np.random.default_rng(0).integers(-999, 999, (n, D), dtype=np.int32),
}


class Memory:
    """A fit and its labels. "every other row" holds twice the data."""

    params = (TYPES, list(LAYOUTS))
    param_names = ("covariance_type", "layout")

    def setup_cache(self):
        """Compile in this process, so that the memory of the compiler is not counted in the benchmark."""
        for covariance_type in TYPES:
            self.setup(covariance_type, "C", 500)
            self.peakmem_fit(covariance_type)

    def setup(self, covariance_type, layout, n=N):
        self.X = LAYOUTS[layout](rows(n))

    def peakmem_fit(self, covariance_type, *_):
        model = fastem.fit(self.X, K, covariance_type=covariance_type, max_iter=3, rng=0)
        model.predict(self.X)
