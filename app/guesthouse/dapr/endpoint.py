"""Where the sidecar's own gRPC API listens, and the one connection to it: of `guest_calls`, `outputs`, `subscribed`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import grpc
from grpc.experimental import ChannelOptions

from guesthouse.dapr.convert import Metadata
from guesthouse.dapr.tokens import TOKEN_KEY

_DEFAULT_PORT = "50001"
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The sidecar runs beside us: no proxy of the environment leads there.
    ("grpc.enable_http_proxy", 0),
    # A sidecar ends connections that are pinged more often than every 8 s.
    ("grpc.keepalive_time_ms", 30_000),
    # A restarted sidecar is found soon: gRPC's own back-off goes up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # gRPC makes no call again, and keeps nothing for that: who calls knows what may be repeated.
    ("grpc.enable_retries", 0),
    # A call with a stream of responses is read by whoever waits for it, without a thread of gRPC's between the two.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the sidecar's gRPC API is."""

    target: str
    tls: bool = False
    token: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Endpoint:
        """`DAPR_GRPC_ENDPOINT` (`host:port`, also `https://…` or `…?tls=true`), else `DAPR_GRPC_PORT` of this machine.

        `DAPR_API_TOKEN` is what the sidecar asks of its callers.
        """
        token = environment.get("DAPR_API_TOKEN", "")
        if not (url := environment.get("DAPR_GRPC_ENDPOINT", "")):
            return cls(f"127.0.0.1:{environment.get('DAPR_GRPC_PORT') or _DEFAULT_PORT}", token=token)
        target, _, query = url.partition("?")
        tls = parse_qs(query).get("tls") == ["true"]
        if target.startswith(("http://", "https://")):
            parts = urlsplit(target)
            tls = tls or parts.scheme == "https"
            target = parts.netloc if parts.port else f"{parts.netloc}:{443 if tls else 80}"
        return cls(target, tls, token)


class SidecarConnection:
    """The connection to a sidecar, which begins with the first call. Whoever opens it closes it, after all that call.

    `metadata` is what each call needs.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.target = endpoint.target
        self.metadata: Metadata = ((TOKEN_KEY, endpoint.token),) if endpoint.token else ()
        if endpoint.tls:
            self.channel = grpc.secure_channel(endpoint.target, grpc.ssl_channel_credentials(), _OPTIONS)
        else:
            self.channel = grpc.insecure_channel(endpoint.target, _OPTIONS)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self.channel.close()
