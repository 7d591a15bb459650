;; A library of era C whose functions make calls and answer with what came of them, one line each.
(module
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $heap (mut i32) (i32.const {heap}))
  (global $reply (mut i32) (i32.const {reply}))
  (func (export "allocate") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say64 (param i64) (call $line) (call $digits (local.get 0)))
  (func $say32 (param i32) (call $say64 (i64.extend_i32_u (local.get 0))))
  (func $nibble (param i32)
    (call $put (i32.add (local.get 0) (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get 0) (i32.const 10))))))
  (func $sayhex (param i32 i32) (call $line)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get 1)))
      (call $nibble (i32.shr_u (i32.load8_u (local.get 0)) (i32.const 4)))
      (call $nibble (i32.and (i32.load8_u (local.get 0)) (i32.const 15)))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br $next))))
  ;; NUL as |
  (func $saytext (param i32 i32) (call $line)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get 1)))
      (call $put (select (i32.const 124) (i32.load8_u (local.get 0)) (i32.eqz (i32.load8_u (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br $next))))
  ;; The record at 16, its one triple (a String) at 32.
  (func $finish (result i32)
    (i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 17) (i32.const 32))
    (i32.store (i32.const 21) (i32.const 1))
    (i32.store (i32.const 32) (i32.const {reply})) (i32.store (i32.const 36) (i32.const 31))
    (i32.store (i32.const 40) (i32.sub (global.get $reply) (i32.const {reply})))
    (i32.const 16))
  {functions})
