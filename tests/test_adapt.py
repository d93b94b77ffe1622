"""MAP adaptation, M-steps that re-seed nothing, and sums in the units of X."""

import io
import itertools
import zipfile

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import TYPES, clusters, random_model

import fastem

ALL = ("weights", "means", "covariances")
MCLUST = ("EII", "EEI", "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV")


def parameters_of(model):
    return {"weights": model.weights, **model.parameters}


def background(covariance_type, far=True):
    """A mixture of four components, the last of which no row reaches if it is far."""
    model = random_model(0, covariance_type, 4, 3)
    means = model.means.copy()
    means[3] = 200 if far else means[3]
    return fastem.GaussianMixture(model.weights, means, model.covariances, covariance_type)


def assert_same_model(actual, expected, rtol=1e-10, atol=1e-11):
    for name, value in zip(ALL, expected, strict=True):
        assert_allclose(getattr(actual, name), value, rtol=rtol, atol=atol, err_msg=name)


# --- adapt


@pytest.mark.parametrize("names", [("means",), ALL, ("covariances",), ("weights",)], ids="+".join)
@pytest.mark.parametrize("covariance_type", TYPES)
def test_adaptation_is_the_formula(covariance_type, names):
    model = background(covariance_type)
    X = clusters(1, 60, 3, 3)
    weight = np.random.default_rng(0).uniform(0, 2, len(X))
    adapted = fastem.adapt(model, X, sample_weight=weight, relevance=5, parameters=names)
    own = (model.weights, model.means, model.covariances, covariance_type)
    assert_same_model(adapted, naive.adapt(X, weight, *own, 5, names))
    assert adapted.report is None
    assert type(adapted) is fastem.GaussianMixture
    single = fastem.adapt(model, X.astype(np.float32), sample_weight=weight, relevance=5, parameters=names)
    assert_same_model(single, parameters_of(adapted).values(), 1e-4, 1e-4)


@pytest.mark.parametrize("covariance_type", [*TYPES, *MCLUST])
def test_a_component_without_rows_stays_bit_by_bit(covariance_type):
    kind = "full" if covariance_type[2] in "EV" else "spherical" if covariance_type == "EII" else "diag"
    like = random_model(0, covariance_type if covariance_type in TYPES else kind, 4, 3)
    means = like.means * [1.1, 1e3, 1e-3] + [1e6, 0, 0.1]
    means[3] *= 1e9
    model = fastem.GaussianMixture(like.weights, means, like.covariances, covariance_type)
    X = np.random.default_rng(0).normal(means[0], 1, (200, 3))
    for relevance in (0.0, 16.0, 1e300):
        adapted = fastem.adapt(model, X, parameters=ALL, relevance=relevance)
        assert_array_equal(adapted.means[3], model.means[3])
        if covariance_type in ("full", "diag", "spherical"):
            assert_array_equal(adapted.covariances[3], model.covariances[3])
    same = fastem.adapt(model, X, parameters=ALL, relevance=np.inf)
    for name, value in parameters_of(model).items():
        assert_array_equal(parameters_of(same)[name], value)


@pytest.mark.parametrize("covariance_type", [*TYPES, "VEI", "EEE", "VVE"])
def test_without_relevance_it_is_maximum_likelihood(covariance_type):
    X = clusters(1, 400, 3, 3)
    model = fastem.fit(X, 3, covariance_type=covariance_type, max_iter=2, tol=0, rng=0)
    adapted = fastem.adapt(model, X, relevance=0, parameters=ALL)
    expected = fastem.m_step(fastem.e_step(X, model), reg_covar=0)
    assert_same_model(adapted, parameters_of(expected).values(), 1e-6, 1e-9)


def test_more_iterations_adapt_the_background_still():
    model, X = background("diag", far=False), clusters(1, 60, 3, 3)
    current, ones = model, np.ones(len(X))
    for _ in range(3):
        matrices = naive.dense(current.covariances, "diag", 4, 3)
        r, _ = naive.responsibilities(X, current.weights, current.means, matrices)
        n = ones @ r
        share = (n / (n + 4))[:, None]
        means = share * (r.T @ X) / n[:, None] + (1 - share) * model.means
        second = share * (r.T @ X**2) / n[:, None] + (1 - share) * (model.covariances + model.means**2)
        current = fastem.GaussianMixture(model.weights, means, second - means**2, "diag")
    adapted = fastem.adapt(model, X, relevance=4, parameters=("means", "covariances"), n_iter=3)
    assert_same_model(adapted, parameters_of(current).values())


