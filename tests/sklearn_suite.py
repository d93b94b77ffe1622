"""pytest plugin of test_sklearn_suite: scikit-learn's tests meet our class, or their own accelerated."""

import os

import sklearn.mixture

import fastem
from fastem.sklearn import GaussianMixture

if os.environ["FASTEM_TEST_HOW"] == "import":
    sklearn.mixture.GaussianMixture = GaussianMixture
else:
    fastem.accelerate().__enter__()
