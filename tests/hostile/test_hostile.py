"""Hostile guests: each attack ends as it should, healthy guests answer right meanwhile, and nothing is left behind."""

from __future__ import annotations

import gc
import io
import json
import os
import random
import struct
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image

from guesthouse.cli.load_generator import Usage
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.plan.plan import Plan
from tests.hostile.attacks import ALLOCATED_AT, ATTACKS, CALLABLE, GRANTED, NUMBERS, call, each_number_in_each_place
from tests.support.pictures import rgb_png
from tests.support.waiting import join, until

#: How a guest may end that calls imports with anything. INTERNAL would be an error of the host's own.
GUESTS_OWN = {Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST, Reason.DEADLINE, Reason.MALFORMED, Reason.TRY_AGAIN}


def invoke(dispatch: Dispatcher, method: str, body: bytes = b"x") -> bytes:
    return dispatch.dispatch(Event(Trigger.INVOKE, method, body)).body


def ending(dispatch: Dispatcher, method: str, body: bytes = b"x") -> Reason | None:
    try:
        invoke(dispatch, method, body)
    except Failure as failure:
        return failure.reason
    return None


class Healthy(threading.Thread):
    """A caller of healthy guests, for as long as an attack lasts: every answer must be right."""

    def __init__(self, dispatch: Dispatcher) -> None:
        super().__init__()
        self.answers, self.over = 0, threading.Event()
        self.wrong: list[object] = []
        self._dispatch = dispatch

    def run(self) -> None:
        while not self.over.is_set():
            body = b"caller %d " % self.answers * 50
            try:
                if invoke(self._dispatch, "echo", body) != body:
                    self.wrong.append("another answer")
                if self.answers % 8 == 0 and invoke(self._dispatch, "cat") != GRANTED:
                    self.wrong.append("another file")
            except Failure as failure:
                self.wrong.append(str(failure))
            self.answers += 1

    def __enter__(self) -> Healthy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        join(self)
        assert self.answers
        assert not self.wrong


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_as_it_should_and_costs_nobody_else(dispatch: Dispatcher, name: str):
    with Healthy(dispatch):
        for _ in range(2):
            assert ending(dispatch, name) in ATTACKS[name].ends


def test_as_many_attackers_as_there_are_places_cost_nobody_else(dispatch: Dispatcher):
    with Healthy(dispatch):
        threads = [
            threading.Thread(target=ending, args=(dispatch, name)) for name in ("loops", "recurses", "sleeps") * 2
        ]
        for thread in threads:
            thread.start()
        join(*threads)


def test_every_import_answers_any_number_in_any_place(dispatch: Dispatcher):
    many: dict[str, list[bytes]] = {}
    for host, body in each_number_in_each_place():
        many.setdefault(f"{host.module}.{host.name}", []).append(body)
    assert len(many) == sum(bool(host.signature.params) and host.name != "proc_exit" for host in CALLABLE)
    for name, bodies in many.items():
        # In one event as long as nothing ends it, else each alone: what traps would hide what stands behind it.
        rows = [b"".join(bodies[at : at + 60]) for at in range(0, len(bodies), 60)]
        for row in rows:
            found = ending(dispatch, "caller", row)
            assert found is None or found in GUESTS_OWN, name
            if found is not None:
                size = len(row) // 60 if len(row) % 60 == 0 else len(bodies[0])
                for at in range(0, len(row), size * 7):
                    assert ending(dispatch, "caller", row[at : at + size]) in {None, *GUESTS_OWN}, name


def test_imports_for_files_answer_rows_of_calls_with_descriptors_and_pointers_of_their_own(dispatch: Dispatcher):
    choice = random.Random(11)
    files = [
        host for host in CALLABLE if host.module == "wasi_snapshot_preview1" and host.name.startswith(("fd_", "path_"))
    ]
    idle = next(host for host in CALLABLE if host.name == "sched_yield")
    first = call(idle, [int.from_bytes(b"tmp/x", "little")])  # takes no arguments: a path stands there
    path = ALLOCATED_AT + 8
    for _ in range(150):
        rows = [first]
        for _ in range(20):
            host = choice.choice(files)
            values = [choice.choice((*range(8), path, path, 5, 3, 64, 66, *NUMBERS)) for _ in host.signature.params]
            rows.append(call(host, values))
        assert ending(dispatch, "caller", b"".join(rows)) in {None, *GUESTS_OWN}


def test_imports_answer_rows_of_calls_with_handles_of_their_own_and_of_others(dispatch: Dispatcher):
    choice = random.Random(7)
    inference = [host for host in CALLABLE if host.module.startswith(("wasmedge_tensor", "wasi_nn", "wasi_ephemeral"))]
    marker, name = b"guesthouse:model/person", b"person"
    for _ in range(150):
        rows = []
        for _ in range(12):
            host = choice.choice(inference)
            values = [choice.choice((*range(4), 4104, len(marker), len(name), *NUMBERS)) for _ in host.signature.params]
            rows.append(call(host, values))
        # What small pointers into the body find: a model's name, a shape, a tensor's record.
        body = b"".join(rows)
        assert ending(dispatch, "caller", body) in {None, *GUESTS_OWN}


# What comes with the event.


def _jpeg_of(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    body = bytearray(file.getvalue())
    at = body.index(b"\xff\xc0")
    body[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(body)


BOMBS = {
    "a PNG that says it has 65535x65535 pixels": rgb_png(65535, 65535, zlib.compress(bytes(1000))),
    "a PNG that inflates a thousandfold": rgb_png(100, 100, zlib.compress(bytes(64 << 20))),
    "a PNG of one long row": rgb_png((1 << 31) - 1, 1, zlib.compress(b"\0")),
    "a JPEG that says it has 65500x65500 pixels": _jpeg_of(65500, 65500),
    "a PNG that is cut off": rgb_png(600, 400, zlib.compress(bytes(600 * 400 * 3 + 400)))[:200],
    "nothing but a signature": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_hostile_picture_is_refused_and_costs_nobody_else(dispatch: Dispatcher, photos: Path, what):
    with Healthy(dispatch):
        assert ending(dispatch, "classify", BOMBS[what]) is Reason.MALFORMED
    top = json.loads(invoke(dispatch, "classify", (photos / "coffee.png").read_bytes()))
    assert top[0]["label"] == "espresso"


# What is left behind.


def test_attacks_leave_nothing_behind(dispatch: Dispatcher, plan: Plan, place: str):
    bodies = [body for _, body in each_number_in_each_place()][::211]
    quick = [name for name, attack in ATTACKS.items() if Reason.DEADLINE not in attack.ends]

    def round_() -> None:
        for name in quick:
            ending(dispatch, name)
        for body in bodies:
            ending(dispatch, "caller", body)
        for body in BOMBS.values():
            ending(dispatch, "classify", body)

    def left() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(3):
        round_()
    before, memory = left(), resident()
    for _ in range(6):
        round_()
    until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))
    assert resident() - memory < 8 << 20, place
    assert not any(guest.slots.busy or guest.slots.queued for guest in plan.guests.values())


def resident() -> int:
    usage = Usage.of(os.getpid())
    assert usage is not None
    return usage.memory