def test_statistics_of_parts_adapt_as_the_rows_do():
    model, X = background("full", far=False), clusters(1, 3000, 3, 3)
    parts = [fastem.e_step(part, model) for part in np.array_split(X, 4)]
    merged = fastem.Statistics.from_bytes(sum(parts).to_bytes())
    adapted, expected = (fastem.adapt(model, rows, parameters=ALL) for rows in (merged, X))
    assert_same_model(adapted, parameters_of(expected).values())
    with pytest.raises(ValueError, match="statistics of an E-step with this model"):
        fastem.adapt(background("full"), merged)
    with pytest.raises(ValueError, match="sample_weight must be None"):
        fastem.adapt(model, merged, sample_weight=np.ones(3000))
    with pytest.raises(ValueError, match="n_iter must be 1"):
        fastem.adapt(model, merged, n_iter=2)


def test_units_and_offsets_do_not_matter():
    model, X = background("diag", far=False), clusters(1, 300, 3, 3)
    scale, shift = 2.0 ** np.array([-40, 0, 40]), np.array([0.0, 2.0**20, 0.0])
    moved = fastem.GaussianMixture(
        model.weights, model.means * scale + shift, model.covariances * scale**2, "diag"
    )
    adapted, expected = (
        fastem.adapt(moved, X * scale + shift, parameters=ALL),
        fastem.adapt(model, X, parameters=ALL),
    )
    assert_allclose((adapted.means - shift) / scale, expected.means, rtol=1e-7, atol=1e-7)
    assert_allclose(adapted.covariances / scale**2, expected.covariances, rtol=1e-7)


def test_one_row_and_rows_in_a_plane():
    model = background("full", far=False)
    row = model.means[:1] + 0.1
    adapted = fastem.adapt(model, row, parameters=ALL, relevance=1e-6)
    assert (np.linalg.eigvalsh(adapted.covariances) > 0).all()
    with pytest.raises(ValueError, match=r"would be singular.*Raise relevance"):
        fastem.adapt(model, row, parameters=ALL, relevance=0)
    assert_allclose(fastem.adapt(model, row, relevance=0).means[0], row[0], rtol=1e-12)
    tied = background("tied", far=False)
    with pytest.raises(ValueError, match="it would be singular"):
        fastem.adapt(tied, row, parameters=ALL, relevance=0)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", *MCLUST])
def test_rounding_is_neither_asymmetric_nor_a_variance(covariance_type):
    X = clusters(1, 120, 2, 3)
    for rows, relevances in ((X, (1e-12, 1e-9, 0)), (X * 1e3 + 1e6, (1e-9, 1e-6, 0))):
        model = fastem.fit(rows, 3, covariance_type=covariance_type, rng=0)
        for relevance in relevances:
            one = np.repeat(rows[14:15], 20, axis=0)
            options = {"relevance": relevance, "parameters": ("means", "covariances")}
            if relevance == 0:
                with pytest.raises(ValueError, match="would be singular"):
                    fastem.adapt(model, one, **options)
            else:
                covariances = fastem.adapt(model, one, **options).covariances
                assert_array_equal(
                    covariances, np.swapaxes(covariances, -1, -2) if covariances.ndim == 3 else covariances
                )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"relevance": -1}, ValueError, "relevance must be"),
        ({"relevance": "16"}, TypeError, "relevance must be"),
        ({"relevance": np.nan}, ValueError, "relevance must be"),
        ({"relevance": 10**400}, ValueError, "relevance must be .* got inf"),
        ({"relevance": np.complex128(16 + 5j)}, TypeError, "relevance must be .* 16"),
        ({"parameters": ("mean",)}, ValueError, "parameters must hold some of weights, means"),
        ({"parameters": ()}, ValueError, "parameters must hold some of"),
        ({"parameters": 3}, TypeError, "parameters must be a sequence"),
        ({"n_iter": 0}, ValueError, "n_iter must be"),
    ],
)
def test_mistakes_are_told(options, error, message):
    with pytest.raises(error, match=message):
        fastem.adapt(background("diag"), clusters(1, 20, 3, 3), **options)


