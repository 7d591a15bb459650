"""The protocol between the server and a worker process: frames over a Unix socket, their contents in shared memory.

A frame is one datagram of 16 bytes (`SOCK_SEQPACKET`): version, kind, and the sizes of what lies in the arena, a memfd
that the server owns and the worker cannot resize (it is sealed): a head of JSON at a fixed place, then a payload (a
body, tensors one behind the other, a model). One side speaks at a time: what was received is copied out before it is
looked at, and before anything is answered. Nothing is unpickled. At the end of an event the server clears what its
frames used.

Before it is a guest's a worker has no arena: it says READY by a frame without contents, and gets its arena with the
frame SETUP (or TRY), as descriptors beside it (`SCM_RIGHTS`): arena, compiled module, and perhaps files.

Whoever reads checks everything: a guest that broke out of its engine would own the other end. What is said in which
kind of frame stands with those who say it (`worker`, `proxies`, `services`).
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
from collections.abc import Mapping, Sequence
from ctypes import addressof, c_char, memset
from typing import Any

import numpy as np

from guesthouse.event import Event, Trigger
from guesthouse_abi.services import Tensor, TensorInfo

VERSION = 2
HEAD = 1 << 20  # bytes of a head at most
DIMENSIONS = 32  # of a tensor
_FRAME = struct.Struct("<HHIQ")
_CANCELLED = struct.Struct("<Q")
_HEAD_AT = 4096  # before it: the number of the event that was cancelled last
_PAYLOAD_AT = _HEAD_AT + HEAD
_DESCRIPTORS = 3  # with a setup at most
_KEEP = 4 << 20  # bytes of payload whose memory is kept between events, as zeros

Buffer = bytes | bytearray | memoryview

#: What tensors may be made of, by numpy's names.
DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
}


class Kind(enum.IntEnum):
    """What a frame is."""

    SETUP = 1  # server: what guest this is, for good
    READY = 2  # worker: can be set up; and then, that it was
    FAULT = 3  # worker: why it cannot
    EVENT = 4  # server
    REPLY = 5  # worker: the event's reply
    FAILURE = 6  # worker: the event's failure
    MODEL = 7  # worker: a model by name, digest or bytes
    RUN = 8  # worker: a run of a model
    LOG = 9  # worker: a line
    ANSWER = 10  # server: to the three above
    REFUSAL = 11  # server: the same
    TRY = 12  # server: load this guest, say whether that went well, and forget it


class WireError(Exception):
    """The other side broke the protocol."""


class Ended(WireError):
    """The other side is gone."""


class TooLong(Exception):
    """What was to be sent does not fit."""


class Arena:
    """The shared memory of one worker. `payload` is the most bytes of a payload."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.payload = size - _PAYLOAD_AT
        self._map = mmap.mmap(fd, size)
        self._head_used = self._used = 0  # bytes of a head, and of a payload, at most since `clear`

    @classmethod
    def create(cls, payload: int) -> Arena:
        """A new one, which nobody can resize: a page that is gone would kill whoever reads it."""
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
        """The one behind a descriptor."""
        return cls(fd, os.fstat(fd).st_size)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)

    def put(self, head: bytes, payload: Sequence[Buffer]) -> int:
        """Write both; returns the payload's size. Raises `TooLong`."""
        size = sum(len(part) for part in payload)
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
        """Note that a frame, of this side or the other, uses so many bytes."""
        self._head_used = max(self._head_used, head)
        self._used = max(self._used, payload)

    def head(self, size: int) -> bytes:
        """A copy of the head."""
        return self._map[_HEAD_AT : _HEAD_AT + size]

    def bytes(self, size: int) -> bytes:
        """A copy of a payload."""
        return self._map[_PAYLOAD_AT : _PAYLOAD_AT + size]

    def arrays(self, size: int, described: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> list[Tensor]:
        """Copies of the tensors in a payload. Raises `WireError` where they do not fill it exactly."""
        if sum(math.prod(shape) * dtype.itemsize for dtype, shape in described) != size:
            raise WireError("tensors that do not have the size of their payload")
        arrays, at = [], _PAYLOAD_AT
        for dtype, shape in described:
            count = math.prod(shape)
            stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype  # any byte may come for a bool
            try:
                arrays.append(np.frombuffer(self._map, stored, count, at).astype(dtype).reshape(shape))
            except ValueError as error:  # an empty tensor of a shape that numpy cannot have
                raise WireError(f"a tensor of shape {shape}: {error}") from None
            at += count * dtype.itemsize
        return arrays

    def cancel(self, number: int) -> None:
        """Say that nobody waits for the event of this number any more. From any thread, also when it is closed."""
        with contextlib.suppress(ValueError):
            self._map[: _CANCELLED.size] = _CANCELLED.pack(number)

    @property
    def cancelled(self) -> int:
        """The number of the event that was cancelled last."""
        number: int = _CANCELLED.unpack_from(self._map)[0]
        return number

    def clear(self) -> None:
        """Leave nothing of an event: what its frames used is zeros, and the memory of large payloads is given back."""
        if self._used > _KEEP:
            start = (_PAYLOAD_AT + _KEEP) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_REMOVE, start)
            self._used = start - _PAYLOAD_AT
        base = addressof(c_char.from_buffer(self._map))
        memset(base + _HEAD_AT, 0, self._head_used)
        memset(base + _PAYLOAD_AT, 0, self._used)
        self._head_used = self._used = 0


