"""The imports by which older wasmedge-bindgen guests hand their result over (era B of `calling/bindgen.py`).

The module `env` (tags 0.1.3 to 0.1.10, see `env.py`) passes raw bytes. The module `wasmedge-bindgen` passes raw bytes
in 0.1.11 and triples from 0.1.12 to 0.3.0, under the same types: which of the two came is seen from the memory. The
guest may use that memory again when the import returns, so the result is copied here, into a `BindgenResult`, from
which the calling convention takes it. Each function is described in docs/abi.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from guesthouse_abi import bindgen_values
from guesthouse_abi.bindgen_values import TRIPLE, check_output, known_value, result_as_bytes
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, OutOfBounds
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.lastwords import ERROR_TEXT

MODULE = HostModule("wasmedge-bindgen")

_MOST_TRIPLES = bindgen_values.MOST_VALUES


class BindgenResult:
    """What a guest of era B has handed over during its call. `json`: whether triples become JSON."""

    def __init__(self) -> None:
        self.json = False
        self.reply: bytes | None = None
        self.error: str | None = None


def read_error(context: Context, pointer: int, length: int) -> str:
    """The text of the guest's own error, cut; all of it must lie inside the memory."""
    context.memory.check(pointer, length)
    return context.memory.read(pointer, min(length, ERROR_TEXT)).decode("utf-8", "replace")


@contextlib.contextmanager
def _bad_reply_outside_memory() -> Iterator[None]:
    """A pointer outside the memory is a broken reply here, as it is in era C, and no trap."""
    try:
        yield
    except OutOfBounds as error:
        raise BadReply(f"the guest broke its calling convention: {error}") from None


def return_raw(context: Context, pointer: U32, length: U32) -> None:
    """Keep raw bytes as the reply."""
    check_output(context, length)
    with _bad_reply_outside_memory():
        context.state(BindgenResult).reply = context.memory.read(pointer, length)


@MODULE.function("return_result")
def return_triples(context: Context, pointer: U32, count: U32) -> None:
    """Keep the reply: triples where the memory holds `count` sound ones, else `count` raw bytes."""
    result = context.state(BindgenResult)
    if _are_triples(context, pointer, count):
        result.reply = (bindgen_values.results_as_json if result.json else result_as_bytes)(context, pointer, count)
    elif result.json:
        raise BadReply(
            'the guest returned raw bytes, without their type: values = "json" needs wasmedge-bindgen 0.1.12'
        )
    else:
        return_raw(context, pointer, count)


def _are_triples(context: Context, pointer: int, count: int) -> bool:
    if count > _MOST_TRIPLES:
        return False
    memory = context.memory
    try:
        for index in range(count):
            value, tag, length = memory.unpack(TRIPLE, pointer + index * TRIPLE.size)
            memory.check(value, length)
            if not known_value(tag, length):
                return False
    except OutOfBounds:
        return False
    return True


@MODULE.function("return_error")
def return_error(context: Context, pointer: U32, length: U32) -> None:
    """Keep the guest's own error."""
    with _bad_reply_outside_memory():
        context.state(BindgenResult).error = read_error(context, pointer, length)