def test_only_gaussians_are_adapted():
    counts = fastem.Mixture([0.5, 0.5], {"rates": [[1.0], [9.0]]}, "poisson")
    with pytest.raises(TypeError, match=r"must be a fastem.GaussianMixture"):
        fastem.adapt(counts, [[1.0]])
    with pytest.raises(TypeError, match=r"model must be a fastem.Mixture"):
        fastem.adapt("model", [[1.0]])


def test_names_of_columns_stay():
    model = background("diag")
    named = fastem.GaussianMixture(*parameters_of(model).values(), "diag", feature_names=["a", "b", "c"])
    assert fastem.adapt(named, clusters(1, 50, 3, 3)).feature_names == ("a", "b", "c")


# --- m_step(reseed=False)

STUDENT = {"means": [[0.0], [5.0], [1e9]], "scales": [[1.0], [2.0], [3.0]], "degrees_of_freedom": [3, 4, 5]}
MIXED = {
    "gaussian_means": [[0.0], [3.0], [1e9]],
    "gaussian_covariances": [[1.0], [1.0], [1.0]],
    "poisson_rates": [[1.0], [2.0], [3.0]],
}
FAR = {
    "poisson": fastem.Mixture([0.4, 0.4, 0.2], {"rates": [[1.0], [4.0], [1e6]]}, "poisson"),
    "gamma": fastem.Mixture(
        [0.4, 0.4, 0.2], {"shapes": [[1.0], [2.0], [1e6]], "rates": [[1.0], [1.0], [1.0]]}, "gamma"
    ),
    "bernoulli": fastem.Mixture([0.5, 0.5, 0.0], {"probabilities": [[0.3], [0.6], [0.9]]}, "bernoulli"),
    "student": fastem.Mixture([0.5, 0.5, 0.0], STUDENT, "student", covariance_type="diag"),
    "mixed": fastem.Mixture([0.4, 0.4, 0.2], MIXED, {0: "gaussian", 1: "poisson"}),
}


