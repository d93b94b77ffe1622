"""Mistakes in a distribution that a user writes: each is told with class and method, and changes no data."""

import numpy as np
import pytest
from distributions import LABELS, MIXTURE, RATES, Poisson, X, broken, start_of
from problems import random_model

import fastem
from fastem import FitStatus, FitWarning, WarningCause

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
zarr = pytest.importorskip("zarr")

OPTIONS = {"distribution": Poisson(), "rng": 0}
BLOCKS = (1, 999, 0, 2000)


class Other(Poisson):
    pass


def use_all(distribution):
    """Call every method."""
    model = fastem.fit(X, 3, distribution=distribution, init=start_of(distribution), max_iter=2, tol=0)
    model.bic(X)
    model.sample(5)


@pytest.mark.parametrize("error", [ValueError, KeyError, NotImplementedError, MemoryError, StopIteration])
@pytest.mark.parametrize("name", ["log_density", "statistics", "maximise", "n_parameters", "sample"])
def test_an_exception_is_told_with_class_and_method(name, error):
    def method(self, *arguments):
        raise error("no idea")

    with pytest.raises(ValueError, match=rf"^Broken\.{name} raised {error.__name__}: .*no idea") as caught:
        use_all(broken(name, method))
    assert type(caught.value.__cause__) is error


@pytest.mark.parametrize("name", ["log_density", "statistics", "maximise", "n_parameters"])
def test_a_distribution_must_have_the_other_methods(name):
    incomplete = type("Broken", (fastem.Distribution,), {n: f for n, f in vars(Poisson).items() if n != name})
    with pytest.raises(TypeError, match=rf"Broken.*{name}"):
        incomplete()


def instead(value):
    """A method that returns this, whatever it is given."""
    return lambda self, *arguments: value


def altered(name, change):
    """A method that returns what Poisson's does, changed."""
    return lambda self, *arguments: change(getattr(Poisson, name)(self, *arguments))


def one_bad(array, value):
    array = np.array(array, dtype=float)
    array[-1, 1] = value
    return array


class Alternates:
    """The second of two changes from the third call on."""

    def __init__(self, first, second):
        self.changes, self.calls = [first] * 2 + [second] * 100, 0

    def __call__(self, value):
        self.calls += 1
        return self.changes[self.calls - 1](value)


def same(value):
    return value


