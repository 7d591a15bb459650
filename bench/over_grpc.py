"""Events over gRPC: Guesthouse and native servers in processes of their own, callers in others."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import wasmtime
from PIL import Image

from bench import servers
from bench.caller import Caller
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from guesthouse.cli.load_generator import Job, Usage
from guesthouse.event import Event, Trigger

PHOTOS = servers.ROOT / "tests" / "data" / "photos"
PROGRAMS = servers.ROOT / "bench" / "programs"


@dataclass(frozen=True, slots=True)
class Block:
    """What one side did in one round: ms, events per second, ms of the server's CPU for each event."""

    median: float
    rate: float
    cpu: float


def block(caller: Caller, server: servers.Running, event: Event, callers: int, requests: int) -> Block:
    """Send `requests` events and look at what came of it. Raises `RuntimeError` when one failed."""
    before = Usage.of(server.pid)
    outcome = caller.run(Job(server.address, event, callers, requests))
    after = Usage.of(server.pid)
    if outcome.errors:
        raise RuntimeError(f"{event.name} at {server.address}: {outcome.errors} {outcome.examples}")
    cpu = (after.cpu - before.cpu) / requests if before and after else math.nan
    return Block(outcome.percentile(0.5) * 1000, outcome.rate, cpu * 1000)


def invoke(method: str, body: bytes) -> Event:
    """An invocation as a sidecar sends it."""
    return Event(Trigger.INVOKE, method, body, "application/octet-stream", "POST")


Sides = Mapping[str, tuple[servers.Running, Event]]


def race(sides: Sides, callers: int, requests: int, rounds: int) -> dict[str, list[Block]]:
    """Blocks of all sides, taking turns."""
    with Caller(callers) as caller:

        def run(name: str) -> Callable[[], Block]:
            server, event = sides[name]
            return lambda: block(caller, server, event, callers, requests)

        return take_turns({name: run(name) for name in sides}, rounds)


def _median(blocks: list[Block], field: str) -> float:
    return Spread.of([getattr(b, field) for b in blocks]).median


def _callers(count: int) -> str:
    return "1 caller" if count == 1 else f"{count} callers"


def latency(
    comparison: str, what: str, blocks: dict[str, list[Block]], pair: tuple[str, str], target: Target | None
) -> Figure:
    """The ratio of median latencies, with what it is made of."""
    subject, baseline = (blocks[name] for name in pair)
    spread = ratios([b.median for b in subject], [b.median for b in baseline])
    note = f"{_median(subject, 'median'):.2f} ms : {_median(baseline, 'median'):.2f} ms"
    return Figure(comparison, f"{what}: median latency", spread, target=target, note=note)


def throughput(
    comparison: str, what: str, blocks: dict[str, list[Block]], pair: tuple[str, str], target: Target | None
) -> Figure:
    """The ratio of events per second, with the server's CPU for each event beside it."""
    subject, baseline = (blocks[name] for name in pair)
    spread = ratios([b.rate for b in subject], [b.rate for b in baseline])
    cpu = ratios([b.cpu for b in subject], [b.cpu for b in baseline]).median
    note = (
        f"{_median(subject, 'rate'):.0f}/s : {_median(baseline, 'rate'):.0f}/s; server's CPU per event "
        f"{_median(subject, 'cpu'):.2f} ms : {_median(baseline, 'cpu'):.2f} ms ({cpu:.2f}x)"
    )
    return Figure(comparison, f"{what}: throughput", spread, target=target, note=note)


GRANT = 'models = ["classifier"]\nreply_type = "application/json"'
SIDE = 224

Requests = Callable[[int], int]


def as_many(one: int, each: int) -> Requests:
    """Requests of a block: `one` for one caller, and `each` for each of up to 16, so that a block lasts long enough."""
    return lambda callers: one if callers == 1 else each * min(callers, 16)


def against_native(
    options: Options,
    comparison: str,
    what: str,
    sides: Sides,
    counts: Mapping[int, tuple[float | None, float | None]],
    requests: Requests,
) -> list[Figure]:
    """The side `guesthouse` against `native`, and what is told of others beside it.

    `counts` has, by number of callers, the least ratio of throughput and the greatest of CPU for each event that are
    wanted.
    """
    figures = []
    for callers, (rate, cpu) in counts.items():
        options.say(f"{comparison}, {what}, {_callers(callers)}")
        blocks = race(sides, callers, requests(callers), options.rounds(5))
        named = f"{what}, {_callers(callers)}"
        for side in blocks:
            if side == "native":
                continue
            own = side == "guesthouse"
            target = Target(rate, at_least=True) if own and rate is not None else None
            subject = named if own else f"{named}, {side}"
            figures.append(throughput(comparison, subject, blocks, (side, "native"), target))
            if own:
                figures.append(latency(comparison, subject, blocks, (side, "native"), None))
                bound = Target(cpu) if cpu is not None else None
                spread = ratios([b.cpu for b in blocks[side]], [b.cpu for b in blocks["native"]])
                figures.append(Figure(comparison, f"{subject}: CPU of the server for each event", spread, target=bound))
    return figures


