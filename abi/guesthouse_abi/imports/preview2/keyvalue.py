"""`wasi:keyvalue` on Dapr's state stores: a bucket is a store, by the name of its component.

All calls are the sidecar's, under the same grants as those of `dapr_v1` (`read_state`, `write_state`). Opening a bucket
makes no call, so what is not there or not granted is refused when it is used. What is atomic is so by etags: a value is
read, and saved only where nobody has changed it meanwhile. There are two drafts, which differ in a few functions.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from guesthouse_abi import blocks
from guesthouse_abi.blocks import NotDone, Stored
from guesthouse_abi.calls import Code
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context, size_of
from guesthouse_abi.errors import Denied, TooMuch

_NEW, _OLD, _OLD_TEXT = "0.2.0-draft2", "0.2.0-draft", "wasi:keyvalue-draft"
LONGEST_NAME = 256  # characters of a bucket's name
_TEXT = 1024  # characters of an error
_TRIES = 8  # of an addition that others come before
_OVERHEAD = 128  # bytes that are counted for what a `cas` keeps, besides its own
_NUMBER = re.compile(rb"-?[0-9]{1,20}", re.ASCII)
_UNLISTED = "the keys of Dapr's state stores cannot be listed"


class Bucket:
    """The resource `bucket`."""

    def __init__(self, store: str) -> None:
        self.store = store


class Cas:
    """The resource `cas`: a value as it was read."""

    def __init__(self, context: Context, store: str, key: str, stored: Stored | None) -> None:
        """Raises `TooMuch`."""
        self.store = store
        self.key = key
        self.stored = stored
        self._held = _OVERHEAD + size_of(key) + (len(stored.value) + len(stored.etag) if stored else 0)
        context.hold(self._held)

    def release(self, context: Context) -> None:
        """The guest has dropped it, or used it up."""
        context.release(self._held)


STORE = Answered("wasi:keyvalue/store", _NEW, bucket=Bucket)
ATOMICS = Answered("wasi:keyvalue/atomics", _NEW, cas=Cas)
BATCH = Answered("wasi:keyvalue/batch", _NEW)
OLD_STORE = Answered("wasi:keyvalue/store", _OLD, _OLD_TEXT, bucket=Bucket)
OLD_ATOMICS = Answered("wasi:keyvalue/atomics", _OLD, _OLD_TEXT)
OLD_BATCH = Answered("wasi:keyvalue/batch", _OLD, _OLD_TEXT)
INTERFACES = (STORE, ATOMICS, BATCH, OLD_STORE, OLD_ATOMICS, OLD_BATCH)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with a call becomes an `error` of the guest's."""
    try:
        yield
    except (NotDone, Denied, TooMuch) as error:
        raise Fail(_error(error)) from error


def _error(error: NotDone | Denied | TooMuch) -> Case:
    if isinstance(error, Denied) or (isinstance(error, NotDone) and error.code is Code.PERMISSION_DENIED):
        return Case("access-denied")
    if isinstance(error, NotDone) and error.no_store:
        return Case("no-such-store")
    return Case("other", str(error)[:_TEXT])


@STORE.function("open")
@OLD_STORE.function("open")
def open_bucket(context: Context, name: str) -> Bucket:
    if not 0 < len(name) <= LONGEST_NAME:
        raise Fail(Case("no-such-store"))
    return Bucket(name)


@STORE.function("[method]bucket.get")
@OLD_STORE.function("[method]bucket.get")
def get(context: Context, bucket: Bucket, key: str) -> bytes | None:
    with _told():
        stored = blocks.state(context, bucket.store, key)
    return None if stored is None else stored.value


@STORE.function("[method]bucket.set")
@OLD_STORE.function("[method]bucket.set")
def set_value(context: Context, bucket: Bucket, key: str, value: bytes) -> None:
    with _told():
        blocks.save_states(context, bucket.store, [(key, value)])


