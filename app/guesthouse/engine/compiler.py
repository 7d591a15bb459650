"""Compiling in child processes with bounds on time and memory.

`compile_module` runs each of an engine's steps in a process of its own: isolated, with an empty environment. So a
module that is slow or huge to compile does not slow down anything else. This bounds resources; it does not protect
against a flaw in the compiler. Where artefacts are kept is in `cache.py`.
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

from guesthouse.engine.base import CompileStep, Refused
from guesthouse.system import children

TIME = 120.0  # seconds, wall clock
MEMORY = 2 << 30  # bytes, resident
MESSAGE = 2000  # characters of the compiler's error text that are shown
_EXTRA_DATA = 1 << 30  # bytes by which the child's own limit is above `memory`
_POLL = 0.02  # seconds between two looks at the child


class CompileError(Exception):
    """A module does not compile, or not within the bounds. The text is for the operator."""


def compile_module(
    steps: Sequence[CompileStep], wasm: Path, artefact: Path, *, time: float = TIME, memory: int = MEMORY
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
            code, error = _run(command, end, memory)
        except OSError as failed:
            raise CompileError(f"{step.interpreter} cannot be run: {failed.strerror}") from None
        if code != 0:
            artefact.unlink(missing_ok=True)  # a child makes the file before it knows
            raise CompileError(_reason(code, error, time, memory))
        wasm = artefact  # the next step reads what this one has written


def _run(command: Sequence[str], end: float, memory: int) -> tuple[int, bytes]:
    """Run a child: its exit code and standard error. It is killed after the time `end`, or above `memory` bytes."""
    with subprocess.Popen(
        command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        while (error := _error_text(child)) is None:
            if monotonic() > end or _resident(child.pid) > memory:
                child.kill()
    return child.returncode, error


def _reason(code: int, error: bytes, time: float, memory: int) -> str:
    """Why compiling failed, from the child's exit code and standard error."""
    text = error.decode("utf-8", "replace").strip()[-MESSAGE:]
    if code == 2:
        return text
    if code == -signal.SIGKILL:
        return f"compiling took more than {time:g} s or {memory >> 20} MiB of memory and was ended"
    if b"not implemented" in error:  # what wasmtime's C interface says about a type that it does not know
        return "an import or export uses a type that hosts cannot handle (v128, typed references)"
    return f"the compiler ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}: {text}"


def _error_text(child: subprocess.Popen[bytes]) -> bytes | None:
    """The standard error of a child that has ended within a moment; None while it runs."""
    try:
        return child.communicate(timeout=_POLL)[1]
    except subprocess.TimeoutExpired:
        return None


def _resident(pid: int) -> int:
    """The resident memory of a process in bytes; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def main(arguments: list[str]) -> int:
    """The child process: exits with 0 when the artefact is written, with 2 and a message when the module is refused."""
    module, wasm, artefact, memory, *others = arguments
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIME) * 4, int(TIME) * 4))  # several threads compile
    # The parent kills this process when its resident memory is over the bound; the limit here holds between two looks
    # of the parent's. It is wider than the bound, because the compiler's allocator never gives up asking for memory
    # that it is refused. (RLIMIT_AS would forbid the address space that the engine reserves.)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory) + _EXTRA_DATA, int(memory) + _EXTRA_DATA))
    translate = importlib.import_module(module).translate
    data = Path(wasm).read_bytes()
    with open(artefact, "wb") as target:  # a step may give up files: none can be opened after it
        try:
            target.write(translate(data, *others))
        except Refused as error:
            sys.stderr.write(f"{error}\n")
            return 2
    return 0
