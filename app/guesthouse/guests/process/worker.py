"""The worker process: nobody's at first, then one guest's, one event at a time, each in a fresh sandbox, to its end.

Started by `stock` with an empty environment and one descriptor, the socket; the others come with the guest (`wire`). It
knows no gRPC, no ONNX Runtime, no manifest (an import contract says so): what a guest reaches of the host is asked of
the server.

=====================  ================================================================================================
received               answered
=====================  ================================================================================================
(nothing)              READY, when all is loaded that every guest needs
TRY {}, setup          READY {"lacking"} or FAULT {"text"}: whether the guest can be loaded. None of its code runs
SETUP {}, setup        READY {"lacking"}, or FAULT {"text"} and the end
EVENT {"number",       REPLY {"cost", "type", "headers"} with the body, or FAILURE {"reason", "text", "cost"}; before
"at", "event"}, body   that any number of questions (`proxies`)
=====================  ================================================================================================

`lacking` is what the kernel cannot close (`confine`).
A setup is JSON: `config`, `sha256` of the module, and `files`, where the index of the granted files is.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from guesthouse.engine import kernels_at, open_engine
from guesthouse.engine.base import PAGE, Engine, EngineConfig
from guesthouse.engine.cache import mapped
from guesthouse.event import Cost, Failure, Reason
from guesthouse.guests.files import NOTHING, Granted
from guesthouse.guests.guest import Guest, GuestConfig, code_in_worker
from guesthouse.guests.process import confine, sealed
from guesthouse.guests.process.proxies import RemoteInference, RemoteLog
from guesthouse.guests.process.wire import (
    Arena,
    Channel,
    Ended,
    Kind,
    TooLong,
    receive_setup,
    send_ready,
    unpacked,
)
from guesthouse.guests.sandbox import Sandbox
from guesthouse.system import malloc
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports import use_pictures
from guesthouse_abi.pictures import ALL_FORMATS
from guesthouse_abi.services import Services
from guesthouse_abi.sessions.model_lookup import KNOWN_BLOBS

_INSTANCES = 2  # of the engine: one at work, and one on its way out
_KNOWN = 64 << 20  # bytes of model files that a guest embeds, remembered from one event to the next


class _SharedDeadline(Deadline):
    """An event's deadline, and whether the server says that it was cancelled. The clock is the machine's own."""

    __slots__ = ("_arena", "_number")

    def __init__(self, at: float, arena: Arena, number: int) -> None:
        self._arena, self._number = arena, number
        super().__init__(at)

    @property
    def cancelled(self) -> bool:
        return self._arena.cancelled == self._number

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        """Only the server decides that."""


class _Engines:
    """The engine by how much memory a guest may have: guests that are tried one after the other share it."""

    def __init__(self, name: str, pooling: bool) -> None:
        self._name, self._pooling = name, pooling
        self._made: dict[int, Engine] = {}

    def engine_for(self, memory: int) -> Engine:
        if memory not in self._made:
            self._made[memory] = open_engine(self._name, EngineConfig(_INSTANCES, memory, self._pooling))
        return self._made[memory]

    def close(self) -> None:
        for engine in self._made.values():
            engine.close()


def _guest(
    engines: _Engines, pixel_kernel: Path, setup: Mapping[str, Any], channel: Channel, descriptors: Sequence[int]
) -> Guest:
    """The guest of a setup."""
    module, *files = descriptors
    config = setup["config"]
    grants, limits = config["grants"], Limits(**config["limits"])
    granted = Granted(sealed.opened(files[0], setup["files"])) if files else NOTHING
    config = GuestConfig(
        **{
            **config,
            "module": Path(config["module"]),
            "limits": limits,
            "files": (),
            "grants": Grants(
                **{
                    **grants,
                    "models": frozenset(grants["models"]),
                    "aliases": tuple((alias, model) for alias, model in grants["aliases"]),
                    "env": tuple((name, value) for name, value in grants["env"]),
                    "args": tuple(grants["args"]),
                }
            ),
        }
    )
    artefact = Path(f"/proc/self/fd/{module}")
    code = code_in_worker(config, mapped(engines.engine_for(limits.memory), artefact), setup["sha256"], artefact)
    kernels = kernels_at(pixel_kernel) if use_pictures(wanted.module for wanted in code.module.imports) else None
    services = Services(RemoteInference(channel), RemoteLog(channel), kernels)
    return Guest(config, code, Sandbox(code.linked(), code.caller), services, granted=granted)


def _warm_up(engine: str, pooling: bool) -> None:
    """Have all loaded that is loaded when it is first used: no file can be opened later."""
    open_engine(engine, EngineConfig(1, PAGE, pooling)).close()
    for kind in ALL_FORMATS:
        picture = io.BytesIO()
        if kind in Image.SAVE:
            Image.new("RGB", (8, 8)).save(picture, kind)
            Image.open(io.BytesIO(picture.getvalue()), formats=(kind,)).load()
    "".encode("idna").decode("utf-8", "replace")


def _cost(cost: Cost | None) -> list[float]:
    return [] if cost is None else [cost.guest, cost.host, cost.memory, cost.host_memory]


def _answer(guest: Guest, channel: Channel, head: Mapping[str, Any], body: bytes) -> None:
    deadline = _SharedDeadline(head["at"], channel.arena, head["number"])
    try:
        reply = guest.runner.run(guest, unpacked(head["event"], body), deadline)
        head = {"cost": _cost(reply.cost), "type": reply.content_type, "headers": reply.headers}
        channel.send(Kind.REPLY, head, [reply.body])
    except Failure as failure:
        channel.send(Kind.FAILURE, {"reason": failure.reason.value, "text": failure.text, "cost": _cost(failure.cost)})
    except TooLong as error:
        channel.send(Kind.FAILURE, {"reason": Reason.BAD_REPLY.value, "text": str(error), "cost": []})


def serve(end: socket.socket, engine: str, pooling: bool, pixel_kernel: Path) -> None:
    """Become a guest's, then answer its events until the server is gone. Raises `Ended`."""
    with contextlib.closing(_Engines(engine, pooling)) as engines:
        while True:
            channel, frame, descriptors = receive_setup(end)
            try:
                setup = json.loads(channel.arena.bytes(frame.size))
                guest = _guest(engines, pixel_kernel, setup, channel, descriptors)
            except Exception as error:
                channel.send(Kind.FAULT, {"text": f"{type(error).__name__}: {error}"})
                if frame.kind is not Kind.TRY:
                    return
            else:
                if frame.kind is not Kind.TRY:
                    break
                del guest
                channel.send(Kind.READY, {"lacking": confine.lacking()})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            channel.arena.close()
        _answer_all(guest, channel)


def _answer_all(guest: Guest, channel: Channel) -> None:
    """Confine the process, then answer events. Raises `Ended`."""
    limits = guest.limits
    KNOWN_BLOBS.keep_at_most(_KNOWN)
    events = limits.memory + limits.host_memory + 2 * (limits.input + limits.output)
    channel.send(Kind.READY, {"lacking": confine.when_loaded(events + _KNOWN)})
    while True:
        frame = channel.receive()
        _answer(guest, channel, frame.head, channel.arena.bytes(frame.size))


def main(arguments: list[str]) -> int:
    """The process: the server's process id, the descriptor of the socket, the engine, whether it pools ("1"), and the
    file with the compiled pixel kernel."""
    parent, descriptor, engine, pooling, pixel_kernel = arguments
    try:
        confine.at_start(int(parent))
        malloc.keep_pages()
        _warm_up(engine, pooling == "1")
        end = socket.socket(fileno=int(descriptor))
        send_ready(end)
        serve(end, engine, pooling == "1", Path(pixel_kernel))
    except (Ended, confine.Orphaned):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
