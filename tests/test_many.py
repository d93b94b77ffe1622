"""`fit_many` against single fits."""

import warnings

import numpy as np
import pandas as pd
import pytest

import fastem
from fastem._api import many


def clusters(n: int, seed: int, d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, d)) + 6 * rng.integers(0, 2, (n, 1))


# Small sets are fitted one after another, larger ones in threads.
@pytest.mark.parametrize("size", [60, 5000])
def test_each_fit_is_the_single_one_bit_for_bit(size):
    sets = [clusters(size + 7 * i, i) for i in range(5)]
    for n_threads in (1, 2):
        models = fastem.fit_many(sets, 2, rng=3, n_threads=n_threads)
        for X, model in zip(sets, models, strict=True):
            alone = fastem.fit(X, 2, rng=3)
            np.testing.assert_array_equal(model.means, alone.means)
            np.testing.assert_array_equal(model.covariances, alone.covariances)
            assert model.report.history == alone.report.history


def test_groups_part_the_rows_of_arrays_and_tables():
    X = clusters(300, 0)
    groups = np.random.default_rng(1).permutation(np.repeat(["c", "a", "b"], 100))
    weight = np.linspace(0.5, 2, 300)
    wanted = [
        fastem.fit(X[groups == g], 2, sample_weight=weight[groups == g], rng=0, covariance_type="diag")
        for g in "abc"
    ]
    table = pd.DataFrame(X, columns=["x", "y"])
    made = [
        fastem.fit_many(X, 2, groups=groups, sample_weight=weight, rng=0, covariance_type="diag"),
        fastem.fit_many(
            table.assign(g=groups, w=weight), 2, groups="g", sample_weight="w", rng=0, covariance_type="diag"
        ),
    ]
    for models in made:
        for model, alone in zip(models, wanted, strict=True):
            np.testing.assert_array_equal(model.means, alone.means)
    assert made[1][0].feature_names == ("x", "y")


def test_gaps_and_noise_of_each_data_set():
    X = clusters(240, 0)
    X[::7, 0] = np.nan
    noise, groups = np.random.default_rng(1).uniform(0.1, 0.5, (240, 2)), np.arange(240) % 2
    sets, noises = ([array[groups == g] for g in (0, 1)] for array in (X, noise))
    options = {"missing": "marginalise", "rng": 0}
    wanted = [fastem.fit(own, 2, noise=there, **options) for own, there in zip(sets, noises, strict=True)]
    made = [
        fastem.fit_many(sets, 2, noise=noises, **options),
        fastem.fit_many(X, 2, groups=groups, noise=noise, **options),
    ]
    for models in made:
        for model, alone in zip(models, wanted, strict=True):
            np.testing.assert_array_equal(model.means, alone.means)
    masked = np.ma.masked_invalid(X)
    made = fastem.fit_many(masked, 2, groups=groups, noise=noise, **options)
    np.testing.assert_array_equal(made[1].means, wanted[1].means)
    (one, _), alone = fastem.fit_many(sets, 2, noise=np.full(2, 0.1), **options), np.full(2, 0.1)
    np.testing.assert_array_equal(one.means, fastem.fit(sets[0], 2, noise=alone, **options).means)


def test_noise_of_groups_with_as_many_rows_as_features_belongs_to_the_rows():
    X, noise = clusters(42, 0), np.random.default_rng(1).uniform(0.1, 0.5, (42, 2))
    groups = np.r_[np.zeros(40), 1, 1]
    _, small = fastem.fit_many(X, 1, groups=groups, noise=noise, rng=0)
    matrices = noise[-2:, :, None] * np.eye(2)
    np.testing.assert_allclose(small.means, fastem.fit(X[-2:], 1, noise=matrices, rng=0).means, rtol=1e-9)
    one, _ = fastem.fit_many(X, 1, groups=groups, noise=np.eye(2)[None], rng=0)
    np.testing.assert_array_equal(one.means, fastem.fit(X[:40], 1, noise=np.eye(2), rng=0).means)


def test_a_bad_data_set_raises_its_error_or_keeps_it_in_its_place():
    sets = [clusters(50, 0), np.full((50, 2), np.nan), clusters(1, 0), clusters(50, 1)]
    with pytest.raises(ValueError, match="NaN") as caught:
        fastem.fit_many(sets, 2, rng=0)
    assert "data set 1" in caught.value.__notes__[0]
    kept = fastem.fit_many(sets, 2, rng=0, on_error="keep")
    assert isinstance(kept[1], ValueError)
    assert isinstance(kept[2], ValueError)
    np.testing.assert_array_equal(kept[3].means, fastem.fit(sets[3], 2, rng=0).means)


