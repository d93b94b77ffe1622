"""Degenerate data always give a valid mixture, never NaN, and the report lists the repairs."""

import numpy as np
import pytest
from problems import TYPES, clusters

import fastem
from fastem import FitStatus
from fastem._families.floor import clear_total
from fastem._families.frame import Frame, Moments
from fastem._families.layouts import Diag, Full, GaussianParameters, GaussianSums, Spherical
from fastem._families.matrices import cholesky, diagonals, invert_lower, symmetric
from fastem._families.singular import _bound
from fastem._families.volumes import own_scatters

pytestmark = pytest.mark.filterwarnings("ignore::fastem.FitWarning")

RNG = np.random.default_rng(0)
PLANE = RNG.normal(size=(300, 2))
DEGENERATE = {
    "identical rows": (np.full((50, 3), 7.25), 2),
    "constant column": (np.column_stack([PLANE, np.full(300, 4.0)]), 3),
    "constant zero column": (np.column_stack([PLANE, np.zeros(300)]), 3),
    "duplicated column": (np.column_stack([PLANE, PLANE[:, 0]]), 3),
    "fewer distinct rows than k": (np.repeat(PLANE[:3], 20, axis=0), 5),
    "one point repeated": (np.concatenate([PLANE, np.repeat(PLANE[:1], 200, axis=0)]), 4),
    "integers with ties": (RNG.integers(0, 4, size=(400, 3)).astype(float), 6),
    "n = k": (PLANE[:5], 5),
    "n = 1": (PLANE[:1], 1),
    "n <= d": (RNG.normal(size=(4, 6)), 2),
    "an outlier": (np.concatenate([PLANE, [[1e12, -1e12]]]), 3),
    "units of 1e-150": (1e-150 * PLANE, 3),
    "units of 1e150": (1e150 * PLANE, 3),
    "scales apart": (PLANE * np.array([1e-8, 1e8]), 3),
    "collinear columns": (np.column_stack([PLANE, PLANE[:, 0] - 3 * PLANE[:, 1]]), 3),
}
# For these data and covariance types, the status must be DEGENERATE from every start.
SINGULAR = {
    "identical rows": TYPES,
    "constant column": ["full", "tied", "diag"],
    "constant zero column": ["full", "tied", "diag"],
    "duplicated column": ["full", "tied"],
    "collinear columns": ["full", "tied"],
    "fewer distinct rows than k": TYPES,
    "n = k": TYPES,
    "n = 1": TYPES,
    "n <= d": ["full", "tied"],
}
SOUND = ["units of 1e-150", "units of 1e150", "scales apart"]


def assert_valid(model, X):
    for array in (model.weights, model.means, model.covariances, np.array(model.report.history)):
        assert np.isfinite(array).all()
    assert model.weights.sum() == pytest.approx(1)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert model.report.n_iter <= 200


