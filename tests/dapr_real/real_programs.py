"""The real programs that these tests run: `daprd`, `guesthouse serve`, Redis and Mosquitto, each a process of its own.

Every one listens on free ports of this machine, keeps its log in a file, and is stopped by its own process id.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import psutil
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.invoke_pb2 import InvokeServiceRequest
from google.protobuf.any_pb2 import Any as AnyMessage

from tests.support.ports import free_port, listens
from tests.support.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ROOT / "components"
SERVE = (sys.executable, "-m", "guesthouse", "serve", "--log-format", "json")
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@functools.cache
def daprd() -> str:
    """The path of a daprd; built first if need be, which takes minutes and is told on standard error."""
    done = subprocess.run([sys.executable, ROOT / "tests/daprd/build.py"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, "no daprd, see above"
    return done.stdout.strip()


def whole_lines(file: Path) -> str:
    """What a file has that another process writes into: up to the end of its last whole line."""
    text = file.read_text(errors="replace") if file.exists() else ""
    return text[: text.rfind("\n") + 1]


class Program:
    """A process that can be started again with the same arguments."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        """All lines that it has logged so far; none that it is in the middle of writing."""
        return whole_lines(self.log)

    def _run(self, command: list[str], environment: Mapping[str, str], cwd: Path = ROOT) -> None:
        names = ("PATH", "HOME", "LANG", "GUESTHOUSE_CACHE", "GUESTHOUSE_GUESTS", "TMPDIR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=cwd, env={**kept, **environment})

    def _wait(self, what: str, ready: Callable[[], object]) -> None:
        assert self._process is not None
        process = self._process

        def or_ended() -> object:
            assert process.poll() is None, f"{self.name} ended with {process.returncode}:\n{self.said[-3000:]}"
            return ready()

        try:
            until(or_ended, f"{self.name} {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said[-3000:]}") from None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ended(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(seconds)

    def busy(self) -> float:
        """Seconds of processor time that it has spent."""
        assert self._process is not None
        spent = psutil.Process(self._process.pid).cpu_times()
        return float(spent.user + spent.system)

    def connections_to(self, port: int) -> int:
        """How many connections it has to a port of this machine."""
        assert self._process is not None
        found = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in found)

    def stop(self) -> None:
        """End it, gently at first. Nothing happens when it has ended."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(15)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(15)


class App(Program):
    """`guesthouse serve` on a manifest. `port` is its own, `sidecar_port` where its outputs go."""

    def __init__(
        self,
        folder: Path,
        manifest: Path,
        *,
        port: int,
        sidecar_port: int,
        environment: Mapping[str, str] = {},
        log_level: str = "debug",
    ) -> None:
        super().__init__("app", folder)
        self._log_level = log_level
        self.port = port
        self.manifest = manifest
        self._environment = {"DAPR_GRPC_PORT": str(sidecar_port), **environment}

    def start(self) -> App:
        self._run(
            [*SERVE, "--log-level", self._log_level, "-m", str(self.manifest), "--port", str(self.port)],
            self._environment,
        )
        return self

    def ready(self) -> App:
        self._wait("is ready", lambda: listens(self.port))
        return self

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one kind."""
        found = (json.loads(line) for line in self.said.splitlines() if line.startswith("{"))
        return [line for line in found if line.get("event") == event]


@dataclass
class Answer:
    """What the HTTP API answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Ports:
    """Where a sidecar listens."""

    http: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)
    internal: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)


