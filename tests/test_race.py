"""The race of starts on a sample: which runs are given up, and when runs end."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fastem._em import race
from fastem._em.objective import Likelihood
from fastem._families.registry import family_of
from fastem._report import FitStatus
from fastem._sources.arrays import ArraySource
from fastem._sources.open import source_of
from fastem._typing import Rows

K, D, N, M = 6, 4, 20_000, 1_000


@pytest.fixture(scope="module")
def clusters():
    """The likelihood of clear clusters, that of a sample of them, its rows, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(K, size=N)
    X = 4 * rng.normal(size=(K, D))[labels] + rng.normal(size=(N, D))
    family, source = family_of("gaussian", "diag"), source_of(X, None, 1)
    whole = Likelihood(source, family, K, family.frame(source.moments(), source.dtype), None)
    rows = Rows("X", 0, X[:M])
    return whole, replace(whole, source=ArraySource(rows, 1)), rows, labels[:M]


@pytest.fixture
def runs(monkeypatch):
    """The runs that a race makes, in order."""
    made, ascend = [], race.ascend

    def kept(*args, **kwargs):
        made.append(ascend(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(race, "ascend", kept)
    return made


def test_a_sample_ends_where_its_own_noise_begins(clusters):
    whole, _, _, _ = clusters
    parameters = whole.family.n_parameters(K, D)
    limit = race._NOISE * parameters / (2 * M)
    rule, fine = race.rule_of_sample(whole, M), race.rule_of_sample(whole, N)
    assert 1e-6 < limit < 1e-2
    assert rule([-3.0, -3.0 + 2 * limit, -3.0 + 2.5 * limit])
    assert not rule([-3.0, -3.0 + 4 * limit, -3.0 + 5.5 * limit])
    assert not fine([-3.0, -3.0 + 2 * limit, -3.0 + 2.5 * limit])  # all rows are no sample
    assert race.rule_of_sample(whole, N // 2)([0.0, 1e-7, 1.5e-7])


def test_a_race_gives_up_what_cannot_win(clusters, runs):
    whole, sample, rows, true = clusters
    merged = np.where(true == 5, 4, true)  # one cluster of two, and one of a few rows
    merged[:20] = 5
    shuffled = np.random.default_rng(1).permutation(true)
    starts = [partial(race.labelled_start, sample, labels) for labels in (true, merged, shuffled)]
    won = race.best_run(sample, rows, starts, 5, race.rule_of_sample(whole, M))
    first, *others = runs
    assert first.status == FitStatus.CONVERGED
    assert len(runs) == 3  # the winner makes no run more
    assert won.parameters is first.parameters
    assert {run.status for run in others} == {FitStatus.STOPPED}
    assert all(2 <= len(run.history) < 6 and run.objective < first.objective for run in others)


def test_a_run_is_compared_with_the_last_that_goes_on(clusters, runs):
    _, sample, rows, true = clusters
    worse = true.copy()
    worse[:200] = np.roll(worse[:200], 1)
    shuffled = np.random.default_rng(1).permutation(true)
    starts = [partial(race.labelled_start, sample, labels) for labels in (true, worse, worse, shuffled)]
    race.best_run(sample, rows, starts, 4, lambda _: False, refined=0)  # two of four go on
    assert [len(run.history) for run in runs[:3]] == [5, 5, 5]
    assert runs[3].status == FitStatus.STOPPED
