"""What scripts in Python import: the event, the reply, calls to the sidecar, models and pictures.

This runs inside the guest, under CPython for WebAssembly, and nowhere in the host. `docs/guests.md` and
guests/sdk/python/README.md say what scripts may use of it. Dapr's messages are written here as protobuf, by the field
numbers of dapr/proto/runtime/v1 and dapr/proto/common/v1; only the fields below are known.

Host functions are called by the file of calls (docs/abi.md). They take addresses in this guest's own memory: of an
object of bytes, its contents begin `_HEAD` bytes behind the address that `id` gives. `start.py` brings scripts here.
"""

from __future__ import annotations

import json as _json
import os as _os
import struct as _struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

R = TypeVar("R")
#: What scripts hand over: bytes as they are, text as UTF-8, None as nothing, anything else as JSON.
Data = Any

_FILE = "/dev/guesthouse"
_HEAD = bytes.__basicsize__ - 1
_RESULT = bytes(8)  # the host writes the result of each call into it
_READ = 256  # bytes that a first read has room for: most fields are shorter
_OK, _FOREVER = 0, 0xFFFFFFFF
_DONE, _FAILED, _RETRY, _DROP, _STOP = range(5)

# ---- host functions ----

_file: int | None = None


def _host(name: str, *arguments: int | bytes) -> int:
    """Call a host function. Bytes become two arguments: where they are, and how many."""
    global _file
    numbers = [id(_RESULT) + _HEAD]
    for one in arguments:
        numbers += (id(one) + _HEAD, len(one)) if isinstance(one, bytes) else (one & 0xFFFFFFFFFFFFFFFF,)
    if _file is None:
        _file = _os.open(_FILE, _os.O_WRONLY)
    try:
        _os.write(_file, name.encode() + b"\0" + _struct.pack(f"<{len(numbers)}Q", *numbers))
    except PermissionError:
        raise RuntimeError("the host can be called in handlers, not while the script is loaded") from None
    result: int = _struct.unpack("<q", _RESULT)[0]
    return result


def _freeze(entry: Callable[[], int]) -> None:
    """Tell the host that `entry` is what each event calls. Nothing of the host may be open after this."""
    global _file
    _host("guesthouse.ready", id(entry))
    if _file is not None:
        _os.close(_file)
    _file = None


def _buffer(size: int) -> bytes:
    """Bytes that nobody else has, for the host to fill. (There is one object of each single byte.)"""
    return bytes(max(size, 2))


def _read(name: str, *arguments: int | bytes) -> bytes | None:
    """What a function reads into a buffer, once more where that is too small; None where there is nothing."""
    found = _buffer(_READ)
    size = _host(name, *arguments, id(found) + _HEAD, _READ)
    if size > _READ:
        found = _buffer(size)
        if _host(name, *arguments, id(found) + _HEAD, size) != size:
            return None
    return None if size < 0 else found[:size]


def _text(found: bytes | None) -> str:
    return "" if found is None else found.decode("utf-8", "replace")


# ---- data ----


