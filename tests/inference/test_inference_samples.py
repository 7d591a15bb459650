"""Sample inputs in an `.npz` file."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.inference import samples
from guesthouse.inference.samples import SamplesFault, read_samples


def refusal(path) -> str:
    with pytest.raises(SamplesFault) as raised:
        read_samples(path)
    return str(raised.value)


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def archive(path, **entries: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, save):
    arrays = {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.float64(7),
        "none": np.zeros((0, 4), np.uint8),
        "switch": np.array([True, False]),
        "other.end": np.array([1, 2], ">i2"),
    }
    save(tmp_path / "s.npz", **arrays)
    found = read_samples(tmp_path / "s.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].shape == np.shape(array)
        assert found[name].dtype.isnative


def test_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "s.npz"
    assert refusal(path).startswith("is missing")
    assert refusal(tmp_path) == "cannot be read (Is a directory): check the path and its permissions"
    path.write_bytes(b"no zip")
    assert refusal(path).startswith("is no .npz file of numbers (File is not a zip file): write it with numpy.savez")


def test_unpickles_nothing(tmp_path):
    path = archive(tmp_path / "s.npz", x=npy(np.array([print], object), allow_pickle=True))
    assert "is no .npz file of numbers (an array of object)" in refusal(path)


def test_believes_no_header(tmp_path):
    """numpy would ask for the memory that the header says."""
    data = npy(np.zeros(8)).replace(b"(8,), }         ", b"(8888888888,), }")
    assert b"8888888888" in data
    path = archive(tmp_path / "s.npz", x=data)
    assert "an array whose bytes are not those of its shape" in refusal(path)


def test_inflates_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "LARGEST", 1 << 20)
    path = archive(tmp_path / "s.npz", x=npy(np.zeros(1 << 18)))
    assert path.stat().st_size < 1 << 16
    assert refusal(path) == "has over 1024 arrays, or 1 MiB: give smaller samples"


@given(st.integers(0, 400), st.integers(0, 255))
def test_reads_or_refuses_any_change(tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("samples") / "s.npz"
    np.savez(path, x=np.arange(4))
    data = bytearray(path.read_bytes())
    data[at % len(data)] = byte
    path.write_bytes(data)
    try:
        read_samples(path)
    except SamplesFault:
        pass
