"""Which headers a guest may set in its reply to an invocation: in a CGI reply (`calling/cgi.py`), or by `dapr_v1`."""

from __future__ import annotations

import re

BLOCK = 4096  # bytes of all headers: a sidecar takes some KiB of metadata from an application

LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):[ \t]*([\x20-\x7e]*?)[ \t]*\r?", re.ASCII)
#: Of the connection, of gRPC, or of the host: nobody's to set.
_RESERVED = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "wasm-status"}
)


def may_be_set(name: str, value: str) -> bool:
    """Whether a guest may set this header of its reply; the name is in lower case."""
    if name in _RESERVED or name.startswith(("grpc-", "dapr-", "guesthouse-")) or name.endswith("-bin"):
        return False
    return LINE.fullmatch(f"{name}:{value}") is not None and name == name.lower()
