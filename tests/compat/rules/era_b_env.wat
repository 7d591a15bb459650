;; A library of era B, whose results go through the imports of the module "env".
(module
  (import "env" "return_result" (func $return_result (param i32 i32)))
  (import "env" "return_error" (func $return_error (param i32 i32)))
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $heap (mut i32) (i32.const {heap}))
  (func (export "allocate") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "deallocate") (param i32 i32))
  {functions})
