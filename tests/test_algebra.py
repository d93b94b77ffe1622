"""Some features of a Gaussian mixture alone, given others, predicted from others; merged components."""

import tracemalloc
from itertools import chain

import numpy as np
import pytest
from problems import TYPES, random_model
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from test_shelf import clusters, dense, parts

import fastem
from fastem._families.registry import MCLUST

KEPT = {"EII", "spherical", "EEI", "VEI", "diag", "tied", "VEE", "full"}
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def models():
    """A model of each type, of four features with names."""
    X, labels = clusters(600)
    options = {"init": labels, "max_iter": 0}
    fitted = {name: fastem.fit(X, 3, covariance_type=name, **options) for name in MCLUST.values()}
    return {
        name: fastem.GaussianMixture(m.weights, m.means, m.covariances, name, feature_names=NAMES)
        for name, m in fitted.items()
    }


def slow_condition(model, given, x):
    """The weights, means and covariances of the other features, by the formulas of textbooks."""
    left = [j for j in range(model.n_features) if j not in given]
    logs, means, matrices = [], [], []
    for weight, mean, matrix in zip(model.weights, model.means, dense(model), strict=True):
        known, cross = matrix[np.ix_(given, given)], matrix[np.ix_(left, given)]
        logs.append(np.log(weight) + multivariate_normal(mean[given], known).logpdf(x))
        means.append(mean[left] + cross @ np.linalg.solve(known, x - mean[given]))
        matrices.append(matrix[np.ix_(left, left)] - cross @ np.linalg.solve(known, cross.T))
    return np.exp(np.array(logs) - logsumexp(logs)), np.array(means), np.array(matrices)


def moments(weights, means, matrices):
    mean = weights @ means
    return mean, np.einsum("k,kij->ij", weights, matrices) + (weights * (means - mean).T) @ (means - mean)


@pytest.mark.parametrize("name", MCLUST.values())
def test_marginals_and_conditionals_equal_the_formulas(models, name):
    model = models[name]
    own = name if name in KEPT else "diag" if name == "EVI" else "full"
    marginal = model.marginal(["d", 1])
    assert (marginal.covariance_type, marginal.feature_names, marginal.report) == (own, ("d", "b"), None)
    assert np.array_equal(dense(marginal), dense(model)[:, [[3], [1]], [3, 1]])
    assert np.array_equal(marginal.means, model.means[:, [3, 1]])
    turned = model.marginal([3, 1, 0, 2])
    assert turned.covariance_type == name
    np.testing.assert_array_equal(turned.marginal([2, 1, 3, 0]).covariances, model.covariances)
    x = model.means[0, [3, 1]] + 0.3
    given = model.condition({"d": x[0], 1: x[1]})
    assert (given.covariance_type, given.feature_names) == (own, ("a", "c"))
    weights, means, matrices = slow_condition(model, [3, 1], x)
    np.testing.assert_allclose(given.weights, weights, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(given.means, means, rtol=1e-9)
    np.testing.assert_allclose(dense(given), matrices, rtol=1e-9, atol=1e-12)
    if name in KEPT and name in MCLUST:  # the letters stay true
        for part in (marginal, given):
            volumes, shapes, axes = parts(name, dense(part))
            rebuilt = np.einsum("kij,kj,klj->kil", axes, volumes[:, None] * shapes, axes)
            np.testing.assert_allclose(rebuilt, dense(part), rtol=1e-9, atol=1e-9)
            if name[1] == "E":
                np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), rtol=1e-9)