def _bytes_of(value: Data) -> bytes:
    """What a script hands over as data: bytes as they are, text as UTF-8, anything else as JSON."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    try:
        with memoryview(value) as view:
            return view.tobytes()
    except TypeError:
        return _json.dumps(value).encode()


def _content_type_of(value: Data) -> str:
    if isinstance(value, str):
        return "text/plain"
    try:
        memoryview(value).release()
    except TypeError:
        return "application/json"
    return "application/octet-stream"


def _pairs(table: Mapping[str, Any] | None) -> bytes:
    found = []
    for name, value in (table or {}).items():
        key, content = name.encode("utf-8", "replace"), str(value).encode("utf-8", "replace")
        found += [_struct.pack("<II", len(key), len(content)), key, content]
    return b"".join(found)


def _table(pairs: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at < len(pairs):
        name, value = _struct.unpack_from("<II", pairs, at)
        at += 8 + name + value
        found[pairs[at - name - value : at - value].decode()] = pairs[at - value : at].decode()
    return found


# ---- protobuf: a message is a table of fields, NAME: (number, type) or (number, type, "repeated") ----
# Types: "text", "bytes", "number" (integers, booleans and enumerations), "map" (of text to text), or another table.


def _varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _block(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _write(fields: Mapping[str, Any], message: Mapping[str, Any]) -> bytes:
    parts = []
    for name, value in message.items():
        if value is None:
            continue
        number, kind, *repeated = fields[name]
        for one in value if repeated else [value]:
            if kind == "number":
                parts.append(_varint(number << 3) + _varint(int(one)))
            elif kind == "text":
                parts.append(_block(number, str(one).encode("utf-8", "replace")))
            elif kind == "bytes":
                parts.append(_block(number, _bytes_of(one)))
            elif kind == "map":
                for key, content in one.items():
                    entry = _block(1, key.encode()) + _block(2, str(content).encode("utf-8", "replace"))
                    parts.append(_block(number, entry))
            else:
                parts.append(_block(number, _write(kind, one)))
    return b"".join(parts)


def _message(fields: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    by_number = {}
    for name, (number, kind, *repeated) in fields.items():
        by_number[number] = name, kind, bool(repeated)
        empty: Any = {"number": 0, "text": "", "bytes": b"", "map": {}}.get(kind) if isinstance(kind, str) else None
        found[name] = [] if repeated else empty
    at = 0

    def number_at() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(data):
        key = number_at()
        value: Any = None
        if key & 7 == 0:
            value = number_at()
            value -= value >> 63 << 64
        elif key & 7 == 2:
            size = number_at()
            value = data[at : at + size]
            at += size
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise ValueError("a message of the sidecar's has an unknown field type")
        if value is None or key >> 3 not in by_number:
            continue
        name, kind, repeated = by_number[key >> 3]
        if kind == "map":
            pair = _message({"key": (1, "text"), "value": (2, "text")}, value)
            found[name][pair["key"]] = pair["value"]
            continue
        if kind == "text":
            value = value.decode("utf-8", "replace")
        elif not isinstance(kind, str):
            value = _message(kind, value)
        if repeated:
            found[name].append(value)
        else:
            found[name] = value
    return found


_ANY = {"type_url": (1, "text"), "value": (2, "bytes")}
_ETAG = {"value": (1, "text")}
_OPTIONS = {"concurrency": (1, "number"), "consistency": (2, "number")}
_ITEM = {
    "key": (1, "text"),
    "value": (2, "bytes"),
    "etag": (3, _ETAG),
    "metadata": (4, "map"),
    "options": (5, _OPTIONS),
}
_JOB = {
    "name": (1, "text"), "schedule": (2, "text"), "repeats": (3, "number"), "due_time": (4, "text"),
    "ttl": (5, "text"), "data": (6, _ANY),
}  # fmt: skip
_ACTOR = {"actor_type": (1, "text"), "actor_id": (2, "text")}
_FIRES = {**_ACTOR, "name": (3, "text"), "due_time": (4, "text"), "period": (5, "text")}
_BULK = {"key": (1, "text"), "data": (2, "bytes"), "etag": (3, "text"), "error": (4, "text"), "metadata": (5, "map")}
_HTTP = {"verb": (1, "number"), "querystring": (2, "text")}
_INVOKE = {"method": (1, "text"), "data": (2, _ANY), "content_type": (3, "text"), "http_extension": (4, _HTTP)}
_CHANGE = {"operationType": (1, "text"), "key": (2, "text"), "value": (3, _ANY), "metadata": (4, "map")}
_SETTING = {"key": (1, "text"), "value": (2, {"value": (1, "text"), "version": (2, "text")})}
_STORE = {"store_name": (1, "text")}
_NAMED = {"name": (1, "text")}
_MESSAGES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "GetState": (
        {**_STORE, "key": (2, "text"), "consistency": (3, "number"), "metadata": (4, "map")},
        {"data": (1, "bytes"), "etag": (2, "text"), "metadata": (3, "map")},
    ),
    "GetBulkState": (
        {**_STORE, "keys": (2, "text", "repeated"), "parallelism": (3, "number"), "metadata": (4, "map")},
        {"items": (1, _BULK, "repeated")},
    ),
    "SaveState": ({**_STORE, "states": (2, _ITEM, "repeated")}, {}),
    "DeleteState": (
        {**_STORE, "key": (2, "text"), "etag": (3, _ETAG), "options": (4, _OPTIONS), "metadata": (5, "map")},
        {},
    ),
    "ExecuteStateTransaction": (
        {
            "storeName": (1, "text"),
            "operations": (2, {"operationType": (1, "text"), "request": (2, _ITEM)}, "repeated"),
            "metadata": (3, "map"),
        },
        {},
    ),
    "PublishEvent": (
        {
            "pubsub_name": (1, "text"), "topic": (2, "text"), "data": (3, "bytes"), "data_content_type": (4, "text"),
            "metadata": (5, "map"),
        },
        {},
    ),
    "InvokeService": ({"id": (1, "text"), "message": (3, _INVOKE)}, {"data": (1, _ANY), "content_type": (2, "text")}),
    "InvokeBinding": (
        {"name": (1, "text"), "data": (2, "bytes"), "metadata": (3, "map"), "operation": (4, "text")},
        {"data": (1, "bytes"), "metadata": (2, "map")},
    ),
    "GetSecret": ({**_STORE, "key": (2, "text"), "metadata": (3, "map")}, {"data": (1, "map")}),
    "GetConfiguration": (
        {**_STORE, "keys": (2, "text", "repeated"), "metadata": (3, "map")},
        {"items": (1, _SETTING, "repeated")},
    ),
    "TryLockAlpha1": (
        {**_STORE, "resource_id": (2, "text"), "lock_owner": (3, "text"), "expiry_in_seconds": (4, "number")},
        {"success": (1, "number")},
    ),
    "UnlockAlpha1": ({**_STORE, "resource_id": (2, "text"), "lock_owner": (3, "text")}, {"status": (1, "number")}),
    "ScheduleJob": ({"job": (1, _JOB), "overwrite": (2, "number")}, {}),
    "GetJob": (_NAMED, {"job": (1, _JOB)}),
    "DeleteJob": (_NAMED, {}),
    "InvokeActor": (
        {**_ACTOR, "method": (3, "text"), "data": (4, "bytes"), "metadata": (5, "map")},
        {"data": (1, "bytes")},
    ),
    "GetActorState": ({**_ACTOR, "key": (3, "text")}, {"data": (1, "bytes")}),
    "ExecuteActorStateTransaction": ({**_ACTOR, "operations": (3, _CHANGE, "repeated")}, {}),
    "RegisterActorTimer": ({**_FIRES, "callback": (6, "text"), "data": (7, "bytes"), "ttl": (8, "text")}, {}),
    "UnregisterActorTimer": ({**_ACTOR, "name": (3, "text")}, {}),
    "RegisterActorReminder": ({**_FIRES, "data": (6, "bytes"), "ttl": (7, "text")}, {}),
    "UnregisterActorReminder": ({**_ACTOR, "name": (3, "text")}, {}),
}  # fmt: skip
_VERBS = ("NONE", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


# ---- calls ----


class CallError(Exception):
    """A call of the sidecar that did not end well. `code` is gRPC's, `details` google.rpc.Status as bytes."""

    def __init__(self, method: str, code: int, message: str, details: bytes | None) -> None:
        super().__init__(message)
        self.method, self.code, self.message, self.details = method, code, message, details


