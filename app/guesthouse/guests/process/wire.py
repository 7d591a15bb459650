"""The protocol between the server and a worker process: frames over a Unix socket, their contents in shared memory.

A frame is one datagram of 48 bytes (`SOCK_SEQPACKET`): the protocol's version, the frame's kind, the sizes of its head
and payload, and four numbers. Head and payload lie in the arena, which is memory that both processes map. The head is
JSON at a fixed position; a head of no bytes is null. The payload follows: a body, a model, or tensors one behind the
other. The arena is a memfd; the server makes it and seals it, so that the worker cannot resize it.

The two sides take turns. Whoever receives a frame copies its contents out of the arena, and only then looks at them and
answers. So there is at most one frame on its way, and sending one never waits. Nothing is unpickled. At the end of an
event the server clears what its frames used.

A worker that no guest has yet has no arena. It sends READY by a frame without contents. The frame SETUP (or TRY) then
brings the arena, as one of the descriptors beside it (`SCM_RIGHTS`): the arena, the compiled module, and perhaps files.

Each side checks everything that it reads: a guest that broke out of its engine would own the worker. What each kind of
frame carries is said where it is made: in `worker`, and for questions in the files of `guests/capabilities`.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import math
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from guesthouse.event import Actor, Event, Trigger
from guesthouse_abi.services import Tensor

VERSION = 5
HEAD = 1 << 20  # bytes of a head at most
DIMENSIONS = 32  # of a tensor
_FRAME = struct.Struct("<HHIQ4d")
_CANCELLED = struct.Struct("<Q")
_HEAD_AT = 4096  # before it: the number of the event that was cancelled last
_PAYLOAD_AT = _HEAD_AT + HEAD
_DESCRIPTORS = 3  # with a setup at most
_KEEP = 4 << 20  # bytes of payload whose memory is kept between events, as zeros
_ZEROS = memoryview(bytes(_KEEP))
_TIMEVAL = struct.Struct("@ll")  # struct timeval

Buffer = bytes | bytearray | memoryview
Layout = tuple[np.dtype[Any], tuple[int, ...]]
"""A tensor's type and shape."""

#: What tensors may be made of, by numpy's names.
DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
}


class Kind(enum.IntEnum):
    """What a frame is for, and who sends it."""

    SETUP = 1  # from the server: the guest that this worker runs from now on, until it ends
    READY = 2  # from the worker: it can be set up; and again when it was
    FAULT = 3  # from the worker: why it cannot be set up
    EVENT = 4  # from the server: an event to answer
    REPLY = 5  # from the worker: the event's reply
    FAILURE = 6  # from the worker: the event's failure
    ASK = 7  # from the worker: a question to a capability
    ANSWER = 8  # from the server: the answer to a question
    REFUSAL = 9  # from the server: why a question has no answer
    TRY = 10  # from the server: load this guest, say whether that went well, and forget it


_KINDS = {int(kind): kind for kind in Kind}
_TRIGGERS = {trigger.value: trigger for trigger in Trigger}
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().raw_decode

Numbers = tuple[float, float, float, float]
"""What a frame carries besides head and payload: the costs, say. Any floats may come, infinity and NaN as well."""

NO_NUMBERS: Numbers = (0.0, 0.0, 0.0, 0.0)


class WireError(Exception):
    """The other side broke the protocol."""


class Ended(WireError):
    """The other side is gone."""


class NotGiven(Ended):
    """The other side was gone before it was given an event."""


class TooLong(Exception):
    """What was to be sent does not fit into the arena."""


