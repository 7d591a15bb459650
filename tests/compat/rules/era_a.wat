;; A library of era A, as rustwasmc built them.
(module
  {imports}
  (memory (export "memory") {pages})
  {data}
  (global $heap (mut i32) (i32.const {heap}))
  (func (export "__wbindgen_malloc") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "__wbindgen_free") (param i32 i32))
  {functions})
