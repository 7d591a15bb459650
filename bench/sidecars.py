"""Comparisons as a Dapr user meets them: through real sidecars, as a component, and from an MQTT broker.

The programs are those of `tests/dapr_real` (a daprd is built once if there is none; Mosquitto for the photos). What is
compared is in `native`; events over gRPC without sidecars are in `over_grpc`.
"""

from __future__ import annotations

import contextlib
import functools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wasmtime
from dapr.proto.runtime.v1.binding_pb2 import InvokeBindingRequest

from bench import servers
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.over_grpc import GRANT, PHOTOS
from tests.dapr_real.real_programs import App, Mosquitto, Program, Sidecar, resources, running
from tests.support.ports import free_port

#: Standard input to standard output, 4 KiB at a time: what `bindings.wasm` and the calling convention "command" run.
ECHO_COMMAND = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $next
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4096))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.eqz (i32.load (i32.const 8))) (then return))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br $next))))"""

PUBLISHERS = 4

_COMPONENT = """apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{ name: {name} }}
spec:
  type: bindings.{kind}
  version: v1
  metadata: [{{ name: direction, value: output }}{more}]
"""


class Native(Program):
    """One of `bench.native`'s servers, started and ended as `tests.dapr_real` does it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(f"native-{arguments[0]}", folder)
        self._arguments = arguments

    def start(self) -> Native:
        self._run([sys.executable, "-m", "bench.native", *self._arguments], {}, cwd=servers.ROOT)
        return self

    def ready(self) -> Native:
        return self


def _app(folder: Path, manifest: str, sidecar: Sidecar, **environment: str) -> App:
    (folder / "guesthouse.toml").write_text(servers.APP + manifest)
    cache = {"GUESTHOUSE_CACHE": str(folder / "cache"), **environment}
    return App(
        folder,
        folder / "guesthouse.toml",
        port=sidecar.app_port,
        sidecar_port=sidecar.ports.grpc,
        environment=cache,
        log_level="info",
    )


def _folders(folder: Path, *names: str) -> Iterator[Path]:
    for name in names:
        (folder / name).mkdir(parents=True)
        yield folder / name


def _block(call: Callable[[], object], callers: int, each: int) -> Callable[[], float]:
    """The median latency of a block of calls, ms."""

    def caller(_: int) -> list[float]:
        took = []
        for _ in range(each):
            began = time.perf_counter()
            call()
            took.append(time.perf_counter() - began)
        return took

    def run() -> float:
        with ThreadPoolExecutor(callers) as pool:
            return 1000 * statistics.median(t for part in pool.map(caller, range(callers)) for t in part)

    return run


def _against(comparison: str, what: str, mine: list[float], other: list[float], target: Target | None) -> Figure:
    note = f"{statistics.median(mine):.2f} ms : {statistics.median(other):.2f} ms"
    return Figure(comparison, what, ratios(mine, other), target=target, note=note)


def through(options: Options, folder: Path) -> Findings:
    """classify through two sidecars, its caller's and its own, against the native handler through two as well."""
    findings = Findings()
    photo = (PHOTOS / "coffee.png").read_bytes()
    caller_folder, ours, theirs = _folders(folder, "caller", "guesthouse", "native")
    names = folder / "names.db"
    flags = ("--max-body-size", "16Mi")
    caller = Sidecar(caller_folder, "caller", names=names, flags=flags)
    subject = Sidecar(ours, "guesthouse", names=names, flags=flags, app_port=free_port())
    native = Sidecar(theirs, "native", names=names, flags=flags, app_port=free_port())
    app = _app(ours, servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT), subject)
    by_hand = Native(theirs, "classify", str(native.app_port))
    with running(app, by_hand, subject, native, caller):
        for callers, each in ((1, 20), (4, 10)):
            options.say(f"classify through two sidecars, {callers} callers")
            blocks = take_turns(
                {
                    app_id: _block(functools.partial(caller.invoke_grpc, app_id, "classify", photo), callers, each)
                    for app_id in ("guesthouse", "native")
                },
                options.rounds(9),
            )
            what = f"classify through two sidecars, {callers} caller{'s' if callers > 1 else ''}: median latency"
            findings.figures.append(
                _against(
                    "sidecars", what, blocks["guesthouse"], blocks["native"], Target(1.10) if callers == 1 else None
                )
            )
    return findings


