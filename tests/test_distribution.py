"""Distributions that a user writes with NumPy: right answers from any data, and clear words for mistakes."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from distributions import Normal, Poisson

import fastem
from fastem import _io
from fastem._em.loop import KEPT
from fastem._kernels._layout import TILE_BYTES

da = pytest.importorskip("dask.array")

RATES = np.array([[1.0, 20.0], [8.0, 5.0], [30.0, 0.3]])
MIXTURE = fastem.Mixture([0.5, 0.2, 0.3], {"rates": RATES}, Poisson(), n_features=2)
X, LABELS = MIXTURE.sample(3000, rng=0)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(X)).astype(np.float64)
OPTIONS = {"distribution": Poisson(), "rng": 0}


def broken(method, function, base=Poisson):
    """A distribution one of whose methods is this function of itself and the arguments."""
    return type("Broken", (base,), {method: function})()


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


def start_of(distribution):
    return fastem.Mixture(MIXTURE.weights, MIXTURE.parameters, distribution, n_features=2)


def use_all(distribution):
    """Call every method."""
    model = fastem.fit(X, 3, distribution=distribution, init=start_of(distribution), max_iter=2, tol=0)
    model.bic(X)
    model.sample(5)


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


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("use", ["predict", "predict_proba", "score_samples", "score", "e_step", "fit"])
def test_the_more_components_the_fewer_rows_at_once(use, dtype, monkeypatch):
    """A method makes an array of a number for each row and component."""
    sizes = []

    def log_density(self, X, parameters):
        sizes.append(len(X))
        return Poisson.log_density(self, X, parameters)

    distribution = broken("log_density", log_density)
    model = fastem.Mixture(np.full(18, 1 / 18), {"rates": np.tile(RATES, (6, 1))}, distribution, n_features=2)
    rows = X.astype(dtype)
    options = {"distribution": distribution, "init": model, "max_iter": 1, "tol": 0}
    uses = {"e_step": lambda: fastem.e_step(rows, model), "fit": lambda: fastem.fit(rows, 18, **options)}
    monkeypatch.setattr(fastem._sources.passes, "_SLAB_BYTES", 1 << 15)  # in place of 16 MB
    uses.get(use, lambda: getattr(model, use)(rows))()
    assert sum(sizes) >= len(X)
    assert max(sizes) == TILE_BYTES // rows.itemsize


# --- what it returns


class Known(Poisson):
    """Only the mixing weights are unknown."""

    def statistics(self, X, responsibilities, parameters):
        return ()

    def maximise(self, statistics, parameters):
        return {"rates": RATES}


def test_there_need_not_be_statistics():
    chunks = np.split(X, [0, 1000, 2500])
    options = {"distribution": Known(), "init": LABELS, "max_iter": 20, "tol": 0}
    model = fastem.fit(X, 3, **options)
    r = MIXTURE.predict_proba(X)
    for _ in range(200):
        weights = r.mean(axis=0)
        r = np.exp(Poisson().log_density(X, MIXTURE.parameters)) * weights
        r /= r.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.weights, weights, rtol=1e-6)
    np.testing.assert_allclose(fastem.fit(chunks, 3, **options).weights, model.weights, rtol=1e-12)
    statistics = sum(fastem.e_step(chunk, model) for chunk in chunks[1:])
    np.testing.assert_allclose(statistics.weights, fastem.e_step(X, model).weights, rtol=1e-12)
    again = fastem.Statistics.from_bytes(statistics.to_bytes(), distribution=Known())
    np.testing.assert_array_equal(fastem.m_step(again).weights, fastem.m_step(statistics).weights)


@pytest.mark.parametrize("error", [ValueError, KeyError, NotImplementedError, MemoryError, StopIteration])
@pytest.mark.parametrize("name", ["log_density", "statistics", "maximise", "n_parameters", "sample"])
def test_an_exception_is_told_with_class_and_method(name, error):
    def method(self, *arguments):
        raise error("no idea")

    with pytest.raises(ValueError, match=rf"^Broken\.{name} raised {error.__name__}: .*no idea") as caught:
        use_all(broken(name, method))
    assert type(caught.value.__cause__) is error


def test_a_distribution_may_lack_a_method_to_sample():
    model = fastem.fit(X, 2, distribution=Normal(), rng=0)
    with pytest.raises(NotImplementedError, match="Normal has no method `sample`"):
        model.sample(3)


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
    ("statistics", altered("statistics", list), "a tuple of arrays; got \\[array"),
    ("statistics", altered("statistics", lambda s: s[1]), "a tuple of arrays; got array"),
    ("statistics", instead(None), "a tuple of arrays; got None"),
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
        r"one entry a component, 3, .*'rates' has shape \(\)",
    ),
    ("maximise", instead({"rates": RATES[:2]}), "one entry a component, 3, .*'rates' has shape \\(2, 2\\)"),
    ("maximise", instead({"rates": RATES.T}), "one entry a component, 3, .*'rates' has shape \\(2, 3\\)"),
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
    with pytest.raises(ValueError, match=r"^Broken\.maximise must return 'rates' with shape \(3, 2\) each"):
        fastem.fit(X, 3, distribution=broken("maximise", altered("maximise", change)), tol=0, rng=0)


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


# --- rows that are no numbers


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


# --- components without rows


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
def test_fewer_distinct_rows_than_components(init):
    rows = np.repeat([[1.0, 2.0], [9.0, 0.0]], 50, axis=0)
    model = fastem.fit(rows, 4, distribution=Poisson(), init=init, rng=0)
    assert model.report.converged
    assert model.weights.sum() == pytest.approx(1)
    assert (model.weights == 0).sum() >= 2
    kept = {repair.component for repair in model.report.repairs}
    assert kept == set(np.flatnonzero(model.weights == 0))
    assert {repair.what for repair in model.report.repairs} == {KEPT}
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1)


def test_a_component_that_loses_its_rows_keeps_its_parameters():
    rates = np.vstack([RATES, [[1e4, 1e4]]])
    start = fastem.Mixture([0.5, 0.2, 0.2, 0.1], {"rates": rates}, Poisson(), n_features=2)
    model = fastem.fit(X, 4, distribution=Poisson(), init=start, tol=0, max_iter=3)
    np.testing.assert_array_equal(model.parameters["rates"][3], rates[3])
    assert model.weights[3] == 0
    assert model.report.repairs == ((1, 3, KEPT),)
    assert (np.diff(model.report.history) > -1e-9).all()


def test_labels_whose_rows_have_no_weight():
    weight = (LABELS != 1).astype(float)
    model = fastem.fit(X, 3, init=LABELS, sample_weight=weight, distribution=Poisson(), max_iter=0)
    np.testing.assert_array_equal(model.parameters["rates"][1], model.parameters["rates"][0])
    assert model.report.repairs == ((0, 1, KEPT),)


# --- the other verbs


@pytest.mark.parametrize(
    ("model", "first"), [(None, {"k": 3, "distribution": Poisson()}), (MIXTURE, {}), (MIXTURE, {"k": 3})]
)
def test_partial_fit_is_refused_from_the_first_chunk_on(model, first):
    with pytest.raises(TypeError, match=r"^partial_fit must .*; got distribution=Poisson\(\)\. Use e_step"):
        fastem.partial_fit(model, X, **first)


def sums_of(statistics):
    sums = statistics.sums()
    return [statistics.weights, np.array(statistics.log_likelihood), *sums["statistics"]]


def test_statistics_of_chunks_add_up_to_those_of_the_whole():
    chunks = zip(np.split(X, [0, 1, 1000]), np.split(WEIGHT, [0, 1, 1000]))
    parts = [fastem.e_step(chunk, MIXTURE, weight) for chunk, weight in chunks if weight.any()]
    whole = fastem.e_step(X, MIXTURE, WEIGHT)
    for part, expected in zip(sums_of(sum(parts)), sums_of(whole), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert sum(parts).n_samples == whole.n_samples == np.count_nonzero(WEIGHT)
    r = MIXTURE.predict_proba(X) * WEIGHT[:, None]
    for part, expected in zip(sums_of(whole)[2:], (r.sum(axis=0), r.T @ X), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)
    assert whole.log_likelihood == pytest.approx(WEIGHT @ MIXTURE.score_samples(X), rel=1e-12)
    assert repr(whole).startswith("Statistics(distribution=Poisson(), n_samples=")


def test_an_e_step_and_an_m_step_are_an_iteration():
    step = fastem.m_step(fastem.e_step(X, MIXTURE, WEIGHT))
    model = fastem.fit(X, 3, sample_weight=WEIGHT, init=MIXTURE, max_iter=1, tol=0, distribution=Poisson())
    np.testing.assert_array_equal(step.weights, model.weights)
    np.testing.assert_array_equal(step.parameters["rates"], model.parameters["rates"])
    assert step.report is None
    with pytest.raises(ValueError, match=r"reg_covar must be left out for distribution=Poisson\(\)"):
        fastem.m_step(fastem.e_step(X, MIXTURE), reg_covar=0)


CLONES = {
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
    "deepcopy": copy.deepcopy,
    "bytes": lambda s: fastem.Statistics.from_bytes(s.to_bytes(), distribution=Poisson()),
}


@pytest.mark.parametrize("name", CLONES)
def test_statistics_survive_copying(name):
    one, other = (fastem.e_step(rows, MIXTURE) for rows in np.split(X, [1000]))
    twin = CLONES[name](one)
    for mine, expected in zip(sums_of(twin), sums_of(one), strict=True):
        np.testing.assert_array_equal(mine, expected)
    expected = fastem.m_step(one + other)
    for both in (twin + other, other + twin):
        np.testing.assert_array_equal(fastem.m_step(both).parameters["rates"], expected.parameters["rates"])
    parameters = fastem.m_step(twin).parameters
    np.testing.assert_array_equal(parameters["rates"], fastem.m_step(one).parameters["rates"])


def test_the_order_of_the_parameters_does_not_matter():
    """A file or a dict may have them in another one."""
    values = {"means": RATES, "variances": RATES + 1}
    one, other = (
        fastem.e_step(
            X, fastem.Mixture(MIXTURE.weights, {n: values[n] for n in names}, Normal(), n_features=2)
        )
        for names in (["means", "variances"], ["variances", "means"])
    )
    assert (one + other).n_samples == 2 * len(X)


def test_statistics_of_other_parameters_do_not_add():
    other = fastem.Mixture(MIXTURE.weights, {"rates": RATES + 1}, Poisson(), n_features=2)
    with pytest.raises(ValueError, match="only if they were taken about the same parameters"):
        fastem.e_step(X, MIXTURE) + fastem.e_step(X, other)


def test_bytes_that_do_not_fit():
    content = fastem.e_step(X, MIXTURE).to_bytes()
    read = fastem.Statistics.from_bytes
    with pytest.raises(ValueError, match=r"it is of the distribution Poisson\. Pass that as dist"):
        read(content)
    with pytest.raises(ValueError, match="it is of Poisson, and distribution is Normal"):
        read(content, distribution=Normal())
    with pytest.raises(TypeError, match=r"distribution must be an instance; got the class Poisson\. Pass Po"):
        read(content, distribution=Poisson)
    with pytest.raises(ValueError, match="not readable fastem statistics"):
        read(content[:-40], distribution=Poisson())


@pytest.mark.parametrize(
    "change",
    [
        {"about": np.ones(2)},
        {"about": np.ones((3, 1))},
        {"weights": np.ones(2)},
        {"weights": np.ones((3, 1))},
        {"parameter rates": RATES[:2]},
        {"parameter rates": np.float64(1)},
        {"statistic 0": np.full(3, np.nan)},
        {"statistic 1": np.full((3, 2), 1, np.int64)},
    ],
)
def test_bytes_that_hold_no_sums(change):
    header, arrays = _io.statistics_from_bytes(fastem.e_step(X, MIXTURE).to_bytes())
    del header["statistics_format"]
    content = _io.statistics_to_bytes(header, arrays | change)
    with pytest.raises(ValueError, match="not readable fastem statistics"):
        fastem.Statistics.from_bytes(content, distribution=Poisson())


def test_a_file(tmp_path):
    model = fastem.fit(pd.DataFrame(X, columns=["a", "b"]), 3, **OPTIONS)
    model.save(tmp_path / "model.npz")
    again = fastem.load(tmp_path / "model.npz", distribution=Poisson())
    assert repr(again) == repr(model)
    assert again.report == model.report
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    with pytest.raises(ValueError, match=r"it is of the distribution Poisson\. Pass that as dist"):
        fastem.load(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="it is of Poisson, and distribution is Normal"):
        fastem.load(tmp_path / "model.npz", distribution=Normal())
    with pytest.raises(ValueError, match="it is of Poisson, and distribution is poisson"):
        fastem.load(tmp_path / "model.npz", distribution="poisson")
    with pytest.raises(TypeError, match=r"distribution must be an instance; got the class Poisson\. Pass Po"):
        fastem.load(tmp_path / "model.npz", distribution=Poisson)
