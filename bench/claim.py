"""The claim that guests start in a tenth of a container's time and compute twice as fast as JavaScript, measured.

Starts: the same small work (the echo of 1 KiB) from nothing to its reply, in each language three ways. A container is
created and started for it; a process is started for it; or the host, which runs already, gives it a guest. Of a guest
there are three figures. `event` is what each event has: the guest is loaded, and gets a fresh sandbox. `added` is a
guest that the host did not have: manifest, module, code from the cache, links, and its first event. `compiled` is the
same with an empty cache. The reply is in this process each time: no network is counted on any side.

Kernels: the same work in Rust, compiled to Wasm, as a guest; in JavaScript by node, after it has warmed up; and, as a
control, the same Wasm by node. All must give the same result. Their figures are CPU time, for clocks say little on a
busy machine; that of the classifier is the clock's, which alone tells the guest's own part from its host's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pytest

from bench import containers, over_grpc, pictures, servers
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.native import SIDE, Network
from guesthouse.assembly import open_plan
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.build import build
from guesthouse.plan.plan import Host, Plan
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.pictures import PNG, Era, Layout, decode_and_resize
from tests.support.interpreter import interpreter

PROGRAMS = over_grpc.PROGRAMS
KERNELS = servers.ROOT / "guests" / "kernels"
BODY = bytes(range(256)) * 4
TENTH, HALF = Target(0.1), Target(0.5)

#: Kernels with a number that takes node some 10 ms.
SIZES = {"sha256": 2000, "nbody": 80_000, "records": 15_000}
SCRIPT = 'import { answer } from "./kernels.mjs";\nexport const onInvoke = (event) => answer(event.text());\n'
_SLOWER = 50  # a guest in JavaScript is interpreted: its numbers are smaller by this


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the starts. `program` is a process, of `files`; `guest` is its guest's part of a manifest."""

    name: str
    guest: str
    program: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def claim(options: Options, folder: Path) -> Findings:
    """Starts against containers and processes; kernels against JavaScript. Furthest from its target is first."""
    findings = Findings()
    findings.add(starts(options, folder / "starts"))
    findings.add(kernels(options, folder / "kernels"))
    findings.figures.sort(key=lambda f: -f.spread.median / f.target.bound if f.target else 0)
    return findings


# ---- starts ----


