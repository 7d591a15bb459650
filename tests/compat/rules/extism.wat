;; A plug-in of Extism. Rules call its functions by their names. `$block` makes a block of bytes of the memory; the lines that a rule says are its output.
(module
  (import "extism:host/env" "alloc" (func $make (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $put8 (param i64 i32)))
  (import "extism:host/env" "load_u8" (func $get8 (param i64) (result i32)))
  (import "extism:host/env" "length" (func $size (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $out (param i64 i64)))
  {imports}
  (memory {pages})
  {data}
  (global $outcome (mut i32) (i32.const 0))
  (global $a (mut i64) (i64.const 0))
  (global $b (mut i64) (i64.const 0))
  (global $reply (mut i32) (i32.const {reply}))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say64 (param i64) (call $line) (call $digits (local.get 0)))
  (func $say32 (param i32) (call $say64 (i64.extend_i32_u (local.get 0))))
  (func $block (param $from i32) (param $size i32) (result i64) (local $block i64) (local $at i32)
    (local.set $block (call $make (i64.extend_i32_u (local.get $size))))
    (block $end (loop $next
      (br_if $end (i32.eq (local.get $at) (local.get $size)))
      (call $put8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $at)))
        (i32.load8_u (i32.add (local.get $from) (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (local.get $block))
  ;; Says a block, NUL as |
  (func $sayblock (param $block i64) (local $at i64) (local $byte i32)
    (call $line)
    (block $end (loop $next
      (br_if $end (i64.ge_u (local.get $at) (call $size (local.get $block))))
      (local.set $byte (call $get8 (i64.add (local.get $block) (local.get $at))))
      (call $put (select (i32.const 124) (local.get $byte) (i32.eqz (local.get $byte))))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br $next))))
  (func $finish (result i32)
    (if (i32.ne (global.get $reply) (i32.const {reply})) (then
      (call $out
        (call $block (i32.const {reply}) (i32.sub (global.get $reply) (i32.const {reply})))
        (i64.extend_i32_u (i32.sub (global.get $reply) (i32.const {reply}))))))
    (global.get $outcome))
  {functions})
