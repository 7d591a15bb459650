"""The worker process: one guest, one event at a time, each in a fresh sandbox, for as long as the server is there.

Started by `pool` with an empty environment and three descriptors: the socket, the arena, the compiled module; a fourth
where the guest is granted files (`sealed`). It knows no gRPC, no ONNX Runtime, no manifest (an import contract says
so): what a guest reaches of the host is asked of the server.

====================  =================================================================================================
received              answered
====================  =================================================================================================
SETUP {"engine", …}   READY {"confined"}, or FAULT {"text"} and the end
EVENT {"number",      REPLY {"cost"} with the body, or FAILURE {"reason", "text", "cost"}; before that any number of
"at", "event"}, body  questions (`proxies`)
====================  =================================================================================================
"""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from guesthouse import malloc
from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import mapped
from guesthouse.event import Cost, Failure, Reason
from guesthouse.guests.files import NOTHING, Granted
from guesthouse.guests.guest import Guest, GuestConfig, code_in_worker
from guesthouse.guests.process import confine, sealed
from guesthouse.guests.process.proxies import RemoteInference, RemoteLog
from guesthouse.guests.process.wire import Arena, Channel, Ended, Kind, TooLong, unpacked
from guesthouse.guests.sandbox import Sandbox
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
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


def _guest(setup: Mapping[str, Any], module: int, files: int | None, channel: Channel) -> Guest:
    config = setup["config"]
    grants, limits = config["grants"], Limits(**config["limits"])
    granted = NOTHING if files is None else Granted(sealed.opened(files, setup["files"]))
    engine = open_engine(setup["engine"], EngineConfig(_INSTANCES, limits.memory, setup["pooling"]))
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
    code = code_in_worker(config, mapped(engine, artefact), setup["sha256"], artefact)
    services = Services(RemoteInference(channel), RemoteLog(channel))
    return Guest(config, code, Sandbox(code.linked(), code.convention), services, granted=granted)


def _warm_up() -> None:
    """Have all loaded that is loaded when it is first used: no file can be opened later."""
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
        channel.send(Kind.REPLY, {"cost": _cost(reply.cost)}, [reply.body])
    except Failure as failure:
        channel.send(Kind.FAILURE, {"reason": failure.reason.value, "text": failure.text, "cost": _cost(failure.cost)})
    except TooLong as error:
        channel.send(Kind.FAILURE, {"reason": Reason.BAD_REPLY.value, "text": str(error), "cost": []})


def serve(channel: Channel, module: int, files: int | None = None) -> None:
    """Set up, then answer events until the server is gone. Raises `Ended`."""
    setup = channel.receive().head
    try:
        guest = _guest(setup, module, files, channel)
        os.close(module)
        if files is not None:
            os.close(files)
        _warm_up()
        limits = guest.limits
        KNOWN_BLOBS.keep_at_most(_KNOWN)
        events = limits.memory + limits.host_memory + 2 * (limits.input + limits.output)
        confined = confine.when_loaded(events + _KNOWN)
    except Exception as error:
        channel.send(Kind.FAULT, {"text": f"{type(error).__name__}: {error}"})
        return
    channel.send(Kind.READY, {"confined": confined})
    while True:
        frame = channel.receive()
        _answer(guest, channel, frame.head, channel.arena.bytes(frame.size))


def main(arguments: list[str]) -> int:
    """The process: the server's process id, and the descriptors of socket, arena, module and perhaps files."""
    parent, end, arena, module, *files = map(int, arguments)
    try:
        confine.at_start(parent)
        malloc.keep_pages()
        serve(Channel(socket.socket(fileno=end), Arena.opened(arena)), module, *files)
    except (Ended, confine.Orphaned):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