def component(options: Options, folder: Path) -> Findings:
    """echo of 1 KiB as an output binding: our component, a bare one in Python, and Dapr's own bindings.wasm."""
    findings = Findings()
    (home,) = _folders(folder, "host")
    program = home / "echo-command.wasm"
    program.write_bytes(bytes(wasmtime.wat2wasm(ECHO_COMMAND)))
    (home / "resources").mkdir()
    for name, kind, more in (
        ("guests", "guests", ", { name: guest, value: echo }"),
        ("bare", "bare", ""),
        ("builtin", "wasm", f', {{ name: url, value: "file://{program}" }}'),
    ):
        (home / "resources" / f"{name}.yaml").write_text(_COMPONENT.format(name=name, kind=kind, more=more))
    manifest = (
        servers.guest("echo", "echo")
        + f'[guests.command]\nmodule = "{program}"\ncalling = "command"\n[component]\nname = "guests"\n'
    )
    with tempfile.TemporaryDirectory(prefix="gh-") as sockets:  # a socket's path is short
        environment = {"DAPR_COMPONENTS_SOCKETS_FOLDER": sockets}
        sidecar = Sidecar(home, "host", app_port=free_port(), resources=(home / "resources",), environment=environment)
        app = _app(home, manifest, sidecar, **environment)
        bare = Native(home, "component", sockets)
        with running(app, bare):
            while not (Path(sockets) / "bare.sock").exists():
                time.sleep(0.05)
            with running(sidecar):

                def call(name: str, operation: str) -> Callable[[], object]:
                    request = InvokeBindingRequest(name=name, operation=operation, data=bytes(range(256)) * 4)

                    def invoke() -> None:
                        answer = sidecar.stub.InvokeBinding(request, timeout=30)
                        assert answer.data == request.data, name

                    return invoke

                sides = {
                    "echo": call("guests", "echo"),
                    "command": call("guests", "command"),
                    "bare": call("bare", "create"),
                    "bindings.wasm": call("builtin", "execute"),
                }
                options.say("echo as an output binding")
                blocks = take_turns({name: _block(side, 1, 300) for name, side in sides.items()}, options.rounds(9))
    said = "echo, 1 KiB, by an output binding"
    findings.figures += [
        _against("component", f"{said} against a bare one", blocks["echo"], blocks["bare"], Target(1.15)),
        _against("component", f"{said}, a WASI command, against a bare one", blocks["command"], blocks["bare"], None),
        _against("component", f"{said} against bindings.wasm", blocks["echo"], blocks["bindings.wasm"], None),
        _against(
            "component",
            f"{said}, a WASI command, against bindings.wasm",
            blocks["command"],
            blocks["bindings.wasm"],
            None,
        ),
        _against("component", "a bare one against bindings.wasm", blocks["bare"], blocks["bindings.wasm"], None),
    ]
    return findings


class _Results:
    """How many messages have come by the topic `results`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def count(self) -> int:
        return len(re.findall(rb"^5b7b", self._file.read_bytes(), re.MULTILINE))  # JSON: [{

    def wait_for(self, count: int, seconds: float) -> float:
        """Wait for `count` messages. Returns the seconds."""
        began = time.monotonic()
        while self.count < count:
            if time.monotonic() - began > seconds:
                raise RuntimeError(f"{self.count} of {count} photos were answered within {seconds:.0f} s")
            time.sleep(0.005)
        return time.monotonic() - began


def mqtt(options: Options, folder: Path) -> Findings:
    """Photos by MQTT: how many a second are answered while more wait, and what happens just below and above that."""
    findings = Findings()
    (home,) = _folders(folder, "camera")
    (home / "broker").mkdir()
    with contextlib.ExitStack() as stack:
        broker = Mosquitto(home / "broker").start()
        stack.callback(broker.stop)
        address = {"tcp://localhost:1883": f"tcp://localhost:{broker.port}"}
        components = resources(home, "mqtt", "mqtt-results", replace=address)
        sidecar = Sidecar(home, "camera", app_port=free_port(), resources=components)
        routes = '[[binding]]\nname = "camera"\nguest = "classify"\nto = ["results"]\n'
        # A photo that finds the queue full comes again after the component's pause of 5 s: that would be measured.
        more = GRANT + '\nlimits = { queue = 256, queue_wait = "60s" }'
        app = _app(home, servers.CLASSIFIER + servers.guest("classify", "infer", more=more) + routes, sidecar)
        stack.enter_context(running(app, sidecar))
        stack.enter_context(broker.listening("results", home / "heard"))
        results = _Results(home / "heard")

        def publish(count: int, pause: float) -> None:
            """Publish with several publishers, for each waits until the broker has confirmed a photo. `count` is a
            multiple of
            their number."""
            each, delay = str(count // PUBLISHERS), f"{pause * PUBLISHERS:.6f}"
            command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "camera/door"]
            command += ["-f", str(PHOTOS / "coffee.png"), "--repeat", each, "--repeat-delay", delay]
            publishers = [subprocess.Popen(command) for _ in range(PUBLISHERS)]
            codes = [publisher.wait(300) for publisher in publishers]
            if any(codes):
                raise RuntimeError("a photo could not be published")

        publish(20, 0.0)  # so that the first events are not measured
        results.wait_for(20, 60)
        rates = []
        for number in range(options.rounds(5)):
            options.say(f"photos by MQTT, as many as can be answered ({number + 1})")
            before = results.count
            began = time.monotonic()
            publish(100, 0.0)
            results.wait_for(before + 100, 120)
            rates.append(100 / (time.monotonic() - began))
        capacity = statistics.median(rates)
        findings.figures.append(
            Figure("mqtt", "photos a second while more wait", Spread.of(rates), unit="/s", note="coffee.png, QoS 1")
        )
        for share in (0.9, 1.5, 2.5):
            wanted = capacity * share
            options.say(f"photos by MQTT, {wanted:.0f} a second")
            before, count = results.count, PUBLISHERS * round(wanted * (3 if options.quick else 8) / PUBLISHERS)
            began = time.monotonic()
            publish(count, 1 / wanted)
            rate = count / (time.monotonic() - began)
            left = before + count - results.count
            late = results.wait_for(before + count, 120)
            what = f"{rate:.0f} a second for {count / rate:.0f} s: photos that wait at the end"
            note = f"the last was answered {late:.2f} s later"
            findings.figures.append(Figure("mqtt", what, Spread.of([float(left)]), unit="", note=note))
    return findings