@STORE.function("[method]bucket.delete")
@OLD_STORE.function("[method]bucket.delete")
def delete(context: Context, bucket: Bucket, key: str) -> None:
    with _told():
        blocks.delete_states(context, bucket.store, [key])


@STORE.function("[method]bucket.exists")
@OLD_STORE.function("[method]bucket.exists")
def exists(context: Context, bucket: Bucket, key: str) -> bool:
    with _told():
        return blocks.state(context, bucket.store, key) is not None


@STORE.function("[method]bucket.list-keys")
@OLD_STORE.function("[method]bucket.list-keys")
def list_keys(context: Context, bucket: Bucket, cursor: str | int | None) -> None:
    raise Fail(Case("other", _UNLISTED))


# ---- atomics ----


@ATOMICS.function("increment")
def increment(context: Context, bucket: Bucket, key: str, delta: int) -> int:
    return _added(context, bucket, key, delta, -(1 << 63), (1 << 63) - 1)


@OLD_ATOMICS.function("increment")
def increment_unsigned(context: Context, bucket: Bucket, key: str, delta: int) -> int:
    return _added(context, bucket, key, delta, 0, (1 << 64) - 1)


def _added(context: Context, bucket: Bucket, key: str, delta: int, least: int, most: int) -> int:
    """Add to a number, which is kept as decimal digits. Raises `Fail`."""
    for _ in range(_TRIES):
        with _told():
            stored = blocks.state(context, bucket.store, key, newest=True)
        if stored is not None and _NUMBER.fullmatch(stored.value) is None:
            raise Fail(Case("other", f"the value of {key[:80]!a} is no number in decimal digits"))
        number = delta + (int(stored.value) if stored is not None else 0)
        if not least <= number <= most:
            raise Fail(Case("other", f"the value of {key[:80]!a} would be {number}, which is out of range"))
        with _told():
            if blocks.swap_state(context, bucket.store, key, str(number).encode(), stored):
                return number
    raise Fail(Case("other", f"others have changed {key[:80]!a} {_TRIES} times meanwhile"))


@ATOMICS.function("[static]cas.new")
def new_cas(context: Context, bucket: Bucket, key: str) -> Cas:
    with _told():
        return Cas(context, bucket.store, key, blocks.state(context, bucket.store, key, newest=True))


@ATOMICS.function("[method]cas.current")
def current(context: Context, cas: Cas) -> bytes | None:
    return None if cas.stored is None else cas.stored.value


@ATOMICS.function("swap")
def swap(context: Context, cas: Cas, value: bytes) -> None:
    cas.release(context)
    try:
        if blocks.swap_state(context, cas.store, cas.key, value, cas.stored):
            return
        again = Cas(context, cas.store, cas.key, blocks.state(context, cas.store, cas.key, newest=True))
    except (NotDone, Denied, TooMuch) as error:
        raise Fail(Case("store-error", _error(error))) from error
    raise Fail(Case("cas-failed", again))


# ---- batches ----


@BATCH.function("get-many")
def get_many(context: Context, bucket: Bucket, keys: list[str]) -> list[tuple[str, bytes | None]]:
    with _told():
        values = blocks.states(context, bucket.store, keys)
    return [(key, values.get(key)) for key in keys]


@OLD_BATCH.function("get-many")
def get_many_that_are(context: Context, bucket: Bucket, keys: list[str]) -> list[tuple[str, bytes] | None]:
    return [None if value is None else (key, value) for key, value in get_many(context, bucket, keys)]


@BATCH.function("set-many")
@OLD_BATCH.function("set-many")
def set_many(context: Context, bucket: Bucket, items: list[Any]) -> None:
    with _told():
        blocks.save_states(context, bucket.store, items)


@BATCH.function("delete-many")
@OLD_BATCH.function("delete-many")
def delete_many(context: Context, bucket: Bucket, keys: list[str]) -> None:
    with _told():
        blocks.delete_states(context, bucket.store, keys)
