"""What the dispatcher does with a reply before it is handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.cli.parts import opened
from guesthouse.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Room, Trigger
from guesthouse.manifest import load
from guesthouse.plans import Plans

MANIFEST = """
[app]
name = "t"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
reply_type = "text/plain"
[[binding]]
name = "camera"
guest = "echo"
to = ["results"]
"""


class Recorder:
    """Outputs and an observer that keep what they hear."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def deliver(self, reply, event, destination, deadline) -> None:
        self.heard.append(destination.to)

    def answered(self, event, reply) -> None:
        self.heard.append("answered")

    def failed(self, event, failure) -> None:
        self.heard.append(failure.reason)


def test_a_reply_that_cannot_be_sent_back_goes_nowhere(guests_folder: Path, tmp_path: Path):
    (tmp_path / "guesthouse.toml").write_text(MANIFEST.replace("GUESTS", str(guests_folder)))
    recorder = Recorder()
    with opened(load(tmp_path / "guesthouse.toml")) as plan:
        dispatcher = Dispatcher(Plans(plan), recorder, [recorder])
        fits = Event(Trigger.BINDING, "camera", b"12345", room=Room(15))
        assert dispatcher.dispatch(fits).body == b"12345"
        assert recorder.heard == [("results",), "answered"]
        with pytest.raises(Failure, match=r"^guest 'echo': a reply of 16 bytes; server.message leaves room for 15: "):
            dispatcher.dispatch(Event(Trigger.BINDING, "camera", b"123456", room=Room(15)))
        assert recorder.heard[2:] == [Reason.TOO_LARGE]
