"""WASI preview 2 (0.2): what a component may import, by interface. Each is described in docs/abi.md, "Components".

The signatures are those of the texts in the folder `wit`. A file here answers one package, or a part of one: its
functions work on values, and what turns these into a guest's bytes is in `canonical`. What a guest has is what it has
in preview 1: arguments, environment, clocks, random bytes, standard streams. It has no directories and no sockets, and
makes no requests of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from guesthouse_abi.canonical.functions import Answered, named
from guesthouse_abi.host import HostFunction


@cache
def interfaces() -> Mapping[str, Answered]:
    """Every interface that the host answers, by name without a version."""
    from guesthouse_abi.imports.preview2 import cli, clocks, config, files, http, io, logging, nn, random, sockets

    modules = (cli, clocks, config, files, http, io, logging, nn, random, sockets)
    return {one.name: one for module in modules for one in module.INTERFACES}


def host_function(module: str, name: str) -> HostFunction | None:
    """What answers a component's import; None for what is none of an interface that the host answers."""
    interface, version = named(module)
    known = interfaces()
    answered = known.get(interface)
    if answered is None or not version.startswith(answered.version):
        return None
    for one in known.values():
        one.prepare()  # a handle of one interface is a parameter of another's functions
    return answered.host_function(module, name)