def starts(options: Options, folder: Path) -> Findings:
    """From nothing to the first reply."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        languages = list(languages_here(folder, options.say))
        engine: containers.Engine | None = None
        try:
            engine = stack.enter_context(containers.engine(folder / "docker"))
            for language in languages:
                if language.program:
                    options.say(f"an image for {language.name}")
                    engine.make(language.name.lower(), language.program, language.files)
        except containers.Missing as why:
            options.say(f"no containers: {why}")
        host = stack.enter_context(opened(folder)).host
        figures, rows = [], []
        for language in languages:
            options.say(f"starts, {language.name}")
            found = starts_of(language, engine, host, folder, options)
            figures += _start_figures(language, found)
            times = {**found.compiling, **found.found}
            rows.append([language.name, *(_told(times.get(way)) for way in _WAYS)])
    header = ["language", *(f"{way}, ms" for way in _WAYS)]
    return Findings(figures, [("Start to first reply", header, rows)])


_WAYS = ("container", "process", "compiled", "added", "event")


def _told(times: list[float] | None) -> str:
    return "" if times is None else f"{Spread.of(times).median:.3g}"


class Ways(NamedTuple):
    """Milliseconds of each way, one for each round: those without compiling, and compiling with others beside it."""

    found: dict[str, list[float]]
    compiling: dict[str, list[float]]


def starts_of(language: Language, engine: containers.Engine | None, host: Host, folder: Path, options: Options) -> Ways:
    """All ways of one language."""
    path = folder / f"{language.name}.toml"
    path.write_text(servers.APP + language.guest)
    sides: dict[str, Callable[[], float]] = {}
    if language.program:
        if engine is not None:
            sides["container"] = lambda: engine.reply(language.name.lower(), BODY)
        sides["process"] = lambda: _process(language.program)
    # Compiling Python's interpreter takes many seconds. The first of these folders is used again.
    rounds = 1 if language.name == "Python" else options.rounds(5)
    beside: dict[str, list[float]] = {way: [] for way in (*sides, "compiled")}
    for number in range(rounds):
        for way, side in sides.items():
            beside[way].append(side())
        beside["compiled"].append(_added(path, host, folder / f"{language.name}-{number}", language.name))
    kept = folder / f"{language.name}-0"
    with _planned(path, host, kept) as plan:
        sides["added"] = lambda: _added(path, host, kept, language.name)
        sides["event"] = lambda: _event(plan, language.name)
        return Ways(take_turns(sides, options.rounds(15)), beside)


def _start_figures(language: Language, ways: Ways) -> list[Figure]:
    figures = []
    for against in ("container", "process"):
        if against not in ways.found:
            continue
        for way in ("event", "added", "compiled"):
            times = ways.compiling if way == "compiled" else ways.found
            note = f"{_told(times[way])} ms : {_told(times[against])} ms"
            what = f"start, {language.name}: a guest ({way}) against a {against}"
            target = TENTH if against == "container" else None
            figures.append(Figure("claim", what, ratios(times[way], times[against]), target=target, note=note))
    return figures


def languages_here(folder: Path, say: Callable[[str], None]) -> Iterator[Language]:
    """Those whose tools are here. One without a program has neither process nor container."""
    native = folder / "rust"
    rust = ["rustc", "-O", "-C", "panic=abort", "-C", "target-feature=+crt-static", "-o", str(native)]
    built = shutil.which("rustc") and not subprocess.run([*rust, str(KERNELS / "src" / "main.rs")]).returncode
    yield Language("Rust", _command("Rust", KERNELS / "kernels.wasm"), (str(native),) * bool(built), (native,))

    if (go := shutil.which("go")) is not None:
        wasm = over_grpc.compiled_by_go(folder)
        assert wasm is not None
        native = folder / "go"
        over_grpc.compile_go(go, native, CGO_ENABLED="0")
        yield Language("Go", _command("Go", wasm), (str(native),), (native,))
    else:
        say("no Go")

    script = folder / "echo.js"
    script.write_text("export const onInvoke = (event) => event.body;\n")
    node, source = shutil.which("node"), PROGRAMS / "echo.mjs"
    program: tuple[str, ...] = () if node is None else (str(Path(node).resolve()), str(source))
    guest = f'[guests.JavaScript]\nscript = "{script}"\ncalling = "dapr"\n'
    yield Language("JavaScript", guest + _method("JavaScript"), program, tuple(map(Path, program)))

    try:
        wasm = folder / "python.wasm"
        wasm.write_bytes(interpreter().read_bytes())
    except pytest.skip.Exception as why:
        say(f"no Python: {why}")
        return
    source = PROGRAMS / "echo.py"
    guest = _command("Python", wasm, f'args = ["/echo.py"]\nfiles = {{ "/echo.py" = "{source}" }}\n')
    python = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib") / python.name
    program = (str(python), "-S", "-E", str(source)) if python.exists() and library.exists() else ()
    yield Language("Python", guest, program, (python, library, source))


def _method(name: str) -> str:
    return f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'


def _command(name: str, module: Path, more: str = "") -> str:
    return (
        f'[guests.{name}]\nmodule = "{module}"\ncalling = "command"\n{more}limits = {{ time = "60s" }}\n{_method(name)}'
    )


@contextlib.contextmanager
def opened(folder: Path, guests: str = "") -> Iterator[Plan]:
    """A host with these guests."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "guesthouse.toml"
    path.write_text(servers.APP + guests)
    with open_plan(load(path, grants=GRANTS)) as plan:
        yield plan


def _run(plan: Plan, name: str, body: bytes) -> Reply:
    event = Event(Trigger.INVOKE, name, body)
    return plan.guests[plan.route(event).guest].run(event, Deadline(math.inf))


