"""Whether the application is healthy: to a sidecar (AppCallbackHealthCheck) and to everybody else (grpc.health.v1).

It is healthy from the moment that the port opens, which is when everything is loaded, until it drains. A health probe
is answered without any work.
"""

from __future__ import annotations

from dapr.proto.runtime.v1 import appcallback_pb2_grpc
from dapr.proto.runtime.v1.appcallback_pb2 import DESCRIPTOR, HealthCheckResponse
from google.protobuf.empty_pb2 import Empty
from grpc import Server, ServicerContext
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH, SERVICE_NAME, HealthServicer

from guesthouse.dapr import status
from guesthouse.event import Failure, Reason

_DAPR = tuple(service.full_name for service in DESCRIPTOR.services_by_name.values())
SERVICES = (*_DAPR, SERVICE_NAME)
"""The names of all services of the server."""


class Health(appcallback_pb2_grpc.AppCallbackHealthCheckServicer):
    """Both health services, with one state."""

    def __init__(self) -> None:
        self._draining = False
        self.heard = False  # whether a sidecar has ever asked; probes that are no sidecars ask the standard service
        self._standard = HealthServicer()
        for service in (OVERALL_HEALTH, *_DAPR):
            self._standard.set(service, health_pb2.HealthCheckResponse.SERVING)

    def add_to(self, server: Server) -> None:
        """Register both services."""
        appcallback_pb2_grpc.add_AppCallbackHealthCheckServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._standard, server)

    def drain(self) -> None:
        """Be unhealthy from now on, so that the sidecar stops sending events."""
        self._draining = True
        self._standard.enter_graceful_shutdown()

    @property
    def draining(self) -> bool:
        """Whether it has begun to drain."""
        return self._draining

    def HealthCheck(self, request: Empty, context: ServicerContext) -> HealthCheckResponse:
        """OK while healthy, UNAVAILABLE while draining."""
        self.heard = True
        if self._draining:
            status.abort(context, Failure(Reason.DRAINING, "the application is shutting down"))
        return HealthCheckResponse()