class Arena:
    """The memory that the server shares with one worker. `payload` is how many bytes a payload may have."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.payload = size - _PAYLOAD_AT
        self._map = mmap.mmap(fd, size)
        self._head_used = self._payload_used = 0  # the longest head and payload since `clear`, in bytes

    @classmethod
    def create(cls, payload: int) -> Arena:
        """A new arena, which nobody can resize: a page that is gone would kill the process that reads it."""
        fd = os.memfd_create("guesthouse", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            size = _PAYLOAD_AT + payload
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd, size)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def opened(cls, fd: int) -> Arena:
        """The arena behind a descriptor."""
        return cls(fd, os.fstat(fd).st_size)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)

    def put(self, head: bytes, payload: Sequence[Buffer]) -> int:
        """Write a frame's head and payload; returns the payload's size. Raises `TooLong`."""
        size = len(payload[0]) if len(payload) == 1 else sum(map(len, payload))
        if len(head) > HEAD or size > self.payload:
            raise TooLong(f"{len(head)} and {size} bytes; at most {HEAD} and {self.payload}")
        self.take(len(head), size)
        self._map[_HEAD_AT : _HEAD_AT + len(head)] = head
        at = _PAYLOAD_AT
        for part in payload:
            self._map[at : at + len(part)] = part
            at += len(part)
        return size

    def take(self, head: int, payload: int) -> None:
        """Note how many bytes a frame uses, whichever side wrote it: `clear` has to overwrite them."""
        self._head_used = max(self._head_used, head)
        self._payload_used = max(self._payload_used, payload)

    def head(self, size: int) -> bytes:
        """A copy of a head."""
        return self._map[_HEAD_AT : _HEAD_AT + size]

    def bytes(self, size: int) -> bytes:
        """A copy of a payload."""
        return self._map[_PAYLOAD_AT : _PAYLOAD_AT + size]

    def tensors(self, size: int, layouts: Sequence[Layout]) -> list[Tensor]:
        """Copies of the tensors in a payload. Raises `WireError` where they do not fill it exactly."""
        if sum(math.prod(shape) * dtype.itemsize for dtype, shape in layouts) != size:
            raise WireError("tensors that do not have the size of their payload")
        arrays, at = [], _PAYLOAD_AT
        for dtype, shape in layouts:
            count = math.prod(shape)
            stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype  # any byte may come for a bool
            try:
                arrays.append(np.frombuffer(self._map, stored, count, at).astype(dtype).reshape(shape))
            except ValueError as error:  # an empty tensor of a shape that numpy cannot have
                raise WireError(f"a tensor of shape {shape}: {error}") from None
            at += count * dtype.itemsize
        return arrays

    def cancel(self, number: int) -> None:
        """Tell the worker that nobody waits for event `number` any more. From any thread, also on a closed arena."""
        with contextlib.suppress(ValueError):
            self._map[: _CANCELLED.size] = _CANCELLED.pack(number)

    @property
    def cancelled(self) -> int:
        """The number of the event that was cancelled last."""
        number: int = _CANCELLED.unpack_from(self._map)[0]
        return number

    def clear(self) -> None:
        """Leave nothing of an event: overwrite with zeros what its frames used, and give back the memory of a large
        payload."""
        if self._payload_used > _KEEP:
            start = (_PAYLOAD_AT + _KEEP) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_REMOVE, start)
            self._payload_used = start - _PAYLOAD_AT
        self._map[_HEAD_AT : _HEAD_AT + self._head_used] = _ZEROS[: self._head_used]
        self._map[_PAYLOAD_AT : _PAYLOAD_AT + self._payload_used] = _ZEROS[: self._payload_used]
        self._head_used = self._payload_used = 0


class Frame:
    """A frame that was received. Its payload is read from the arena, so before the next frame is sent or received."""

    __slots__ = ("_arena", "head", "kind", "numbers", "size")

    def __init__(self, kind: Kind, numbers: Numbers, head: Any, size: int, arena: Arena) -> None:
        self.kind = kind
        self.numbers = numbers
        self.head = head
        self.size = size  # of the payload, in bytes
        self._arena = arena

    def payload(self) -> bytes:
        """A copy of the payload."""
        return self._arena.bytes(self.size)

    def tensors(self, layouts: Sequence[Layout]) -> list[Tensor]:
        """Copies of the tensors that are the payload. Raises `WireError` where they do not fill it exactly."""
        return self._arena.tensors(self.size, layouts)


class Channel:
    """One end of a connection. Used by one thread at a time."""

    def __init__(self, end: socket.socket, arena: Arena) -> None:
        self.socket = end
        self.arena = arena

    def send(
        self,
        kind: Kind,
        head: object,
        payload: Sequence[Buffer] = (),
        descriptors: Sequence[int] = (),
        numbers: Numbers = NO_NUMBERS,
    ) -> None:
        """Raises `TooLong`, `Ended`."""
        text = b"" if head is None else _encode(head).encode()
        size = self.arena.put(text, payload)
        _send(self.socket, _FRAME.pack(VERSION, kind, len(text), size, *numbers), descriptors)

    def receive(self) -> Frame:
        """The next frame. Raises `WireError`, `Ended`, and `TimeoutError` as `wait_at_most` says."""
        return self._read(_receive(self.socket, 0)[0])

    def _read(self, raw: bytes) -> Frame:
        kind, head, size, numbers = _decode_frame(raw)
        if head > HEAD or size > self.arena.payload:
            raise WireError(f"a frame with {head} and {size} bytes")
        self.arena.take(head, size)
        try:
            value, end = _decode(self.arena.head(head).decode()) if head else (None, 0)
        except (ValueError, RecursionError) as error:
            raise WireError(f"a frame that cannot be read: {error}") from None
        if end != head:
            raise WireError("a frame whose head is longer than its JSON, or not ASCII")
        return Frame(kind, numbers, value, size, self.arena)

    def close(self) -> None:
        self.socket.close()
        self.arena.close()


def wait_at_most(end: socket.socket, seconds: float) -> None:
    """How long this end of a connection waits for a frame.

    The kernel measures that time. With a timeout of Python's, each frame would cost three system calls and not one, and
    the interpreter lock would be given away and taken back for each of them.
    """
    whole = max(1, round(seconds * 1e6))  # 0 would be for ever
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(whole // 1_000_000, whole % 1_000_000))


def send_ready(end: socket.socket) -> None:
    """In a worker that no guest has yet: say that it can be set up. Raises `Ended`."""
    _send(end, _FRAME.pack(VERSION, Kind.READY, 0, 0, *NO_NUMBERS), ())


def receive_ready(end: socket.socket) -> None:
    """In the server: wait until a worker has sent that.

    Raises `WireError`, `Ended`, and `TimeoutError` as `wait_at_most` says.
    """
    if _decode_frame(_receive(end, 0)[0]) != (Kind.READY, 0, 0, NO_NUMBERS):
        raise WireError("a first frame that is not READY")


def receive_setup(end: socket.socket) -> tuple[Channel, Frame, list[int]]:
    """In a worker that no guest has yet: the next frame, which is SETUP or TRY.

    With it the channel that goes on from there, and the descriptors that came besides the arena's.
    """
    raw, (arena, *others) = _receive(end, _DESCRIPTORS)
    channel = Channel(end, Arena.opened(arena))
    return channel, channel._read(raw), others


def _send(end: socket.socket, frame: bytes, descriptors: Sequence[int]) -> None:
    try:
        if descriptors:
            socket.send_fds(end, [frame], descriptors, socket.MSG_DONTWAIT)
        else:
            end.send(frame, socket.MSG_DONTWAIT)
    except BlockingIOError:
        raise WireError("frames that the other side does not take") from None
    except OSError as error:
        raise Ended(str(error)) from error


def _receive(end: socket.socket, descriptors: int) -> tuple[bytes, list[int]]:
    try:
        if descriptors:
            raw, received, _, _ = socket.recv_fds(end, _FRAME.size + 1, descriptors)
        else:
            raw, received = end.recv(_FRAME.size + 1), []
    except (BlockingIOError, TimeoutError):
        raise TimeoutError from None
    except OSError as error:
        raise Ended(str(error)) from error
    if not raw:
        raise Ended("the other side is gone")
    return raw, received


def _decode_frame(raw: bytes) -> tuple[Kind, int, int, Numbers]:
    """The kind of a frame, the sizes of its head and payload, and its numbers."""
    if len(raw) != _FRAME.size:
        raise WireError(f"a frame of {len(raw)} bytes")
    version, kind, head, size, a, b, c, d = _FRAME.unpack(raw)
    if version != VERSION:
        raise WireError(f"version {version} of the protocol; this is {VERSION}")
    known = _KINDS.get(kind)
    if known is None:
        raise WireError(f"a frame of the unknown kind {kind}")
    return known, head, size, (a, b, c, d)


def member(head: Any, key: str) -> Any:
    """A member of a JSON object. Raises `WireError`."""
    if not isinstance(head, dict) or key not in head:
        raise WireError(f"a frame without {key}")
    return head[key]


def text(value: object, most: int) -> str:
    """A string of at most `most` characters. Raises `WireError`."""
    if not isinstance(value, str) or len(value) > most:
        raise WireError("a text that is none, or too long")
    return value


def number(value: object, most: float = 1e18) -> float:
    """A number from 0 to `most`. Raises `WireError`."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        raise WireError("a number that is none, or out of range")
    return value


