"""Latency under load: calls come at fixed rates, whether or not those before are answered.

A closed loop of callers slows down with the server, and so does not show what a caller waits for when calls come as
they come. The picture, `docs/latency.svg`, is written by a full run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import servers
from bench.caller import Caller, program
from bench.measure import Figure, Findings, Options, Spread, ratios, take_turns
from bench.over_grpc import GRANT, block, coffee, invoke
from guesthouse.cli.load_generator import Job, Outcome
from guesthouse.event import Event

PICTURE = servers.ROOT / "docs" / "latency.svg"
#: Shares of the native server's greatest rate: both sides are given the same rates.
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
TOLD = (0.5, 0.8)  # in the tables
_SECONDS = 2.0  # of calls at one rate in one round
_LEAST = 200  # calls


@dataclass(slots=True)
class Curve:
    """One side's latencies: (calls per second, p50, p99), in seconds."""

    side: str
    points: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(slots=True)
class Chart:
    """The curves of one kind of event."""

    what: str
    curves: dict[str, Curve]


def loaded(options: Options, folder: Path) -> Findings:
    """Echo of 1 KiB and a JPEG of 600x400, both sides at the same rates."""
    findings, charts = Findings(), []
    rows: list[list[str]] = []
    if program() is None:
        options.say("latency at fixed rates needs the caller in Go: left out")
        return findings
    classifier = servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT)
    for what, kind, manifest, body, most in (
        ("echo, 1 KiB", "echo", servers.guest("echo", "echo"), bytes(range(256)) * 4, 4000),
        ("classify, JPEG 600x400", "classify", classifier, coffee("JPEG"), 160),
    ):
        event = invoke(kind, body)
        with contextlib.ExitStack() as stack:
            sides = {
                "guesthouse": stack.enter_context(servers.guesthouse(folder / kind, manifest)),
                "native": stack.enter_context(servers.native(folder, kind)),
            }
            caller = stack.enter_context(Caller(16))
            options.say(f"{what}: the greatest rate of the native server")
            for server in sides.values():
                block(caller, server, event, 16, most)
            greatest = Spread.of([block(caller, sides["native"], event, 16, most).rate for _ in range(5)]).median
            chart = Chart(what, {side: Curve(side) for side in sides})
            charts.append(chart)
            for share in SHARES:
                rate = greatest * share
                options.say(f"{what} at {rate:.0f} calls per second")
                turns = {side: _run(caller, server, event, rate) for side, server in sides.items()}
                found = take_turns(turns, options.rounds(5))
                for side, outcomes in found.items():
                    together = Outcome([latency for outcome in outcomes for latency in outcome.latencies])
                    p50, p99, p999 = (together.percentile(part) for part in (0.5, 0.99, 0.999))
                    chart.curves[side].points.append((rate, p50, p99))
                    if share in TOLD:
                        shown = [f"{seconds * 1000:.2f} ms" for seconds in (p50, p99, p999)]
                        rows.append([what, f"{rate:.0f} ({share:.0%} of the native server's most)", side, *shown])
                if share in TOLD:
                    for name, part in (("p50", 0.5), ("p99", 0.99)):
                        spread = ratios(
                            [outcome.percentile(part) for outcome in found["guesthouse"]],
                            [outcome.percentile(part) for outcome in found["native"]],
                        )
                        findings.figures.append(
                            Figure("loaded", f"{what}, {share:.0%} of the native server's most: {name}", spread)
                        )
    header = ["what", "calls per second", "side", "p50", "p99", "p99.9"]
    findings.tables.append(("Latency at fixed rates", header, rows))
    if not options.quick:
        PICTURE.write_text(drawn(charts))
    return findings


def _run(caller: Caller, server: servers.Running, event: Event, rate: float) -> Callable[[], Outcome]:
    job = Job(server.address, event, 1, max(_LEAST, round(rate * _SECONDS)))

    def run() -> Outcome:
        outcome = caller.run(job, rate)
        if outcome.errors:
            raise RuntimeError(f"{event.name} at {server.address}: {outcome.errors} {outcome.examples}")
        return outcome

    return run


# ---- the picture ----

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 260, 64, 120, 30, 36
_COLOURS = {"guesthouse": "#1f5fbf", "native": "#b3541e"}


def drawn(charts: list[Chart]) -> str:
    """An SVG with a chart for each kind of event: latency in milliseconds, on a scale of powers, over the rate."""
    height = _HEIGHT * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for index, chart in enumerate(charts):
        parts += _chart(chart, _HEIGHT * index)
    return "\n".join([*parts, "</svg>", ""])


def _chart(chart: Chart, top: int) -> list[str]:
    points = [point for curve in chart.curves.values() for point in curve.points]
    most = max(rate for rate, _, _ in points) * 1.05
    low = math.floor(math.log10(min(p50 for _, p50, _ in points) * 1000))
    high = math.ceil(math.log10(max(p99 for _, _, p99 in points) * 1000))
    right, bottom = _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM

    def x(rate: float) -> float:
        return _LEFT + (right - _LEFT) * rate / most

    def y(seconds: float) -> float:
        part = (math.log10(seconds * 1000) - low) / max(1, high - low)
        return bottom - (bottom - top - _TOP) * part

    parts = [f'<text x="{_LEFT}" y="{top + 18}" font-weight="bold">{chart.what}</text>']
    for power in range(low, high + 1):
        line = y(10.0**power / 1000)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{line:.1f}" y2="{line:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{line + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
    parts += [
        f'<text x="{x(rate):.1f}" y="{bottom + 16}" text-anchor="middle">{rate:.0f}/s</text>'
        for rate in sorted({rate for rate, _, _ in points})
    ]
    for curve in chart.curves.values():
        colour = _COLOURS[curve.side]
        for name, column, dashes in (("p50", 1, ""), ("p99", 2, ' stroke-dasharray="5 3"')):
            places = " ".join(f"{x(point[0]):.1f},{y(point[column]):.1f}" for point in curve.points)
            parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
            at_x, at_y = x(curve.points[-1][0]) + 6, y(curve.points[-1][column]) + 4
            parts.append(f'<text x="{at_x:.1f}" y="{at_y:.1f}" fill="{colour}">{curve.side} {name}</text>')
    return parts
