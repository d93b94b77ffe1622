"""Labels from a mixture of one component fewer or more, and what `select` reaches with them."""

import numpy as np
import pytest

import fastem
from fastem import FitStatus
from fastem._api.selecting import Search
from fastem._em.neighbours import Neighbours, sparse_halves, without_one


def test_what_a_component_is_missed():
    """As by leaving out one column after the other, also of rows that only one component can produce."""
    rng = np.random.default_rng(0)
    joint, weights = 30 * rng.normal(size=(200, 6)) - 50, rng.integers(0, 3, 200).astype(np.float64)
    joint[:20, :5] = -np.inf
    joint[20:40, 2] = -np.inf
    weights[:10] = 0
    costs, labels = [], []
    for component in range(6):
        others = np.delete(joint, component, axis=1)
        lost = np.logaddexp2.reduce(joint, axis=1) - np.logaddexp2.reduce(others, axis=1)
        costs.append(weights @ np.where(weights > 0, lost, 0.0))
        labels.append(others.argmax(axis=1))
    found = without_one(joint, weights)
    assert [component for component, _ in found] == list(np.argsort(costs))
    for component, without in found:
        np.testing.assert_array_equal(without, labels[component])


def test_a_cluster_inside_another():
    """k-means cannot halve a cluster into its heart and what is around it, but densities can."""
    rng = np.random.default_rng(1)
    heart, around = 0.1 * rng.normal(size=(2, 100)), 5 * rng.normal(size=(2, 100))
    far = 60 + rng.normal(size=(2, 50))
    points = np.hstack((heart, around, far))
    labels, weights = np.repeat([0, 0, 1], (100, 100, 50)), np.ones(250)
    density = -np.square(points - np.where(labels == 1, 60, 0)).sum(axis=0)
    parts = sparse_halves(labels, density, weights, 2)
    assert [label for label, _ in parts] == [0, 1]
    sparse = np.isin(np.arange(250), parts[0][1])
    assert sparse[:100].mean() < 0.05
    assert sparse[100:200].mean() > 0.95
    assert not sparse[200:].any()
    assert sparse_halves(np.arange(250), density, weights, 250) == []  # no cluster of one row is divided


def test_one_out_and_another_in():
    """The cluster of the component that is left out goes to the others, and half of one of them is new."""
    rng = np.random.default_rng(2)
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [20.0, 0.0], [23.0, 0.0]])
    truth = np.repeat([0, 1, 2, 2], 100)  # the third component has two clusters
    points = (centres[np.repeat([0, 1, 2, 3], 100)] + 0.3 * rng.normal(size=(400, 2))).T
    joint = -np.square(points.T[:, None] - np.array([[0.0, 0], [1.5, 0], [21.5, 0]])).sum(axis=2)
    beside = Neighbours(joint, points, np.ones(400))
    np.testing.assert_allclose(beside.density, np.logaddexp2.reduce(joint, axis=1))
    np.testing.assert_array_equal(beside.labels, truth)
    more = beside.more(thorough=False)
    assert len(set(more[0][200:300])) == len(set(more[0][300:])) == 1
    assert more[0][200] != more[0][300]
    exchanged = beside.exchanged(thorough=True)
    assert all(set(labels) == {0, 1, 2} for labels in exchanged)
    assert len(set(exchanged[0][:200])) == 1
    assert exchanged[0][200] != exchanged[0][300]


def test_starts_are_compared_with_fits_on_all_rows(monkeypatch):
    """A sample may prefer another optimum than all rows do, so these decide where ascents have seen them."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(4, 2))[rng.integers(4, size=3000)] + 0.5 * rng.normal(size=(3000, 2))
    errors = []

    def gain(self, current, beside, likelihood, start, drawn):
        assert len(drawn.rows.X) < 3000
        found = gain_of(self, current, beside, likelihood, start, drawn)
        if likelihood.mean_before(start):
            reached = likelihood.log_likelihood(likelihood.e_step(start.parameters))
            errors.append(found - (reached - current.run.objective) / 3000)
        return found

    gain_of = Search._gain
    monkeypatch.setattr(Search, "_gain", gain)
    fastem.select(X, range(1, 5), covariance_type=("diag", "spherical"), rng=0)
    assert len(errors) > 2
    np.testing.assert_allclose(errors, 0, atol=1e-5)


@pytest.mark.slow
def test_few_cells_are_below_separate_fits(iris):
    """In 95 % of the cells a selection gets as high as `fit` with five starts, and sound if that is sound."""
    cells = lower = 0
    for seed in range(3):
        for row in fastem.select(iris, range(1, 10), rng=seed).table:
            fit = fastem.fit(iris, row.k, covariance_type=row.covariance_type, n_init=5, rng=seed)
            is_sound = fit.report.status is not FitStatus.DEGENERATE
            short = fit.report.log_likelihood - row.log_likelihood > 1e-4 * len(iris)  # the default of tol
            lower += (row.degenerate and is_sound) or (row.degenerate != is_sound and short)
            cells += 1
    assert lower <= 0.05 * cells