_LIMITS = {
    -2: "its method is not text, or its metadata are too large",
    -4: "too many calls, or too many bytes: see limits and the table dapr in the manifest",
}


class Call(Generic[R]):
    """A call that is under way. `result()` waits for it: its value, or `CallError`."""

    def __init__(self, handle: int, method: str, made: Callable[[bytes], R]) -> None:
        self._handle, self._method, self._made = handle, method, made
        self._message: bytes | None = None
        self._error: CallError | None = None

    def result(self) -> R:
        if self._message is None and self._error is None:
            self._wait()
        if self._error is not None:
            raise self._error
        return self._made(self._message or b"")

    def _wait(self) -> None:
        handle = _struct.pack("<I", self._handle)
        waited = _host("dapr_v1.call_wait", id(handle) + _HEAD, 1, 1, _FOREVER)
        if waited < 0:
            raise RuntimeError(f"waiting for {self._method} gave {waited}")
        code = _host("dapr_v1.call_status", self._handle)
        if code == _OK:
            self._message = _read("dapr_v1.call_read", self._handle, 0, 0) or b""
        else:
            text, details = (_read("dapr_v1.call_read", self._handle, part, 0) for part in (1, 4))
            self._error = CallError(self._method, code, _text(text), details)
        _host("dapr_v1.call_close", self._handle)