@pytest.mark.parametrize("size", [40, 6000])
def test_one_warning_for_each_cause_names_the_data_sets(size):
    sets = [np.random.default_rng(i).standard_normal((size, 2)) for i in range(4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models = fastem.fit_many(sets, 2, init="k-means++", max_iter=1, rng=0, n_threads=2)
    late = [i for i, model in enumerate(models) if not model.report.converged]
    assert len(late) > 1
    assert [warning.message.cause.name for warning in caught] == ["MAX_ITER"]
    assert f"In {len(late)} of 4 data sets, first in data set {late[0]}" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_generator_gives_each_data_set_its_own():
    sets = [clusters(60, 0)] * 3
    one, other = (
        fastem.fit_many(sets, 2, init="random", max_iter=0, rng=np.random.default_rng(5)) for _ in range(2)
    )
    for model, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(model.means, same.means)
    assert not np.array_equal(one[0].means, one[1].means)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"datasets": np.zeros((5, 2))}, TypeError, "groups="),
        ({"datasets": "rows.csv"}, TypeError, "must be a sequence"),
        ({"datasets": [clusters(9, 0)], "sample_weight": [None, None]}, ValueError, "for each of the 1"),
        ({"datasets": [clusters(9, 0)], "tol": -1}, ValueError, "tol"),
        ({"datasets": [clusters(9, 0)], "on_error": "skip"}, ValueError, "on_error"),
        ({"datasets": [clusters(9, 0)], "n_component": 3}, TypeError, "unexpected argument"),
        ({"datasets": clusters(9, 0), "groups": np.zeros(8)}, ValueError, r"groups must have shape \(9,\)"),
        ({"datasets": clusters(2, 0), "groups": ["a", None]}, ValueError, "row 1 has none"),
        ({"datasets": clusters(2, 0), "groups": "a"}, ValueError, "name of a column"),
        (
            {"datasets": clusters(2, 0), "groups": np.ma.array([1, 2], mask=[0, 1])},
            ValueError,
            "row 1 has none",
        ),
        ({"datasets": lambda: iter([]), "groups": [0]}, TypeError, "first, or pass a list"),
        ({"datasets": {"a": clusters(9, 0)}}, TypeError, "datasets.values"),
        ({"datasets": [clusters(9, 0)], "sample_weight": 1.0}, TypeError, "one array for each"),
    ],
)
def test_bad_arguments(arguments, error, told):
    with pytest.raises(error, match=told):
        fastem.fit_many(arguments.pop("datasets"), 2, on_error=arguments.pop("on_error", "keep"), **arguments)


def test_an_error_ends_the_fits_that_are_running():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 2))
    sets = [np.full_like(rows, np.nan), rows, rows]
    with pytest.raises(ValueError, match="NaN"):
        fastem.fit_many(sets, 2, tol=0, max_iter=10**8, init="random", rng=0, n_threads=2)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_interrupt_ends_all_blocks(monkeypatch, n_threads):
    calls = []

    def interrupted(X, *_):
        calls.append(len(X))
        raise KeyboardInterrupt

    monkeypatch.setattr(many, "whole_models", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastem.fit_many(
            [np.random.default_rng(0).normal(size=(100, 2))] * 2000, 2, rng=0, n_threads=n_threads
        )
    assert sum(calls) <= (32 if n_threads == 1 else 1000)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_error_of_an_early_data_set_ends_the_others(monkeypatch, n_threads):
    sets = [np.random.default_rng(seed).normal(size=(100, 2)) for seed in range(2000)]
    sets[1][3] = np.nan
    calls, whole_models = [], many.whole_models

    def counted(X, *arguments):
        calls.append(len(X))
        return whole_models(X, *arguments)

    monkeypatch.setattr(many, "whole_models", counted)
    with pytest.raises(ValueError, match="NaN") as told:
        fastem.fit_many(sets, 2, rng=0, n_threads=n_threads)
    assert "data set 1" in told.value.__notes__[0]
    assert sum(calls) <= (32 if n_threads == 1 else 1000)


def test_no_data_sets():
    assert fastem.fit_many([], 2) == []
