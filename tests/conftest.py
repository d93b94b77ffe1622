"""Data sets that the tests share."""

import os
from pathlib import Path

# OpenMP reads it when first loaded, here and in the processes that tests start: threads that wait sleep.
# Those of scikit-learn otherwise spin in the way of ours and of all programs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

from fastem.datasets import old_faithful

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def faithful():
    return old_faithful()


@pytest.fixture(scope="session")
def iris():
    """The iris data of Fisher (1936), 150 x 4, as scikit-learn ships them."""
    from sklearn.datasets import load_iris

    return load_iris().data


@pytest.fixture(scope="session")
def digits():
    """Ten principal components of the UCI digits that scikit-learn ships (Alpaydin and Kaynak, 1998)."""
    from sklearn.datasets import load_digits

    X = load_digits().data
    X = X - X.mean(axis=0)
    return np.ascontiguousarray(X @ np.linalg.svd(X, full_matrices=False)[2][:10].T)


@pytest.fixture(scope="module")
def one_blas_thread():
    """On more, many small problems of scikit-learn's take several times as long, the more so where busy."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
