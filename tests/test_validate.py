"""Bad input raises a clear error before any work starts."""

import numpy as np
import pytest
from problems import TYPES, clusters, random_model
from scipy import sparse

import fastem

GOOD = clusters(0, 100, 2, 2)


def with_value(value, row=17, column=1):
    X = GOOD.copy()
    X[row, column] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (with_value(np.nan), ValueError, r"X must be finite; row 17, column 1 is nan"),
        (with_value(-np.inf), ValueError, r"X must be finite; row 17, column 1 is -inf"),
        (with_value(1e200), ValueError, "too large"),
        (GOOD[:, 0], ValueError, r"X must be 2-D.*got 1-D.*reshape\(-1, 1\)"),
        (np.float64(3), ValueError, "X must be 2-D.*got 0-D"),
        (None, ValueError, r"X must be 2-D.*got 0-D of shape \(\)\. It is None\."),
        (GOOD[None], ValueError, "X must be 2-D.*got 3-D"),
        (np.empty((0, 2)), ValueError, "at least one row and one column"),
        (np.empty((5, 0)), ValueError, "at least one row and one column"),
        ([[1.0, 2.0], [3.0]], ValueError, "rows differ in length"),
        (GOOD + 1j, TypeError, "X must hold real numbers; got dtype complex128"),
        (np.array([["a", "b"]] * 5), TypeError, r"X must hold real numbers; got strings\. .*asarray\(X"),
        (
            np.array([[1.0, object()]] * 5, dtype=object),
            TypeError,
            "X must hold real numbers; got dtype object",
        ),
        (np.zeros((5, 2), "datetime64[s]"), TypeError, "X must hold real numbers"),
        (np.zeros(5, dtype=[("a", float)]), TypeError, "X must hold real numbers"),
        (sparse.csr_matrix(GOOD), TypeError, r"^X must be a dense array.* X\.toarray\(\)"),
        (sparse.coo_matrix(GOOD), TypeError, r"^X must be a dense array.* X\.toarray\(\)"),
        (sparse.dok_array(GOOD), TypeError, r"^X must be a dense array.* X\.toarray\(\)"),
        (np.ma.masked_greater(GOOD, 0), ValueError, "X must not have masked entries"),
        (GOOD.astype(str).astype(object), TypeError, "X must hold real numbers; got strings"),
        (np.zeros((5, 2), "timedelta64[s]"), TypeError, "X must hold real numbers"),
        (np.where(GOOD > 0, GOOD, None), ValueError, r"X must be finite; row \d+, column \d is nan"),
        (GOOD.astype(np.longdouble) * np.longdouble("1e4000"), ValueError, "X must be finite; row 0"),
        (np.array([[10**400, 1]] * 5, dtype=object), TypeError, "X must hold real numbers"),
        (1e-155 * GOOD, ValueError, "X must have columns of standard deviation 1e-151 at least.*column 0"),
        (1e-310 * GOOD, ValueError, "X must have columns of standard deviation 1e-151 at least.*column 0"),
        (np.array([1.0, 1e-170]) * GOOD, ValueError, "column 1 is not constant, but the squares of"),
        (1e-200 * GOOD, ValueError, "column 0 is not constant, but the squares of its differences underflow"),
        (1e200 * GOOD, ValueError, "X has values too large"),
    ],
)
def test_X(X, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(X, 2)


def test_NaN_is_found_with_weights_and_in_a_row_of_weight_zero():
    weight = np.ones(100)
    weight[17] = 0
    with pytest.raises(ValueError, match="row 17, column 1 is nan"):
        fastem.fit(with_value(np.nan), 2, sample_weight=weight)


def test_NaN_is_found_in_every_dtype_and_layout():
    X = np.zeros((200_000, 3), np.float32)
    X[:, 0] = np.arange(200_000)
    X[123_456, 2] = np.nan
    for data in (X, np.asfortranarray(X)):
        with pytest.raises(ValueError, match="row 123456, column 2 is nan"):
            fastem.fit(data, 2)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (0, ValueError, "k must be an integer of at least 1; got 0"),
        (-1, ValueError, "k must be an integer of at least 1; got -1"),
        (101, ValueError, "k must be at most the number of rows; got k=101 and 100 rows"),
        (2.0, TypeError, "k must be an integer of at least 1; got 2.0 of type float"),
        ("2", TypeError, "k must be an integer"),
        (True, TypeError, "k must be an integer of at least 1; got True"),
        (None, TypeError, "k must be an integer"),
    ],
)
def test_k(k, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(GOOD, k)


def test_k_may_be_a_numpy_integer():
    assert fastem.fit(GOOD, np.int32(2), rng=0).n_components == 2


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"covariance_type": "round"}, ValueError, "covariance_type must be one of 'full', 'tied'"),
        ({"covariance_type": ""}, ValueError, "covariance_type must be one of"),
        ({"init": "magic"}, ValueError, "init must be one of 'k-means\\+\\+'"),
        ({"init": 3}, ValueError, "init must be a name, labels"),
        ({"init": np.zeros(99, int)}, ValueError, r"init labels must have shape \(100,\)"),
        ({"init": np.zeros(100)}, TypeError, "init labels must be integers"),
        ({"init": np.full(100, 2)}, ValueError, "init labels must lie from 0 to k - 1 = 1"),
        ({"init": np.full(100, -1)}, ValueError, "init labels must lie from 0"),
        ({"init": np.zeros(100, int)}, ValueError, "component 1 of k=2 has no row"),
        ({"init": np.full((100, 3), 1 / 3)}, ValueError, r"responsibilities must have shape \(100, 2\)"),
        ({"init": np.ones((100, 2))}, ValueError, "sum to 1 in each row; row 0"),
        ({"init": np.full((100, 2), np.nan)}, ValueError, "sum to 1 in each row; row 0"),
        ({"init": random_model(0, "full", 3, 2)}, ValueError, "must have n_components=2"),
        ({"init": random_model(0, "full", 2, 3)}, ValueError, "must have n_features=2"),
        ({"init": random_model(0, "diag", 2, 2)}, ValueError, "must have covariance_type='full'"),
        ({"n_init": 0}, ValueError, "n_init must be an integer of at least 1"),
        ({"n_init": 10**30}, ValueError, r"n_init must be an integer of at least 1 and below 2\*\*63"),
        ({"columns": np.array("a")}, TypeError, "columns must be a sequence of names"),
        ({"n_init": 1.5}, TypeError, "n_init must be an integer"),
        ({"tol": -1e-3}, ValueError, "tol must be a finite number of at least 0; got -0.001"),
        ({"tol": np.nan}, ValueError, "tol must be a finite number"),
        ({"tol": "small"}, TypeError, "tol must be a finite number"),
        ({"max_iter": -1}, ValueError, "max_iter must be an integer of at least 0"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer"),
        ({"reg_covar": -1}, ValueError, "reg_covar must be a finite number"),
        ({"reg_covar": "much"}, ValueError, 'reg_covar must be a number or "auto"'),
        ({"reg_covar": None}, TypeError, "reg_covar must be a finite number"),
        ({"rng": -1}, ValueError, "rng must be None, an int of at least 0"),
        ({"rng": 1.5}, TypeError, "rng must be None, an int"),
        ({"rng": "seed"}, TypeError, "rng must be None, an int"),
        ({"n_threads": 0}, ValueError, "n_threads must be an integer of at least 1"),
        ({"n_threads": 1.0}, TypeError, "n_threads must be an integer"),
        ({"sample_weight": np.ones(99)}, ValueError, r"sample_weight must have shape \(100,\)"),
        ({"sample_weight": np.ones((100, 1))}, ValueError, r"sample_weight must have shape \(100,\)"),
        ({"sample_weight": -np.ones(100)}, ValueError, "sample_weight must be finite and at least 0; row 0"),
        ({"sample_weight": np.full(100, np.nan)}, ValueError, "sample_weight must be finite"),
        ({"sample_weight": np.zeros(100)}, ValueError, "sample_weight must not be zero throughout"),
        ({"sample_weight": np.eye(100)[0]}, ValueError, "1 such rows"),
        ({"sample_weight": ["a"] * 100}, TypeError, "sample_weight must hold real numbers"),
        (
            {"sample_weight": np.ma.masked_less(np.ones(100), 2)},
            ValueError,
            "sample_weight must not have masked",
        ),
        (
            {"sample_weight": np.full(100, 1e200)},
            ValueError,
            "sample_weight must have its largest value between",
        ),
        ({"sample_weight": np.full(100, 1e-200)}, ValueError, "largest value between"),
        ({"init": np.ma.masked_less(np.arange(100) % 2, 1)}, ValueError, "init must not have masked entries"),
        ({"init": np.full((100, 2), 0.5 + 0j)}, TypeError, "init must hold real numbers"),
        ({"init": None}, ValueError, "init must be a name, labels"),
        ({"tol": -0.5}, ValueError, "tol must be a finite number of at least 0; got -0.5"),
        ({"tol": np.inf}, ValueError, "tol must be a finite number"),
        ({"callback": "call me"}, TypeError, "callback must be callable"),
    ],
)
def test_options(option, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(GOOD, 2, **option)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "score", "bic", "aic"])
def test_scoring_checks_its_rows(method):
    score = getattr(random_model(0, "full", 2, 2), method)
    with pytest.raises(ValueError, match="X must have 2 features, as the model has; got 3"):
        score(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="row 17, column 1 is nan"):
        score(with_value(np.nan))
    with pytest.raises(ValueError, match="X must be 2-D"):
        score(np.zeros(4))


