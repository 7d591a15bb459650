"""Which headers a guest may set in its reply to an invocation: in a CGI reply (`calling/cgi.py`), or by `dapr_v1`."""

from __future__ import annotations

import re

BLOCK = 4096  # bytes of all headers: a sidecar takes some KiB of metadata from an application

LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):[ \t]*([\x20-\x7e]*?)[ \t]*\r?", re.ASCII)
#: Of the connection, of gRPC, or of the host: nobody's to set.
_RESERVED = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "wasm-status"}
)


_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)


def may_be_set(name: str, value: str) -> bool:
    """Whether a guest may set this header of its reply; the name is in lower case."""
    if name in _RESERVED or name.startswith(("grpc-", "dapr-", "guesthouse-")) or name.endswith("-bin"):
        return False
    return _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None