@pytest.mark.parametrize("name", ["VEV", "tied", "VEI", "spherical"])
def test_operations_agree_with_each_other(models, name, tmp_path):
    model = models[name]
    X = model.sample(50, rng=0)[0]
    both = model.marginal(["a", "c"]).score_samples(X[:, [0, 2]])
    for row, density in zip(X[:5], both, strict=False):
        given = model.condition({"c": row[2]})
        # The density of all is that of some times that of the others given these.
        alone = model.marginal([2]).score_samples(row[[[2]]])[0]
        assert given.score_samples(row[None, [0, 1, 3]])[0] + alone == pytest.approx(
            model.score_samples(row[None])[0], rel=1e-9
        )
        assert given.marginal("a").score_samples([[row[0]]])[0] + alone == pytest.approx(density, rel=1e-9)
        one, other = given.marginal([2, 0]), model.marginal(["d", "c", "a"]).condition({"c": row[2]})
        assert one.feature_names == other.feature_names == ("d", "a")
        np.testing.assert_allclose(dense(one), dense(other), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one.means, other.means, rtol=1e-9)
        twice, once = given.condition({"a": row[0]}), model.condition({"a": row[0], "c": row[2]})
        np.testing.assert_allclose(twice.weights, once.weights, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(twice.means, once.means, rtol=1e-9)
    given.save(tmp_path / "given.npz")
    assert fastem.load(tmp_path / "given.npz").covariance_type == given.covariance_type


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_regression_is_the_mean_and_covariance_given_each_row(covariance_type, dtype):
    model = random_model(0, covariance_type, 3, 5)
    X = model.sample(40, rng=0)[0].astype(dtype)[:, [4, 0]]
    means, covs = model.regress(X, given=[4, 0], targets=[3, 1], return_cov=True)
    assert means.dtype == covs.dtype == dtype
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for x, mean, cov in zip(X.astype(np.float64), means, covs, strict=True):
        expected = moments(*slow_condition(model, [4, 0], x))  # of features 1, 2 and 3
        np.testing.assert_allclose(mean, expected[0][[2, 0]], **tolerance)
        np.testing.assert_allclose(cov, expected[1][np.ix_([2, 0], [2, 0])], **tolerance)
        given = model.condition({4: x[0], 0: x[1]})
        np.testing.assert_allclose(given.weights @ given.means[:, [2, 0]], mean, **tolerance)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_rows_with_gaps_are_regressed_on_what_they_have(covariance_type):
    base = random_model(0, covariance_type, 3, 5)
    given, targets = [4, 0, 1], [3, 2]
    X = base.sample(12, rng=0)[0][:, given]
    X[1, 0] = X[2, 2] = X[5, 0] = X[5, 1] = X[6] = X[7] = np.nan
    model = fastem.GaussianMixture(
        base.weights, base.means, base.covariances, covariance_type, missing="marginalise"
    )
    means, covs = model.regress(X, given, targets, return_cov=True)
    for x, mean, cov in zip(X, means, covs, strict=True):
        known = {j: value for j, value in zip(given, x, strict=True) if not np.isnan(value)}
        about = (base.condition(known) if known else base).marginal
        left = [j for j in range(5) if j not in known]
        about = about([left.index(j) for j in targets])
        expected = moments(about.weights, about.means, dense(about))
        np.testing.assert_allclose(mean, expected[0], rtol=1e-9)
        np.testing.assert_allclose(cov, expected[1], rtol=1e-9)
    alone = list(model.regress(lambda: iter([X[:6], X[6:7], X[7:]]), given, targets))
    np.testing.assert_array_equal(np.concatenate(alone), means)
    assert model.regress(np.empty((0, 3)), given, targets).shape == (0, 2)
    with pytest.raises(ValueError, match="row 3, column 1 is inf"):
        model.regress(np.where(np.arange(36).reshape(12, 3) == 10, np.inf, X), given, targets)
    with pytest.raises(ValueError, match=r'row 1, column 0 is nan.*made with missing="marginalise"'):
        base.regress(X, given, targets)


def test_regression_is_the_integral_over_the_density():
    model = random_model(1, "full", 3, 2)
    y = np.linspace(-60, 60, 40_001)
    for x in (-2.0, 0.5, 4.0):
        density = np.exp(model.score_samples(np.column_stack([y, np.full_like(y, x)])))
        density /= density.sum()
        mean = density @ y
        means, covs = model.regress([[x]], given=[1], return_cov=True)
        assert means[0, 0] == pytest.approx(mean, rel=1e-9)
        assert covs[0, 0, 0] == pytest.approx(density @ (y - mean) ** 2, rel=1e-9)


def test_every_source_predicts_the_same(tmp_path):
    names = ("dask.array", "dask.dataframe", "pyarrow", "pyarrow.parquet", "pandas")
    da, dd, pa, pq, pd = (pytest.importorskip(name) for name in names)
    base = random_model(2, "full", 3, 4)
    model = fastem.GaussianMixture(base.weights, base.means, base.covariances, feature_names=NAMES)
    all_columns = model.sample(3000, rng=0)[0]
    X = all_columns[:, [3, 1]].copy()
    options = {"given": ["d", "b"], "targets": ["c", "a"]}
    means, covs = model.regress(X, **options, return_cov=True)
    assert np.array_equal(means, model.regress(X, [3, 1], [2, 0]))
    assert np.array_equal(means, base.regress(np.asfortranarray(X), [3, 1], [2, 0]))
    table = pd.DataFrame(all_columns, columns=list(NAMES)).assign(other=1.0)
    assert np.array_equal(means, model.regress(table, **options))
    pq.write_table(pa.Table.from_pandas(table), tmp_path / "X.parquet")
    found = list(model.regress(tmp_path / "X.parquet", **options))
    np.testing.assert_allclose(np.concatenate(found), means, rtol=1e-12)
    parts = [X[:700], X[700:]]
    one, two = zip(*model.regress(lambda: iter(parts), **options, return_cov=True), strict=True)
    np.testing.assert_allclose(np.concatenate(one), means, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(two), covs, rtol=1e-10)
    lazy, spread = model.regress(da.from_array(X, chunks=(900, 2)), **options, return_cov=True)
    assert (lazy.shape, spread.shape) == (means.shape, covs.shape)
    np.testing.assert_allclose(lazy.compute(), means, rtol=1e-12)
    np.testing.assert_allclose(spread.compute(), covs, rtol=1e-10)
    _, frame = model.regress(dd.from_pandas(table, npartitions=3), **options, return_cov=True)
    assert frame.shape[1:] == (2, 2)
    np.testing.assert_allclose(frame.compute(), covs, rtol=1e-10)
    order = model.merge_order(da.from_array(all_columns, chunks=(900, 4)))
    assert order.pairs == model.merge_order(all_columns).pairs
    empty, none = model.regress(X[:0], **options, return_cov=True)
    assert (empty.shape, none.shape) == ((0, 2), (0, 2, 2))


def test_threads_change_no_bit_and_memory_is_that_of_a_slab():
    model = random_model(3, "diag", 64, 3)
    X = model.sample(300_000, rng=0)[0][:, :2].copy()
    one = model.regress(X, given=[0, 1], n_threads=1)
    tracemalloc.start()
    two = model.regress(X, given=[0, 1], n_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(one, two)
    assert peak < 60e6 < len(X) * 64 * 8
    order = model.merge_order(X_of(model, 5000), n_threads=1)
    assert order.pairs == model.merge_order(X_of(model, 5000), n_threads=2).pairs


def X_of(model, n):
    return model.sample(n, rng=1)[0]


def test_units_and_offsets_do_not_matter():
    model = random_model(4, "full", 3, 3)
    X = model.sample(500, rng=0)[0]
    means, covs = model.regress(X[:, :2], [0, 1], return_cov=True)
    scale = np.array([2.0**60, 2.0**-80, 2.0**10])
    scaled = fastem.GaussianMixture(
        model.weights, model.means * scale, model.covariances * scale[:, None] * scale
    )
    found, spread = scaled.regress(X[:, :2] * scale[:2], [0, 1], return_cov=True)
    np.testing.assert_allclose(found / scale[2], means, rtol=1e-12)
    np.testing.assert_allclose(spread / scale[2] ** 2, covs, rtol=1e-12)
    one, other = model.condition({1: X[0, 1]}), scaled.condition({1: X[0, 1] * scale[1]})
    assert np.array_equal(other.weights, one.weights)
    assert np.array_equal(other.means, one.means * scale[[0, 2]])
    assert np.array_equal(other.covariances, one.covariances * np.outer(scale[[0, 2]], scale[[0, 2]]))
    far = fastem.GaussianMixture(model.weights, model.means + 1e8, model.covariances)
    found = far.regress(X[:, :2] + 1e8, [0, 1], return_cov=True)
    np.testing.assert_allclose(found[0] - 1e8, means, atol=1e-5)
    np.testing.assert_allclose(found[1], covs, atol=1e-5)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_nothing_is_nan_far_out(covariance_type):
    model = random_model(5, covariance_type, 4, 3)
    for far in (1e3, 1e6, -1e9, 1e15):
        given = model.condition({0: far, 2: -far})
        assert given.weights.sum() == pytest.approx(1, abs=1e-12)
        assert np.isfinite(given.means).all()
        means, covs = model.regress([[far, -far]], [0, 2], return_cov=True)
        np.testing.assert_allclose(means[0], given.weights @ given.means, rtol=1e-9)
        assert np.isfinite(covs).all()
        assert covs[0, 0, 0] > 0
    with pytest.raises(ValueError, match="values must not be so far from the model"):
        model.condition({0: 1e300})
    with pytest.raises(ValueError, match="X has values too large, or too far from the model"):
        model.regress([[1e300]], [0])


def test_features_that_nearly_agree():
    """A difference of covariances would be rounding errors."""
    gap = 1e-13
    cov = np.array([[1.0, 1.0, 0.0], [1.0, 1.0 + gap, 0.0], [0.0, 0.0, 1.0]])
    model = fastem.GaussianMixture([1.0], np.zeros((1, 3)), cov[None])
    left = model.condition({0: 2.0})
    np.testing.assert_allclose(left.means, [[2.0, 0.0]])
    assert left.covariances[0, 0, 0] == pytest.approx(gap, rel=1e-2)
    assert model.regress([[2.0, 2.0]], [0, 1]) == pytest.approx(0, abs=1e-12)


MODEL = fastem.GaussianMixture(
    [0.5, 0.5], np.zeros((2, 3)), np.ones((2, 3)), "diag", feature_names=("x", "y", "z")
)
PLAIN = fastem.GaussianMixture([0.5, 0.5], np.zeros((2, 3)), np.ones((2, 3)), "diag")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MODEL.marginal([]), TypeError, r"features must be a sequence of .*, at least one; got \[\]"),
        (lambda: MODEL.marginal(None), TypeError, "features must be a sequence .* got None"),
        (
            lambda: MODEL.marginal(["x", 0]),
            ValueError,
            r"features must name each column once; got \['x', 0\]",
        ),
        (lambda: MODEL.marginal(["w"]), ValueError, r"features must be among \['x', 'y', 'z'\]; got 'w'"),
        (lambda: PLAIN.marginal(["x"]), ValueError, "features must be numbers of columns, .* got 'x'"),
        (lambda: PLAIN.marginal([3]), ValueError, "features must be numbers of columns from 0 to 2; got 3"),
        (lambda: PLAIN.marginal([-1]), ValueError, "features must be an integer of at least 0; got -1"),
        (lambda: PLAIN.marginal([True]), TypeError, "features must be an integer .* got True"),
        (lambda: MODEL.condition([1.0]), TypeError, r"values must be a dict of numbers .* got \[1.0\]"),
        (lambda: MODEL.condition({}), ValueError, "values must be a dict .* at least one; got none"),
        (
            lambda: MODEL.condition({"x": 1, 0: 1}),
            ValueError,
            "values must name each column once; got column 0",
        ),
        (lambda: MODEL.condition({"w": 1}), ValueError, "values must be among .* got 'w'"),
        (lambda: MODEL.condition({"x": np.nan}), ValueError, "values must be finite; got nan for 'x'"),
        (lambda: MODEL.condition({"x": -(10**400)}), ValueError, "values must be finite; got -inf for 'x'"),
        (lambda: MODEL.condition({"x": np.complex128(1j)}), TypeError, "values must be .* for 'x'"),
        (
            lambda: MODEL.condition({"x": [1.0]}),
            TypeError,
            r"got \[1.0\] for 'x'. For many rows, use regress",
        ),
        (
            lambda: MODEL.condition({"x": 1, "y": 1, "z": 1}),
            ValueError,
            "values must leave at least one feature out; got all 3",
        ),
        (
            lambda: MODEL.regress([[1.0]], "x", ["y", "x"]),
            ValueError,
            "targets must not be among those given",
        ),
        (lambda: MODEL.regress([[1.0]], "x", []), TypeError, "targets must be a sequence"),
        (lambda: MODEL.regress([[1.0]], [0, 0]), ValueError, "given must name each column once"),
        (lambda: MODEL.regress([[1.0] * 3], [0, 1, 2]), ValueError, "given must leave at least one feature"),
        (
            lambda: MODEL.regress([[1.0, 2.0]], "x"),
            ValueError,
            "X must have 1 column, one for each of given='x', in that order; got 2",
        ),
        (
            lambda: MODEL.regress([[1.0]], "x", return_cov="yes"),
            TypeError,
            "return_cov must be True or False",
        ),
        (lambda: MODEL.regress([[np.nan]], "x"), ValueError, "X must be finite; row 0, column 0 is nan"),
        (lambda: MODEL.merge([[0], [0, 1]]), ValueError, "groups must be .* have each of 0 to 1 once"),
        (lambda: MODEL.merge([[0]]), ValueError, "groups must be .* have each of 0 to 1 once"),
        (lambda: MODEL.merge([[0, 1], []]), ValueError, "groups must be .* none that is empty"),
        (lambda: MODEL.merge(np.array(0)), TypeError, "groups must be sequences"),
        (lambda: MODEL.merge([0, 1]), TypeError, r"groups must be .* Pass \[\[0, 1\], \[2\]\]"),
        (lambda: MODEL.merge_order(np.ones((9, 3))).groups(3), ValueError, "n_clusters must be at most"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_errors_count_rows_from_the_first_of_all():
    X = np.zeros((1_100_000, 1), np.float32)
    X[1_050_000] = np.nan
    with pytest.raises(ValueError, match="row 1050000, column 0 is nan"):
        MODEL.regress(X, "x")


def test_covariances_that_are_singular_by_rounding():
    cov = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-15]])
    model = fastem.GaussianMixture([1.0], [[0.0, 0.0]], cov[None])
    try:
        left = model.condition({1: 1.0})
    except ValueError as error:
        assert "covariances must be positive definite" in str(error)  # noqa: PT017
    else:
        assert left.covariances[0, 0, 0] > 0


