"""Which options of `fit` combine: every cell of the tables in docs/reference/options.md."""

import re
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from distributions import Poisson
from numpy.testing import assert_array_equal

import fastem
from fastem._api.restarts import Restarts
from fastem._sources.cache import RowsFile

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout"),
    pytest.mark.filterwarnings("ignore::fastem.FitWarning"),
]

N = 120
RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1], N // 2)
HIGH = LABELS[:, None] == 1
KNOWN = np.where(RNG.random(N) < 0.2, LABELS, -1)
WEIGHT = RNG.integers(1, 4, N).astype(np.float64)
NOISE = np.full((N, 3), 0.2)
SHARES = [0.4, 0.6]
NUMBERS = RNG.normal(size=(N, 3)) + 4 * HIGH
CLOSE = RNG.normal(size=(N, 3)) + 1.5 * HIGH  # so close that acceleration begins
BITS = (RNG.random((N, 3)) < np.where(HIGH, 0.8, 0.2)).astype(np.float64)
COUNTS = RNG.poisson(np.where(HIGH, 9, 2), (N, 3)).astype(np.float64)
AMOUNTS = RNG.gamma(3, np.where(HIGH, 4, 1), (N, 3))
MIXED = {0: "gaussian", 1: "bernoulli", 2: "poisson"}
MIXED_ROWS = np.column_stack([NUMBERS[:, 0], BITS[:, 1], COUNTS[:, 2]])
NAMES = ["a", "b", "c"]

# The distributions of each column of the first table, and rows for each.
KINDS = {
    "gaussian": [("gaussian", NUMBERS)],
    "student": [("student", NUMBERS)],
    "bernoulli, poisson": [("bernoulli", BITS), ("poisson", COUNTS)],
    "amounts": [(name, AMOUNTS) for name in ("exponential", "gamma", "lognormal")],
    "categorical": [("categorical", np.minimum(COUNTS, 5))],
    "mixed": [(MIXED, MIXED_ROWS)],
    "own": [(Poisson(), COUNTS)],
}
QUICK = {"init": "kmeans", "max_iter": 3, "rng": 0}


def tables():
    """The tables of the page as dicts of cells by row and column, without footnotes and code marks."""
    found, header = [], None
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [re.sub(r"\s*\[\^\d+\]", "", cell).strip().replace("`", "") for cell in line[1:-1].split("|")]
        if header is None:
            header = cells
            found.append({})
        elif not set(cells[0]) <= {"-"}:
            found[-1][cells[0]] = dict(zip(header[1:], cells[1:], strict=True))
    return found


def cells_of(number):
    if not PAGE.exists():
        return []
    return [
        pytest.param(row, column, cell, id=f"{row} | {column}")
        for row, cells in tables()[number].items()
        for column, cell in cells.items()
        if cell
    ]


def fit(X, **options):
    return fastem.fit(X, 2, **{**QUICK, **options})


def model_of(distribution, X):
    return fit(X, distribution=distribution)


def check(cell, run, monkeypatch):
    """Check that what is allowed gives a finite likelihood, and that the rest is an error before any work."""
    if cell != "error":
        result = run()
        assert np.isfinite(result.report.log_likelihood)
        return result

    def work(self):
        pytest.fail("work started")

    monkeypatch.setattr(Restarts, "best", work)
    with pytest.raises((ValueError, TypeError), match=r"must|may be|holds|is for"):
        run()
    return None


# --- by distribution


def with_gaps(X):
    return np.where(np.arange(X.size).reshape(X.shape) % 7 == 0, np.nan, X)


def text_of(X):
    return np.where(X > np.median(X, axis=0), "high", "low")


def of_distribution(option, distribution, X):
    """The fits that try an option with a distribution."""
    if option == "fastem.partial_fit":

        def two_chunks():
            model = None
            for chunk in (X[::2], X[1::2]):
                model = fastem.partial_fit(model, chunk, k=2, distribution=distribution, **QUICK)
            return model

        return [two_chunks]
    if option == "columns of text":
        if distribution is MIXED:
            rows = MIXED_ROWS.astype(object)
            rows[:, 1] = text_of(BITS)[:, 1]
            kinds = {**MIXED, 1: "categorical"}
            return [lambda: fit(rows, distribution=kinds)]
        return [lambda: fit(text_of(X), distribution=distribution)]
    if option == 'missing="marginalise"':
        return [lambda: fit(with_gaps(X), distribution=distribution, missing="marginalise")]
    if option == "float32 rows":
        return [lambda: fit(X.astype(np.float32), distribution=distribution)]
    return [
        lambda extra=extra: fit(X, **{"distribution": distribution, **extra})
        for extra in extras(option, distribution, X)
    ]