def items(value: object, most: int) -> list[Any]:
    """A list of at most `most` items. Raises `WireError`."""
    if not isinstance(value, list) or len(value) > most:
        raise WireError("a list that is none, or too long")
    return value


def fields(value: object, count: int) -> list[Any]:
    """A list of exactly `count` items. Raises `WireError`."""
    if not isinstance(value, list) or len(value) != count:
        raise WireError(f"{count} values that are none")
    return value


def pair(value: object) -> list[Any]:
    """A list of two. Raises `WireError`."""
    return fields(value, 2)


def encode_layout(tensor: Tensor) -> list[object]:
    """A tensor's type and shape, in JSON."""
    return [tensor.dtype.str, list(tensor.shape)]


def decode_layout(value: object) -> Layout:
    """What `encode_layout` wrote. Raises `WireError`."""
    kind, shape = pair(value)
    dtype = DTYPES.get(text(kind, 8))
    if dtype is None:
        raise WireError(f"a tensor of {kind!a}")
    sizes = items(shape, DIMENSIONS)
    if not all(isinstance(size, int) and 0 <= size < 1 << 48 for size in sizes):
        raise WireError("a tensor with an impossible shape")
    return dtype, tuple(sizes)


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes."""
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def encode_event(event: Event) -> list[object]:
    """An event without its body, in JSON."""
    return [
        event.trigger.value,
        event.name,
        event.content_type,
        event.verb,
        event.query,
        event.path,
        event.id,
        dict(event.metadata),
        None if event.actor is None else [event.actor.id, event.actor.method, event.actor.callback],
    ]


def decode_event(head: Sequence[Any], body: bytes) -> Event:
    """What `encode_event` wrote, with its body."""
    trigger, name, *rest, actor = head
    event = Event(_TRIGGERS[trigger], name, body, *rest)
    event.actor = None if actor is None else Actor(*actor)
    return event