class Frame:
    """One that was received: its kind, its head, and the size of its payload."""

    __slots__ = ("head", "kind", "size")

    def __init__(self, kind: Kind, head: Any, size: int) -> None:
        self.kind = kind
        self.head = head
        self.size = size


class Channel:
    """One end of a connection. Used by one thread at a time."""

    def __init__(self, end: socket.socket, arena: Arena) -> None:
        self.socket = end
        self.arena = arena

    def send(self, kind: Kind, head: object, payload: Sequence[Buffer] = (), descriptors: Sequence[int] = ()) -> None:
        """Raises `TooLong`, `Ended`."""
        text = json.dumps(head, separators=(",", ":")).encode()
        size = self.arena.put(text, payload)
        _send(self.socket, _FRAME.pack(VERSION, kind, len(text), size), descriptors)

    def receive(self) -> Frame:
        """The next frame. Raises `WireError`, `Ended`, and `TimeoutError` as the socket's timeout says."""
        return self._read(_receive(self.socket, 0)[0])

    def _read(self, raw: bytes) -> Frame:
        kind, head, size = _unpacked(raw)
        if head > HEAD or size > self.arena.payload:
            raise WireError(f"a frame with {head} and {size} bytes")
        self.arena.take(head, size)
        try:
            return Frame(kind, json.loads(self.arena.head(head)), size)
        except (ValueError, RecursionError) as error:
            raise WireError(f"a frame that cannot be read: {error}") from None

    def close(self) -> None:
        self.socket.close()
        self.arena.close()


def send_ready(end: socket.socket) -> None:
    """Of a worker that is nobody's yet: it can be set up. Raises `Ended`."""
    _send(end, _FRAME.pack(VERSION, Kind.READY, 0, 0), ())


def receive_ready(end: socket.socket) -> None:
    """Wait for that. Raises `WireError`, `Ended`, and `TimeoutError` as the socket's timeout says."""
    if _unpacked(_receive(end, 0)[0]) != (Kind.READY, 0, 0):
        raise WireError("a first frame that says something else than that it is ready")


def receive_setup(end: socket.socket) -> tuple[Channel, Frame, list[int]]:
    """Of a worker that is nobody's yet: SETUP or TRY, the channel that it came with, and its other descriptors."""
    raw, (arena, *others) = _receive(end, _DESCRIPTORS)
    channel = Channel(end, Arena.opened(arena))
    return channel, channel._read(raw), others


def _send(end: socket.socket, frame: bytes, descriptors: Sequence[int]) -> None:
    try:
        if descriptors:
            socket.send_fds(end, [frame], descriptors)
        else:
            end.send(frame)
    except OSError as error:
        raise Ended(str(error)) from error


def _receive(end: socket.socket, descriptors: int) -> tuple[bytes, list[int]]:
    try:
        if descriptors:
            raw, received, _, _ = socket.recv_fds(end, _FRAME.size + 1, descriptors)
        else:
            raw, received = end.recv(_FRAME.size + 1), []
    except TimeoutError:
        raise
    except OSError as error:
        raise Ended(str(error)) from error
    if not raw:
        raise Ended("the other side is gone")
    return raw, received


def _unpacked(raw: bytes) -> tuple[Kind, int, int]:
    """The kind of a frame, and the sizes of its head and payload."""
    if len(raw) != _FRAME.size:
        raise WireError(f"a frame of {len(raw)} bytes")
    version, kind, head, size = _FRAME.unpack(raw)
    if version != VERSION:
        raise WireError(f"version {version} of the protocol; this is {VERSION}")
    try:
        return Kind(kind), head, size
    except ValueError as error:
        raise WireError(f"a frame that cannot be read: {error}") from None


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


def described(tensor: Tensor) -> list[object]:
    """A tensor's type and shape."""
    return [tensor.dtype.str, list(tensor.shape)]


def description(value: object) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """What `described` made. Raises `WireError`."""
    kind, shape = pair(value)
    dtype = DTYPES.get(text(kind, 8))
    if dtype is None:
        raise WireError(f"a tensor of {kind!a}")
    sizes = items(shape, DIMENSIONS)
    if not all(isinstance(size, int) and 0 <= size < 1 << 48 for size in sizes):
        raise WireError("a tensor with an impossible shape")
    return dtype, tuple(sizes)


def pair(value: object) -> list[Any]:
    """A list of two. Raises `WireError`."""
    both = items(value, 2)
    if len(both) != 2:
        raise WireError("a pair that is none")
    return both


def contents(tensor: Tensor) -> memoryview:
    """A tensor's bytes."""
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def told(info: TensorInfo) -> list[object]:
    """An input or output of a model."""
    shape = None if info.shape is None else list(info.shape)
    return [info.name, None if info.dtype is None else info.dtype.str, shape, info.kind, info.optional]


def understood(value: Sequence[Any]) -> TensorInfo:
    """What `told` made."""
    name, dtype, shape, kind, optional = value
    sizes = None if shape is None else tuple(shape)
    return TensorInfo(name, None if dtype is None else np.dtype(dtype), sizes, kind, optional)


def packed(event: Event) -> dict[str, object]:
    """An event without its body."""
    metadata: Mapping[str, str] = event.metadata
    return {
        "trigger": event.trigger.value,
        "name": event.name,
        "content_type": event.content_type,
        "verb": event.verb,
        "query": event.query,
        "path": event.path,
        "id": event.id,
        "metadata": dict(metadata),
    }


def unpacked(head: Mapping[str, Any], body: bytes) -> Event:
    """What `packed` made."""
    return Event(**{**head, "trigger": Trigger(head["trigger"]), "body": body})
