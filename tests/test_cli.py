"""The command line."""

import errno
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastem
from fastem.__main__ import main
from fastem._em.objective import Likelihood
from fastem._tools.arguments import joined, numbers_of
from fastem.datasets import old_faithful


def test_demo(capsys):
    assert main(["demo", "--rows", "2000"]) == 0
    out = capsys.readouterr().out
    assert "log-likelihood -1130.2640" in out
    assert "CONVERGED" in out
    assert "2,000 points in 8 dimensions, 16 components" in out
    assert "one pass" in out


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for name in ("fastem", "numba", "threads", "SIMD width", "cache folder"):
        assert name in out
    assert fastem.__version__ in out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with Old Faithful as a .csv with a header."""
    monkeypatch.chdir(tmp_path)
    save_csv("x.csv", old_faithful(), "eruptions,waiting")
    return tmp_path


def save_csv(name, rows, header=""):
    np.savetxt(name, rows, delimiter=",", header=header, comments="")


def run(capsys, *arguments):
    """Run a command that must succeed, and return what it printed."""
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


FIT = ("-k", "2", "--seed", "0", "--tol", "1e-8")


def test_fit_a_csv(folder, capsys):
    out = run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    model = fastem.load("m.npz")
    assert model.summary() in out
    assert "log-likelihood -1130.26" in out
    assert model.feature_names == ("eruptions", "waiting")
    save_csv("bare.csv", old_faithful())
    run(capsys, "fit", "bare.csv", *FIT, "-o", "bare.npz")
    bare = fastem.load("bare.npz")
    assert bare.feature_names is None
    np.testing.assert_array_equal(bare.means, model.means)
    assert bare.report.log_likelihood == pytest.approx(-1130.26396)


def test_fit_a_npy(folder, capsys):
    np.save("x.npy", old_faithful())
    out = run(capsys, "fit", "x.npy", "-k", "3", "--covariance-type", "tied", "--seed", "0", "--columns", "1")
    assert "3 components" in out
    assert "1 feature," in out


def test_columns_and_distributions(folder, capsys):
    """Columns that are not chosen may hold text; a quoted header may hold commas."""
    lines = ['visits,"name, first",age', *(f"{i % 5 + 20 * (i % 2)},p{i},{i}" for i in range(60))]
    (folder / "people.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    options = "-k", "2", "--distribution", "poisson", "--columns", "visits", "-o", "m.npz"
    run(capsys, "fit", "people.csv", *options)
    model = fastem.load("m.npz")
    assert model.distribution == "poisson"
    assert model.feature_names == ("visits",)
    run(capsys, "predict", "m.npz", "people.csv", "-o", "labels.npy")
    labels = np.load("labels.npy")
    np.testing.assert_array_equal(labels, np.where(np.arange(60) % 2, labels[1], labels[0]))


def test_predict(folder, capsys):
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    model, X = fastem.load("m.npz"), old_faithful()
    assert "272 rows written" in run(capsys, "predict", "m.npz", "x.csv", "-o", "labels.npy")
    np.testing.assert_array_equal(np.load("labels.npy"), model.predict(X))
    save_csv("swapped.csv", X[:, ::-1], "waiting,eruptions")
    run(capsys, "predict", "m.npz", "swapped.csv", "-o", "labels.csv")
    np.testing.assert_array_equal(np.loadtxt("labels.csv", skiprows=1), model.predict(X))
    save_csv("renamed.csv", np.c_[X[:, 0], X], "a,b,c")
    chosen = "--columns", "b,c", "--proba"
    run(capsys, "predict", "m.npz", "renamed.csv", *chosen, "-o", "shares.csv")
    assert (folder / "shares.csv").read_text().startswith("label,component_0,component_1\n")
    shares = np.loadtxt("shares.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(shares, np.c_[model.predict(X), model.predict_proba(X)], atol=1e-8)
    run(capsys, "predict", "m.npz", "x.csv", "--proba", "-o", "shares.npy")
    np.testing.assert_array_equal(np.load("shares.npy"), model.predict_proba(X))
    assert not list(folder.glob("*.partial"))


def test_predict_by_k_means(folder, capsys):
    fastem.KMeans([[2.0, 55.0], [4.0, 80.0]]).save("m.npz")
    X = old_faithful()
    expected = fastem.load("m.npz").predict(X)
    run(capsys, "predict", "m.npz", "x.csv", "-o", "labels.csv", "--columns", "eruptions,waiting")
    np.testing.assert_array_equal(np.loadtxt("labels.csv", skiprows=1), expected)


def test_parquet(folder, capsys):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    X = old_faithful()
    (folder / "parts").mkdir()
    for name, rows in (("a", X[:100]), ("b", X[100:])):
        columns = {"waiting": rows[:, 1], "place": ["Yellowstone"] * len(rows), "eruptions": rows[:, 0]}
        parquet.write_table(pyarrow.table(columns), f"parts/{name}.parquet")
    run(capsys, "fit", "parts", *FIT, "--columns", "eruptions,waiting", "-o", "m.npz")
    model = fastem.load("m.npz")
    assert model.report.log_likelihood == pytest.approx(-1130.26396)
    run(capsys, "predict", "m.npz", "parts", "-o", "labels.csv")
    np.testing.assert_array_equal(np.loadtxt("labels.csv", skiprows=1), model.predict(X))
    run(capsys, "predict", "m.npz", "parts/b.parquet", "--proba", "-o", "shares.npy")
    np.testing.assert_array_equal(np.load("shares.npy"), model.predict_proba(X[100:]))
    assert main(["fit", "parts", "-k", "2"]) == 1
    assert "place" in capsys.readouterr().err


def test_score(folder, capsys):
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    model, X = fastem.load("m.npz"), old_faithful()
    scores = model.score_samples(X)
    assert f"272 rows, mean log-density {scores.mean():.9g}" in run(capsys, "score", "m.npz", "x.csv")
    out = run(capsys, "score", "m.npz", "x.csv", "--flag", "0.02")
    threshold = model.threshold(X, 0.02)
    assert f"5 rows flagged, with a log-density below {threshold!r}" in out
    rows = [int(line.split()[0]) for line in out.splitlines()[3:]]
    assert rows == np.argsort(scores)[:5].tolist()
    for name in ("d.csv", "d.npy", "d.parquet"):
        assert f"written to {name}" in run(capsys, "score", "m.npz", "x.csv", "--below", "-6", "-o", name)
    np.testing.assert_array_equal(np.load("d.npy"), scores)
    written = np.loadtxt("d.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(written, np.c_[scores, scores < -6])
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table("d.parquet")
    np.testing.assert_array_equal(table["log_density"], scores)
    np.testing.assert_array_equal(table["flagged"], scores < -6)


def test_columns_of_the_file_are_kept_as_they_are(folder, capsys):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    X = old_faithful()
    lines = ['name,"waiting",eruptions', *(f'"p, {i}",{w:.3f},{e}' for i, (e, w) in enumerate(X))]
    (folder / "named.csv").write_text("\n\n".join(lines), encoding="utf-8")  # blank lines are no rows
    model = fastem.GaussianMixture(
        [0.5, 0.5], [[2, 55], [4, 80]], [np.diag([0.1, 30])] * 2, feature_names=["eruptions", "waiting"]
    )
    model.save("m.npz")
    labels = model.predict(X)
    run(capsys, "predict", "m.npz", "named.csv", "--keep", "-o", "kept.csv")
    kept = (folder / "kept.csv").read_text(encoding="utf-8").splitlines()
    assert kept == ["name,waiting,eruptions,label"] + [
        f"{line},{label}" for line, label in zip(lines[1:], labels, strict=True)
    ]
    names = pyarrow.array([f"p{i}" for i in range(272)]).dictionary_encode()
    table = pyarrow.table({"waiting": X[:, 1].astype(int), "name": names, "eruptions": X[:, 0]})
    (folder / "parts").mkdir()
    parquet.write_table(table[:100], "parts/a.parquet", row_group_size=30)
    parquet.write_table(table[100:], "parts/b.parquet", row_group_size=70)
    run(capsys, "predict", "m.npz", "parts", "--keep", "-o", "kept.parquet")
    kept = parquet.read_table("kept.parquet")
    assert kept.select(table.column_names) == table
    np.testing.assert_array_equal(kept["label"], labels)


def test_kmeans(folder, capsys):
    out = run(capsys, "kmeans", "x.csv", "-k", "2", "--seed", "0", "--n-init", "2", "-o", "c.npz")
    model = fastem.load("c.npz")
    assert model.feature_names == ("eruptions", "waiting")
    assert model.inertia == pytest.approx(fastem.kmeans(old_faithful(), 2, rng=0).inertia)
    assert "inertia=8901.77" in out
    assert "saved to c.npz" in out
    run(capsys, "predict", "c.npz", "x.csv", "-o", "labels.npy")
    np.testing.assert_array_equal(np.load("labels.npy"), model.predict(old_faithful()))


@pytest.fixture
def interrupt(monkeypatch):
    """Make a later E-step raise KeyboardInterrupt, as Ctrl-C does."""

    def at(number):
        real, passes = Likelihood.e_step, []

        def e_step(*arguments):
            passes.append(1)
            if len(passes) == number:
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(Likelihood, "e_step", e_step)

    return at


def test_an_interrupted_fit_is_saved_and_can_go_on(folder, capsys, interrupt):
    interrupt(3)
    started = "fit", "x.csv", "-k", "2", "--init", "k-means++", "--seed", "0", "-o", "m.npz"
    assert main(list(started)) == 130
    captured = capsys.readouterr()
    assert "saved to m.npz" in captured.out
    model = fastem.load("m.npz")
    log_likelihood = model.score(old_faithful()) * 272
    assert captured.err.splitlines()[-2:] == [
        f"The fit ended early after 1 iteration at log-likelihood {log_likelihood:.10g}. What is printed is "
        "the model so far; go on with --init m.npz.",
        "fastem: interrupted",
    ]
    assert model.report is None
    assert model.feature_names == ("eruptions", "waiting")
    out = run(capsys, "fit", "x.csv", "-k", "2", "--init", "m.npz", "-o", "m.npz")
    assert "log-likelihood -1130.26" in out


def test_an_interrupt_before_there_is_a_model(folder, capsys, interrupt):
    interrupt(1)
    assert main(["fit", "x.csv", "-k", "2", "--init", "k-means++", "-o", "m.npz"]) == 130
    assert capsys.readouterr().err == "fastem: interrupted\n"
    assert not (folder / "m.npz").exists()


def test_an_interrupted_selection_prints_its_table(folder, capsys, interrupt):
    interrupt(30)
    options = "-k", "1:9", "--covariance-type", "full", "--seed", "0", "-o", "best.npz"
    assert main(["select", "x.csv", *options]) == 130
    captured = capsys.readouterr()
    assert "Selection by bic" in captured.out
    assert "saved to best.npz" in captured.out
    assert captured.err.endswith("fits that were finished.\nfastem: interrupted\n")
    assert fastem.load("best.npz").n_components < 9


def test_an_interrupted_prediction_leaves_nothing_half_written(folder, capsys, monkeypatch):
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastem.Mixture, "predict", interrupted)
    assert main(["predict", "m.npz", "x.csv", "-o", "l.parquet"]) == 130
    assert capsys.readouterr().err == "fastem: interrupted\n"
    assert not list(folder.glob("l.*"))


def test_a_model_to_go_on_from_picks_its_columns_by_name(folder, capsys):
    """A .csv may have them in another order, and others beside them."""
    pytest.importorskip("matplotlib")
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    model, X = fastem.load("m.npz"), old_faithful()
    lines = ["place,waiting,eruptions", *(f"p{i},{float(w)!r},{float(e)!r}" for i, (e, w) in enumerate(X))]
    (folder / "wide.csv").write_text("\n".join(lines))
    command = "fit wide.csv -k 2 --init m.npz --max-iter 0 -o n.npz --plot p.png"
    assert "INITIAL" in run(capsys, *command.split())
    same = fastem.load("n.npz")
    assert same.feature_names == model.feature_names
    np.testing.assert_allclose(same.means, model.means, rtol=1e-12)
    assert same.report.log_likelihood == pytest.approx(model.report.log_likelihood, rel=1e-12)


def test_columns_of_a_file_without_names_are_numbers(folder, capsys):
    pytest.importorskip("matplotlib")
    X = old_faithful()
    save_csv("bare.csv", np.c_[X[:, 1], np.zeros(272), X[:, 0]])
    chosen = "--columns", "2,0"
    run(capsys, "fit", "bare.csv", *FIT, *chosen, "-o", "m.npz", "--plot", "p.png")
    model = fastem.load("m.npz")
    assert model.feature_names is None
    run(capsys, "predict", "m.npz", "bare.csv", *chosen, "--keep", "-o", "kept.csv")
    kept = (folder / "kept.csv").read_text().splitlines()
    assert kept[0] == "column_0,column_1,column_2,label"
    assert [int(line.split(",")[3]) for line in kept[1:]] == model.predict(X).tolist()


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line_and_name_columns(folder, capsys):
    rows = np.c_[old_faithful()[:, 1], np.arange(272) % 2]
    save_csv("few.csv", rows, "waiting,smoker")
    assert main(["fit", "few.csv", "-k", "2", "--init", "random", "--tol", "1e-12", "--max-iter", "2"]) == 0
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 2
    assert all(line.startswith("fastem: warning: ") for line in captured.err.splitlines())
    assert "'smoker'" in captured.err
    assert "Raise --max-iter or tol, or continue the fit with --init MODEL.npz." in captured.err


def test_a_negative_number_is_not_an_option(folder, capsys):
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    for below, flagged in (("-1e9", 0), ("-inf", 0), ("-1e-05", 272), ("-.5e1", 39)):
        out = run(capsys, "score", "m.npz", "x.csv", "--below", below)
        assert f"\n{flagged} rows flagged" in out
        assert ("log_density" in out) == (flagged > 0)
    assert "\n0 rows flagged" in run(capsys, "score", "m.npz", "x.csv", "--flag", "0")
    assert joined(["accelerate", "s.py", "--x", "-1e5"]) == ["accelerate", "s.py", "--x", "-1e5"]


def test_what_cannot_be_written_is_told_before_the_work_or_after_the_model(folder, capsys, monkeypatch):
    if Path("/proc").is_dir():
        for command in ("fit nothing.csv -k 2 -o /proc/m.npz", "score nothing x.csv -o /proc/o.csv"):
            assert main(command.split()) == 1
            assert "--output must be a file that can be written; '/proc/" in capsys.readouterr().err
    run(capsys, "fit", "x.csv", *FIT, "-o", "m.npz")
    before = (folder / "m.npz").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fastem.GaussianMixture, "save", full)
    assert main(["fit", "x.csv", *FIT, "-o", "m.npz"]) == 1
    captured = capsys.readouterr()
    assert "log-likelihood -1130.26" in captured.out
    assert "fastem: 'm.npz' could not be written: No space left on device. Make room" in captured.err
    assert (folder / "m.npz").read_bytes() == before
    assert not list(folder.glob("*.partial"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("name", ["o.csv", "o.npy", "o.parquet"])
def test_rows_on_a_full_disk(name, folder, capsys):
    pytest.importorskip("pyarrow")
    (folder / name).symlink_to("/dev/full")
    fastem.KMeans([[2.0, 55.0], [4.0, 80.0]]).save("m.npz")
    assert main(["predict", "m.npz", "x.csv", "-o", name]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fastem: '{name}' could not be written: ")
    assert error.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows break in another way")
def test_a_reader_that_has_enough_is_no_error():
    command = [sys.executable, "-m", "fastem", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_one_fit_takes_one_number(folder, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "x.csv", "-k", "1:6"])
    assert "python -m fastem select FILE -k 1:6" in capsys.readouterr().err


def test_select(folder, capsys):
    pytest.importorskip("matplotlib")
    out = run(capsys, "select", "x.csv", "-k", "1:4", "--seed", "0", "-o", "best.npz", "--plot", "p.png")
    assert "best: 3 components, tied" in out
    model = fastem.load("best.npz")
    assert (model.n_components, model.covariance_type) == (3, "tied")
    assert model.feature_names == ("eruptions", "waiting")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    out = run(capsys, "select", "x.csv", "-k", "1,2", "--covariance-type", "full", "--criterion", "icl")
    assert "Selection by icl" in out
    assert "of 2 fits" in out
    out = run(capsys, "select", "x.csv", "-k", "1,2", "--covariance-type", "full", "--held-out", "0.3")
    assert "Selection by held-out" in out
    assert numbers_of("1:99999999999") == range(1, 100_000_000_000)
    with pytest.raises(SystemExit):
        main(["select", "x.csv", "-k", "few"])
    assert "1:10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["select", "x.csv", "-k", "3:1"])
    assert "argument -k: '3:1' has no numbers" in capsys.readouterr().err


def test_a_plot(folder, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    assert "drawn to p.png" in run(capsys, "fit", "x.csv", *FIT, "--plot", "p.png")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["fit", "x.csv", *FIT, "--plot", "p.png"]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err


def test_a_terminal_gets_a_progress_bar(folder, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    run(capsys, "fit", "x.csv", *FIT)
    assert "EM:" in terminal.getvalue()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit nothing.csv -k 2", "there is no 'nothing.csv'"),
        ("fit x.txt -k 2", "FILE must end in .csv, .npy or .parquet"),
        ("fit x.csv -k 0", "k must be an integer of at least 1"),
        ("fit x.csv -k 300", "k must be at most the number of rows; got k=300 and 272 rows"),
        (
            "fit x.csv -k 2 --columns eruption",
            "must name columns of X, ['eruptions', 'waiting']; got 'eruption'",
        ),
        ("fit x.csv -k 2 --columns waiting,waiting", "columns must name each column once"),
        ("fit x.csv -k 2 --distribution poisson", "whole numbers"),
        ("fit text.csv -k 2", "row 1 (line 3), column 'b' is 'x'"),
        ("fit text.csv -k 2", "Text goes with --distribution categorical."),
        ("fit same.csv -k 2", "columns of different names"),
        ("fit head.csv -k 2", "at least one row"),
        ("fit bytes.csv -k 2", "must be text in UTF-8"),
        ("fit x.csv -k 2 -o none/m.npz", "--output must be in a folder that exists; got 'none/m.npz'"),
        ("fit line.npy -k 2", "2-D array"),
        ("fit objects.npy -k 2", "must be a .npy file of numbers"),
        ("fit empty.npy -k 2", "must be a .npy file of numbers"),
        ("fit nothing -k 2", "there is no 'nothing'"),
        ("predict nothing.npz x.csv -o o.csv", "MODEL must be a file that fit, select or kmeans has saved"),
        ("score folder.csv x.csv", "'folder.csv' is a folder"),
        ("score clusters.npz x.csv", "k-means has no densities"),
        ("score m.npz x.csv --flag 1", "--flag must be at least 0 and less than 1; got 1.0"),
        ("score m.npz x.csv --keep", "--keep needs --output"),
        ("score m.npz x.csv --keep -o o.parquet", "--keep copies columns from a .csv to a .csv"),
        ("predict m.npz labelled.csv --keep -o o.csv", "must not have a column 'label' with --keep"),
        ("predict m.npz ragged.csv --keep -o o.csv", "3 columns in every row for --keep; row 1 has 2"),
        ("select x.csv --criterion bic --held-out 3", "--held-out needs --criterion held-out"),
        ("fit x.csv -k 2 --init nearly", "--init must be one of"),
        ("predict x.csv x.csv -o o.csv", "x.csv"),
        ("predict m.npz text.csv -o o.csv", "it lacks ['eruptions', 'waiting']. Its columns are ['a', 'b']"),
        ("predict m.npz wide.npy -o o.csv", "X must have 2 features, as the model has; got 3"),
        ("predict m.npz x.csv -o o.txt", "--output must end in .csv, .npy or .parquet"),
        ("predict m.npz x.csv -o o.csv --columns waiting", "--columns must name 2 columns"),
        ("predict m.npz x.csv -o none/o.csv", "none/o.csv"),
        ("predict m.npz x.csv -o x.csv", "--output must be another file than those that the command reads"),
        ("predict m.npz x.csv -o folder.csv", "--output must be a file; 'folder.csv' is a folder"),
        ("predict clusters.npz x.csv -o o.csv --proba", "k-means has no responsibilities"),
        ("fit hash.csv -k 2", "row 1 (line 2), column 0 is '#3'"),
        ("fit nothing.csv -k 2 -o .", "--output must be a file; '.' is a folder"),
        ("fit nothing.csv -k 2 --plot .", "--plot must be a file"),
        ("fit nothing.csv -k 2 --plot p.xyz", "--plot must end in .png, .svg or .pdf; got 'p.xyz'"),
        ("select x.csv -k 2 -o ./x.csv", "--output must be another file"),
        ("predict m.npz parts -o parts/a.parquet", "--output must not be in a folder that the command reads"),
        ("fit parts -k 2 -o parts/deep/o.npz", "--output must not be in a folder that the command reads"),
        ("predict bare.npz odd.csv -o o.csv --columns 1,0", "row 2 (line 3), column 0 is 'x'"),
        ("fit x.csv -k 2 --init clusters.npz", "'clusters.npz' has the clusters of k-means"),
        ("fit x.csv -k 1 --init m.npz --n-init 3", "--n-init must be left out where --init is a model"),
        ("fit x.csv -k 2 --init m.npz", "--init as a model must have"),
        (
            "fit labelled.csv -k 1 --init m.npz --columns eruptions,label",
            "--columns must be those of the model",
        ),
        ("fit text.csv -k 2", "Choose columns of numbers with --columns."),
        ("score m.npz x.csv --below nan", "--below must be a log-density"),
        ("score m.npz x.csv --flag -1e-5", "--flag must be at least 0 and less than 1; got -1e-05"),
        ("fit x.csv -k 2 --tol -1e-3", "tol must be"),
    ],
)
def test_mistakes_are_one_line_and_status_1(command, message, folder, capsys):
    (folder / "x.txt").write_text("1,2\n")
    (folder / "text.csv").write_text("a,b\n1,2\n3,x\n")
    (folder / "hash.csv").write_text("1,2\n#3,4\n5,6\n7,9\n")
    (folder / "folder.csv").mkdir()
    (folder / "parts" / "deep").mkdir(parents=True)
    fastem.KMeans([[2.0, 55.0], [4.0, 80.0]]).save("clusters.npz")
    (folder / "ragged.csv").write_text("eruptions,waiting,x\n1,2,3\n\n1,2\n")
    save_csv("labelled.csv", np.c_[old_faithful(), np.ones(272)], "eruptions,waiting,label")
    (folder / "same.csv").write_text("a,a\n1,2\n")
    (folder / "head.csv").write_text("a,b\n")
    (folder / "bytes.csv").write_bytes(b"\xff\xfe")
    (folder / "empty.npy").write_bytes(b"")
    np.save("line.npy", np.arange(5.0))
    np.save("wide.npy", np.ones((5, 3)))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    model = fastem.GaussianMixture([1.0], [[3.0, 70.0]], [np.eye(2)], feature_names=["eruptions", "waiting"])
    model.save("m.npz")
    fastem.GaussianMixture([1.0], [[3.0, 70.0]], [np.eye(2)]).save("bare.npz")
    (folder / "odd.csv").write_text("1,2\n3,4\nx,5\n")
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("fastem: ")
    assert captured.err.count("\n") == 1
    assert not list(folder.glob("o.*"))


def test_columns_of_variances_are_known_noise(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, v = rng.normal(size=(60, 2)), rng.random((60, 2)) + 0.1
    table = np.c_[v[:, 0], X, v[:, 1]]
    np.savetxt("named.csv", table, "%.17g", ",", header="vx,x,y,vy", comments="")
    np.savetxt("bare.csv", table, "%.17g", ",")
    np.save("rows.npy", table)
    model = fastem.fit(X, 1, noise=v, rng=0)
    for file, noise in (("named.csv", "vx,vy"), ("bare.csv", "0,3"), ("rows.npy", "0,3")):
        run(capsys, "fit", file, "-k", "1", "--seed", "0", "--noise", noise, "-o", "m.npz")
        np.testing.assert_allclose(fastem.load("m.npz").covariances, model.covariances, rtol=1e-12)
        out = run(capsys, "score", "m.npz", file, "--noise", noise, "--flag", "0.1")
        assert f"{model.score(X, noise=v):.9g}" in out
        assert "6 rows flagged" in out
        run(capsys, "predict", "m.npz", file, "--noise", noise, "-o", "labels.npy")
        assert len(np.load("labels.npy")) == 60
