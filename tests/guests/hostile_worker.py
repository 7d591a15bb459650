"""A worker process that a guest has taken over: it speaks the protocol as far as it likes. Run by a test in its place.

What it does for an event is the event's body. Standard library alone, on purpose: nothing of the real one's checks.
"""

import functools
import json
import mmap
import os
import socket
import struct
import sys
import time
from collections.abc import Callable

FRAME = struct.Struct("<HHIQ4d")
NOTHING = (0.0, 0.0, 0.0, 0.0)  # the numbers of a frame
HEAD_AT, PAYLOAD_AT = 4096, 4096 + (1 << 20)
READY, EVENT, REPLY, FAILURE, ASK = 2, 4, 5, 6, 7

channel = socket.socket(fileno=int(sys.argv[5]))
channel.send(FRAME.pack(5, READY, 0, 0, *NOTHING))
arena = socket.recv_fds(channel, FRAME.size, 3)[1][0]
size = os.fstat(arena).st_size
memory = mmap.mmap(arena, size)


EVENTS: list[tuple[int, int]] = []  # sizes of head and payload of the frames that came


def send(kind, head, payload=b"", *, version=5, claims=None, numbers=NOTHING):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    memory[HEAD_AT : HEAD_AT + len(text)] = text
    memory[PAYLOAD_AT : PAYLOAD_AT + len(payload)] = payload
    channel.send(FRAME.pack(version, kind, *(claims or (len(text), len(payload))), *numbers))


def receive():
    raw = channel.recv(FRAME.size)
    if not raw:
        os._exit(0)
    _, kind, head, length, *_ = FRAME.unpack(raw)
    EVENTS.append((head, length))
    return kind, json.loads(memory[HEAD_AT : HEAD_AT + head] or b"null"), memory[PAYLOAD_AT : PAYLOAD_AT + length]


def ask(capability, what, arguments, payload=b""):
    send(ASK, [capability, what, arguments], payload)
    return receive()


def replying(kind="", headers=(), answer=None, stop=False):
    """The head of a reply."""
    return [kind, headers, answer, stop]


def reply(body):
    send(REPLY, replying(), body)


def resize():
    said = []
    for length in (0, 2 * size):
        try:
            os.ftruncate(arena, length)
        except OSError as error:  # noqa: PERF203
            said.append(error.strerror)
    reply(json.dumps(said).encode())


def noise():
    for _ in range(64):
        os.write(2, b"so much to say\n" * 1000)
    reply(b"said")


def say():
    os.write(2, b"a secret of this event\n")
    reply(b"said")


def tensors():
    arguments = {"model": "person", "inputs": [["canary", "<f4", [500]]], "outputs": ["canary"]}
    ask("inference", "run", arguments, b"5678" * 500)
    ask("inference", "named", "canary" * 500, b"model" * 1000)
    reply(b"fine")


def left():
    """What there is besides the event that is here now, as far as any event before has come."""
    head, length = EVENTS[-1]
    rest = memory[HEAD_AT + head : PAYLOAD_AT], memory[PAYLOAD_AT + length : PAYLOAD_AT + (1 << 20)]
    reply(b" ".join(part.strip(b"\0")[:100] for part in rest))


def flood():
    for number in range(2000):
        ask("log", "line", ["stdout", f"{number} " + "x" * 100])
    reply(b"")


def questions():
    """Ask again as soon as the answer is in the memory, and take no frame."""
    while True:
        send(ASK, ["inference", "named", "person"])
        while memory[HEAD_AT : HEAD_AT + 1] == b"[":
            time.sleep(0)


RUNS = {
    "run what is not granted": ({"model": "secret", "inputs": [], "outputs": []}, b""),
    "run with a wrong size": (
        {"model": "person", "inputs": [["input_1", "<f4", [1, 96, 96, 3]]], "outputs": []},
        b"abc",
    ),
    "run with a negative size": ({"model": "person", "inputs": [["input_1", "<f4", [-1, 3]]], "outputs": []}, b""),
    "run with an overflow": ({"model": "person", "inputs": [["i", "<f4", [1 << 40, 1 << 40]]], "outputs": []}, b""),
    "run with objects": ({"model": "person", "inputs": [["i", "|O", [1]]], "outputs": []}, b"12345678"),
    "run with an unknown input": ({"model": "person", "inputs": [["i", "<f4", [1]]], "outputs": []}, b"1234"),
    "run without anything": ({"model": "person"}, b""),
    "run nothing": ([], b""),
}


