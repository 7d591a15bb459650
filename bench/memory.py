"""Resident memory of a server after many events: it must not grow with their number."""

from __future__ import annotations

from pathlib import Path

from bench import servers
from bench.measure import Figure, Findings, Options, Spread, Target
from bench.over_grpc import GRANT, PHOTOS, invoke
from guesthouse.cli.load import Job, Load, Usage
from guesthouse.event import Event

MIB = 1 << 20
STEPS, CALLERS = 5, 4


def _after(load: Load, server: servers.Running, event: Event, requests: int, callers: int = CALLERS) -> float:
    """Resident MiB of the server after `requests` more events."""
    outcome = load.run(Job(server.address, event, callers, requests))
    if outcome.errors:
        raise RuntimeError(f"{outcome.errors} {outcome.examples}")
    usage = Usage.of(server.pid)
    if usage is None:
        raise RuntimeError("resident memory is read from /proc, which is not here")
    return usage.memory / MIB


def memory(options: Options, folder: Path) -> Findings:
    """Memory after the warm-up, and while as many events again are answered."""
    findings = Findings()
    kinds = (
        ("echo", servers.guest("echo", "echo"), invoke("echo", bytes(1024)), 1000, 20_000),
        (
            "classify",
            servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT),
            invoke("classify", (PHOTOS / "coffee.png").read_bytes()),
            300,
            3000,
        ),
    )
    rows = []
    for name, manifest, event, warm, more in kinds:
        if options.quick:
            warm, more = warm // 5, more // 10
        options.say(f"memory, {name}: {warm} events and {more} more")
        with servers.guesthouse(folder / name, manifest) as server, Load(CALLERS) as load:
            # With more callers than later: a server makes its threads when it first needs them, and each takes memory.
            start = _after(load, server, event, warm, 4 * CALLERS)
            steps = [_after(load, server, event, more // STEPS) for _ in range(STEPS)]
        growth = steps[-1] - start
        target = Target(1.0) if name == "echo" else None
        note = f"{start:.2f} MiB after {warm} events, {steps[-1]:.2f} MiB after {more} more"
        findings.figures.append(Figure("memory", f"{name}: growth", Spread.of([growth]), "MiB", target, note))
        rows.append([name, f"{warm}", f"{start:.2f}", *(f"{step:.2f}" for step in steps), f"{more // STEPS}"])
    header = ["guest", "warm-up events", "MiB then", *(f"step {n + 1}" for n in range(STEPS)), "events a step"]
    findings.tables.append(("Resident memory", header, rows))
    return findings
