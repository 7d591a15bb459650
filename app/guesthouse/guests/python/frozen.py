"""The child process that freezes a script: starts the interpreter, imports the script, and keeps the memory of then.

What it makes is the template's artefact with other bytes for the memory: native code depends on no data. The script
runs in a sandbox as in an event, with the guest's files and variables, and with nothing else of what it is granted. The
process gives up files, sockets and system calls before that, as a worker process does.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

from guesthouse.engine import open_engine
from guesthouse.engine.base import PAGE, EngineConfig, Instance, Refused
from guesthouse.guests.process import confine
from guesthouse.guests.python import CALLS_FILE, ENTRY_AT, MEMORY, STACK, STACK_AT, START
from guesthouse_abi import errors
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports import host_modules
from guesthouse_abi.imports.wasi_preview1 import last_words
from guesthouse_abi.imports.wasi_preview1.calls_file import Freezing
from guesthouse_abi.imports.wasi_preview1.descriptors import OpenFile, descriptors
from guesthouse_abi.services import Log, NoLog, Services

_RESERVED = 1024  # bytes at the beginning of the memory that nothing of the interpreter's is in
_OURS = 32  # of these, what we use


def translate(bundle: bytes, engine_name: str, template: str, memory: str, seconds: str) -> bytes:
    """The artefact of a bundle (`guests.python.bundle`). Raises `Refused`. Runs in a child process (`compiler.py`)."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        settings, *files = archive.infolist()
        told = json.loads(archive.read(settings))
        contents = {file.filename: archive.read(file) for file in files}
    context = Context(
        Deadline.after(float(seconds)),
        Grants(env=tuple((name, value) for name, value in told["env"]), calls_file=CALLS_FILE),
        Limits(memory=int(memory)),
        Services({Log: NoLog()}),
        arguments=("python", "-B", "/guesthouse/start.py", told["script"]),
        variables=lambda: context.grants.env,
        files=Files(contents),
    )
    freezing = context.state(Freezing)
    engine = open_engine(engine_name, EngineConfig(1, int(memory), pooling=False))
    artefact = Path(template).read_bytes()
    modules = host_modules()
    module = engine.load(artefact)
    linked = module.link([modules[one.module].functions[one.name] for one in module.imports])
    instance = linked.instantiate(context)
    try:
        before = _whole(instance)
        at = artefact.find(before)
        if at < 0 or artefact.find(before, at + 1) >= 0:
            raise Refused(f"{engine_name} keeps a module's memory otherwise than scripts in Python need: use wasmtime")
        confine.when_loaded(int(memory) + 4 * len(artefact))
        _start(instance, context, told["script"])
        if freezing.entry is None:
            raise Refused(f"{told['script']} ended the interpreter while it was imported: leave exit out")
        _looked_at(context, instance, told["script"])
        stack = instance.call(STACK)
        after = bytearray(_whole(instance))
    finally:
        instance.close()
        engine.close()
    struct.pack_into("<I", after, STACK_AT, stack)
    struct.pack_into("<I", after, ENTRY_AT, freezing.entry)
    return artefact[:at] + after + artefact[at + MEMORY :]


def _whole(instance: Instance) -> bytes:
    assert instance.memory is not None
    return instance.memory.read(0, MEMORY)


def _start(instance: Instance, context: Context, script: str) -> None:
    """Run the interpreter until it ends itself. Raises `Refused`."""
    why = ""
    try:
        instance.call(START)
    except errors.Exit as end:
        if not end.code:
            return
    except errors.DeadlineExceeded:
        why = "it takes too long"
    except errors.CallError as error:
        why = f"trap: {error}"
    words = last_words(context)
    raise Refused(f"{script} cannot be imported: {why or words or 'it gives no reason'}")


def _looked_at(context: Context, instance: Instance, script: str) -> None:
    """Refuse what has no place in a frozen state."""
    memory = instance.memory
    assert memory is not None
    if memory.size > MEMORY:
        size = memory.size // PAGE * PAGE >> 20
        most = MEMORY >> 20
        raise Refused(
            f"{script} and what it imports have {size} MiB of memory once they are loaded; at most {most} MiB can be "
            "kept: load large data in the handler"
        )
    if any(isinstance(one, OpenFile) for one in descriptors(context).open.values()):
        raise Refused(
            f"{script} keeps a file open once it is loaded, which no event would have: open it in the handler"
        )
    if memory.read(_OURS, _RESERVED - _OURS).strip(b"\0"):
        raise Refused("the interpreter uses memory that it should not: take the package that the documentation names")