OTHERS = {
    "poisson": {"rates": [[1.0], [4.0], [9.0]]},
    "exponential": {"rates": [[1.0], [4.0], [9.0]]},
    "bernoulli": {"probabilities": [[0.1], [0.5], [0.6]]},
    "gamma": {"shapes": [[1.0], [2.0], [3.0]], "rates": [[1.0], [4.0], [9.0]]},
    "lognormal": {"means": [[1.0], [2.0], [3.0]], "variances": [[1.0], [4.0], [9.0]]},
    "categorical": {"probabilities": [[[0.5, 0.5]], [[0.1, 0.9]], [[0.7, 0.3]]]},
    "student": {
        "means": [[1.0], [2.0], [3.0]],
        "scales": [[[1.0]], [[2.0]], [[3.0]]],
        "degrees_of_freedom": 4,
    },
}


@pytest.mark.parametrize("distribution", OTHERS)
def test_a_component_of_no_weight_has_densities(distribution):
    parameters = {name: np.array(values) for name, values in OTHERS[distribution].items()}
    model = fastem.Mixture([0.7, 0.3, 0.0], parameters, distribution)
    X = np.array([[1.0], [1.0], [1.0]]) if distribution != "poisson" else np.array([[0.0], [3.0], [20.0]])
    found = model.component_log_densities(X)
    for c in range(3):
        own = {name: values[c : c + 1] if values.ndim else values for name, values in parameters.items()}
        alone = fastem.Mixture([1.0], own, distribution)
        np.testing.assert_allclose(found[:, c], alone.score_samples(X), rtol=1e-9, atol=1e-12)


