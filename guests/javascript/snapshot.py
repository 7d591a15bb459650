"""Prepares a module: calls its export `prepare`, and writes a module whose memory begins as it is then.

    python guests/javascript/snapshot.py in.wasm out.wasm

What `prepare` does is then done once, when the guest is built, and not with each event. It must not need its imports:
here each gives 0. It leaves nothing but memory behind, for the stack is empty again when it returns. `_initialize` is
called by the host, as always.

The binary format is that of https://webassembly.github.io/spec/core/binary/modules.html.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import wasmtime

MEMORY, DATA, DATA_COUNT = 5, 11, 12
PAGE = 65536
GAP = 64  # zeros between two parts of the memory that are not written, or more


def _leb(value: int, signed: bool = False) -> bytes:
    found = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        done = value == (-1 if byte & 0x40 else 0) if signed else value == 0
        found.append(byte if done else byte | 0x80)
        if done:
            return bytes(found)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    at = 8
    while at < len(module):
        kind = module[at]
        size, at = _number(module, at + 1)
        yield kind, module[at : at + size]
        at += size


def _parts(memory: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of a memory that are not zeros, with their addresses."""
    at = 0
    while at < len(memory):
        if memory[at : at + GAP].strip(b"\0"):
            end = at
            while memory[end : end + GAP].strip(b"\0"):
                end += GAP
            yield at, memory[at:end]
            at = end
        else:
            at += GAP


def _memory_after(module: bytes) -> bytes:
    """The memory after `prepare`. Raises `RuntimeError` where that fails."""
    config = wasmtime.Config()
    engine = wasmtime.Engine(config)
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    compiled = wasmtime.Module(engine, module)
    for wanted in compiled.imports:
        kind = wanted.type
        assert isinstance(kind, wasmtime.FuncType)
        result = 0 if kind.results else None
        linker.define_func(wanted.module, str(wanted.name), kind, lambda *_, result=result: result)
    exports = linker.instantiate(store, compiled).exports(store)
    prepare, memory = exports["prepare"], exports["memory"]
    assert isinstance(prepare, wasmtime.Func)
    assert isinstance(memory, wasmtime.Memory)
    if failed := prepare(store):
        raise RuntimeError(f"prepare gave {failed}")
    return bytes(memory.read(store, 0, memory.data_len(store)))


def snapshot(module: bytes) -> bytes:
    """The module whose memory begins as `prepare` leaves it."""
    memory = _memory_after(module)
    parts = list(_parts(memory))
    data = _leb(len(parts)) + b"".join(
        b"\0\x41" + _leb(at, signed=True) + b"\x0b" + _leb(len(part)) + part for at, part in parts
    )
    made = bytearray(module[:8])
    for kind, payload in _sections(module):
        if kind == MEMORY:
            _, after = _number(payload, 2)  # one memory: its flags, then its least number of pages
            payload = payload[:2] + _leb(len(memory) // PAGE) + payload[after:]
        elif kind == DATA:
            payload = data
        elif kind == DATA_COUNT:
            payload = _leb(len(parts))
        made += bytes([kind]) + _leb(len(payload)) + payload
    return bytes(made)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_bytes(snapshot(source.read_bytes()))
