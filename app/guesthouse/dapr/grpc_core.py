"""The gRPC implementation under both servers, the application's and the component's: named here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import grpc

#: A proxy between a sidecar and us may ping as often as it likes.
ANY_PINGS = (("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_ping_strikes", 0))


def new_server(threads: Executor, options: Sequence[tuple[str, int]]) -> grpc.Server:
    """A server whose calls are answered in `threads`; it has no port and no services yet."""
    # The stubs ask for a ThreadPoolExecutor; the server calls `submit` and no more.
    return grpc.server(threads, options=[*options, *ANY_PINGS])  # type: ignore[arg-type]
