"""The guest host as the page reaches it: by service invocation over the HTTP API of the page's own sidecar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx2

from guesthouse.web import faults

LARGEST_ANSWER = 32 * 2**20  # bytes
CONNECT = 2.0  # seconds
CALL = "guesthouse-call"  # the header that names a call
_DEFAULT_PORT = "3500"


def url_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """The sidecar's HTTP API: `DAPR_HTTP_ENDPOINT`, else `DAPR_HTTP_PORT` of this machine."""
    endpoint = environment.get("DAPR_HTTP_ENDPOINT", "")
    return endpoint.rstrip("/") or f"http://127.0.0.1:{environment.get('DAPR_HTTP_PORT') or _DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a call. `seconds` is the round trip through both sidecars."""

    body: bytes
    content_type: str
    guest: str
    timing: str  # as in the header Server-Timing
    seconds: float


class GuestHost:
    """Invokes methods of the application `app` through the sidecar at `url`. Close it with `close`."""

    def __init__(self, url: str, app: str, token: str = "") -> None:
        self.url = url
        self.app = app
        # The sidecar runs beside us: no proxy of the environment leads there.
        self._client = httpx2.AsyncClient(
            headers={"dapr-api-token": token} if token else {},
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
            trust_env=False,
        )

    async def invoke(
        self,
        method: str,
        body: bytes = b"",
        *,
        verb: str = "POST",
        query: str = "",
        kind: str = "",
        call: str = "",
        wait: float,
    ) -> Answer:
        """Call a method. Raises `Fault`.

        `kind` is the body's content type, `call` a name by which the host can cancel the call, `wait` the seconds that
        an answer may take.
        """
        path = f"/v1.0/invoke/{quote(self.app, safe='')}/method/{quote(method)}"
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        began = time.perf_counter()
        try:
            async with self._client.stream(
                verb,
                url,
                content=body,
                headers={name: value for name, value in (("content-type", kind), (CALL, call)) if value},
                timeout=httpx2.Timeout(wait, connect=CONNECT),
            ) as response:
                data = await _read(response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise faults.sidecar_away(self.url) from None
        except httpx2.TimeoutException:
            raise faults.sidecar_slow(wait) from None
        except httpx2.HTTPError as error:  # the sidecar went away while it answered
            raise faults.host_away(self.app, str(error)) from None
        if response.status_code != 200:
            raise faults.of_answer(response.status_code, data, self.app)
        headers = response.headers
        return Answer(
            data,
            headers.get("content-type", ""),
            headers.get("guesthouse-guest", ""),
            headers.get("server-timing", ""),
            time.perf_counter() - began,
        )

    async def own_app(self) -> str:
        """The app id of the page's own sidecar; "" where the sidecar does not say."""
        try:
            response = await self._client.get(f"{self.url}/v1.0/metadata", timeout=httpx2.Timeout(2.0))
            found = json.loads(response.content) if len(response.content) < LARGEST_ANSWER else None
        except (httpx2.HTTPError, ValueError):
            return ""
        return str(found.get("id") or "")[:100] if isinstance(found, dict) else ""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(response: httpx2.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > LARGEST_ANSWER:
            raise faults.Fault(
                502,
                "answer-too-large",
                "The answer is too large",
                f"The guest answered with more than {LARGEST_ANSWER >> 20} MiB, which the page does not show.",
                "Use another client for this method.",
            )
    return bytes(data)
