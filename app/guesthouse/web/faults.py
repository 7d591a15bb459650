"""What can go wrong between the page and a guest, in words for the person who looks at the page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit


@dataclass(eq=False)
class Fault(Exception):
    """What happened (`title`, `text`) and what to do (`remedy`). `status` is of HTTP, `code` is for programs."""

    status: int
    code: str
    title: str
    text: str
    remedy: str
    guest: str = ""
    reason: str = ""

    def json(self) -> dict[str, dict[str, object]]:
        return {"error": asdict(self)}


def sidecar_away(url: str) -> Fault:
    parts = urlsplit(url)
    if parts.hostname in ("127.0.0.1", "localhost", "::1"):
        remedy = (
            f"Start it beside the page (`daprd --app-id web --dapr-http-port {parts.port or 80}`), or start the page "
            "again with DAPR_HTTP_PORT set to the port that it listens on."
        )
    else:
        remedy = "Start it there, or start the page again with the right DAPR_HTTP_ENDPOINT."
    return Fault(
        502,
        "sidecar-away",
        "The page’s sidecar is away",
        f"Nothing answers at {url}, where the page’s own Dapr sidecar should be.",
        f"{remedy} This page tries again by itself.",
    )


def sidecar_slow(seconds: float) -> Fault:
    return Fault(
        504,
        "slow",
        "No answer in time",
        f"The sidecar had no answer within {seconds:g} seconds.",
        "The guest host may be overloaded, or loading: try again, and look at its log if it stays so.",
    )


def sidecar_denied() -> Fault:
    return Fault(
        502,
        "sidecar-denied",
        "The sidecar refuses the page",
        "The sidecar asks its callers for an API token, and the page has none, or a wrong one.",
        "Start `guesthouse web` with the sidecar’s own DAPR_API_TOKEN.",
    )


def host_away(app: str, said: str) -> Fault:
    return Fault(
        502,
        "host-away",
        "The guest host is away",
        f"The sidecar reached no application “{app}”." + (f" It says: {said}" if said else ""),
        f"Start `guesthouse serve` and its sidecar (`--app-id {app}`), or name another app: "
        "`guesthouse web --app NAME`. This page tries again by itself.",
    )


def not_shown(app: str, own: str) -> Fault:
    """The host does not answer the page's own questions. `own`: the app id of the page's sidecar, "" if unknown."""
    title = "The host does not show this page its status"
    if own == app:
        return Fault(
            403,
            "not-shown",
            title,
            f"The page speaks through the host’s own sidecar (app id “{own}”), and a sidecar does not name its own "
            "application as a caller.",
            "Give the page a sidecar of its own, with another app id, and start `guesthouse web` with DAPR_HTTP_PORT "
            "set to the port of that one.",
        )
    return Fault(
        403,
        "not-shown",
        title,
        "Photos work; the live feed and the operator’s view need the host’s consent.",
        f'Add `[page] apps = ["{own or "web"}"]` to the host’s guesthouse.toml, with the app id of the page’s sidecar, '
        "and restart it.",
    )


def unknown_guest(name: str) -> Fault:
    return Fault(
        404,
        "unknown-guest",
        "There is no such guest",
        f"The host has no guest “{name}”, or does not show it.",
        "Go back to all guests: the host’s manifest has changed.",
    )


def too_large(limit: int) -> Fault:
    return Fault(
        413,
        "too-large",
        "The file is too large",
        f"The page takes files of up to {limit >> 20} MiB.",
        "Choose a smaller one.",
    )


def over_sidecar_limit() -> Fault:
    return Fault(
        413,
        "over-sidecar-limit",
        "The file is too large for a sidecar",
        "A sidecar passes on 4 MiB, unless it is told otherwise.",
        "Choose a smaller one, or start both sidecars (the page’s and the host’s) with `--max-body-size 32Mi`.",
    )


def unknown_method(method: str) -> Fault:
    return Fault(
        404,
        "unknown-method",
        "There is no such method",
        f"The guest host does not list a method “{method}”.",
        "Choose one of those that the page offers; reload it when the host has changed.",
    )


def refused(why: str) -> Fault:
    return Fault(
        403,
        "refused",
        "Refused",
        why,
        "Open the page by the address that `guesthouse web` printed.",
    )


_BY_REASON = {
    "GUEST": ("The guest refused the file", "Try another file."),
    "MALFORMED": ("The guest could not read the file", "Try another file."),
    "TOO_LARGE": ("The file is too large for this guest", "Choose a smaller one, or raise the guest’s limits.input."),
    "TRAP": ("The guest crashed", "Nothing else is harmed: try again. The host’s log has the kind of trap."),
    "BAD_REPLY": ("The guest’s answer is broken", "This is a fault of the guest: see the host’s log."),
    "DEADLINE": ("The guest took too long", "Try a smaller file, or raise the guest’s limits.time."),
    "FULL": ("The guest is busy", "All its slots and its queue are taken: try again in a moment."),
    "TRY_AGAIN": ("The guest asks to be tried again later", "Try again in a moment."),
    "OFF": ("The guest is switched off", "Try again when its operator has switched it on."),
    "DRAINING": ("The guest host is shutting down", "Try again when it is back."),
    "NOT_FOUND": ("The host has no such method", "Reload the page: the host has changed."),
    "DENIED": ("The host refuses its sidecar", "APP_API_TOKEN of the sidecar and [server] token must be the same."),
}
_KINDS = {"image/jpeg": "JPEG", "image/png": "PNG", "application/octet-stream": "raw bytes"}
_LIMIT = re.compile(r"\blimits?[. ](memory|host_memory|pixels|input|output|time)\b")


def about_the_file(fault: Fault, takes: Sequence[str]) -> Fault:
    """The fault of a call, with what to do about the file. `takes` are the content types that the guest takes."""
    limit = _LIMIT.search(fault.text)
    if fault.reason not in ("GUEST", "MALFORMED", "TRAP"):
        return fault
    if limit is not None:
        remedy = f"Choose a smaller one, or raise the guest’s limits.{limit[1]} in the host’s guesthouse.toml."
    elif fault.reason != "TRAP" and takes:
        remedy = f"Try another file: this guest takes {' and '.join(_KINDS.get(kind, kind) for kind in takes)}."
    else:
        return fault
    return replace(fault, remedy=remedy)


def of_answer(status: int, body: bytes, app: str) -> Fault:
    """The fault in an answer of the sidecar whose HTTP status is not 200.

    The host's failures come as JSON of `google.rpc.Status`, with an ErrorInfo of the domain `guesthouse`. The sidecar's
    own errors have an `errorCode`, or no details.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    said: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
    text = str(said.get("message") or "")[:600]
    for detail in said.get("details") or ():
        if isinstance(detail, dict) and detail.get("domain") == "guesthouse":
            metadata = detail.get("metadata")
            guest = str(metadata.get("guest", "")) if isinstance(metadata, dict) else ""
            reason = str(detail.get("reason", ""))
            title, remedy = _BY_REASON.get(reason, ("The guest host failed", "See the host’s log."))
            return Fault(status, "failed", title, text, remedy, guest, reason)
    if status == 401 or "api token" in text.lower():
        return sidecar_denied()
    if status == 413 or "too large" in text.lower() or "larger than max" in text.lower():
        return over_sidecar_limit()
    return host_away(app, text)