def extras(option, distribution, X):
    """The arguments of `fit` that a row of the first table stands for."""
    if option.startswith("covariance_type="):
        return [{"covariance_type": name} for name in re.findall(r'"(\w+)"', option)]
    if option.startswith('init="auto"'):
        return [{"init": name} for name in re.findall(r'"([\w+-]+)"', option)]
    own = isinstance(distribution, fastem.Distribution)
    simple = {
        "reg_covar=1e-3": {"reg_covar": 1e-3},
        'prior="default"': {"prior": "default"},
        'inference="variational"': {"inference": "variational"},
        "labels=...": {"labels": KNOWN},
        "noise_component=True": {"noise_component": True},
        "noise=...": {"noise": NOISE},
        'assignment="hard"': {"assignment": "hard"},
        "sample_weight=...": {"sample_weight": WEIGHT},
        'acceleration="auto"': {"acceleration": "auto", "max_iter": 20, "tol": 0, "init": "random"},
        "init= labels": {"init": LABELS},
        "init= responsibilities": {"init": np.where(HIGH, SHARES, SHARES[::-1])},
    }
    if option in simple:
        return [simple[option]]
    model = model_of(distribution, X)
    by_name = {"weights": SHARES, **model.parameters}
    if option == "init= a model":
        return [{"init": model}]
    if option == "init= a dict of parameters":
        return [{"init": by_name}, {"init": {"weights": SHARES}}, {"init": dict([list(by_name.items())[1]])}]
    if option == 'fixed=("weights",)':
        return [{"init": model if own else {"weights": SHARES}, "fixed": ("weights",)}]
    if option == 'fixed=("degrees_of_freedom",)':
        given = {"degrees_of_freedom": 5} if distribution == "student" else model
        return [{"init": given, "fixed": ("degrees_of_freedom",)}]
    if option in ('fixed=("means",)', 'fixed=("covariances",)'):
        return [{"init": model, "fixed": (option[8:-3],)}]
    assert option == "any other name in fixed"
    held = {"gaussian": ["means", "covariances"], "student": ["means", "degrees_of_freedom"]}
    mine = held.get(distribution, []) if isinstance(distribution, str) else []
    others = [name for name in model.parameters if name not in mine]
    return [{"init": model, "fixed": (name,)} for name in [*others, "nonsense"]]


@pytest.mark.parametrize(("option", "kind", "cell"), cells_of(0))
def test_by_distribution(option, kind, cell, monkeypatch):
    for distribution, X in KINDS[kind]:
        for run in of_distribution(option, distribution, X):
            with monkeypatch.context() as patch:
                check(cell, run, patch)


def test_what_is_fixed_stays():
    for pairs in KINDS.values():
        for distribution, X in pairs:
            model = model_of(distribution, X)
            start = fastem.fit(
                X, 2, distribution=distribution, init=model, fixed="weights", max_iter=30, tol=0
            )
            assert_array_equal(start.weights, model.weights)
    fitted = fit(NUMBERS, distribution="student", init={"degrees_of_freedom": 5}, fixed="degrees_of_freedom")
    assert_array_equal(fitted.parameters["degrees_of_freedom"], [5, 5])


def test_covariances_of_mixed_columns_need_a_gaussian_column():
    kinds = {0: "categorical", 1: "bernoulli", 2: "poisson"}
    rows = np.column_stack([BITS[:, 0], BITS[:, 1], COUNTS[:, 2]])
    for extra in ({"covariance_type": "full"}, {"reg_covar": 1e-3}):
        with pytest.raises(ValueError, match="must be left out"):
            fit(rows, distribution=kinds, **extra)


# --- by source


