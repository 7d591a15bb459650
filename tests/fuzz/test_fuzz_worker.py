"""What a worker process may send: any frame, any head, any payload. The server answers, refuses, or ends the worker."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.event import Event, Trigger
from guesthouse.guests import guest as guests
from guesthouse.guests.capabilities import CAPABILITIES
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process import wire
from guesthouse.guests.process.answers import Answers
from guesthouse.guests.process.wire import Arena, Channel, Kind, WireError
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.services import Inference, Log, Services, TensorInfo
from tests.support.budget import examples
from tests.support.doubles import Lines


class Model:
    """Gives its inputs back, whatever they are."""

    name = "m"
    inputs = outputs = (TensorInfo("x", np.dtype("f4"), (None,)),)
    renames: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def run(self, inputs: Any, outputs: Any, deadline: Deadline) -> list[Any]:
        if not inputs:
            raise InferenceError("nothing")
        return [next(iter(inputs.values()))] * len(outputs)


class Models:
    def named(self, name: str) -> Any:
        return Model() if name in ("m", "secret") else None

    def standing_for(self, sha256: str) -> Any:
        return Model() if sha256 == "0" * 64 else None

    def open_bytes(self, data: bytes, deadline: Deadline) -> Any:
        raise AssertionError("not granted")


class Guest:
    """What `Answers` needs of one."""

    name = "g"
    limits = Limits(host_memory=4096, log=200)
    config = GuestConfig("g", Path("g.wasm"), "command", grants=Grants(models=frozenset({"m"})))

    def __init__(self) -> None:
        self.log = Lines()
        self.services = Services({Inference: Models(), Log: self.log})


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The server's end, and the worker's socket."""
    arena = Arena.create(8192)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    theirs.setblocking(False)
    channel = Channel(ours, arena)
    yield channel, theirs
    theirs.close()
    channel.close()


EVENT = Event(Trigger.INVOKE, "m")
names = st.sampled_from(["m", "secret", "x", "", "0" * 64]) | st.text(max_size=8)
whole = st.integers(-2, 70) | st.sampled_from([1 << 31, 1 << 47, 1 << 48, 1 << 63, 1 << 70])
described = st.tuples(
    st.sampled_from([*wire.DTYPES, "|O", "<U4", "<M8"]) | st.text(max_size=4), st.lists(whole, max_size=4)
)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | whole | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
runs = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m", "secret"]) | names,
        "inputs": st.just([["x", "|u1", [8]]])
        | st.lists(st.tuples(names, described).map(lambda pair: [pair[0], *pair[1]]), max_size=3)
        | anything,
        "outputs": st.lists(names, max_size=3) | anything,
    }
)
questions = st.one_of(
    st.tuples(st.just("inference"), st.sampled_from(["named", "digest", "open"]), names | anything),
    st.tuples(st.just("inference"), st.just("run"), runs | anything),
    st.tuples(
        st.just("log"),
        st.just("line"),
        st.tuples(st.sampled_from(["stdout", "host", "no"]) | anything, names | anything),
    ),
    st.tuples(st.sampled_from(["inference", "log", "", "dapr"]) | anything, names | anything, anything),
)
heads = st.one_of(
    anything,
    questions,
    st.tuples(st.just("inference"), st.just("run"), runs),
    st.fixed_dictionaries({"cost": st.lists(whole | st.floats(), max_size=5), "reason": names, "text": names}),
)


@settings(max_examples=examples(400), deadline=None)
@given(
    kind=st.just(Kind.ASK) | st.sampled_from(list(Kind)),
    head=heads,
    payload=st.binary(max_size=300),
    size=st.just(8) | st.integers(0, 300),
)
def test_any_question_is_answered_or_breaks_the_protocol(ends, kind, head, payload, size):
    channel, theirs = ends
    guest = Guest()
    capabilities = {capability.name: capability for capability in CAPABILITIES}
    answers = Answers(cast("guests.Guest", guest), EVENT, Deadline.after(5), channel, capabilities)
    text = json.dumps(head).encode()
    channel.arena.put(text, [payload])
    theirs.send(wire._FRAME.pack(wire.VERSION, kind, len(text), size, *wire.NO_NUMBERS))
    frame = channel.receive()
    try:
        answers.answer(frame)
    except WireError:
        with pytest.raises(BlockingIOError):
            theirs.recv(100)  # nothing was answered
        return
    assert kind is Kind.ASK
    version, answered, *_ = wire._FRAME.unpack(theirs.recv(100))
    assert version == wire.VERSION
    assert answered in (Kind.ANSWER, Kind.REFUSAL)
    assert sum(len(line) for _, line in guest.log.lines) <= 600
    if list(head[:2]) == ["inference", "run"] and answered == Kind.ANSWER:
        assert head[2]["model"] == "m"  # the one that is granted


@settings(max_examples=examples(300), deadline=None)
@given(
    raw=st.binary(max_size=60)
    | st.tuples(*[st.integers(0, (1 << bits) - 1) for bits in (16, 16, 32, 64)], *[st.floats()] * 4),
    head=st.binary(max_size=60),
)
def test_any_frame_is_read_or_breaks_the_protocol(ends, raw, head):
    channel, theirs = ends
    channel.arena.put(head, [])
    data = raw if isinstance(raw, bytes) else wire._FRAME.pack(*raw)
    if not data:
        return  # an empty datagram looks like the end
    theirs.send(data)
    try:
        frame = channel.receive()
    except WireError:
        return
    assert frame.size <= channel.arena.payload
