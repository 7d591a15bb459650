"""The two ends of an input binding in these tests: what a device sends, and what has become of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.dapr_real.real_programs import App, Mosquitto, Pair, Redis, whole_lines
from tests.support.waiting import until

GUESTS = """
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.fails]
module = "MODULES/fails.wasm"
calling = "command"
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
"""


class Device:
    """Publishes texts to a broker, each from a file of its own."""

    def __init__(self, broker: Mosquitto, topic: str, folder: Path) -> None:
        self._broker = broker
        self._topic = topic
        self._file = folder / "message"

    def sends(self, *texts: str) -> None:
        for text in texts:
            self._file.write_text(text)
            self._broker.publish(self._topic, self._file)


def stored(redis: Redis, app_id: str) -> list[str]:
    """The values of all of an application's states, in order."""
    keys = [key for key in redis.command("KEYS", f"{app_id}||*").splitlines() if key]
    return sorted(redis.command("HGET", key, "data") for key in keys)


def heard(file: Path) -> list[bytes]:
    """The messages in a file of `Mosquitto.listening`."""
    return [bytes.fromhex(line) for line in whole_lines(file).splitlines() if re.fullmatch(r"(?:[0-9a-f]{2})+", line)]


def kept_until(condition: Callable[[], object], what: str, broker: Mosquitto) -> None:
    """Wait for messages that the broker kept for a sidecar that was away.

    daprd's client drops, unacknowledged, what comes before its handler is there. The broker sends that again with the
    next connection, so it is started again where something does not come.
    """
    try:
        until(condition, what, 30)
    except AssertionError:
        broker.stop()
        broker.start()
        until(condition, what)


def failures(app: App) -> list[str]:
    """The reasons of the events that failed."""
    return [line["reason"] for line in app.lines("failed")]


def mended(pair: Pair, old: str, new: str) -> None:
    """Serve another manifest instead, as a deployment does."""
    pair.app.stop()
    manifest = pair.app.log.parent / "guesthouse.toml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))
    pair.app.start().ready()


def settles(what: str, count: Callable[[], int], seconds: float = 2.0) -> int:
    """A number that has not changed for a while."""
    last, since = count(), time.monotonic()

    def unchanged() -> bool:
        nonlocal last, since
        if (now := count()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    until(unchanged, f"{what} settles")
    return last
