"""Snapshots of guests: what a guest is initialised with, on its way to the child process that does so.

A guest that has a snapshot is initialised once, when it is loaded. Its events begin with the memory that it had then.
This happens in a step before the engine's own steps of compiling, in a child process (`initialising.py`). What the
module becomes there is kept as compiled code is, by a key of all that went into it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from guesthouse.engine import snapshot
from guesthouse.guests.files import Granted
from guesthouse.guests.process import codec
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits

#: How a refusal begins that says why there is no snapshot.
NONE_MADE = "no snapshot can be made of it: "
WIZER = "wizer.initialize"
_LENGTH = 8  # bytes of the length of what stands before the files


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a guest is initialised for its snapshot.

    - `calls`: the exports that are called in this order, each `()->()`; none: those that the calling convention calls
      before an event, then `wizer.initialize`. The snapshot does not export them.
    - `functions`: what the snapshot exports besides, as (name, index of the function).
    """

    calls: tuple[str, ...] = ()
    functions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Beginning:
    """What of a guest its initialisation depends on, besides its module and its files."""

    name: str
    snapshot: Snapshot
    calling: str
    function: str = ""
    values: str | None = None
    parameters: tuple[str, ...] = ()
    reply: str | None = None
    grants: Grants = field(default_factory=Grants)
    limits: Limits = field(default_factory=Limits)


def key_of(beginning: Beginning, code: str, files: str) -> str:
    """What the snapshot's compiled code is kept by. `code` and `files` stand for the module and the granted files."""
    limits = beginning.limits.memory, beginning.limits.host_memory
    encoded = {**codec.encode(beginning), "limits": limits}
    parts = (snapshot.REVISION, code, files, json.dumps(encoded, sort_keys=True))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def packed(beginning: Beginning, granted: Granted, wasm: bytes) -> bytes:
    """All that the child process needs, for `unpacked`. (Not as its arguments: others could read these.)"""
    files = granted.opened.contents
    sizes = [(path, len(content)) for path, content in files.items()]
    head = json.dumps({"beginning": codec.encode(beginning), "files": sizes}).encode()
    return b"".join((len(head).to_bytes(_LENGTH, "little"), head, *files.values(), wasm))


def unpacked(data: bytes) -> tuple[Beginning, Files, bytes]:
    """What `packed` was given."""
    at = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    head: dict[str, Any] = json.loads(data[_LENGTH:at])
    contents = {}
    for path, size in head["files"]:
        contents[path] = data[at : at + size]
        at += size
    return codec.decode(Beginning, head["beginning"]), Files(contents), data[at:]
