"""The command line."""

import numpy as np
import pytest

import fastem
from fastem.__main__ import main
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
    for name in ("fastem", "numba", "threading layer", "threads", "SIMD width", "cache folder"):
        assert name in out
    assert fastem.__version__ in out


@pytest.mark.parametrize("header", ["", "eruptions,waiting"])
def test_fit_a_csv(header, tmp_path, capsys):
    np.savetxt(tmp_path / "x.csv", old_faithful(), delimiter=",", header=header, comments="")
    arguments = ["fit", str(tmp_path / "x.csv"), "-k", "2", "--seed", "0", "--tol", "1e-8"]
    assert main([*arguments, "-o", str(tmp_path / "m.npz")]) == 0
    assert "log-likelihood -1130.2640" in capsys.readouterr().out
    assert fastem.load(tmp_path / "m.npz").report.log_likelihood == pytest.approx(-1130.26396)


def test_fit_a_npy(tmp_path, capsys):
    np.save(tmp_path / "x.npy", old_faithful())
    assert main(["fit", str(tmp_path / "x.npy"), "-k", "3", "--covariance-type", "tied", "--seed", "0"]) == 0
    assert "3 components, tied covariance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.csv", "-k", "2"], "nothing.csv"),
        (["x.txt", "-k", "2"], "FILE must end in .csv or .npy"),
        (["x.csv", "-k", "0"], "k must be an integer of at least 1"),
    ],
)
def test_mistakes_are_one_line_and_status_1(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("x.csv", old_faithful(), delimiter=",")
    assert main(["fit", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_pickled_npy_is_refused(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert main(["fit", str(tmp_path / "x.npy"), "-k", "2"]) == 1
    assert "fastem:" in capsys.readouterr().err