WRONG = [
    ("log_density", altered("log_density", lambda p: p[:, :2]), r"an array of shape \(3000, 3\); got .*2\)"),
    ("log_density", altered("log_density", lambda p: p[:-1]), r"an array of shape \(3000, 3\); got .*\(2999"),
    ("log_density", altered("log_density", lambda p: p.T), r"an array of shape \(3000, 3\)"),
    (
        "log_density",
        altered("log_density", lambda p: p.sum(axis=1)),
        r"\(3000, 3\); got shape \(3000,\)",
    ),
    ("log_density", instead(None), r"an array of shape \(3000, 3\); got shape \(\)"),
    ("log_density", instead(0.0), r"an array of shape \(3000, 3\); got shape \(\)"),
    (
        "log_density",
        altered("log_density", lambda p: one_bad(p, np.nan)),
        "row 2999 of X, component 1 is n",
    ),
    (
        "log_density",
        altered("log_density", lambda p: one_bad(p, np.inf)),
        "row 2999 of X, component 1 is i",
    ),
    ("statistics", altered("statistics", list), "a tuple of arrays; got list"),
    ("statistics", altered("statistics", lambda s: s[1]), "a tuple of arrays; got ndarray"),
    ("statistics", instead(None), "a tuple of arrays; got NoneType"),
    ("statistics", altered("statistics", lambda s: (s[0], one_bad(s[1], np.nan))), "number 1 of .* is not"),
    ("statistics", altered("statistics", lambda s: (s[0] * np.inf, s[1])), "number 0 of the tuple is not"),
    ("maximise", instead(None), "a dict of arrays by name; got None"),
    ("maximise", altered("maximise", lambda p: p["rates"]), "a dict of arrays by name; got array"),
    ("maximise", altered("maximise", lambda p: list(p.items())), "a dict of arrays by name; got \\["),
    ("maximise", instead({}), "a dict of arrays by name; got {}"),
    ("maximise", instead({7: RATES}), "a dict of arrays by name; got {7"),
    (
        "maximise",
        instead({"rates": 3.0}),
        r"3, along the first axis; 'rates' has shape \(\)",
    ),
    ("maximise", instead({"rates": RATES[:2]}), "3, along the first axis; 'rates' has shape \\(2, 2\\)"),
    ("maximise", instead({"rates": RATES.T}), "3, along the first axis; 'rates' has shape \\(2, 3\\)"),
    ("maximise", instead({"rates": one_bad(RATES, np.nan)}), r"'rates' of component 2 is \[30. nan\]"),
    ("maximise", instead({"rates": one_bad(RATES, -np.inf)}), r"'rates' of component 2 is \[ 30. -inf\]"),
    ("maximise", instead({"rates": RATES, "more": RATES}), r"\['rates'\] each time; got \['more', 'rates'\]"),
    ("maximise", instead({"scales": RATES}), r"the parameters \['rates'\] each time; got \['scales'\]"),
    ("maximise", instead({"rates": RATES[:, 0]}), r"'rates' with shape \(3, 2\) each time; got \(3,\)"),
    ("sample", instead(np.zeros((5, 3))), r"an array of shape \(5, 2\); got shape \(5, 3\)"),
    ("sample", instead(np.zeros(2)), r"an array of shape \(5, 2\); got shape \(2,\)"),
    ("sample", instead(one_bad(np.zeros((5, 2)), np.nan)), "finite rows; row 4, column 1 is nan"),
    ("sample", instead(one_bad(np.zeros((5, 2)), np.inf)), "finite rows; row 4, column 1 is inf"),
]


@pytest.mark.parametrize(("name", "method", "message"), WRONG)
def test_a_wrong_answer_is_told_with_class_and_method(name, method, message):
    with pytest.raises((ValueError, TypeError), match=rf"^Broken\.{name} must return .*{message}"):
        use_all(broken(name, method))


NO_NUMBERS = {
    "text": "many",
    "strings": [["1.0"]],
    "complex": np.ones((5, 2)) * 1j,
    "masked": np.ma.masked_array([[1.0]], [[True]]),
    "ragged": [[1.0], [2.0, 3.0]],
    "dates": np.array([["2020-01-01"]], "datetime64[D]"),
}


@pytest.mark.parametrize("answer", NO_NUMBERS)
@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        ("log_density", same),
        ("statistics", lambda value: (value,)),
        ("maximise", lambda value: {"rates": value}),
        ("sample", same),
    ],
)
def test_what_is_no_number_is_told_with_class_and_method(name, wrapped, answer):
    method = instead(wrapped(NO_NUMBERS[answer]))
    with pytest.raises((ValueError, TypeError), match=rf"^what Broken\.{name} returns must "):
        use_all(broken(name, method))


@pytest.mark.parametrize("count", [-1, 2.5, np.nan, np.inf, "six", None, [6]])
def test_a_number_of_parameters_that_is_none(count):
    with pytest.raises((ValueError, TypeError), match=r"^what Broken\.n_parameters returns must be an int"):
        use_all(broken("n_parameters", instead(count)))


def test_the_first_answer_decides_what_the_parameters_are():
    """Here another name from the second M-step on."""
    change = Alternates(same, lambda p: {"rates": p["rates"][:, :1]})
    distribution = broken("maximise", altered("maximise", change))
    with pytest.raises(ValueError, match=r"^Broken\.maximise must return 'rates' with shape \(3, 2\) each"):
        fastem.fit(X, 3, distribution=distribution, init="k-means++", tol=0, rng=0)


