"""A sidecar that keeps one actor's state in a dictionary, and a guest, as WAT, that makes the calls it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from guesthouse.dapr.api_methods import Requests, method_of
from guesthouse_abi import pairs
from guesthouse_abi.services import Ended


class Store(Requests):
    """Keeps the state of the actor Cart/7 as a sidecar does: the bytes inside `Any`. `sidecar.SidecarApi`."""

    def __init__(self, **values: bytes) -> None:
        self.values = dict(values)
        self.made: list[str] = []
        self.messages: list[bytes] = []
        self.transactions: list[list[tuple[str, str, bytes]]] = []
        self.metadata: list[Mapping[str, str]] = []
        self.later: list[Callable[[], None]] | None = None  # what has not ended yet, where calls end later
        self.fails: Ended | None = None

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.made.append(method)
        self.messages.append(message)
        self.metadata.append(dict(metadata))
        if self.later is None:
            done(self.ended(method, message))
        else:
            self.later.append(lambda: done(self.ended(method, message)))
        return lambda: None

    def ended(self, method: str, message: bytes) -> Ended:
        if self.fails is not None:
            return self.fails
        if method == "GetActorState":
            key = GetActorStateRequest.FromString(message).key
            return Ended(0, "", GetActorStateResponse(data=self.values.get(key, b"")).SerializeToString())
        if method != "ExecuteActorStateTransaction":
            return Ended(0, "", b"passed on")
        request = ExecuteActorStateTransactionRequest.FromString(message)
        assert (request.actor_type, request.actor_id) == ("Cart", "7")
        self.transactions.append([(one.operationType, one.key, one.value.value) for one in request.operations])
        for one in request.operations:
            if one.operationType == "delete":
                self.values.pop(one.key, None)
            else:
                self.values[one.key] = one.value.value
        return Ended(0, "", b"")


#: One call of a guest's: the method, and its request.
GuestCall = tuple[str, bytes]


def call(method: str, /, **fields: Any) -> GuestCall:
    """A call of the actor Cart/7, or of what `fields` say."""
    own = {"actor_type": "Cart", "actor_id": "7"}
    return method, method_of(method).request(**{**own, **fields}).SerializeToString()


def get(key: str, **fields: Any) -> GuestCall:
    return call("GetActorState", key=key, **fields)


def write(*operations: tuple[str, str, bytes], **fields: Any) -> GuestCall:
    """A transaction; without operations, what was written is saved at once."""
    made = [
        {"operationType": kind, "key": key, "value": AnyMessage(type_url="x/y", value=value)}
        for kind, key, value in operations
    ]
    return call("ExecuteActorStateTransaction", operations=made, **fields)


def script(*calls: GuestCall) -> bytes:
    """The body of an event for `CALLER`."""
    return pairs.encode(calls)


def answers(body: bytes) -> list[tuple[int, bytes]]:
    """What `CALLER` has replied: of each call gRPC's code, and the response or the status's text."""
    found, at = [], 0
    while at < len(body):
        code, size = (int.from_bytes(body[at + k : at + k + 4], "little") for k in (0, 4))
        found.append((code, body[at + 8 : at + 8 + size]))
        at += 8 + size
    return found


def data(answer: tuple[int, bytes]) -> bytes:
    """The value that a call of GetActorState has given."""
    assert answer[0] == 0, answer
    return GetActorStateResponse.FromString(answer[1]).data


#: Makes the calls that its event's body names, one after the other, and replies with how each ended (`answers`). Then
#: it ends as the first character of the actor's method says: `0` to `9` is its outcome, `t` traps, `l` loops. With `o`
#: it begins the calls and waits for none. With `f` it replies with the fields 2, 3, 13, 14 and 15 of its event, a line
#: each.
CALLER = r"""(module
  (import "dapr_v1" "event_read" (func $event_read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "call_start" (func $call_start (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_wait" (func $call_wait (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_status" (func $call_status (param i32) (result i32)))
  (import "dapr_v1" "call_read" (func $call_read (param i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_close" (func $call_close (param i32) (result i32)))
  (memory (export "memory") 64)
  (data (i32.const 32) "\n") (data (i32.const 128) "0")
  ;; 16: a code and a size; 64: a handle; 128: the actor's method; 0x100000: the body; 0x200000: what is read back
  (func $line (param $field i32) (local $size i32)
    (local.set $size (call $event_read (local.get $field) (i32.const 0) (i32.const 0x200000) (i32.const 4096)))
    (if (i32.ge_s (local.get $size) (i32.const 0)) (then
      (drop (call $reply_write (i32.const 0x200000) (local.get $size)))))
    (drop (call $reply_write (i32.const 32) (i32.const 1))))
  (func $calls (param $waits i32)
    (local $at i32) (local $end i32) (local $method i32) (local $request i32) (local $handle i32) (local $status i32)
    (local $size i32)
    (local.set $at (i32.const 0x100000))
    (local.set $end (i32.add (local.get $at)
      (call $event_read (i32.const 1) (i32.const 0) (local.get $at) (i32.const 0x100000))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $method (i32.load (local.get $at)))
      (local.set $request (i32.load (i32.add (local.get $at) (i32.const 4))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (local.set $handle (call $call_start (local.get $at) (local.get $method)
        (i32.add (local.get $at) (local.get $method)) (local.get $request)
        (i32.const 0) (i32.const 0) (i32.const 0)))
      (local.set $at (i32.add (local.get $at) (i32.add (local.get $method) (local.get $request))))
      (br_if $next (i32.eqz (local.get $waits)))
      (i32.store (i32.const 64) (local.get $handle))
      (drop (call $call_wait (i32.const 64) (i32.const 1) (i32.const 1) (i32.const -1)))
      (local.set $status (call $call_status (local.get $handle)))
      (local.set $size (call $call_read (local.get $handle) (i32.ne (local.get $status) (i32.const 0))
        (i32.const 0) (i32.const 0x200000) (i32.const 0x100000)))
      (if (i32.lt_s (local.get $size) (i32.const 0)) (then (local.set $size (i32.const 0))))
      (i32.store (i32.const 16) (local.get $status))
      (i32.store (i32.const 20) (local.get $size))
      (drop (call $reply_write (i32.const 16) (i32.const 8)))
      (drop (call $reply_write (i32.const 0x200000) (local.get $size)))
      (drop (call $call_close (local.get $handle)))
      (br $next))))
  (func (export "dapr_on_event") (result i32) (local $how i32)
    (drop (call $event_read (i32.const 14) (i32.const 0) (i32.const 128) (i32.const 1)))
    (local.set $how (i32.load8_u (i32.const 128)))
    (if (i32.eq (local.get $how) (i32.const 102)) (then
      (call $line (i32.const 2)) (call $line (i32.const 3)) (call $line (i32.const 13))
      (call $line (i32.const 14)) (call $line (i32.const 15))
      (return (i32.const 0))))
    (call $calls (i32.ne (local.get $how) (i32.const 111)))
    (if (i32.eq (local.get $how) (i32.const 111)) (then (return (i32.const 0))))
    (if (i32.eq (local.get $how) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $how) (i32.const 108)) (then (loop $for_ever (br $for_ever))))
    (i32.sub (local.get $how) (i32.const 48))))"""