def test_e_step_checks_its_rows():
    model = random_model(0, "full", 2, 2)
    with pytest.raises(ValueError, match="X must have 2 features"):
        fastem.e_step(np.zeros((4, 3)), model)
    with pytest.raises(ValueError, match="row 17, column 1 is inf"):
        fastem.e_step(with_value(np.inf), model)


def test_numbers_in_disguise_are_taken():
    expected = fastem.fit(GOOD, 2, rng=0).means
    for X in (GOOD.astype(object), GOOD.tolist(), np.ma.MaskedArray(GOOD), GOOD.astype(np.longdouble)):
        np.testing.assert_array_equal(fastem.fit(X, 2, rng=0).means, expected)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_an_array():
    np.testing.assert_array_equal(
        fastem.fit(np.matrix(GOOD), 2, rng=0).means, fastem.fit(GOOD, 2, rng=0).means
    )


def test_a_memoryview_is_an_array():
    expected = fastem.fit(GOOD, 2, rng=0)
    np.testing.assert_array_equal(fastem.fit(memoryview(GOOD), 2, rng=0).means, expected.means)


def test_half_precision_is_computed_in_float64():
    half = GOOD.astype(np.float16)
    expected = fastem.fit(half.astype(np.float64), 2, rng=0)
    np.testing.assert_array_equal(fastem.fit(half, 2, rng=0).means, expected.means)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int32])