@pytest.mark.parametrize("reg_covar", ["auto", 0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_data_give_a_valid_mixture(name, covariance_type, dtype, reg_covar):
    X, k = DEGENERATE[name]
    if dtype == np.float32 and "150" in name:
        pytest.skip("beyond float32")
    model = fastem.fit(X.astype(dtype), k, covariance_type=covariance_type, reg_covar=reg_covar, rng=0)
    assert_valid(model, X.astype(dtype))
    if covariance_type in SINGULAR.get(name, []):
        assert model.report.status is FitStatus.DEGENERATE
        assert len(model.report.repairs) > 0
    elif name in SOUND:
        assert model.report.status is FitStatus.CONVERGED
        assert model.report.repairs == ()
    assert len(model.report.repairs) <= 5 * k


def test_an_outlier_is_a_status_and_with_reg_covar_zero_costs_the_others_nothing():
    """The floor is a millionth of the variance, which comes from the outlier. Without it the rest is seen."""
    X, _ = DEGENERATE["an outlier"]
    assert fastem.fit(X, 3, rng=0).report.status is FitStatus.DEGENERATE
    labels = np.append(np.zeros(300, int), 1)
    model = fastem.fit(X, 2, init=labels, covariance_type="tied", reg_covar=0, max_iter=0)
    np.testing.assert_allclose(model.covariances, np.cov(PLANE.T, bias=True), rtol=0.01)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_scales_apart_give_the_partition_of_the_standardised_data(covariance_type):
    X = clusters(3, 500, 2, 3)
    factors = np.array([1e-8, 1e8])
    plain, apart = (
        fastem.fit(data, 3, covariance_type=covariance_type, rng=0)
        for data in (X / X.std(axis=0), X * factors)
    )
    labels = apart.predict(X * factors), plain.predict(X / X.std(axis=0))
    assert len(np.unique(labels, axis=1).T) == 3  # the same clusters, in any order


@pytest.mark.parametrize("reg_covar", ["auto", 0])
def test_a_covariance_that_turns_singular_in_mid_fit(reg_covar):
    """The second component begins wide and ends on a line of 30 points."""
    rng = np.random.default_rng(0)
    line = np.column_stack([rng.normal(size=30), np.full(30, 9.0)])
    X = np.concatenate([rng.normal(size=(300, 2)), line])
    start = fastem.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [0.0, 6.0]], np.tile(4 * np.eye(2), (2, 1, 1)))
    model = fastem.fit(X, 2, init=start, reg_covar=reg_covar)
    assert_valid(model, X)
    assert model.report.status is FitStatus.DEGENERATE
    assert [repair.component for repair in model.report.repairs] == [1]
    assert model.report.repairs[0].iteration > 1
    assert model.weights[1] == pytest.approx(30 / 330)
    np.testing.assert_allclose(model.means[1], line.mean(axis=0), atol=1e-6)


def test_a_component_whose_weight_goes_to_zero_is_found_in_mid_fit():
    """Two components compete for one cluster; the start gives one of them a weight that vanishes."""
    X = clusters(0, 500, 2, 1)
    start = fastem.GaussianMixture([1 - 1e-9, 1e-9], [X.mean(axis=0)] * 2, [np.cov(X.T), 1e-4 * np.cov(X.T)])
    model = fastem.fit(X, 2, init=start)
    assert_valid(model, X)
    assert any("re-seeded" in repair.what for repair in model.report.repairs)


def test_sound_narrow_clusters_in_many_features_are_not_called_singular():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 4
    X = 200 * rng.normal(size=(4, 32))[labels] + rng.normal(size=(2000, 32))
    model = fastem.fit(X, 4, init=labels)
    assert model.report.status is FitStatus.CONVERGED
    assert model.report.repairs == ()


def test_a_component_without_data_is_reseeded_and_reported():
    X = clusters(0, 500, 2, 3)
    start = fastem.GaussianMixture(
        [0.5, 0.25, 0.25], [[0.0, 0.0], [1e4, 0.0], [0.0, -1e4]], np.tile(np.eye(2), (3, 1, 1))
    )
    model = fastem.fit(X, 3, init=start)
    assert_valid(model, X)
    repairs = [repair for repair in model.report.repairs if "re-seeded" in repair.what]
    assert {repair.component for repair in repairs} == {1, 2}
    assert {repair.iteration for repair in repairs} == {1}
    assert model.weights.min() > 0.01
    assert model.report.log_likelihood > fastem.fit(X, 1).report.log_likelihood


def test_reseeding_ends():
    X = np.repeat([[0.0], [1.0]], 100, axis=0)
    start = fastem.GaussianMixture([0.2] * 5, [[0.0], [1.0], [50.0], [60.0], [70.0]], [1.0] * 5, "spherical")
    model = fastem.fit(X, 5, covariance_type="spherical", init=start, tol=0, max_iter=100)
    assert_valid(model, X)
    assert len([r for r in model.report.repairs if "re-seeded" in r.what]) <= 15


def test_a_collapsed_component_is_reported():
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(200, 2)), np.full((30, 2), 5.0)])
    model = fastem.fit(X, 2, rng=0)
    assert model.report.status is FitStatus.DEGENERATE
    assert model.report.converged
    assert any("floored" in repair.what for repair in model.report.repairs)


