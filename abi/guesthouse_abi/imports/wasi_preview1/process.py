"""Arguments, environment, random bytes, and how a program ends. Each function is described in docs/abi.md."""

from __future__ import annotations

import os
import struct

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Exit
from guesthouse_abi.host import I32, U32
from guesthouse_abi.imports.wasi_preview1.wire import MODULE, NOSYS, SUCCESS

#: Random bytes made at a time; the deadline is looked at in between.
RANDOM_CHUNK = 1 << 18


class Strings:
    """Arguments and environment as C strings, made when first asked for and then kept: a guest asks for the sizes first
    and for the contents later, and both must agree."""

    def __init__(self) -> None:
        self.arguments: list[bytes] | None = None
        self.environment: list[bytes] | None = None


def _arguments(context: Context) -> list[bytes]:
    strings = context.state(Strings)
    if strings.arguments is None:
        strings.arguments = [_c_string(text.replace("\0", "")) for text in context.arguments]
    return strings.arguments


def _environment(context: Context) -> list[bytes]:
    """`name=value` strings."""
    strings = context.state(Strings)
    if strings.environment is None:
        strings.environment = [_c_string(f"{name}={value}") for name, value in variables_of(context)]
    return strings.environment


def variables_of(context: Context) -> list[tuple[str, str]]:
    """The environment. What has no form as `name=value` is left out: no name, `=` in the name, NUL anywhere."""
    return [
        (name, value) for name, value in context.variables() if name and "=" not in name and "\0" not in name + value
    ]


def _c_string(text: str) -> bytes:
    return text.encode(errors="replace") + b"\0"


def _write_sizes(context: Context, strings: list[bytes], count: int, size: int) -> I32:
    memory = context.memory
    memory.check(size, 4)
    memory.set_u32(count, len(strings))
    memory.set_u32(size, sum(map(len, strings)))
    return SUCCESS


def _write_strings(context: Context, strings: list[bytes], pointers: int, buffer: int) -> I32:
    memory = context.memory
    memory.check(pointers, 4 * len(strings))
    memory.write(buffer, b"".join(strings))
    starts = []
    for string in strings:
        starts.append(buffer)
        buffer += len(string)
    memory.write(pointers, struct.pack(f"<{len(starts)}I", *starts))
    return SUCCESS


@MODULE.function()
def args_sizes_get(context: Context, count: U32, size: U32) -> I32:
    return _write_sizes(context, _arguments(context), count, size)


@MODULE.function()
def args_get(context: Context, pointers: U32, buffer: U32) -> I32:
    return _write_strings(context, _arguments(context), pointers, buffer)


@MODULE.function()
def environ_sizes_get(context: Context, count: U32, size: U32) -> I32:
    return _write_sizes(context, _environment(context), count, size)


@MODULE.function()
def environ_get(context: Context, pointers: U32, buffer: U32) -> I32:
    return _write_strings(context, _environment(context), pointers, buffer)


@MODULE.function()
def random_get(context: Context, buffer: U32, length: U32) -> I32:
    memory = context.memory
    memory.check(buffer, length)
    for start in range(0, length, RANDOM_CHUNK):
        context.deadline.check()
        memory.write(buffer + start, os.urandom(min(RANDOM_CHUNK, length - start)))
    return SUCCESS


@MODULE.function()
def sched_yield(context: Context) -> I32:
    return SUCCESS


@MODULE.function()
def proc_raise(context: Context, signal: U32) -> I32:
    return NOSYS


@MODULE.function()
def proc_exit(context: Context, code: I32) -> None:
    # Unsigned in the interface's text; signed here, so that a message shows exit(-1) as its author wrote it.
    raise Exit(code)
