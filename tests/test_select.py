"""select: fits of several sizes and types, and the best of them."""

import json

import numpy as np
import pytest
from conftest import DATA

import fastem
from fastem import FitStatus
from fastem._sources.folds import Fold

REFERENCE = json.loads((DATA / "loglik.json").read_text())["models"]


@pytest.fixture(scope="module")
def rows():
    """Four clusters in three features."""
    rng = np.random.default_rng(3)
    centres = 6 * rng.normal(size=(4, 3))
    return centres[rng.integers(4, size=600)] + rng.normal(size=(600, 3))


@pytest.fixture(scope="module")
def selection(rows):
    return fastem.select(rows, range(1, 7), rng=0)


def likelihoods(selection):
    return [row.log_likelihood for row in selection.table]


def test_the_truth_is_found(selection, rows):
    assert selection.chosen.k == 4
    assert selection.chosen.covariance_type == "spherical"
    assert selection.best.n_components == 4
    assert selection.best is selection.models[selection.table.index(selection.chosen)]
    for criterion in ("icl", "held-out"):
        other = fastem.select(
            rows, range(2, 6), covariance_type="spherical", criterion=criterion, held_out=3, rng=0
        )
        assert other.chosen.k == 4


def test_the_table_agrees_with_the_models(selection, rows):
    assert [(row.k, row.covariance_type) for row in selection.table] == [
        (k, kind) for k in range(1, 7) for kind in ("full", "tied", "diag", "spherical")
    ]
    for row, model in zip(selection.table, selection.models, strict=True):
        assert (row.k, row.covariance_type) == (model.n_components, model.covariance_type)
        assert row.n_parameters == model.n_parameters
        assert row.status is model.report.status
        assert row.log_likelihood == pytest.approx(model.score(rows) * len(rows), abs=1e-6)
        assert row.bic == pytest.approx(model.bic(rows), abs=1e-6)
        assert row.icl == pytest.approx(model.icl(rows), abs=1e-6)
        assert row.aic == pytest.approx(model.aic(rows), abs=1e-6)
        assert row.held_out is None


def test_icl_is_bic_with_the_likeliest_components(selection, rows):
    """Biernacki, Celeux and Govaert (2000), as mclust computes it."""
    weight = np.random.default_rng(0).integers(0, 3, len(rows)).astype(np.float64)
    model = selection.models[5]
    unsure = -2 * (weight * np.log(model.predict_proba(rows).max(axis=1))).sum()
    assert model.icl(rows, weight) == pytest.approx(model.bic(rows, weight) + unsure, rel=1e-12)
    assert model.icl(lambda: iter([rows])) == pytest.approx(model.icl(rows), rel=1e-12)


def test_more_components_do_not_lower_the_likelihood(selection):
    for kind in ("full", "tied", "diag", "spherical"):
        column = [row.log_likelihood for row in selection.table if row.covariance_type == kind]
        assert (np.diff(column) > -0.06).all()  # tol times the number of rows


@pytest.mark.parametrize(("data_set", "ks"), [("faithful", 4), ("waiting", 3)])
def test_the_references_are_reached(data_set, ks, faithful):
    X = faithful if data_set == "faithful" else faithful[:, 1:]
    chosen = fastem.select(X, range(1, ks), tol=1e-8, max_iter=2000, rng=0)
    letters = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}
    if data_set == "waiting":  # with one feature there are two types
        assert [row.covariance_type for row in chosen.table[:2]] == ["full", "tied"]
        letters = {"full": "VII", "tied": "EII"}
    known = [
        (row, REFERENCE[name])
        for row in chosen.table
        if (name := f"{data_set}|{letters[row.covariance_type]}|{row.k}") in REFERENCE
    ]
    assert known
    for row, expected in known:
        assert row.log_likelihood >= expected["loglik"] - 1e-3


def test_the_choice_of_mclust(faithful, iris):
    """By BIC, Mclust 6.0.0 chooses EEE with three components, and among these four types too."""
    chosen = fastem.select(faithful, rng=0).chosen
    assert (chosen.k, chosen.covariance_type) == (3, "tied")
    assert chosen.bic == pytest.approx(2314.3, abs=0.05)
    chosen = fastem.select(faithful, rng=0, criterion="icl").chosen
    assert (chosen.k, chosen.covariance_type) == (2, "full")
    assert chosen.icl == pytest.approx(2322.70, abs=0.05)
    chosen = fastem.select(iris, rng=0).chosen
    assert (chosen.k, chosen.covariance_type) == (2, "full")


