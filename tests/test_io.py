"""Models on disk."""

import contextlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from problems import TYPES, clusters, random_model

import fastem


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
    for position in range(0, len(content), 37):
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


@pytest.mark.parametrize("member", ["header", "weights", "means", "covariances"])
def test_a_missing_member(saved, member):
    arrays = members(saved)
    del arrays[member]
    np.savez(saved, **arrays)
    with pytest.raises(ValueError, match="not a readable fastem model"):
        fastem.load(saved)


def test_invalid_parameters_are_named(saved):
    rewrite(saved, weights=np.array([0.9, 0.9]))
    with pytest.raises(ValueError, match="does not hold a valid model: weights"):
        fastem.load(saved)


def test_an_unknown_covariance_type(saved):
    rewrite(saved, header={"covariance_type": "round"})
    with pytest.raises(ValueError, match="does not hold a valid model: covariance_type"):
        fastem.load(saved)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastem.load(tmp_path / "nothing.npz")
