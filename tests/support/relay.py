"""A guest of `dapr_v1` for tests, as WAT: it calls the method that its event names; the event's body is the request.

Of an event `METHOD`, the reply is the response, and the header `code` has gRPC's code as one character from `A` (0) on.
Where the call failed, the outcome is FAILED with the status's text. Of an event `METHOD*N`, it begins the call N times
(one digit), waits for all of them, and replies with as many characters. Metadata of the call is the event's metadata.
"""

from __future__ import annotations

RELAY = r"""(module
  (import "dapr_v1" "event_read" (func $event_read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "event_metadata" (func $event_metadata (param i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "reply_set" (func $reply_set (param i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_header" (func $reply_header (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_start" (func $call_start (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_wait" (func $call_wait (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_status" (func $call_status (param i32) (result i32)))
  (import "dapr_v1" "call_read" (func $call_read (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "code")
  (data (i32.const 8) "metadata")
  ;; 16: the code's character; 64: handles; 256: name; 4096: pairs; 8192: body; 131072: what is read back
  (func (export "dapr_on_event") (result i32)
    (local $name i32) (local $body i32) (local $pairs i32) (local $count i32) (local $made i32) (local $size i32)
    (local.set $name (call $event_read (i32.const 3) (i32.const 0) (i32.const 256) (i32.const 1024)))
    (local.set $body (call $event_read (i32.const 1) (i32.const 0) (i32.const 8192) (i32.const 65536)))
    (local.set $pairs
      (call $event_metadata (i32.const 8) (i32.const 8) (i32.const 0) (i32.const 4096) (i32.const 4096)))
    (if (i32.lt_s (local.get $pairs) (i32.const 0)) (then (local.set $pairs (i32.const 0))))
    (local.set $count (i32.const 1))
    (if (i32.eq (i32.load8_u (i32.add (i32.const 254) (local.get $name))) (i32.const 42)) (then
      (local.set $count (i32.sub (i32.load8_u (i32.add (i32.const 255) (local.get $name))) (i32.const 48)))
      (local.set $name (i32.sub (local.get $name) (i32.const 2)))))
    (loop $more
      (i32.store (i32.add (i32.const 64) (i32.mul (local.get $made) (i32.const 4)))
        (call $call_start (i32.const 256) (local.get $name) (i32.const 8192) (local.get $body)
          (i32.const 4096) (local.get $pairs) (i32.const 0)))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $made) (local.get $count))))
    (if (i32.ne (call $call_wait (i32.const 64) (local.get $count) (i32.const 1) (i32.const -1)) (local.get $count))
      (then unreachable))
    (local.set $made (i32.const 0))
    (loop $more
      (i32.store8 (i32.add (i32.const 16) (local.get $made))
        (i32.add (i32.const 65)
          (call $call_status (i32.load (i32.add (i32.const 64) (i32.mul (local.get $made) (i32.const 4)))))))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $made) (local.get $count))))
    (if (i32.gt_u (local.get $count) (i32.const 1)) (then
      (drop (call $reply_write (i32.const 16) (local.get $count)))
      (return (i32.const 0))))
    (drop (call $reply_header (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 1)))
    (if (i32.eq (i32.load8_u (i32.const 16)) (i32.const 65)) (then
      (local.set $size
        (call $call_read (i32.load (i32.const 64)) (i32.const 0) (i32.const 0) (i32.const 131072) (i32.const 65536)))
      (drop (call $reply_write (i32.const 131072) (local.get $size)))
      (return (i32.const 0))))
    (local.set $size
      (call $call_read (i32.load (i32.const 64)) (i32.const 1) (i32.const 0) (i32.const 131072) (i32.const 1000)))
    (drop (call $reply_set (i32.const 2) (i32.const 131072) (local.get $size)))
    (i32.const 1)))"""
