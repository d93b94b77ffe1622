"""Fits to rows with known noise: reference values, slow twins, other optimisers, truth, and bad input."""

import json
import tracemalloc
import warnings

import naive
import numpy as np
import pytest
from conftest import DATA
from problems import random_covariances

import fastem

STORAGE = {"EEI": "diag"}
NOISY = 1e-9  # rounding that sums of 1e4 rows may show in a fall of the log-likelihood, relative


def simulated(n=2000, d=2, size=0.5, seed=0):
    """Two components, and covariances of the noise of each row that differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    means = np.array([[0.0] * d, [3.0] + [1.0] * (d - 1)])
    covariances = random_covariances(rng, "full", 2, d)
    labels = (rng.random(n) < 0.4).astype(int)
    true = means[labels] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(covariances)[labels], rng.normal(size=(n, d))
    )
    factors = rng.normal(size=(n, d, d)) * np.exp(0.7 * rng.normal(size=(n, 1, 1))) * size
    X = true + np.einsum("nij,nj->ni", factors, rng.normal(size=(n, d)))
    return X, factors @ factors.transpose(0, 2, 1), true, labels


def model_for(covariance_type, k, d, seed=0):
    rng = np.random.default_rng(seed)
    means = np.linspace(-1, 4, k)[:, None] + rng.normal(size=(k, d))
    covariances = random_covariances(rng, STORAGE.get(covariance_type, covariance_type), k, d)
    if covariance_type == "EEI":
        covariances[:] = covariances[0]
    return fastem.GaussianMixture(
        rng.dirichlet(np.full(k, 9.0)), means, covariances, covariance_type=covariance_type
    )


def test_the_reference_optimum_is_reached():
    known = json.loads((DATA / "noise.json").read_text())["xd2d_K2"]
    data = np.load(DATA / "noise_2d.npz")
    model = fastem.fit(data["X"], 2, noise=data["noise"], tol=1e-8, max_iter=1000, rng=0)
    assert model.report.log_likelihood >= known["loglik"] - 1e-3
    order = np.argsort(-model.weights)
    np.testing.assert_allclose(model.weights[order], known["weights"], atol=2e-3)
    np.testing.assert_allclose(model.covariances[order], known["covs"], atol=1e-2)


def shape_of(covariance_type):
    """What makes covariances (k, d, d), with the weights n_k, obey a type."""

    def shape(matrices, n_k):
        shares = n_k / n_k.sum()
        diagonals = np.einsum("kii->ki", matrices)
        unit = np.eye(matrices.shape[1])
        if covariance_type == "tied":
            return np.repeat(np.einsum("k,kij->ij", shares, matrices)[None], len(n_k), axis=0)
        if covariance_type == "diag":
            return diagonals[:, :, None] * unit
        if covariance_type == "spherical":
            return diagonals.mean(axis=1)[:, None, None] * unit
        if covariance_type == "EEI":
            return np.repeat((shares @ diagonals * unit)[None], len(n_k), axis=0)
        return matrices

    return shape


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EEI"])
@pytest.mark.parametrize("kind", ["matrices", "variances"])
def test_iterations_are_those_of_the_twin_with_weights_and_gaps(covariance_type, kind):
    X, noise, _, _ = simulated(60, 3)
    weight = np.random.default_rng(1).random(60) + 0.2
    noise = noise if kind == "matrices" else np.einsum("nii->ni", noise).copy()
    X[5, 0] = X[6, 1:] = X[7] = np.nan
    start = model_for(covariance_type, 2, 3)
    storage = STORAGE.get(covariance_type, covariance_type)
    first = np.array(naive.dense(start.covariances, storage, 2, 3))
    w, means, matrices, history = naive.observed_em(
        X,
        naive.noise_matrices(noise, 60, 3),
        weight,
        start.weights,
        start.means,
        first,
        shape_of(covariance_type),
        4,
    )
    start = fastem.GaussianMixture(
        start.weights,
        start.means,
        start.covariances,
        covariance_type=covariance_type,
        missing="marginalise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        model = fastem.fit(
            X,
            2,
            noise=noise,
            missing="marginalise",
            sample_weight=weight,
            covariance_type=covariance_type,
            init=start,
            tol=0,
            max_iter=4,
            reg_covar=0,
            acceleration=None,
        )
    np.testing.assert_allclose(model.report.history, history, rtol=1e-10)
    np.testing.assert_allclose(model.weights, w, rtol=1e-9)
    np.testing.assert_allclose(model.means, means, rtol=1e-8, atol=1e-10)
    found = np.array(naive.dense(model.covariances, storage, 2, 3))
    np.testing.assert_allclose(found, matrices, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "VEV"])
def test_no_noise_gives_the_ordinary_fit(covariance_type):
    X, _, _, _ = simulated(600)
    ordinary = fastem.fit(X, 2, covariance_type=covariance_type, rng=0)
    start = fastem.fit(X, 2, covariance_type=covariance_type, rng=0, max_iter=0, init="kmeans", tol=0)
    for noise in (np.zeros(2), np.full((2, 2), 0.0), np.zeros((600, 2)), np.zeros((600, 2, 2))):
        same = fastem.fit(X, 2, covariance_type=covariance_type, noise=noise, rng=0)
        np.testing.assert_allclose(same.report.log_likelihood, ordinary.report.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(same.means, ordinary.means, rtol=1e-9)
    # Noise of next to nothing runs through the other kernels.
    options = {"covariance_type": covariance_type, "init": start, "tol": 0, "max_iter": 30}
    ordinary = fastem.fit(X, 2, **options)
    same = fastem.fit(X, 2, noise=np.full((600, 2), 1e-300), **options)
    np.testing.assert_allclose(same.report.log_likelihood, ordinary.report.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(same.covariances, ordinary.covariances, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(same.denoise(X, np.zeros(2)), X, rtol=1e-12, atol=1e-12)


def test_one_component_is_what_direct_optimisation_finds():
    optimize = pytest.importorskip("scipy.optimize")
    X, noise, _, _ = simulated(150)
    lower = np.tril_indices(2)

    def loss(point):
        L = np.zeros((2, 2))
        L[lower] = point[2:]
        total = L @ L.T + noise
        z = X - point[:2]
        squares = np.einsum("ni,ni->n", z, np.linalg.solve(total, z[:, :, None])[:, :, 0])
        return 0.5 * (squares + np.linalg.slogdet(2 * np.pi * total)[1]).sum()

    begin = np.concatenate([X.mean(axis=0), np.linalg.cholesky(np.cov(X.T))[lower]])
    best = optimize.minimize(loss, begin, method="BFGS", options={"gtol": 1e-8})
    model = fastem.fit(X, 1, noise=noise, tol=0, max_iter=500, reg_covar=0)
    assert abs(model.report.log_likelihood + best.fun) < 1e-7
    np.testing.assert_allclose(model.means[0], best.x[:2], atol=1e-5)


def test_maps_of_the_rows_and_their_noise_map_the_fit():
    X, noise, _, _ = simulated(500)
    A, shift = np.array([[1e3, 2e2], [-0.5, 7.0]]), np.array([1e5, -3.0])
    start = model_for("full", 2, 2)
    mapped = fastem.GaussianMixture(
        start.weights, start.means @ A.T + shift, A @ start.covariances @ A.T, covariance_type="full"
    )
    options = {"tol": 0, "max_iter": 50, "reg_covar": 0, "acceleration": None}
    one = fastem.fit(X, 2, noise=noise, init=start, **options)
    other = fastem.fit(X @ A.T + shift, 2, noise=A @ noise @ A.T, init=mapped, **options)
    np.testing.assert_allclose(other.means, one.means @ A.T + shift, rtol=1e-8)
    np.testing.assert_allclose(other.covariances, A @ one.covariances @ A.T, rtol=1e-6)
    np.testing.assert_allclose(
        other.denoise(X @ A.T + shift, A @ noise @ A.T), one.denoise(X, noise) @ A.T + shift, rtol=1e-7
    )


def test_parameters_behind_the_noise_are_recovered():
    rng = np.random.default_rng(0)
    n, narrow = 30_000, 0.05
    labels = (rng.random(n) < 0.3).astype(int)
    deviations = np.array([[1.0, 0.5], [narrow, 0.3]])[labels]
    true = np.array([[0.0, 0.0], [1.0, 2.0]])[labels] + deviations * rng.normal(size=(n, 2))
    errors = np.exp(rng.uniform(np.log(0.05), np.log(1.0), (n, 2)))
    X = true + errors * rng.normal(size=(n, 2))
    model = fastem.fit(X, 2, covariance_type="diag", noise=errors**2, rng=0, tol=1e-7, max_iter=1000)
    order = np.argsort(-model.weights)
    np.testing.assert_allclose(model.weights[order], [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(model.means[order], [[0, 0], [1, 2]], atol=0.03)
    np.testing.assert_allclose(
        np.sqrt(model.covariances[order]), [[1, 0.5], [narrow, 0.3]], rtol=0.05, atol=0.02
    )
    plain = fastem.fit(X, 2, covariance_type="diag", rng=0)
    assert np.sqrt(plain.covariances).min() > 5 * narrow  # without `noise` it is blurred
    error = np.square(model.denoise(X, errors**2) - true).mean()
    assert error < 0.6 * np.square(X - true).mean()


@pytest.mark.parametrize(
    ("size", "narrow"), [(10.0, 1.0), (1.0, 1e-4), (1e-5, 1.0), (1e-3, 1e-5)]
)  # of deviations
@pytest.mark.parametrize("reg_covar", ["auto", 0.0])
def test_the_likelihood_never_falls(size, narrow, reg_covar):
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(800, 3, 3)) * size
    factors[::7] *= 1e-3  # some rows are nearly exact
    X = rng.normal(size=(2, 3))[rng.integers(2, size=800)] * 3 + narrow * rng.normal(size=(800, 3))
    X += np.einsum("nij,nj->ni", factors, rng.normal(size=(800, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastem.FitWarning)
        model = fastem.fit(
            X,
            2,
            noise=factors @ factors.transpose(0, 2, 1),
            rng=0,
            tol=0,
            max_iter=1000,
            reg_covar=reg_covar,
            acceleration=None,
        )
    history = np.array(model.report.history)
    assert len(history) == 1001
    assert np.isfinite(history).all()
    assert np.diff(history).min() > -NOISY * np.abs(history).max()
    assert (np.linalg.eigvalsh(model.covariances) > 0).all()


def test_scores_are_those_of_the_twin():
    X, noise, _, _ = simulated(80, 3)
    X[4, 1] = X[5] = np.nan
    model = fastem.GaussianMixture(*_parts(model_for("full", 3, 3)), missing="marginalise")
    joint, log_p, true, _ = naive.observed_e_step(
        X, noise, np.ones(80), model.weights, model.means, model.covariances
    )
    r = naive.shares(joint)[0]
    np.testing.assert_allclose(model.score_samples(X, noise=noise), log_p, atol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X, noise=noise), r, atol=1e-9)
    np.testing.assert_allclose(model.denoise(X, noise), true, atol=1e-9)
    np.testing.assert_allclose(
        model.component_log_densities(X, noise=noise), joint - np.log(model.weights), atol=1e-9
    )
    assert (model.predict(X, noise=noise) == joint.argmax(axis=1)).all()
    assert model.score(X, noise=noise) == pytest.approx(log_p.mean(), rel=1e-12)
    assert model.lower_bound(X, r, noise=noise) == pytest.approx(log_p.sum(), rel=1e-9)
    n_parameters = model.n_parameters
    assert model.bic(X, noise=noise) == pytest.approx(-2 * log_p.sum() + n_parameters * np.log(80))
    assert model.aic(X, noise=noise) == pytest.approx(-2 * log_p.sum() + 2 * n_parameters)
    best = joint.max(axis=1).sum()
    assert model.icl(X, noise=noise) == pytest.approx(-2 * best + n_parameters * np.log(80))
    one = np.diag([1.0, 2.0, 3.0])
    for same in (one, np.diagonal(one), np.broadcast_to(one, (80, 3, 3))):
        np.testing.assert_allclose(
            model.score_samples(X, noise=same), model.score_samples(X, noise=[1.0, 2.0, 3.0]), atol=1e-12
        )


def _parts(model):
    return model.weights, model.means, model.covariances


def test_sums_of_parts_add_up_and_give_the_next_parameters():
    X, noise, _, _ = simulated(700)
    start = model_for("full", 2, 2)
    parts = [fastem.e_step(X[i : i + 300], start, noise=noise[i : i + 300]) for i in range(0, 700, 300)]
    after = fastem.m_step(sum(parts))
    one = fastem.fit(X, 2, noise=noise, init=start, max_iter=1, tol=0)
    assert isinstance(after, fastem.GaussianMixture)
    np.testing.assert_allclose(after.covariances, one.covariances, rtol=1e-10)
    assert fastem.Statistics.from_bytes(parts[0].to_bytes()).n_samples == 300
    both = parts[0] + fastem.e_step(X, start)  # rows without noise count too
    assert both.n_samples == 1000


def test_labels_priors_fixed_parameters_and_hard_assignment_go_together_with_noise():
    X, noise, _, labels = simulated(500)
    known = np.where(np.arange(500) % 5 == 0, labels, -1)
    model = fastem.fit(X, 2, noise=noise, labels=known, prior="default", rng=0)
    assert (model.predict(X, noise=noise) == labels).mean() > 0.8
    means = [[0.0, 0.0], [3.0, 1.0]]
    fixed = fastem.fit(X, 2, noise=noise, init={"means": means}, fixed=("means",), rng=0)
    np.testing.assert_array_equal(fixed.means, means)
    hard = fastem.fit(X, 2, noise=noise, assignment="hard", rng=0)
    assert (np.diff(hard.report.history) > -1e-9 * abs(hard.report.history[0])).all()


def test_select_compares_mixtures_behind_the_noise():
    X, noise, _, _ = simulated(1500)
    selection = fastem.select(X, range(1, 4), noise=noise, covariance_type=("full", "diag"), rng=0)
    assert selection.chosen.k == 2
    assert selection.best.bic(X, noise=noise) == pytest.approx(selection.chosen.bic)


BAD = [
    ((9, (0, 1), 9.0), "symmetric; row 9 has 9.0"),
    ((9, None, [[1.0, 2.0], [2.0, 1.0]]), "positive semidefinite; that of row 9"),
    ((9, None, [[-1.0, 0.0], [0.0, 1.0]]), "at least 0; row 9"),
    ((9, (1, 1), np.nan), "finite; row 9"),
    ((9, (1, 1), np.inf), "finite; row 9"),
]


@pytest.mark.parametrize(("fault", "message"), BAD)
def test_bad_noise_is_an_error_that_names_the_first_row(fault, message):
    X, noise, _, _ = simulated(40)
    row, place, value = fault
    for bad in (row, row + 3):
        noise[(bad, *(place or (...,)))] = value
    with pytest.raises(ValueError, match=f"noise must (be|have).*{message}"):
        fastem.fit(X, 2, noise=noise)
    with pytest.raises(ValueError, match=f"noise must (be|have).*{message}"):
        model_for("full", 2, 2).denoise(X, noise)
    chunks = [{"X": X[:6], "noise": noise[:6]}, {"X": X[6:], "noise": noise[6:]}]
    with pytest.raises(ValueError, match=r"the noise of chunk 1 of X must (be|have)"):
        fastem.fit(chunks, 2, rng=0)


@pytest.mark.parametrize("shape", [(40,), (39, 2), (40, 3), (40, 2, 3), (2, 2, 2, 2), (3, 3)])
def test_noise_of_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match=r"noise must have variances, of shape \(40, 2\), or covariances"):
        fastem.fit(simulated(40)[0], 2, noise=np.zeros(shape))


def test_singular_noise_is_noise():
    X, _, _, _ = simulated(300)
    direction = np.random.default_rng(0).normal(size=(300, 2, 1))
    noise = direction @ direction.transpose(0, 2, 1)  # along one direction, up to rounding
    model = fastem.fit(X, 2, noise=noise, rng=0)
    assert np.isfinite(model.report.log_likelihood)
    huge = model.score_samples(X, noise=1e12 * noise)  # where rounding hides what is left of the others
    assert np.isfinite(huge).all()


@pytest.mark.parametrize(
    "option",
    [
        {"distribution": "student"},
        {"distribution": "poisson"},
        {"noise_component": True},
        {"inference": "variational"},
    ],
)
def test_what_does_not_go_together_with_noise_is_an_error_before_work(option):
    with pytest.raises(ValueError, match="noise must be None"):
        fastem.fit("no such file.csv", 2, noise=np.ones(2), **option)


def test_noise_is_never_copied_as_a_whole(tmp_path):
    n, d = 120_000, 8
    rng = np.random.default_rng(0)
    np.save(tmp_path / "noise.npy", np.broadcast_to(np.eye(d), (n, d, d)).astype(np.float32))
    noise = np.load(tmp_path / "noise.npy", mmap_mode="r")
    X, model = rng.normal(size=(n, d)), model_for("full", 2, d)
    fastem.e_step(X[:10], model, noise=np.eye(d))
    tracemalloc.start()
    try:
        fastem.e_step(X, model, noise=noise)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # In float64 it would be 61 MB as a whole. A slab with its noise is of 16 MB, and the next is one too.
    assert peak < 36e6
    assert not noise.flags.writeable
