"""Many rows at one value are a finding. Restarts must not lose them, and must not make up others."""

import numpy as np
import pytest

import fastem
from fastem import FitStatus, FitWarning, WarningCause
from fastem._em.loop import FLOORED, MASS
from fastem._em.masses import repeated_rows

pytestmark = pytest.mark.filterwarnings("ignore::fastem.FitWarning")


def many_zeros(rng):
    return np.r_[np.zeros(300), rng.normal(0.5, 1, 700)][:, None], 0.3


def one_value_inside(rng):
    return np.r_[np.full(300, 0.3), rng.normal(0, 1, 1700)][:, None], 0.15


def one_place_inside(rng):
    return np.r_[np.tile([0.3, -0.2, 1.0], (300, 1)), rng.normal(0, 1, (1700, 3))], 0.15


MASSES = [many_zeros, one_value_inside, one_place_inside]


@pytest.mark.parametrize("n_init", [1, 5])
@pytest.mark.parametrize("make", MASSES)
def test_every_fit_finds_the_mass(make, n_init):
    for seed in range(6):
        X, share = make(np.random.default_rng(seed))
        model = fastem.fit(X, 2, n_init=n_init, rng=seed)
        assert model.weights.min() == pytest.approx(share, abs=0.01)
        assert model.report.status is FitStatus.DEGENERATE
        (repair,) = model.report.repairs
        assert repair.what == MASS
        assert repair.component == model.weights.argmin()


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
def test_more_restarts_do_not_lose_it(init):
    """A start that finds the mass wins, whatever the others find."""
    X, share = many_zeros(np.random.default_rng(0))
    found = [
        abs(fastem.fit(X, 2, init=init, n_init=n_init, rng=0).weights.min() - share) < 0.01
        for n_init in (1, 2, 5, 10, 20)
    ]
    assert found == sorted(found)
    assert found[-1]


def test_white_pixels():
    rng = np.random.default_rng(1)
    dark, bright = rng.normal([90, 100, 80], [15, 12, 20], (2000, 3)), rng.normal(205, 16, (2000, 3))
    X = np.r_[dark, bright].round().clip(0, 255)
    truth = np.repeat([0, 1], 2000)
    white = rng.random(4000) < 0.05
    X[white], truth[white] = 255, 2
    for dtype in (np.float64, np.float32, np.uint8):
        for n_init in (1, 5):
            model = fastem.fit(X.astype(dtype), 3, n_init=n_init, rng=0)
            labels = model.predict(X.astype(dtype))
            assert sum(np.bincount(truth[labels == k]).max() for k in range(3)) > 0.99 * 4000


def test_weights_count():
    """A tenth of the rows with half of the weight is a mass, but not one with little weight."""
    rng = np.random.default_rng(0)
    X = np.r_[np.zeros(100), rng.normal(0.5, 1, 900)][:, None]
    heavy = fastem.fit(X, 2, sample_weight=np.r_[np.full(100, 9.0), np.ones(900)], rng=0)
    assert heavy.weights.min() == pytest.approx(0.5, abs=0.02)
    light = fastem.fit(X, 2, sample_weight=np.r_[np.full(100, 0.01), np.ones(900)], rng=0, n_init=5)
    assert light.report.status is FitStatus.CONVERGED


def test_partial_fit_and_counts():
    X, share = many_zeros(np.random.default_rng(0))
    model = fastem.partial_fit(None, X, k=2, rng=0)
    assert model.weights.min() == pytest.approx(share, abs=0.01)
    rng = np.random.default_rng(0)
    counts = np.where(rng.random(2000) < 0.4, 0, rng.poisson(6, 2000))[:, None]
    model = fastem.fit(counts, 2, distribution="poisson", rng=0, tol=1e-8)
    assert np.sort(model.parameters["rates"].ravel()) == pytest.approx([0, 6], abs=0.2)
    assert model.weights.min() == pytest.approx(0.4, abs=0.02)


def test_the_warning_says_that_it_may_be_a_finding():
    X, _ = many_zeros(np.random.default_rng(0))
    with pytest.warns(FitWarning, match=r"^MASS: Components \[[01]\] of 2.*a finding") as caught:
        fastem.fit(X, 2, rng=0)
    assert caught[0].message.cause is WarningCause.MASS


