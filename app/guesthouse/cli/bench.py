"""`guesthouse bench`: how many events of one kind a server answers, how fast, and what that costs it.

The events are sent by `load_generator.py`. This command measures one application with events of its own; what
Guesthouse itself is compared with is in the repository's folder `bench`.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from guesthouse.cli import event_options
from guesthouse.cli.load_generator import Job, Load, NotServing, Outcome, Usage, serving
from guesthouse.cli.options import DEFAULT_MANIFEST, Json, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail, note, print_json, print_table, progress
from guesthouse.dapr.client import Client
from guesthouse.event import Failure
from guesthouse.faults import fault
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.tokens import tokens_of

app = new_app()

SECONDS = 5.0  # at each number of callers, unless something else is asked for

_EXAMPLE = example_text(
    "bench invoke api/image --data photo.png",
    "bench binding camera --data photo.png -c 1,8 --requests 500",
    "bench invoke api/image --data photo.png --to 127.0.0.1:50051 --pid 4711 --json",
)

Callers = Annotated[
    str, typer.Option("--concurrency", "-c", metavar="N,N,…", help="How many callers at once; one run for each.")
]
Requests = Annotated[
    int | None, typer.Option("--requests", "-n", min=1, help="Events in each run.", show_default=False)
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", "-s", min=0.1, help="Seconds of each run.", show_default=f"{SECONDS:g}, unless -n"),
]
Pid = Annotated[
    int | None,
    typer.Option("--pid", help="--to: the server's process, for its CPU and memory.", show_default=False),
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="How long one event may take.")]


@app.command(epilog=_EXAMPLE)
def bench(
    kind: event_options.Kind,
    name: event_options.Name,
    data: event_options.Data = "",
    content_type: event_options.ContentType = "",
    verb: event_options.Verb = "POST",
    query: event_options.Query = "",
    path: event_options.Path_ = "",
    concurrency: Callers = "1,4,16",
    requests: Requests = None,
    seconds: Seconds = None,
    timeout: Timeout = 60.0,
    to: event_options.To = None,
    pid: Pid = None,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    json: Json = False,
) -> None:
    """Measure requests per second, latency, CPU and memory for one event, at several concurrencies.

    Serves the manifest in a process of its own; with --to, a running server is measured. A token is taken from
    $APP_API_TOKEN, or from the manifest that is served.
    """
    counts = _counts(concurrency)
    if pid is not None and to is None:
        raise typer.BadParameter("names the process of a server that runs already: give --to too", param_hint="--pid")
    if requests is None and seconds is None:
        seconds = SECONDS
    event = event_options.read_event(kind, name, data, content_type, verb, query, path)
    with _target(to, pid, manifest) as (address, process, token):
        job = Job(address, event, 1, requests, seconds, timeout)
        _try(job, token)
        results = [_run(replace(job, callers=count), process, token) for count in counts]
    if json:
        print_json([_record(count, *result) for count, result in zip(counts, results, strict=True)])
    else:
        print_table([_row(count, *result) for count, result in zip(counts, results, strict=True)])
    for count, (outcome, _, _) in zip(counts, results, strict=True):
        for reason, number in outcome.errors.most_common():
            note(f"{_callers(count)}: {number} events failed with {reason}, as in: {outcome.examples[reason]}")
    if not all(outcome.latencies for outcome, _, _ in results):
        raise typer.Exit(1)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= count <= 1000 for count in counts):
        raise typer.BadParameter(
            f"{text!r} is no list of numbers from 1 to 1000, as in 1,4,16", param_hint="--concurrency"
        )
    return counts


Target = tuple[str, "int | None", "str | None"]


@contextlib.contextmanager
def _target(to: str | None, pid: int | None, manifest: Path) -> Iterator[Target]:
    """The address, process and token of the server that is measured."""
    if to is not None:
        if pid is not None and Usage.of(pid) is None:
            fail([fault("its CPU and memory cannot be read", f"process {pid}", "check --pid, or leave it out")])
        yield to, pid, None
        return
    loaded = load(manifest, grants=GRANTS)
    if loaded.server.tls is not None:
        remedy = "measure with a manifest without [server.tls], or a running server with --to"
        fail([fault("this server speaks TLS, bench does not", str(manifest), remedy)])
    token = next(iter(tokens_of(loaded.server)), None)

    def command(port: int) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
        return [sys.executable, "-m", "guesthouse", "--manifest", str(manifest), "serve", *options]

    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        try:
            with serving(command, Path(folder) / "serve.log") as (address, process):
                yield address, process, token
        except NotServing as error:
            _not_serving(str(error), manifest)


def _not_serving(text: str, manifest: Path) -> NoReturn:
    """End with the faults that `serve` has printed."""
    lines = [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]
    remedy = "run `guesthouse serve` to see why"
    fail(lines or [fault("the server did not start", str(manifest), remedy)])


def _try(job: Job, token: str | None) -> None:
    """Send one event that is not measured. It opens the connection, and a mistake in it ends the command at once."""
    with Client(job.address, token=token) as client:
        try:
            client.send(job.event, job.timeout)
        except Failure as failure:
            where = f"{job.event.trigger.value} {job.event.name}"
            fail([fault(str(failure), where, f"the reason is {failure.reason.value}")])


Result = tuple[Outcome, "Usage | None", "Usage | None"]


def _run(job: Job, process: int | None, token: str | None) -> Result:
    """One run: the outcome of its events, and what the server had used before and after it."""
    total = job.requests if job.requests is not None else math.ceil((job.seconds or 0) * 10)
    with Load(job.callers, token) as senders, progress(_callers(job.callers), total) as advance:
        senders.run(replace(job, requests=job.callers, seconds=None))
        before = Usage.of(process) if process is not None else None
        outcome = senders.run(job, _bar_mover(job, advance))
        after = Usage.of(process) if process is not None else None
    return outcome, before, after


def _bar_mover(job: Job, advance: Callable[[int], None]) -> Callable[[int], None]:
    """What moves the progress bar: by events where their number is known, else by tenths of seconds."""
    began, shown = time.monotonic(), 0

    def move(done: int) -> None:
        nonlocal shown
        now = done if job.requests is not None else int((time.monotonic() - began) * 10)
        advance(now - shown)
        shown = now

    return move


def _callers(count: int) -> str:
    return "1 caller" if count == 1 else f"{count} callers"


def _row(count: int, outcome: Outcome, before: Usage | None, after: Usage | None) -> dict[str, object]:
    """One run as a line of the table."""
    used = _used(outcome, before, after)
    return {
        "callers": count,
        "requests/s": outcome.rate,
        "p50 ms": _ms(outcome, 0.5),
        "p99 ms": _ms(outcome, 0.99),
        "CPU ms/request": used.get("cpu_ms_per_request"),
        "cores busy": used.get("cores_busy"),
        "memory MiB": used["memory"] / 2**20 if "memory" in used else None,
        "errors": sum(outcome.errors.values()),
    }


def _record(count: int, outcome: Outcome, before: Usage | None, after: Usage | None) -> dict[str, object]:
    """One run as JSON, in milliseconds and bytes."""
    return {
        "callers": count,
        "requests": len(outcome.latencies) + sum(outcome.errors.values()),
        "seconds": outcome.ended - outcome.began,
        "requests_per_second": outcome.rate,
        "p50_ms": _ms(outcome, 0.5),
        "p99_ms": _ms(outcome, 0.99),
        "server": _used(outcome, before, after) or None,
        "errors": {
            reason: {"count": number, "example": outcome.examples[reason]} for reason, number in outcome.errors.items()
        },
    }


def _ms(outcome: Outcome, share: float) -> float | None:
    return outcome.percentile(share) * 1000 if outcome.latencies else None


def _used(outcome: Outcome, before: Usage | None, after: Usage | None) -> dict[str, float]:
    """What the server used during a run; empty where that is not known."""
    if before is None or after is None:
        return {}
    cpu, count = after.cpu - before.cpu, len(outcome.latencies) + sum(outcome.errors.values())
    return {
        "cpu_ms_per_request": cpu / count * 1000,
        "cores_busy": cpu / (outcome.ended - outcome.began),
        "memory": after.memory,
    }