class Scaled(Poisson):
    """The shapes of its statistics depend on the number of rows."""

    def statistics(self, X, responsibilities, parameters):
        return np.zeros(1 + len(X) % 2), *super().statistics(X, responsibilities, parameters)

    def maximise(self, statistics, parameters):
        return super().maximise(statistics[1:], parameters)


@pytest.mark.parametrize("slab_seconds", [0.2, 1e-9])
def test_statistics_must_have_the_same_shapes_for_all_chunks(slab_seconds, monkeypatch):
    monkeypatch.setattr(fastem._sources.passes, "_SLAB_SECONDS", slab_seconds)
    rows = X[:2999]
    model = fastem.Mixture(MIXTURE.weights, MIXTURE.parameters, Scaled(), n_features=2)
    message = r"^Scaled\.statistics must return arrays of the same shapes for all chunks; got \[\([12],"
    with pytest.raises(ValueError, match=message):
        fastem.e_step(rows[:1000], model) + fastem.e_step(rows[1000:], model)
    with pytest.raises(ValueError, match=message):
        fastem.fit(da.from_array(rows, chunks=((1000, 1999), 2)), 3, distribution=Scaled(), init=model)
    if slab_seconds < 0.2:
        with pytest.raises(ValueError, match=message):
            fastem.fit(rows, 3, distribution=Scaled(), init=model)


def test_an_error_in_a_block_of_dask_is_told_as_any_other():
    def log_density(self, X, parameters):
        return Poisson.log_density(self, X, parameters) * np.where(X[:, :1] == X.max(), np.nan, 1)

    distribution = broken("log_density", log_density)
    rows = da.from_array(X, chunks=(BLOCKS, 2))
    with pytest.raises(
        ValueError, match=r"^Broken\.log_density must .*; row \d+ of block \d of X, comp.* is nan"
    ):
        fastem.fit(rows, 3, distribution=distribution, init=start_of(distribution))


class Falls(Poisson):
    """Its rates are the right ones times a number that grows."""

    def __init__(self):
        self.calls = 0

    def maximise(self, statistics, parameters):
        self.calls += 1
        right = super().maximise(statistics, parameters)
        return {"rates": right["rates"] * self.calls}


def test_a_likelihood_that_falls_is_told_with_class_and_methods():
    with pytest.warns(FitWarning, match=r"^DECREASED: Falls\.maximise does not maximise") as caught:
        model = fastem.fit(X, 3, distribution=Falls(), init=LABELS)
    assert [warning.message.cause for warning in caught] == [WarningCause.DECREASED]
    assert all(f"Falls.{name}" in str(caught[0].message) for name in ("log_density", "statistics"))
    assert model.report.status is FitStatus.DECREASED
    assert not model.report.converged


# --- what a method is given


def writes_into(position):
    """A method that does what Poisson's does, but for writing into one of its arguments."""

    def method(name):
        def written(self, *arguments):
            argument = arguments[position]
            arrays = argument.values() if isinstance(argument, dict) else [argument]
            for array in argument if isinstance(argument, tuple) else arrays:
                array += 1
            return getattr(Poisson, name)(self, *arguments)

        return written

    return method


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("log_density", 0),
        ("log_density", 1),
        ("statistics", 0),
        ("statistics", 1),
        ("statistics", 2),
        ("maximise", 0),
        ("maximise", 1),
    ],
)
def test_what_a_method_is_given_is_read_only(name, position, dtype):
    rows = X.astype(dtype)
    before = rows.copy()
    distribution = broken(name, writes_into(position)(name))
    with pytest.raises(ValueError, match=rf"^Broken\.{name} raised ValueError: .*read-only"):
        fastem.fit(rows, 3, distribution=distribution, init=start_of(distribution))
    np.testing.assert_array_equal(rows, before)


