"""Reading a model's file: its size, its digest, and the data files that it names. No model is run here.

ONNX Runtime opens any file that a model names as external data: by an absolute path, by "..", through links. (1.23
does; later versions refuse some of these.) So the names are read here first, and a name that leads out of the model's
own folder is refused. The names are found by following the fields of onnx.proto to every TensorProto.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.faults import Faults
from guesthouse.system.stamps import Stamp, digest_of, stamp
from guesthouse_abi.protobuf import BYTES, Malformed, fields

LARGEST = 2**31 - 1  # bytes: protobuf reads no larger message

# The messages of onnx.proto that lead to a TensorProto: message -> field number -> the message in that field.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_KEY, _VALUE = 1, 2  # field numbers of StringStringEntryProto
_CHECK_EVERY = 4096  # fields that are read between two calls of `check`

DAMAGED = "is not an ONNX model (its protobuf is damaged)"


class ModelFault(Faults):
    """A model cannot be served. Each of `faults` says what is wrong and what to do, for the operator."""

    def __init__(self, *faults: str) -> None:
        super().__init__(faults)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The bytes of a model's file, read once, so that the bytes that were hashed are the bytes that are loaded."""

    data: bytes
    sha256: str
    external: tuple[str, ...]  # the data files that the model names, relative to its folder
    stamps: tuple[Stamp, ...] = ()  # the states of these data files before they were read


def read_model(path: Path, sha256: str | None, largest: int = LARGEST) -> ModelFile:
    """Read the model at `path`, which must have the digest `sha256` (hexadecimal) unless that is None.

    The digest covers this file, not the external data that it may name. Raises `ModelFault`.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelFault("is not a file; `path` must name an .onnx file")
        if found.st_size > largest:
            raise ModelFault(
                f"has {found.st_size} bytes; at most {largest} are read: "
                "keep the weights of a larger model as external data beside it"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFault("there is no such file; correct `path` (it is relative to the manifest)") from None
    except OSError as error:
        raise ModelFault(f"cannot be read ({error.strerror}); check the path and its permissions") from None
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ModelFault(
            f"has the sha256 {digest}, the manifest expects {sha256.lower()}: "
            "restore the file, or change `sha256` if the new one is meant"
        )
    locations = tuple(sorted(set(external_locations(data))))
    for location in locations:
        _check_location(path.parent, location)
    return ModelFile(data, digest, locations, _stamps(path, locations))


def unchanged(path: Path, file: ModelFile) -> bool:
    """Whether the model at `path` is still the one that `read_model` has read as `file`.

    The model's file is hashed again. Of the data files that it names, which may be gigabytes, only the state (size,
    times) is compared.
    """
    try:
        return digest_of(path) == file.sha256 and _stamps(path, file.external) == file.stamps
    except OSError:
        return False


def _stamps(path: Path, external: Sequence[str]) -> tuple[Stamp, ...]:
    return tuple(stamp(path.parent / name) for name in external)


def external_locations(data: bytes, check: Callable[[], None] = lambda: None) -> list[str]:
    """The names of all files that the ONNX model `data` keeps tensors in.

    `check` is called every few thousand fields, and may raise. Raises `ModelFault` where `data` is no ONNX model.
    """
    if b"location" not in data:  # the key before each name; protobuf stores text uncompressed
        return []
    try:
        return _locations(data, check)
    except Malformed:
        raise ModelFault(DAMAGED) from None


def _locations(data: bytes, check: Callable[[], None]) -> list[str]:
    found: list[str] = []
    todo = [("model", 0, len(data))]
    count = 0
    while todo:
        message, start, end = todo.pop()
        inner = _FIELDS[message]
        texts: dict[int, list[bytes]] = {_KEY: [], _VALUE: []}
        for field, kind, begin, stop in fields(data, start, end):
            count += 1
            if count % _CHECK_EVERY == 0:
                check()
            if kind != BYTES:
                continue
            if field in inner:
                todo.append((inner[field], begin, stop))
            elif message == "entry" and field in texts:
                texts[field].append(data[begin:stop])
        if b"location" in texts[_KEY]:
            found += [value.decode("utf-8", "surrogateescape") for value in texts[_VALUE] or [b""]]
    return found


def _check_location(folder: Path, location: str) -> None:
    shown = ascii(location[:256])
    try:
        root = folder.resolve()
        path = (root / location).resolve()
        inside = not os.path.isabs(location) and path.is_relative_to(root)
        exists = inside and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a loop of links
        inside = exists = False
    if not inside:
        raise ModelFault(
            f"names the external data {shown}, which is outside the model's own folder: "
            "keep the data beside the model, under a relative name, and not as a link to elsewhere"
        )
    if not exists:
        raise ModelFault(f"names the external data {shown}, which is missing: put that file beside the model")
