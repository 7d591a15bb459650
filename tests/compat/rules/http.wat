;; A guest of http-wasm. The first byte of the request's body says which case it is to run; the lines that a case says
;; are appended to the response's body. A request PUT is passed on, with the feature buffer_response, and its case is run
;; in handle_response; a request PATCH also, without the feature and without a word. The parameters of handle_response
;; are the globals $context and $failed.
(module
  (import "http_handler" "read_body" (func $first (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $out (param i32 i32 i32)))
  (import "http_handler" "get_method" (func $verb (param i32 i32) (result i32)))
  (import "http_handler" "enable_features" (func $enable (param i32) (result i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $next (mut i64) (i64.const 0))
  (global $case (mut i32) (i32.const 0))
  (global $context (mut i32) (i32.const 0))
  (global $failed (mut i32) (i32.const 9))
  (global $reply (mut i32) (i32.const {reply}))
  (func $put (param i32)
    (i32.store8 (global.get $reply) (local.get 0)) (global.set $reply (i32.add (global.get $reply) (i32.const 1))))
  (func $line (if (i32.ne (global.get $reply) (i32.const {reply})) (then (call $put (i32.const 10)))))
  (func $digits (param i64)
    (if (i64.ge_u (local.get 0) (i64.const 10)) (then (call $digits (i64.div_u (local.get 0) (i64.const 10)))))
    (call $put (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get 0) (i64.const 10))))))
  (func $say64 (param i64) (call $line)
    (call $digits (i64.shr_u (local.get 0) (i64.const 32))) (call $put (i32.const 58))
    (call $digits (i64.and (local.get 0) (i64.const 0xffffffff))))
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
      (call $out (i32.const 1) (i32.const {reply}) (i32.sub (global.get $reply) (i32.const {reply}))))))
  {functions}
  (func $run (param i32)
    {cases})
  (func (export "handle_request") (result i64)
    (drop (call $first (i32.const 0) (i32.const 32) (i32.const 1)))
    (global.set $case (i32.load8_u (i32.const 32)))
    (drop (call $verb (i32.const 40) (i32.const 16)))
    (if (i32.eq (i32.load16_u (i32.const 40)) (i32.const 0x5550)) (then ;; PU
      (drop (call $enable (i32.const 2))) (return (i64.const 0x700000001))))
    (if (i32.eq (i32.load16_u (i32.const 40)) (i32.const 0x4150)) (then ;; PA
      (return (i64.const 0x700000001))))
    (call $run (global.get $case))
    (global.get $next))
  (func (export "handle_response") (param i32 i32)
    (global.set $context (local.get 0)) (global.set $failed (local.get 1))
    (call $run (global.get $case))))