def _event(plan: Plan, name: str) -> float:
    """A fresh sandbox of a guest that is loaded."""
    began = perf_counter()
    reply = _run(plan, name, BODY)
    took = (perf_counter() - began) * 1000
    assert reply.body == BODY, name
    return took


@contextlib.contextmanager
def _planned(path: Path, host: Host, cache: Path) -> Iterator[Plan]:
    """What the host does with one more manifest. Compiled code is in `cache`."""
    with contextlib.ExitStack() as stack:
        code = stack.enter_context(contextlib.closing(CodeCache(cache)))
        yield stack.enter_context(contextlib.closing(build(load(path, grants=GRANTS), replace(host, cache=code))))


def _added(path: Path, host: Host, cache: Path, name: str) -> float:
    """The host is given a manifest with the guest, and an event for it."""
    began = perf_counter()
    with _planned(path, host, cache) as plan:
        reply = _run(plan, name, BODY)
        took = (perf_counter() - began) * 1000
    assert reply.body == BODY, name
    return took


def _process(command: tuple[str, ...]) -> float:
    """A process, until all of its reply is here."""
    began = perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(BODY)
        process.stdin.close()
        reply = process.stdout.read(len(BODY))
        took = (perf_counter() - began) * 1000
    assert reply == BODY, command
    return took


# ---- kernels ----


class Node:
    """Node with `programs/node.mjs`, for as long as the block lasts."""

    def __init__(self, folder: Path, probabilities: bytes, pixels: bytes) -> None:
        for name, data in (
            ("photo", over_grpc.coffee()),
            ("pixels", pixels),
            ("probabilities", probabilities),
            ("labels.json", (servers.ROOT / "guests" / "classify" / "imagenet-labels.json").read_bytes()),
        ):
            (folder / name).write_bytes(data)
        modules = [KERNELS / "kernels.wasm", servers.ROOT / "guests" / "classify" / "classify.wasm"]
        command = ["node", str(PROGRAMS / "node.mjs"), *map(str, modules), str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, what: str, how: str, text: str = "", times: int = 1) -> Any:
        """What one of so many calls took, and gave: {cpu, clock, output}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"what": what, "how": how, "input": text, "times": times})
        print(line, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@dataclass(frozen=True, slots=True)
class Sides:
    """Who runs kernels: a host with the guests, and node."""

    plan: Plan
    node: Node

    def results(self, text: str) -> dict[str, str]:
        """What each side gives for one kernel's text."""
        body = text.encode()
        return {
            "guest": _run(self.plan, "kernels", body).body.decode(),
            "guest in JavaScript": _run(self.plan, "script", body).body.decode(),
            **{how: self.node.ask("kernels", how, text)["output"] for how in ("javascript", "wasm")},
        }

    def labels(self) -> dict[str, str]:
        """What each side gives for the photo."""
        found = {how: str(self.node.ask("classify", how)["output"]) for how in ("javascript", "wasm")}
        return {"guest": _run(self.plan, "classify", over_grpc.coffee()).body.decode(), **found}


