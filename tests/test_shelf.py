"""mclust's fourteen covariance models: their M-steps, their numbers of parameters, and what they find."""

import numpy as np
import pytest

import fastem
from fastem._families.registry import GAUSSIANS, MCLUST
from fastem._kernels._turns import turn_axes
from fastem.datasets import old_faithful

# Log-likelihoods of Old Faithful with 2 and 3 components: the best optima that are known, to 1e-4.
FAITHFUL = {
    "EII": (-1709.6814, -1663.5396),
    "VII": (-1709.5293, -1637.4344),
    "EEI": (-1157.6800, -1133.4554),
    "VEI": (-1152.8802, -1132.6668),
    "EVI": (-1153.8856, -1132.4224),
    "VVI": (-1147.8064, -1127.0075),
    "EEE": (-1140.1868, -1126.3159),
    "VEE": (-1136.2599, -1124.5282),
    "EVE": (-1136.9103, -1124.8319),
    "VVE": (-1132.1126, -1122.1824),
    "EEV": (-1139.3316, -1126.1633),
    "VEV": (-1134.6792, -1122.5494),
    "EVV": (-1135.7699, -1124.1272),
    "VVV": (-1130.2640, -1114.4399),
}
NEW = [name for name, own in MCLUST.items() if name == own and name != "EII"]


def dense(model):
    """The covariances of a model as matrices (k, d, d)."""
    k, d = model.means.shape
    if model.covariances.ndim == 1:
        return model.covariances[:, None, None] * np.eye(d)
    if model.covariance_type == "tied":
        return np.broadcast_to(model.covariances, (k, d, d))
    return model.covariances[:, :, None] * np.eye(d) if model.covariances.ndim == 2 else model.covariances


def parts(name, matrices):
    """Volumes (k,), shapes (k, d) of product 1, and axes (k, d, d) in the columns."""
    d = matrices.shape[1]
    axes = np.linalg.eigh(matrices)[1]
    if name[2] == "E":
        axes = np.broadcast_to(axes[0], axes.shape)
    elif name[2] == "I":
        axes = np.broadcast_to(np.eye(d), axes.shape)
    variances = np.einsum("kij,kil,klj->kj", axes, matrices, axes)
    volumes = np.exp(np.log(variances).mean(axis=1))
    return volumes, variances / volumes[:, None], axes


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", FAITHFUL)
def test_the_best_optimum_known_is_found(name, k):
    X = old_faithful()
    model = fastem.fit(X, k, covariance_type=name, reg_covar=0, tol=1e-8, max_iter=2000, n_init=2, rng=0)
    assert model.report.log_likelihood > FAITHFUL[name][k - 2] - 1e-3
    assert model.covariance_type == MCLUST[name]


def n_parameters(name, k, d):
    """A number for each volume, for each shape but its product, and for each angle."""
    volumes = k if name[0] == "V" else 1
    shapes = {"I": 0, "E": 1, "V": k}[name[1]] * (d - 1)
    turns = {"I": 0, "E": 1, "V": k}[name[2]] * (d * (d - 1) // 2)
    return volumes + shapes + turns


def test_every_parameter_is_counted_once():
    for name, own in MCLUST.items():
        assert GAUSSIANS[own].n_parameters(3, 5) == n_parameters(name, 3, 5) + 15


def clusters(n=3000, d=4, k=3, seed=0):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(k, d, d)))[0] * rng.uniform(0.3, 2, (k, 1, d))
    labels = rng.integers(k, size=n)
    centres = 8 * rng.normal(size=(k, d))
    return centres[labels] + np.einsum("nij,nj->ni", axes[labels], rng.normal(size=(n, d))), labels


def expected_log_likelihood(matrices, scatters, weights):
    determinants = np.linalg.slogdet(matrices)[1]
    distances = np.trace(np.linalg.solve(matrices, scatters), axis1=1, axis2=2)
    return -0.5 * (weights @ determinants + distances.sum())


def disturbed(name, matrices, rng, size):
    """Covariances that are near, and keep to the model."""
    volumes, shapes, axes = parts(name, matrices)
    k, d = shapes.shape
    moved = volumes * np.exp(size * rng.normal(size=k if name[0] == "V" else 1))
    if name[1] != "I":
        steps = size * rng.normal(size=(k if name[1] == "V" else 1, d))
        shapes = shapes * np.exp(steps - steps.mean(axis=1, keepdims=True))
    if name[2] != "I":
        steps = size * rng.normal(size=(k if name[2] == "V" else 1, d, d))
        # Turns by small angles, to second order (Cayley).
        skew = (steps - steps.transpose(0, 2, 1)) / 2
        axes = axes @ np.linalg.solve(np.eye(d) - skew / 2, np.eye(d) + skew / 2)
    return np.einsum("kij,kj,klj->kil", axes, moved[:, None] * shapes, axes)


