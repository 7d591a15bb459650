"""Every function of preview 2 with any numbers, over a memory with any bytes, and with an allocator that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.blocks import Invocation, Stored
from guesthouse_abi.calling import Options as Called
from guesthouse_abi.calling import Request
from guesthouse_abi.calling.conventions import CONVENTIONS
from guesthouse_abi.calls import calls_of
from guesthouse_abi.canonical.crossing import REALLOC, Handles, enter
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, Trap
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import FuncType, HostFunction, ValType
from guesthouse_abi.imports.preview2 import host_function
from guesthouse_abi.imports.preview2.cli import Lines as LogLines
from guesthouse_abi.imports.preview2.cli import Reply, Stdin
from guesthouse_abi.imports.preview2.dapr import Call
from guesthouse_abi.imports.preview2.files import Descriptor, Entries, FileInput, FileTarget, FileWriter
from guesthouse_abi.imports.preview2.http import (
    Fields,
    FutureResponse,
    FutureTrailers,
    IncomingBody,
    IncomingRequest,
    IncomingResponse,
    Options,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Sending,
)
from guesthouse_abi.imports.preview2.io import InputStream, IoError, Pollable, Writer
from guesthouse_abi.imports.preview2.keyvalue import Bucket, Cas
from guesthouse_abi.imports.preview2.messaging import Client, Message, RequestOptions
from guesthouse_abi.imports.preview2.nn import Execution, Graph, NnFault, NnTensor
from guesthouse_abi.imports.preview2.outgoing import Responded
from guesthouse_abi.imports.preview2.sockets import Network
from guesthouse_abi.imports.wasi_preview1.descriptors import STDERR, descriptors
from guesthouse_abi.services import CallRequest, Inference, Log, Services, Sidecar
from tests.abi.inference_host import Doubler, Models
from tests.support.blocks import Blocks
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost

SIZE = 4096
GRANTED = Grants(
    models=frozenset({"doubler"}), config=(("a", "b"),), scratch=1 << 16, scratch_path="/tmp", allow_guest_models=True
)
HELD = 1 << 20


def _functions() -> list[HostFunction]:
    text = (Path(__file__).resolve().parents[1] / "data" / "wasi-signatures.txt").read_text()
    found = [host_function(*line.split(" ")[:2]) for line in text.splitlines()]
    return [function for function in found if function is not None]


FUNCTIONS = _functions()
EDGES = [0, 1, 2, 3, 4, 7, 8, 64, SIZE - 8, SIZE - 1, SIZE, SIZE + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]
I32 = st.integers(0, 48) | st.sampled_from(EDGES) | st.integers(0, 0xFFFFFFFF)
I64 = I32 | st.integers(0, 0xFFFFFFFFFFFFFFFF)


class Guest:
    """An allocator that gives these addresses, one after the other."""

    def __init__(self, addresses: list[int]) -> None:
        self._addresses = addresses

    def call(self, export: str, *arguments: int) -> int:
        if not self._addresses:
            raise Trap("unreachable")
        return self._addresses.pop()


def _context() -> Context:
    sidecar = Blocks()
    sidecar.values["input"] = b"1", 1
    return Context(
        Deadline.after(60),
        GRANTED,
        Limits(host_memory=HELD, output=1 << 16),
        Services({Inference: Models(), Log: Lines(), Sidecar: sidecar}),
        stdin=b"input",
        arguments=("a", "b"),
        files=Files({"/a": b"granted"}),
        event=PlainFacts("topic", "pubsub/orders", b"body", "text/x", metadata={"a": "b"}),
    )


def _opened(context: Context) -> None:
    """One handle of each resource that a guest can have, from 1 on."""
    handles = context.state(Handles)
    model: Any = Doubler()
    request = IncomingRequest("GET", "/a?b", "c", [("d", b"e")], b"body")
    tree = descriptors(context).tree
    assert tree is not None
    file = tree.make_file(context, tree.walk(tree.root, b"tmp/a", follow=True))
    asked = OutgoingRequest(Fields())
    asked.authority = "app"
    sent, waiting = Sending(Invocation("app", "m"), None), Sending(Invocation("app", "m"), None)
    sent.call = 1
    for item in (
        request,
        IncomingBody(b"a body"),
        InputStream(b"a stream"),
        Stdin(),
        Writer(LogLines(STDERR)),
        Writer(Reply(bytearray())),
        OutgoingBody(),
        OutgoingBody(reply=False),
        Writer(OutgoingBody()),
        Fields([("f", b"g")]),
        Fields([("h", b"i")], fixed=True),
        OutgoingResponse(Fields()),
        OutgoingRequest(Fields()),
        asked,
        ResponseOutparam(),
        FutureTrailers(),
        FutureResponse(sent),
        FutureResponse(waiting),
        Responded(FutureResponse(sent)),
        Responded(FutureResponse(waiting)),
        IncomingResponse(200, [("j", b"k")], IncomingBody(b"a body")),
        Options(),
        Pollable(),
        Pollable(1 << 63),
        IoError(),
        Network(),
        Descriptor(tree.root, frozenset({"read", "mutate-directory"})),
        Descriptor(file, frozenset({"read", "write"})),
        FileInput(file, 0),
        FileWriter(FileTarget(file, None)),
        Entries(context, tree.root.listing()),
        Bucket("store"),
        Cas(context, "store", "input", Stored(b"1", "1")),
        Client("pubsub"),
        Message(b"a message", "orders"),
        RequestOptions(),
        Call(1),
        Call(2),
        NnTensor(context, (1, 3), "FP32", bytes(12)),
        Graph(model),
        Execution(model),
        NnFault("unknown", "why"),
    ):
        handles.add(item)


@settings(max_examples=400)
@given(st.data())
def test_any_numbers_in_any_function_get_an_answer_or_end_the_guest(data: st.DataObject) -> None:
    context = _context()
    host = GuardedHost(context, SIZE)
    calls_of(context).start(CallRequest("GetState", b""))
    _opened(context)
    enter(context, Guest(data.draw(st.lists(I32, max_size=4))))
    filled = data.draw(st.lists(I32, max_size=16))
    host.memory.write(0, b"".join(number.to_bytes(4, "little") for number in filled))
    context.deadline.tighten(0.02)  # from here on: what waits for it may be called, and nothing else needs the time
    for _ in range(data.draw(st.integers(1, 4))):
        function = data.draw(st.sampled_from(FUNCTIONS))
        numbers: list[Any] = [
            data.draw(I64 if kind is ValType.I64 else st.floats() if kind in (ValType.F32, ValType.F64) else I32)
            for kind in function.signature.params
        ]
        try:
            result = function.invoke(context, *numbers)
        except CallError:
            pass
        else:
            assert (result is None) == (not function.signature.results)
        assert host.guarded
        assert context.held <= HELD
    context.end()


# ---- what a component's own functions give ----

WORD = FuncType((ValType.I32,), (ValType.I32,))
EXPORTS: dict[str, dict[str, FuncType]] = {
    "dapr": {"dapr:guest/pubsub-callback@1.0.0#on-topic-event": WORD},
    "messaging": {"wasi:messaging/incoming-handler@0.2.0-draft#handle": WORD},
}


class Shape:
    """A module with these exports."""

    imported: tuple[tuple[str, str], ...] = ()
    has_memory = True

    def __init__(self, exports: dict[str, FuncType]) -> None:
        self.functions = {**exports, REALLOC: FuncType((ValType.I32,) * 4, (ValType.I32,))}


class Answers:
    """A guest whose allocator gives any addresses, and whose function any number."""

    def __init__(self, addresses: list[int], answer: int) -> None:
        self._allocator = Guest(addresses)
        self._answer = answer

    def call(self, export: str, *arguments: int) -> int:
        return self._allocator.call(export) if export == REALLOC else self._answer


@settings(max_examples=300)
@given(st.sampled_from(sorted(EXPORTS)), st.lists(I32, max_size=24), I32, st.lists(I32, max_size=64))
def test_whatever_a_components_function_gives_is_a_response_or_a_failure(
    calling: str, addresses: list[int], answer: int, filled: list[int]
) -> None:
    context = _context()
    host = GuardedHost(context, SIZE)
    host.memory.write(0, b"".join(number.to_bytes(4, "little") for number in filled))
    caller = CONVENTIONS[calling](Called()).bind(Shape(EXPORTS[calling]))
    try:
        response = caller.run(lambda: Answers(addresses, answer), context, Request(b"body"))
    except CallError:
        pass
    else:
        assert len(response.body) <= context.limits.output
    assert host.guarded
    context.end()


def test_a_reply_that_is_where_the_guest_says_is_read() -> None:
    context = _context()
    host = GuardedHost(context, SIZE)
    # result: ok, reply: data at 512, no type, status 200, no headers, no text, no time, no stop
    words = [0, 512, 5, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0]
    host.memory.write(256, b"".join(number.to_bytes(4, "little") for number in words))
    host.memory.write(512, b"reply")
    caller = CONVENTIONS["dapr"](Called()).bind(Shape(EXPORTS["dapr"]))
    addresses = [1024 + 192 * number for number in range(16)]
    assert caller.run(lambda: Answers(addresses, 256), context, Request(b"body")).body == b"reply"
    context.end()
