"""Ascents that are compiled as a whole, and their part in the start "auto". Also runs interpreted."""

import naive
import numpy as np
import pytest

import fastem
from fastem._api.fitting import likelihood_of
from fastem._api.options import check_options
from fastem._em import auto
from fastem._em.race import ascents_of as ascents_of_sample
from fastem._families.ascents import GaussianAscents
from fastem._families.frame import Frame
from fastem._families.layouts import Full
from fastem._families.registry import GAUSSIANS
from fastem._families.steps import Rule
from fastem._kernels._ascent import ITERATIONS, ascend_slots, new_rows
from fastem._kernels._layout import CACHE_LINE, STRIDE_BYTES
from fastem._sources.open import source_of
from fastem._typing import Rows

REG_COVAR = 1e-3
ROUGH = 1e-8  # what the exponentials of ascents leave out
TYPES = ["full", "tied", "diag", "spherical"]
compiled_only = pytest.mark.skipif(
    not hasattr(ascend_slots, "py_func"), reason="a fit by interpreted kernels takes long"
)


def ascents_of(X, weights, labels, covariance_type, k, reg_covar=REG_COVAR, n_threads=1):
    d = X.shape[1]
    frame = Frame(np.zeros(d), np.ones(d), np.zeros(d))
    precision = float(np.finfo(np.float64).eps)
    rule = Rule(frame, float(weights.mean()), precision, precision, reg_covar)
    points = np.ascontiguousarray(X.T)
    return GAUSSIANS[covariance_type].ascents(points, weights, labels, k, rule, n_threads)


