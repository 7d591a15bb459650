"""The host's own methods, over a real gRPC channel: who is answered, and with what."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import wasmtime
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2_grpc import AppCallbackStub
from google.protobuf.any_pb2 import Any as AnyMessage

from guesthouse import masking
from guesthouse.assembly import capacity_with_spare, open_plan
from guesthouse.dapr.client import Client
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.log import KEPT, KEPT_TEXT, GuestLog
from guesthouse.manifest import load
from guesthouse.manifest.read import ManifestError
from guesthouse.page.arrivals import Arrivals
from guesthouse.page.counts import Counts
from guesthouse.page.methods import HostMethods
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse.plan.reload import Reloader, ReloadListeners, Reloads, Source
from guesthouse_abi.services import Log
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.serving import serving
from tests.support.waiting import until
from tests.support.wat import ENVIRONMENT, LOOPS

ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1000000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) ;; what it got, as a log line
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
MANIFEST = """
[app]
name = "vision"
{page}
[guests.echo]
module = "echo.wasm"
calling = "command"
reply_type = "text/plain"
[[invoke]]
method = "echo"
guest = "echo"
[[binding]]
name = "camera"
guest = "echo"
"""
PAGE = '[page]\napps = ["web", "desk"]'


def write(folder: Path, page: str) -> Path:
    (folder / "echo.wasm").write_bytes(wasmtime.wat2wasm(ECHO))
    path = folder / "guesthouse.toml"
    path.write_text(MANIFEST.format(page=page))
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(write(tmp_path_factory.mktemp("page"), PAGE)) as (client, _):
        yield client


def ask(client: Client, method: str, query: str = "", caller: str = "web") -> bytes:
    metadata = {"dapr-caller-app-id": caller} if caller else {}
    return client.send(Event(Trigger.INVOKE, method, verb="GET", query=query, metadata=metadata)).body


def test_the_status_lists_guests_methods_and_slots(client: Client):
    status = json.loads(ask(client, "_guesthouse/status"))
    assert status["app"] == "vision"
    assert status["routes"] == [
        {"trigger": "invoke", "name": "echo", "guest": "echo", "arrives": False, "verbs": []},
        {"trigger": "binding", "name": "camera", "guest": "echo", "arrives": True},
    ]
    (guest,) = status["guests"]
    assert guest["name"] == "echo"
    assert guest["slots"]["busy"] == 0
    assert {"calls", "window", "series"} <= set(guest)
    assert (guest["takes"], guest["limits"]) == ([], {"input": 16 << 20, "time": 5.0})


def test_one_guest_can_be_looked_at_closely(client: Client):
    client.send(Event(Trigger.BINDING, "camera", b"first line\x1b[2J\nsecond line\n"))
    with pytest.raises(Failure):
        client.send(Event(Trigger.BINDING, "camera", bytes((16 << 20) + 1)))
    guest = json.loads(ask(client, "_guesthouse/guests/echo"))
    assert [(line["stream"], line["text"]) for line in guest["log"][-2:]] == [
        ("stderr", "first line\ufffd[2J"),
        ("stderr", "second line"),
    ]
    assert abs(guest["log"][-1]["at"] - time.time()) < 3600
    assert guest["limits"]["memory"] == 128 << 20
    assert guest["peak"]["memory"] == 16 * 65536
    assert guest["isolation"] == "thread"
    assert len(guest["sha256"]) == 64
    assert abs(guest["loaded"] - time.time()) < 3600
    assert [(kind["reason"], kind["text"]) for kind in guest["failed"]] == [
        ("TOO_LARGE", "a body of 16777217 bytes; the limit input is 16777216")
    ]


def test_a_guests_last_lines_are_kept_and_cut(client: Client):
    client.send(Event(Trigger.BINDING, "camera", b"x" * 2000 + b"\n" + b"".join(b"%d\n" % n for n in range(KEPT - 1))))
    log = json.loads(ask(client, "_guesthouse/guests/echo"))["log"]
    assert len(log) == KEPT
    assert (len(log[0]["text"]), log[0]["cut"]) == (KEPT_TEXT, True)
    assert (log[-1]["text"], log[-1]["cut"]) == (str(KEPT - 2), False)


def test_no_secret_is_in_the_lines(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(masking, "_HIDDEN", {"the-token"})
    client.send(Event(Trigger.BINDING, "camera", b"asked with the-token, twice\n"))
    assert json.loads(ask(client, "_guesthouse/guests/echo"))["log"][-1]["text"] == "asked with ***, twice"


def test_where_there_is_no_page_no_line_is_kept(tmp_path: Path):
    with serving(write(tmp_path, "")) as (client, plan):
        client.send(Event(Trigger.BINDING, "camera", b"a line\n"))
        log = plan.guests["echo"].services[Log]
        assert isinstance(log, GuestLog)
        assert log.last() == []


@pytest.mark.parametrize(
    ("imports", "said", "found"),
    [
        ("", "", []),
        ("load_image", "", ["image/jpeg", "image/png"]),
        ("load_jpg_to_rgb8", "", ["image/jpeg"]),
        ("load_jpg_to_rgb8 load_png_to_rgb32f", "", ["image/jpeg", "image/png"]),
        ("load_image", 'takes = ["Image/TIFF"]', ["image/tiff"]),
        ("", 'takes = ["application/octet-stream"]', ["application/octet-stream"]),
    ],
)
def test_what_a_guest_takes_is_seen_by_its_imports_unless_the_manifest_says_it(
    tmp_path: Path, imports: str, said: str, found: list[str]
):
    names = [name if name == "load_image" else f"wasmedge_image_{name}" for name in imports.split()]
    types = {name: "i32 " * (7 if name == "load_image" else 5) for name in names}
    wat = "".join(
        f'(import "wasmedge_image" "{name}" (func (param {kind}) (result i32)))' for name, kind in types.items()
    )
    (tmp_path / "guest.wasm").write_bytes(
        wasmtime.wat2wasm(f'(module {wat} (memory (export "memory") 1) (func (export "_start")))')
    )
    (tmp_path / "guesthouse.toml").write_text(
        f'[app]\nname = "vision"\n{PAGE}\n[guests.it]\nmodule = "guest.wasm"\ncalling = "command"\n{said}\n'
    )
    with serving(tmp_path / "guesthouse.toml") as (client, _):
        (guest,) = json.loads(ask(client, "_guesthouse/status"))["guests"]
        assert guest["takes"] == found


def test_a_guest_says_when_it_was_last_changed(tmp_path: Path):
    """A reload that changes nothing of a guest leaves its time; one that does is the guest's last."""
    path = write(tmp_path, PAGE)
    with open_plan(load(path)) as plan, contextlib.closing(Plans(plan)) as plans:
        methods = HostMethods(plans, Counts(), Arrivals(), Dispatcher(plans, NoOutputs()))

        def asked(name: str) -> Any:
            event = Event(Trigger.INVOKE, f"_guesthouse/{name}", metadata={"dapr-caller-app-id": "web"})
            return json.loads(methods.dispatch(event).body)

        began = asked("guests/echo")["loaded"]
        time.sleep(0.01)
        plans.switch(build(load(path), plan.host, plan))
        assert asked("guests/echo")["loaded"] == began
        assert asked("status")["loaded"] > began
        path.write_text(path.read_text().replace('reply_type = "text/plain"', 'reply_type = "text/html"'))
        plans.switch(build(load(path), plan.host, plans.now))
        assert asked("guests/echo")["loaded"] > began