def test_a_singular_component_does_not_win_the_restarts():
    """A component on two identical points has unbounded likelihood. A fit without it is returned."""
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(size=(60, 1)), rng.normal(8, 1, size=(60, 1)), [[4.0], [4.0]]])
    singular = fastem.fit(X, 2, init=np.array([0] * 120 + [1] * 2), tol=1e-8, max_iter=500)
    assert singular.report.status is FitStatus.DEGENERATE
    model = fastem.fit(X, 2, n_init=10, rng=0)
    assert model.report.status is FitStatus.CONVERGED


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1e8), (np.float32, 1e4)])
def test_an_offset_costs_nothing(covariance_type, dtype, offset):
    X = clusters(3, 2000, 3, 3)
    X = np.round(X * 64) / 64  # then adding the offset rounds no row
    plain, moved = (
        fastem.fit(data.astype(dtype), 3, covariance_type=covariance_type, rng=0) for data in (X, X + offset)
    )
    assert moved.report.log_likelihood == pytest.approx(plain.report.log_likelihood, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e-20, 1e-150, 1e150])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_units_shift_the_log_likelihood_by_the_jacobian(covariance_type, unit):
    X = clusters(3, 2000, 3, 3)
    plain = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
    scaled = fastem.fit(X * unit, 3, covariance_type=covariance_type, rng=0)
    expected = plain.report.log_likelihood - X.size * np.log(unit)
    assert scaled.report.log_likelihood == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(scaled.predict(X * unit), plain.predict(X))


@pytest.mark.parametrize("least", [1e-9, 0.4, 2.9, 3.1, 9, 40, 1e4])
@pytest.mark.parametrize("d", [2, 9, 33])
def test_ratios_to_the_floor_decide_as_eigenvalues_do(d, least):
    """The smallest eigenvalue of each covariance is `least` times the floor, which differs by feature."""
    rng = np.random.default_rng(d)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, d, d)))
    eigenvalues = least * rng.uniform(1, 1e3, size=(3, d))
    eigenvalues[:, 0] = least
    floor = rng.uniform(0.1, 10, size=(3, d))
    root = np.sqrt(floor)[:, :, None]
    covariances = (
        root * (rotation * eigenvalues[:, None, :]) @ rotation.transpose(0, 2, 1) * root.transpose(0, 2, 1)
    )
    ratios = Full().ratios(covariances, floor)
    np.testing.assert_allclose((1 / ratios**2).sum(axis=1), (1 / eigenvalues**2).sum(axis=1), rtol=1e-6)
    for bound in (0.5, 3.0):
        np.testing.assert_array_equal((ratios > bound).all(axis=1), least > bound)
    assert (ratios.min(axis=1) <= 1.001 * np.sqrt(d) * least).all()


@pytest.mark.parametrize("covariance_type", ["EVE", "VVE", "EEV", "VEV"])
def test_axes_are_found_though_scales_differ_by_more_than_rounding(covariance_type):
    """The smallest sums of squares along axes come out below zero, which has no logarithm."""
    X = np.random.default_rng(0).normal(size=(40, 6)) * 10.0 ** np.array([-6, 6, 0, 3, -3, 6])
    model = fastem.fit(X, 1, covariance_type=covariance_type, reg_covar=0)
    assert np.isfinite(model.score_samples(X)).all()
    assert model.covariances[0][1, 1] == pytest.approx(X[:, 1].var(), rel=1e-6)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_the_floor_of_a_fit_is_that_of_its_sums(covariance_type):
    """A fit knows the variance of all rows beforehand, and merged statistics do not."""
    X = np.repeat([[0.0, 50.0], [1.0, 10.0], [9.0, 20.0]], 20, axis=0)
    init = np.repeat([0, 1, 2], 20)
    model = fastem.fit(X, 3, covariance_type=covariance_type, init=init, max_iter=1, tol=0)
    stepped = fastem.m_step(fastem.e_step(X[:30], model) + fastem.e_step(X[30:], model))
    fitted = fastem.fit(X, 3, covariance_type=covariance_type, init=model, max_iter=1, tol=0)
    np.testing.assert_allclose(fitted.covariances, stepped.covariances, rtol=1e-12, atol=1e-20)