def test_labels_of_every_integer_dtype(dtype):
    labels = np.arange(100) % 2
    expected = fastem.fit(GOOD, 2, init=labels, max_iter=0).means
    np.testing.assert_array_equal(fastem.fit(GOOD, 2, init=labels.astype(dtype), max_iter=0).means, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_start_in_another_dtype_than_X(dtype):
    r = np.random.default_rng(0).dirichlet(np.ones(2), 100).astype(np.float32)
    X = GOOD.astype(dtype)
    from_responsibilities = fastem.fit(X, 2, init=r, max_iter=0)
    again = fastem.fit(X, 2, init=from_responsibilities, max_iter=0)
    np.testing.assert_allclose(again.means, from_responsibilities.means, rtol=1e-6)


def test_a_start_that_is_not_positive_definite_cannot_be_built():
    with pytest.raises(ValueError, match="covariances must be positive definite"):
        fastem.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]])


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_means_too_far_apart_for_float64_are_not_blamed_on_covariances(covariance_type):
    message = r"means must be so near to each other .* that of component 1 is 1e\+200 in feature 1"
    covariances = fastem.fit(GOOD, 2, covariance_type=covariance_type, max_iter=0).covariances
    means = [[0.0, 0.0], [0.0, 1e200]]
    with pytest.raises(ValueError, match=message):
        fastem.GaussianMixture([0.5, 0.5], means, covariances, covariance_type=covariance_type)
    with pytest.raises(ValueError, match=message):
        fastem.fit(GOOD, 2, init={"means": means}, covariance_type=covariance_type)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"covariance_type": "tied"}, {"fixed": "means"}])
def test_means_too_far_away_from_all_rows_are_refused(options):
    means = np.array([[0.0, 0.0], [0.0, 1e50]])
    message = r"init means must be within 1e\+15 deviations of the rows.*component 1 is 1e\+50 in column 1"
    with pytest.raises(ValueError, match=message):
        fastem.fit(GOOD, 2, init={"means": means}, **options)
    parameters = fastem.fit(GOOD, 2, covariance_type="tied", max_iter=0).parameters | {"means": means}
    model = fastem.GaussianMixture([0.5, 0.5], **parameters, covariance_type="tied")
    with pytest.raises(ValueError, match=message):
        fastem.fit(GOOD, 2, init=model, covariance_type="tied")


def test_means_that_are_far_away_are_seeded_anew():
    for distance in (1e3, 1e14):
        model = fastem.fit(GOOD, 2, init={"means": [[0.0, 0.0], [0.0, distance]]}, rng=0)
        assert model.report.log_likelihood > fastem.fit(GOOD, 1, rng=0).report.log_likelihood


@pytest.mark.parametrize("missing", ["error", "marginalise"])
@pytest.mark.parametrize("value", [1e200, np.finfo(np.float64).max])
def test_a_constant_whose_square_overflows_is_a_fault_of_X(value, missing):
    X = np.column_stack([GOOD, np.full(100, value)])
    with pytest.raises(ValueError, match="X has values too large"):
        fastem.fit(X, 2, missing=missing)