def test_merging_keeps_the_moments():
    for covariance_type in TYPES:
        model = random_model(6, covariance_type, 4, 3)
        merged = model.merge([[3, 0], [2], [1]])
        assert (merged.covariance_type, merged.n_components) == ("full", 3)
        whole = moments(model.weights, model.means, dense(model))
        for found, expected in zip(
            moments(merged.weights, merged.means, merged.covariances), whole, strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        share = model.weights[[0, 3]] / model.weights[[0, 3]].sum()
        pair = moments(share, model.means[[0, 3]], dense(model)[[0, 3]])
        np.testing.assert_allclose(merged.means[0], pair[0], rtol=1e-12)
        np.testing.assert_allclose(merged.covariances[0], pair[1], rtol=1e-12)
        np.testing.assert_array_equal(merged.means[1:], model.means[[2, 1]])
        np.testing.assert_array_equal(merged.covariances[1:], dense(model)[[2, 1]])
    empty = fastem.GaussianMixture([1.0, 0, 0], [[0.0], [1.0], [3.0]], [1.0, 1.0, 1.0], "spherical")
    merged = empty.merge([[0], [1, 2]])
    assert (merged.weights[1], merged.means[1, 0], merged.covariances[1, 0, 0]) == (0.0, 2.0, 2.0)


def slow_order(responsibilities, weights):
    """Merge the two clusters with which the entropy is least, tried one by one."""

    def entropy(groups):
        p = np.array([responsibilities[:, group].sum(axis=1) for group in groups])
        return -(weights * np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0)).sum()

    groups = [[c] for c in range(responsibilities.shape[1])]
    entropies, orders = [entropy(groups)], [groups]
    while len(groups) > 1:
        candidates = [
            [*groups[:i], sorted(groups[i] + groups[j]), *groups[i + 1 : j], *groups[j + 1 :]]
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        ]
        groups = min(candidates, key=entropy)
        entropies.append(entropy(groups))
        orders.append(groups)
    return entropies[::-1], orders[::-1]