def test_no_variance_is_known_beforehand_where_a_column_may_be_constant():
    frame = Frame(np.zeros(2), np.array([1.0, 2.0]), np.zeros(2))
    known = Moments(10.0, np.zeros(2), np.array([1.0, 3.0]))
    np.testing.assert_array_equal(clear_total(known, frame, Diag()).variance, [1.0, 0.75])
    np.testing.assert_array_equal(clear_total(known, frame, Spherical()).variance, [0.875, 0.875])
    constant = known._replace(variance=np.array([1.0, 1e-30]))
    assert clear_total(constant, frame, Full()) is None
    assert clear_total(constant, frame, Spherical()) is not None


APART = np.concatenate([RNG.normal(size=(500, 2)), RNG.normal(size=(500, 2)) + np.array([40.0, 0.0])])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("init", ["auto", "kmeans"])
@pytest.mark.parametrize("reg_covar", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("covariance_type", [*TYPES, "VVE", "EEI"])
def test_components_that_vary_by_themselves_are_sound_however_much_is_added(covariance_type, reg_covar, init):
    model = fastem.fit(APART, 2, covariance_type=covariance_type, reg_covar=reg_covar, init=init, rng=0)
    assert model.report.status is FitStatus.CONVERGED
    assert not model.report.repairs
    np.testing.assert_allclose(np.sort(model.means[:, 0]), [0, 40], atol=0.2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reg_covar", [1.0, 10.0])
def test_select_does_not_avoid_components_to_which_much_is_added(reg_covar):
    selection = fastem.select(APART, [1, 2], covariance_type=TYPES, reg_covar=reg_covar, rng=0)
    assert selection.best.n_components == 2
    assert all(row.status is FitStatus.CONVERGED for row in selection.table)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
@pytest.mark.parametrize("reg_covar", ["auto", 0, 1e-6, 1e-3, 10.0])
def test_a_component_without_a_variance_of_its_own_is_told_however_much_is_added(covariance_type, reg_covar):
    X = APART.copy()
    X[:300] = [100.0, 200.0]
    with pytest.warns(fastem.FitWarning, match="columns 0 and 1 are constant") as caught:
        model = fastem.fit(X, 3, covariance_type=covariance_type, reg_covar=reg_covar, rng=0)
    assert caught[0].message.cause is fastem.WarningCause.MASS
    assert model.report.status is FitStatus.DEGENERATE
    assert {repair.component for repair in model.report.repairs} == {int(model.means[:, 1].argmax())}


@pytest.mark.parametrize("reg_covar", [1e-6, 1.0, 10.0])
def test_collinear_columns_are_told_however_much_is_added(reg_covar):
    X = np.column_stack([APART, APART[:, 0]])
    with pytest.warns(fastem.FitWarning, match="columns 0 and 2 are collinear"):
        assert fastem.fit(X, 2, reg_covar=reg_covar, rng=0).report.status is FitStatus.DEGENERATE


@pytest.mark.parametrize("seed", range(8))
def test_a_component_without_rows_takes_one_of_two_clusters_that_another_had(seed):
    """Features go together where a component has two clusters: one of them alone does not part these."""
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(0, 1, (300, 3)), rng.normal(6, 1, (300, 3))])
    model = fastem.fit(X, 2, init={"means": [[0, 0, 0], [1e3, 0, 0]]})
    np.testing.assert_allclose(np.sort(model.means[:, 0]), [0, 6], atol=0.3)


def test_errors_of_lapack_are_told():
    matrices = np.array([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]]])
    found = cholesky(matrices)
    assert np.isnan(found[0]).all()
    assert found[1, 0, 0] == 2
    with pytest.raises(np.linalg.LinAlgError):
        invert_lower(np.zeros((1, 2, 2)))


def test_factors_that_are_left_are_those_of_the_covariances():
    start = GaussianParameters(np.ones(1), np.zeros((1, 2)), np.array([[[4.0, 1.0], [1.0, 2.0]]]))
    fresh = start.factors
    start.remember(fresh)
    assert start.factors is fresh
    other = start._replace(covariances=4 * start.covariances)
    np.testing.assert_array_equal(other.factors, 2 * fresh)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 4, 4), (0, 2, 2), (3, 9, 9)])