def _begin(
    method: str, request: bytes, made: Callable[[bytes], R], metadata: Mapping[str, Any] | None, timeout: float
) -> Call[R]:
    handle = _host("dapr_v1.call_start", method.encode(), request, _pairs(metadata), int(timeout * 1000))
    if handle < 0:
        raise RuntimeError(f"{method} was not begun: {_LIMITS.get(handle, handle)}")
    return Call(handle, method, made)


class _Client(Generic[R]):
    """A function that makes one call. Calling it waits for the result; its `begin` gives the `Call` at once."""

    def __init__(self, function: Callable[..., Call[R]], own: tuple[Any, ...] = ()) -> None:
        self._function, self._own = function, own
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> _Client[R]:
        return self if instance is None else _Client(self._function, (instance,))

    def begin(self, *arguments: Any, **named: Any) -> Call[R]:
        return self._function(*self._own, *arguments, **named)

    def __call__(self, *arguments: Any, **named: Any) -> R:
        return self.begin(*arguments, **named).result()


@_Client
def call(
    method: str, request: Data = b"", *, metadata: Mapping[str, Any] | None = None, timeout: float = 0
) -> Call[bytes]:
    """A method of dapr.proto.runtime.v1.Dapr by its name, with its request and its response as protobuf bytes."""
    return _begin(method, _bytes_of(request), lambda message: message, metadata, timeout)


def _do(
    method: str,
    request: Mapping[str, Any],
    made: Callable[[dict[str, Any]], R],
    metadata: Mapping[str, Any] | None = None,
    timeout: float = 0,
) -> Call[R]:
    sent, answered = _MESSAGES[method]
    return _begin(method, _write(sent, request), lambda got: made(_message(answered, got)), metadata, timeout)


def _nothing(message: dict[str, Any]) -> None:
    return None


class Value:
    """Data that came back: `bytes`, and as text or JSON."""

    def __init__(self, data: bytes, **more: Any) -> None:
        self.bytes = data
        self.__dict__.update(more)

    def text(self) -> str:
        return self.bytes.decode("utf-8", "replace")

    def json(self) -> Any:
        return _json.loads(self.bytes)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _options(first_write: bool, strong: bool) -> dict[str, int] | None:
    found = {**({"concurrency": 1} if first_write else {}), **({"consistency": 2} if strong else {})}
    return found or None


