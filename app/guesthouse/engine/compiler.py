"""Compiling in a bounded child process.

`compile_module` starts this very file as a program: isolated, with an empty environment, its memory and time bounded,
so that a module which is slow or huge to compile costs nobody else. It bounds resources; it is no defence against a
flaw in the compiler itself. Where artefacts are kept is `cache.py`'s matter.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

TIME = 120.0  # seconds, wall clock
MEMORY = 2 << 30  # bytes, resident
MESSAGE = 2000  # characters of the compiler's own words
_SLACK = 1 << 30  # bytes
_LOOK = 0.02  # seconds between looks at the child


class CompileError(Exception):
    """A module that does not compile, or not within the bounds. The text is for the operator."""


def compile_module(engine: str, wasm: Path, artefact: Path, *, time: float = TIME, memory: int = MEMORY) -> None:
    """Compile the file `wasm` for `engine` into the new file `artefact`, in a child process.

    Raises `CompileError`: not Wasm, invalid, or beyond `time` (seconds) or `memory` (bytes).
    """
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-I", __file__, str(root), _abi_root(), engine, str(wasm), str(artefact), str(memory)]
    with subprocess.Popen(
        command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        said = _watched(child, monotonic() + time, memory)
    if child.returncode == 0:
        return
    if b"not implemented" in said:
        raise CompileError("an import or export uses a type that hosts cannot handle (v128, typed references)")
    text = said.decode("utf-8", "replace").strip()[-MESSAGE:]
    if child.returncode == 2:
        raise CompileError(text)
    if child.returncode == -signal.SIGKILL:
        raise CompileError(f"compiling took more than {time:g} s or {memory >> 20} MiB of memory and was ended")
    raise CompileError(f"the compiler ended with {_ending(child.returncode)}: {text}")


def _watched(child: subprocess.Popen[bytes], end: float, memory: int) -> bytes:
    """What the child says on standard error; it is killed past `end`, or above `memory` bytes."""
    while (said := _said(child)) is None:
        if monotonic() > end or _resident(child.pid) > memory:
            child.kill()
    return said


def _said(child: subprocess.Popen[bytes]) -> bytes | None:
    try:
        return child.communicate(timeout=_LOOK)[1]
    except subprocess.TimeoutExpired:
        return None


def _resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _abi_root() -> str:
    import guesthouse_abi

    return str(Path(guesthouse_abi.__file__).resolve().parents[1])


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def main(arguments: list[str]) -> int:
    """The child: exit 0 with the artefact written, 2 with a message for an invalid module."""
    *roots, engine, wasm, artefact, memory = arguments
    sys.path[:0] = roots
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIME) * 4, int(TIME) * 4))  # several threads compile
    # The parent looks at resident memory and kills; this holds between two looks. It is wider, because the compiler's
    # allocator tries for ever to get what it is refused. (RLIMIT_AS would break the engine's reservations.)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory) + _SLACK, int(memory) + _SLACK))
    if engine != "wasmtime":
        sys.stderr.write(f"no compiler for the engine {engine!r}\n")
        return 2
    import wasmtime

    from guesthouse.engine.wasmtime import configure

    config = wasmtime.Config()
    configure(config)
    try:
        module = wasmtime.Module(wasmtime.Engine(config), Path(wasm).read_bytes())
    except wasmtime.WasmtimeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    # Reading a type that wasmtime's C interface does not know (v128, typed references) aborts the process: better this
    # one than the server, which reads them all again when it loads the artefact.
    for kind in [*(i.type for i in module.imports), *(e.type for e in module.exports)]:
        if isinstance(kind, wasmtime.FuncType):
            _ = [str(value) for value in (*kind.params, *kind.results)]
    Path(artefact).write_bytes(module.serialize())
    return 0


if __name__ == "__main__":
    # This folder holds a module called wasmtime.py: it must not hide the package of that name.
    sys.path[:] = [p for p in sys.path if p != str(Path(__file__).resolve().parent)]
    sys.exit(main(sys.argv[1:]))