def problem(m, d, k, seed=0):
    """Rows in overlapping clusters, weights of which some are 0, and labels of three starts."""
    rng = np.random.default_rng([seed, m, d, k])
    X = rng.normal(size=(m, d)) + 2 * rng.normal(size=(k, d))[rng.integers(k, size=m)]
    weights = rng.uniform(0, 2, m)
    weights[::7] = 0
    return X, weights, rng.integers(k, size=(3, m))


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(("m", "d", "k"), [(5, 1, 1), (31, 2, 2), (257, 3, 4), (520, 9, 3), (400, 2, 20)])
def test_an_ascent_is_the_textbook(m, d, k, covariance_type):
    X, weights, labels = problem(m, d, k)
    ascents = ascents_of(X, weights, labels, covariance_type, k)
    ascents.go_on([0, 2], 6, -np.inf, stretch=1)
    for start in (0, 2):
        one_hot = (labels[start][:, None] == np.arange(k)).astype(float)
        expected = naive.m_step(X, weights, one_hot, covariance_type, REG_COVAR)
        expected, history = naive.em(X, weights, *expected, covariance_type, 5, REG_COVAR)
        found = ascents.parameters(start)
        assert not found.floored
        np.testing.assert_allclose(found.parameters.weights, expected[0], rtol=1e-7, atol=ROUGH)
        np.testing.assert_allclose(found.parameters.means, expected[1], rtol=1e-7, atol=ROUGH)
        reshaped = found.parameters.covariances.reshape(expected[2].shape)
        np.testing.assert_allclose(reshaped, expected[2], rtol=1e-7, atol=ROUGH)
        constant = 0.5 * d * np.log(2 * np.pi)
        assert ascents.objective(start) - constant == pytest.approx(history[4] / weights.sum(), rel=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(("m", "d", "k"), [(31, 2, 2), (257, 3, 4), (520, 9, 3), (400, 2, 20)])
def test_an_over_relaxed_ascent_is_the_textbook(m, d, k, covariance_type):
    X, weights, labels = problem(m, d, k)
    ascents = ascents_of(X, weights, labels, covariance_type, k)
    ascents.go_on([1], 12, -np.inf)
    one_hot = (labels[1][:, None] == np.arange(k)).astype(float)
    expected, mean = naive.over_relaxed(X, weights, one_hot, covariance_type, 12, REG_COVAR)
    found = ascents.parameters(1).parameters
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(found.means, expected[1], rtol=1e-6, atol=1e-8)
    reshaped = found.covariances.reshape(expected[2].shape)
    np.testing.assert_allclose(reshaped, expected[2], rtol=1e-5, atol=1e-7)
    assert ascents.objective(1) - 0.5 * d * np.log(2 * np.pi) == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_where_an_ascent_ends_tells_the_likelihood_before_its_last_step(covariance_type):
    """So that a fit to the same rows knows the last gain. It does not where these were a sample."""
    X, _, labels = problem(300, 2, 3)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    options = check_options(3, covariance_type, "gaussian", "auto", 1, 1e-4, 200, "auto", "auto", None, 0)
    likelihood = likelihood_of(source_of(X, weights, 1, k=3), options, "auto")
    ascents = ascents_of_sample(likelihood, Rows("X", 0, X, weights), labels, 1)
    ascents.go_on([2], 9, -np.inf)
    statistics = likelihood.e_step(ascents.parameters(2).parameters)
    ascents.go_on([2], 1, -np.inf)
    after = ascents.parameters(2)
    expected = likelihood.log_likelihood(statistics) / weights.sum()
    assert likelihood.mean_before(after) == [pytest.approx(expected, abs=ROUGH)]
    assert likelihood.mean_before(likelihood.m_step(statistics)) == []
    assert likelihood.mean_before(after._replace(before=after.before._replace(rows=299))) == []


def test_no_vector_lies_in_two_cache_lines():
    rows = new_rows(3, 2)
    assert rows.shape == (3, 2, STRIDE_BYTES // 8)
    assert rows.flags.c_contiguous
    assert rows.ctypes.data % CACHE_LINE == 0
    assert not rows.any()


def test_over_relaxed_ascents_end_sooner_and_where_em_stays():
    X, weights, labels = problem(500, 2, 3)
    plain, relaxed = (ascents_of(X, weights, labels, "full", 3, n_threads=n) for n in (1, 2))
    plain.go_on([0, 1, 2], 2000, 1e-10, stretch=1)
    relaxed.go_on([0, 1, 2], 2000, 1e-10)
    counts = [ascents._outcomes[:, ITERATIONS] for ascents in (plain, relaxed)]
    assert (counts[1] < 0.6 * counts[0]).all()
    for start in range(3):
        stays = relaxed.moved([start], X.T.copy(), weights)
        stays.go_on([0], 50, -np.inf, stretch=1)
        assert stays.objective(0) == pytest.approx(relaxed.objective(start), abs=1e-7)


def test_it_goes_on_where_it_stopped_by_any_number_of_threads():
    X, weights, labels = problem(300, 3, 4)
    at_once, by_steps = (ascents_of(X, weights, labels, "full", 4, n_threads=n) for n in (1, 2))
    at_once.go_on([0, 1, 2], 9, 0.0, stretch=1)
    by_steps.go_on([0, 1, 2], 4, 0.0, stretch=1)
    by_steps.go_on([2, 1], 5, 0.0, stretch=1)
    for start in (1, 2):
        assert at_once.objective(start) == by_steps.objective(start)
        pair = at_once.parameters(start), by_steps.parameters(start)
        for one, other in zip(*(found.parameters for found in pair), strict=True):
            assert one.tobytes() == other.tobytes()
    assert at_once.objective(0) > by_steps.objective(0)


def test_it_goes_on_with_other_rows():
    """On the same rows as if it had not moved, but for rounding, and on others from the same parameters."""
    X, weights, labels = problem(300, 2, 3)
    stays = ascents_of(X, weights, labels, "full", 3)
    stays.go_on([1], 7, -np.inf)
    moves, elsewhere = stays.moved([1], X.T.copy(), weights), stays.moved([1], 2 * X.T, weights)
    reached, same = stays.parameters(1).parameters, elsewhere.parameters(0).parameters
    np.testing.assert_array_equal(same.means, reached.means)
    for going, start in ((stays, 1), (moves, 0), (elsewhere, 0)):
        going.go_on([start], 5, -np.inf)
    for mine, others in zip(stays.parameters(1).parameters, moves.parameters(0).parameters, strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-9, atol=1e-12)
    assert stays.objective(1) == pytest.approx(moves.objective(0), rel=1e-12)
    assert abs(stays.objective(1) - elsewhere.objective(0)) > 0.1


def test_it_stops_when_an_iteration_gains_little():
    X, weights, labels = problem(100, 2, 2)
    loose, tight = (ascents_of(X, weights, labels, "diag", 2) for _ in range(2))
    loose.go_on([0], 1000, 1e-3)
    tight.go_on([0], 1000, 1e-9)
    counts = [ascents._outcomes[0, ITERATIONS] for ascents in (loose, tight)]
    assert 2 < counts[0] < counts[1] < 1000
    before = loose.parameters(0).parameters.means.copy()
    loose.go_on([0], 10, 1e-3)
    np.testing.assert_array_equal(loose.parameters(0).parameters.means, before)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_start_without_rows_for_a_component_fails_alone(covariance_type):
    X, weights, labels = problem(60, 2, 3)
    labels[1][labels[1] == 2] = 0
    labels[2] = np.where(weights > 0, labels[0], 2)
    labels[2][(weights > 0) & (labels[2] == 2)] = 1  # component 2 has rows, but they weigh nothing
    ascents = ascents_of(X, weights, labels, covariance_type, 3)
    ascents.go_on([0, 1, 2], 8, 0.0)
    assert ascents.objective(0) is not None
    assert ascents.objective(1) is None
    assert ascents.objective(2) is None


@pytest.mark.parametrize("reg_covar", [None, 0.0, 1e-12])
@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_components_on_a_point_or_a_line_are_floored(covariance_type, reg_covar):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    X[:30] = 9.0
    X[30:60] = [-9, 0, 0] + rng.normal(size=(30, 1)) * np.ones(3)
    labels = np.repeat([[0, 1, 2]], 30, axis=1)
    ascents = ascents_of(X, np.ones(90), labels, covariance_type, 3, reg_covar)
    ascents.go_on([0], 30, 0.0)
    found = ascents.parameters(0)
    assert found.floored == ([0, 1] if covariance_type == "full" else [0])
    assert np.isfinite(ascents.objective(0))
    for covariance in naive.dense(found.parameters.covariances, covariance_type, 3, 3):
        np.linalg.cholesky(covariance)


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_the_same_components_are_floored_as_in_the_m_step():
    """A covariance may be singular although no feature is, given those before it."""
    rng = np.random.default_rng(0)
    for seed in range(20):
        X = rng.normal(size=(40, 4))
        scatter = np.linalg.qr(rng.normal(size=(4, 4)))[0] * [1, 1, 1, 10 ** rng.uniform(-4, -2)]
        X[:20] = 5 + X[:20] @ scatter.T
        labels = np.repeat([0, 1], 20)
        ascents = ascents_of(X, np.ones(40), labels[None], "full", 2, None)
        ascents.go_on([0], 1, 0.0)
        model = fastem.fit(X, 2, init=labels, max_iter=0)
        floored = [repair.component for repair in model.report.repairs]
        assert ascents.parameters(0).floored == floored, seed


def test_covariances_are_positive_definite_whatever_the_floor():
    """The kernel computes pivots in another order than LAPACK, so the two may disagree by rounding."""
    floored = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(40, 5)) ** 5
        X[:, 1] = X[:, 0] * (1 + 1e-9 * rng.normal(size=40))
        X /= X.std(axis=0)
        ascents = ascents_of(X, np.ones(40), rng.integers(3, size=(1, 40)), "full", 3, [0.0, 1e-12][seed % 2])
        ascents.go_on([0], 20, 0.0)
        if ascents.objective(0) is not None:
            found = ascents.parameters(0)
            np.linalg.cholesky(found.parameters.covariances)
            floored += found.floored
    assert floored


@pytest.mark.parametrize("covariance_type", TYPES)
def test_doubt_is_the_entropy_of_the_labels(covariance_type):
    X, weights, labels = problem(300, 2, 3)
    ascents = ascents_of(X, weights, labels, covariance_type, 3, 0.0)
    ascents.go_on([0], 3000, -np.inf)
    found = ascents.parameters(0).parameters
    dense = np.squeeze(naive.dense(found.covariances, covariance_type, 3, 2))
    covariances = np.broadcast_to(dense, (3, 2, 2))
    joint = np.stack(
        [
            np.log(w) - 0.5 * (np.linalg.slogdet(c)[1] + ((X - m) @ np.linalg.inv(c) * (X - m)).sum(axis=1))
            for w, m, c in zip(found.weights, found.means, covariances, strict=True)
        ],
        axis=1,
    )
    r = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    entropy = -(weights @ (r * np.log(np.maximum(r, 1e-300))).sum(axis=1)) / weights.sum()
    assert ascents.doubt(0) == pytest.approx(entropy / found.weights.min(), abs=1e-4)


@compiled_only
@pytest.mark.parametrize(("clusters", "clear"), [(3, True), (4, False)])
def test_the_start_ends_early_where_each_component_has_a_cluster_of_its_own(monkeypatch, clusters, clear):
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0], [12, 0], [0, 14], [13, 13]])[:clusters]
    X = places[rng.integers(clusters, size=600)] + rng.normal(size=(600, 2))
    called, labellings = [], auto.labellings
    monkeypatch.setattr(auto, "labellings", lambda *given: called.append(1) or labellings(*given))
    model = fastem.fit(X, 3, rng=0, sample_weight=np.ones(600))  # which no kernel makes as a whole
    assert bool(called) is not clear
    best = fastem.fit(X, 3, rng=0, n_init=10, init="k-means++").report.log_likelihood
    assert model.report.log_likelihood > best - 0.1


