"""What a user should know at once is a warning of one class, with a named cause."""

import pickle
import warnings

import numpy as np
import pytest
from problems import clusters

import fastem
from fastem import FitStatus, FitWarning, WarningCause
from fastem._em.loop import Limits, ascend, gain_below
from fastem._em.objective import Likelihood
from fastem._families.layouts import GaussianParameters
from fastem._families.registry import family_of
from fastem._families.steps import Maximised
from fastem._report import Breakdown
from fastem._sources.arrays import ArraySource
from fastem._typing import Rows

X = clusters(0, 300, 2, 3)


def causes_of(*arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fastem.fit(*arguments, **options)
    assert all(type(warning.message) is FitWarning for warning in caught)
    return [warning.message.cause for warning in caught], model


def test_a_good_fit_is_silent():
    assert causes_of(X, 3, rng=0)[0] == []


def test_max_iter():
    causes, model = causes_of(X, 3, rng=0, tol=1e-9, max_iter=2)
    assert causes == [WarningCause.MAX_ITER]
    assert model.report.status is FitStatus.MAX_ITER
    assert not model.report.converged


def test_iterations_that_were_asked_for_are_no_warning():
    assert causes_of(X, 3, rng=0, tol=0, max_iter=2)[0] == []
    assert causes_of(X, 3, rng=0, max_iter=0)[0] == []
    assert causes_of(X, 3, rng=0, tol=1e-9, max_iter=2, callback=lambda *_: True)[0] == []


@pytest.mark.parametrize("n", [1, 3, 5])
def test_no_more_rows_than_features(n):
    rows = np.random.default_rng(0).normal(size=(n, 5))
    causes, model = causes_of(rows, 1)
    assert causes == [WarningCause.DEGENERATE]
    assert model.report.status is FitStatus.DEGENERATE
    assert np.linalg.eigvalsh(model.covariances[0]).min() > 0


@pytest.mark.parametrize("short", [0, 1, 2])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_nearly_as_many_components_as_rows(covariance_type, short):
    causes, model = causes_of(X[:12], 12 - short, covariance_type=covariance_type, rng=0)
    assert causes == [WarningCause.DEGENERATE]
    assert model.report.status is FitStatus.DEGENERATE


def test_singular_whatever_the_status():
    pair = np.concatenate([X, X[:1] + 50, X[:1] + 50])
    labels = np.append(np.zeros(300, int), [1, 1])
    causes, model = causes_of(pair, 2, init=labels, max_iter=0)
    assert model.report.status is FitStatus.INITIAL
    assert causes == [WarningCause.DEGENERATE]


def test_an_offset_that_leaves_few_digits():
    causes, model = causes_of(X + 1e15, 3, rng=0)
    assert WarningCause.PRECISION in causes
    assert np.isfinite(model.score(X + 1e15))
    assert causes_of(X.astype(np.float32) + np.float32(1e6), 3, rng=0)[0][0] is WarningCause.PRECISION


def test_an_offset_that_leaves_enough_digits_is_silent():
    for offset in (1e8, 1e10):
        assert causes_of(X + offset, 3, rng=0)[0] == []
    assert causes_of((X + 1e4).astype(np.float32), 3, rng=0)[0] == []


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_that_float64_cannot_tell_apart(dtype):
    spread = np.random.default_rng(0).integers(0, 2**62, size=(200, 2)).astype(dtype)
    assert causes_of(spread, 2, rng=0)[0] == [WarningCause.PRECISION]
    assert causes_of(spread >> np.array(10, dtype), 2, rng=0)[0] == []


def test_it_points_at_the_users_line_and_can_be_pickled():
    with pytest.warns(FitWarning, match="MAX_ITER: max_iter was reached") as caught:
        fastem.fit(X, 3, rng=0, tol=1e-9, max_iter=1)
    assert caught[0].filename == __file__
    twin = pickle.loads(pickle.dumps(caught[0].message))
    assert twin.cause is WarningCause.MAX_ITER
    assert str(twin) == str(caught[0].message)


def failing(monkeypatch, passes):
    """Let the E-steps with these numbers, counted from 0, break down."""
    reduce, count = ArraySource.reduce, iter(range(10**6))

    def broken(self, sweep):
        if sweep.given is None and next(count) in passes:
            raise Breakdown("overflow")
        return reduce(self, sweep)

    monkeypatch.setattr(ArraySource, "reduce", broken)


def test_a_start_that_fails_does_not_lose_the_others(monkeypatch):
    failing(monkeypatch, {0})
    causes, model = causes_of(X, 3, init="k-means++", n_init=3, rng=0)
    assert causes == [WarningCause.FAILED]
    assert model.report.status is FitStatus.CONVERGED
    monkeypatch.undo()
    assert (
        model.report.log_likelihood
        <= fastem.fit(X, 3, init="k-means++", n_init=3, rng=0).report.log_likelihood
    )


def test_a_breakdown_in_mid_fit_keeps_the_last_valid_parameters(monkeypatch):
    failing(monkeypatch, {3})
    causes, model = causes_of(X, 3, init="k-means++", rng=0, tol=0)
    assert causes == [WarningCause.FAILED]
    assert model.report.status is FitStatus.FAILED
    assert not model.report.converged
    assert model.report.n_iter == 2
    assert model.report.log_likelihood == pytest.approx(300 * model.score(X), rel=1e-12)


def test_if_every_start_fails_the_reason_is_raised(monkeypatch):
    failing(monkeypatch, range(1000))
    with pytest.raises(ValueError, match="overflow"):
        fastem.fit(X, 3, n_init=3, rng=0)


def test_a_log_likelihood_that_falls_is_a_status():
    family = family_of("gaussian", "spherical")
    source = ArraySource(Rows("X", 0, X))
    variances = iter([1.0, 0.01, 1.0, 0.01])

    def worse(*_):
        """Return parameters that no M-step would choose."""
        variance = np.array([next(variances)])
        return Maximised(GaussianParameters(np.ones(1), np.zeros((1, 2)), variance), [], [], [])

    class Worse(Likelihood):
        m_step = worse

    frame = family.frame(source.moments(), X.dtype)

    def climb(tol):
        objective = Worse(source, family, 1, frame, None)
        limits = Limits(gain_below(tol), tol, max_iter=1)
        return ascend(objective, worse, limits, k=1, watch=lambda *_: False)

    assert climb(1e-4).status is FitStatus.DECREASED
    assert climb(0).status is FitStatus.DECREASED


@pytest.mark.parametrize("member", [fastem.FitStatus.CONVERGED, fastem.WarningCause.MASS])
def test_pickles_do_not_hold_the_advice(member):
    """Its words may change, and pickles of other versions must still be read."""
    pickled = pickle.dumps(member)
    assert member.value.encode()[:20] not in pickled
    assert pickle.loads(pickled) is member
