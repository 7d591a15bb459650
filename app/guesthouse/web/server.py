"""The page's web server: its files, and an API that calls fixed methods of the guest host and nothing else.

| path | answer |
|---|---|
| `/` | the page |
| `GET /api/status` | the host's status, and what the page itself is set to |
| `GET /api/events?after=CURSOR` | events that came since |
| `GET /api/pictures/ID` | a picture of one of them; with the query `large` a larger one |
| `GET /api/guests/NAME` | all that the host tells of one guest |
| `POST /api/call/METHOD` | the reply; headers `Guesthouse-Guest` and `Server-Timing`: who answered, at what cost |
| `GET /healthz` | whether this server is up |

Errors are JSON (`faults.Fault`). A browser may do what the page does and no more: no other site may call, nothing is
loaded from elsewhere, and no reply of a guest is rendered as a document.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hmac
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guesthouse.web import faults
from guesthouse.web.guest_host import Answer, GuestHost

STATIC = Path(__file__).parent / "static"
LARGEST_BODY = 16 * 2**20  # bytes; what a guest takes by default
PATIENCE = 30.0  # seconds that a guest may take; the page shows this limit
QUICK = 5.0  # seconds that the host's own methods may take
KNOWN_METHODS = frozenset({"api/image", "api/grayscale"})
_TRIES = (0.0, 0.2, 1.0, 3.0)  # seconds before each try to cancel a call
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_CURSOR = re.compile(r"[0-9a-f]{1,32}-[0-9]{1,18}", re.ASCII)
_PICTURE = re.compile(r"[0-9a-f]{1,32}-[0-9]{1,18}r?", re.ASCII)
_GUEST = re.compile(r"[\w-]{1,200}", re.ASCII)
_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(; ?charset=[\w-]{1,32})?", re.ASCII)

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def application(guest_host: GuestHost, hosts: frozenset[str] | None = LOOPBACK, token: str = "") -> Starlette:
    """The ASGI application. `hosts`: the names under which a browser may ask (None: any).

    `token` is asked for, where it is not empty: as the password of any name, which browsers ask their users for
    (RFC 7617), or as `Authorization: Bearer`. `/healthz` needs none.
    """
    api = _Api(guest_host)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await guest_host.close()

    return Starlette(
        routes=[
            Route("/healthz", _healthy),
            Route("/api/status", api.status),
            Route("/api/events", api.events),
            Route("/api/pictures/{id}", api.picture),
            Route("/api/guests/{name}", api.guest),
            Route("/api/call/{method:path}", api.call, methods=["POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        middleware=[Middleware(_Guard, hosts=hosts, token=token)],
        exception_handlers={faults.Fault: _fault, HTTPException: _http_error},
        lifespan=lifespan,
    )


class _Api:
    """The API for the page's script."""

    def __init__(self, guest_host: GuestHost) -> None:
        self._guest_host = guest_host
        self._methods: dict[str, list[str]] = {}  # by method of the host: the content types that its guest takes

    async def status(self, _: Request) -> Response:
        status = await self._ask("status")
        takes = {guest["name"]: guest.get("takes", []) for guest in status["guests"]}
        invoked = [route for route in status["routes"] if route["trigger"] == "invoke"]
        self._methods = {str(route["name"]): takes.get(route["guest"], []) for route in invoked}
        return _json(status)

    async def guest(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not _GUEST.fullmatch(name):
            raise faults.unknown_guest(name[:100])
        try:
            return _json(await self._ask(f"guests/{name}"))
        except faults.Fault as fault:
            raise (faults.unknown_guest(name) if fault.code == "not-shown" else fault) from None

    async def events(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        return _json(await self._ask("events", urlencode({"after": after}) if _CURSOR.fullmatch(after) else ""))

    async def picture(self, request: Request) -> Response:
        id = request.path_params["id"]
        if not _PICTURE.fullmatch(id):
            raise HTTPException(404)
        query = "large" if request.url.query == "large" else ""
        answer = await self._guest_host.invoke(f"_guesthouse/pictures/{id}", verb="GET", query=query, wait=QUICK)
        return Response(answer.body, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def call(self, request: Request) -> Response:
        method = request.path_params["method"]
        if method not in self._methods and method not in KNOWN_METHODS:
            raise faults.unknown_method(method[:100])
        body = await _body(request)
        kind = request.headers.get("content-type", "")
        name = uuid.uuid4().hex
        call = self._guest_host.invoke(
            method, body, kind=kind if _TYPE.fullmatch(kind) else "", call=name, wait=PATIENCE
        )
        try:
            answer = await _while_there(request, call, functools.partial(self._cancel, name))
        except faults.Fault as fault:
            raise faults.about_the_file(fault, self._methods.get(method, ())) from None
        timing = f"{answer.timing}, " if answer.timing else ""
        return Response(
            answer.body,
            headers={
                "content-type": answer.content_type or "application/octet-stream",
                "guesthouse-guest": answer.guest,
                "server-timing": f"{timing}sidecar;dur={answer.seconds * 1000:.3f}",
            },
        )

    async def _cancel(self, call: str) -> bool:
        """Have the host end a call: no sidecar tells it that nobody waits. Returns whether the host has ended it."""
        try:
            answer = await self._guest_host.invoke(f"_guesthouse/cancel/{call}", wait=QUICK)
            return json.loads(answer.body).get("canceled") is True
        except (faults.Fault, ValueError, AttributeError):
            return False  # the host does not answer this page, or is too old to cancel calls

    async def _ask(self, name: str, query: str = "") -> dict[str, Any]:
        """The answer of one of the host's own methods. Raises `Fault`."""
        try:
            answer = await self._guest_host.invoke(f"_guesthouse/{name}", verb="GET", query=query, wait=QUICK)
            found: dict[str, Any] = json.loads(answer.body)
        except faults.Fault as fault:
            if fault.reason != "NOT_FOUND":
                raise
        except ValueError:
            pass  # a guest has answered: it takes every method, this one too
        else:
            return found
        raise faults.not_shown(self._guest_host.app, await self._guest_host.own_app())


async def _while_there(
    request: Request, call: Coroutine[Any, Any, Answer], cancel: Callable[[], Awaitable[bool]]
) -> Answer:
    """Wait for the answer of a call. Where the browser hangs up before, end the call by `cancel`."""
    answering, gone = asyncio.ensure_future(call), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            for pause in _TRIES:  # the call may not have reached the host yet
                await asyncio.wait((answering,), timeout=pause)
                if answering.done() or await cancel():
                    break
            raise HTTPException(499, "nobody waits for the answer any more")
        return await answering
    finally:
        answering.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """The body. Not more than `LARGEST_BODY` bytes of it are read."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LARGEST_BODY:
        raise faults.too_large(LARGEST_BODY)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_BODY:
            raise faults.too_large(LARGEST_BODY)
    return bytes(data)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _json(value: object) -> Response:
    return JSONResponse(value, headers={"cache-control": "no-store"})


async def _fault(_: Request, error: Exception) -> Response:
    assert isinstance(error, faults.Fault)
    headers = {"cache-control": "no-store"}
    if error.status == 413:
        headers["connection"] = "close"  # the rest of the body is not read
    return JSONResponse(error.json(), error.status, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code)


class _Guard:
    """Refuses requests that the page does not make, and adds headers that keep a browser from making others."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, token: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_api = scope["path"].startswith("/api/")
        # A guest's reply must not run as a document, not even when a browser opens its address.
        policy = "default-src 'none'; sandbox; frame-ancestors 'none'" if is_api else _PAGE_POLICY

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {**_HEADERS, "content-security-policy": policy}
                if not is_api:
                    headers["cache-control"] = "no-cache"  # ask each time; the files have etags
                message["headers"] += [(name.encode(), value.encode()) for name, value in headers.items()]
            await send(message)

        why = self._why_not(Request(scope))
        if why:
            await (await _fault(Request(scope), faults.refused(why)))(scope, receive, guarded)
        elif self._token and scope["path"] != "/healthz" and not self._knows_the_token(Request(scope)):
            asks = {"www-authenticate": 'Basic realm="guesthouse", charset="UTF-8"', "connection": "close"}
            await PlainTextResponse("the page's token is asked for, as the password\n", 401, asks)(
                scope, receive, guarded
            )
        else:
            await self._app(scope, receive, guarded)

    def _why_not(self, request: Request) -> str:
        """Why a request is refused; "" where it is not."""
        host = request.headers.get("host", "")
        if self._hosts is not None and (urlsplit(f"//{host}").hostname or "") not in self._hosts:
            # DNS rebinding: a site whose name was made to lead here would otherwise count as our own origin.
            return "This server answers only to the names of this machine."
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "Another site may not call this one."
        return ""

    def _knows_the_token(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        token = given.strip().encode("latin-1", "replace")
        if kind.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(token, self._token)
