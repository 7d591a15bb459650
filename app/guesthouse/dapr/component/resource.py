"""The Component resource that a sidecar means with a call, as both of our services read it; and a sidecar's limit."""

from __future__ import annotations

import grpc

from guesthouse.dapr.proto.components_pb2 import MetadataRequest

#: The most bytes of a message that a sidecar takes from a component. A larger message ends its stream for good.
LARGEST = 4 * 2**20
_INSTANCE = "x-component-instance"


def instance_of(context: grpc.ServicerContext) -> str:
    """The name of the Component resource that a call is for; "" where the caller does not say."""
    return next((str(value) for key, value in context.invocation_metadata() if key == _INSTANCE), "")


def properties_of(metadata: MetadataRequest) -> dict[str, str]:
    """The Component resource's `spec.metadata`, names in lower case."""
    return {name.lower(): value for name, value in metadata.properties.items()}