def test_large_samples_are_left_to_the_passes():
    assert GaussianAscents.fit_in_memory(Full(), 21, 3, 13)
    assert not GaussianAscents.fit_in_memory(Full(), 21, 2, 1000)


@compiled_only
@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
@pytest.mark.parametrize("place", [0.3, 8.0])
def test_a_mass_is_found(place):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    mass = rng.random(500) < 0.2
    X[mass] = place
    model = fastem.fit(X, 2, init="auto", rng=0)
    component = np.argmin(np.abs(model.means - place).sum(axis=1))
    assert model.weights[component] == pytest.approx(mass.mean(), abs=0.01)
    assert np.trace(model.covariances[component]) < 1e-3
    again = fastem.fit(X, 2, init="auto", rng=0, n_threads=1)
    assert again.covariances.tobytes() == model.covariances.tobytes()


@compiled_only
@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_a_singular_start_does_not_win():
    """With few rows many ascents end on a handful of them, where the likelihood is unbounded."""
    singular = []
    for seed in range(8):
        X = np.random.default_rng(seed).normal(size=(70, 4))
        statuses = [fastem.fit(X, 4, init=i, rng=seed).report.status for i in ("auto", "k-means++")]
        assert statuses[0] is fastem.FitStatus.CONVERGED
        singular.append(statuses[1] is fastem.FitStatus.DEGENERATE)
    assert any(singular)


@compiled_only
def test_the_best_optimum_of_a_hard_small_sample_is_found():
    """A single start of k-means++ misses it three times of four."""
    rng = np.random.default_rng(5)
    wide, narrow = rng.normal(size=(150, 2)) * [4, 1], rng.normal(size=(60, 2)) * [0.3, 3] + [1, 0]
    X = np.concatenate([wide, narrow, rng.normal(size=(60, 2)) * 0.4 + [-3, 2]])
    reached = [fastem.fit(X, 3, init="auto", rng=seed).report.log_likelihood for seed in range(10)]
    best = fastem.fit(X, 3, n_init=100, rng=0, init="k-means++").report.log_likelihood
    assert sum(value > best - 0.1 for value in reached) >= 9