class Sidecar(Program):
    """A daprd, with or without an application."""

    def __init__(
        self,
        folder: Path,
        app_id: str,
        *,
        app_port: int = 0,
        resources: tuple[Path, ...] = (),
        flags: tuple[str, ...] = (),
        environment: Mapping[str, str] = {},
        names: Path | None = None,
        probe: bool = True,
        subscribes: bool = False,
        ports: Ports | None = None,
    ) -> None:
        super().__init__(f"daprd-{app_id}", folder)
        self.app_id = app_id
        self.app_port = app_port
        self.ports = ports or Ports()
        self._environment = {"DAPR_HOST_IP": "127.0.0.1", **environment}
        token = self._environment.get("DAPR_API_TOKEN")
        self._headers = {"dapr-api-token": token} if token else {}
        config = (COMPONENTS / "config.yaml").read_text()
        file = str(names or folder / "names.db")
        (folder / f"config-{app_id}.yaml").write_text(config.replace("/tmp/guesthouse-names.db", file))
        self._command = [daprd(), "--app-id", app_id, "--config", str(folder / f"config-{app_id}.yaml")]
        self._command += ["--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"]
        self._command += ["--dapr-http-port", str(self.ports.http), "--dapr-grpc-port", str(self.ports.grpc)]
        self._command += ["--dapr-internal-grpc-port", str(self.ports.internal)]
        self._command += ["--metrics-port", str(self.ports.metrics), "--metrics-listen-address", "127.0.0.1"]
        self._command += ["--dapr-graceful-shutdown-seconds", "2"]
        for path in resources:
            self._command += ["--resources-path", str(path)]
        if app_port:
            self._command += ["--app-port", str(app_port), "--app-protocol", "grpc"]
            if probe:
                self._command += ["--enable-app-health-check", "--app-health-probe-interval", "1"]
        self._command += flags
        self._folder = folder
        self._begin = 0
        self._probe = probe and app_port != 0
        self._subscribes = subscribes
        self._channel: grpc.Channel | None = None

    def start(self) -> Sidecar:
        self._begin = len(self.said)
        self._run(self._command, self._environment, cwd=self._folder)
        return self

    def restart(self, **environment: str) -> Sidecar:
        """End it, and start it again with these variables changed."""
        self.stop()
        self._environment |= environment
        return self.start().ready()

    def ready(self) -> Sidecar:
        """Its API answers, and it has found its application healthy and asked for its topics."""
        self._wait("is healthy", lambda: self.http("GET", "/v1.0/healthz").status == 204)
        if self._probe:
            self._wait("finds its application healthy", lambda: "App entered healthy" in self.said[self._begin :])
        if self._subscribes:
            self._wait("has subscribed", lambda: "app is subscribed to the following" in self.said[self._begin :])
        return self

    def reload(self) -> Sidecar:
        """Have it begin anew by SIGHUP, in the same process."""
        self._begin = len(self.said)
        self.signal(signal.SIGHUP)
        return self.ready()

    def http(
        self,
        verb: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
        seconds: float = 60.0,
    ) -> Answer:
        """One call of its HTTP API; status 0 when nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.http, timeout=seconds)
        with contextlib.closing(connection):
            try:
                connection.request(verb, path, body, {**self._headers, **headers})
                answer = connection.getresponse()
                return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
            except ConnectionError:
                return Answer(0, {}, b"")

    def invoke(
        self,
        app_id: str,
        method: str,
        body: bytes = b"",
        *,
        verb: str = "POST",
        headers: Mapping[str, str] = {},
        seconds: float = 60.0,
    ) -> Answer:
        """Service invocation over HTTP. `method` may end in a query string."""
        return self.http(verb, f"/v1.0/invoke/{app_id}/method/{method}", body, headers, seconds)

    @property
    def stub(self) -> DaprStub:
        """Its gRPC API."""
        return DaprStub(self.channel)

    @property
    def channel(self) -> grpc.Channel:
        """To its gRPC port."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"127.0.0.1:{self.ports.grpc}", _OPTIONS)
        return self._channel

    def invoke_grpc(
        self,
        app_id: str,
        method: str,
        body: bytes = b"",
        *,
        content_type: str = "",
        verb: str = "POST",
        query: str = "",
        metadata: tuple[tuple[str, str], ...] = (),
        seconds: float = 60.0,
    ) -> InvokeResponse:
        """Service invocation over gRPC. Raises `grpc.RpcError`."""
        extension = HTTPExtension(verb=HTTPExtension.Verb.Value(verb), querystring=query)
        message = InvokeRequest(
            method=method, data=AnyMessage(value=body), content_type=content_type, http_extension=extension
        )
        request = InvokeServiceRequest(id=app_id, message=message)
        answer: InvokeResponse = self.stub.InvokeService(request, timeout=seconds, metadata=metadata)
        return answer

    def stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        super().stop()