def test_the_lower_triangle_tells_symmetric_matrices(shape):
    matrices = np.random.default_rng(0).normal(size=shape)
    expected = np.tril(matrices) + np.swapaxes(np.tril(matrices, -1), -1, -2)
    np.testing.assert_array_equal(symmetric(matrices), expected)
    np.testing.assert_array_equal(symmetric(np.repeat(matrices, 2, axis=-1)[..., ::2]), expected)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_component_on_a_steep_line_is_told_in_any_order_of_the_columns(order):
    rng = np.random.default_rng(1)
    X, along = rng.normal(size=(200, 2)), rng.normal(size=24)
    X[:24] = np.column_stack([0.06 * along, 6 * along])  # each varies a lot given the one before it
    X = X[:, order]
    for options in ({}, {"sample_weight": np.ones(200)}):
        with pytest.warns(fastem.FitWarning, match="MASS"):
            assert fastem.fit(X, 2, rng=0, **options).report.status is FitStatus.DEGENERATE


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_no_eigenvalue_is_less_than_its_bound(d):
    rng = np.random.default_rng(d)
    roots = rng.normal(size=(300, d, d)) * np.exp(4 * rng.normal(size=(300, d, 1)))
    roots[::2] += 10 * np.outer(np.ones(d), rng.normal(size=d))
    covariances = roots @ roots.transpose(0, 2, 1)
    least = np.exp(rng.normal(size=(300, d)))
    scaled = covariances / np.sqrt(least[:, :, None] * least[:, None])
    pivots, eigenvalues = np.square(diagonals(cholesky(covariances))), np.linalg.eigvalsh(scaled)
    bound, rounding = _bound(pivots, diagonals(covariances), least), 1e-13 * eigenvalues[:, -1]
    known = np.isfinite(bound)
    assert known.mean() > 0.4
    assert (bound <= 1.001 * eigenvalues[:, 0] + rounding)[known].all()
    assert _bound(np.ones((1, d)), np.ones((1, d)), np.ones((1, d)))[0] == pytest.approx(1 / np.e)


def test_the_floor_may_lower_the_log_likelihood_of_heavy_tails():
    """It is no part of the likelihood, and a millionth of a variance that is nearly all of few rows."""
    X = np.append(np.random.default_rng(0).standard_cauchy(999), 47000.0)[:, None]
    floored, free = (fastem.fit(X, 2, rng=0, reg_covar=reg_covar) for reg_covar in ("auto", 0))
    assert floored.report.status is free.report.status is FitStatus.CONVERGED
    assert np.diff(floored.report.history).min() < -1e-3 * len(X)
    assert np.diff(free.report.history).min() > -1e-9 * len(X)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EVI"])
def test_a_reg_covar_that_hides_all_variances_is_told(covariance_type):
    with pytest.warns(fastem.FitWarning, match=r"reg_covar=1e\+18 is so far above .* Pass less\.") as told:
        fastem.fit(APART, 2, covariance_type=covariance_type, reg_covar=1e18, rng=0)
    assert "constant" not in str(told[0].message)


@pytest.mark.parametrize("covariance_type", ["EVI", "VEI", "VEE", "EVV", "VVE"])
@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
def test_few_rows_and_noise_give_no_warning_of_numpy(covariance_type):
    with np.errstate(all="raise"):
        for seed in range(30):
            X = np.random.default_rng(seed).normal(size=(3 + seed % 4, 2))
            options = {
                "covariance_type": covariance_type,
                "noise_component": True,
                "reg_covar": 0,
                "max_iter": 20,
            }
            model = fastem.fit(X, 2 + seed % 2, rng=0, **options)
            assert np.isfinite(model.parameters["covariances"]).all()


def test_scatters_of_each_component_are_symmetric_to_the_last_bit():
    rng = np.random.default_rng(0)
    shift, weights = rng.normal(size=(4, 5)), rng.exponential(size=4)
    outer = shift[:, :, None] * shift[:, None, :]
    sums = GaussianSums(shift, weights, shift, weights[:, None, None] * outer * (1 + 1e-15))
    scatters = own_scatters(sums, shift, weights)
    np.testing.assert_array_equal(scatters, scatters.transpose(0, 2, 1))
