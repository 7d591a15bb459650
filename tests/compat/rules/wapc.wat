;; A guest of waPC. The first byte of the payload says which case it is to run; the lines that a case says are its
;; response. The operation is read at 64, the payload at 512.
(module
  (import "wapc" "__guest_request" (func $first (param i32 i32)))
  (import "wapc" "__guest_response" (func $out (param i32 i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $outcome (mut i32) (i32.const 1))
  (global $reply (mut i32) (i32.const {reply}))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say32 (param i32) (call $line) (call $digits (i64.extend_i32_u (local.get 0))))
  ;; NUL as |
  (func $saytext (param i32 i32) (call $line)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get 1)))
      (call $put (select (i32.const 124) (i32.load8_u (local.get 0)) (i32.eqz (i32.load8_u (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br $next))))
  (func $finish
    (if (i32.ne (global.get $reply) (i32.const {reply})) (then
      (call $out (i32.const {reply}) (i32.sub (global.get $reply) (i32.const {reply}))))))
  {functions}
  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (call $first (i32.const 64) (i32.const 512))
    (local.set 0 (i32.load8_u (i32.const 512)))
    {cases}
    (global.get $outcome)))