def coffee(kind: str = "PNG") -> bytes:
    """The coffee photo, 600x400."""
    if kind == "PNG":
        return (PHOTOS / "coffee.png").read_bytes()
    buffer = io.BytesIO()
    Image.open(PHOTOS / "coffee.png").convert("RGB").save(buffer, kind, quality=90)
    return buffer.getvalue()


def classify(options: Options, folder: Path) -> Findings:
    """A photo of 600x400, against the same work with Pillow and one ONNX Runtime thread."""
    findings = Findings()
    auto = servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT)
    one = auto.replace('.onnx"\n', '.onnx"\nthreads = 1\n')
    with contextlib.ExitStack() as stack:
        started = {
            "guesthouse": stack.enter_context(servers.guesthouse(folder / "auto", auto)),
            "threads = 1": stack.enter_context(servers.guesthouse(folder / "one", one)),
            "native": stack.enter_context(servers.native(folder, "classify")),
        }
        for kind, least in (("PNG", (1.25, 1.1, 1.1)), ("JPEG", (1.2, 1.0, 1.0))):
            event = invoke("classify", coffee(kind))
            sides = {name: (server, event) for name, server in started.items()}
            counts = dict(zip((1, 4, 16), ((rate, None) for rate in least), strict=True))
            findings.figures += against_native(options, "classify", kind, sides, counts, as_many(30, 10))
    return findings


def large_photo() -> bytes:
    """The coffee photo as a telephone would have taken it: JPEG, 4000x3000, quality 90."""
    buffer = io.BytesIO()
    photo = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def photo(options: Options, folder: Path) -> Findings:
    """A photo of 12 megapixels: decoding decides."""
    body = large_photo()
    manifest = (
        servers.CLASSIFIER
        + servers.guest("classify", "infer", more=GRANT)
        + servers.guest("scaled", "infer", module="classify", more=GRANT + "\nscale = true")
    )
    with contextlib.ExitStack() as stack:
        guesthouse = stack.enter_context(servers.guesthouse(folder, manifest))
        sides = {
            "guesthouse": (guesthouse, invoke("classify", body)),
            "scale = true": (guesthouse, invoke("scaled", body)),
            "native": (stack.enter_context(servers.native(folder, "classify")), invoke("classify", body)),
        }
        counts = {1: (3.0, None), 4: (None, None)}
        what = f"12 megapixels ({len(body) / 1e6:.1f} MB)"
        return Findings(against_native(options, "photo", what, sides, counts, as_many(8, 2)))


def tensor(options: Options, folder: Path) -> Findings:
    """Ready pixels: the network alone, with `threads = "auto"` against one thread."""
    pixels = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((SIDE, SIDE)).tobytes()
    manifest = servers.CLASSIFIER + servers.guest("tensor", "infer", more='models = ["classifier"]')
    with contextlib.ExitStack() as stack:
        sides = {
            "guesthouse": (stack.enter_context(servers.guesthouse(folder, manifest)), invoke("tensor", pixels)),
            "native": (stack.enter_context(servers.native(folder, "tensor")), invoke("tensor", pixels)),
        }
        counts = {1: (1.35, None), 2: (1.0, None), 4: (1.0, None), 8: (1.0, None), 16: (1.0, None)}
        return Findings(against_native(options, "tensor", "ready pixels", sides, counts, as_many(40, 12)))


def echo(options: Options, folder: Path) -> Findings:
    """A body there and back, a fresh sandbox for each event: what the sandbox and the way to it cost.

    `limit` is the bare handler on the native core, without any sandbox: no guest can be faster there.
    """
    findings = Findings()
    own = servers.guest("echo", "echo")
    with contextlib.ExitStack() as stack:
        started = {
            "guesthouse": stack.enter_context(servers.guesthouse(folder / "native", own)),
            "grpcio's core": stack.enter_context(
                servers.guesthouse(folder / "grpcio", '[server]\ncore = "grpcio"\n' + own)
            ),
            "limit": stack.enter_context(servers.native(folder, "limit")),
            "dapr.ext.grpc": stack.enter_context(servers.native(folder, "ext")),
            "native": stack.enter_context(servers.native(folder, "echo")),
        }
        for size, counts, requests in (
            ("1 KiB", {1: (1.1, 0.75), 4: (1.3, 0.75), 16: (1.3, 0.75), 64: (None, None)}, as_many(1000, 300)),
            ("64 KiB", {1: (1.0, None), 4: (1.0, None), 16: (1.0, None)}, as_many(600, 200)),
            ("1 MiB", {1: (None, None), 4: (None, None)}, as_many(60, 20)),
            ("4 MiB", {1: (None, None), 4: (None, None)}, as_many(20, 8)),
        ):
            number, unit = size.split()
            event = invoke("echo", bytes(range(256)) * (int(number) * (4 if unit == "KiB" else 4096)))
            sides = {n: (server, event) for n, server in started.items() if n != "dapr.ext.grpc" or size == "1 KiB"}
            findings.figures += against_native(options, "echo", size, sides, counts, requests)
    return findings


