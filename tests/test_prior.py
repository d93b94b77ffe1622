"""Priors of Gaussians: what they are, and MAP estimates by EM."""

import pickle

import numpy as np
import pytest

import fastem


def test_a_prior_keeps_checked_read_only_copies():
    scale = np.array([[2.0, 0.5], [0.5, 1.0]])
    prior = fastem.Prior(weight_concentration=2, mean_precision=1e-3, mean=[1, 2], covariance=scale)
    scale[0, 0] = -1
    assert prior.covariance[0, 0] == 2
    assert prior.mean.dtype == np.float64
    assert prior.degrees_of_freedom is None
    with pytest.raises(ValueError, match="read-only"):
        prior.mean[0] = 3
    with pytest.raises(AttributeError, match="immutable"):
        prior.mean = None
    again = pickle.loads(pickle.dumps(prior))
    assert repr(again) == repr(prior)
    assert eval(repr(prior), {"Prior": fastem.Prior}).covariance.tolist() == prior.covariance.tolist()
    prior.check(2, "full")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"mean_precision": 0}, ValueError, "mean_precision of the prior must be a finite number above 0"),
        ({"mean_precision": "a"}, TypeError, "mean_precision"),
        ({"weight_concentration": [1, 2]}, TypeError, "weight_concentration"),
        ({"degrees_of_freedom": np.nan}, ValueError, "degrees_of_freedom"),
        ({"mean": 1.0}, ValueError, r"mean of the prior must have shape \(d,\)"),
        ({"mean": [np.inf]}, ValueError, "mean of the prior must be finite"),
        ({"covariance": -1.0}, ValueError, "above 0"),
        ({"covariance": np.ones((2, 3))}, ValueError, r"got shape \(2, 3\)"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, ValueError, "positive definite"),
        ({"covariance": [[1.0, 0.5], [0.0, 1.0]]}, ValueError, "symmetric"),
    ],
)
def test_what_no_prior_can_be_is_an_error(wrong, error, message):
    with pytest.raises(error, match=message):
        fastem.Prior(**wrong)


@pytest.mark.parametrize(
    ("prior", "kind", "message"),
    [
        (fastem.Prior(mean=[1.0]), "full", r"mean of the prior must have shape \(d,\) = \(2,\)"),
        (fastem.Prior(degrees_of_freedom=1), "diag", "above d - 1 = 1"),
        (fastem.Prior(covariance=1.0), "full", r"must have shape \(2, 2\)"),
        (fastem.Prior(covariance=[1.0, 1.0]), "spherical", "must be a number"),
        (fastem.Prior(covariance=np.eye(2)), "diag", r"must have shape \(2,\)"),
    ],
)
def test_a_prior_of_another_shape_is_an_error(prior, kind, message):
    with pytest.raises(ValueError, match=message):
        prior.check(2, kind)
