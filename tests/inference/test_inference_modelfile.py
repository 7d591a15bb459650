"""Reading a model's file, and the data files that it names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.inference.modelfile import ModelFault, external_locations, read_model
from tests.inference import tiny_models


def fault(path: Path, sha256: str | None = None, **kwargs) -> str:
    with pytest.raises(ModelFault) as raised:
        read_model(path, sha256, **kwargs)
    return str(raised.value)


def test_gives_the_bytes_that_were_hashed(tmp_path):
    path = tiny_models.save(tmp_path, tiny_models.doubling())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = read_model(path, digest.upper())
    assert (file.data, file.sha256, file.external) == (path.read_bytes(), digest, ())


def test_says_that_a_file_is_missing(tmp_path):
    assert fault(tmp_path / "m.onnx") == "there is no such file; correct `path` (it is relative to the manifest)"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_refuses_what_is_no_file(tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / "m")
    else:
        (tmp_path / "m").mkdir()
    assert fault(tmp_path / "m") == "is not a file; `path` must name an .onnx file"


def test_refuses_a_file_over_the_size_bound(tmp_path):
    (tmp_path / "m").write_bytes(b"x" * 11)
    assert fault(tmp_path / "m", largest=10) == (
        "has 11 bytes; at most 10 are read: keep the weights of a larger model as external data beside it"
    )


def test_says_what_digest_was_expected_and_found(tmp_path):
    (tmp_path / "m").write_bytes(b"")
    found = hashlib.sha256(b"").hexdigest()
    assert fault(tmp_path / "m", "0" * 64) == (
        f"has the sha256 {found}, the manifest expects {'0' * 64}: "
        "restore the file, or change `sha256` if the new one is meant"
    )


PLACES = ["initializer", "attribute", "function", "branch", "sparse"]


@pytest.mark.parametrize("place", PLACES)
def test_finds_external_data_wherever_a_model_has_tensors(place):
    made = tiny_models.outside("w.bin", place)
    assert set(external_locations(made.SerializeToString())) == {"w.bin"}


@pytest.mark.parametrize(
    "path",
    [
        "graph.initializer[]",
        "graph.sparse_initializer[].values",
        "graph.sparse_initializer[].indices",
        "graph.node[].attribute[].t",
        "graph.node[].attribute[].tensors[]",
        "graph.node[].attribute[].sparse_tensor.values",
        "graph.node[].attribute[].sparse_tensors[].indices",
        "graph.node[].attribute[].g.initializer[]",
        "graph.node[].attribute[].graphs[].initializer[]",
        "functions[].node[].attribute[].t",
        "functions[].attribute_proto[].t",
        "training_info[].initialization.initializer[]",
        "training_info[].algorithm.initializer[]",
    ],
)
def test_walks_every_way_from_a_model_to_a_tensor(path):
    model = onnx.ModelProto()
    here: Any = model
    for step in path.split("."):
        here = getattr(here, step.removesuffix("[]"))
        if step.endswith("[]"):
            here = here.add()
    here.external_data.add(key="location", value="w.bin")
    assert external_locations(model.SerializeToString()) == ["w.bin"]


def test_takes_data_beside_the_model(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(bytes(16))
    assert read_model(tiny_models.save(tmp_path, tiny_models.outside("deep/w.bin")), None).external == ("deep/w.bin",)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["above", "absolute", "absolute inside", "link", "linked folder", "nul", "loop"])
def test_refuses_data_outside_the_models_folder(tmp_path, place, way):
    folder = tmp_path / "models"
    folder.mkdir()
    for where in (tmp_path, folder):
        (where / "w.bin").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "w.bin")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    location = {
        "above": "../w.bin",
        "absolute": str(tmp_path / "w.bin"),
        "absolute inside": str(folder / "w.bin"),
        "link": "link",
        "linked folder": "up/w.bin",
        "nul": "w\0.bin",
        "loop": "loop",
    }[way]
    text = fault(tiny_models.save(folder, tiny_models.outside(location, place)))
    if way == "loop":  # a loop of links leads nowhere: Python 3.13 calls it missing, others outside
        assert "names the external data 'loop', which is" in text
    else:
        assert text == (
            f"names the external data {location!a}, which is outside the model's own folder: "
            "keep the data beside the model, under a relative name, and not as a link to elsewhere"
        )


@pytest.mark.parametrize("location", ["w.bin", "*/_ORT_MEM_ADDR_/*", ""])
def test_says_which_data_is_missing(tmp_path, location):
    # The second is ONNX Runtime's own name for "at this address of the process".
    assert fault(tiny_models.save(tmp_path, tiny_models.outside(location))) == (
        f"names the external data {location!r}, which is missing: put that file beside the model"
    )


@pytest.mark.parametrize("data", [b"\x3a\xff", b"\x3b", b"\xff" * 11, b"\x0d\0", b"\x08", b"\x3a\x02\x2a\x05"])
def test_refuses_damaged_protobuf(data):
    with pytest.raises(ModelFault, match=r"is not an ONNX model \(its protobuf is damaged\)"):
        external_locations(_around(data))


def _around(data: bytes) -> bytes:
    """`data` at the end of a model that says "location" somewhere, so that it is walked."""
    return onnx.ModelProto(doc_string="location").SerializeToString() + data


def test_asks_now_and_then_whether_to_go_on():
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with pytest.raises(Enough):
        external_locations(_around(b"\x3a\x00" * 5000), enough)


@given(st.binary(max_size=300))
def test_never_fails_otherwise_on_any_bytes(data):
    try:
        external_locations(_around(data))
    except ModelFault:
        pass


@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(PLACES))
def test_sees_what_protobuf_sees_in_a_changed_model(at, byte, place):
    """Whatever protobuf still reads as external data, the walk finds too."""
    data = bytearray(tiny_models.outside("w.bin", place).SerializeToString())
    data[at % len(data)] = byte
    try:
        parsed = onnx.ModelProto.FromString(bytes(data))
    except Exception:
        return
    try:
        found = external_locations(bytes(data))
    except ModelFault:
        return
    assert set(_names(parsed)) <= set(found)


def _names(message: object) -> list[str]:
    """The locations in every TensorProto below `message`, by protobuf's own reflection."""
    names = []
    if isinstance(message, onnx.TensorProto):
        names = [_text(entry.value) for entry in message.external_data if entry.key == "location"]
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                names += _names(inner)
    return names


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
