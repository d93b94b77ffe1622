"""On published data sets, fits reach the log-likelihoods of mclust and of careful EM with many starts."""

import json

import numpy as np
import pytest
from conftest import DATA

import fastem

# The names of the models in mclust (Scrucca, Fop, Murphy and Raftery 2016).
MODELS = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
REFERENCE = json.loads((DATA / "loglik.json").read_text())["models"]
ENTRIES = [name for name in REFERENCE if name.split("|")[1] in MODELS]
SLOW_ENTRIES = ["faithful|VVV|3", "faithful|EEE|3"]  # these take longest


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_ENTRIES)) for name in ENTRIES]
)
def test_twenty_starts_reach_the_reference(name, faithful, iris):
    data_set, letters, k = name.split("|")
    X = {"waiting": faithful[:, 1:], "faithful": faithful, "iris": iris}[data_set]
    model = fastem.fit(X, int(k), covariance_type=MODELS[letters], n_init=20, tol=1e-8, max_iter=2000, rng=0)
    expected = REFERENCE[name]
    assert model.report.log_likelihood >= expected["loglik"] - 1e-3
    # It must not be higher because a component shrank onto a few points.
    assert model.report.status is fastem.FitStatus.CONVERGED
    assert model.report.log_likelihood <= expected["loglik"] + 1e-3
    assert model.n_parameters == expected["df"]
    assert model.bic(X) == pytest.approx(expected["bic_sklearn"], abs=0.01)
    assert model.aic(X) == pytest.approx(expected["aic_sklearn"], abs=0.01)
    order = np.argsort(-model.weights)
    np.testing.assert_allclose(model.weights[order], np.sort(expected["weights"])[::-1], atol=2e-3)


@pytest.mark.parametrize("name", ENTRIES)
def test_one_default_fit_reaches_the_reference(name, faithful, iris):
    """In nine of ten seeds or more."""
    data_set, letters, k = name.split("|")
    X = {"waiting": faithful[:, 1:], "faithful": faithful, "iris": iris}[data_set]
    options = {"covariance_type": MODELS[letters], "tol": 1e-8, "max_iter": 2000}
    reached = [
        fastem.fit(X, int(k), rng=seed, **options).report.log_likelihood > REFERENCE[name]["loglik"] - 1e-3
        for seed in range(10)
    ]
    assert sum(reached) >= 9
