"""Which of the host's models a guest means by the bytes that it hands over, and the memory of bytes seen before.

A guest never makes the host parse a model that the manifest does not name, unless it has `allow_guest_models`.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, InferenceError
from guesthouse_abi.grants import MiB
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.pages import PAGE
from guesthouse_abi.services import Inference, Model

#: In place of a model's bytes: "the host's model of this name", which follows.
MARKER = b"guesthouse:model/"
#: Bytes of a name, with the marker.
LONGEST_NAME = 512

#: Bytes compared at the start, middle and end before a whole blob is.
_SAMPLE = 32
#: Places of one module that are remembered, and runs of pages that are compared one by one.
_KEPT, _RUNS = 64, 64


@dataclass(slots=True, eq=False)
class _Blob:
    digest: str
    data: bytes
    samples: tuple[tuple[int, bytes], ...]
    last_used: int  # a number that only grows

    def equals(self, given: GuestBytes) -> bool:
        """Whether the guest's bytes are these. Pages that cannot have changed since they were are not compared again.

        A module's memory begins as a private mapping of the module's own data. So a page of it that was found to hold a
        part of these bytes, unwritten, holds the same part in every instance that has not written to it.
        """
        if len(self.data) != len(given) or not all(given.has_at(offset, sample) for offset, sample in self.samples):
            return False
        image, pages = given.image, given.pages() if given.image is not None else None
        if image is None or pages is None:
            return given.has_at(0, self.data)
        key = (given.pointer, self.digest)
        found = image.get(key)
        # The sample in the middle was read, so its page is present. If it is a page of a file, the memory is a mapping.
        middle = (self.samples[1][0] + pages.before) // PAGE
        if found is None or len(found) != len(pages.of_file) or not pages.of_file[middle]:
            found = None
            equal = given.has_at(0, self.data)
        else:
            equal = all(
                given.has_at(start, self.data[start:end])
                for start, end in _ranges(~(found & pages.unwritten), pages.before, len(given))
            )
        if equal and (pages := given.pages()) is not None:
            if len(image) >= _KEPT:
                image.clear()
            image[key] = pages.of_file if found is None else found | pages.of_file
        return equal


def _ranges(pages: NDArray[np.bool_], before: int, length: int) -> Iterator[tuple[int, int]]:
    """The bytes of a range in the pages that are set, as (start, end) from the range's start; all, for many runs."""
    edges = np.flatnonzero(np.diff(pages, prepend=False, append=False))
    if len(edges) > 2 * _RUNS:
        edges = np.array([0, len(pages)])
    for first, last in edges.reshape(-1, 2).tolist():
        yield max(0, first * PAGE - before), min(length, last * PAGE - before)