def test_a_constant_column_may_be_of_any_size():
    for value in (0.0, 1e-300, 5e-324, 1e-100, 1e150):
        X = np.column_stack([GOOD, np.full(100, value)])
        with pytest.warns(fastem.FitWarning, match="DEGENERATE"):
            model = fastem.fit(X, 2, rng=0)
        assert np.isfinite(model.score(X))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("unit", "reg_covar"), [(1.0, 1e308), (1e-140, 1e30)])
def test_a_reg_covar_that_overflows_beside_the_rows_is_refused(unit, reg_covar):
    X, light = unit * GOOD, np.full(100, 1e-29)
    model = fastem.fit(X, 2, rng=0)
    for refused in (
        lambda: fastem.fit(X, 2, reg_covar=reg_covar, sample_weight=light, rng=0),
        lambda: fastem.fit(X, 2, covariance_type="EII", reg_covar=reg_covar, rng=0),
        lambda: fastem.fit(X, 2, distribution="student", reg_covar=reg_covar, rng=0),
        lambda: fastem.select(X, [1, 2], reg_covar=reg_covar, rng=0),
        lambda: fastem.m_step(fastem.e_step(X, model), reg_covar=reg_covar),
        lambda: fastem.partial_fit(model, X, reg_covar=reg_covar),
    ):
        with pytest.raises(ValueError, match=r"reg_covar must be at most .* or sums over them overflow"):
            refused()


@pytest.mark.filterwarnings("error")
def test_weights_whose_sum_overflows_are_refused():
    weights = np.full(100, 1e308)
    for X, sample_weight in [(GOOD, weights), ([(GOOD[:50], weights[:50]), (GOOD[50:], weights[50:])], None)]:
        with pytest.raises(ValueError, match=r"must have its largest value between 1e-30 and 1e\+30"):
            fastem.fit(X, 2, sample_weight=sample_weight)


@pytest.mark.filterwarnings("ignore:DEGENERATE|MASS:fastem.FitWarning")
@pytest.mark.parametrize("extreme", [1e-150, 1e150])
def test_reg_covar_of_zero_at_the_ends_of_the_range(extreme):
    """One component is so narrow that its variance would not be a normal number in these units."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(50, 1)), 5 + 1e-9 * rng.normal(size=(50, 1))])
    model = fastem.fit(X * extreme, 2, init=np.arange(100) // 50, reg_covar=0, tol=0, max_iter=5)
    assert np.isfinite(model.report.log_likelihood)
    assert model.covariances.min() > 0


@pytest.mark.filterwarnings("ignore:DEGENERATE|MASS:fastem.FitWarning")
def test_a_column_that_varies_in_rows_of_weight_zero_only_is_constant():
    X = np.column_stack([GOOD, np.arange(100) == 17])
    model = fastem.fit(X, 2, sample_weight=np.arange(100) != 17, rng=0)
    np.testing.assert_array_equal(model.means[:, 2], 0)


def test_errors_of_numpy_may_be_set_to_raise():
    expected = fastem.fit(GOOD, 2, rng=0).means
    with np.errstate(all="raise"):
        for covariance_type in TYPES:
            model = fastem.fit(GOOD, 2, covariance_type=covariance_type, rng=0)
            model.predict_proba(GOOD)
        np.testing.assert_array_equal(fastem.fit(GOOD, 2, rng=0).means, expected)
        wide = fastem.GaussianMixture([0.5, 0.5], [[1e-60, 0], [0, 1e30]], [np.eye(2), 1e60 * np.eye(2)])
        for X in (GOOD, GOOD.astype(np.float32)):
            assert np.isfinite(wide.score_samples(X)).all()
            assert (wide.predict(X) == wide.predict_proba(X).argmax(axis=1)).all()


@pytest.mark.filterwarnings("ignore:FEW_VALUES")
def test_booleans_are_numbers():
    X = np.random.default_rng(0).random((100, 2)) < 0.5
    labels = np.arange(100) // 50
    plain = fastem.fit(X.astype(float), 2, init=labels, max_iter=0)
    np.testing.assert_array_equal(fastem.fit(X, 2, init=labels, max_iter=0).means, plain.means)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("normal", "gaussian"),
        ("Poisson", "poisson"),
        ("t", "student"),
        ("multinomial", "categorical"),
        ("log-normal", "lognormal"),
    ],
)
def test_names_of_other_libraries_get_a_hint(name, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        fastem.fit(np.ones((5, 1)), 1, distribution=name)
    with pytest.raises(ValueError, match=r"or a fastem\.Distribution; got 'nothing like it'"):
        fastem.fit(np.ones((5, 1)), 1, distribution="nothing like it")
