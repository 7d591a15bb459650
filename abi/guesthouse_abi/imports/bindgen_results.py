"""The imports by which older wasmedge-bindgen guests hand their result over (era B of `calling/bindgen.py`).

Module `env` (tags 0.1.3 to 0.1.10, see `env.py`) passes raw bytes; module `wasmedge-bindgen` passes raw bytes in
0.1.11 and triples from 0.1.12 to 0.3.0, under the same types: there the memory decides. What is passed is the
guest's again when the import returns, so it is copied here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from guesthouse_abi.calling import values
from guesthouse_abi.calling.bindgen import BindgenResult, read_error
from guesthouse_abi.calling.values import TRIPLE, check_output, known_value, read_results
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, OutOfBounds
from guesthouse_abi.host import U32, HostModule

MODULE = HostModule("wasmedge-bindgen")

_MOST_TRIPLES = values.MOST


@contextlib.contextmanager
def _of_the_convention() -> Iterator[None]:
    """What points outside the memory here is a broken reply, as it is in era C, and no trap."""
    try:
        yield
    except OutOfBounds as error:
        raise BadReply(f"the guest broke its calling convention: {error}") from None


def return_raw(context: Context, pointer: U32, length: U32) -> None:
    """Keep raw bytes as the reply."""
    check_output(context, length)
    with _of_the_convention():
        context.state(BindgenResult).reply = context.memory.read(pointer, length)


@MODULE.function("return_result")
def return_triples(context: Context, pointer: U32, count: U32) -> None:
    """Keep the reply: triples where the memory holds `count` sound ones, else `count` raw bytes."""
    result = context.state(BindgenResult)
    if _are_triples(context, pointer, count):
        result.reply = (values.results if result.json else read_results)(context, pointer, count)
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
    with _of_the_convention():
        context.state(BindgenResult).error = read_error(context, pointer, length)
