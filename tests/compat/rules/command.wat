;; A program. The first byte of standard input says which case it is to run; the lines that a case says are its output.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $first (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $out (param i32 i32 i32 i32) (result i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $reply (mut i32) (i32.const {reply}))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say64 (param i64) (call $line) (call $digits (local.get 0)))
  (func $say32 (param i32) (call $say64 (i64.extend_i32_u (local.get 0))))
  ;; NUL as |
  (func $saytext (param i32 i32) (call $line)
    (block $end (loop $next
      (br_if $end (i32.eqz (local.get 1)))
      (call $put (select (i32.const 124) (i32.load8_u (local.get 0)) (i32.eqz (i32.load8_u (local.get 0)))))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
      (br $next))))
  ;; Says the rest of the string that begins with these bytes, of the NUL-terminated ones at `pointers`.
  (func $variable (param $pointers i32) (param $name i32) (param $length i32) (local $string i32) (local $at i32)
    (block $found (loop $next
      (local.set $string (i32.load (local.get $pointers)))
      (if (i32.eqz (local.get $string)) (then (call $line) (call $put (i32.const 63)) (return)))
      (local.set $at (i32.const 0))
      (block $other (loop $same
        (br_if $found (i32.eq (local.get $at) (local.get $length)))
        (br_if $other (i32.ne (i32.load8_u (i32.add (local.get $string) (local.get $at)))
          (i32.load8_u (i32.add (local.get $name) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $same)))
      (local.set $pointers (i32.add (local.get $pointers) (i32.const 4)))
      (br $next)))
    (local.set $string (i32.add (local.get $string) (local.get $at)))
    (local.set $at (i32.const 0))
    (block $end (loop $more
      (br_if $end (i32.eqz (i32.load8_u (i32.add (local.get $string) (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $more)))
    (call $saytext (local.get $string) (local.get $at)))
  (func $finish
    (if (i32.ne (global.get $reply) (i32.const {reply})) (then
      (i32.store (i32.const 16) (i32.const {reply}))
      (i32.store (i32.const 20) (i32.sub (global.get $reply) (i32.const {reply})))
      (drop (call $out (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))))
  {functions}
  (func (export "_start") (local i32)
    (i32.store (i32.const 16) (i32.const 32)) (i32.store (i32.const 20) (i32.const 1))
    (drop (call $first (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
    (local.set 0 (i32.load8_u (i32.const 32)))
    {cases}))
