"""Events under allocators that fill what they give and what they get back: run by `test_security_memory.py`, in a
process of its own, whose environment says with which byte (glibc's `perturb`).

    python poisoned.py OUT FILL

OUT gets what callers, the log and the page saw: a pickled dictionary of bytes by name. FILL are 16 bytes (hexadecimal)
that the events of caller "a" are full of. Two runs with different bytes of poison must see the same; what caller "b"
sees must have nothing of caller "a".

Who allocates without glibc is dealt with one by one: Python by `PYTHONMALLOC=malloc`, numpy's cache of small arrays by
filling it before each event, ONNX Runtime's arenas by doing without them, the pixel kernel's memory by filling it
before each picture. Worker processes, which begin with an empty environment, are given this one's.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from guesthouse.assembly import application_for, open_plan
from guesthouse.dapr.client import Client
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.engine import kernels
from guesthouse.event import Event, Failure, Trigger
from guesthouse.inference import session
from guesthouse.manifest import load
from guesthouse.observe import logs
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse_abi import memory
from guesthouse_abi.errors import HostError
from guesthouse_abi.imports import wasmedge_image
from tests.security.poisoned_events import batched, inference, odd_calls, picture_script, pictures, program, written
from tests.support.serving import connected
from tests.support.waiting import join

OTHER = bytes(range(0x10, 0x20))
ALLOCATORS = ("GLIBC_TUNABLES", "PYTHONMALLOC", "PYTHONHASHSEED")
#: Sizes in bytes below which numpy keeps some of the arrays that were freed, and gives the last one first.
_SMALL = (*range(1, 256), *range(256, 1024, 4))


class Seen:
    """What was seen, by name; and what of the caller "a" was seen by others."""

    def __init__(self, fill: bytes, poison: int) -> None:
        self.found: dict[str, bytes] = {}
        self.leaks: list[str] = []
        twice = fill * 2
        self._canaries = [twice[start : start + 8] for start in range(16)]
        self._poison = [bytes([poison]) * 8, bytes([poison ^ 0xFF]) * 8]

    def add(self, name: str, data: bytes) -> None:
        """What anybody saw."""
        assert name not in self.found, name
        self.found[name] = zlib.compress(data, 1)
        if any(part in data for part in self._poison):
            self.leaks.append(f"{name}: poison")
        if not name.startswith("a ") and any(part in data for part in self._canaries):
            self.leaks.append(f"{name}: bytes of another caller's")

    def add_log(self, text: str) -> None:
        """The lines, in any order. Of an event that its caller left there may be some or none."""
        lines = [line for line in text.splitlines() if "c" * 32 not in line]
        theirs = [line for line in lines if "b" * 16 in line]
        self.add("the log of b", "\n".join(sorted(map(plain, theirs))).encode())
        self.add("a log", "\n".join(sorted(map(plain, lines))).encode())


# ---- allocators ----


class _WithoutArena(ort.SessionOptions):  # type: ignore[misc]
    """ONNX Runtime's arenas give what they got back before, with what was in it; without one it asks glibc."""

    def __init__(self) -> None:
        super().__init__()
        self.enable_cpu_mem_arena = False

    def add_session_config_entry(self, key: str, value: str) -> None:
        if key != "session.use_env_allocators":
            super().add_session_config_entry(key, value)


class _NothingToShrink(ort.RunOptions):  # type: ignore[misc]
    def add_run_config_entry(self, key: str, value: str) -> None:
        if key != "memory.enable_memory_arena_shrinkage":
            super().add_run_config_entry(key, value)


def prepare(poison: int) -> None:
    """Put the allocators in place that cannot be had by the environment."""
    ort.SessionOptions = _WithoutArena
    ort.RunOptions = _NothingToShrink
    session._share_guest_arena = lambda: None  # type: ignore[assignment]
    lend: Any = kernels.WasmtimeKernels.lend

    @contextlib.contextmanager
    def lend_poisoned(self: Any) -> Iterator[Any]:
        with lend(self) as kernel:
            kernel.memory[kernel.call("base") :] = poison
            yield kernel

    kernels.WasmtimeKernels.lend = lend_poisoned  # type: ignore[method-assign]
    popen: Any = subprocess.Popen
    environment = {name: os.environ[name] for name in ALLOCATORS}

    def poisoned_too(command: list[str], **options: Any) -> Any:
        if options.get("env") == {}:
            options["env"] = environment
            command = [part if part != "-I" else "-s" for part in command]  # which would not look at it
        return popen(command, **options)

    subprocess.Popen = poisoned_too  # type: ignore[assignment,misc]


def poison_small_arrays(poison: int) -> None:
    arrays = [np.empty(size, np.uint8) for size in _SMALL for _ in range(3)]
    for array in arrays:
        array.fill(poison)


def fresh() -> dict[str, bytes]:
    """What fresh memory has: must be poison everywhere, or the run shows nothing."""
    return {
        "small": np.empty(100, np.uint8).tobytes(),
        "middle": np.empty(5000, np.uint8).tobytes(),
        "large": np.empty(1 << 23, np.uint8)[-100:].tobytes(),
        "ONNX Runtime": bytes(ort.OrtValue.ortvalue_from_shape_and_type([5000], np.uint8).numpy()),
    }