@pytest.mark.parametrize("name", FAR)
def test_every_family_keeps_what_has_no_rows(name):
    model = FAR[name]
    X = fastem.Mixture(
        [0.5, 0.5, 0.0],
        dict(model.parameters),
        model.distribution,
        **({"covariance_type": "diag"} if name == "student" else {}),
    ).sample(100, rng=0)[0]
    statistics = fastem.e_step(X, model)
    assert statistics.weights[2] == 0
    there = fastem.Statistics.from_bytes(statistics.to_bytes())
    for one in (statistics, there):
        stepped = fastem.m_step(one, reseed=False)
        for key, value in stepped.parameters.items():
            assert_array_equal(value[2], model.parameters[key][2], err_msg=key)
        assert stepped.weights[2] == 0
    seeded = fastem.m_step(statistics)
    assert seeded.weights[2] > 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_every_other_component_gets_its_mean_and_covariance(covariance_type, dtype):
    """One component has a millionth of a row. With tied covariances it hardly counts."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)).astype(dtype)
    weight = rng.uniform(0.5, 1.5, 500).astype(dtype)
    unit = {"full": np.tile(np.eye(2), (4, 1, 1)), "tied": np.eye(2), "diag": np.ones((4, 2))}
    covariances = unit.get(covariance_type, np.ones(4))
    means = np.array([[-1.0, 0.0], [1.0, 0.0], [8.0, 0.0], [100.0, 0.0]])
    model = fastem.GaussianMixture([0.3, 0.3, 0.3, 0.1], means, covariances, covariance_type)
    statistics = fastem.e_step(X, model, weight)
    assert statistics.weights[3] == 0 < statistics.weights[2] < 1e-4
    stepped = fastem.m_step(statistics, reg_covar=0, reseed=False)
    rows = X.astype(np.float64)
    r, _ = naive.responsibilities(rows, model.weights, means, naive.dense(covariances, covariance_type, 4, 2))
    weights, expected, own = naive.m_step(rows, weight.astype(float), r[:, :3], covariance_type)
    close = {"rtol": 1e-8} if dtype is np.float64 else {"rtol": 2e-4, "atol": 1e-5}
    assert_allclose(stepped.weights[:3], weights, **close)
    assert_allclose(stepped.means[:3], expected, **close)
    assert_allclose(
        stepped.covariances[:3] if covariance_type != "tied" else stepped.covariances, own, **close
    )
    assert_array_equal(stepped.means[3], means[3])
    if covariance_type != "tied":
        assert_array_equal(stepped.covariances[3], covariances[3])


@pytest.mark.parametrize("covariance_type", MCLUST)
def test_what_components_share_stays_shared(covariance_type):
    """The second M-step, from a model that obeys the constraint, finds that of the others alone."""
    X = clusters(1, 400, 3, 3)
    three = fastem.fit(X, 3, covariance_type=covariance_type, max_iter=3, tol=0, rng=0)
    far = np.concatenate([three.means, [[1e6] * 3]])
    own = np.concatenate([three.covariances, 4 * three.covariances[:1]])
    model = fastem.GaussianMixture([*three.weights * 0.9, 0.1], far, own, covariance_type)
    stepped = fastem.m_step(fastem.e_step(X, model), reg_covar=0, reseed=False)
    expected = fastem.m_step(fastem.e_step(X, three), reg_covar=0)
    assert_allclose(stepped.covariances[:3], expected.covariances, rtol=1e-5, atol=1e-7)
    matrices = stepped.covariances
    if matrices.ndim == 1:
        matrices = matrices[:, None] * np.ones(3)
    if matrices.ndim == 2:
        matrices = matrices[:, :, None] * np.eye(3)
    volumes = np.linalg.det(matrices) ** (1 / 3)
    shapes = np.linalg.eigvalsh(matrices) / volumes[:, None]
    volume, shape, _ = covariance_type
    if volume == "E":
        assert_allclose(volumes, volumes[0], rtol=1e-6)
    else:
        assert volumes[3] == pytest.approx(4 * np.linalg.det(naive_matrix(three)) ** (1 / 3), rel=1e-5)
    if shape != "V":
        assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), rtol=1e-5)


def naive_matrix(model):
    """The first covariance as a matrix."""
    first = model.covariances[0]
    return first * np.eye(3) if np.ndim(first) < 2 else first


def test_old_bytes_do_not_hold_the_parameters():
    model, X = background("diag"), clusters(1, 50, 3, 3)
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(fastem.e_step(X, model).to_bytes())) as new,
        zipfile.ZipFile(content, "w") as old,
    ):
        for name in new.namelist():
            if not name.startswith("before/"):
                old.writestr(name, new.read(name))
    statistics = fastem.Statistics.from_bytes(content.getvalue())
    assert fastem.m_step(statistics).n_components == 4
    with pytest.raises(ValueError, match=r"component 3 has none.*Make them anew"):
        fastem.m_step(statistics, reseed=False)
    for wrong in ("no", 0, None):
        with pytest.raises(TypeError, match="reseed must be True or False"):
            fastem.m_step(statistics, reseed=wrong)
    new = fastem.e_step(X, model)  # of the same parameters, which it holds
    for both in (new + statistics, statistics + new, sum([statistics, new, statistics])):
        assert_array_equal(fastem.m_step(both, reseed=False).means[3], model.means[3])


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "VEV"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_rounding_of_one_row_is_no_variance(covariance_type, dtype):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(m, s, (40, 2)) for m, s in ((0, 1), ((5, 1), (1, 0.3)), ((2, 7), 0.5))])
    model = fastem.fit(X, 3, covariance_type=covariance_type, rng=0)
    for row in X[::7].astype(dtype):
        for reseed in (True, False):
            covariances = fastem.m_step(fastem.e_step(row[None], model), reseed=reseed).covariances
            variances = covariances if covariance_type == "diag" else np.linalg.eigvalsh(covariances)
            assert variances.min() > 1e-6  # a millionth of the square of a scale, which is 2 or 4


# --- sums in the units of X


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_sums_give_the_statistics_about_zero(covariance_type, dtype):
    model = background(covariance_type, far=False)
    model = fastem.GaussianMixture(
        model.weights, model.means * 3 + [100, 0, 0], model.covariances * 9, covariance_type
    )
    X = (clusters(1, 700, 3, 3) * 3 + [100, 0, 0]).astype(dtype)
    sums = fastem.e_step(X, model).sums()
    r = model.predict_proba(X.astype(np.float64))
    rows, close = X.astype(np.float64), {"rtol": 1e-11 if dtype is np.float64 else 3e-4}
    n, m, f = sums["weights"][:, None], sums["means"], sums["first"]
    assert_allclose(sums["weights"], r.sum(axis=0), **close)
    assert_allclose(f + n * m, r.T @ rows, **close, atol=1e-9 if dtype is np.float64 else 0.5)
    expected = np.einsum("nk,ni,nj->kij", r, rows, rows)
    outer = f[:, :, None] * m[:, None] + m[:, :, None] * (f + n * m)[:, None]
    diagonals = np.diagonal(outer, axis1=1, axis2=2)
    second, right = {
        "full": (outer, expected),
        "tied": (outer.sum(axis=0), expected.sum(axis=0)[None]),
        "diag": (m * (2 * f + n * m), np.diagonal(expected, axis1=1, axis2=2)),
        "spherical": (diagonals.sum(axis=1), np.trace(expected, axis1=1, axis2=2)),
    }[covariance_type]
    size = np.abs(right).max()
    assert_allclose(sums["scatter"] + second, right, **close, atol=close["rtol"] * size)


LINEAR = {
    "bernoulli": ({"probabilities": [[0.2, 0.7], [0.6, 0.1]]}, {"first": lambda X: X}),
    "poisson": ({"rates": [[1.0, 3.0], [5.0, 2.0]]}, {"first": lambda X: X}),
    "exponential": ({"rates": [[1.0, 3.0], [5.0, 2.0]]}, {"first": lambda X: X}),
    "gamma": (
        {"shapes": [[1.0, 3.0], [5.0, 2.0]], "rates": [[1.0, 1.0], [2.0, 2.0]]},
        {"first": lambda X: X, "logarithms": np.log},
    ),
    "lognormal": (
        {"means": [[1.0, 3.0], [5.0, 2.0]], "variances": [[1.0, 1.0], [2.0, 2.0]]},
        {"logarithms": np.log, "squares": lambda X: np.log(X) ** 2},
    ),
}


@pytest.mark.parametrize(("name", "dtype"), list(itertools.product(LINEAR, [np.float64, np.float32])))
def test_sums_of_columns(name, dtype):
    parameters, functions = LINEAR[name]
    model = fastem.Mixture([0.4, 0.6], parameters, name)
    X = model.sample(300, rng=0)[0].astype(dtype)
    rows, sums = X.astype(np.float64), fastem.e_step(X, model).sums()
    r = model.predict_proba(rows)
    rtol = 1e-10 if dtype is np.float64 else 1e-5
    assert_allclose(sums["weights"], r.sum(axis=0), rtol=rtol)
    for key, function in functions.items():
        assert_allclose(sums[key], r.T @ function(rows), rtol=rtol, err_msg=key)


def test_sums_of_categories_and_of_student():
    probabilities = [[[0.2, 0.8]], [[0.7, 0.3]]]
    model = fastem.Mixture([0.4, 0.6], {"probabilities": probabilities}, "categorical")
    X = model.sample(300, rng=0)[0]
    sums, r = fastem.e_step(X, model).sums(), model.predict_proba(X)
    assert_allclose(sums["counts"], (r.T @ (X == [0, 1]))[:, None], rtol=1e-10)

    student = {"means": [[100.0], [106.0]], "scales": [[1.0], [4.0]], "degrees_of_freedom": [3.0, 5.0]}
    model = fastem.Mixture([0.4, 0.6], student, "student", covariance_type="diag")
    X = model.sample(300, rng=0)[0]
    sums, r = fastem.e_step(X, model).sums(), model.predict_proba(X)
    z = X - np.ravel(student["means"])
    u = (np.array([3.0, 5.0]) + 1) / (np.array([3.0, 5.0]) + z**2 / np.ravel(student["scales"]))
    assert_allclose(sums["scaled_weights"], (r * u).sum(axis=0), rtol=1e-10)
    assert_allclose(sums["first"][:, 0], (r * u * z).sum(axis=0), rtol=1e-8, atol=1e-8)
    assert_allclose(sums["scatter"][:, 0], (r * u * z * z).sum(axis=0), rtol=1e-10)
