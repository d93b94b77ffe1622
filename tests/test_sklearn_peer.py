"""From the same start, scikit-learn has the same parameters after the same number of iterations."""

import warnings

import numpy as np
import pytest
from problems import TYPES, clusters
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from test_em import start_from

import fastem

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.mark.parametrize("iterations", [1, 5, 20])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("data_set", ["faithful", "iris", "digits", "clusters"])
def test_same_parameters_as_scikit_learn(data_set, covariance_type, iterations, request):
    X = clusters(21, 5000, 6, 3) if data_set == "clusters" else request.getfixturevalue(data_set)
    start = start_from(X, 3, covariance_type)
    invert = np.linalg.inv if covariance_type in ("full", "tied") else np.reciprocal
    peer = GaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=invert(start.covariances),
        max_iter=iterations,
        tol=0,
        reg_covar=1e-6,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(X)
    model = fastem.fit(
        X,
        3,
        covariance_type=covariance_type,
        init=start,
        max_iter=iterations,
        tol=0,
        reg_covar=1e-6,
        acceleration=None,
    )
    # In both libraries an iteration is an E-step and an M-step, so the parameters after it are comparable.
    for name in ("weights", "means", "covariances"):
        expected = getattr(peer, name + "_")
        np.testing.assert_allclose(
            getattr(model, name), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(), err_msg=name
        )
    np.testing.assert_allclose(model.score_samples(X), peer.score_samples(X), rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-6)
    assert model.bic(X) == pytest.approx(peer.bic(X))
    assert model.aic(X) == pytest.approx(peer.aic(X))