def ask_for_run(arguments, payload):
    reply(json.dumps(ask("inference", "run", arguments, payload)[:2]).encode())


DOES: dict[str, Callable[[], object]] = {
    "garbage": lambda: channel.send(b"\0" * 5),
    "much": lambda: channel.send(b"\0" * 60000),
    "another version": lambda: send(REPLY, replying(), version=1),
    "an unknown kind": lambda: send(77, replying()),
    "a long head": lambda: send(REPLY, {}, claims=(0xFFFFFFFF, 0)),
    "a long payload": lambda: send(REPLY, {}, claims=(2, 1 << 63)),
    "no json": lambda: send(REPLY, b"\xff{"),
    "json with a rest": lambda: send(REPLY, json.dumps(replying()).encode() + b" []"),
    "deep json": lambda: send(REPLY, b"[" * 500_000),
    "an object": lambda: send(REPLY, {}),
    "a reply that is short": lambda: send(REPLY, replying()[:2]),
    "a reply that is long": lambda: send(REPLY, [*replying(), None]),
    "a cost that is none": lambda: send(REPLY, b"", numbers=(float("nan"), 0, 0, 0)),
    "a cost below zero": lambda: send(REPLY, b"", numbers=(0, 0, 0, -1)),
    "a cost without end": lambda: send(FAILURE, ["GUEST", "", None], numbers=(0, 0, float("inf"), 0)),
    "a long reply": lambda: send(REPLY, replying(), b"x" * 2000),
    "a type that is none": lambda: send(REPLY, replying(kind=None)),
    "a header of gRPC's": lambda: send(REPLY, replying(headers=[["grpc-status", "0"]])),
    "a header with a line in it": lambda: send(REPLY, replying(headers=[["a", "b\r\nc: d"]])),
    "a header that is none": lambda: send(REPLY, replying(headers=[["a"]])),
    "a header of numbers": lambda: send(REPLY, replying(headers=[[1, 2]])),
    "many headers": lambda: send(REPLY, replying(headers=[["a", "b"]] * 2000)),
    "an answer that is none": lambda: send(REPLY, replying(answer=[404, ""])),
    "an answer for ever": lambda: send(REPLY, replying(answer=[429, "", 1e30])),
    "a stop that is none": lambda: send(REPLY, replying(stop=0)),
    "a stop of an invocation": lambda: send(REPLY, replying(stop=True)),
    "a failure that is short": lambda: send(FAILURE, ["GUEST", ""]),
    "an unknown reason": lambda: send(FAILURE, ["OK", "", None]),
    "a long text": lambda: send(FAILURE, ["TRAP", "x" * 2000, None]),
    "an event": lambda: send(EVENT, replying()),
    "questions without end": questions,
    "a stream of its own": lambda: ask("log", "line", ["audit", "all is well"]),
    "an end": lambda: os._exit(3),
    "a text of its own": lambda: send(FAILURE, ["GUEST", "so there", None]),
    "resize": resize,
    "noise": noise,
    "say a secret": say,
    "tensors": tensors,
    "what is left": left,
    "flood": flood,
    "a model that is not granted": lambda: reply(json.dumps(ask("inference", "open", None, b"model")[:2]).encode()),
    "ask for what is not granted": lambda: reply(json.dumps(ask("inference", "named", "secret")[:2]).encode()),
    "ask for a digest": lambda: reply(json.dumps(ask("inference", "digest", "5e" * 32)[:2]).encode()),
    "a name that is none": lambda: ask("inference", "named", 5),
    **{what: functools.partial(ask_for_run, head, payload) for what, (head, payload) in RUNS.items()},
}

LACKING = [os.environ["LACKING"]] if "LACKING" in os.environ else []
send(READY, {"lacking": LACKING})
while True:
    kind, head, body = receive()
    DOES.get(body.decode(), lambda: reply(b"fine"))()