@contextlib.contextmanager
def sides(folder: Path) -> Iterator[Sides]:
    """The host and node."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.js").write_text(SCRIPT)
    files = f'files = {{ "/kernels.mjs" = "{PROGRAMS / "kernels.mjs"}" }}\nlimits = {{ time = "60s" }}\n'
    manifest = (
        _command("kernels", KERNELS / "kernels.wasm")
        + f'[guests.script]\nscript = "{folder / "script.js"}"\ncalling = "dapr"\n{files}{_method("script")}'
        + servers.CLASSIFIER
        + servers.guest("classify", "infer", more=over_grpc.GRANT)
    )
    pixels = np.asarray(
        decode_and_resize(
            over_grpc.coffee(),
            SIDE,
            SIDE,
            Layout.RGB8,
            Era.WASMEDGE_0_14,
            formats=PNG,
            pixels=1 << 20,
            budget=pictures.Unbounded(),
            deadline=Deadline(math.inf),
        ),
        np.uint8,
    )
    probabilities = Network().run(pixels.reshape(1, SIDE, SIDE, 3))
    with opened(folder, manifest) as plan, Node(folder, probabilities.tobytes(), pixels.tobytes()) as node:
        yield Sides(plan, node)


def sha256(kib: int) -> str:
    """What the kernel of that name gives, by another hand."""
    return hashlib.sha256(bytes(i * i // 7 & 0xFF for i in range(1024)) * kib).hexdigest()


def _agreed(results: Mapping[str, str], what: str) -> None:
    if len(set(results.values())) != 1:
        raise RuntimeError(f"{what}: the sides differ: {results}")


def kernels(options: Options, folder: Path) -> Findings:
    """Computing, against node's JavaScript."""
    if shutil.which("node") is None:
        options.say("no kernels: node is not here")
        return Findings()
    figures: list[Figure] = []
    with sides(folder) as both:
        for name, number in SIZES.items():
            options.say(f"kernel {name}")
            _agreed(both.results(f"{name} {number // _SLOWER}"), name)
            figures += _kernel_figures(both, name, number, options)
        options.say("the classifier's own part")
        _agreed(both.labels(), "classify")
        figures += _classify_figures(both, options)
    return Findings(figures)


def _kernel_figures(both: Sides, name: str, number: int, options: Options) -> list[Figure]:
    def guest(which: str, number: int, times: int) -> Callable[[], float]:
        body = f"{name} {number}".encode()

        def measure() -> float:
            began = time.thread_time()
            for _ in range(times):
                _run(both.plan, which, body)
            return (time.thread_time() - began) / times * 1e6

        return measure

    def node(how: str, kernel: str = name) -> Callable[[], float]:
        return lambda: float(both.node.ask("kernels", how, f"{kernel} {number}", 10)["cpu"])

    run: dict[str, Callable[[], float]] = {
        "guest": guest("kernels", number, 10),
        "javascript": node("javascript"),
        "wasm": node("wasm"),
        "interpreted": lambda: guest("script", number // _SLOWER, 1)() * _SLOWER,
    }
    if name == "records":
        run["parsed"] = node("javascript", "parsed")
    found = take_turns(run, options.rounds(15))
    what = f"{name}, CPU time"
    figures = [
        _figure(found, "guest", "javascript", f"{what}: a guest in Rust against node's JavaScript", HALF),
        _figure(found, "wasm", "javascript", f"{what}: the same Wasm by node against its JavaScript"),
        _figure(found, "guest", "interpreted", f"{what}: a guest in Rust against a guest in JavaScript"),
    ]
    if name == "records":
        figures.append(_figure(found, "guest", "parsed", f"{what}: a guest in Rust against node's JSON.parse", HALF))
    return figures


def _classify_figures(both: Sides, options: Options) -> list[Figure]:
    def guest() -> float:
        costs = [_run(both.plan, "classify", over_grpc.coffee()).cost.guest for _ in range(5)]
        return Spread.of(costs).median * 1e6

    def node(how: str) -> Callable[[], float]:
        return lambda: float(both.node.ask("classify", how, times=50)["clock"])

    run = {"guest": guest, "javascript": node("javascript"), "wasm": node("wasm")}
    found = take_turns(run, options.rounds(15))
    what = "classify, the guest's own part"
    return [
        _figure(found, "guest", "javascript", f"{what}: in Rust against node's JavaScript", HALF),
        _figure(found, "wasm", "javascript", f"{what}: the same Wasm by node, with its instance, against JavaScript"),
    ]


def _figure(
    found: Mapping[str, list[float]], subject: str, baseline: str, what: str, target: Target | None = None
) -> Figure:
    note = " : ".join(f"{Spread.of(found[side]).median:.0f} µs" for side in (subject, baseline))
    return Figure("claim", what, ratios(found[subject], found[baseline]), target=target, note=note)


if __name__ == "__main__":
    sys.exit("python -m bench --only claim")