# ---- deliberate leaks ----

Call = Callable[..., Any]


def _unfilled(call: Call) -> Call:
    return lambda *arguments, **options: np.empty_like(call(*arguments, **options))


def _all_unfilled(call: Call) -> Call:
    return lambda *arguments, **options: [np.empty_like(one) for one in call(*arguments, **options)]


def _writes_unfilled(call: Call) -> Call:
    return lambda self, pointer, array: call(self, pointer, np.empty_like(array))


def _last_row_unfilled(call: Call) -> Call:
    def resized(*arguments: Any, **options: Any) -> Any:
        picture = call(*arguments, **options)
        picture[-1] = np.empty_like(picture[-1])
        return picture

    return resized


def _not_decoded(call: Call) -> Call:
    """An array that nobody filled, for a picture that is refused: as it once was for `jpg_cut_in_table.jpg`."""

    def decoded(data: bytes, width: int, height: int, layout: Any, *more: Any, **options: Any) -> Any:
        try:
            return call(data, width, height, layout, *more, **options)
        except HostError:
            return np.empty((height, width, 3), layout.dtype)

    return decoded


def _used_again(call: Call) -> Call:
    """A buffer that still has what the last caller put there."""
    kept: dict[Any, Any] = {}

    def read(self: Any, pointer: int, count: int, dtype: Any) -> Any:
        array = call(self, pointer, count, dtype)
        before, kept[count, dtype] = kept.get((count, dtype), array), array
        return before

    return read


def _not_resized(call: Call) -> Call:
    return lambda self, name, *more: 0 if name in ("bilinear", "across") else call(self, name, *more)


#: What leaks, where it is done, and how; by poison, but for the last one.
MUTATIONS: tuple[tuple[str, Any, str, Callable[[Call], Call]], ...] = (
    ("what a guest hands over", memory.Memory, "array", _unfilled),
    ("what a guest is given", memory.Memory, "write_array", _writes_unfilled),
    ("what a model answers", session.OnnxSession, "run", _all_unfilled),
    ("a row of a resized picture", wasmedge_image, "decode_and_resize", _last_row_unfilled),
    ("a resized picture", wasmedge_image, "decode_and_resize", _unfilled),
    ("a damaged picture", wasmedge_image, "decode_and_resize", _not_decoded),
    ("what the pixel kernel held", kernels._Kernel, "call", _not_resized),
    ("a buffer of another caller's", memory.Memory, "array", _used_again),
)


@contextlib.contextmanager
def leaking(owner: Any, name: str, leak: Callable[[Call], Call]) -> Iterator[None]:
    call = getattr(owner, name)
    setattr(owner, name, leak(call))
    try:
        yield
    finally:
        setattr(owner, name, call)


# ---- events ----