class Store:
    """Rows that can be sliced and are not in memory, as those of h5py and zarr."""

    def __init__(self, X):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, rows):
        return self._X[rows]


def frame_of(X):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=NAMES)


def with_names(X):
    return frame_of(X).assign(w=WEIGHT, z=KNOWN)


NUMBER = count()


def source_of(kind, X, folder, named):
    """X as a source of this kind. If `named`, files and dataframes also have the weights and labels."""
    if kind == "array":
        return X
    if kind == "memory-mapped array":
        path = folder / f"{next(NUMBER)}.npy"
        np.save(path, X)
        return np.load(path, mmap_mode="r")
    if kind == "store (h5py, zarr)":
        return Store(X)
    if kind == "chunks of arrays":
        return np.array_split(X, 3)
    if kind == "chunks of tables":
        return [frame_of(part) for part in np.array_split(X, 3)]
    table = with_names(X) if named else frame_of(X)
    if kind == "table":
        return table
    if kind == ".csv by its path":
        path = folder / f"{next(NUMBER)}.csv"
        table.to_csv(path, index=False)
        return path
    if kind == "Parquet":
        pytest.importorskip("pyarrow")
        path = folder / f"{next(NUMBER)}.parquet"
        table.to_parquet(path)
        return path
    pytest.importorskip("dask")
    if kind == "dask array":
        import dask.array

        return dask.array.from_array(X, chunks=(50, 3))
    import dask.dataframe

    return dask.dataframe.from_pandas(table, npartitions=3)


def by_source(option, folder):
    return {
        "labels= array": {"labels": KNOWN},
        "sample_weight= array": {"sample_weight": WEIGHT},
        "noise= array": {"noise": NOISE},
        "names of columns for these": {"sample_weight": "w", "labels": "z"},
        "columns=": {"columns": NAMES[:2]},
        "cache_dir=": {"cache_dir": folder},
        "init= labels": {"init": LABELS},
        "distribution by name": {"distribution": {name: MIXED[j] for j, name in enumerate(NAMES)}},
    }[option]


@pytest.mark.parametrize(("kind", "option", "cell"), cells_of(1))
def test_by_source(kind, option, cell, tmp_path, monkeypatch):
    rows = MIXED_ROWS if option == "distribution by name" else NUMBERS
    X = source_of(kind, rows, tmp_path, named=option == "names of columns for these")
    extra = by_source(option, tmp_path)
    copies = []

    def copied(*arguments):
        copies.append(arguments)
        return RowsFile(*arguments)

    monkeypatch.setattr("fastem._sources.chunks.RowsFile", copied)
    model = check(cell, lambda: fit(X, **extra), monkeypatch)
    if model is None:
        return
    assert bool(copies) == ("cache_dir" in extra and cell == "yes")
    expected = {**extra, "cache_dir": None, "columns": None}
    if "columns" in extra:
        rows = rows[:, :2]
    if isinstance(extra.get("labels"), str):
        expected |= {"sample_weight": WEIGHT, "labels": KNOWN}
    table = frame_of(rows) if option == "distribution by name" else rows
    same = fit(table, **{name: value for name, value in expected.items() if value is not None})
    assert model.report.log_likelihood == pytest.approx(same.report.log_likelihood, rel=1e-6)


def test_every_distribution_takes_every_source(tmp_path):
    for pairs in KINDS.values():
        for distribution, X in pairs:
            expected = fit(X, distribution=distribution, init=LABELS).report.log_likelihood
            for kind in tables()[1]:
                model = fit(source_of(kind, X, tmp_path, False), distribution=distribution, init=LABELS)
                assert model.report.log_likelihood == pytest.approx(expected, rel=1e-9)


def test_weights_and_labels_come_once():
    chunks = [{"X": NUMBERS, "sample_weight": WEIGHT, "labels": KNOWN}]
    assert np.isfinite(fit(chunks).report.log_likelihood)
    for name, value in (("sample_weight", WEIGHT), ("labels", KNOWN)):
        with pytest.raises(ValueError, match=f"{name} must be None where the chunks"):
            fit(chunks, **{name: value})