@pytest.fixture(params=PLACES)
def looping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Guests that loop for a minute, and say what they are told."""
    text = f'[app]\nname = "vision"\n{PAGE}\n{engine_table(request.param)}'
    for name, module in (("loops", LOOPS), ("names", ENVIRONMENT)):
        (tmp_path / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(module))
        text += f'[guests.{name}]\nmodule = "{name}.wasm"\ncalling = "command"\n'
        text += f'isolation = "{isolation_of(request.param)}"\nlimits = {{ time = "60s", concurrency = 1 }}\n'
        text += f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    (tmp_path / "guesthouse.toml").write_text(text)
    with serving(tmp_path / "guesthouse.toml", request.param) as (client, _):
        yield client


def named(client: Client, method: str, call: str, caller: str = "web") -> bytes:
    metadata = {"dapr-caller-app-id": caller, "guesthouse-call": call}
    return client.send(Event(Trigger.INVOKE, method, metadata=metadata), timeout=60).body


def canceled(client: Client, call: str) -> bool:
    return bool(json.loads(ask(client, f"_guesthouse/cancel/{call}"))["canceled"])


def test_a_call_that_is_named_can_be_canceled_and_its_guest_stops(looping: Client):
    call = "0123456789abcdef" * 2
    assert not canceled(looping, call)
    with ThreadPoolExecutor(2) as threads:
        # One is at work and the other waits for its slot: both end.
        events = [threads.submit(named, looping, "loops", one) for one in (call, call[::-1])]
        for one, event in zip((call, call[::-1]), events, strict=True):
            until(partial(canceled, looping, one))
            with pytest.raises(Failure, match="hung up") as ended:
                event.result()
            assert ended.value.reason is Reason.CANCELLED
    assert not canceled(looping, call)
    assert b"GUESTHOUSE_CALL" not in named(looping, "names", call).upper()


def test_a_call_is_not_known_by_any_name(client: Client):
    for name in ("", "x", "0" * 31, "0" * 33, "G" * 32):
        with pytest.raises(Failure, match="the host does not answer the method"):
            ask(client, f"_guesthouse/cancel/{name}")
        assert named(client, "echo", name) == b""


def test_the_status_says_how_the_last_reload_ended_without_folders_and_secrets(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(masking, "_HIDDEN", ("horse",))
    path = write(tmp_path, PAGE)
    with open_plan(load(path)) as plan, contextlib.closing(Plans(plan)) as plans:
        reloads = Reloads()
        following = Dispatcher(plans, NoOutputs())
        methods = HostMethods(plans, Counts(), Arrivals(), following, reloads)
        source = Source(path, functools.partial(load, path), capacity_with_spare(plan.manifest))
        reloader = Reloader(plans, source, ReloadListeners(ended=[reloads.ended]))
        assert methods.status()["reload"] is None
        reloader.reload()
        done = cast("dict[str, Any]", methods.status()["reload"])
        assert (done["outcome"], done["why"]) == ("done", "")
        path.write_text(path.read_text().replace("echo.wasm", "horse.wasm") + 'colour = "red"\n')
        reloader.reload()
        refused = cast("dict[str, Any]", methods.status()["reload"])
        assert (refused["outcome"], refused["why"]) == (
            "refused",
            'unknown key "colour" — guesthouse.toml: [[binding]] #1: colour — the keys here are: attempts, '
            "dead_letter, enabled, guest, name, on_error, state, to",
        )
        assert refused["at"] >= done["at"]
        path.write_text(path.read_text().replace('colour = "red"\n', ""))
        reloader.reload()
        assert cast("dict[str, Any]", methods.status()["reload"])["why"].startswith("guest 'echo': ***.wasm cannot be")


def test_the_status_names_no_file_of_the_host(client: Client, tmp_path_factory: pytest.TempPathFactory):
    assert str(tmp_path_factory.getbasetemp()) not in ask(client, "_guesthouse/status").decode()


def test_events_of_bindings_are_told_with_a_cursor(client: Client):
    before = json.loads(ask(client, "_guesthouse/events"))["cursor"]
    client.send(Event(Trigger.BINDING, "camera", b"click"))
    news = json.loads(ask(client, "_guesthouse/events", f"after={before}"))
    assert [(event["name"], event["reply"]) for event in news["events"]] == [("camera", "click")]


def test_pictures_are_answered_as_jpeg(client: Client, photos: Path):
    before = json.loads(ask(client, "_guesthouse/events"))["cursor"]
    client.send(Event(Trigger.BINDING, "camera", (photos / "rocket.jpg").read_bytes()))
    (event,) = json.loads(ask(client, "_guesthouse/events", f"after={before}"))["events"]
    small = ask(client, f"_guesthouse/pictures/{event['picture']}")
    large = ask(client, f"_guesthouse/pictures/{event['picture']}", "large")
    assert small.startswith(b"\xff\xd8\xff")
    assert large.startswith(b"\xff\xd8\xff")
    assert len(large) > len(small)


@pytest.mark.parametrize("caller", ["", "other", "WEB", "web, other", "other, web", "web, web"])
@pytest.mark.parametrize("method", ["_guesthouse/status", "_guesthouse/events", "_guesthouse/guests/echo"])
def test_to_others_the_methods_do_not_exist(client: Client, method: str, caller: str):
    with pytest.raises(Failure) as refused:
        ask(client, method, caller=caller)
    with pytest.raises(Failure) as unknown:
        ask(client, "nothing", caller=caller)
    assert refused.value.reason is unknown.value.reason is Reason.NOT_FOUND
    assert refused.value.text == unknown.value.text.replace("nothing", method)


def test_without_a_page_in_the_manifest_nobody_is_answered(tmp_path: Path):
    with serving(write(tmp_path, "")) as (client, _), pytest.raises(Failure, match="no guest answers the method"):
        ask(client, "_guesthouse/status")


@pytest.mark.parametrize("method", ["none", "pictures/x", "pictures", "guests", "guests/none", "guests/echo/x"])
def test_an_unknown_method_of_the_host_is_not_found(client: Client, method: str):
    with pytest.raises(Failure, match="the host does not answer the method"):
        ask(client, f"_guesthouse/{method}")


def headers_of(client: Client, caller: str) -> dict[str, str]:
    with grpc.insecure_channel(client.address) as channel:
        request = InvokeRequest(method="echo", data=AnyMessage(value=b"hello"))
        metadata = (("dapr-caller-app-id", caller),)
        reply, call = AppCallbackStub(channel).OnInvoke.with_call(request, metadata=metadata, timeout=20)
        assert reply.data.value == b"hello"
        return dict(call.initial_metadata())


def test_a_page_learns_who_answered_and_what_it_cost(client: Client):
    headers = headers_of(client, "desk")
    assert headers["guesthouse-guest"] == "echo"
    assert headers["server-timing"].startswith("queued;dur=0.0, guest;dur=")
    assert ", total;dur=" in headers["server-timing"]


def test_other_callers_get_no_headers(client: Client):
    assert not {"guesthouse-guest", "server-timing"} & set(headers_of(client, "other"))


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('[page]\napps = "web"', '"web" is text, not a list'),
        ("[page]\napps = []", "page.apps — name the applications that may ask, or leave the table out"),
        ('[page]\napps = [""]', "is empty"),
        ('[guests.x]\nmodule = "x.wasm"\ntakes = ["jpeg"]', '"jpeg" is not a content type'),
        ('[[invoke]]\nmethod = "/_guesthouse/x"\nguest = "echo"', "is a name that the host keeps for itself"),
    ],
)
def test_a_wrong_page_in_the_manifest_is_a_fault(tmp_path: Path, page: str, fault: str):
    with pytest.raises(ManifestError) as refused:
        load(write(tmp_path, page), {})
    assert fault in str(refused.value)