class Callers:
    """Sends events as two callers; what each of them sees is kept."""

    def __init__(self, client: Client, seen: Seen, fill: bytes, poison: int) -> None:
        self._client = client
        self._seen = seen
        self._poison = poison
        self._count = itertools.count(1)
        self.fills = {"a": fill, "b": OTHER}

    def send(self, caller: str, name: str, event: Event) -> None:
        poison_small_arrays(self._poison)
        self._seen.add(f"{caller} {name}", self.answer(event))

    def answer(self, event: Event) -> bytes:
        try:
            reply = self._client.send(event, timeout=60)
        except Failure as failure:
            return f"{failure.reason.value} {failure.text}".encode()
        return reply.content_type.encode() + b"\n" + reply.body

    def event(self, method: str, body: bytes, fill: bytes) -> Event:
        """With a trace that tells whose a line of the log is."""
        caller = "b" if fill == OTHER else "a"
        metadata = {"traceparent": f"00-{caller * 16}{next(self._count):016x}-{1:016x}-00"}
        if caller == "a":
            metadata["x-of-the-caller"] = fill.hex() * 4
        return Event(Trigger.INVOKE, method, body, query=f"q={fill.hex()}", metadata=metadata)

    def pictures(self, place: str, prefix: str = "", *, part: slice = slice(None)) -> None:
        for caller, fill in self.fills.items():
            for name, picture in list(pictures(fill, self.fills["a"]).items())[part]:
                self.send(caller, f"{prefix}{place} {name}", self.event(place, picture_script(picture), fill))

    def inference(self, place: str, prefix: str = "") -> None:
        for caller, fill in self.fills.items():
            for name, body in inference(fill):
                self.send(caller, f"{prefix}{place} {name}", self.event(place, body, fill))

    def others(self, place: str, odd: int) -> None:
        for caller, fill in self.fills.items():
            self.send(caller, f"{place} streams", self.event(place, program(fill), fill))
            self.send(caller, f"{place} too large", self.event(place, fill * (1 << 18), fill))
            self.send(caller, f"{place} no route", self.event(f"{place}-none", fill * 10, fill))
            self.send(caller, f"fails {place}", self.event("fails", fill * 100, fill))
        for number, (name, body) in enumerate(odd_calls(odd, self.fills["a"])):
            self.send("b", f"{place} odd {number} {name}", self.event(place, body, OTHER))

    def batches(self) -> None:
        """Requests that meet, of both callers, of which one fails alone and some leave before they are answered."""
        for index in (False, True):
            bodies = {
                f"{caller} batch {index} {rows}": self.event("thread", batched(fill, rows, index=index), fill)
                for rows in (1, 3, 2)
                for caller, fill in self.fills.items()
            }
            for number in range(3):
                leaving = [threading.Thread(target=self._leave, args=(event,)) for event in list(bodies.values())[:2]]
                with ThreadPoolExecutor(len(bodies)) as threads:
                    for thread in leaving:
                        thread.start()
                    answers = list(threads.map(self.answer, bodies.values()))
                join(*leaving)
                for name, answer in zip(bodies, answers, strict=True):
                    self._seen.add(f"{name} {number}", answer)

    def _leave(self, event: Event) -> None:
        event = replace(event, metadata={"traceparent": f"00-{'c' * 32}-{1:016x}-00"})
        with contextlib.suppress(Failure):
            self._client.send(event, timeout=0.005)

    def arrivals(self) -> None:
        """Events that come by themselves, whose pictures the page shows."""
        for caller, fill in self.fills.items():
            for name, picture in pictures(fill, self.fills["a"]).items():
                self.send(caller, f"camera {name}", Event(Trigger.BINDING, "camera", picture))
        page = {"dapr-caller-app-id": "page"}
        events = self._client.send(Event(Trigger.INVOKE, "_guesthouse/events", metadata=page)).body
        told = json.loads(events)["events"]
        self._seen.add("a page", plain(json.dumps(told)).encode())
        for event in told:
            for which in ("picture", "reply_picture"):
                if event[which]:
                    name = f"_guesthouse/pictures/{event[which]}"
                    answer = self.answer(Event(Trigger.INVOKE, name, metadata=page))
                    self._seen.add(f"a page {event['number']} {which}", re.sub(rb"[0-9a-f]{8}-", b"", answer))


def plain(text: str) -> str:
    """Without what is another each time: times, ports, process ids, the page's name for its life."""
    text = re.sub(r"\d\d\d\d-\d\d-\d\d[T0-9:.]+Z", "TIME", text)
    text = re.sub(r'"(?:pid|port|at)": [0-9.]+', '"N": 0', text)
    text = re.sub(r'"[0-9a-f]{8}-(\d+r?)"', r'"\1"', text)
    return re.sub(r"-?\d+\.\d+(?:e-\d+)?", "0.0", text)


@contextlib.contextmanager
def served(folder: Path, log: io.StringIO) -> Iterator[tuple[Client, Callable[[], None]]]:
    """A client of the application, and what reloads it."""
    path = written(folder)
    logs.configure(logs.Format.JSON, logs.Level.DEBUG, log)
    with (
        open_plan(load(path)) as plan,
        connected() as connection,
    ):
        plans = Plans(plan)
        application = application_for(plans, SidecarOutputs(connection), port=0)
        application.start()

        def reload() -> None:
            path.write_text(path.read_text() + '\n[guests.another]\nmodule = "cat.wasm"\ncalling = "command"\n')
            plans.switch(build(load(path), plan.host, plans.now))

        try:
            with Client(f"127.0.0.1:{application.server.port}", token="") as client:
                yield client, reload
        finally:
            application.stop()
            plans.close()


def main(out: str, fill: str) -> None:
    canary = bytes.fromhex(fill)
    poison = int(re.search(r"perturb=(\d+)", os.environ["GLIBC_TUNABLES"])[1])  # type: ignore[index]
    prepare(poison)
    poison_small_arrays(poison)
    controls = fresh()
    log, seen = io.StringIO(), Seen(canary, poison)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), log) as (client, reload):
        callers = Callers(client, seen, canary, poison)
        photo = (Path(__file__).resolve().parents[1] / "data/photos/rocket.jpg").read_bytes()
        callers.send("b", "photo", callers.event("person", photo, OTHER))
        callers.pictures("thread")
        callers.inference("thread")
        callers.batches()
        callers.others("thread", odd=200)
        callers.arrivals()
        reload()
        callers.pictures("process", part=slice(0, None, 3))
        callers.inference("process")
        callers.others("process", odd=50)
        seen.add_log(log.getvalue())
        mutated = {}
        for name, owner, attribute, leak in MUTATIONS:
            mutated[name] = Seen(canary, poison)
            callers = Callers(client, mutated[name], canary, poison)
            with leaking(owner, attribute, leak):
                if owner in (wasmedge_image, kernels._Kernel):
                    callers.pictures("thread", part=slice(0, None, 5))
                else:
                    callers.inference("thread")
    found = {"": seen, **mutated}
    Path(out).write_bytes(
        pickle.dumps({"fresh": controls, **{name: (one.found, one.leaks) for name, one in found.items()}})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
