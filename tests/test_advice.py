"""Warnings that name columns: those of few values, and those in which a component is singular."""

import warnings

import numpy as np
import pytest
from problems import clusters

import fastem
from fastem import FitWarning, WarningCause
from fastem.datasets import old_faithful

RNG = np.random.default_rng(0)
X = clusters(0, 400, 3, 2)
SEX, STAGE = RNG.integers(0, 2, 400), RNG.integers(1, 5, 400)


def told(call, *arguments, **options):
    """Return the warnings by their causes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    assert all(type(warning.message) is FitWarning for warning in caught)
    causes = [warning.message.cause for warning in caught]
    assert len(set(causes)) == len(causes)  # once per fit
    return {warning.message.cause: warning.message.details for warning in caught}


def in_chunks(rows):
    return [rows[:150], rows[150:]]


@pytest.mark.parametrize("cut", [np.asarray, in_chunks])
@pytest.mark.parametrize("options", [{}, {"covariance_type": "diag"}, {"distribution": "student"}])
def test_columns_of_few_values(options, cut):
    rows = np.column_stack([X[:, 0], SEX, X[:, 1], STAGE, np.where(SEX, 0.5, 1.5)])
    details = told(fastem.fit, cut(rows), 2, max_iter=0, rng=0, **options)[WarningCause.FEW_VALUES]
    assert details.startswith("In the rows looked at, column 1 has only the values 0 and 1, column 3 has ")
    assert "column 3 has only the values 1, 2, 3 and 4, column 4" in details
    assert "column 4 has only the values 0.5 and 1.5" in details
    kinds = {0: "gaussian", 1: "bernoulli", 2: "gaussian", 3: "categorical", 4: "categorical"}
    assert f"distribution={kinds}" in details
    assert told(fastem.fit, cut(rows), 2, distribution=kinds, max_iter=0, rng=0) == {}


def test_counts_may_be_poisson():
    rows = np.column_stack([RNG.poisson(2, 400), RNG.integers(0, 11, 400), STAGE])
    details = told(fastem.fit, rows, 1)[WarningCause.FEW_VALUES]
    assert "9 and 10, column 2 has only" in details
    assert details.endswith('suits X. If column 0 or 1 counts something, "poisson" may suit it.')


@pytest.mark.parametrize("cut", [np.asarray, in_chunks])
def test_columns_in_which_each_row_has_its_own_category(cut):
    rows = np.column_stack([STAGE, np.arange(400.0), X[:, 0]])
    details = told(fastem.fit, cut(rows), 2, distribution="categorical", max_iter=0, rng=0)
    assert details[WarningCause.MANY_CATEGORIES] == "Columns 1 and 2 have up to 400 categories in 400 rows."
    kinds = {0: "categorical", 1: "categorical", 2: "gaussian"}
    details = told(fastem.select, cut(rows), [1], distribution=kinds, rng=0)
    assert details == {WarningCause.MANY_CATEGORIES: "Column 1 has up to 400 categories in 400 rows."}
    assert (
        told(fastem.fit, np.repeat(rows, 2, axis=0), 2, distribution="categorical", max_iter=0, rng=0) == {}
    )


def test_a_questionnaire_is_told_in_a_few_words():
    answers = RNG.integers(1, 6, size=(400, 20))
    details = told(fastem.fit, answers, 2, max_iter=0, rng=0)[WarningCause.FEW_VALUES]
    assert "columns 0, 1, 2, 3, 4, 5, 6, 7 and 12 others have only the values 1, 2, 3, 4 and 5." in details
    assert details.endswith('Perhaps distribution="categorical" suits X.')
    both = np.column_stack([X, answers])
    details = told(fastem.fit, both, 2, max_iter=0, rng=0)[WarningCause.FEW_VALUES]
    assert "Perhaps" not in details  # a dict of so many columns would be no help


def test_they_are_told_once_and_where_they_matter():
    rows = np.column_stack([X, SEX])
    options = {"covariance_type": ["diag", "spherical"], "rng": 0}
    assert set(told(fastem.select, rows, [1, 2], **options)) >= {WarningCause.FEW_VALUES}
    assert told(fastem.kmeans, rows, 2, rng=0) == {}
    assert told(fastem.fit, X, 2, sample_weight=STAGE, labels=SEX, rng=0) == {}
    kinds = {0: "gaussian", 1: "gaussian", 2: "gaussian", 3: "bernoulli"}
    assert WarningCause.FEW_VALUES not in told(fastem.fit, np.column_stack([X, SEX]), 2, distribution=kinds)
    weighted = np.column_stack([X, np.where(SEX, X[:, 0], 0.0)])  # the zeros have no weight
    assert WarningCause.FEW_VALUES not in told(fastem.fit, weighted, 2, sample_weight=SEX, rng=0)


@pytest.mark.parametrize(
    "rows",
    [
        old_faithful(),
        np.rint(10 * X),
        np.rint(X),  # whole numbers on both sides of 0
        np.round(RNG.normal(5, 0.1, (400, 2)), 1),
        RNG.integers(0, 256, (400, 3), np.uint8),
        RNG.integers(0, 2, (30, 3)) + 0.0,  # too few rows to tell
        np.where(np.arange(40_000)[:, None] < 39_000, 0.0, RNG.gamma(2.0, 1.0, (40_000, 1))),
    ],
    ids=["geyser", "tens", "rounded", "tenths", "photo", "few rows", "zeros"],
)
def test_measurements_are_not_few_values(rows):
    assert WarningCause.FEW_VALUES not in told(fastem.fit, rows, 1)


@pytest.mark.parametrize("turns", ["first", "in turn"])
def test_rows_without_few_values_are_met_wherever_they_are(turns):
    few = np.arange(1_600) < 900 if turns == "first" else np.arange(1_600) % 3 == 0
    for n in (1_000, 1_600):
        column = np.where(few, np.arange(1_600) % 2, np.random.default_rng(0).normal(size=1_600))[:n, None]
        assert WarningCause.FEW_VALUES not in told(fastem.fit, column, 1)


def test_blocks_of_dask_tell_of_few_values():
    array = pytest.importorskip("dask.array")
    rows = array.from_array(np.column_stack([X, SEX]), chunks=(150, 4))
    details = told(fastem.fit, rows, 2, max_iter=0, rng=0)[WarningCause.FEW_VALUES]
    assert details.startswith("In the rows looked at, column 3 has only the values 0 and 1.")


NAMED = {
    "a constant": ([np.full(400, 3.0)], "column 3 is constant", ("full", "tied", "diag")),
    "a sum": ([X[:, 0] - 2 * X[:, 1]], "columns 0, 1 and 3 are collinear", ("full", "tied")),
    "two pairs": (
        [1e6 * X[:, 0], 5 - X[:, 2]],
        "columns 0 and 3 are collinear, and columns 2 and 4 are collinear",
        ("full", "tied"),
    ),
    "both": (
        [np.full(400, -1e3), X[:, 1] + 7],
        "column 3 is constant, and columns 1 and 4 are collinear",
        ("full", "tied"),
    ),
}


@pytest.mark.parametrize("options", [{}, {"dtype": np.float32}, {"distribution": "student"}])
@pytest.mark.parametrize("more", NAMED)
def test_columns_in_which_a_component_is_singular(more, options):
    columns, text, types = NAMED[more]
    options = {"init": "k-means++", "rng": 0, "dtype": np.float64, **options}
    rows = np.column_stack([X, *columns]).astype(options.pop("dtype"))
    for kind in types if "distribution" not in options else types[:1]:
        found = told(fastem.fit, rows, 2, covariance_type=kind, **options)
        whose = "In each component" if kind == "tied" else "In components 0, 1"
        (details,) = found.values()  # the cause may be MASS, since all rows are in a plane
        assert f"{whose}: {text}." in details
    if more != "both" and not options.get("distribution"):
        for kind in {"spherical", "diag"} - set(types):
            assert told(fastem.fit, rows, 2, covariance_type=kind, **options) == {}


def test_names_of_singular_columns_and_one_component_alone():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    labels = np.arange(400) % 2
    rows = pandas.DataFrame(RNG.normal(size=(400, 3)) + 8 * labels[:, None], columns=["a", "b", "c"])
    rows.loc[labels == 1, "b"] = 8.0
    for kind in ("full", "diag"):
        details = told(fastem.fit, rows, 2, init=labels, covariance_type=kind)[WarningCause.MASS]
        assert "In component 1: column 'b' is constant or nearly so." in details
    kinds = {"a": "gaussian", "b": "gaussian", "c": "gaussian", "same": "lognormal"}
    details = told(fastem.fit, rows.assign(same=2.0, b=X[:, 0]), 2, distribution=kinds, init=labels)
    assert "In components 0, 1: column 'same' is constant." in details[WarningCause.DEGENERATE]


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_columns_that_are_constant_in_components_alone(kind):
    labels = np.arange(400) % 2
    depends = labels + 1e-5 * X[:, 0]  # nearly constant in each component
    rows = np.column_stack([depends, 2 * depends, X[:, 1], np.full(400, 3.0)])
    (details,) = told(fastem.fit, rows, 2, init=labels, covariance_type=kind).values()
    whose = "In each component" if kind == "tied" else "In components 0, 1"
    assert f"{whose}: column 3 is constant, and columns 0 and 1 are constant or nearly so." in details


def test_a_component_of_few_rows():
    labels = np.minimum(np.arange(400), 1)
    labels[:3] = 0
    details = told(fastem.fit, X, 2, init=labels, max_iter=0)[WarningCause.DEGENERATE]
    assert "In component 0: about 3 rows, too few for 3 columns." in details


@pytest.mark.parametrize("distribution", ["gaussian", "student"])
def test_fewer_rows_than_columns(distribution):
    labels = np.arange(50) % 2
    rows = np.random.default_rng(0).normal(size=(50, 100)) + 1.5 * labels[:, None]
    advice = "50 rows cannot tell the covariance matrix of 100 columns, not even of one component."
    prior = 'prior="default", ' if distribution == "gaussian" else ""
    remedy = f'Pass covariance_type="diag" or "spherical", {prior}or fewer columns.'
    options = {"distribution": distribution, "rng": 0}
    for kind, few in (("full", "about 25 rows"), ("tied", "50 rows in all")):
        details = told(fastem.fit, rows, 2, covariance_type=kind, **options)[WarningCause.DEGENERATE]
        assert f": {few}, too few for 100 columns. {advice} {remedy}" in details
    for kind in ("diag", "spherical"):
        model = fastem.fit(rows, 2, covariance_type=kind, **options)
        assert model.report.status is fastem.FitStatus.CONVERGED
        assert len(set(zip(labels, model.predict(rows), strict=True))) == 2
    details = told(fastem.fit, rows[:, :49], 2, **options)[WarningCause.DEGENERATE]
    assert "too few for 49 columns." in details
    assert "not even of one component" not in details


def test_select_tells_why_types_cannot_be_chosen():
    rows = np.column_stack([X, np.full(400, 2.0)])
    details = told(fastem.select, rows, [1, 2], rng=0)[WarningCause.DEGENERATE]
    assert details.startswith("All fits of 'full', 'tied', 'diag', none of which can be chosen: ")
    assert "column 3 is constant" in details
    assert told(fastem.select, X, [1, 2], rng=0) == {}


@pytest.mark.parametrize("cut", [np.asarray, in_chunks])
def test_columns_that_are_never_observed_together(cut):
    rows = np.column_stack([X, X[:, 0] + RNG.normal(size=400)])
    rows[:200, 0] = rows[200:, 3] = np.nan
    rows[7, 2], weights = np.nan, np.ones(400)
    options = {"max_iter": 0, "init": np.arange(400) % 2, "missing": "marginalise"}
    cause = WarningCause.NEVER_TOGETHER
    for kind in ({}, {"covariance_type": "tied"}, {"distribution": "student"}):
        details = told(fastem.fit, cut(rows), 2, **options, **kind)[cause]
        assert details == "Columns 0 and 3 are never observed together."
    own_kinds = {"distribution": dict.fromkeys(range(4), "gaussian")}
    silent = ({"covariance_type": "diag"}, own_kinds, {"prior": "default"})
    assert not any(cause in told(fastem.fit, cut(rows), 2, **options, **kind) for kind in silent)
    chosen = {"rng": 0, "missing": "marginalise", "covariance_type": ["diag", "full"]}
    assert cause in told(fastem.select, cut(rows), [1], **chosen)
    rows[5, 0], weights[5] = 1.0, 0
    assert cause in told(fastem.fit, rows, 2, sample_weight=weights, **options)
    assert cause not in told(fastem.fit, cut(rows), 2, **options)


def test_rows_whose_gaps_take_turns_need_no_pass_to_find_pairs():
    rows = np.random.default_rng(0).normal(size=(10_000, 3))
    gaps = rows.copy()
    rows[-1, 0] = gaps[::2, 0] = np.nan
    options = {"max_iter": 0, "init": np.arange(10_000) % 2, "missing": "marginalise"}

    def passes(rows):
        begun = []
        told(fastem.fit, lambda: begun.append(1) or iter([rows]), 2, **options)
        return len(begun)

    assert passes(gaps) == passes(rows)