def test_clusters_merge_in_the_order_of_their_entropy():
    model = random_model(7, "full", 6, 2, spread=1.5)
    X = model.sample(2500, rng=0)[0]
    weights = np.random.default_rng(0).integers(3, size=len(X)).astype(float)
    for given in (None, weights):
        order = model.merge_order(X, given)
        entropies, groups = slow_order(model.predict_proba(X), np.ones(len(X)) if given is None else given)
        np.testing.assert_allclose(order.entropies, entropies, rtol=1e-9, atol=1e-9)
        assert order.entropies[0] == 0
        assert [order.groups(n) for n in range(1, 7)] == groups
        assert model.merge(order.groups(2)).n_components == 2
    chunks = list(zip(np.array_split(X, 3), np.array_split(weights, 3), strict=True))
    again = model.merge_order(lambda: iter(chunks))
    assert again.pairs == order.pairs
    np.testing.assert_allclose(again.entropies, order.entropies, rtol=1e-12)
    assert fastem.GaussianMixture([1.0], [[0.0]], [1.0], "spherical").merge_order([[1.0]]).groups(1) == [[0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_entropies_are_not_negative_and_no_merger_raises_them(dtype):
    rng = np.random.default_rng(0)
    for centres in (rng.normal(0, 1e3, (5, 2)), rng.normal(0, 1e-9, (5, 2)), np.zeros((5, 2))):
        model = fastem.GaussianMixture(np.full(5, 0.2), centres, np.ones((5, 2)), "diag")
        X = np.repeat(centres, 100, axis=0) + rng.normal(size=(500, 2))
        entropies = model.merge_order(X.astype(dtype)).entropies
        assert entropies[0] == 0
        assert (np.diff(entropies) >= 0).all()
        assert entropies[-1] <= 500 * np.log(5) * (1 + 1e-6)


def test_noise_merges_with_no_cluster():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(c, 0.3, (150, 2)) for c in ((0, 0), (1, 0), (6, 6))])
    X = np.concatenate([X, rng.uniform(-5, 10, (100, 2))])
    model = fastem.fit(X, 3, noise_component=True, rng=0)
    order = model.merge_order(X)
    shares = model.predict_proba(X)
    for n in (1, 2, 3):
        groups = order.groups(n)
        assert sorted(chain.from_iterable(groups)) == [0, 1, 2]
        clusters = np.stack([shares[:, group].sum(axis=1) for group in [*groups, [3]]])
        expected = -(clusters * np.log(np.maximum(clusters, 1e-300))).sum()
        assert order.entropies[n - 1] == pytest.approx(expected, rel=1e-9)
    assert order.entropies[0] > 0
    one = fastem.fit(X, 1, noise_component=True, rng=0).merge_order(X)
    assert one.groups(1) == [[0]]
    assert one.entropies[0] > 0
