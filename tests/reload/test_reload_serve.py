"""SIGHUP and `--watch`, as the program does it: when it loads, serves and drains."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Trigger
from tests.reload.reloading import MANIFEST, Serve, replace_file, says
from tests.support.waiting import until


def ask(address: str, timeout: float = 60) -> str:
    with Client(address, token="") as client:
        return client.send(Event(Trigger.INVOKE, "say"), timeout).body.decode()


def test_sighup_reloads_and_says_so_and_a_bad_change_is_one_line(serve: Serve, manifest: Path, tmp_path: Path):
    served = serve()
    address = served.line("serving")["address"]
    assert ask(address) == "old"
    replace_file(tmp_path / "says.wasm", says("new"))
    served.process.send_signal(signal.SIGHUP)
    assert served.line("reloaded")["loaded"] == ["guest says"]
    assert ask(address) == "new"
    replace_file(manifest, MANIFEST.replace("command", "${SECRET:-commando}"))
    served.process.send_signal(signal.SIGHUP)
    line = served.line("not reloaded")
    assert line["error"].startswith('"${SECRET:-commando}" is not a choice')
    assert ask(address) == "new"
    assert served.end() == 0


def test_with_watch_nobody_has_to_ask(serve: Serve, tmp_path: Path):
    served = serve("--watch")
    address = served.line("serving")["address"]
    replace_file(tmp_path / "says.wasm", says("new"))
    assert served.line("reloaded")["loaded"] == ["guest says"]
    assert ask(address) == "new"
    assert served.end() == 0


def test_sighup_while_it_still_loads_is_a_reload_once_it_serves(serve: Serve, tmp_path: Path):
    served = serve()
    ignores = signal.SIGHUP - 1
    status = Path(f"/proc/{served.process.pid}/status")
    # Its handler is there, and it has not begun to serve.
    until(lambda: int(status.read_text().partition("SigCgt:")[2].split()[0], 16) >> ignores & 1)
    served.process.send_signal(signal.SIGHUP)
    events = [served.line("serving")["event"], served.line("reloaded")["event"]]
    assert events == ["serving", "reloaded"]
    assert served.end() == 0


def test_sighup_while_it_drains_is_refused_and_ends_nothing(serve: Serve, manifest: Path):
    replace_file(manifest, MANIFEST + '[server]\ndrain = { notice = "60s" }\n')
    served = serve()
    address = served.line("serving")["address"]
    served.process.send_signal(signal.SIGTERM)
    with Client(address, token="") as client:
        until(lambda: drains(client))
        served.process.send_signal(signal.SIGHUP)
        assert served.line("not reloaded")["error"] == "the application is shutting down"
        assert client.send(Event(Trigger.INVOKE, "say"), 60).body == b"old"
    assert served.end() == 128 + signal.SIGTERM  # the second one


def drains(client: Client) -> bool:
    try:
        client._health.HealthCheck(Empty(), timeout=20)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False