def programs(options: Options, folder: Path) -> Findings:
    """1 KiB through WASI commands, each started for its event: the least one, and one that Go compiles."""
    findings = Findings()
    modules = {"the least WASI command": _assembled(folder)}
    if (go := compiled_by_go(folder)) is not None:
        modules["a command by Go"] = go
    body = bytes(range(256)) * 4
    for what, module in modules.items():
        manifest = (
            f'[guests.echo]\nmodule = "{module}"\ncalling = "command"\n\n[[invoke]]\nmethod = "echo"\nguest = "echo"\n'
        )
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(servers.guesthouse(folder / module.stem, manifest))
            native = stack.enter_context(servers.native(folder, "echo"))
            sides = {"guesthouse": (server, invoke("echo", body)), "native": (native, invoke("echo", body))}
            counts = dict.fromkeys((1, 4, 16), (None, None))
            findings.figures += against_native(options, "programs", what, sides, counts, as_many(300, 80))
    return findings


def components(options: Options, folder: Path) -> Findings:
    """A body there and back through a component for wasi:http, against a core module that uses dapr_v1.

    The component is Rust's, with its allocator; the core module is written by hand. Beside them is a guest of wasi:http
    that is written by hand, too: what it costs more is the interface's part.
    """
    component = servers.ROOT / "guests" / "http_component" / "http_component.wasm"
    guests = {
        "component": _echoing("component", component, "http"),
        "least": _echoing("least", _assembled(folder, "echo_http"), "http"),
    }
    bounds = {"component": {"1 KiB": 1.3, "600 KB": 1.2}}
    return _against_core(options, folder, "components", guests, bounds, as_many(60, 20))


def plugins(options: Options, folder: Path) -> Findings:
    """The same through plug-ins of Extism and waPC, by their own kits, against that core module."""
    guests = servers.ROOT / "guests"
    more = 'function = "echo"\nlimits = { time = "60s" }\n'
    found = {
        name: _echoing(name, guests / f"{name}_plugin" / f"{name}_plugin.wasm", name, more)
        for name in ("extism", "wapc")
    }
    # Few of 600 KB, for each takes a plug-in of Extism hundreds of milliseconds.
    return _against_core(options, folder, "plugins", found, {}, as_many(4, 1))


def _echoing(name: str, module: Path, calling: str, more: str = "") -> str:
    return (
        f'[guests.{name}]\nmodule = "{module}"\ncalling = "{calling}"\n{more}\n'
        f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n\n'
    )


def _against_core(
    options: Options,
    folder: Path,
    comparison: str,
    guests: Mapping[str, str],
    bounds: Mapping[str, Mapping[str, float]],
    large: Requests,
) -> Findings:
    """Echoes of guests against one that uses dapr_v1; `bounds` by guest and size, for one caller; `large` is how many
    of 600 KB."""
    findings = Findings()
    manifest = "".join(guests.values()) + _echoing("core", _assembled(folder, "echo_dapr"), "dapr")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.guesthouse(folder, manifest))
        for what, size, requests in (("1 KiB", 1024, as_many(500, 150)), ("600 KB", 600_000, large)):
            body = (bytes(range(256)) * (size // 256 + 1))[:size]
            sides = {name: (server, invoke(name, body)) for name in (*guests, "core")}
            for callers in (1, 4):
                options.say(f"{comparison}, {what}, {_callers(callers)}")
                blocks = race(sides, callers, requests(callers), options.rounds(5))
                for name in guests:
                    bound = bounds.get(name, {}).get(what) if callers == 1 else None
                    target = None if bound is None else Target(bound)
                    case = f"{name}, {what}, {_callers(callers)}"
                    findings.figures.append(latency(comparison, case, blocks, (name, "core"), target))
    return findings


def _assembled(folder: Path, name: str = "echo") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    module = folder / f"{name}.wasm"
    module.write_bytes(wasmtime.wat2wasm((PROGRAMS / f"{name}.wat").read_text()))
    return module


def compiled_by_go(folder: Path) -> Path | None:
    """The program in Go, as a module; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    module = folder / "go.wasm"
    compile_go(go, module, GOOS="wasip1", GOARCH="wasm")
    return module


def compile_go(go: str, goal: Path, **variables: str) -> None:
    """Build the program in Go, with these variables of its compiler's."""
    environment = {**os.environ, "GOTOOLCHAIN": "local", **variables}
    subprocess.run([go, "build", "-trimpath", "-o", goal, PROGRAMS / "echo.go"], env=environment, check=True)
