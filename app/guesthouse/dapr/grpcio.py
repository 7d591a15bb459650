"""A gRPC server on gRPC's own core, with the threads that answer its calls: they end with the server.

`native.NativeServer` has the same shape, and one of these behind it. Which of the two serves is decided in `core`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc

from guesthouse.dapr.executor import ElasticExecutor


class GrpcioServer(grpc.Server):
    """A server with `least` to `most` threads (see `executor`). All else is as grpcio has it."""

    def __init__(self, least: int, most: int, name: str, options: Sequence[tuple[str, int]]) -> None:
        self._name = name
        self._threads = ElasticExecutor(least, most, name)
        # Its stubs ask for a ThreadPoolExecutor; it calls `submit` and no more.
        self._server = grpc.server(self._threads, options=list(options))  # type: ignore[arg-type]

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self._server.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    def start(self) -> None:
        self._server.start()

    def stop(self, grace: float | None) -> threading.Event:
        """See `grpc.Server.stop`. The threads end when no call is in flight any more, or at once without `grace`."""
        ended = self._server.stop(grace)

        def end() -> None:
            ended.wait()
            self._threads.shutdown()

        if grace:
            threading.Thread(target=end, name=f"{self._name}-end", daemon=True).start()
        else:
            self._threads.shutdown()
        return ended

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        return self._server.wait_for_termination(timeout)
