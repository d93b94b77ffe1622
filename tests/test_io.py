"""Saving and loading models."""

import contextlib
import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from problems import TYPES, clusters, random_model

import fastem
from fastem.datasets import old_faithful

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("covariance_type", TYPES)
def test_round_trip(covariance_type, tmp_path):
    model = fastem.fit(clusters(0, 500, 3, 2), 2, covariance_type=covariance_type, rng=0)
    path = tmp_path / "a model.npz"
    model.save(path)
    twin = fastem.load(path)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(model, name))
    assert twin.covariance_type == covariance_type
    assert twin.report == model.report


def test_a_model_without_report(tmp_path):
    random_model(0, "full", 2, 2).save(tmp_path / "m.npz")
    assert fastem.load(tmp_path / "m.npz").report is None


def members(path):
    with np.load(path) as archive:
        return dict(archive)


def rewrite(path, **changes):
    arrays = members(path)
    header = json.loads(bytes(arrays["header"]))
    header.update(changes.pop("header", {}))
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


REPORT = {
    "status": "CONVERGED",
    "converged": True,
    "n_iter": 1,
    "log_likelihood": -1.0,
    "history": [-2.0, -1.0],
    "repairs": [],
    "elapsed": 0.1,
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.npz"
    fastem.fit(clusters(0, 500, 3, 2), 2, rng=0).save(path)
    return path


def test_a_newer_format_asks_for_an_upgrade(saved):
    rewrite(saved, header={"format": 99})
    with pytest.raises(ValueError, match=r"format 99.*upgrade"):
        fastem.load(saved)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_a_truncated_file(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match="not a readable fastem model"):
        fastem.load(saved)


def test_every_flipped_byte_is_harmless(saved):
    content = saved.read_bytes()
    for position in range(0, len(content), 3):
        spoiled = bytearray(content)
        spoiled[position] ^= 0xFF
        saved.write_bytes(spoiled)
        with contextlib.suppress(ValueError):
            fastem.load(saved)


class Detonator:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_pickles_are_not_opened(saved):
    rewrite(saved, weights=np.array([Detonator()], dtype=object))
    with pytest.raises(ValueError, match="not a readable fastem model"):
        fastem.load(saved)
    saved.write_bytes(pickle.dumps(Detonator()))
    with pytest.raises(ValueError, match="not a readable fastem model"):
        fastem.load(saved)


def test_a_compressed_bomb_is_not_inflated(saved):
    huge = io.BytesIO()
    np.save(huge, np.zeros(10_000_000))
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", huge.getvalue())
    with pytest.raises(ValueError, match="compressed"):
        fastem.load(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"format": "new"},
        {"options": None},
        {"options": {}},
        {"options": {"covariance_type": ["full"], "feature_names": None}},
        {"options": {"covariance_type": "full", "feature_names": "abc"}},
        {"options": {"covariance_type": "full", "feature_names": 3}},
        {"report": 1},
        {"report": {"status": "CONVERGED"}},
        {"report": {**REPORT, "status": "GLORIOUS"}},
        {"report": {**REPORT, "status": []}},
        {"report": {**REPORT, "n_iter": float("inf")}},
        {"report": {**REPORT, "repairs": [[1]]}},
        {"report": {**REPORT, "history": 7}},
    ],
)
def test_a_hostile_header(saved, header):
    rewrite(saved, header=header)
    with pytest.raises(ValueError, match=r"readable fastem model|a valid model"):
        fastem.load(saved)


def test_a_header_that_is_deep_or_no_object(saved):
    for text in (b"[" * 100_000, b"[1, 2]", b"\xff\xfe", b"", b"null"):
        np.savez(saved, **{**members(saved), "header": np.frombuffer(text, np.uint8)})
        with pytest.raises(ValueError, match="not a readable fastem model"):
            fastem.load(saved)


def test_an_array_that_claims_to_be_huge(saved):
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        claim, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
    )
    content = {f"{name}.npy": claim.getvalue() for name in ("weights", "means", "covariances")}
    header = io.BytesIO()
    np.save(header, members(saved)["header"])
    with zipfile.ZipFile(saved, "w") as archive:
        for name, text in {**content, "header.npy": header.getvalue()}.items():
            archive.writestr(name, text)
    with pytest.raises(ValueError, match="not a readable fastem model"):
        fastem.load(saved)


def test_what_cannot_be_opened_is_an_OSError(tmp_path):
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        fastem.load(tmp_path)


@pytest.mark.parametrize("member", ["header", "weights", "parameters/means", "parameters/covariances"])
def test_a_missing_member(saved, member):
    arrays = members(saved)
    del arrays[member]
    np.savez(saved, **arrays)
    with pytest.raises(ValueError, match=r"not a readable fastem model|parameters must have the names"):
        fastem.load(saved)


def test_invalid_parameters_are_named(saved):
    rewrite(saved, weights=np.array([0.9, 0.9]))
    with pytest.raises(ValueError, match="does not hold a valid model: weights"):
        fastem.load(saved)


def test_an_unknown_family(saved):
    rewrite(saved, header={"options": {"family": "round", "n_features": 2, "feature_names": None}})
    with pytest.raises(ValueError, match="does not hold a valid model: it has the distribution round"):
        fastem.load(saved)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_files_of_the_first_format(covariance_type):
    """These files were written by the version that had only Gaussians."""
    model = fastem.load(DATA / f"format_1_{covariance_type}.npz")
    assert isinstance(model, fastem.GaussianMixture)
    assert model.covariance_type == covariance_type
    assert model.feature_names == ("duration", "waiting")
    assert model.report.objective == model.report.log_likelihood == model.report.history[-1]
    assert model.report.log_likelihood == pytest.approx(272 * model.score(old_faithful()), rel=1e-9)


def test_statistics_of_the_first_format():
    model = fastem.load(DATA / "format_1_full.npz")
    statistics = fastem.Statistics.from_bytes((DATA / "format_1_statistics.npz").read_bytes())
    again = fastem.e_step(old_faithful(), model)
    np.testing.assert_allclose(fastem.m_step(statistics).means, fastem.m_step(again).means, rtol=1e-9)
    assert statistics.log_likelihood == pytest.approx(again.log_likelihood, rel=1e-12)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastem.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize("path", [1, None, [], np.int64(2), io.BytesIO()])
def test_a_path_is_no_number_of_an_open_file(path):
    model = fastem.fit(clusters(0, 50, 2, 2), 2, max_iter=0)
    for use in (model.save, fastem.load):
        with pytest.raises(TypeError, match=r"path must be that of a file; got .*Pass a string or"):
            use(path)
