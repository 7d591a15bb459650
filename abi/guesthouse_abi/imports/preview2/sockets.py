"""`wasi:sockets`: a guest has no network. Whatever would make a socket or look a name up refuses, as access denied."""

from __future__ import annotations

from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.context import Context
from guesthouse_abi.imports.preview2.io import IoError


class Network:
    """The resource `network`, which is good for nothing."""


NETWORK = Answered("wasi:sockets/network", network=Network)
INSTANCE = Answered("wasi:sockets/instance-network")
NAMES = Answered("wasi:sockets/ip-name-lookup")
CREATE_TCP = Answered("wasi:sockets/tcp-create-socket")
CREATE_UDP = Answered("wasi:sockets/udp-create-socket")
INTERFACES = (
    NETWORK,
    INSTANCE,
    NAMES,
    CREATE_TCP,
    CREATE_UDP,
    Answered("wasi:sockets/tcp"),
    Answered("wasi:sockets/udp"),
)


@NETWORK.function("network-error-code")
def error_code(context: Context, error: IoError) -> None:
    return None


@INSTANCE.function("instance-network")
def instance_network(context: Context) -> Network:
    return Network()


@NAMES.function("resolve-addresses")
def resolve_addresses(context: Context, network: Network, name: str) -> None:
    raise Fail("access-denied")


@CREATE_TCP.function("create-tcp-socket")
@CREATE_UDP.function("create-udp-socket")
def create_socket(context: Context, family: str) -> None:
    raise Fail("access-denied")
