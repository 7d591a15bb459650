"""Asks a server on this machine whether it is healthy: exit code 0 if it is. For the health checks of containers.

    health.py grpc://127.0.0.1:50051     # grpc.health.v1 of the guest host
    health.py http://127.0.0.1:8080/healthz   # any 2xx

Nothing of the application is imported, so that a check is fast.
"""

from __future__ import annotations

import sys
import urllib.request
from urllib.parse import urlsplit

SECONDS = 2.0
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}; the request for the whole server is an empty message


def serves_grpc(address: str) -> bool:
    """Call `grpc.health.v1.Health/Check`. Raises `grpc.RpcError` where no server answers."""
    import grpc  # only here: a check over HTTP does not need it

    # The server is on this machine, so no proxy is used.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
        return check(b"", timeout=SECONDS) == SERVING


def serves_http(url: str) -> bool:
    """Get the URL. Raises `OSError` where no server answers, or where the status is an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=SECONDS) as answer:
        return bool(200 <= answer.status < 300)


def main(url: str) -> int:
    try:
        healthy = serves_grpc(urlsplit(url).netloc) if url.startswith("grpc://") else serves_http(url)
    except Exception as error:  # any error means that it does not serve; Docker shows what is printed
        print(f"{url}: {error}")
        return 1
    if not healthy:
        print(f"{url}: not serving")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
