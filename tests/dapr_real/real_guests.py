"""The guests of these tests, as WAT: programs that end in each of the ways that a guest can, and one that prints.

`begins` loops too, when it has said so on standard error. `environment` prints its environment, a zero byte after each
`NAME=value`: what a guest is told of its event.
"""

from __future__ import annotations

_IMPORTS = """
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))"""


def program(body: str, data: str = "") -> str:
    """A WASI command; `data` lies at 64."""
    return f"""(module {_IMPORTS} (memory (export "memory") 4) (data (i32.const 64) "{data}")
      (func $print (param $fd i32) (param $at i32) (param $size i32)
        (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $size))
        (drop (call $write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24))))
      (func (export "_start") {body}))"""


def ends(code: int, why: str) -> str:
    """Says why on standard error, and ends with a code."""
    return program(
        f"(call $print (i32.const 2) (i32.const 64) (i32.const {len(why)})) (call $exit (i32.const {code}))", why
    )


GUESTS = {
    "environment": program("""
        (drop (call $sizes (i32.const 0) (i32.const 4)))
        (drop (call $environ (i32.const 1024) (i32.const 65536)))
        (call $print (i32.const 1) (i32.const 65536) (i32.load (i32.const 4)))"""),
    "traps": program("unreachable"),
    "fails": ends(1, "no film in the camera"),
    "malformed": ends(65, "that is no photo"),
    "later": ends(75, "come back later"),
    "loops": program("(loop br 0)"),
    "begins": program("(call $print (i32.const 2) (i32.const 64) (i32.const 6)) (loop br 0)", "begun\\n"),
}