@pytest.mark.parametrize("d", [30, 40])
def test_few_rows_in_many_features_lie_in_a_plane_by_necessity(d):
    labels = np.arange(100) % 4
    X = np.random.default_rng(d).normal(size=(100, d)) + 20 * np.eye(4, d)[labels]
    with pytest.warns(FitWarning) as caught:
        fastem.fit(X, 4, rng=0)
    assert [warning.message.cause for warning in caught] == [WarningCause.DEGENERATE]


def test_a_single_heavy_row_is_none():
    rng = np.random.default_rng(0)
    weight = rng.exponential(size=300) ** 3
    model = fastem.fit(rng.normal(size=(300, 1)), 3, sample_weight=weight, n_init=3, rng=0)
    assert MASS not in [repair.what for repair in model.report.repairs]


@pytest.mark.parametrize("options", [{"reg_covar": 1e-2}, {"covariance_type": "diag"}, {}])
def test_a_mass_is_a_way_from_a_saddle(options):
    rng = np.random.default_rng(5)
    X = np.where(rng.random(2000) < 0.3, 0, rng.normal(2, 1.5, 2000))[:, None]
    for seed in range(3):
        model = fastem.fit(X, 2, init="random", rng=seed, **options)
        assert model.weights.min() == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_two_stray_rows_are_none(d):
    """The restart that finds them has the highest likelihood, and loses nevertheless."""
    rng = np.random.default_rng(0)
    X = np.r_[np.full((2, d), 0.25), rng.normal(0, 1, (300, d)), rng.normal(5, 1, (300, d))]
    stray = np.r_[[0, 0], np.ones(600, int)]
    alone = fastem.fit(X, 2, init=stray)
    assert [repair.what for repair in alone.report.repairs] == [FLOORED]
    model = fastem.fit(X, 2, n_init=10, rng=0)
    assert model.report.status is FitStatus.CONVERGED
    assert model.score(X) < alone.score(X) or model.weights.min() > 0.4


@pytest.mark.parametrize("k", range(2, 6))
def test_rounded_numbers_are_none(faithful, iris, k):
    rounded = np.random.default_rng(0).normal(0, 3, (1000, 2)).round()
    for X in (faithful, faithful[:, 1:], faithful[:, :1], iris, rounded):
        assert fastem.fit(X, k, n_init=3, rng=0).report.status is not FitStatus.DEGENERATE


def test_a_plane_is_a_mass_too():
    """A third of the rows have exactly 0 in one feature only."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(0, 1, (1000, 2)), np.c_[rng.normal(3, 1, 500), np.zeros(500)]]
    truth = np.repeat([0, 1], [1000, 500])
    alone = fastem.fit(X, 2, init=truth)
    assert [repair.what for repair in alone.report.repairs] == [MASS]
    assert alone.weights.min() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "deviation"), [(0.5, 0.02), (1.0, 0.05)])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_dense_spots(d, place, deviation):
    """80 tight rows inside 2,000 broad ones: the likelihood is at least that from the true labels."""
    labels = np.repeat([0, 1], [80, 2000])
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.r_[rng.normal(place, deviation, (80, d)), rng.normal(0, 1, (2000, d))]
        model = fastem.fit(X, 2, n_init=12, rng=seed, tol=1e-6)
        truth = fastem.fit(X, 2, init=labels, tol=1e-6)
        assert model.report.log_likelihood > truth.report.log_likelihood - 0.1
        assert model.report.status is FitStatus.CONVERGED


def naive_masses(X, weights, most):
    """Values of 2 % of the weight and 20 rows at least, and three times their two nearest neighbours."""
    values = np.unique(X, axis=0)
    totals = np.array([weights[(value == X).all(axis=1)].sum() for value in values])
    masses = []
    for value, total in sorted(zip(values, totals, strict=True), key=lambda pair: -pair[1]):
        nearest = np.argsort([((other - value) ** 2).sum() for other in values], kind="stable")[1:3]
        if (
            total >= max(0.02 * weights.sum(), 20 * weights.mean())
            and len(nearest)
            and total >= 3 * totals[nearest].sum()
        ):
            masses.append((value == X).all(axis=1))
    return masses[:most]


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_repeated_rows_are_the_loop(seed, d):
    rng = np.random.default_rng(seed)
    X = np.r_[
        rng.normal(size=(400, d)),
        rng.normal(size=(200, d)).round(1),
        np.full((60, d), 0.7),
        np.zeros((30, d)),
    ]
    weights = rng.uniform(0.5, 2, len(X))
    found = repeated_rows(np.ascontiguousarray(X.T), weights, 3)
    np.testing.assert_array_equal(found, naive_masses(X, weights, 3))
    assert len(found) >= 1