class Redis(Program):
    """A Redis of its own, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder)
        self.port = free_port()

    def start(self) -> Redis:
        program = shutil.which("redis-server")
        assert program, "no redis-server here: run tests/dapr_real/install.sh"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._run([program, *options, "--dir", str(self.log.parent)], {})
        self._wait("listens", lambda: listens(self.port))
        return self

    def command(self, *words: str) -> str:
        """What redis-cli prints."""
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=20).stdout.strip()


class Mosquitto(Program):
    """An MQTT broker of its own, with its queue on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__("mosquitto", folder)
        self.port = free_port()

    def start(self) -> Mosquitto:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "no mosquitto here: run tests/dapr_real/install.sh"
        config = self.log.parent / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            f"persistence true\npersistence_location {self.log.parent}/\nmax_queued_messages 0\nuser root\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type subscribe\n"
        )
        self._run([program, "-c", str(config)], {})
        self._wait("listens", lambda: listens(self.port))
        return self

    def publish(self, topic: str, file: Path) -> None:
        """Publish on `ROOM/…`, once somebody has read `ROOM/+`.

        A broker keeps nothing for a reader that it has not met, and a sidecar is ready before it reads.
        """
        self._wait("has a reader", lambda: f"{topic.partition('/')[0]}/+" in self.said)
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, "-f", str(file)]
        subprocess.run(command, check=True, timeout=20)

    @contextlib.contextmanager
    def listening(self, topic: str, file: Path) -> Iterator[None]:
        """Write the messages of a topic into a file, one a line, as hexadecimal digits."""
        with file.open("wb") as out:
            command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(self.port), "-q", "1", "-t", topic, "-F", "%x", "-d"]
            process = subprocess.Popen(command, stdout=out)
        try:
            until(lambda: "Subscribed" in whole_lines(file), "the listener has subscribed")
            yield
        finally:
            process.terminate()
            process.wait(10)


def resources(folder: Path, *names: str, replace: Mapping[str, str] = {}) -> tuple[Path, ...]:
    """Copies of folders of components/, with texts replaced in them (an address, say), each of which must be there."""
    copies, missing = [], set(replace)
    for name in names:
        copy = folder / "resources" / name
        shutil.copytree(COMPONENTS / name, copy)
        for file in copy.glob("*.yaml"):
            text = file.read_text()
            for old, new in replace.items():
                if old in text:
                    missing.discard(old)
                text = text.replace(old, new)
            file.write_text(text)
        copies.append(copy)
    assert not missing, f"in no file of {', '.join(names)}: {missing}"
    return tuple(copies)


def of_kind(details: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The detail of one type in the JSON of a `google.rpc.Status`."""
    return next(detail for detail in details if detail["@type"].endswith(f"google.rpc.{kind}"))


def variables(body: bytes) -> dict[str, str]:
    """What the guest `environment` printed."""
    return dict(item.split("=", 1) for item in re.split("\0", body.decode()) if item)


@dataclass
class Pair:
    """An application and its sidecar."""

    app: App
    sidecar: Sidecar


Start = Callable[..., Pair]


class Starts(Protocol):
    """A program as `running` has it: an application, a sidecar, a page."""

    def start(self) -> object: ...
    def ready(self) -> object: ...
    def stop(self) -> None: ...


@contextlib.contextmanager
def running(*programs: Starts) -> Iterator[None]:
    """Start all, wait until each is ready; stop all at the end, the sidecars first."""
    try:
        for program in programs:
            program.start()
        for program in programs:
            program.ready()
        yield
    finally:
        for program in reversed(programs):
            program.stop()


@contextlib.contextmanager
def starting(folder: Path, names: Path, stands_for: Mapping[str, Path]) -> Iterator[Start]:
    """A function that starts an application on a manifest written in the test, and its sidecar; stopped at the end.

    `stands_for` are words of the manifest that mean folders.
    """
    with contextlib.ExitStack() as stack:

        def start(
            text: str,
            *,
            app_id: str,
            components: tuple[str, ...] = (),
            replace: Mapping[str, str] = {},
            flags: tuple[str, ...] = (),
            app_environment: Mapping[str, str] = {},
            environment: Mapping[str, str] = {},
            probe: bool = True,
            subscribes: bool = False,
        ) -> Pair:
            place = folder / app_id
            place.mkdir()
            manifest = place / "guesthouse.toml"
            for word, path in stands_for.items():
                text = text.replace(word, str(path))
            manifest.write_text(f'[app]\nname = "{app_id}"\n{text}')
            sidecar = Sidecar(
                place,
                app_id,
                app_port=free_port(),
                names=names,
                resources=resources(place, *components, replace=replace),
                flags=flags,
                environment=environment,
                probe=probe,
                subscribes=subscribes,
            )
            app = App(
                place,
                manifest,
                port=sidecar.app_port,
                sidecar_port=sidecar.ports.grpc,
                environment=app_environment,
            )
            stack.enter_context(running(app, sidecar))
            return Pair(app, sidecar)

        yield start