def test_the_bound_of_a_dask_collection_has_no_responsibilities(tmp_path):
    model = model_of("gaussian", NUMBERS)
    X = source_of("dask array", NUMBERS, tmp_path, False)
    with pytest.raises(TypeError, match="responsibilities must be None"):
        model.lower_bound(X, np.full((N, 2), 0.5))


# --- by each other


def by_each_other(option, model):
    return {
        "labels=...": {"labels": KNOWN},
        'assignment="hard"': {"assignment": "hard"},
        'fixed=("weights",)': {"fixed": ("weights",)},
        'acceleration="auto"': {"acceleration": "auto"},
        "sample_weight=...": {"sample_weight": WEIGHT},
        "n_init=3": {"n_init": 3},
        "reg_covar=1e-3": {"reg_covar": 1e-3},
        "max_iter=0": {"max_iter": 0},
        'fixed=("means",), ("covariances",)': {"fixed": ("means", "covariances")},
        'prior="default"': {"prior": "default"},
        'inference="variational"': {"inference": "variational"},
        "noise_component=True": {"noise_component": True},
        'missing="marginalise"': {"missing": "marginalise"},
        "noise=...": {"noise": NOISE},
        "with labels": {"labels": KNOWN},
        'with assignment="hard"': {"assignment": "hard"},
        "with fixed": {"init": model, "fixed": ("weights",)},
        "with sample_weight": {"sample_weight": WEIGHT},
        "with init= a name": {"init": "random"},
        "with init= labels": {"init": 1 - LABELS},
        "with init= a model": {"init": model},
    }[option]


# What a row means where it is off.
WITHOUT = {'acceleration="auto"': {"acceleration": None}, "n_init=3": {"n_init": 1}}


@cache
def start_of(option):
    """A model that is near the maximum but not at it."""
    return fit(CLOSE[::3], noise_component=option == "noise_component=True")


@pytest.mark.parametrize(("option", "other", "cell"), cells_of(2))
def test_by_each_other(option, other, cell, monkeypatch):
    start = start_of(option)
    if other == "in partial_fit":
        check_online(option, cell, start)
        return
    both = {"max_iter": 60, "tol": 0, **by_each_other(other, start), **by_each_other(option, start)}
    if option.startswith("fixed=") and "init" not in both:
        both["init"] = start
    rows = with_gaps(CLOSE) if "missing" in both else CLOSE
    model = check(cell, lambda: fit(rows, **both), monkeypatch)
    if model is None:
        return
    for name in both.get("fixed", ()):
        assert_array_equal(getattr(model, name), getattr(start, name))
    if option in WITHOUT:
        without = fit(CLOSE, **{**both, **WITHOUT[option]}).report
        same = model.report.history == without.history
        assert same or cell != "off"
        if option == 'acceleration="auto"' and other in ("with sample_weight", "with init= a name"):
            assert not same  # the others are too fast for leaps
    if both["max_iter"] == 0:
        assert model.report.n_iter == 0


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "default", "noise_component": True},
        {"inference": "variational", "noise_component": True},
    ],
)
def test_what_does_not_go_together(options):
    with pytest.raises(ValueError, match=r"must be .* with noise_component=True.*pass one of them"):
        fit(CLOSE, **options)


def check_online(option, cell, start):
    """What is `first` changes nothing in a call that has a model already."""
    extra = by_each_other(option, start)
    half = slice(None, None, 2)
    extra = {
        name: value[half] if name in ("labels", "sample_weight") else value for name, value in extra.items()
    }
    given = {"init": start} if "fixed" in extra else {}
    chunk = CLOSE[half]
    if cell == "error":
        with pytest.raises(ValueError, match=r"must be .* in partial_fit"):
            fastem.partial_fit(None, chunk, k=2, **extra)
        return
    first = fastem.partial_fit(None, chunk, k=2, **{**QUICK, **given, **extra})
    assert np.isfinite(first.report.log_likelihood)
    plain = fastem.partial_fit(start, chunk)
    second = fastem.partial_fit(start, chunk, **given, **extra)
    assert np.isfinite(second.report.log_likelihood)
    same = np.array_equal(second.weights, plain.weights) and np.array_equal(
        second.parameters["covariances"], plain.parameters["covariances"]
    )
    assert same == (cell == "first")
