;; The least guest of dapr_v1 that echoes an invocation: its body, with the type that it came with.
(module
  (import "dapr_v1" "event_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $write (param i32 i32) (result i32)))
  (import "dapr_v1" "reply_set" (func $set (param i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "dapr_on_invoke") (result i32) (local $length i32)
    (local.set $length (call $read (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 256)))
    (drop (call $set (i32.const 1) (i32.const 0) (local.get $length)))
    (local.set $length (call $read (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 1048576)))
    (drop (call $write (i32.const 1024) (local.get $length)))
    (i32.const 0)))
