;; A library of era C.
(module
  {imports}
  (memory (export "memory") {pages})
  {data}
  (type $none (func))
  (table 2 funcref)
  (elem (i32.const 1) $allocate)
  (global $heap (mut i32) (i32.const {heap}))
  (func $allocate (export "allocate") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "deallocate") (param i32 i32))
  {functions})
