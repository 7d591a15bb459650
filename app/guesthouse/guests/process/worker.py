"""The worker process: at first of no guest, then one guest's until it ends, one event at a time in a fresh sandbox.

`stock` starts it with an empty environment and one descriptor, its end of a socket; the other descriptors come with the
guest (`wire`). It loads no gRPC, no ONNX Runtime and no manifest (an import contract says so): what a guest reaches
outside itself, the worker asks the server for (`guests/capabilities`).

=====================  ================================================================================================
received               answered
=====================  ================================================================================================
(nothing)              READY, when all is loaded that every guest needs
TRY {}, setup          READY {"lacking"} or FAULT {"text"}: whether the guest can be loaded. None of its code runs
SETUP {}, setup        READY {"lacking"}; or FAULT {"text"}, after which the worker ends
EVENT [event], body    REPLY [content type, headers, answer, stop], body; without a head where these are as the guest's
                       settings have them. Or FAILURE [reason, text, retry after]. Before that any number of ASK
                       [capability, question, arguments], each answered by the server
=====================  ================================================================================================

The numbers of an EVENT are its own and its deadline, those of REPLY and FAILURE what the event cost (`_cost`).
`lacking` is what the kernel cannot close (`confine`). A setup is JSON: `config` (the guest's settings, `codec`),
`sha256` of the module, and `files`, which says where the index of the granted files is.
"""

from __future__ import annotations

import contextlib
import importlib
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
from guesthouse.event import Cost, Failure, Reason, Reply
from guesthouse.guests.capabilities.capability import Ask, Capabilities, import_modules
from guesthouse.guests.files import NOTHING, Granted
from guesthouse.guests.guest import Guest, GuestConfig, code_in_worker
from guesthouse.guests.process import codec, confine, sealed
from guesthouse.guests.process.wire import (
    NO_NUMBERS,
    Arena,
    Channel,
    Ended,
    Frame,
    Kind,
    Numbers,
    TooLong,
    decode_event,
    receive_setup,
    send_ready,
)
from guesthouse.guests.sandbox import Sandbox
from guesthouse.system import malloc
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.imports import use_pictures
from guesthouse_abi.pictures import ALL_FORMATS
from guesthouse_abi.services import Services
from guesthouse_abi.sessions.model_lookup import KNOWN_BLOBS

_INSTANCES = 2  # that the engine has room for: one at work, and one that is being freed
_KNOWN = 64 << 20  # bytes of model files that the guest embeds and that are remembered from one event to the next


class _SharedDeadline(Deadline):
    """An event's deadline, which the server alone may cancel. Both processes read the machine's own clock."""

    __slots__ = ("_arena", "_number")

    def __init__(self, at: float, arena: Arena, number: float) -> None:
        self._arena, self._number = arena, number
        super().__init__(at)

    @property
    def cancelled(self) -> bool:
        return self._arena.cancelled == self._number

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        """Nothing: only the server decides that."""


class _Engines:
    """One engine for each limit of memory, so that guests with the same limit, tried one after the other, share it."""

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
    engines: _Engines,
    capabilities: Capabilities,
    pixel_kernel: Path,
    setup: Mapping[str, Any],
    channel: Channel,
    descriptors: Sequence[int],
) -> Guest:
    """The guest of a setup."""
    module, *files = descriptors
    config: GuestConfig = codec.decode(GuestConfig, setup["config"])
    granted = Granted(sealed.opened(files[0], setup["files"])) if files else NOTHING
    artefact = Path(f"/proc/self/fd/{module}")
    mapping = mapped(engines.engine_for(config.limits.memory), artefact)
    code = code_in_worker(config, mapping, setup["sha256"], artefact, import_modules(capabilities))
    kernels = kernels_at(pixel_kernel) if use_pictures(module for module, _ in code.reached) else None
    services = Services({one.protocol: one.remote(Ask(channel, one)) for one in capabilities}, kernels)
    return Guest(config, code, Sandbox(code.linked(), code.caller), services, granted=granted)


def _warm_up(engine: str, pooling: bool) -> None:
    """Load now what libraries would load when they are first used: no file can be opened later."""
    open_engine(engine, EngineConfig(1, PAGE, pooling)).close()
    for kind in ALL_FORMATS:
        picture = io.BytesIO()
        if kind in Image.SAVE:
            Image.new("RGB", (8, 8)).save(picture, kind)
            Image.open(io.BytesIO(picture.getvalue()), formats=(kind,)).load()
    "".encode("idna").decode("utf-8", "replace")


def _cost(cost: Cost | None) -> Numbers:
    return NO_NUMBERS if cost is None else (cost.guest, cost.host, cost.memory, cost.host_memory)


def _answer(guest: Guest, channel: Channel, frame: Frame) -> None:
    number, at, _, _ = frame.numbers
    try:
        event = decode_event(frame.head, frame.payload())
        reply = guest.runner.run(guest, event, _SharedDeadline(at, channel.arena, number))
        channel.send(Kind.REPLY, _head(guest, reply), [reply.body], numbers=_cost(reply.cost))
    except Failure as failure:
        _fail(channel, failure)
    except TooLong as error:
        _fail(channel, Failure(Reason.BAD_REPLY, str(error)))


def _head(guest: Guest, reply: Reply) -> list[object] | None:
    answer = reply.answer
    if answer is None and not reply.headers and not reply.stop and reply.content_type == guest.config.reply_type:
        return None
    told = None if answer is None else [answer.status, answer.text, answer.retry_after]
    return [reply.content_type, reply.headers, told, reply.stop]


def _fail(channel: Channel, failure: Failure) -> None:
    head = [failure.reason.value, failure.text, failure.retry_after]
    channel.send(Kind.FAILURE, head, numbers=_cost(failure.cost))


def serve(end: socket.socket, engine: str, pooling: bool, pixel_kernel: Path, capabilities: Capabilities) -> None:
    """Become a guest's, then answer its events until the server is gone. Raises `Ended`."""
    with contextlib.closing(_Engines(engine, pooling)) as engines:
        while True:
            channel, frame, descriptors = receive_setup(end)
            try:
                setup = json.loads(frame.payload())
                guest = _guest(engines, capabilities, pixel_kernel, setup, channel, descriptors)
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
        _answer(guest, channel, channel.receive())


def main(arguments: list[str]) -> int:
    """The process. Its arguments are the server's process id, the descriptor of the socket, the engine, whether that
    pools ("1"), the file with the compiled pixel kernel, and the modules of the capabilities."""
    parent, descriptor, engine, pooling, pixel_kernel, *modules = arguments
    try:
        confine.at_start(int(parent))
        malloc.keep_pages()
        capabilities: Capabilities = tuple(importlib.import_module(module).CAPABILITY for module in modules)
        _warm_up(engine, pooling == "1")
        end = socket.socket(fileno=int(descriptor))
        send_ready(end)
        serve(end, engine, pooling == "1", Path(pixel_kernel), capabilities)
    except (Ended, confine.Orphaned):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