def _item(
    key: str,
    value: Data,
    etag: str | None = None,
    first_write: bool = False,
    strong: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    tag = {"value": etag} if etag else None
    return {
        "key": key, "value": _bytes_of(value), "etag": tag, "metadata": metadata,
        "options": _options(first_write, strong),
    }  # fmt: skip


class state:
    """A state store of the sidecar's, by its name."""

    def __init__(self, store: str) -> None:
        self._store = store

    @_Client
    def get(self, key: str, *, strong: bool = False, metadata: Mapping[str, Any] | None = None) -> Call[Value | None]:
        """What is under a key, with its `etag`; None where there is nothing."""
        request = {"store_name": self._store, "key": key, "consistency": 2 if strong else None, "metadata": metadata}

        def made(found: dict[str, Any]) -> Value | None:
            return Value(found["data"], etag=found["etag"]) if found["data"] or found["etag"] else None

        return _do("GetState", request, made)

    @_Client
    def get_bulk(self, keys: Iterable[str], *, metadata: Mapping[str, Any] | None = None) -> Call[list[Value]]:
        """What is under several keys; each with `key`, `etag` and `error`."""
        request = {"store_name": self._store, "keys": list(keys), "metadata": metadata}
        return _do(
            "GetBulkState",
            request,
            lambda found: [
                Value(one["data"], key=one["key"], etag=one["etag"], error=one["error"]) for one in found["items"]
            ],
        )

    @_Client
    def save(self, key: str, value: Data, **options: Any) -> Call[None]:
        """Options are `etag`, `first_write`, `strong` and `metadata`."""
        request = {"store_name": self._store, "states": [_item(key, value, **options)]}
        return _do("SaveState", request, _nothing)

    @_Client
    def delete(self, key: str, **options: Any) -> Call[None]:
        """Options are those of `save`."""
        item = _item(key, b"", **options)
        del item["value"]
        return _do("DeleteState", {"store_name": self._store, **item}, _nothing)

    @_Client
    def transaction(
        self, operations: Iterable[Mapping[str, Any]], *, metadata: Mapping[str, Any] | None = None
    ) -> Call[None]:
        """Operations are `{"save": KEY, "value": DATA}` and `{"delete": KEY}`, with options; all are done, or none."""
        made = []
        for one in operations:
            options = {name: value for name, value in one.items() if name not in ("save", "delete", "value")}
            if "delete" in one:
                made.append({"operationType": "delete", "request": _item(one["delete"], b"", **options)})
            else:
                item = _item(one["save"], one["value"], **options)
                made.append({"operationType": "upsert", "request": item})
        request = {"storeName": self._store, "operations": made, "metadata": metadata}
        return _do("ExecuteStateTransaction", request, _nothing)


@_Client
def publish(
    pubsub: str, topic: str, data: Data, *, content_type: str = "", metadata: Mapping[str, Any] | None = None
) -> Call[None]:
    """An event for a topic."""
    request = {
        "pubsub_name": pubsub, "topic": topic, "data": _bytes_of(data),
        "data_content_type": content_type or _content_type_of(data), "metadata": metadata,
    }  # fmt: skip
    return _do("PublishEvent", request, _nothing)


@_Client
def invoke(
    app: str,
    method: str,
    data: Data = None,
    *,
    verb: str = "POST",
    query: str = "",
    content_type: str = "",
    metadata: Mapping[str, Any] | None = None,
    timeout: float = 0,
) -> Call[Value]:
    """A method of another application; the answer has `content_type`."""
    if verb not in _VERBS:
        raise ValueError(f"{verb} is no verb")
    message = {
        "method": method, "data": {"value": _bytes_of(data)}, "content_type": content_type or _content_type_of(data),
        "http_extension": {"verb": _VERBS.index(verb), "querystring": query},
    }  # fmt: skip

    def made(found: dict[str, Any]) -> Value:
        return Value((found["data"] or {}).get("value", b""), content_type=found["content_type"])

    return _do("InvokeService", {"id": app, "message": message}, made, metadata, timeout)


@_Client
def binding(name: str, operation: str, data: Data = None, metadata: Mapping[str, Any] | None = None) -> Call[Value]:
    """An operation of an output binding; the answer has `metadata`."""
    request = {"name": name, "operation": operation, "data": _bytes_of(data), "metadata": metadata}
    return _do("InvokeBinding", request, lambda found: Value(found["data"], metadata=found["metadata"]))


@_Client
def secret(store: str, key: str, metadata: Mapping[str, Any] | None = None) -> Call[dict[str, str]]:
    request = {"store_name": store, "key": key, "metadata": metadata}
    return _do("GetSecret", request, lambda found: dict(found["data"]))


@_Client
def configuration(
    store: str, keys: Iterable[str] = (), metadata: Mapping[str, Any] | None = None
) -> Call[dict[str, str]]:
    def made(found: dict[str, Any]) -> dict[str, str]:
        return {one["key"]: (one["value"] or {}).get("value", "") for one in found["items"]}

    return _do("GetConfiguration", {"store_name": store, "keys": list(keys), "metadata": metadata}, made)


@_Client
def lock(store: str, resource: str, owner: str, seconds: int) -> Call[bool]:
    """Whether the lock was taken."""
    request = {"store_name": store, "resource_id": resource, "lock_owner": owner, "expiry_in_seconds": seconds}
    return _do("TryLockAlpha1", request, lambda found: found["success"] != 0)


@_Client
def unlock(store: str, resource: str, owner: str) -> Call[bool]:
    """Whether the lock was given back."""
    request = {"store_name": store, "resource_id": resource, "lock_owner": owner}
    return _do("UnlockAlpha1", request, lambda found: found["status"] == 0)


class jobs:
    """Jobs of the sidecar's."""

    @staticmethod
    def _scheduled(
        name: str,
        *,
        schedule: str | None = None,
        repeats: int | None = None,
        due_time: str | None = None,
        ttl: str | None = None,
        data: Data = None,
        overwrite: bool = False,
    ) -> Call[None]:
        packed = None if data is None else {"value": _bytes_of(data)}
        job = {
            "name": name, "schedule": schedule, "repeats": repeats, "due_time": due_time, "ttl": ttl, "data": packed,
        }  # fmt: skip
        return _do("ScheduleJob", {"job": job, "overwrite": 1 if overwrite else None}, _nothing)

    schedule = _Client(_scheduled)
    get = _Client(lambda name: _do("GetJob", {"name": name}, lambda found: found["job"]))
    delete = _Client(lambda name: _do("DeleteJob", {"name": name}, _nothing))


@_Client
def invoke_actor(
    kind: str, id: str, method: str, data: Data = None, *, metadata: Mapping[str, Any] | None = None
) -> Call[Value]:
    """A method of an actor of a type, by its id."""
    request = {"actor_type": kind, "actor_id": id, "method": method, "data": _bytes_of(data), "metadata": metadata}
    return _do("InvokeActor", request, lambda found: Value(found["data"]))


def _own(method: str, request: Mapping[str, Any], made: Callable[[dict[str, Any]], R]) -> Call[R]:
    """Of the actor whose turn this is."""
    return _do(method, {"actor_type": _field(3), "actor_id": _field(13), **request}, made)


def _change(*operations: Mapping[str, Any]) -> Call[None]:
    return _own("ExecuteActorStateTransaction", {"operations": operations}, _nothing)


class actor_state:
    """The state of the actor whose turn it is. What a turn writes is saved when it has ended well."""

    get = _Client(
        lambda key: _own("GetActorState", {"key": key}, lambda found: Value(found["data"]) if found["data"] else None)
    )
    set = _Client(
        lambda key, value, *, metadata=None: _change(
            {"operationType": "upsert", "key": key, "value": {"value": _bytes_of(value)}, "metadata": metadata}
        )
    )
    delete = _Client(lambda key: _change({"operationType": "delete", "key": key}))
    #: Saves at once what was written until now.
    save_now = _Client(lambda: _change())


def _fires(method: str, name: str, **request: Any) -> Call[None]:
    data = request.pop("data", None)
    sent = None if data is None else _bytes_of(data)
    return _own(method, {"name": name, **request, "data": sent}, _nothing)


class timers:
    """Of the actor whose turn it is: `set(name, due_time, period, callback, data, ttl)`, `clear(name)`."""

    set = _Client(lambda name, **options: _fires("RegisterActorTimer", name, **options))
    clear = _Client(lambda name: _own("UnregisterActorTimer", {"name": name}, _nothing))


class reminders:
    """Of the actor whose turn it is: `set(name, due_time, period, data, ttl)`, `clear(name)`."""

    set = _Client(lambda name, **options: _fires("RegisterActorReminder", name, **options))
    clear = _Client(lambda name: _own("UnregisterActorReminder", {"name": name}, _nothing))


# ---- the event and the reply ----


def _field(number: int) -> str:
    return _text(_read("dapr_v1.event_read", number, 0))


_FIELDS = {
    "trigger": 2, "name": 3, "content_type": 4, "verb": 5, "query": 6, "path": 7, "id": 8, "pubsub": 9, "topic": 10,
    "source": 11, "type": 12, "actor_id": 13, "actor_method": 14, "callback": 15,
}  # fmt: skip


class Event:
    """The event of the handler. A field that it does not have is empty text; fields are read when asked for."""

    trigger: str
    name: str
    content_type: str
    verb: str
    query: str
    path: str
    id: str
    pubsub: str
    topic: str
    source: str
    type: str
    actor_id: str
    actor_method: str
    callback: str
    body: bytes
    metadata: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        found: Any
        if name == "body":
            found = _read("dapr_v1.event_read", 1, 0) or b""
        elif name == "metadata":
            found = _table(_read("dapr_v1.event_metadata_all", 0) or b"")
        elif name in _FIELDS:
            found = _field(_FIELDS[name])
        else:
            raise AttributeError(f"an event has no field {name}")
        self.__dict__[name] = found
        return found

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return _json.loads(self.body)


class Reply:
    """A reply with more than a body: what a handler may return. `stop`: the timer or reminder fires no more."""

    def __init__(
        self,
        body: Data = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        stop: bool = False,
    ) -> None:
        self.body, self.status, self.headers = body, status, headers or {}
        self.content_type, self.stop = content_type, stop


class Retry(Exception):
    """Raise it: the same event may succeed later, `after` so many seconds."""

    def __init__(self, message: str = "", *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Drop(Exception):
    """Raise it: the event is at fault, and sending it again cannot help."""


class log:
    """Lines of the guest's log, with fields. `print` makes lines too."""

    @staticmethod
    def _line(level: int, message: object, fields: Mapping[str, Any]) -> None:
        _host("dapr_v1.log", level, str(message).encode("utf-8", "replace"), _pairs(fields))

    @staticmethod
    def debug(message: object, **fields: Any) -> None:
        log._line(0, message, fields)

    @staticmethod
    def info(message: object, **fields: Any) -> None:
        log._line(1, message, fields)

    @staticmethod
    def warning(message: object, **fields: Any) -> None:
        log._line(2, message, fields)

    @staticmethod
    def error(message: object, **fields: Any) -> None:
        log._line(3, message, fields)


def config(name: str) -> str | None:
    """A value of `config` in the guest's table of the manifest; None where there is none of that name."""
    found = _read("dapr_v1.config_read", name.encode(), 0)
    return None if found is None else found.decode()


def time_left() -> float:
    """Seconds until the event's deadline."""
    return _host("dapr_v1.time_left") / 1000


def _reply(result: Any) -> int:
    """Write what a handler has returned; the outcome."""
    if result is None:
        return _DONE
    reply = result if isinstance(result, Reply) else Reply(result)
    if reply.status is not None and _host("dapr_v1.reply_status", reply.status) < 0:
        raise ValueError(f"{reply.status} is no status that this event may have")
    for name, value in reply.headers.items():
        if _host("dapr_v1.reply_header", name.lower().encode(), str(value).encode()) < 0:
            raise ValueError(f"the header {name} may not be set, or not to this value")
    kind = reply.content_type
    if reply.body is not None:
        if kind is None:
            kind = _content_type_of(reply.body)
            kind = "text/plain; charset=utf-8" if kind == "text/plain" else kind
        if _host("dapr_v1.reply_write", _bytes_of(reply.body)) < 0:
            raise ValueError("the reply is larger than limits.output, or than what is left of limits.host_memory")
    if kind is not None:
        _host("dapr_v1.reply_set", 1, kind.encode())
    return _STOP if reply.stop else _DONE


# ---- models and pictures ----

_TYPES: Mapping[str, tuple[int, Any, int]] = {
    "f32": (1, "f", 4),
    "f64": (2, "d", 8),
    "u8": (3, "B", 1),
    "i32": (4, "i", 4),
    "i64": (5, "q", 8),
}
_OF_FORMAT = {"f": "f32", "d": "f64", "B": "u8", "i": "i32", "l": "i32", "q": "i64"}
_NN = {
    1: "a tensor that does not fit",
    4: "a limit was reached",
    5: "the run failed",
    8: "there is no such model, or it is not granted",
}


def _checked(result: int, what: str) -> int:
    if result:
        raise RuntimeError(f"{what}: {_NN.get(result, f'error {result}')}; the log says more")
    return result


def _number_at(found: bytes) -> int:
    number: int = _struct.unpack("<I", found)[0]
    return number


class model:
    """A model of the host's, by the name that the guest is granted it by."""

    def __init__(self, name: str) -> None:
        self._name = name
        graph, context = _buffer(4), _buffer(4)
        _checked(_host("wasi_ephemeral_nn.load_by_name", name.encode(), id(graph) + _HEAD), f"model {name}")
        result = _host("wasi_ephemeral_nn.init_execution_context", _number_at(graph), id(context) + _HEAD)
        _checked(result, f"model {name}")
        self._context = _number_at(context)

    def run(self, *inputs: Any, types: Sequence[str] = ("f32",)) -> list[Any]:
        """Inputs are `memoryview`s, arrays or other buffers with a format and a shape (`tensor` makes some of bytes);
        the outputs, of these types, are memoryviews of one dimension."""
        for index, one in enumerate(inputs):
            with memoryview(one) as view:
                kind = _OF_FORMAT.get(view.format)
                if kind is None:
                    raise TypeError(f"input {index} of {self._name} has elements of the format {view.format!r}")
                shape, data = _struct.pack(f"<{len(view.shape or ())}I", *view.shape or ()), view.tobytes()
            record = _struct.pack(
                "<IIIII", id(shape) + _HEAD, len(shape) // 4, _TYPES[kind][0], id(data) + _HEAD, len(data)
            )
            result = _host("wasi_ephemeral_nn.set_input", self._context, index, id(record) + _HEAD)
            _checked(result, f"input {index} of {self._name}")
        _checked(_host("wasi_ephemeral_nn.compute", self._context), f"model {self._name}")
        return [self._output(index, kind) for index, kind in enumerate(types)]

    def _output(self, index: int, kind: str) -> Any:
        needs, what = _buffer(4), f"output {index} of {self._name}"
        result = _host("wasi_ephemeral_nn.get_output", self._context, index, 0, 0, id(needs) + _HEAD)
        if result != 7:  # too large, and `needs` is its size
            _checked(result, what)
        size = _number_at(needs)
        found, got = _buffer(size), _buffer(4)
        result = _host("wasi_ephemeral_nn.get_output", self._context, index, id(found) + _HEAD, size, id(got) + _HEAD)
        _checked(result, what)
        return memoryview(found)[:size].cast(_TYPES[kind][1])


def tensor(data: Any, shape: Sequence[int], type: str = "f32") -> Any:
    """A memoryview of this shape and type: of a buffer as it is, or of numbers."""
    _, letter, _ = _TYPES[type]
    try:
        view = memoryview(data)
    except TypeError:
        values = list(data)
        view = memoryview(_struct.pack(f"<{len(values)}{letter}", *values))
    return view.cast("B").cast(letter, tuple(shape))


_LAYOUTS = {"rgb8": 0, "bgr8": 1, "rgb32f": 2, "bgr32f": 3}


def pixels(data: Data, width: int, height: int, layout: str = "rgb8") -> Any:
    """The pixels of a picture's file, decoded and resized by the host, in the shape (height, width, 3); None where it
    is no picture."""
    number = _LAYOUTS[layout]
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
        return None
    found = _buffer(width * height * (3 if number < 2 else 12))
    given = _bytes_of(data)
    if _host("wasmedge_image.load_image", given, width, height, number, found):
        return None
    return memoryview(found).cast("B" if number < 2 else "f", (height, width, 3))
