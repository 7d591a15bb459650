"""WASI preview 2 (0.2): what a component may import, by interface. Each is described in docs/abi.md, "Components".

The signatures are those of the texts in the folder `wit`. A file here answers one package, or a part of one: its
functions work on values, and what turns these into a guest's bytes is in `canonical`. What a guest has is what it has
in preview 1: arguments, environment, clocks, random bytes, standard streams, files. Its state, its messages and its
requests are calls to the sidecar. It has no sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from guesthouse_abi.canonical.functions import Answered, named
from guesthouse_abi.canonical.texts import packages_read
from guesthouse_abi.host import HostFunction

_prepared: set[int] = set()  # by how many packages were read


@cache
def interfaces() -> Mapping[str, tuple[Answered, ...]]:
    """Every interface that the host answers, by name without a version: each of its drafts that differ."""
    from guesthouse_abi.imports.preview2 import (
        cli,
        clocks,
        config,
        dapr,
        files,
        http,
        io,
        keyvalue,
        logging,
        messaging,
        nn,
        outgoing,
        random,
        sockets,
    )

    found: dict[str, tuple[Answered, ...]] = {}
    for module in (
        cli,
        clocks,
        config,
        dapr,
        files,
        http,
        io,
        keyvalue,
        logging,
        messaging,
        nn,
        outgoing,
        random,
        sockets,
    ):
        for one in module.INTERFACES:
            found[one.name] = (*found.get(one.name, ()), one)
    return found


def host_function(module: str, name: str) -> HostFunction | None:
    """What answers a component's import; None for what is none of an interface that the host answers."""
    interface, version = named(module)
    known = interfaces()
    answered = next((one for one in known.get(interface, ()) if one.has(version)), None)
    if answered is None:
        return None
    answered.prepare()
    prepare()
    return answered.host_function(module, name)


def prepare() -> None:
    """Say what the handles are of that the texts read so far name.

    A handle of one interface is a parameter of another's functions, or of a guest's export.
    """
    read = packages_read()
    if read in _prepared:
        return
    for drafts in interfaces().values():
        for one in drafts:
            if one.is_read:
                one.prepare()
    _prepared.add(read)
