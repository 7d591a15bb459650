"""Events over gRPC: Guesthouse and native servers in processes of their own, callers in others."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench import servers
from bench.caller import Caller
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from guesthouse.cli.load import Job, Usage
from guesthouse.event import Event, Trigger

PHOTOS = servers.ROOT / "tests" / "data" / "photos"


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


def classify(options: Options, folder: Path) -> Findings:
    """The coffee photo, against the same work with Pillow and one ONNX Runtime thread."""
    findings = Findings()
    event = invoke("classify", (PHOTOS / "coffee.png").read_bytes())
    auto = servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT)
    one = auto.replace('.onnx"\n', '.onnx"\nthreads = 1\n')
    with contextlib.ExitStack() as stack:
        sides = {
            "guesthouse": (stack.enter_context(servers.guesthouse(folder / "auto", auto)), event),
            "threads = 1": (stack.enter_context(servers.guesthouse(folder / "one", one)), event),
            "native": (stack.enter_context(servers.native(folder, "classify")), event),
        }
        for callers, requests in ((1, 30), (8, 80)):
            options.say(f"classify, {_callers(callers)}")
            blocks = race(sides, callers, requests, options.rounds(9))
            what, pair = _callers(callers), ("guesthouse", "native")
            findings.figures += [
                latency("classify", what, blocks, pair, Target(1.10)),
                throughput("classify", what, blocks, pair, Target(0.9, at_least=True)),
                latency("classify", f"{what}, threads = 1", blocks, ("threads = 1", "native"), None),
                throughput("classify", f"{what}, threads = 1", blocks, ("threads = 1", "native"), None),
            ]
    return findings


def large_photo() -> bytes:
    """The coffee photo as a telephone would have taken it: JPEG, 4000x3000, quality 90."""
    buffer = io.BytesIO()
    photo = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    photo.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def photo(options: Options, folder: Path) -> Findings:
    """A photo of 12 megapixels: decoding decides."""
    findings = Findings()
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
            "scale": (guesthouse, invoke("scaled", body)),
            "native": (stack.enter_context(servers.native(folder, "classify")), invoke("classify", body)),
        }
        options.say(f"a JPEG of 12 megapixels ({len(body) / 1e6:.1f} MB)")
        blocks = race(sides, 1, 8, options.rounds(7))
    findings.figures += [
        latency("photo", "12 megapixels", blocks, ("guesthouse", "native"), Target(0.5)),
        latency("photo", "12 megapixels, scale = true", blocks, ("scale", "native"), None),
    ]
    return findings


def tensor(options: Options, folder: Path) -> Findings:
    """Ready pixels: the network alone, with `threads = "auto"` against one thread."""
    findings = Findings()
    pixels = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((224, 224)).tobytes()
    manifest = servers.CLASSIFIER + servers.guest("tensor", "infer", more='models = ["classifier"]')
    with contextlib.ExitStack() as stack:
        sides = {
            "guesthouse": (stack.enter_context(servers.guesthouse(folder, manifest)), invoke("tensor", pixels)),
            "native": (stack.enter_context(servers.native(folder, "tensor")), invoke("tensor", pixels)),
        }
        for callers, requests, bound in ((1, 40, 1.4), (8, 120, 0.95)):
            options.say(f"tensor, {_callers(callers)}")
            blocks = race(sides, callers, requests, options.rounds(9))
            what, pair = _callers(callers), ("guesthouse", "native")
            findings.figures += [
                throughput("tensor", what, blocks, pair, Target(bound, at_least=True)),
                latency("tensor", what, blocks, pair, None),
            ]
    return findings


def echo(options: Options, folder: Path) -> Findings:
    """1 KiB there and back, a fresh sandbox for each event: what the sandbox and the way to it cost."""
    findings = Findings()
    event = invoke("echo", bytes(range(256)) * 4)
    pooled = servers.guest("echo", "echo")
    with contextlib.ExitStack() as stack:
        on_demand = "[engine]\npooling = false\n" + pooled
        sides = {
            "pooled": (stack.enter_context(servers.guesthouse(folder / "pooled", pooled)), event),
            "on demand": (stack.enter_context(servers.guesthouse(folder / "demand", on_demand)), event),
            "native": (stack.enter_context(servers.native(folder, "echo")), event),
            "dapr.ext.grpc": (stack.enter_context(servers.native(folder, "ext")), event),
        }
        for callers in (1, 4, 16):
            options.say(f"echo, {_callers(callers)}")
            blocks = race(sides, callers, 600 if callers == 1 else 1200, options.rounds(9))
            for subject in ("pooled", "on demand"):
                bound = 0.85 if callers == 16 and subject == "on demand" else 0.9
                for baseline in ("native", "dapr.ext.grpc"):
                    what = f"{_callers(callers)}, {subject}, against {baseline}"
                    target = Target(bound, at_least=True)
                    findings.figures.append(throughput("echo", what, blocks, (subject, baseline), target))
    return findings
