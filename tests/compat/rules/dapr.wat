;; A guest of dapr_v1. The first byte of the body says which case it is to run; the lines that a case says are its reply.
(module
  (import "dapr_v1" "event_read" (func $first (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $out (param i32 i32) (result i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $outcome (mut i32) (i32.const 0))
  (global $reply (mut i32) (i32.const {reply}))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say64 (param i64) (call $line) (call $digits (local.get 0)))
  (func $say32 (param i32) (call $line)
    (if (i32.lt_s (local.get 0) (i32.const 0)) (then (call $put (i32.const 45))))
    (call $digits (i64.extend_i32_u
      (select (local.get 0) (i32.sub (i32.const 0) (local.get 0)) (i32.ge_s (local.get 0) (i32.const 0))))))
  ;; NUL as |
  (func $saytext (param i32 i32) (call $line)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get 1)))
      (call $put (select (i32.const 124) (i32.load8_u (local.get 0)) (i32.eqz (i32.load8_u (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br $next))))
  (func $finish
    (drop (call $out (i32.const {reply}) (i32.sub (global.get $reply) (i32.const {reply})))))
  {functions}
  (func (export "dapr_on_event") (result i32) (local i32)
    (drop (call $first (i32.const 1) (i32.const 0) (i32.const 32) (i32.const 1)))
    (local.set 0 (i32.load8_u (i32.const 32)))
    {cases}
    (global.get $outcome)))