@pytest.mark.parametrize("name", [*NEW, "EII"])
def test_no_covariances_near_are_more_likely(name):
    """The M-step from known labels keeps to the model, and no covariances that do so are more likely."""
    X, labels = clusters()
    model = fastem.fit(X, 3, covariance_type=name, init=labels, max_iter=0, reg_covar=0)
    rows = [X[labels == c] for c in range(3)]
    scatters = np.array([(part - part.mean(0)).T @ (part - part.mean(0)) for part in rows])
    weights = np.array([len(part) for part in rows])
    volumes, shapes, axes = parts(name, dense(model))
    rebuilt = np.einsum("kij,kj,klj->kil", axes, volumes[:, None] * shapes, axes)
    np.testing.assert_allclose(rebuilt, dense(model), rtol=1e-6, atol=1e-8)
    if name[0] == "E":
        np.testing.assert_allclose(volumes, volumes[0], rtol=1e-8)
    if name[1] == "E":
        np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), rtol=1e-6)
    best = expected_log_likelihood(dense(model), scatters, weights)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-2):
        near = [
            expected_log_likelihood(disturbed(name, dense(model), rng, size), scatters, weights)
            for _ in range(200)
        ]
        assert max(near) <= best + 1e-9 * abs(best)


@pytest.mark.parametrize("name", NEW)
def test_the_likelihood_rises_and_sources_agree(name):
    X, labels = clusters(seed=1)
    options = {"covariance_type": name, "init": labels, "tol": 0, "max_iter": 30}
    model = fastem.fit(X, 3, **options)
    history = np.array(model.report.history)
    assert (np.diff(history) >= -1e-9 * abs(history[-1])).all()
    chunks = fastem.fit([X[:1000], X[1000:]], 3, **options)
    assert np.array_equal(chunks.covariances, model.covariances)
    single = fastem.fit(X.astype(np.float32), 3, **options)
    np.testing.assert_allclose(single.score(X), model.score(X), atol=1e-3)
    weighted = fastem.fit(X, 3, **options, sample_weight=np.full(len(X), 2.0))
    np.testing.assert_allclose(weighted.covariances, model.covariances, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore::fastem.FitWarning")
@pytest.mark.parametrize("name", NEW)
def test_equal_and_collinear_rows_leave_valid_covariances(name):
    line = np.arange(5)[:, None] * np.ones((5, 4))
    points = np.concatenate([clusters(300)[0], np.full((20, 4), 50.0)])
    for X, k in ((line, 2), (points, 4)):
        for reg_covar in ("auto", 0):
            model = fastem.fit(X, k, covariance_type=name, reg_covar=reg_covar, rng=0)
            assert np.isfinite(model.score(X))
            assert np.isfinite(model.bic(X))
            assert (np.linalg.eigvalsh(dense(model)) > 0).all()


def test_models_go_by_their_old_names(tmp_path):
    X, _ = clusters(600)
    for name, own in MCLUST.items():
        model = fastem.fit(X, 3, covariance_type=name, rng=0)
        assert model.covariance_type == own
        model.save(tmp_path / "model.npz")
        restored = fastem.load(tmp_path / "model.npz")
        assert restored.covariance_type == own
        assert np.array_equal(restored.predict(X), model.predict(X))
    with pytest.raises(ValueError, match=r"covariance_type must be one of 'full', .*'VVV'; got 'EVX'"):
        fastem.fit(X, 3, covariance_type="EVX")


@pytest.mark.slow
def test_select_compares_all_fourteen():
    X = old_faithful()
    selection = fastem.select(X, range(1, 5), covariance_type="mclust", rng=0)
    assert len(selection.table) == 4 * 14
    assert (selection.chosen.k, selection.chosen.covariance_type) == (3, "tied")  # mclust: EEE, 3
    one = fastem.select(X[:, 1:], range(1, 4), covariance_type="mclust", rng=0)
    assert [row.covariance_type for row in one.table] == 3 * ["EII", "spherical"]


def test_models_are_given_to_scikit_learn_in_the_nearest_of_its_types():
    X, _ = clusters(600)
    for name, kind in {"VEV": "full", "EVI": "diag", "EII": "spherical", "EEE": "tied"}.items():
        model = fastem.fit(X, 3, covariance_type=name, rng=0)
        estimator = model.to_sklearn()
        assert estimator.covariance_type == kind
        np.testing.assert_allclose(estimator.score_samples(X), model.score_samples(X), rtol=1e-9)


@pytest.mark.parametrize("one_volume", [False, True])
def test_turns_of_two_axes_equal_their_slow_twin(one_volume):
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 9, 4))
    scatters, axes, weights = parts.transpose(0, 2, 1) @ parts, np.eye(4), np.array([9.0, 5.0, 2.0])
    slow, slow_axes = scatters.copy(), np.eye(4)
    turn_axes(scatters, axes, weights, one_volume, 2, 0.0)
    for _ in range(2):
        for i in range(3):
            for j in range(i + 1, 4):
                variances = np.array([np.diagonal(matrix) for matrix in slow])
                scales = np.exp(np.log(variances).mean(axis=1)) if one_volume else weights
                angles = np.linspace(-np.pi / 4, np.pi / 4, 100_001)
                along = [
                    (variances[:, i] + variances[:, j])[:, None] / 2
                    + sign
                    * (
                        (variances[:, i] - variances[:, j])[:, None] / 2 * np.cos(2 * angles)
                        + slow[:, i, j][:, None] * np.sin(2 * angles)
                    )
                    for sign in (1, -1)
                ]
                cost = (scales / variances[:, i]) @ along[0] + (scales / variances[:, j]) @ along[1]
                angle = angles[np.argmin(cost)]
                turn = np.eye(4)
                turn[[i, j], [i, j]] = np.cos(angle)
                turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
                slow, slow_axes = turn.T @ slow @ turn, slow_axes @ turn
    np.testing.assert_allclose(axes, slow_axes, atol=1e-3)
    np.testing.assert_allclose(scatters, slow, atol=1e-2)
