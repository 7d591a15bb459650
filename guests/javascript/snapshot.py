"""Prepares a module: calls its export `prepare`, and writes a module whose memory begins as it is then.

    python guests/javascript/snapshot.py in.wasm out.wasm

What `prepare` does is then done once, when the guest is built, and not with each event. It needs none of the host's
functions. `_initialize` is called by the host, as always, for it asks which files there are. How a snapshot is made is
in `guesthouse/engine/snapshot.py`, for guests whose manifest wants one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from guesthouse.engine.base import Module
from guesthouse.engine.initialise import compiled, state_after
from guesthouse.engine.snapshot import frozen
from guesthouse.guests.guest import resolve
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import HostFunction
from guesthouse_abi.imports import host_modules
from guesthouse_abi.services import Services

CALLS = ("prepare",)


def snapshot(module: bytes) -> bytes:
    """The module whose memory begins as `prepare` leaves it."""
    context = Context(Deadline.after(60), Grants(), Limits(), Services({}))
    state = state_after(*compiled(module), _functions, context, CALLS)
    return frozen(module, state, without=CALLS)


def _functions(module: Module) -> Sequence[HostFunction]:
    functions, faults = resolve(module, host_modules())
    if faults:
        raise RuntimeError("; ".join(faults))
    return functions


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_bytes(snapshot(source.read_bytes()))
