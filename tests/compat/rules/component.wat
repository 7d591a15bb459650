;; The main module of a component for wasi:cli/run. The first byte of standard input says which case it is to run; the
;; lines that a case says are its output. Handle 1 is standard input, so a case's own handles begin with 2.
(module
  (import "wasi:cli/stdin@0.2.0" "get-stdin" (func $stdin (result i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read" (func $first (param i32 i64 i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $out (param i32 i32 i32 i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $heap (mut i32) (i32.const {heap}))
  (global $reply (mut i32) (i32.const {reply}))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get 2) (i32.const 1))) (i32.sub (i32.const 0) (local.get 2))))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get 3))))
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
  (func $finish
    (if (i32.ne (global.get $reply) (i32.const {reply})) (then
      (call $out (call $stdout) (i32.const {reply}) (i32.sub (global.get $reply) (i32.const {reply})) (i32.const 16)))))
  {functions}
  (func (export "wasi:cli/run@0.2.0#run") (result i32) (local i32)
    (call $first (call $stdin) (i64.const 1) (i32.const 16))
    (local.set 0 (i32.load8_u (i32.load (i32.const 20))))
    {cases}
    (i32.const 0)))