def test_labels_to_sample_from_are_read_only():
    model = start_of(broken("sample", writes_into(1)("sample")))
    with pytest.raises(ValueError, match=r"^Broken\.sample raised ValueError: .*read-only"):
        model.sample(10)


def test_statistics_cannot_be_changed_by_an_m_step():
    def maximise(self, statistics, parameters):
        statistics[1][:] *= 2
        return Poisson.maximise(self, statistics, parameters)

    statistics = fastem.e_step(X, start_of(broken("maximise", maximise)))
    before = statistics.sums()["statistics"][1].copy()
    with pytest.raises(ValueError, match=r"^Broken\.maximise raised ValueError: .*read-only"):
        fastem.m_step(statistics)
    np.testing.assert_array_equal(statistics.sums()["statistics"][1], before)
    with pytest.raises(ValueError, match="read-only"):
        statistics.sums()["statistics"][1][:] = 0


# --- what is not its fault


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "use",
    [
        lambda bad: fastem.fit(bad, 3, **OPTIONS),
        lambda bad: fastem.e_step(bad, MIXTURE),
        lambda bad: list(MIXTURE.predict(bad)),
        lambda bad: MIXTURE.score(bad),
    ],
)
def test_rows_that_are_not_finite_are_not_blamed_on_the_distribution(use, value):
    bad = X.copy()
    bad[1001, 1] = value
    with pytest.raises(ValueError, match=f"^X must be finite; row 1001, column 1 is {value}"):
        use(bad)
    with pytest.raises(ValueError, match=f"^chunk 1 of X must be finite; row 1, column 1 is {value}"):
        use(np.split(bad, [1000]))


def test_an_exception_of_a_callback_is_not_blamed_on_the_distribution():
    def callback(*_):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        fastem.fit(X, 3, callback=callback, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"distribution": Poisson}, TypeError, r"an instance; got the class Poisson\. Pass Poisson\(\)"),
        ({"distribution": fastem.Distribution}, TypeError, "an instance; got the class Distribution"),
        (
            {"distribution": "Poisson"},
            ValueError,
            "distribution must be one of 'gaussian', .* or a fastem",
        ),
        ({"distribution": None}, ValueError, "distribution must be one of"),
        (
            {"covariance_type": "diag"},
            ValueError,
            "covariance_type must be left out .*; got 'diag' with Poisson",
        ),
        (
            {"covariance_type": "round"},
            ValueError,
            "covariance_type must be left out .*; got 'round' with Poi",
        ),
        ({"reg_covar": 0}, ValueError, r"reg_covar must be left out for distribution=Poisson\(\)"),
        ({"reg_covar": 1e-6}, ValueError, r"reg_covar must be left out for distribution=Poisson\(\)"),
        ({"init": "magic"}, ValueError, "init must be one of"),
        ({"init": LABELS[:9]}, ValueError, r"init labels must have shape \(3000,\)"),
        (
            {"init": start_of("poisson")},
            ValueError,
            r"init as a model must have distribution=Poisson\(\) for",
        ),
        ({"init": start_of(Other())}, ValueError, r"for this fit; it has distribution=Other\(\)"),
        ({"init": random_model(0, "full", 3, 2)}, ValueError, "for this fit; it has covariance_type='full'"),
    ],
)
def test_options_that_do_not_go_together(options, error, message):
    with pytest.raises(error, match=message):
        fastem.fit(X, 3, **OPTIONS | options)


@pytest.mark.parametrize(
    ("model", "first"), [(None, {"k": 3, "distribution": Poisson()}), (MIXTURE, {}), (MIXTURE, {"k": 3})]
)
def test_partial_fit_is_refused_from_the_first_chunk_on(model, first):
    with pytest.raises(TypeError, match=r"^partial_fit must .*; got distribution=Poisson\(\)\. Use e_step"):
        fastem.partial_fit(model, X, **first)
