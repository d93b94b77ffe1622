"""Labels from a mixture of one component fewer or more, and what `select` reaches with them."""

import numpy as np
import pytest

import fastem
from fastem import FitStatus
from fastem._em.neighbours import nested, without_one


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
    expected = [labels[component] for component in np.argsort(costs)[:3]]
    np.testing.assert_array_equal(without_one(joint, weights), expected)


def test_a_cluster_inside_another():
    """k-means cannot halve a cluster into its heart and what is around it, but densities can."""
    rng = np.random.default_rng(1)
    heart, around = 0.1 * rng.normal(size=(2, 100)), 5 * rng.normal(size=(2, 100))
    far = 60 + rng.normal(size=(2, 50))
    points = np.hstack((heart, around, far))
    labels, weights = np.repeat([0, 0, 1], (100, 100, 50)), np.ones(250)
    density = -np.square(points - np.where(labels == 1, 60, 0)).sum(axis=0)
    more = nested(labels, density, weights, 2)
    assert len(more) == 2
    assert (more[0][:100] == 0).mean() > 0.95
    assert (more[0][100:200] == 2).mean() > 0.95
    assert (more[0][200:] == 1).all()
    assert nested(np.arange(250), density, weights, 250) == []  # no cluster of one row is divided


@pytest.mark.slow
def test_few_cells_are_below_separate_fits(iris):
    """In 95 % of the cells a selection gets as high as `fit` with five starts, and sound if that is sound."""
    cells = lower = 0
    for seed in (2,):
        for row in fastem.select(iris, range(1, 10), rng=seed).table:
            fit = fastem.fit(iris, row.k, covariance_type=row.covariance_type, n_init=5, rng=seed)
            is_sound = fit.report.status is not FitStatus.DEGENERATE
            short = fit.report.log_likelihood - row.log_likelihood > 1e-4 * len(iris)  # the default of tol
            lower += (row.degenerate and is_sound) or (row.degenerate != is_sound and short)
            cells += 1
    assert lower <= 0.05 * cells
