"""The bench command: its cases are correct, and an error in one library does not spoil the table."""

import json

import numpy as np
import pytest
from problems import TYPES, clusters
from sklearn.mixture import GaussianMixture as Estimator
from test_em import start_from

import fastem
from fastem.__main__ import main
from fastem._tools import bench as _bench
from fastem._tools.cases import Case, problem
from fastem._tools.peers import PEERS, Peer


def broken(X, start):
    raise ImportError("No module named 'broken'")


def fails_midway(X, start):
    def run(passes):
        if passes > 1:
            raise RuntimeError("no second pass\nand more lines of no interest")

    return run


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def few_cases(monkeypatch):
    cases = (Case("full", 2, 3, 2000), Case("diag", 3, 2, 2000, operation="predict"))
    monkeypatch.setattr(_bench, "CASES", cases)
    monkeypatch.setattr(_bench, "_peak_flops", {"float64": 50.0, "float32": 100.0}.__getitem__)


@pytest.mark.slow
@pytest.mark.usefixtures("few_cases")
@pytest.mark.slow
def test_the_table_and_its_json(monkeypatch, tmp_path, capsys):
    peers = {"scikit-learn": PEERS["scikit-learn"], "broken": Peer(broken), "midway": Peer(fails_midway)}
    monkeypatch.setattr(_bench, "PEERS", peers)
    path = tmp_path / "bench.json"
    assert main(["bench", "--peers", "--repeat", "2", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    table = [cells_of(line) for line in out.splitlines() if line.startswith("|")]
    assert table[0] == ["case", "ms", "ns/pair", "peak", *peers]
    assert [line[0] for line in table[2:]] == ["full, d=2, K=3, n=2,000", "diag, d=3, K=2, n=2,000, predict"]
    for line in table[2:]:
        assert len(line) == len(table[0])
        assert line[4].endswith(" x")
        assert line[5:] == ["none", "none"]
    assert "broken: ImportError: No module named 'broken' (1 of 2 cases)" in out
    assert "midway: RuntimeError: no second pass (1 of 2 cases)" in out
    assert "broken: NotImplementedError: has no predict (1 of 2 cases)" in out
    rows = json.loads(path.read_text(), parse_constant=pytest.fail)["rows"]
    assert [row["operation"] for row in rows] == ["pass", "predict"]
    for row in rows:
        assert list(row["seconds"]) == ["fastem", *peers]
        assert set(row["seconds"]["fastem"]) == {"minimum", "median"}
        assert set(row["seconds"]["broken"]) == {"failure"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_peak_is_that_of_a_matrix_product(dtype):
    size = 512
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    some = 2e-9 * size**3 / min(_bench._time(lambda _: a @ a, 1) for _ in range(6))
    assert some / 20 < _bench._peak_flops(dtype) < 20 * some


def test_a_disturbed_short_run_does_not_win():
    timing = _bench._timing([(2.0, 6.0), (5.0, 6.0), (2.0, 6.0)])
    assert timing.minimum == timing.median == 1


@pytest.mark.usefixtures("few_cases")
def test_peers_are_measured_when_asked_for(capsys):
    assert main(["bench", "--scale", "0.1", "--repeat", "1"]) == 0
    out = capsys.readouterr().out
    assert "n=200" in out
    assert "scikit-learn" not in out


def test_repeat_must_be_positive(capsys):
    assert main(["bench", "--repeat", "0"]) == 1
    assert "--repeat must be an integer of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("d", "k"),
    [(8, 16), (16, 16), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((32, 32), (64, 16)))],
)
def test_overlap_leaves_no_responsibility_zero_and_clusters_most(d, k):
    r = {}
    for data in ("clusters", "overlap"):
        X, model = problem(Case("full", d, k, 50_000, data=data))
        for _ in range(6):
            model = fastem.m_step(fastem.e_step(X, model))
        r[data] = model.predict_proba(X[:10_000])
    assert (r["clusters"] == 0).mean() > 0.5
    assert (r["overlap"] > 0).all()
    several = {data: ((r[data] > 1e-3).sum(axis=1) >= 3).mean() for data in r}
    assert several["overlap"] > 0.8
    assert several["clusters"] < 0.2


@pytest.mark.parametrize("data", ["clusters", "overlap"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_every_type_has_a_problem(covariance_type, data):
    X, start = problem(Case(covariance_type, 3, 2, 50, "float32", data))
    assert X.shape == (50, 3)
    assert X.dtype == np.float32
    assert start.covariance_type == covariance_type
    assert fastem.fit(X, 2, covariance_type=covariance_type, init=start, tol=0, max_iter=1).report.n_iter == 1


@pytest.mark.parametrize("covariance_type", TYPES)
def test_scikit_learn_scores_with_the_same_parameters(covariance_type):
    X = clusters(3, 500, 4, 3)
    model = start_from(X, 3, covariance_type)
    peer = PEERS["scikit-learn"].scorer(model)
    assert isinstance(peer, Estimator)
    np.testing.assert_allclose(model.score_samples(X), peer.score_samples(X))
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), peer.predict(X))