def _samples(data: bytes) -> tuple[tuple[int, bytes], ...]:
    offsets = (0, max(0, len(data) // 2 - _SAMPLE), max(0, len(data) - _SAMPLE))
    return tuple((offset, data[offset : offset + _SAMPLE]) for offset in offsets)


class KnownBlobs:
    """Model bytes whose digest was computed before: found again by comparing, which is some 10 times faster.

    Shared by all guests of the process, safe for any number of threads. Bytes are kept while the model lives that they
    stood for: what no plan has any more is freed with its model. When there are more than `entries`, or more than
    `size` bytes, those go that were not used for the longest time.
    """

    def __init__(self, entries: int = 64, size: int = 512 * MiB) -> None:
        self._entries = entries
        self._size = size
        self._by_model: WeakKeyDictionary[Model, dict[str, _Blob]] = WeakKeyDictionary()
        self._uses = itertools.count()
        self._lock = threading.Lock()

    def _all(self) -> list[tuple[dict[str, _Blob], _Blob]]:
        """Every blob, with the blobs of the same model. Only with the lock."""
        return [(blobs, blob) for blobs in list(self._by_model.values()) for blob in blobs.values()]

    def recall(self, given: GuestBytes) -> str | None:
        """The sha256 of the guest's bytes if they are known, by comparing all of them. Raises `OutOfBounds`."""
        with self._lock:
            known = [blob for _, blob in self._all()]
        for blob in known:
            if blob.equals(given):
                blob.last_used = next(self._uses)
                return blob.digest
        return None

    def remember(self, model: Model, digest: str, data: bytes) -> None:
        """Keep `data`, whose sha256 is `digest` and which stood for `model`."""
        with self._lock:
            if len(data) > self._size:
                return
            self._by_model.setdefault(model, {})[digest] = _Blob(digest, data, _samples(data), next(self._uses))
            self._drop_oldest()

    def keep_at_most(self, size: int) -> None:
        """Keep no more than `size` bytes from here on."""
        with self._lock:
            self._size = size
            self._drop_oldest()

    @property
    def held(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return sum(len(blob.data) for _, blob in self._all())

    def _drop_oldest(self) -> None:
        known = sorted(self._all(), key=lambda found: found[1].last_used)
        count, held = len(known), sum(len(blob.data) for _, blob in known)
        for blobs, blob in known:
            if count <= self._entries and held <= self._size:
                return
            del blobs[blob.digest]
            count, held = count - 1, held - len(blob.data)


#: Of this process. Only bytes that stand for a model of the host are kept.
KNOWN_BLOBS = KnownBlobs()


def resolve(
    context: Context, data: GuestBytes, known: KnownBlobs = KNOWN_BLOBS, *, allow_own_model: bool = True
) -> Model:
    """The model that these bytes mean to this guest.

    They are `guesthouse:model/NAME`, or a file that a model of the manifest stands for, or (with the grant
    `allow_guest_models`, unless `allow_own_model` is false) an ONNX model to open. Raises `Denied`, `InferenceError`
    and `TooMuch`, and past the deadline what `Deadline.check` does.
    """
    if data.has_at(0, MARKER):
        return named(context, data.text(LONGEST_NAME)[len(MARKER) :])
    context.deadline.check()
    digest = known.recall(data)
    if digest is not None:
        model = context.services[Inference].standing_for(digest)
        if model is not None and model.name in context.grants.models:
            return model
    context.hold(len(data))
    try:
        return _of_bytes(context, data.copy(), known, allow_own_model)
    finally:
        context.release(len(data))


def resolve_parts(context: Context, parts: Sequence[GuestBytes], known: KnownBlobs = KNOWN_BLOBS) -> Model:
    """As `resolve`, for one model in several pieces, which are one behind the other. It is never the guest's own."""
    total = sum(map(len, parts))
    context.hold(total)
    try:
        return _of_bytes(context, b"".join(part.copy() for part in parts), known, False)
    finally:
        context.release(total)


def resolve_bytes(
    context: Context, parts: Sequence[bytes], *, allow_own_model: bool, known: KnownBlobs = KNOWN_BLOBS
) -> Model:
    """As `resolve` and `resolve_parts`, for bytes that the host has a copy of already."""
    if len(parts) == 1 and parts[0].startswith(MARKER):
        if len(parts[0]) > LONGEST_NAME:
            raise InferenceError(f"a name of {len(parts[0])} bytes; at most {LONGEST_NAME} are read")
        return named(context, parts[0][len(MARKER) :].decode("utf-8", "replace"))
    total = sum(map(len, parts))
    context.hold(total)
    try:
        return _of_bytes(context, b"".join(parts), known, allow_own_model and len(parts) == 1)
    finally:
        context.release(total)


def granted(context: Context, name: str) -> bool:
    """Whether this guest may use a model by that name: the model's own, or one that the guest's table has for it."""
    return context.grants.model(name) in context.grants.models


def named(context: Context, name: str) -> Model:
    """The model that a name means to this guest. Raises `Denied`, `InferenceError`."""
    if not granted(context, name):
        raise Denied(f'the manifest does not grant the model {name!r} to this guest: add it to the guest\'s "models"')
    model = context.services[Inference].named(context.grants.model(name))
    if model is None:
        raise InferenceError(f"the manifest has no model {name!r}")
    return model


def _of_bytes(context: Context, data: bytes, known: KnownBlobs, allow_own_model: bool) -> Model:
    inference = context.services[Inference]
    digest = hashlib.sha256(data).hexdigest()
    context.deadline.check()
    model = inference.standing_for(digest)
    if model is not None and model.name in context.grants.models:
        known.remember(model, digest, data)
        return model
    if allow_own_model and context.grants.allow_guest_models:
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
