"""Data sets that the tests share."""

from pathlib import Path

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
