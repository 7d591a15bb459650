"""Which of the host's models a guest means by the bytes that it hands over, and the memory of bytes seen before.

A guest never makes the host parse a model that the manifest does not name, unless it has `allow_guest_models`.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, InferenceError
from guesthouse_abi.grants import MiB
from guesthouse_abi.memory import Memory
from guesthouse_abi.services import Model

#: In place of a model's bytes: "the host's model of this name", which follows.
MARKER = b"guesthouse:model/"
#: Bytes of a name, with the marker.
LONGEST_NAME = 512

#: Bytes compared at the start, middle and end before a whole blob is.
_SAMPLE = 32


@dataclass(frozen=True, slots=True)
class _Blob:
    data: bytes
    samples: tuple[tuple[int, bytes], ...]


def _sampled(data: bytes) -> _Blob:
    places = (0, max(0, len(data) // 2 - _SAMPLE), max(0, len(data) - _SAMPLE))
    return _Blob(data, tuple((place, data[place : place + _SAMPLE]) for place in places))


class KnownBlobs:
    """Model bytes whose digest was computed before: found again by comparing, which is some 10 times faster.

    Shared by all guests of the process, safe for any number of threads. The oldest go when there are more than
    `entries`, or more than `size` bytes.
    """

    def __init__(self, entries: int = 64, size: int = 512 * MiB) -> None:
        self._entries = entries
        self._size = size
        self._held = 0
        self._blobs: OrderedDict[str, _Blob] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, memory: Memory, pointer: int, length: int) -> str | None:
        """The sha256 of the guest's bytes if they are known, by comparing all of them. Raises `OutOfBounds`."""
        with self._lock:
            alike = [(digest, blob) for digest, blob in self._blobs.items() if len(blob.data) == length]
        for digest, blob in alike:
            if all(memory.equals(pointer + place, sample) for place, sample in blob.samples) and memory.equals(
                pointer, blob.data
            ):
                with self._lock:
                    if digest in self._blobs:
                        self._blobs.move_to_end(digest)
                return digest
        return None

    def remember(self, digest: str, data: bytes) -> None:
        """Keep `data`, whose sha256 is `digest`."""
        with self._lock:
            if digest in self._blobs or len(data) > self._size:
                return
            self._blobs[digest] = _sampled(data)
            self._held += len(data)
            self._drop_oldest()

    def keep_at_most(self, size: int) -> None:
        """Keep no more than `size` bytes from here on."""
        with self._lock:
            self._size = size
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._blobs) > self._entries or self._held > self._size:
            _, oldest = self._blobs.popitem(last=False)
            self._held -= len(oldest.data)


#: Of this process. Only bytes that stand for a model of the host are kept.
KNOWN = KnownBlobs()


def resolve(context: Context, pointer: int, length: int, known: KnownBlobs = KNOWN, *, own: bool = True) -> Model:
    """The model that the `length` bytes at `pointer` mean to this guest.

    They are `guesthouse:model/NAME`, or a file that a model of the manifest stands for, or (with `allow_guest_models`,
    unless `own` is false) an ONNX model to open. Raises `OutOfBounds`, `Denied`, `InferenceError` and `TooMuch`, and
    past the deadline what `Deadline.check` does.
    """
    memory = context.memory
    memory.check(pointer, length)
    if length >= len(MARKER) and memory.equals(pointer, MARKER):
        return named(context, memory.text(pointer, length, most=LONGEST_NAME)[len(MARKER) :])
    context.deadline.check()
    digest = known.recall(memory, pointer, length)
    if digest is not None:
        model = context.services.inference.standing_for(digest)
        if model is not None and model.name in context.grants.models:
            return model
    context.hold(length)
    try:
        return _of_bytes(context, memory.read(pointer, length), known, own)
    finally:
        context.release(length)


def resolve_parts(context: Context, parts: Sequence[tuple[int, int]], known: KnownBlobs = KNOWN) -> Model:
    """As `resolve`, for one model in several pieces (pointer and length of each), by the digest of all in a row."""
    for pointer, length in parts:
        context.memory.check(pointer, length)
    total = sum(length for _, length in parts)
    context.hold(total)
    try:
        return _of_bytes(context, b"".join(context.memory.read(*part) for part in parts), known, False)
    finally:
        context.release(total)


def granted(context: Context, name: str) -> bool:
    """Whether this guest may use a model by that name: the model's own, or one that the guest's table has for it."""
    return context.grants.model(name) in context.grants.models


def named(context: Context, name: str) -> Model:
    """The model that a name means to this guest. Raises `Denied`, `InferenceError`."""
    if not granted(context, name):
        raise Denied(f'the manifest does not grant the model {name!r} to this guest: add it to the guest\'s "models"')
    model = context.services.inference.named(context.grants.model(name))
    if model is None:
        raise InferenceError(f"the manifest has no model {name!r}")
    return model


def _of_bytes(context: Context, data: bytes, known: KnownBlobs, own: bool) -> Model:
    inference = context.services.inference
    digest = hashlib.sha256(data).hexdigest()
    context.deadline.check()
    model = inference.standing_for(digest)
    if model is not None and model.name in context.grants.models:
        known.remember(digest, data)
        return model
    if own and context.grants.allow_guest_models:
        return inference.open_bytes(data, context.deadline)
    if model is not None:
        raise Denied(
            f"these {len(data)} bytes (sha256 {digest}) stand for the model {model.name!r}, which the manifest does "
            f'not grant to this guest: add it to the guest\'s "models"'
        )
    raise InferenceError(
        f"no model of the manifest stands for these {len(data)} bytes: give one stands_for = "
        f'["{digest}"] and name it in the guest\'s "models"'
    )
