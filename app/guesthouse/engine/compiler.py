"""Compiling in bounded child processes.

`compile_module` runs each of an engine's steps as a program of its own: isolated, with an empty environment, its memory
and time bounded, so that a module which is slow or huge to compile costs nobody else. It bounds resources; it is no
defence against a flaw in the compiler itself. Where artefacts are kept is `cache.py`'s matter.
"""

from __future__ import annotations

import importlib
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from guesthouse.engine.base import Refused, Step
from guesthouse.system import children

TIME = 120.0  # seconds, wall clock
MEMORY = 2 << 30  # bytes, resident
MESSAGE = 2000  # characters of the compiler's own words
_SLACK = 1 << 30  # bytes
_LOOK = 0.02  # seconds between looks at the child


class CompileError(Exception):
    """A module that does not compile, or not within the bounds. The text is for the operator."""


def compile_module(
    steps: Sequence[Step], wasm: Path, artefact: Path, *, time: float = TIME, memory: int = MEMORY
) -> None:
    """Compile the file `wasm` by an engine's steps into the new file `artefact`, each step in a child process.

    Raises `CompileError`: not Wasm, invalid, or beyond `time` (seconds) or `memory` (bytes).
    """
    end = monotonic() + time
    for step in steps:
        command = children.command(
            step.interpreter, __name__, step.module, str(wasm), str(artefact), str(memory), *step.arguments
        )
        try:
            code, said = _run(command, end, memory)
        except OSError as error:
            raise CompileError(f"{step.interpreter} cannot be run: {error.strerror}") from None
        if code != 0:
            raise CompileError(_reason(code, said, time, memory))
        wasm = artefact  # the next step goes on with it


def _run(command: Sequence[str], end: float, memory: int) -> tuple[int, bytes]:
    """How a child ended, and what it said on standard error; it is killed past `end`, or above `memory` bytes."""
    with subprocess.Popen(
        command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        while (said := _said(child)) is None:
            if monotonic() > end or _resident(child.pid) > memory:
                child.kill()
    return child.returncode, said


def _reason(code: int, said: bytes, time: float, memory: int) -> str:
    text = said.decode("utf-8", "replace").strip()[-MESSAGE:]
    if code == 2:
        return text
    if code == -signal.SIGKILL:
        return f"compiling took more than {time:g} s or {memory >> 20} MiB of memory and was ended"
    if b"not implemented" in said:  # wasmtime's C interface at a type that it cannot tell
        return "an import or export uses a type that hosts cannot handle (v128, typed references)"
    return f"the compiler ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}: {text}"


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


def main(arguments: list[str]) -> int:
    """The child: exit 0 with the artefact written, 2 with a message for a module that is refused."""
    module, wasm, artefact, memory, *others = arguments
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIME) * 4, int(TIME) * 4))  # several threads compile
    # The parent looks at resident memory and kills; this holds between two looks. It is wider, because the compiler's
    # allocator tries for ever to get what it is refused. (RLIMIT_AS would break the engine's reservations.)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory) + _SLACK, int(memory) + _SLACK))
    translate = importlib.import_module(module).translate
    try:
        made = translate(Path(wasm).read_bytes(), *others)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    Path(artefact).write_bytes(made)
    return 0
