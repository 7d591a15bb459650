"""Every function of preview 2 with any numbers, over a memory with any bytes, and with an allocator that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.canonical.crossing import Handles, enter
from guesthouse_abi.context import Context
from guesthouse_abi.errors import CallError, Trap
from guesthouse_abi.grants import Grants
from guesthouse_abi.host import HostFunction, ValType
from guesthouse_abi.imports.preview2 import host_function
from guesthouse_abi.imports.preview2.cli import Lines, Reply, Stdin
from guesthouse_abi.imports.preview2.http import (
    Fields,
    FutureTrailers,
    IncomingBody,
    IncomingRequest,
    Options,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
)
from guesthouse_abi.imports.preview2.io import InputStream, IoError, Pollable, Writer
from guesthouse_abi.imports.preview2.nn import Execution, Graph, NnFault, NnTensor
from guesthouse_abi.imports.preview2.sockets import Network
from guesthouse_abi.imports.wasi_preview1.descriptors import STDERR
from tests.abi.inference_host import Doubler, Models
from tests.support import wat
from tests.support.guarded import GuardedHost

SIZE = 4096
GRANTED = Grants(models=frozenset({"doubler"}), config=(("a", "b"),))


def _functions() -> list[HostFunction]:
    text = (Path(__file__).resolve().parents[1] / "data" / "wasi-signatures.txt").read_text()
    found = [host_function(*line.split(" ")[:2]) for line in text.splitlines()]
    return [function for function in found if function is not None]


FUNCTIONS = _functions()
EDGES = [0, 1, 2, 3, 4, 7, 8, 64, SIZE - 8, SIZE - 1, SIZE, SIZE + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]
I32 = st.integers(0, 24) | st.sampled_from(EDGES) | st.integers(0, 0xFFFFFFFF)
I64 = I32 | st.integers(0, 0xFFFFFFFFFFFFFFFF)


class Guest:
    """An allocator that gives these addresses, one after the other."""

    def __init__(self, addresses: list[int]) -> None:
        self._addresses = addresses

    def call(self, export: str, *arguments: int) -> int:
        if not self._addresses:
            raise Trap("unreachable")
        return self._addresses.pop()


def _opened(context: Context) -> None:
    """One handle of each resource that a guest can have, from 1 on."""
    handles = context.state(Handles)
    model: Any = Doubler()
    request = IncomingRequest("GET", "/a?b", "c", [("d", b"e")], b"body")
    for item in (
        request,
        IncomingBody(b"a body"),
        InputStream(b"a stream"),
        Stdin(),
        Writer(Lines(STDERR)),
        Writer(Reply(bytearray())),
        OutgoingBody(),
        Writer(OutgoingBody()),
        Fields([("f", b"g")]),
        Fields([("h", b"i")], fixed=True),
        OutgoingResponse(Fields()),
        OutgoingRequest(Fields()),
        ResponseOutparam(),
        FutureTrailers(),
        Options(),
        Pollable(),
        Pollable(1 << 63),
        IoError(),
        Network(),
        NnTensor(context, (1, 3), "FP32", bytes(12)),
        Graph(model),
        Execution(model),
        NnFault("unknown", "why"),
    ):
        handles.add(item)


@settings(max_examples=400)
@given(st.data())
def test_any_numbers_in_any_function_get_an_answer_or_end_the_guest(data: st.DataObject) -> None:
    context = wat.context(0.02, inference=Models(), grants=GRANTED, host_memory=1 << 20, output=1 << 16)
    context.stdin = b"input"
    context.arguments = ("a", "b")
    host = GuardedHost(context, SIZE)
    _opened(context)
    enter(context, Guest(data.draw(st.lists(I32, max_size=4))))
    filled = data.draw(st.lists(I32, max_size=16))
    host.memory.write(0, b"".join(number.to_bytes(4, "little") for number in filled))
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
        assert context.held <= 1 << 20
    context.end()