def test_the_same_table_for_any_threads_and_source(rows, tmp_path):
    options = {"k": range(1, 4), "covariance_type": ("full", "diag"), "rng": 5}
    expected = fastem.select(rows, **options, n_threads=1)
    for X in (rows, np.asfortranarray(rows), lambda: iter(np.array_split(rows, 7))):
        assert likelihoods(fastem.select(X, **options)) == likelihoods(expected)
    held = [
        fastem.select(X, **options, criterion="held-out", held_out=0.3)
        for X in (rows, lambda: iter(np.array_split(rows, 7)))
    ]
    assert likelihoods(held[0]) == likelihoods(held[1]) == likelihoods(expected)
    np.testing.assert_allclose(*([row.held_out for row in one.table] for one in held), rtol=1e-14)


@pytest.mark.slow
def test_tables_parquet_and_dask(rows, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    da = pytest.importorskip("dask.array")
    weight = np.random.default_rng(0).integers(0, 3, len(rows)).astype(np.float64)
    columns = {"a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2], "w": weight}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=100)
    options = {"k": (3, 4), "covariance_type": "full", "criterion": "held-out", "held_out": 2, "rng": 0}
    expected = fastem.select(rows, sample_weight=weight, **options)
    streamed = fastem.select(tmp_path / "x.parquet", sample_weight="w", **options)
    assert likelihoods(streamed) == likelihoods(expected)
    assert streamed.best.feature_names == ("a", "b", "c")
    blocks = fastem.select(da.from_array(rows, chunks=(150, 3)), sample_weight=weight, **options)
    for row, other in zip(blocks.table, expected.table, strict=True):
        assert row.held_out == pytest.approx(other.held_out, rel=1e-6)
        assert row.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-6)


def test_held_out_rows_do_not_help_their_own_fit(rows):
    """The score of a fold is that of a fit to the other rows."""
    selection = fastem.select(rows, 4, covariance_type="spherical", criterion="held-out", held_out=5, rng=0)
    (row,) = selection.table
    assert row.held_out < row.log_likelihood / len(rows)
    assert row.held_out == pytest.approx(row.log_likelihood / len(rows), abs=0.1)


def test_folds_are_balanced_and_held_out_once():
    seen = np.zeros(103, int)
    for number in range(5):
        held = Fold(7, 5, number)(0, 103)
        assert 20 <= held.sum() <= 23
        np.testing.assert_array_equal(Fold(7, 5, number, others=True)(0, 103), ~held)
        np.testing.assert_array_equal(Fold(7, 5, number)(10, 60), held[10:60])
        seen += held
    assert (seen == 1).all()
    assert abs(Fold(7, 0.2)(0, 10_000).mean() - 0.2) < 0.02


def test_a_criterion_that_is_not_finite_is_not_chosen():
    X = np.r_[np.zeros((40, 2), int), [[7, 9]], [[8, 8]]]
    selection = fastem.select(X, (1, 2), distribution="categorical", criterion="held-out", rng=0)
    assert all(row.held_out == -np.inf for row in selection.table)
    with pytest.raises(ValueError, match="not finite"):
        assert selection.best
    assert "none can be chosen" in repr(selection)


def test_other_distributions():
    rng = np.random.default_rng(1)
    counts = rng.poisson(np.where(rng.random((500, 1)) < 0.4, 2.0, 15.0), (500, 2))
    selection = fastem.select(counts, range(1, 4), distribution="poisson", rng=0)
    assert selection.chosen.k == 2
    assert selection.chosen.covariance_type is None
    assert "best: 2 components" in repr(selection)


def test_degenerate_fits_are_not_chosen():
    """Eight full covariances are too many for thirty rows."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    selection = fastem.select(X, range(1, 13), covariance_type="full", rng=0)
    spoilt = [row for row in selection.table if row.degenerate]
    assert spoilt
    assert min(row.bic for row in spoilt) < selection.chosen.bic
    assert not selection.chosen.degenerate
    assert f"({spoilt[0].bic:.3f})" in repr(selection)
    with pytest.warns(fastem.FitWarning, match="DEGENERATE"):
        nothing = fastem.select(np.ones((20, 2)), (1, 2), covariance_type="full", rng=0)
    with pytest.raises(ValueError, match="all are degenerate"):
        assert nothing.best
    assert "none can be chosen" in repr(nothing)


def test_an_interrupt_keeps_what_is_finished(rows):
    def interrupt(candidate, model):
        if candidate.k == 3:
            raise KeyboardInterrupt

    with pytest.raises(fastem.FitInterrupted, match="3 fits that were finished") as caught:
        fastem.select(rows, range(1, 9), covariance_type="diag", rng=0, callback=interrupt)
    kept = caught.value.selection
    assert [row.k for row in kept.table] == [1, 2, 3]
    assert caught.value.model is kept.best
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)


def test_a_callback_stops(rows):
    seen = []

    def stop(candidate, model):
        seen.append((candidate.k, model.n_components))
        return candidate.k == 2

    selection = fastem.select(rows, range(1, 9), covariance_type="diag", rng=0, callback=stop)
    assert seen == [(1, 1), (2, 2)]
    assert [row.k for row in selection.table] == [1, 2]


def test_a_source_that_is_lost(rows):
    passes = 0

    def chunks():
        nonlocal passes
        passes += 1
        if passes > 12:
            raise OSError("the disk is gone")
        return iter([rows])

    with pytest.raises(fastem.FitInterrupted, match="the disk is gone") as caught:
        fastem.select(chunks, range(1, 9), covariance_type="diag", rng=0)
    assert caught.value.selection.table


def test_fits_that_did_not_converge_are_told_once(rows):
    with pytest.warns(fastem.FitWarning) as caught:
        selection = fastem.select(rows, (5, 6), covariance_type="full", max_iter=1, tol=1e-9, rng=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert FitStatus.MAX_ITER in {row.status for row in selection.table}


def test_named_starts_and_one_k(rows):
    selection = fastem.select(rows, 4, covariance_type="tied", init="k-means++", n_init=3, rng=0)
    assert len(selection.table) == 1
    assert selection.best.n_components == 4


def test_to_pandas(selection):
    frame = pytest.importorskip("pandas") and selection.table.to_pandas()
    assert list(frame.columns) == list(fastem.Candidate._fields)
    assert frame.status.tolist() == [row.status.name for row in selection.table]


def test_repr(selection):
    text = repr(selection)
    assert text.startswith("Selection by bic (lower is better) of 24 fits\nbest: 4 components, spherical\n")
    assert text.count("*") == 1
    assert "<pre>Selection by bic" in selection._repr_html_()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": ()}, "k must have at least one"),
        ({"k": 0}, "k must be an integer of at least 1"),
        ({"k": "3"}, "k must be an integer"),
        ({"k": (1, 2.5)}, "k must be an integer"),
        ({"k": (1, 700)}, "k"),
        ({"criterion": "BIC"}, "criterion must be one of"),
        ({"criterion": "held-out", "held_out": 1}, "held_out must be an integer of at least 2"),
        ({"criterion": "held-out", "held_out": 601}, "held_out must be at most the number of rows"),
        ({"criterion": "held-out", "held_out": 1e-9}, "held_out must leave rows"),
        ({"k": range(10**12)}, "k must have at most 10000"),
        ({"covariance_type": [["full"]]}, "covariance_type must be one of"),
        ({"sample_weight": np.full(600, 1 / 600)}, "sample_weight must count rows"),
        ({"rng": np.random}, "rng must be None, an int or a numpy.random.Generator"),
        ({"criterion": "held-out", "held_out": 1.5}, "held_out must be a number of folds, or a share"),
        ({"labels": np.arange(600) % 3}, "k must be more than the largest known label, 2"),
        ({"covariance_type": ()}, "covariance_type must name at least one"),
        ({"covariance_type": ("full", "round")}, "covariance_type must be one of"),
        ({"init": np.zeros(600, int)}, "init must be one of"),
        ({"callback": 3}, "callback must be callable"),
        ({"distribution": "poisson", "covariance_type": "full"}, "covariance_type must be left out"),
    ],
)
def test_bad_options(options, message, rows):
    with pytest.raises((ValueError, TypeError), match=message):
        fastem.select(rows, **options)


def test_select_shows_progress(rows, capsys):
    pytest.importorskip("tqdm")
    fastem.select(rows, (1, 2), covariance_type="diag", rng=0, progress=True)
    assert "select" in capsys.readouterr().err
