"""The kernels of rows with gaps and known noise, compared with for-loop twins. It also runs interpreted."""

import naive
import numpy as np
import pytest
from problems import random_covariances
from test_kernels import INTERPRETED

from fastem._families.deconvolution import measured_params, measured_sums, new_sums, with_matrices
from fastem._families.frame import Frame
from fastem._families.layouts import GaussianParameters
from fastem._families.registry import family_of
from fastem._kernels._measured_sums import slot_measured, slot_measured_scores
from fastem._kernels._parallel import run_slots
from fastem._typing import read_only

SIZES = [(258, 2, 2), (20, 1, 2), (20, 5, 3)] + ([] if INTERPRETED else [(40, 13, 2)])
FRAME = 4.0  # the scale of each feature, and their shift


def problem(covariance_type, n, d, k, noise, gaps):
    rng = np.random.default_rng([n, d, k])
    means, covariances = rng.normal(size=(k, d)) * 2, random_covariances(rng, covariance_type, k, d)
    X = means[rng.integers(k, size=n)] + rng.normal(size=(n, d)) * 1.5
    X[rng.random((n, d)) < gaps] = np.nan
    factors = rng.normal(size=(n, d, d)) * np.exp(rng.normal(size=(n, 1, 1)) * 2)
    known = {
        "matrices": factors @ factors.transpose(0, 2, 1),
        "variances": np.square(factors[:, :1]),
        "one": (factors @ factors.transpose(0, 2, 1))[:1],
        "none": np.empty((0, 1, d)),
    }[noise]
    return (
        GaussianParameters(rng.dirichlet(np.full(k, 5.0)), means, covariances),
        X,
        known,
        rng.random(n) + 0.1,
    )


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("noise", ["matrices", "variances", "one", "none"])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_sums_and_scores_are_those_of_the_twin(covariance_type, noise, gaps):
    layout = family_of("gaussian", covariance_type)._layout
    for n, d, k in SIZES:
        user, X, known, weight = problem(covariance_type, n, d, k, noise, gaps)
        stored = user._replace(covariances=user.covariances.reshape(layout.shape(k, d)))
        frame = Frame(np.full(d, FRAME), np.full(d, FRAME), np.zeros(d))
        standard = GaussianParameters(
            user.weights, frame.standardise(user.means), layout.rescale(stored.covariances, 1 / frame.scale)
        )
        params = measured_params(layout, standard, frame)
        if known.shape[1] > 1:
            params = with_matrices(params)
        matrices = naive.noise_matrices(
            None if len(known) == 0 else known[:, 0] if known.shape[1] < d or d == 1 else known[0]
            if len(known) == 1 else known, n, d
        )  # fmt: skip
        joint, log_p, true, (n_k, first, scatter) = naive.observed_e_step(
            X,
            matrices,
            weight,
            user.weights,
            user.means,
            naive.dense(user.covariances, covariance_type, k, d),
        )
        slots, failures = 2, np.zeros(2, np.int64)
        sums = new_sums(params, slots)
        rows = read_only(X), read_only(known)
        rest = read_only(np.empty(0, np.int64)), params, np.zeros(1, np.int64)
        run_slots(slot_measured, (*rows, read_only(weight), *rest, sums, failures), slots, 1)
        merged = type(sums)(*(array.sum(axis=0) for array in sums))
        found = measured_sums(layout, params, merged)
        constant = -0.5 * d * np.log(2 * np.pi) - frame.log_scale
        likelihood = merged.log2_likelihood * np.log(2) + constant * weight.sum()
        np.testing.assert_allclose(likelihood, weight @ log_p, rtol=1e-12)
        np.testing.assert_allclose(found.weights, n_k, rtol=1e-10)
        np.testing.assert_allclose(found.first * FRAME, first, rtol=1e-9, atol=1e-9)
        expected = naive.shape_scatter(scatter, covariance_type).reshape(found.scatter.shape)
        np.testing.assert_allclose(found.scatter * FRAME**2, expected, rtol=1e-9, atol=1e-9)

        log2_densities, labels, r = np.empty(n), np.empty(n, np.int64), np.empty((n, k))
        joint2, means = np.zeros((n, k)), np.zeros((n, d))
        about = np.array([constant / np.log(2), -np.inf])
        scores = log2_densities, labels, r, joint2, means, about, failures
        run_slots(slot_measured_scores, (*rows, params, *scores), slots, 1)
        assert not failures.any()
        np.testing.assert_allclose(log2_densities * np.log(2) + constant, log_p, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(joint2 * np.log(2), joint, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(r, naive.shares(joint)[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(frame.restore(means), true, rtol=1e-9, atol=1e-9)
        assert (labels == joint.argmax(axis=1)).all()
